//! The naive twin: what was accepted, in order, and what was promised about it at which step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use foldhash::HashMap;

use crate::acts::Acts;
use crate::numbers::{Known, Numbers, are_one_prefix};

/// Which series, which timestamp.
pub type Key = (u8, u8, i64);

/// One sample of series `series` of lane `lane`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Who pushes it. Lanes push to series of their own.
    pub lane: u8,
    /// The series within the lane.
    pub series: u8,
    /// Nanoseconds.
    pub timestamp: i64,
    /// No two samples of a run have the same.
    pub value: f64,
}

/// A step of the order of acceptance: all of it is there, or nothing.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// One sample of a plain push.
    Sample(Sample),
    /// What was accepted before, as far as it is named, is gone (P9).
    Delete(Named),
    /// From now on nothing before this is shown of one series, or of all.
    Age {
        /// Which; all of them if `None`.
        series: Option<u8>,
        /// The first nanosecond that is kept.
        horizon: i64,
    },
}

impl Op {
    /// The one series that it changes, or all.
    pub(crate) fn series(&self) -> Option<u8> {
        match self {
            Self::Sample(sample) => Some(sample.series),
            Self::Delete(named) => named.series,
            Self::Age { series, .. } => *series,
        }
    }
}

/// Samples of one lane.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// One series, or all.
    pub series: Option<u8>,
    /// From this nanosecond on.
    pub from: i64,
    /// Up to before this one.
    pub until: i64,
}

impl Named {
    fn has(&self, (_, series, at): &Key) -> bool {
        self.series.is_none_or(|one| one == *series) && (self.from..self.until).contains(at)
    }
}

/// What rules of retention hide, however lately it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Of every series what lies before this.
    pub horizon: Option<i64>,
    /// Of some series what lies before this.
    pub ages: HashMap<u8, i64>,
}

impl Hidden {
    fn has(&self, (_, series, at): &Key) -> bool {
        self.horizon.is_some_and(|horizon| *at < horizon) || self.ages.get(series).is_some_and(|age| at < age)
    }

    fn hide(&mut self, series: Option<u8>, horizon: i64) {
        match series {
            Some(series) => drop(self.ages.insert(series, horizon)),
            None => self.horizon = self.horizon.max(Some(horizon)),
        }
    }
}

/// A hash that does not depend on the order.
#[must_use]
pub fn hash_of(key: Key, bits: u64) -> u64 {
    let mut z = bits ^ (key.2 as u64).rotate_left(32) ^ u64::from(key.0) << 8 ^ u64::from(key.1) << 16;
    for _ in 0..2 {
        z = (z ^ (z >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        z = (z ^ (z >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d);
    }
    z ^ (z >> 33)
}

/// What a lane's series hold, and its hash.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Value bits by key.
    pub samples: HashMap<Key, u64>,
    /// What is not shown, whenever it comes.
    pub hidden: Hidden,
    hash: u64,
}

/// What was there before an operation.
#[derive(Clone, Debug, Default)]
pub struct Before {
    values: Vec<(Key, Option<u64>)>,
    hidden: Option<Hidden>,
}

impl Contents {
    /// The last accepted wins (P6). Answers what [`Self::take_back`] needs.
    pub fn apply(&mut self, op: &Op) -> Before {
        match op {
            Op::Sample(s) => {
                let key = (s.lane, s.series, s.timestamp);
                if self.hidden.has(&key) {
                    return Before::default();
                }
                let old = self.samples.get(&key).copied();
                self.put(key, s.value.to_bits());
                Before { values: vec![(key, old)], hidden: None }
            }
            Op::Delete(named) => Before { values: self.remove(|key| named.has(key)), hidden: None },
            Op::Age { series, horizon } => {
                let before = self.hidden.clone();
                self.hidden.hide(*series, *horizon);
                let hidden = self.hidden.clone();
                Before { values: self.remove(|key| hidden.has(key)), hidden: Some(before) }
            }
        }
    }

    /// Replaces what is there.
    pub fn put(&mut self, key: Key, bits: u64) {
        if let Some(old) = self.samples.insert(key, bits) {
            self.hash = self.hash.wrapping_sub(hash_of(key, old));
        }
        self.hash = self.hash.wrapping_add(hash_of(key, bits));
    }

    fn remove(&mut self, gone: impl Fn(&Key) -> bool) -> Vec<(Key, Option<u64>)> {
        let removed: Vec<(Key, u64)> = self.samples.extract_if(|key, _| gone(key)).collect();
        for (key, bits) in &removed {
            self.hash = self.hash.wrapping_sub(hash_of(*key, *bits));
        }
        removed.into_iter().map(|(key, bits)| (key, Some(bits))).collect()
    }

    /// What is here, and is not in `found`, by time.
    #[must_use]
    pub fn lacking(&self, found: &Self) -> BTreeMap<i64, Vec<Key>> {
        let mut lacking: BTreeMap<i64, Vec<Key>> = BTreeMap::new();
        for key in self.samples.keys().filter(|key| !found.samples.contains_key(*key)) {
            lacking.entry(key.2).or_default().push(*key);
        }
        lacking
    }

    /// These were dropped for good.
    pub fn drop_all(&mut self, keys: &[Key]) {
        self.remove(|key| keys.contains(key));
    }

    /// Puts back what was there before some operations, given in their order.
    pub fn take_back(&mut self, before: Vec<Before>) {
        for Before { values, hidden } in before.into_iter().rev() {
            for (key, old) in values.into_iter().rev() {
                if let Some(bits) = self.samples.remove(&key) {
                    self.hash = self.hash.wrapping_sub(hash_of(key, bits));
                }
                if let Some(bits) = old {
                    self.put(key, bits);
                }
            }
            self.hidden = hidden.unwrap_or(std::mem::take(&mut self.hidden));
        }
    }

    /// The hash of everything.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// One order of things that happen, and what was promised about how many of them.
#[derive(Clone, Debug)]
pub struct Track {
    /// The hash of the contents after so many operations.
    hashes: Vec<u64>,
    /// (step, operations) from which on so many may have been accepted.
    begun: Vec<(u64, usize)>,
    /// (step, operations) from which on so many survive the death of the process.
    visible: Vec<(u64, usize)>,
    /// (step, operations) from which on so many survive a power loss.
    durable: Vec<(u64, usize)>,
    /// What is known of them by number.
    pub(crate) numbers: Numbers,
}

impl Track {
    /// A track that begins with something that is durable.
    #[must_use]
    pub fn new(step: u64, hash: u64) -> Self {
        let begun = vec![(step, 0)];
        let (visible, durable) = (begun.clone(), begun.clone());
        Self { hashes: vec![hash], begun, visible, durable, numbers: Numbers::default() }
    }

    /// A track whose last operation is visible, and of which only the first state in `allowed` is durable.
    #[must_use]
    pub fn of(allowed: &Allowed, operations: usize) -> Self {
        let visible = operations.saturating_sub(allowed.floor);
        let hashes = allowed.hashes[..=visible].to_vec();
        let (begun, numbers) = (vec![(0, visible)], Numbers::default());
        Self { hashes, visible: begun.clone(), begun, durable: vec![(0, 0)], numbers }
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len() - 1
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hash after all operations so far.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.hashes.last().copied().unwrap_or_default()
    }

    /// The next operation leads to contents of this hash.
    pub fn push(&mut self, hash: u64) {
        self.hashes.push(hash);
    }

    /// From `step` on, all operations so far may have been accepted.
    pub fn begin(&mut self, step: u64) {
        self.begun.push((step, self.len()));
    }

    /// From `step` on, the first `count` operations are visible.
    pub fn note_visible(&mut self, step: u64, count: usize) {
        self.visible.push((step, count));
    }

    /// From `step` on, the first `count` operations are durable.
    pub fn note_durable(&mut self, step: u64, count: usize) {
        self.durable.push((step, count));
    }

    /// The operations behind the first `count` were refused: they never were, nor will be.
    pub fn take_back(&mut self, count: usize) {
        self.hashes.truncate(count + 1);
        self.begun.retain(|(_, n)| *n <= count);
        self.numbers.take_back(count);
    }

    /// Only the first `count` operations ever were: the rest did not come back.
    pub fn settle(&mut self, step: u64, count: usize) {
        self.hashes.truncate(count + 1);
        for marks in [&mut self.begun, &mut self.visible, &mut self.durable] {
            marks.clear();
            marks.push((step, count));
        }
        self.numbers.take_back(count);
        self.numbers.marks.clear();
    }

    /// What may come back from a death at `step`.
    #[must_use]
    pub fn allowed(&self, step: u64, death: Death) -> Allowed {
        let last =
            |marks: &[(u64, usize)]| marks.iter().filter(|(s, _)| *s <= step).map(|(_, n)| *n).max().unwrap_or(0);
        let floor = match death {
            Death::Kill => last(&self.visible).max(last(&self.durable)),
            Death::PowerLoss => last(&self.durable),
        };
        let ceil = last(&self.begun).max(floor);
        Allowed { floor, hashes: self.hashes[floor..=ceil].to_vec() }
    }
}

/// How the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process died; the page cache lived on.
    Kill,
    /// The machine lost power.
    PowerLoss,
}

/// Hashes of what may come back, the first being that of the least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Operations of the first.
    pub floor: usize,
    /// One for each number of operations from there on.
    pub hashes: Vec<u64>,
}

impl Allowed {
    /// How many operations lead to contents of this hash: the least and the most, for some change nothing, and a
    /// delete may lead back to what was there before.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<(usize, usize)> {
        let first = self.hashes.iter().position(|h| *h == hash)?;
        let last = self.hashes.iter().rposition(|h| *h == hash)?;
        Some((self.floor + first, self.floor + last))
    }
}

/// One process's time: from its opening to the next one's.
#[derive(Clone, Debug)]
pub struct Era {
    /// The step at which its opening had returned.
    pub from: u64,
    /// A track for each lane.
    pub lanes: Vec<Track>,
    /// What is known about metrics.
    pub metadata: Track,
    /// Operations of each lane when all of them were seen to be visible.
    pub barriers: Vec<Vec<usize>>,
    /// Operations of each lane before one that all lanes have together, or none (P8).
    pub atomics: Vec<Vec<usize>>,
    /// (step, acts) from which on the audit log tells of so many.
    pub audited: Vec<(u64, usize)>,
    /// Copies of the store, each with the steps at which it was begun and from which on it is durable.
    pub copies: Vec<(u64, u64, Copy)>,
    /// (step, number) from which on the manifest calls so many of its commits durable itself.
    pub witnessed: Vec<(u64, u64)>,
}

/// A copy of the store that was made meanwhile.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Where.
    pub dir: PathBuf,
    /// What it holds.
    pub found: Found,
}

/// Everything that may come back from one crash.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// For each lane.
    pub lanes: Vec<Allowed>,
    /// Of the metadata.
    pub metadata: Allowed,
    /// Acts that the audit log tells of, at least.
    pub acts: usize,
    /// The last copies of the store that were begun before, and whether each was finished.
    pub copies: Vec<(bool, Copy)>,
    /// Commits that the manifest calls durable itself, at least.
    pub witnessed: u64,
    pub(crate) barriers: Arc<Vec<Vec<usize>>>,
    pub(crate) atomics: Arc<Vec<Vec<usize>>>,
    /// Of each lane.
    pub(crate) numbers: Arc<Vec<Numbers>>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Hash of each lane's contents.
    pub lanes: Vec<u64>,
    /// Hash of the metadata.
    pub metadata: u64,
}

/// How many operations that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Of each lane.
    pub lanes: Vec<usize>,
    /// Of the metadata.
    pub metadata: usize,
}

impl Expected {
    /// What came back, and nothing else: of several lanes it was judged before.
    #[must_use]
    pub fn exactly(&self, prefix: &Prefix) -> Self {
        let one =
            |(allowed, n): (&Allowed, &usize)| Allowed { floor: *n, hashes: vec![allowed.hashes[n - allowed.floor]] };
        let lanes = self.lanes.iter().zip(&prefix.lanes).map(one).collect();
        let (barriers, atomics) = Default::default();
        let numbers = Arc::new(self.numbers.iter().map(|numbers| numbers.from(0)).collect());
        Self { lanes, metadata: one((&self.metadata, &prefix.metadata)), barriers, atomics, numbers, ..self.clone() }
    }

    /// The time until the opening after which `prefix` came back had returned.
    #[must_use]
    pub fn left(&self, prefix: &Prefix) -> Era {
        let mut lanes: Vec<_> =
            self.lanes.iter().zip(&prefix.lanes).map(|(allowed, n)| Track::of(allowed, *n)).collect();
        for ((track, allowed), numbers) in lanes.iter_mut().zip(&self.lanes).zip(&*self.numbers) {
            track.numbers = numbers.from(allowed.floor);
        }
        Era {
            from: 0,
            lanes,
            metadata: Track::of(&self.metadata, prefix.metadata),
            barriers: Vec::new(),
            atomics: Vec::new(),
            audited: Vec::new(),
            copies: Vec::new(),
            witnessed: vec![(0, self.witnessed)],
        }
    }

    /// Numbers of last samples that came back with `prefix`.
    #[must_use]
    pub fn known(&self, prefix: &Prefix) -> Vec<Known> {
        let lanes = self.numbers.iter().zip(&prefix.lanes).zip(0..);
        lanes.flat_map(|((numbers, n), lane)| numbers.behind(*n).map(move |(one, seq)| (lane, one, seq))).collect()
    }

    /// Whether `found` is a prefix of what was accepted, with all that was promised.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self, found: &Found) -> Result<Prefix, String> {
        let mut lanes = Vec::new();
        for (lane, (allowed, hash)) in self.lanes.iter().zip(&found.lanes).enumerate() {
            let n = allowed.find(*hash).ok_or_else(|| {
                let (least, most) = (allowed.floor, allowed.floor + allowed.hashes.len() - 1);
                format!("lane {lane} holds no prefix of {least} to {most} operations")
            })?;
            lanes.push(n);
        }
        for barrier in self.barriers.iter() {
            let beyond = lanes.iter().zip(barrier).any(|((least, _), at)| least > at);
            if beyond && lanes.iter().zip(barrier).any(|((_, most), at)| most < at) {
                return Err(format!("{lanes:?} came back, though {barrier:?} was visible before what came later"));
            }
        }
        for before in self.atomics.iter() {
            let has = lanes.iter().zip(before).any(|((least, _), at)| least > at);
            if has && lanes.iter().zip(before).any(|((_, most), at)| most <= at) {
                return Err(format!("{lanes:?} came back: a part of what is one behind {before:?}"));
            }
        }
        are_one_prefix(&self.numbers, &lanes)?;
        let (_, metadata) = self.metadata.find(found.metadata).ok_or("the metadata is none of its states")?;
        Ok(Prefix { lanes: lanes.into_iter().map(|(_, most)| most).collect(), metadata })
    }
}

/// What a run's disk may hold at each of its steps.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// One for each process.
    pub eras: Vec<Arc<Era>>,
    /// What was under way when.
    pub acts: Acts,
}

impl History {
    /// Every state there ever was up to `step`, promised or not.
    #[must_use]
    pub fn any_prefix(&self, step: u64) -> Expected {
        let mut expected = self.expected(step, Death::PowerLoss);
        let era = self.era_at(step);
        for (allowed, track) in expected.lanes.iter_mut().zip(&era.lanes) {
            *allowed = Allowed { floor: 0, hashes: track.hashes.clone() };
        }
        expected.metadata = Allowed { floor: 0, hashes: era.metadata.hashes.clone() };
        expected
    }

    /// Nothing is expected of the audit log: what an act notes there may fail, and the act stands.
    pub fn forget_audit(&mut self) {
        self.eras.iter_mut().for_each(|era| Arc::make_mut(era).audited.clear());
    }

    fn era_at(&self, step: u64) -> &Era {
        self.eras.iter().rev().find(|era| era.from <= step).unwrap_or(&self.eras[0])
    }

    /// What may come back from a death at `step`: by the last process that had opened before.
    /// While the next one opens, it can only cut what that one wrote.
    #[must_use]
    pub fn expected(&self, step: u64, death: Death) -> Expected {
        let era = self.era_at(step);
        let lanes = era.lanes.iter().map(|lane| lane.allowed(step, death)).collect();
        let metadata = era.metadata.allowed(step, death);
        let acts = era.audited.iter().filter(|(s, _)| *s <= step).map(|(_, n)| *n).max().unwrap_or(0);
        let begun = era.copies.iter().rev().filter(|(begun, ..)| *begun <= step).take(2);
        let copies = begun.map(|(_, done, copy)| (*done <= step, copy.clone())).collect();
        let witnessed = era.witnessed.iter().filter(|(s, _)| *s <= step).map(|(_, n)| *n).max().unwrap_or(0);
        let (barriers, atomics) = (Arc::new(era.barriers.clone()), Arc::new(era.atomics.clone()));
        let numbers = Arc::new(era.lanes.iter().map(|lane| lane.numbers.clone()).collect());
        Expected { lanes, metadata, acts, copies, witnessed, barriers, atomics, numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_delete_leads_back_to_may_be_either() {
        let allowed = Allowed { floor: 3, hashes: vec![7, 8, 9, 7] };
        assert_eq!(allowed.find(7), Some((3, 6)));
        assert_eq!(allowed.find(8), Some((4, 4)));
        assert_eq!(allowed.find(1), None);
    }
}
