#!/bin/sh
# Stress with real threads and real epochs under AddressSanitizer, which sees reads of freed memory: the memtable by
# itself, and a whole engine. Then freeing too early (T6) must be seen. Needs a nightly compiler; without one this says so
# and passes.
set -eu
SANITIZER=AddressSanitizer
SANITIZED_TARGET=${ASAN_TARGET_DIR:-target/asan}
# crossbeam_sanitize: crossbeam frees in small portions, and so sooner.
RUSTFLAGS='-Zsanitizer=address --cfg asan --cfg crossbeam_sanitize'
. "$(dirname "$0")/sanitized.sh"

stress --test memtable_stress --test engine_stress "$@"
weakened tail_retire memtable_stress heap-use-after-free
