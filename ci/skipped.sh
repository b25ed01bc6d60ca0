#!/bin/sh
# Says that a step of the gate is skipped, and why: `ci/skipped.sh STEP REASON`. Where TIDEGAUGE_SKIPPED names a file, the
# line goes there too, so that `.ci/run` can list at its end what was not checked.
set -eu
line="skipped: $1, because $2"
echo "$line"
[ -z "${TIDEGAUGE_SKIPPED:-}" ] || echo "$line" >>"$TIDEGAUGE_SKIPPED"
