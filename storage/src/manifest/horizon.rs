//! What retention has dropped, so that nothing older shows again in its place.

use crate::model::{SeqNo, TimeRange, Timestamp, Tombstone};

/// Horizons that a store has at most.
pub const HORIZONS_MAX: usize = 32;

/// Samples before a time were dropped, of numbers up to some: what is left of that in sources wholly at or below the number
/// stays hidden, whatever rules there are. Later samples are not, of whatever time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The first timestamp that is kept.
    pub before: Timestamp,
    /// The greatest number of what was dropped. The greatest there is stands for all up to the next opening for writing: so
    /// it is in stores of versions that knew no numbers here.
    pub through: SeqNo,
    /// When it was made, nanoseconds since the Unix epoch.
    pub created: i64,
}

impl Horizon {
    /// The delete that hides the same.
    #[must_use]
    pub fn tombstone(&self) -> Tombstone {
        let range = TimeRange::new(Timestamp::MIN, self.before);
        Tombstone { seq: self.through, matchers: Vec::new(), range, created: self.created }
    }

    /// Whether it stands for all up to the next opening.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.through.0 == u64::MAX
    }

    fn covers(&self, other: &Self) -> bool {
        self.before >= other.before && self.through >= other.through
    }
}

/// Horizons of which none covers another one: ascending by time, and so descending by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Horizons(Vec<Horizon>);

impl Horizons {
    /// All of them, by time.
    pub fn iter(&self) -> impl Iterator<Item = &Horizon> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is there, as it is.
    #[must_use]
    pub fn contains(&self, horizon: &Horizon) -> bool {
        self.0.contains(horizon)
    }

    /// One more. Where that makes too many, the two that lie closest in time become one that covers both: what lies between
    /// their times and their numbers is hidden too then. A value is lost, which nothing had overwritten, rather than that one
    /// comes back that was.
    pub(super) fn add(&mut self, new: Horizon) {
        if new.before == Timestamp::MIN || self.0.iter().any(|old| old.covers(&new)) {
            return;
        }
        self.0.retain(|old| !new.covers(old));
        let at = self.0.partition_point(|old| old.before < new.before);
        self.0.insert(at, new);
        if self.0.len() > HORIZONS_MAX {
            let apart = |i: &usize| self.0[i + 1].before.nanos().abs_diff(self.0[*i].before.nanos());
            let closest = (0..self.0.len() - 1).min_by_key(apart).expect("more than one");
            let earlier = self.0.remove(closest);
            let later = &mut self.0[closest];
            later.through = earlier.through;
            later.created = later.created.max(earlier.created);
        }
    }

    /// Answers whether it was there.
    pub(super) fn remove(&mut self, before: Timestamp, through: SeqNo) -> bool {
        let was = self.0.len();
        self.0.retain(|one| (one.before, one.through) != (before, through));
        self.0.len() < was
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn horizon(before: i64, through: u64) -> Horizon {
        Horizon { before: Timestamp::from_nanos(before), through: SeqNo(through), created: 0 }
    }

    fn hides(all: &[Horizon], at: i64, seq: u64) -> bool {
        all.iter().any(|one| at < one.before.nanos() && seq <= one.through.0)
    }

    proptest! {
        /// Few of them hide what all together hid, and no more as long as they are no more than may be.
        #[test]
        fn few_horizons_hide_what_all_of_them_hid(
            added in prop::collection::vec((0i64..200, 0u64..200), 0..120),
        ) {
            let (mut all, mut horizons) = (Vec::new(), Horizons::default());
            let mut were_joined = false;
            for (before, through) in added {
                all.push(horizon(before, through));
                let room = horizons.iter().count() < HORIZONS_MAX;
                horizons.add(horizon(before, through));
                were_joined |= !room;
                let kept: Vec<Horizon> = horizons.iter().copied().collect();
                prop_assert!(kept.len() <= HORIZONS_MAX);
                let falls = |pair: &[Horizon]| pair[0].before < pair[1].before && pair[0].through > pair[1].through;
                prop_assert!(kept.windows(2).all(falls), "{kept:?}");
                for (at, seq) in (0..200).step_by(7).flat_map(|at| (0..200).step_by(7).map(move |seq| (at, seq))) {
                    let (wanted, found) = (hides(&all, at, seq), hides(&kept, at, seq));
                    prop_assert!(found || !wanted, "{at} of number {seq} shows again");
                    prop_assert!(were_joined || found == wanted, "{at} of number {seq} is hidden");
                }
            }
        }
    }

    #[test]
    fn one_too_many_joins_the_two_closest_in_time() {
        let mut horizons = Horizons::default();
        for i in 0..=HORIZONS_MAX as i64 {
            let before = i * 100 - if i == 7 { 1 } else { 0 };
            horizons.add(horizon(before + 1_000, 500 - i as u64));
        }
        let kept: Vec<Horizon> = horizons.iter().copied().collect();
        assert_eq!(kept.len(), HORIZONS_MAX);
        assert_eq!(kept[6], horizon(1_699, 494), "the later time, the greater number");
        assert!(horizons.remove(Timestamp::from_nanos(1_699), SeqNo(494)));
        assert!(!horizons.remove(Timestamp::from_nanos(1_699), SeqNo(494)));
    }
}
