#!/usr/bin/env bash
# Takes the figures of the table in benches/README.md anew, by the commands that stand there, one after the other:
# benches/reproduce.sh [--quick] [--runs N] [FILE], by default figures.jsonl in the target folder. Three quarters of an hour
# after the build on an otherwise idle machine; with --quick a minute or two, to see that everything works: its figures say
# nothing.
#
# Each row is taken once. With --runs 5 single runs are taken five times, round by round, up to two hours and a half; what
# stands in README.md as a median of runs is that of such rounds. ratios and beside take pairs and tell medians by themselves.
#
# What each command prints is added to FILE, figures as JSON lines; report.html beside it has plots and tables. With --list
# nothing is run: it names each command, and those of the table that it leaves out. A test compares both with the table.
# Series that come and go have a table of their own: cargo run --release -p tidegauge-bench --example coming_and_going --
# 100000 10.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bench=$target/release/tidegauge-bench

# Commands of the table that this leaves out.
left_out=(
    # Data from elsewhere, and what the shell makes of them.
    'TIDEGAUGE_DATA=… cargo run --release -p tidegauge-storage --features cold --example chunk_rates'
    'tidegauge import cloudwatch.csv'
    'tests/node_metrics.py "$TIDEGAUGE_DATA" > node.csv'
    'tidegauge import node.csv'
    # Hours, kill -9 on the real agent, other stores.
    'B soak --rate 500k --for 95m'
    'tests/faults.py --only kill --cycles 1500 --seed 1'
    'B compare'
)

usage() {
    echo "usage: benches/reproduce.sh [--list] [--quick] [--runs N] [FILE]" >&2
    exit 2
}
list='' quick='' runs=1
while [[ ${1:-} == -* ]]; do
    case $1 in
    --list) list=yes ;;
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

# Samples of a run, and how long things last; --quick has little of anything.
samples() { [[ -z $quick ]] || echo "--samples 40k"; }
lasting() { if [[ -z $quick ]]; then echo "--for $1"; else echo "--for 300ms"; fi; }
pairs() { if [[ -z $quick ]]; then echo "--pairs $1"; else echo "--pairs 1"; fi; }

# What is taken, as the table has it.
told() { echo "$*" | tee -a "$out" >&2; }
# A verb with its options, words apart.
take() {
    if [[ -n $list ]]; then
        echo "B $*"
        return
    fi
    told "tidegauge-bench $*"
    # shellcheck disable=SC2048,SC2086
    "$bench" $* --json >>"$out"
}
# The same with huge pages for glibc's heap.
take_on_huge_pages() {
    local pages=GLIBC_TUNABLES=glibc.malloc.hugetlb=1
    if [[ -n $list ]]; then
        echo "$pages B $*"
        return
    fi
    told "$pages tidegauge-bench $*"
    # shellcheck disable=SC2048,SC2086
    env "$pages" "$bench" $* --json >>"$out"
}
# The median of the ratios of runs in turn: what both have, the first, the second.
ratios() {
    if [[ -n $list ]]; then
        echo "B ratios --both '$1' '$2' '$3'"
        return
    fi
    told "tidegauge-bench ratios --both '$1' '$2' '$3'"
    # shellcheck disable=SC2046
    "$bench" ratios $(pairs 5) --both "$1 $(samples)" "$2" "$3" --json >>"$out"
}
# What prints for people: the page passes over it.
people() {
    if [[ -n $list ]]; then
        echo "$*"
    elif [[ -z $quick ]]; then
        "$@" >>"$out"
    fi
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
    take run --workload w3 --durability memory --appenders 8 $(samples)
    take run --workload mixed --durability memory --batch 1 $([[ -z $quick ]] || echo "--samples 500")
    take recovery $(lasting 10s)
    take_on_huge_pages recovery $(lasting 10s)
    take concurrency $([[ -z $quick ]] || echo "--for 50ms --rounds 1")
}

if [[ -n $list ]]; then
    runs=1 quick=''
    printf 'left out: %s\n' "${left_out[@]}"
else
    mkdir -p "$(dirname "$out")"
    TIDEGAUGE_COMMIT=$(git describe --always --dirty 2>/dev/null || echo unknown) cargo build --release -p tidegauge-bench
fi
take roofs
for ((n = 0; n < runs; n++)); do round; done
ratios '--durability memory' '--batch 1' '--batch 1000'
ratios '--durability memory' '--appenders 8' '--appenders 1'
ratios '--workload w1' '--durability interval:100ms' '--durability memory'
ratios '--durability memory' '--workload late' '--workload w1'
take beside --batch 1 --readers 1 $(pairs 3) $(lasting 4s) $([[ -z $quick ]] || echo "--samples 1600k")
take beside --readers 2 $(pairs 5) $(lasting 2s) $([[ -z $quick ]] || echo "--samples 1600k")

people cargo bench -p tidegauge-bench --bench questions -- last
people cargo run --release -p tidegauge-query --example scan_rates
people cargo run --release -p tidegauge-query --example scan_rates 100000 scaling
[[ -n $list ]] || "$bench" report "$out" --out "$(dirname "$out")/report.html"
