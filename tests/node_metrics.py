#!/usr/bin/env python3
"""Node metrics that were scraped together, as CSV for `tidegauge import`.

The first 65 constants, 19 counters and 16 gauges of `node1hz_*.tsb`: what one exporter shows.
For the row of benches/README.md that weighs them:

    tests/node_metrics.py "$TIDEGAUGE_DATA" > node.csv
    tidegauge import node.csv --data-dir node && tidegauge inspect --data-dir node
    tidegauge compact --data-dir node && tidegauge inspect --data-dir node

--names long takes names of 24 letters instead of two; --times 4 has all scrapes four times,
one behind the other, counters going on.
"""

import argparse
import math
import pathlib
import struct
import sys

KINDS = (("const", 65), ("counter", 19), ("gauge", 16))


def series_of(path):
    """Timestamps in milliseconds and values of each series of a .tsb file."""
    data = path.read_bytes()
    if data[:4] != b"TSB1":
        sys.exit(f"{path}: no .tsb file")
    at, times = 8, ()
    for _ in range(struct.unpack_from("<I", data, 4)[0]):
        count, flag = struct.unpack_from("<II", data, at)
        at += 8
        if flag == 1:
            times = struct.unpack_from(f"<{count}q", data, at)
            at += 8 * count
        values = struct.unpack_from(f"<{count}d", data, at)
        at += 8 * count
        yield times, values


def name(number, kind, long):
    if long:
        return f"node_metric_{kind:_<8}_{number:03}"
    return chr(97 + number // 26) + chr(97 + number % 26)


def text(value):
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=pathlib.Path, help="holds node1hz_const.tsb and the others")
    options.add_argument("--names", choices=("short", "long"), default="short")
    options.add_argument("--times", type=int, default=1, metavar="N")
    options = options.parse_args()
    rows = []
    for kind, most in KINDS:
        found = list(series_of(options.folder / f"node1hz_{kind}.tsb"))[:most]
        rows += [(name(len(rows) + i, kind, options.names == "long"), kind, *columns) for i, columns in enumerate(found)]
    print("timestamp,value,__name__")
    for again in range(options.times):
        for scrape in range(max(len(values) for *_, values in rows)):
            for metric, kind, times, values in rows:
                if scrape < len(values):
                    # The next round begins a second behind the last scrape.
                    at = times[scrape] + again * (times[-1] - times[0] + 1000)
                    value = values[scrape] + (again * values[-1] if kind == "counter" else 0)
                    print(f"{at},{text(value)},{metric}")


if __name__ == "__main__":
    main()
