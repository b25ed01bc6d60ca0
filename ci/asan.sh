#!/bin/sh
# Stress with real threads and real epochs under AddressSanitizer, which sees reads of freed memory: the memtable by
# itself, and a whole engine. Then freeing too early (T6) must be seen. Needs a nightly compiler; without one this says so
# and passes.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    exec ci/skipped.sh "AddressSanitizer" "there is no nightly compiler"
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
# crossbeam_sanitize: crossbeam frees in small portions, and so sooner.
export RUSTFLAGS='-Zsanitizer=address --cfg asan --cfg crossbeam_sanitize'
# The target is named so that the flags do not reach build scripts and macros.
stress() {
    cargo +nightly test --quiet --package tidegauge --features internals --target "$target" \
        --target-dir "${ASAN_TARGET_DIR:-target/asan}" --release "$@"
}
stress --test memtable_stress --test engine_stress "$@"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for name in tail_retire; do
    if TIDEGAUGE_WEAKEN=$name stress --test memtable_stress >"$log" 2>&1 ||
        ! grep -q 'AddressSanitizer: heap-use-after-free' "$log"; then
        cat "$log"
        echo "$name weakened: NOT NOTICED" >&2
        exit 1
    fi
    echo "$name weakened: is reported, as it must be"
done
