//! The ring does what its naive twin does.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::tests::{limits, round};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push { lane: usize, len: usize },
    Common { len: usize },
    Drop { lane: usize },
    Join,
    Bar,
    Round { max: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 0..11_usize).prop_map(|(lane, len)| Step::Push { lane, len }),
        3 => (0..11_usize).prop_map(|len| Step::Common { len }),
        1 => (0..4_usize).prop_map(|lane| Step::Drop { lane }),
        1 => Just(Step::Join),
        1 => Just(Step::Bar),
        3 => (1..20_usize).prop_map(|max| Step::Round { max }),
    ]
}

/// A lane as a child would write it.
#[derive(Default)]
struct Twin {
    /// A bar is an empty batch, and as long as one sample.
    queue: VecDeque<Vec<u64>>,
    len: usize,
    /// Of the common lane: all that was taken, bars too.
    gone: usize,
    open: bool,
    /// The drain has looked at it since it was closed.
    seen_closed: bool,
    bars_asked: u64,
    bars_passed: u64,
}

impl Twin {
    fn push(&mut self, batch: &[u64]) -> bool {
        let fits = self.len + batch.len() <= 8;
        if fits && !batch.is_empty() {
            self.queue.push_back(batch.to_vec());
            self.len += batch.len();
        }
        fits
    }

    fn bar(&mut self) -> u64 {
        self.bars_asked = self.bars_passed + 1 + u64::from(self.queue.iter().any(Vec::is_empty));
        self.lay();
        self.bars_asked
    }

    fn lay(&mut self) {
        if self.bars_asked > self.bars_passed && self.len < 8 && !self.queue.iter().any(Vec::is_empty) {
            self.queue.push_back(Vec::new());
            self.len += 1;
        }
    }

    fn take_all(&mut self) -> Vec<u64> {
        self.len = 0;
        self.queue.drain(..).flatten().collect()
    }

    /// Of the common lane; and whether something was left.
    fn take(&mut self, room: usize, one_at_least: bool) -> (Vec<u64>, bool) {
        if self.queue.front().is_some_and(Vec::is_empty) {
            self.queue.pop_front();
            self.len -= 1;
            self.gone += 1;
            self.bars_passed += 1;
        }
        self.lay();
        let mut taken = Vec::new();
        while let Some(batch) = self.queue.pop_front() {
            let fits = taken.len() + batch.len() <= room || one_at_least && taken.is_empty();
            if batch.is_empty() || !fits {
                self.queue.push_front(batch);
                break;
            }
            taken.extend(batch);
        }
        self.len -= taken.len();
        self.gone += taken.len();
        let left = !self.queue.is_empty();
        if !taken.is_empty() {
            self.lay();
        }
        (taken, left)
    }
}

/// All lanes by number, 0 being the common lane's, and where the next round begins.
struct Twins {
    lanes: std::collections::BTreeMap<u64, Twin>,
    from: u64,
    /// How much of the common lane belongs to the sweep, once that has come by.
    common_to: Option<usize>,
    sweeps: u64,
}

impl Twins {
    fn round(&mut self, max: usize) -> Vec<u64> {
        let amid = self.lanes.keys().any(|id| (1..self.from).contains(id));
        let mut taken = self.go_on(max);
        if taken.is_empty() && amid {
            taken = self.go_on(max);
        }
        self.lanes.retain(|_, twin| twin.len > 0 || !twin.seen_closed);
        taken
    }

    fn go_on(&mut self, max: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        for (&id, twin) in self.lanes.range_mut(self.from.max(1)..) {
            twin.seen_closed = !twin.open;
            self.from = id;
            if twin.len > 0 && !taken.is_empty() && taken.len() + twin.len > max {
                return taken;
            }
            taken.extend(twin.take_all());
            self.from = id + 1;
        }
        let common = self.lanes.get_mut(&0).unwrap();
        let to = *self.common_to.get_or_insert(common.gone + common.len);
        let (of_common, left) = common.take(max.saturating_sub(taken.len()), taken.is_empty());
        taken.extend(of_common);
        if taken.is_empty() || !left || common.gone >= to {
            (self.from, self.common_to, self.sweeps) = (0, None, self.sweeps + 1);
        }
        taken
    }
}

proptest! {
    #[test]
    fn the_ring_does_what_its_naive_twin_does(steps in proptest::collection::vec(step(), 1..120)) {
        let (rings, mut drain) = Rings::new(RingLimits { lanes_max: 4, ..limits(8) });
        let mut senders: Vec<LaneSender<u64>> = Vec::new();
        let lanes = [(0, Twin { open: true, ..Twin::default() })].into();
        let mut twins = Twins { lanes, from: 0, common_to: None, sweeps: 0 };
        let mut next = 0;
        // What lies in lanes, and who asked for a sweep when all below a sample had been pushed.
        let (mut waiting, mut asked) = (BTreeSet::<u64>::new(), Vec::new());
        for (seq, step) in steps.into_iter().enumerate() {
            let mut batch = |len: usize| -> Vec<u64> {
                next += len as u64;
                (next - len as u64..next).collect()
            };
            match step {
                Step::Push { lane, len } => {
                    let Some(sender) = senders.get_mut(lane) else { continue };
                    let samples = batch(len);
                    let fits = twins.lanes.get_mut(&sender.id().get()).unwrap().push(&samples);
                    let answer = sender.push_slice(&samples);
                    waiting.extend(samples.iter().filter(|_| fits));
                    let refused = if len > 8 { Refused::TooLong } else { Refused::Full };
                    prop_assert_eq!(answer.err(), (!fits).then_some(refused));
                }
                Step::Common { len } => {
                    let samples = batch(len);
                    let fits = twins.lanes.get_mut(&0).unwrap().push(&samples);
                    let refused = if len > 8 { Refused::TooLong } else { Refused::Full };
                    prop_assert_eq!(rings.common().push_slice(&samples).err(), (!fits).then_some(refused));
                    waiting.extend(samples.iter().filter(|_| fits));
                }
                Step::Drop { lane } => {
                    if lane < senders.len() {
                        twins.lanes.get_mut(&senders.swap_remove(lane).id().get()).unwrap().open = false;
                    }
                }
                Step::Join => match rings.join() {
                    Ok(sender) => {
                        twins.lanes.insert(sender.id().get(), Twin { open: true, ..Twin::default() });
                        senders.push(sender);
                    }
                    Err(_) => prop_assert_eq!(twins.lanes.len(), 5),
                },
                Step::Bar => prop_assert_eq!(drain.bar(), twins.lanes.get_mut(&0).unwrap().bar()),
                Step::Round { max } => {
                    let taken = round(&mut drain, max, seq as u64);
                    prop_assert!(taken.iter().all(|sample| waiting.remove(sample)));
                    prop_assert_eq!(taken, twins.round(max));
                    prop_assert_eq!(drain.bars_passed(), twins.lanes[&0].bars_passed);
                    prop_assert_eq!(drain.sweeps(), twins.sweeps);
                    // R18: at the end of the sweep that he asked for, all of that was taken.
                    let is_over = |(sweep, _): &(u64, u64)| *sweep <= drain.sweeps();
                    let over = asked.iter().filter(|asked| is_over(asked)).map(|(_, pushed)| *pushed).max();
                    prop_assert!(over.is_none_or(|pushed| waiting.range(..pushed).next().is_none()));
                    asked.retain(|asked| !is_over(asked));
                }
            }
            prop_assert!(drain.next_sweep() <= drain.sweeps() + 2, "the next one, whether one is under way or not");
            asked.push((drain.next_sweep(), next));
            prop_assert_eq!(rings.stats().lanes.len(), twins.lanes.len());
        }
    }
}
