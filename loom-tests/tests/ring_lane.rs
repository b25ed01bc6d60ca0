//! R1 to R6 of `docs/concurrency.md`: a lane, its laps, its batches, its end.
#![cfg(loom)]

use loom::thread;
use tidegauge::loom_only::ring::{Drain, LaneSender, Refused, RingLimits, Rings};
use tidegauge_loom_tests::model;

/// Two slots, so that a third sample laps.
const LIMITS: RingLimits = RingLimits { lane_samples: 2, common_samples: 2, lanes_max: 4, lane_bytes_max: 1 << 20 };

/// A lane that the drain has picked up already, so that no mutex orders what follows.
fn lane() -> (Rings<u64>, LaneSender<u64>, Drain<u64>) {
    let (rings, mut drain) = Rings::new(LIMITS);
    let lane = rings.join().unwrap();
    assert_eq!(drain.observe(1), 0);
    assert_eq!(drain.lanes(), 1);
    (rings, lane, drain)
}

/// A round, read twice over as the worker does.
fn round(drain: &mut Drain<u64>, seen: &mut Vec<u64>) -> usize {
    let ready = drain.observe(2);
    let mut first = Vec::new();
    drain.for_each_slice(|slice| first.extend_from_slice(slice));
    let mut second = Vec::new();
    // The sender may overwrite each sample once it is taken, while the next one is read.
    drain.take(1, |slice| second.extend_from_slice(slice));
    assert_eq!(first, second);
    assert_eq!(first.len(), ready);
    drain.publish(0);
    seen.extend(first);
    ready
}

/// R2, R3, R4.
#[test]
fn a_lane_that_laps_loses_nothing_and_overwrites_nothing() {
    model(3, || {
        let (_rings, mut lane, mut drain) = lane();
        let sender = thread::spawn(move || {
            for sample in 1..=3 {
                while lane.push(sample) == Err(Refused::Full) {
                    thread::yield_now();
                }
            }
            lane
        });
        let mut seen = Vec::new();
        while seen.len() < 3 {
            if round(&mut drain, &mut seen) == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(seen, [1, 2, 3]);
        drop(sender.join().unwrap());
    });
}

/// R5.
#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    model(3, || {
        let (_rings, mut lane, mut drain) = lane();
        let sender = thread::spawn(move || {
            for batch in [[1, 2], [3, 4]] {
                while lane.push_slice(&batch) == Err(Refused::Full) {
                    thread::yield_now();
                }
            }
            lane
        });
        let mut seen = Vec::new();
        while seen.len() < 4 {
            match round(&mut drain, &mut seen) {
                0 => thread::yield_now(),
                ready => assert_eq!(ready, 2, "half a batch"),
            }
        }
        assert_eq!(seen, [1, 2, 3, 4]);
        drop(sender.join().unwrap());
    });
}

/// R6, R11.
#[test]
fn a_closed_lane_is_read_to_its_end_before_it_retires() {
    model(3, || {
        let (_rings, mut lane, mut drain) = lane();
        let sender = thread::spawn(move || {
            lane.push(1).unwrap();
            lane.push(2).unwrap();
        });
        let mut seen = Vec::new();
        while drain.lanes() > 0 {
            if round(&mut drain, &mut seen) == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(seen, [1, 2]);
        sender.join().unwrap();
    });
}
