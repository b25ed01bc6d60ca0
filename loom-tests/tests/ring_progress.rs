//! R10 to R14 of `docs/concurrency.md`: lanes come and go, and waiters are answered in time and not before.
#![cfg(loom)]

use std::sync::atomic::Ordering::Relaxed;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use tidegauge::loom_only::ring::{Drain, RingLimits, Rings};
use tidegauge::loom_only::wait::Ended;
use tidegauge_loom_tests::model;

const LIMITS: RingLimits = RingLimits { lane_samples: 2, common_samples: 2, lanes_max: 4, lane_bytes_max: 1 << 20 };

/// A round of a worker whose watermark has no ordering of its own.
fn round(drain: &mut Drain<u64>, watermark: &AtomicU64) -> usize {
    let ready = drain.observe(2);
    let mut seen = 0;
    drain.take(2, |slice| seen += slice.len());
    assert_eq!(seen, ready);
    if ready > 0 {
        let seq = watermark.load(Relaxed) + ready as u64;
        watermark.store(seq, Relaxed);
        drain.publish(seq);
    }
    ready
}

/// R13, R14.
#[test]
fn a_waiter_is_answered_and_finds_the_watermark_as_far() {
    model(3, || {
        let (rings, mut drain) = Rings::new(LIMITS);
        let mut lane = rings.join().unwrap();
        assert_eq!(drain.observe(1), 0);
        let watermark = Arc::new(AtomicU64::new(0));
        let waiter = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || {
                for sample in 1..=2 {
                    let position = lane.push(sample).unwrap();
                    let progress = loop {
                        let progress = lane.progress();
                        if progress.visible_position >= position {
                            break progress;
                        }
                        thread::yield_now();
                    };
                    assert!(progress.visible_seq >= position, "an older number than the sample's");
                    assert!(watermark.load(Relaxed) >= progress.visible_seq, "answered early");
                }
                lane
            })
        };
        let mut seen = 0;
        while seen < 2 {
            match round(&mut drain, &watermark) {
                0 => thread::yield_now(),
                ready => seen += ready,
            }
        }
        drop(waiter.join().unwrap());
    });
}

/// R10, R11, R14: the appender comes and goes while the worker drains; its ack outlives its lane.
#[test]
fn a_lane_that_comes_and_goes_is_drained_and_its_waiter_answered() {
    model(2, || {
        let (rings, mut drain) = Rings::new(LIMITS);
        let watermark = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (rings, watermark) = (rings.clone(), Arc::clone(&watermark));
            thread::spawn(move || {
                let mut lane = rings.join().unwrap();
                let (id, position) = (lane.id(), lane.push(1).unwrap());
                drop(lane);
                while rings.progress(id).is_some_and(|progress| progress.visible_position < position) {
                    thread::yield_now();
                }
                assert_eq!(watermark.load(Relaxed), 1, "answered early");
            })
        };
        while watermark.load(Relaxed) == 0 {
            if round(&mut drain, &watermark) == 0 {
                thread::yield_now();
            }
        }
        waiter.join().unwrap();
        drain.observe(2);
        assert_eq!(drain.lanes(), 0, "a closed lane with nothing left is retired");
    });
}

/// R10, R12: two join at once; both are found, and a place is given once.
#[test]
fn two_that_join_at_once_are_both_found() {
    model(2, || {
        let (rings, mut drain) = Rings::new(RingLimits { lanes_max: 2, ..LIMITS });
        let joiners = [1, 2].map(|sample| {
            let rings = rings.clone();
            thread::spawn(move || {
                let mut lane = rings.join().unwrap();
                lane.push(sample).unwrap();
                lane.id()
            })
        });
        let watermark = AtomicU64::new(0);
        while watermark.load(Relaxed) < 2 {
            if round(&mut drain, &watermark) == 0 {
                thread::yield_now();
            }
        }
        let ids = joiners.map(|joiner| joiner.join().unwrap());
        assert_ne!(ids[0], ids[1]);
    });
}

/// R14: when the worker goes, a waiter either finds his sample visible or learns that it never will be.
#[test]
fn a_waiter_does_not_outwait_the_worker() {
    model(3, || {
        let (rings, mut drain) = Rings::new(LIMITS);
        let mut lane = rings.join().unwrap();
        let ended = Arc::new(Ended::new());
        assert_eq!(drain.observe(1), 0);
        let waiter = {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let Ok(position) = lane.push(1) else { return 0 };
                loop {
                    // As `Wait::answer` does: first asked, then looked.
                    let over = ended.is_told();
                    let visible = lane.progress().visible_position;
                    if visible >= position || over {
                        return visible;
                    }
                    thread::yield_now();
                }
            })
        };
        let published = round(&mut drain, &AtomicU64::new(0)) as u64;
        drop(drain);
        ended.tell();
        assert_eq!(waiter.join().unwrap(), published);
    });
}
