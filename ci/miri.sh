#!/bin/sh
# The unit tests of the open tails under Miri, which sees reads of freed or unwritten memory and data races, with real
# threads and real epochs. Needs a nightly compiler with the component miri; without one this says so and passes.
# The rules of aliasing are not checked: crossbeam-epoch and crossbeam-skiplist, which the tails go through, break
# Stacked and Tree Borrows themselves. What the epoch has not freed yet at the end of the process is no leak.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    exec ci/skipped.sh "Miri" "there is no nightly compiler with miri"
fi
MIRIFLAGS="-Zmiri-disable-stacked-borrows -Zmiri-ignore-leaks -Zmiri-permissive-provenance ${MIRIFLAGS:-}" \
    exec cargo +nightly miri test --package tidegauge --lib --target-dir "${MIRI_TARGET_DIR:-target/miri}" memtable::tail "$@"
