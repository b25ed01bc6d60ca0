#!/bin/sh
# Runs the loom models: every order of the threads that differs, up to each model's bound of preemptions.
# Arguments go to cargo test, for example: ci/loom.sh --test ring_lane
set -eu
cd "$(dirname "$0")/.."
# A target folder of its own, so that the flags do not rebuild everything else.
RUSTFLAGS="--cfg loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=false \
    exec cargo test --release --package tidegauge-loom-tests --target-dir "${LOOM_TARGET_DIR:-target/loom}" "$@"
