#!/usr/bin/env python3
"""Real faults on the real binary: what was acknowledged must come back.

Several threads push numbered samples to an agent by remote write and note what was answered
with 2xx. Meanwhile the agent is killed, its system calls fail, its disk runs full, it is
stopped. Then it is started again, and each thread's samples must be 0, 1, 2, ... without a
gap, at least as many as were acknowledged (P3, P4, P5); without a log, as were flushed.

    tests/faults.py --binary target/debug/tidegauge              # a short form, about a minute
    tests/faults.py --binary ... --only kill --cycles 1000       # kill -9, a thousand times

Exit codes: 0 nothing lost, 1 a promise was broken, 2 the request makes no sense.
What this machine does not permit (strace, mounting) is skipped, and said; not for root with
TIDEGAUGE_REQUIRE set.
"""

import argparse
import os
import random
import sys
import time

# A test leaves nothing beside its sources.
sys.dont_write_bytecode = True

from faults import SKIPPED, Broken  # noqa: E402
from faults.agent import Agent  # noqa: E402
from faults.files import files  # noqa: E402
from faults.full import full  # noqa: E402
from faults.inject import inject  # noqa: E402
from faults.kill import kill  # noqa: E402
from faults.stop import stop  # noqa: E402

FAULTS = {"kill": kill, "inject": inject, "full": full, "stop": stop, "files": files}


def tell_skipped(line):
    """As ci/skipped.sh: the gate lists at its end what was not checked."""
    print(line, flush=True)
    if os.environ.get("TIDEGAUGE_SKIPPED"):
        with open(os.environ["TIDEGAUGE_SKIPPED"], "a", encoding="utf-8") as listed:
            listed.write(line + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/debug/tidegauge", help="the agent [target/debug/tidegauge]")
    parser.add_argument("--only", default=",".join(FAULTS), help=f"some of {','.join(FAULTS)}")
    parser.add_argument("--cycles", type=int, default=60, help="of kill -9 [60]")
    parser.add_argument("--rounds", type=int, default=2, help="of each failing call [2]")
    parser.add_argument("--seed", type=int, default=None, help="what random times and places follow from [by the clock]")
    options = parser.parse_args()
    names = options.only.split(",")
    if any(name not in FAULTS for name in names):
        parser.error(f"--only takes {','.join(FAULTS)}")
    options.binary = os.path.abspath(options.binary)
    options.seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {options.seed}", flush=True)
    for name in names:
        began = time.monotonic()
        try:
            said = FAULTS[name](options, random.Random(f"{options.seed} {name}"))
        except Broken as broken:
            print(f"BROKEN: {name}: {broken}\n  again: tests/faults.py --only {name} --seed {options.seed}")
            return 1
        finally:
            Agent.end_all()
        if said.startswith(SKIPPED):
            tell_skipped(f"{SKIPPED}fault {name}, because {said.removeprefix(SKIPPED)}")
            continue
        print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
