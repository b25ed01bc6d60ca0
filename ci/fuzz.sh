#!/bin/sh
# Fuzzes each decoder, the query language and the HTTP API for a few seconds, from seeds of every kind. Needs a nightly compiler and cargo-fuzz
# (`cargo install cargo-fuzz`); without them this says so and passes.
# FUZZ_SECONDS: how long each target runs (default 5). Arguments name targets; without, all run.
set -eu
cd "$(dirname "$0")/../fuzz"
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    exec ../ci/skipped.sh "fuzzing" "there is no nightly compiler with cargo-fuzz"
fi
seconds=${FUZZ_SECONDS:-5}
[ $# -gt 0 ] || set -- chunk round_trip segment index manifest wal remains promql http
# Seeds are written by a plain build: coverage counters need a target's own main.
cargo +nightly run --quiet --example seeds -- corpus
for target in "$@"; do
    features=
    [ "$target" != http ] || features="--features http"
    # shellcheck disable=SC2086 # no word is one word less
    cargo +nightly fuzz run --sanitizer none $features "$target" -- \
        -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -verbosity=0 -print_final_stats=1 2>&1 |
        grep -E 'number_of_executed_units|panicked|ERROR|SUMMARY' | sed "s/^/$target: /"
    # What crashed a target lies in artifacts/.
    if [ -n "$(ls "artifacts/$target" 2>/dev/null)" ]; then
        echo "fuzz: $target failed, see fuzz/artifacts/$target"
        exit 1
    fi
done
echo "fuzz: nothing found"
