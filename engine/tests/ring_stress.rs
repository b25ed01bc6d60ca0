//! The ring with real threads, for ThreadSanitizer (`ci/tsan.sh`) and as an ordinary test.
//!
//! Nothing here uses a fence, which ThreadSanitizer does not understand, so each report is a real one.
//! Small lanes and many laps; appenders come and go; waiters wait; the worker reads each round twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tidegauge::internals::ring::{BackPressure, Drain, LaneId, Refused, RingLimits, Rings};

/// As large as what the engine pushes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    who: u16,
    /// By which it was judged, if it came through the common lane.
    turn: u16,
    count: u32,
    timestamp: i64,
    value: f64,
}

impl Item {
    fn new(who: u32, count: u32) -> Item {
        Item {
            who: who as u16,
            turn: 0,
            count,
            timestamp: (i64::from(who) << 32) + i64::from(count),
            value: f64::from(count),
        }
    }

    /// A slot that is half one sample and half another shows.
    fn assert_whole(self) {
        assert_eq!(self, Item { turn: self.turn, ..Item::new(self.who.into(), self.count) });
    }
}

const PER_PUSHER: u32 = 30_000;
const LANES: u32 = 3;
const COMMON: u32 = 2;
const BLOCK: BackPressure = BackPressure::Block(Duration::from_secs(600));

/// Calls `push` with batches of 1 to 11 that together hold `0..PER_PUSHER`.
fn in_batches(who: u32, mut push: impl FnMut(&[Item])) {
    let mut next = 0;
    while next < PER_PUSHER {
        let len = (next.wrapping_mul(7) + who) % 11 + 1;
        let batch: Vec<Item> = (next..(next + len).min(PER_PUSHER)).map(|count| Item::new(who, count)).collect();
        push(&batch);
        next += batch.len() as u32;
    }
}

/// Waits until the lane is visible to `position`, and checks that the watermark came first.
fn wait(rings: &Rings<Item>, id: LaneId, position: u64, watermark: &AtomicU64) {
    loop {
        match rings.progress(id) {
            // Relaxed: what orders it is the lane's progress.
            None => return assert!(watermark.load(Ordering::Relaxed) > 0),
            Some(progress) if progress.visible_position >= position => {
                return assert!(watermark.load(Ordering::Relaxed) >= progress.visible_seq);
            }
            Some(_) => thread::yield_now(),
        }
    }
}

/// Takes turns all the while: what lies above the bar of one was judged by it.
fn drain_all(mut drain: Drain<Item>, watermark: &AtomicU64, turn: &AtomicU16) -> u64 {
    let (mut bar, mut judged_by) = (0, 0);
    let mut next = [0_u32; (LANES + COMMON) as usize];
    let mut seq = 0;
    while next.iter().any(|count| *count < PER_PUSHER) {
        if drain.bars_passed() == bar && judged_by < u16::MAX - 1 {
            judged_by = turn.load(Ordering::Relaxed);
            // Relaxed: the bar hands it over (R16).
            turn.store(judged_by + 1, Ordering::Relaxed);
            bar = drain.bar();
        }
        let ready = drain.observe(24);
        let mut logged = 0_i64;
        drain.for_each_slice(|slice| {
            logged = slice.iter().fold(logged, |sum, item| sum.wrapping_add(item.timestamp));
        });
        drain.take(37, |slice| {
            for item in slice {
                item.assert_whole();
                assert!(u32::from(item.who) < LANES || item.turn >= judged_by, "{item:?} came over bar {judged_by}");
                logged = logged.wrapping_sub(item.timestamp);
                assert_eq!(item.count, next[item.who as usize], "pusher {}", item.who);
                next[item.who as usize] += 1;
            }
        });
        assert_eq!(logged, 0, "the round changed between two readings");
        seq += ready as u64;
        watermark.store(seq, Ordering::Relaxed);
        drain.publish(seq);
        if ready == 0 {
            thread::yield_now();
        }
    }
    seq
}

#[test]
fn real_threads_lose_nothing_tear_nothing_and_are_answered() {
    let (rings, drain) =
        Rings::new(RingLimits { lane_samples: 32, common_samples: 32, lanes_max: 16, lane_bytes_max: 1 << 20 });
    let watermark = Arc::new(AtomicU64::new(0));
    let turn = Arc::new(AtomicU16::new(0));
    let mut pushers = Vec::new();
    for who in 0..LANES {
        let (rings, watermark) = (rings.clone(), Arc::clone(&watermark));
        pushers.push(thread::spawn(move || {
            let mut lane = rings.join().unwrap();
            in_batches(who, |batch| {
                let position = lane.push_slice_under(BLOCK, batch).unwrap();
                if batch[0].count % 97 == 0 {
                    wait(&rings, lane.id(), position, &watermark);
                }
                // Now and then the appender goes and another comes. Samples of two lanes have no order, so it waits.
                if batch[0].count % 101 == 0 {
                    let id = lane.id();
                    let fresh = rings.join().unwrap();
                    drop(std::mem::replace(&mut lane, fresh));
                    wait(&rings, id, position, &watermark);
                }
            });
        }));
    }
    for who in LANES..LANES + COMMON {
        let (rings, watermark, turn) = (rings.clone(), Arc::clone(&watermark), Arc::clone(&turn));
        pushers.push(thread::spawn(move || {
            let common = rings.common();
            in_batches(who, |batch| {
                let mut batch = batch.to_vec();
                let position = loop {
                    let judged_by = turn.load(Ordering::Relaxed);
                    batch.iter_mut().for_each(|item| item.turn = judged_by);
                    match common.push_slice_if(&batch, || turn.load(Ordering::Relaxed) == judged_by) {
                        Ok(position) => break position,
                        Err(Refused::Outdated) => {}
                        Err(refused) => {
                            assert_eq!(refused, Refused::Full);
                            thread::yield_now();
                        }
                    }
                };
                if batch[0].count % 97 == 0 {
                    wait(&rings, LaneId::COMMON, position, &watermark);
                }
            });
        }));
    }
    let drained = drain_all(drain, &watermark, &turn);
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    assert_eq!(drained, u64::from((LANES + COMMON) * PER_PUSHER));
    assert_eq!(rings.stats().pushed, drained);
}
