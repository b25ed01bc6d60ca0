//! V1 to V5 of `docs/concurrency.md`: whoever pushes a series that is evicted is refused, or his sample is known.
#![cfg(loom)]

use std::collections::HashMap;

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::evict::{Graves, Seen, Tags};
use tidegauge::loom_only::ring::{Drain, Refused, RingLimits, Rings};
use tidegauge_loom_tests::model;

const LIMITS: RingLimits = RingLimits { lane_samples: 4, common_samples: 4, lanes_max: 4, lane_bytes_max: 1 << 20 };

/// Slot and tag.
type Id = (u32, u32);

fn series() -> (Arc<Tags>, Id) {
    let tags = Tags::new(1);
    let tag = tags.give(0);
    (Arc::new(tags), (0, tag))
}

/// The worker: evicts the series, gives its slot to another one, and goes round until nothing is left to remember.
struct Worker {
    rings: Rings<Id>,
    drain: Drain<Id>,
    graves: Graves<()>,
    found: usize,
}

impl Worker {
    fn evict(&mut self, tags: &Tags, id: Id) -> Id {
        tags.take(id.0);
        let turn = tags.next_turn();
        self.graves.bury(turn, HashMap::from([(id, ())]), 1, self.drain.bar());
        (id.0, tags.give(id.0))
    }

    fn round(&mut self, tags: &Tags) -> usize {
        self.graves.before_round(&self.rings, &self.drain);
        // So that a sweep has several rounds.
        let ready = self.drain.observe(1);
        let (graves, found) = (&self.graves, &mut self.found);
        self.drain.for_each_slice_mut(|samples| {
            for (slot, tag) in samples {
                assert!(tags.of(*slot) == *tag || graves.get(*slot, *tag).is_some(), "whose is it?");
                *found += 1;
            }
        });
        self.drain.take(1, |_| {});
        self.drain.publish(0);
        self.graves.after_round(&self.drain);
        ready
    }
}

/// V2, V3, V5.
#[test]
fn what_an_appender_pushes_is_known_until_it_is_refused() {
    model(3, || {
        let (tags, id) = series();
        let (rings, mut drain) = Rings::new(LIMITS);
        let mut lane = rings.join().unwrap();
        let mut seen = Seen::new(&tags, &lane);
        assert_eq!(drain.observe(1), 0);
        let pusher = {
            let tags = Arc::clone(&tags);
            thread::spawn(move || {
                let mut pushed = 0;
                for _ in 0..2 {
                    if !seen.knows(&tags, &lane, id.0, id.1) {
                        break;
                    }
                    lane.push(id).unwrap();
                    pushed += 1;
                }
                pushed
            })
        };
        let mut worker = Worker { rings, drain, graves: Graves::default(), found: 0 };
        worker.evict(&tags, id);
        // The lane is closed at the end of the thread, so that this ends though it pushes no more.
        while !worker.graves.is_empty() || worker.drain.lanes() > 0 {
            if worker.round(&tags) == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(worker.found, pusher.join().unwrap());
    });
}

/// V1: a new series in the slot is taken from whoever has its id.
#[test]
fn an_id_given_after_the_eviction_is_good_at_once() {
    model(3, || {
        let (tags, id) = series();
        let (rings, drain) = Rings::new(LIMITS);
        let mut worker = Worker { rings, drain, graves: Graves::default(), found: 0 };
        let mut lane = worker.rings.join().unwrap();
        let mut seen = Seen::new(&tags, &lane);
        let new = worker.evict(&tags, id);
        let pusher = {
            let tags = Arc::clone(&tags);
            thread::spawn(move || {
                assert!(seen.knows(&tags, &lane, new.0, new.1));
                lane.push(new).unwrap();
                assert!(!seen.knows(&tags, &lane, id.0, id.1));
            })
        };
        while !worker.graves.is_empty() || worker.drain.lanes() > 0 {
            if worker.round(&tags) == 0 {
                thread::yield_now();
            }
        }
        pusher.join().unwrap();
        assert_eq!(worker.found, 1);
    });
}

/// V4, V5.
#[test]
fn what_comes_through_the_common_lane_is_known_until_it_is_refused() {
    model(3, || {
        let (tags, id) = series();
        let (rings, drain) = Rings::new(LIMITS);
        let common = rings.common();
        let pusher = {
            let tags = Arc::clone(&tags);
            thread::spawn(move || {
                loop {
                    let turn = tags.turn_seen();
                    if !tags.knows(id.0, id.1, turn) {
                        return 0;
                    }
                    match common.push_slice_if(&[id], || tags.turn() == turn) {
                        Err(Refused::Outdated) => {}
                        pushed => return usize::from(pushed.is_ok()),
                    }
                }
            })
        };
        let mut worker = Worker { rings, drain, graves: Graves::default(), found: 0 };
        worker.evict(&tags, id);
        // Without yielding: loom shows nothing old again to who has yielded.
        worker.round(&tags);
        let pushed = pusher.join().unwrap();
        while !worker.graves.is_empty() {
            worker.round(&tags);
        }
        worker.round(&tags);
        assert_eq!(worker.found, pushed);
    });
}
