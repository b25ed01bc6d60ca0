#!/bin/sh
# Fuzzes each decoder, the query language, the HTTP API and what reads foreign text for a few seconds, from seeds of every kind. Needs a nightly compiler and cargo-fuzz
# (`cargo install cargo-fuzz`); without them this says so and passes. A target that was not executed fails.
# FUZZ_SECONDS: how long each target runs (default 5; without a bound where FUZZ_RUNS is given). FUZZ_RUNS: how many times each target is
# executed. FUZZ_BULK=1: for many executions, four times as many in a second: inputs are small, and neither comparisons nor how often
# a place is passed steer towards new ones. What it finds stays in corpus/, for runs without it. Arguments name targets; without, all run.
set -eu
cd "$(dirname "$0")/../fuzz"
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    exec ../ci/skipped.sh "fuzzing" "there is no nightly compiler with cargo-fuzz"
fi
if [ -n "${FUZZ_RUNS:-}" ]; then
    bounds="-runs=$FUZZ_RUNS ${FUZZ_SECONDS:+-max_total_time=$FUZZ_SECONDS}"
else
    bounds="-max_total_time=${FUZZ_SECONDS:-5}"
fi
build= steering="-max_len=65536"
if [ -n "${FUZZ_BULK:-}" ]; then
    build="--no-trace-compares --target-dir target/bulk"
    steering="-max_len=4096 -entropic=0 -use_counters=0 -reload=0"
fi
[ $# -gt 0 ] || set -- chunk round_trip segment index manifest wal remains promql http text remote
# Seeds are written by a plain build: coverage counters need a target's own main.
cargo +nightly run --quiet --example seeds -- corpus
told=$(mktemp -d)
trap 'rm -rf "$told"' EXIT
fail() {
    echo "fuzz: $1"
    exit 1
}
for target in "$@"; do
    features=
    case $target in http | text | remote) features="--features http" ;; esac
    ended=0
    # shellcheck disable=SC2086 # no word is one word less
    cargo +nightly fuzz run --sanitizer none $build $features "$target" -- \
        $bounds $steering -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -verbosity=0 -print_final_stats=1 >"$told/$target" 2>&1 ||
        ended=$?
    grep -E 'number_of_executed_units|panicked|ERROR|SUMMARY' "$told/$target" | sed "s/^/$target: /" || true
    # What crashed a target lies in artifacts/.
    [ -z "$(ls "artifacts/$target" 2>/dev/null)" ] || fail "$target failed, see fuzz/artifacts/$target"
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$told/$target")
    if [ "$ended" -ne 0 ] || [ "${executed:-0}" -eq 0 ]; then
        tail -n 20 "$told/$target"
        fail "$target was not executed, or ended with status $ended"
    fi
    printf '%-12s %12s\n' "$target" "$executed" >>"$told/table"
done
printf '%-12s %12s\n' target executions
cat "$told/table"
echo "fuzz: nothing found"
