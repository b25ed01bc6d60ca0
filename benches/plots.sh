#!/usr/bin/env bash
# Measures, and draws plots for the README: benches/plots.sh [DIR], by default docs/img.
# Some two minutes after the build. The page with all plots and tables is report.html in the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-docs/img}")
# SAMPLES and SECONDS_AT_A_RATE make it shorter, to see that it works.
samples=${SAMPLES:-10000000} seconds=${SECONDS_AT_A_RATE:-10}

cargo build --release -p tidegauge-bench
target=${CARGO_TARGET_DIR:-target}
bench=$target/release/tidegauge-bench page=$target/report.html
figures=$(mktemp)
trap 'rm -f "$figures"' EXIT

run() { echo "tidegauge-bench $*" >&2; "$bench" "$@" --json >>"$figures"; }
run roofs
run run --workload w1 --durability memory --samples "$samples"
run run --workload w1 --durability interval:100ms --samples "$samples"
run run --workload w1int --durability interval:100ms --samples "$samples"
run run --workload w3 --durability interval:100ms --samples "$samples"
run run --workload w1 --durability interval:100ms --rate 2M --for "${seconds}s"
"$bench" report "$figures" --out "$page" --svg-dir "$dir" --svg throughput,arrival,bytes,memory
