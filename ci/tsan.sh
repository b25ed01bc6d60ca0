#!/bin/sh
# The stress tests of the ring and the memtable under ThreadSanitizer, which sees what was not published to whoever reads
# it. Then some orderings are weakened, which must be seen. Needs a nightly compiler; without one this says so and passes.
# ThreadSanitizer does not understand fences. Neither test relies on one of ours for its data, and crossbeam-epoch does
# without where it is built for this sanitizer.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    exec ci/skipped.sh "ThreadSanitizer" "there is no nightly compiler"
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
# The standard library is not rebuilt (that would need rust-src). Its atomics are inlined, and so instrumented; the
# contended path of its mutexes is not, so under --cfg tsan `sync::lock` goes round it. Mixing instrumented code with
# a plain standard library must be allowed by name.
export RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan'
export TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/ci/tsan.supp ${TSAN_OPTIONS:-}"
# The target is named so that the flags do not reach build scripts and macros.
stress() {
    cargo +nightly test --quiet --package tidegauge --features internals --target "$target" \
        --target-dir "${TSAN_TARGET_DIR:-target/tsan}" --release "$@"
}
stress --test ring_stress --test memtable_stress "$@"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for weakened in lane_publish:ring common_publish:ring tail_len:memtable tail_grow:memtable tail_fresh:memtable \
    tail_mark:memtable newest_buf:memtable tail_retire:memtable; do
    name=${weakened%:*}
    if TIDEGAUGE_WEAKEN=$name stress --test "${weakened#*:}_stress" >"$log" 2>&1 ||
        ! grep -q 'ThreadSanitizer: data race' "$log"; then
        cat "$log"
        echo "$name weakened: NOT NOTICED" >&2
        exit 1
    fi
    echo "$name weakened: is reported, as it must be"
done
