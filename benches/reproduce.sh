#!/usr/bin/env bash
# Takes the figures of the table in benches/README.md anew, by the commands that stand there, one after the other:
# benches/reproduce.sh [--quick] [FILE], by default figures.jsonl in the target folder. Half an hour after the build on an
# otherwise idle machine; with --quick a minute, to see that everything works: its figures say nothing.
#
# What each command prints is added to FILE, figures as JSON lines; report.html beside it has plots and tables. The rows
# that this leaves out need data from elsewhere or other programs: imports, real series, kill -9, other stores.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bench=$target/release/tidegauge-bench

quick=
if [[ ${1:-} == --quick ]]; then
    quick=yes
    shift
fi
out=$(realpath -m "${1:-$target/figures.jsonl}")
mkdir -p "$(dirname "$out")"

# Samples of a run, and how long things last; --quick has little of anything.
samples() { [[ -z $quick ]] || echo "--samples 40k"; }
lasting() { if [[ -z $quick ]]; then echo "--for $1"; else echo "--for 300ms"; fi; }
pairs() { if [[ -z $quick ]]; then echo "--pairs $1"; else echo "--pairs 1"; fi; }

TIDEGAUGE_COMMIT=$(git describe --always --dirty 2>/dev/null || echo unknown) cargo build --release -p tidegauge-bench

# A verb with its options, words apart.
take() {
    echo "tidegauge-bench $*" | tee -a "$out" >&2
    # shellcheck disable=SC2048,SC2086
    "$bench" $* --json >>"$out"
}
# The median of the ratios of runs in turn: what both have, the first, the second.
ratios() {
    echo "tidegauge-bench ratios --both '$1' '$2' '$3'" | tee -a "$out" >&2
    # shellcheck disable=SC2046
    "$bench" ratios $(pairs 5) --both "$1 $(samples)" "$2" "$3" --json >>"$out"
}

take roofs
for durability in memory interval:100ms; do
    take run --workload w1 --durability $durability $(samples)
done
take run --workload w1 --durability memory --batch 1 $(samples)
take run --workload w1 --durability memory --appenders 8 $(samples)
take run --workload w1 --durability memory --appenders 8 --batch 1 $(samples)
ratios '--durability memory' '--batch 1' '--batch 1000'
ratios '--durability memory' '--appenders 8' '--appenders 1'
for durability in memory interval:100ms; do
    take run --workload w1 --durability $durability $(lasting 30s) $(samples)
done
take run --workload w1 --durability sync --appenders 8 --wait $(lasting 30s) $(samples)
take run --workload w1 --durability memory --batch 1 $(lasting 8s) $(samples)
take run --workload w1 --rate 5M $(lasting 30s) $(samples)
for workload in w1int w2 w3 late churn; do
    take run --workload $workload --durability memory $(samples)
done
ratios '--durability memory' '--workload late' '--workload w1'
take run --workload mixed --durability memory --batch 1 $([[ -z $quick ]] || echo "--samples 500")
take recovery $(lasting 10s)
take beside --batch 1 --readers 1 $(pairs 3) $(lasting 4s) $([[ -z $quick ]] || echo "--samples 1600k")
take beside --readers 2 $(pairs 5) $(lasting 2s) $([[ -z $quick ]] || echo "--samples 1600k")
take concurrency $([[ -z $quick ]] || echo "--for 50ms")

# These print for people: the page passes over them.
if [[ -z $quick ]]; then
    cargo bench -p tidegauge-bench --bench questions -- last >>"$out"
    cargo run --release -p tidegauge-query --example scan_rates >>"$out"
    cargo run --release -p tidegauge-query --example scan_rates 100000 scaling >>"$out"
fi
"$bench" report "$out" --out "$(dirname "$out")/report.html"
