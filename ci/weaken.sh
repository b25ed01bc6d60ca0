#!/bin/sh
# Shows that the loom models can fail: weakens each named ordering in turn (to Relaxed, a fence or a step to
# nothing, see engine/src/sync/ordering.rs) and expects a model to fail. Exits 1 if some weakening goes unnoticed,
# or if a name is in only one of the table below and the code.
set -eu
cd "$(dirname "$0")/.."

# name of the ordering, the test file whose models hold it up (`asan`: no model, but ci/asan.sh)
table='
bar              evict
bar_seen         evict
bar_seen_again   evict
batch_last_seq   batch
common_observe   ring_common
common_publish   ring_common
common_reclaim   ring_common
common_release   ring_common
cut_again        versions
durable          watermark
durable_read     watermark
ended            ring_progress
ended_read       ring_progress
feed_ended       subscribe
feed_missed      subscribe
feed_told        subscribe
idle_mark        tail
lane_close       ring_lane
lane_observe     ring_lane
lane_publish     ring_lane
lane_reclaim     ring_lane
lane_release     ring_lane
lane_seen        evict
lane_seen_read   evict
lane_sever       subscribe
newest_buf       tail
newest_len       tail
pin_announce     pins
pin_look         pins
pin_used         pins
progress_publish ring_progress
progress_read    ring_progress
reply_gone       requests
reply_told       requests
requests_closed  requests
requests_room    requests
rotation_generation versions
tail_empty       tail
tail_fresh       tail
tail_grow        tail
tail_late        tail
tail_len         tail
tail_mark        tail
tail_read_buf    tail
tail_read_late   tail
tail_read_len    tail
tail_read_mark   tail
tail_retire      asan
tail_seal        tail
turn             evict
turn_read        evict
version_load     versions
version_store    versions
wait_numbered    wait
wait_pushed      wait
wait_reached     wait
wait_register    wait
wait_visible     wait
watermark        watermark
watermark_read   watermark
watermark_read_seq watermark
watermark_seq    watermark
'

in_code=$(grep -rhoE 'weakenable(_fence|_step)?!\("[a-z0-9_]+"' engine/src --include='*.rs' --exclude=ordering.rs | sed 's/.*"\(.*\)"/\1/' | sort)
in_table=$(echo "$table" | awk 'NF { print $1 }' | sort)
if [ "$in_code" != "$in_table" ]; then
    echo "the table in ci/weaken.sh and the names in the code differ:" >&2
    printf '%s\n' "$in_code" "$in_table" | sort | uniq -u >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# As they are, the models must hold; else a failure below would say nothing.
ci/loom.sh --no-fail-fast >"$log" 2>&1 || { cat "$log"; exit 1; }

unnoticed=0
printf '%-20s %-16s %s\n' weakened models outcome
for name in $in_table; do
    file=$(echo "$table" | awk -v name="$name" '$1 == name { print $2 }')
    if [ "$file" = asan ]; then
        printf '%-20s %-16s %s\n' "$name" "$file" 'left to ci/asan.sh'
        continue
    fi
    if TIDEGAUGE_WEAKEN=$name RUST_BACKTRACE=0 ci/loom.sh --test "$file" --no-fail-fast >"$log" 2>&1; then
        outcome='NOT NOTICED'
        unnoticed=$((unnoticed + 1))
    elif grep -q 'exceeded maximum number of branches' "$log"; then
        outcome='RAN AWAY: a model must end, weakened or not'
        unnoticed=$((unnoticed + 1))
    elif grep -q '^test .* FAILED$' "$log"; then
        outcome="fails, as it must: $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | paste -sd' ' -)"
    elif grep -q 'deadlock; threads' "$log"; then
        # Without unwinding: loom's own destructors may panic while a deadlock unwinds, which aborts.
        outcome='fails, as it must: deadlock'
    else
        cat "$log"
        outcome='did not run'
        unnoticed=$((unnoticed + 1))
    fi
    printf '%-20s %-16s %s\n' "$name" "$file" "$outcome"
done
if [ "$unnoticed" -gt 0 ]; then
    echo "$unnoticed weakenings went unnoticed" >&2
    exit 1
fi
