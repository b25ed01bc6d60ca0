//! What the worker remembers of evicted series until no sample of theirs can come out of a lane any more.

use std::collections::HashMap;

use crate::ring::{Drain, Rings};

/// Evicted series by slot and tag, each eviction until everybody is known to be past it (V4, V5).
pub struct Graves<L> {
    /// By turn.
    burials: Vec<Burial<L>>,
}

/// What one eviction took.
struct Burial<L> {
    turn: u32,
    series: HashMap<(u32, u32), L>,
    bytes: usize,
    /// Laid across the common lane after the turn.
    bar: u64,
    /// All lanes have said that they saw the turn; what they pushed before is taken with this sweep (R18).
    last_sweep: Option<u64>,
}

impl<L> Default for Graves<L> {
    fn default() -> Self {
        Self { burials: Vec::new() }
    }
}

impl<L> Graves<L> {
    pub fn is_empty(&self) -> bool {
        self.burials.is_empty()
    }

    /// Series remembered.
    pub fn len(&self) -> usize {
        self.burials.iter().map(|burial| burial.series.len()).sum()
    }

    /// What remembering them takes, as far as those who buried them said.
    pub fn bytes(&self) -> usize {
        self.burials.iter().map(|burial| burial.bytes).sum()
    }

    /// After the eviction that ended with `turn`: `bar` was asked for behind that (V3, V4).
    pub fn bury(&mut self, turn: u32, series: HashMap<(u32, u32), L>, bytes: usize, bar: u64) {
        self.burials.push(Burial { turn, series, bytes, bar, last_sweep: None });
    }

    pub fn get(&self, slot: u32, tag: u32) -> Option<&L> {
        self.burials.iter().find_map(|burial| burial.series.get(&(slot, tag)))
    }

    /// Before a round is observed: what have all lanes seen by now? Takes the ring's mutex.
    pub fn before_round<S: Copy>(&mut self, rings: &Rings<S>, drain: &Drain<S>) {
        let seen = rings.seen_by_all();
        for burial in self.burials.iter_mut().filter(|burial| burial.last_sweep.is_none()) {
            burial.last_sweep = seen.is_none_or(|seen| seen >= burial.turn).then(|| drain.next_sweep());
        }
    }

    /// After a round was taken, or found empty: what everybody had passed before a sweep that is over may be forgotten.
    /// One burial at a time, for a thousand pieces are freed.
    pub fn after_round<S: Copy>(&mut self, drain: &Drain<S>) {
        let (passed, sweeps) = (drain.bars_passed(), drain.sweeps());
        let is_over =
            |burial: &Burial<L>| burial.last_sweep.is_some_and(|sweep| sweep <= sweeps) && burial.bar <= passed;
        if let Some(over) = self.burials.iter().position(is_over) {
            self.burials.remove(over);
        }
    }
}

/// What an appender has seen of evictions.
#[derive(Clone, Copy, Debug)]
pub struct Seen(u32);

impl Seen {
    /// Before the lane's first push.
    pub fn new<S: Copy>(tags: &super::Tags, lane: &crate::ring::LaneSender<S>) -> Self {
        let mut seen = Self(0);
        seen.look(tags, lane);
        seen
    }

    /// Whether an id may be pushed. Looks first whether there was an eviction (V3).
    #[inline]
    pub fn knows<S: Copy>(
        &mut self,
        tags: &super::Tags,
        lane: &crate::ring::LaneSender<S>,
        slot: u32,
        tag: u32,
    ) -> bool {
        self.refresh(tags, lane);
        tags.knows(slot, tag, self.0)
    }

    /// The turn by which the next ids are judged.
    #[inline]
    pub fn refresh<S: Copy>(&mut self, tags: &super::Tags, lane: &crate::ring::LaneSender<S>) -> u32 {
        if tags.turn() != self.0 {
            self.look(tags, lane);
        }
        self.0
    }

    #[cold]
    fn look<S: Copy>(&mut self, tags: &super::Tags, lane: &crate::ring::LaneSender<S>) {
        self.0 = tags.turn_seen();
        lane.has_seen(self.0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ring::RingLimits;

    /// V5: what an appender had pushed before it saw the eviction lies in a lane that the next round has no room for.
    #[test]
    fn a_grave_is_kept_until_every_lane_was_taken() {
        let limits = RingLimits { lane_samples: 4, common_samples: 4, lanes_max: 4, lane_bytes_max: 1 << 20 };
        let (rings, mut drain) = Rings::new(limits);
        let [mut full, mut other] = [(); 2].map(|()| rings.join().unwrap());
        assert_eq!(drain.observe(2), 0);
        full.push_slice(&[(7, 1); 3]).unwrap();
        other.push((0, 1)).unwrap();
        let mut graves = Graves::default();
        // The bar is passed: it is about the common lane.
        graves.bury(1, HashMap::from([((0, 1), ())]), 1, drain.bars_passed());
        [&full, &other].into_iter().for_each(|lane| lane.has_seen(1));
        let mut round = || {
            graves.before_round(&rings, &drain);
            drain.observe(2);
            let mut taken = Vec::new();
            drain.take(8, |samples| taken.extend_from_slice(samples));
            drain.publish(0);
            let is_known = graves.get(0, 1).is_some();
            graves.after_round(&drain);
            (taken, is_known)
        };
        assert_eq!(round(), (vec![(7, 1); 3], true));
        assert_eq!(round(), (vec![(0, 1)], true), "taken in a later round, and known still");
        assert!(graves.is_empty());
    }
}
