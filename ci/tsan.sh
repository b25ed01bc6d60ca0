#!/bin/sh
# The stress tests of the ring and the memtable under ThreadSanitizer, which sees what was not published to whoever reads
# it. Then some orderings are weakened, which must be seen. Needs a nightly compiler; without one this says so and passes.
# ThreadSanitizer does not understand fences. Neither test relies on one of ours for its data, and crossbeam-epoch does
# without where it is built for this sanitizer.
set -eu
SANITIZER=ThreadSanitizer
SANITIZED_TARGET=${TSAN_TARGET_DIR:-target/tsan}
# The standard library is not rebuilt (that would need rust-src). Its atomics are inlined, and so instrumented; the
# contended path of its mutexes is not, so under --cfg tsan `sync::lock` goes round it. Mixing instrumented code with
# a plain standard library must be allowed by name.
RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan'
. "$(dirname "$0")/sanitized.sh"
export TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/ci/tsan.supp ${TSAN_OPTIONS:-}"

stress --test ring_stress --test memtable_stress "$@"
for name in lane_publish common_publish; do
    weakened $name ring_stress 'data race'
done
for name in tail_len tail_grow tail_fresh tail_mark newest_buf tail_retire; do
    weakened $name memtable_stress 'data race'
done
