#!/usr/bin/env python3
"""Runs every criterion bench shortly, keeps the medians, and compares with those that are kept.

    benches/baseline.py save [FILE]      runs them, writes FILE (benches/baseline.json)
    benches/baseline.py compare [FILE]   runs them, tells each beside FILE
    benches/baseline.py names [FILE]     builds them and runs none: is FILE of just those that there are?

    --measured       takes what the last `cargo bench` has left instead of running
    --only TEXT      only the benches whose names contain TEXT (compare)

A run takes some five minutes after the build. Times are no gate: `compare` exits 0 whatever they are, 1 if a bench
fails its own check. `names` exits 1 if FILE lacks a bench or has one that is gone; a bench that is not measured yet has
no median (null). Compare on the machine of the file, with nothing else running.
"""
import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Below a tenth, two runs of the same program differ as much.
NOTABLE = 1.10
SHORT = ["--noplot", "--warm-up-time", "0.3", "--measurement-time", "1"]


def run(home, only):
    """Every bench once, each checking its answer; what is measured goes to `home` alone."""
    subprocess.run(["rm", "-rf", str(home)], check=True)
    command = ["cargo", "bench", "-p", "tidegauge-bench", "--bench", "*", "--", *SHORT, *([only] if only else [])]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CRITERION_HOME": str(home)}, stdout=sys.stderr)
    if done.returncode:
        sys.exit(1)


def listed():
    """The names of all benches: each is set up, none is run."""
    command = ["cargo", "bench", "-p", "tidegauge-bench", "--bench", "*", "--profile", "dev", "--", "--list"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(1)
    return {line.removesuffix(": benchmark") for line in done.stdout.splitlines() if line.endswith(": benchmark")}


def gaps(there, stored):
    """What a file of medians lacks, and what it has too much."""
    missing = [f"{name}: not in the file (null, if it is not measured yet)" for name in sorted(there - stored)]
    return missing + [f"{name}: in the file, and no bench" for name in sorted(stored - there)]


def measured(home):
    medians = {}
    for estimates in home.glob("**/new/estimates.json"):
        about = json.loads((estimates.parent / "benchmark.json").read_text())
        medians[about["full_id"]] = json.loads(estimates.read_text())["median"]["point_estimate"]
    if not medians:
        sys.exit(f"nothing is measured in {home}")
    return dict(sorted(medians.items()))


def machine():
    info = pathlib.Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in (info.read_text() if info.exists() else "").splitlines()
              if line.startswith("model name")]
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"cpu": models[0] if models else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release(), "compiler": compiler}


def short(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.2f} {unit}"
    return f"{ns:.2f} ns"


def table(now, stored):
    rows, ratios = [], []
    for name, ns in now.items():
        if stored.get(name) is None:
            rows.append((name, short(ns), "", "new"))
            continue
        ratio = ns / stored[name]
        ratios.append(ratio)
        word = f"{ratio:.2f} × slower" if ratio > NOTABLE else f"{1 / ratio:.2f} × faster" if ratio < 1 / NOTABLE else ""
        rows.append((name, short(ns), short(stored[name]), f"{ratio:.2f}   {word}".rstrip()))
    width = max(len(row[0]) for row in rows)
    print(f"{'bench':<{width}}  {'now':>10}  {'stored':>10}  now ÷ stored")
    for name, is_now, was, word in rows:
        print(f"{name:<{width}}  {is_now:>10}  {was:>10}  {word}")
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"{'geometric mean of ' + str(len(ratios)):<{width}}  {'':>10}  {'':>10}  {mean:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["save", "compare", "names"])
    parser.add_argument("file", nargs="?", type=pathlib.Path, default=ROOT / "benches/baseline.json")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--only", metavar="TEXT")
    options = parser.parse_args()
    if options.only and (options.what != "compare" or options.measured):
        parser.error("--only is for a compare that runs the benches")
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    stored = None
    if options.what != "save":
        if not options.file.exists():
            parser.error(f"{options.file} is not there: make it with `save`")
        stored = json.loads(options.file.read_text())
    if options.what == "names":
        there = listed()
        if not there:
            sys.exit("no bench told its name: is it `name: benchmark` still that criterion prints for --list?")
        found = gaps(there, stored["median_ns"].keys())
        print("\n".join(found) if found else f"{len(there)} benches, and {options.file} is of just these")
        sys.exit(1 if found else 0)
    home = ROOT / os.environ.get("CRITERION_HOME", target / "criterion")
    if not options.measured:
        home = target / "criterion-short"
        run(home, options.only)
    now = measured(home)
    if options.what == "save":
        kept = {"machine": machine(), "date": datetime.date.today().isoformat(),
                "median_ns": {name: float(f"{ns:.4g}") for name, ns in now.items()}}
        options.file.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{len(now)} benches in {options.file}")
        return
    was, here = stored["machine"], machine()
    for key in sorted(was.keys() | here.keys()):
        if was.get(key) != here.get(key):
            print(f"not the same {key}: {was.get(key)} then, {here.get(key)} now")
    table(now, stored["median_ns"])
    for name in sorted(stored["median_ns"].keys() - now.keys()) if not options.only else []:
        print(f"{name}: not measured")


main()
