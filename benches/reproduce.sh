#!/usr/bin/env bash
# Takes the figures of the table in benches/README.md anew, by the commands that stand there, one after the other:
# benches/reproduce.sh [--quick] [--runs N] [FILE], by default figures.jsonl in the target folder. Half an hour after the
# build on an otherwise idle machine; with --quick a minute, to see that everything works: its figures say nothing.
#
# Each row is taken once. With --runs 5 single runs are taken five times, round by round, up to two hours; what stands in
# README.md as a median of runs is that of such rounds. ratios and beside take pairs and tell medians by themselves.
#
# What each command prints is added to FILE, figures as JSON lines; report.html beside it has plots and tables. This
# leaves out rows that need data from elsewhere or other programs (imports, real series, kill -9, other stores), hours of
# a steady load (tidegauge-bench soak), and series that come and go (cargo run --release -p tidegauge-bench --example
# coming_and_going -- 100000 10).
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bench=$target/release/tidegauge-bench

usage() {
    echo "usage: benches/reproduce.sh [--quick] [--runs N] [FILE]" >&2
    exit 2
}
quick='' runs=1
while [[ ${1:-} == -* ]]; do
    case $1 in
    --quick) quick=yes ;;
    --runs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
        runs=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done
[[ $# -le 1 ]] || usage
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

# Every single run once.
round() {
    for durability in memory interval:100ms; do
        take run --workload w1 --durability $durability $(samples)
    done
    take run --workload w1 --durability memory --batch 1 $(samples)
    take run --workload w1 --durability memory --appenders 8 $(samples)
    take run --workload w1 --durability memory --appenders 8 --batch 1 $(samples)
    for durability in memory interval:100ms; do
        take run --workload w1 --durability $durability $(lasting 30s) $(samples)
    done
    take run --workload w1 --durability sync --appenders 8 --wait $(lasting 10s) $(samples)
    take run --workload w1 --durability memory --batch 1 $(lasting 8s) $(samples)
    take run --workload w1 --batch 1 --rate 1M $(lasting 30s) $(samples)
    take run --workload w1 --rate 5M $(lasting 30s) $(samples)
    for workload in w1int w2 w3 late churn; do
        take run --workload $workload --durability memory $(samples)
    done
    take run --workload mixed --durability memory --batch 1 $([[ -z $quick ]] || echo "--samples 500")
    take recovery $(lasting 10s)
    take concurrency $([[ -z $quick ]] || echo "--for 50ms")
}

take roofs
for ((n = 0; n < runs; n++)); do round; done
ratios '--durability memory' '--batch 1' '--batch 1000'
ratios '--durability memory' '--appenders 8' '--appenders 1'
ratios '--durability memory' '--workload late' '--workload w1'
take beside --batch 1 --readers 1 $(pairs 3) $(lasting 4s) $([[ -z $quick ]] || echo "--samples 1600k")
take beside --readers 2 $(pairs 5) $(lasting 2s) $([[ -z $quick ]] || echo "--samples 1600k")

# These print for people: the page passes over them.
if [[ -z $quick ]]; then
    cargo bench -p tidegauge-bench --bench questions -- last >>"$out"
    cargo run --release -p tidegauge-query --example scan_rates >>"$out"
    cargo run --release -p tidegauge-query --example scan_rates 100000 scaling >>"$out"
fi
"$bench" report "$out" --out "$(dirname "$out")/report.html"
