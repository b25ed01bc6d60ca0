"""Real faults on the real binary, one a file; `tests/faults.py` runs them."""

import os

# Nothing that is waited for takes longer on a machine that works; in seconds.
DEADLINE = 60
# What a fault answers that this machine does not permit begins so.
SKIPPED = "skipped: "


class Broken(Exception):
    """A promise was."""


def not_here(why):
    """What a fault answers that this machine does not permit. To root it has to, where TIDEGAUGE_REQUIRE is set."""
    if os.environ.get("TIDEGAUGE_REQUIRE") and os.geteuid() == 0:
        raise Broken(f"{why}, and TIDEGAUGE_REQUIRE is set")
    return f"{SKIPPED}{why}"
