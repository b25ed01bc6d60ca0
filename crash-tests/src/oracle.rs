//! The naive twin: what was accepted, in order, and what was promised about it at which step.

use std::collections::HashMap;
use std::sync::Arc;

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
#[derive(Clone, Debug)]
pub enum Op {
    /// One sample of a plain push.
    Sample(Sample),
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
    hash: u64,
}

impl Contents {
    /// The last accepted wins (P6).
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Sample(s) => self.put((s.lane, s.series, s.timestamp), s.value.to_bits()),
        }
    }

    /// Replaces what is there.
    pub fn put(&mut self, key: Key, bits: u64) {
        if let Some(old) = self.samples.insert(key, bits) {
            self.hash = self.hash.wrapping_sub(hash_of(key, old));
        }
        self.hash = self.hash.wrapping_add(hash_of(key, bits));
    }

    /// Puts back what was there before some operations, given by key in their order.
    pub fn take_back(&mut self, before: &[(Key, Option<u64>)]) {
        for (key, old) in before.iter().rev() {
            if let Some(bits) = self.samples.remove(key) {
                self.hash = self.hash.wrapping_sub(hash_of(*key, bits));
            }
            if let Some(bits) = old {
                self.put(*key, *bits);
            }
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
}

impl Track {
    /// A track that begins with something that is durable.
    #[must_use]
    pub fn new(step: u64, hash: u64) -> Self {
        Self { hashes: vec![hash], begun: vec![(step, 0)], visible: vec![(step, 0)], durable: vec![(step, 0)] }
    }

    /// A track whose last operation is visible, and of which only the first state in `allowed` is durable.
    #[must_use]
    pub fn of(allowed: &Allowed, operations: usize) -> Self {
        let visible = operations.saturating_sub(allowed.floor);
        let hashes = allowed.hashes[..=visible].to_vec();
        Self { hashes, begun: vec![(0, visible)], visible: vec![(0, visible)], durable: vec![(0, 0)] }
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
    }

    /// Only the first `count` operations ever were: the rest did not come back.
    pub fn settle(&mut self, step: u64, count: usize) {
        self.hashes.truncate(count + 1);
        for marks in [&mut self.begun, &mut self.visible, &mut self.durable] {
            marks.clear();
            marks.push((step, count));
        }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Operations of the first.
    pub floor: usize,
    /// One for each number of operations from there on.
    pub hashes: Vec<u64>,
}

impl Allowed {
    /// How many operations lead to contents of this hash; the least, if it is more than one number.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<usize> {
        self.hashes.iter().position(|h| *h == hash).map(|i| self.floor + i)
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
}

/// Everything that may come back from one crash.
#[derive(Clone, Debug)]
pub struct Expected {
    /// For each lane.
    pub lanes: Vec<Allowed>,
    /// Of the metadata.
    pub metadata: Allowed,
    barriers: Arc<Vec<Vec<usize>>>,
    atomics: Arc<Vec<Vec<usize>>>,
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
    /// What came back, and nothing else.
    #[must_use]
    pub fn exactly(&self, prefix: &Prefix) -> Self {
        let one =
            |(allowed, n): (&Allowed, &usize)| Allowed { floor: *n, hashes: vec![allowed.hashes[n - allowed.floor]] };
        let lanes = self.lanes.iter().zip(&prefix.lanes).map(one).collect();
        Self { lanes, metadata: one((&self.metadata, &prefix.metadata)), ..self.clone() }
    }

    /// The time until the opening after which `prefix` came back had returned.
    #[must_use]
    pub fn left(&self, prefix: &Prefix) -> Era {
        let lanes = self.lanes.iter().zip(&prefix.lanes).map(|(allowed, n)| Track::of(allowed, *n)).collect();
        Era {
            from: 0,
            lanes,
            metadata: Track::of(&self.metadata, prefix.metadata),
            barriers: Vec::new(),
            atomics: Vec::new(),
        }
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
            let beyond = lanes.iter().zip(barrier).any(|(n, at)| n > at);
            if beyond && lanes.iter().zip(barrier).any(|(n, at)| n < at) {
                return Err(format!("{lanes:?} came back, though {barrier:?} was visible before what came later"));
            }
        }
        for before in self.atomics.iter() {
            let has = |(n, at): (&usize, &usize)| n > at;
            if lanes.iter().zip(before).any(has) && !lanes.iter().zip(before).all(has) {
                return Err(format!("{lanes:?} came back: a part of the batch behind {before:?}"));
            }
        }
        let metadata = self.metadata.find(found.metadata).ok_or("the metadata is none of its states")?;
        Ok(Prefix { lanes, metadata })
    }
}

/// What a run's disk may hold at each of its steps.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<Arc<Era>>);

impl History {
    /// Every state there ever was up to `step`, promised or not.
    #[must_use]
    pub fn any_prefix(&self, step: u64) -> Expected {
        let mut expected = self.expected(step, Death::PowerLoss);
        let era = self.era_at(step);
        for (allowed, track) in expected.lanes.iter_mut().zip(&era.lanes) {
            *allowed = Allowed { floor: 0, hashes: track.hashes.clone() };
        }
        expected
    }

    fn era_at(&self, step: u64) -> &Era {
        self.0.iter().rev().find(|era| era.from <= step).unwrap_or(&self.0[0])
    }

    /// What may come back from a death at `step`: by the last process that had opened before.
    /// While the next one opens, it can only cut what that one wrote.
    #[must_use]
    pub fn expected(&self, step: u64, death: Death) -> Expected {
        let era = self.era_at(step);
        let lanes = era.lanes.iter().map(|lane| lane.allowed(step, death)).collect();
        let metadata = era.metadata.allowed(step, death);
        Expected { lanes, metadata, barriers: Arc::new(era.barriers.clone()), atomics: Arc::new(era.atomics.clone()) }
    }
}
