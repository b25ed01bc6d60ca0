#!/usr/bin/env python3
"""Keeps what `cargo bench` measured, and compares with it later.

    benches/baseline.py save FILE        medians of the last `cargo bench`, as JSON
    benches/baseline.py compare FILE     each bench beside the stored one; exits 1 if one is slower by a tenth

Criterion leaves its estimates in target/criterion (or $CRITERION_HOME).
"""
import json
import os
import pathlib
import platform
import sys

SLOWER = 1.10


def measured():
    root = pathlib.Path(os.environ.get("CRITERION_HOME", "target/criterion"))
    medians = {}
    for estimates in root.glob("**/new/estimates.json"):
        about = json.loads((estimates.parent / "benchmark.json").read_text())
        medians[about["full_id"]] = json.loads(estimates.read_text())["median"]["point_estimate"]
    return medians


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("save", "compare"):
        sys.exit(__doc__)
    file, now = pathlib.Path(sys.argv[2]), measured()
    if not now:
        sys.exit("nothing is measured: run cargo bench first")
    if sys.argv[1] == "save":
        kept = {"machine": platform.platform(), "cores": os.cpu_count(), "median_ns": dict(sorted(now.items()))}
        file.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{len(now)} benches in {file}")
        return
    stored = json.loads(file.read_text())["median_ns"]
    slower = 0
    for name in sorted(now):
        if name not in stored:
            print(f"{name:<48} {now[name]:>14.0f} ns   new")
            continue
        ratio = now[name] / stored[name]
        slower += ratio > SLOWER
        print(f"{name:<48} {now[name]:>14.0f} ns   {ratio:5.2f} ×{'   slower' if ratio > SLOWER else ''}")
    for name in sorted(stored.keys() - now.keys()):
        print(f"{name:<48} not measured")
    sys.exit(1 if slower else 0)


main()
