#!/bin/sh
# The stress tests of the fence-free parts under ThreadSanitizer, which needs a nightly compiler; without one this says
# so and passes. crossbeam's fences would give false reports, so nothing that goes through crossbeam-epoch is run here.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    exec ci/skipped.sh "ThreadSanitizer" "there is no nightly compiler"
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
# The standard library is not rebuilt (that would need rust-src). Its atomics are inlined, and so instrumented; the
# contended path of its mutexes is not, so under --cfg tsan `sync::lock` goes round it. Mixing instrumented code with
# a plain standard library must be allowed by name.
flags='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan'
# The target is named so that the flags do not reach build scripts and macros.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
RUSTFLAGS="$flags" TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/ci/tsan.supp ${TSAN_OPTIONS:-}" \
    exec cargo +nightly test --package tidegauge --features internals --test ring_stress \
    --target "$target" --target-dir "${TSAN_TARGET_DIR:-target/tsan}" --release "$@"
