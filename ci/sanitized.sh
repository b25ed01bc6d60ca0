# For ci/asan.sh and ci/tsan.sh, which say what they look for: sourced, after SANITIZER, SANITIZED_TARGET and RUSTFLAGS are
# set. Ends with a word, and well, where there is no nightly compiler.
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    exec ci/skipped.sh "$SANITIZER" "there is no nightly compiler"
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=line-tables-only RUSTFLAGS
# The target is named so that the flags do not reach build scripts and macros.
stress() {
    cargo +nightly test --quiet --package tidegauge --features internals --target "$target" \
        --target-dir "$SANITIZED_TARGET" --release "$@"
}

# weakened NAME TEST REPORT: with this ordering weakened, that test must end with that report.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
weakened() {
    if TIDEGAUGE_WEAKEN=$1 stress --test "$2" >"$log" 2>&1 || ! grep -q "$SANITIZER: $3" "$log"; then
        cat "$log"
        echo "$1 weakened: NOT NOTICED" >&2
        exit 1
    fi
    echo "$1 weakened: is reported, as it must be"
}
