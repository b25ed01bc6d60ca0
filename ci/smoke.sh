#!/usr/bin/env bash
# The main job on this machine, seen from outside: it is ready within moments, has metrics, answers, ends well.
set -euo pipefail
binary=${1:-target/release/tidegauge}
dir=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
"$binary" serve --data-dir "$dir/data" --listen 127.0.0.1:0 >"$dir/out" 2>&1 &
pid=$!
# Taken whole before anything looks at it: a reader that has seen enough would end the sender with an error.
has() { curl -fsS "$url$1" >"$dir/answer" && grep -qi "$2" "$dir/answer"; }
fail() { echo "smoke: $*"; cat "$dir/out"; exit 1; }
deadline=$((SECONDS + 30))
url=
until url=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$dir/out") && [ -n "$url" ] &&
    curl -fsS -o /dev/null "$url/-/ready" 2>/dev/null; do
    kill -0 "$pid" 2>/dev/null || fail "it ended early"
    [ $SECONDS -lt $deadline ] || fail "not ready"
    sleep 0.1
done
until has "/api/v1/query?query=count(node_cpu_seconds_total)" '"value"'; do
    [ $SECONDS -lt $deadline ] || fail "no metrics of this machine"
    sleep 0.2
done
has / '<html' || fail "no page"
has /metrics '^tidegauge_' || fail "no metrics of its own"
kill -TERM "$pid"
wait "$pid" || fail "it did not end with 0"
"$binary" query 'count(node_cpu_seconds_total)' --data-dir "$dir/data" --format json >/dev/null || fail "no query after the end"
echo "smoke: ready, collecting, answering, closed"
