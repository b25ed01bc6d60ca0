//! What is done to an engine: a list of steps, by hand or at random.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use tidegauge::Durability;

const SHORT: &str = "short-";

/// Random numbers from a seed.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// SplitMix64.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Push so many samples in one batch, some late, some for a timestamp that is taken.
    Push(u64),
    /// The same through the common lane.
    PushCommon(u64),
    /// All lanes push at once, so many batches each.
    PushAll(u64),
    /// Commit an atomic batch of so many samples of each lane.
    Batch(u64),
    /// Commit one whose condition does not hold: nothing of it may ever be seen.
    Conflict(u64),
    /// Wait until everything pushed is visible.
    Visible,
    /// Wait until everything pushed is durable.
    Durable,
    /// The same, and until nothing is left for an idle engine to write.
    Rest,
    /// Bring everything visible into segments.
    Flush,
    /// Let idle series leave memory, and have their slots given to others.
    Evict,
    /// Merge segments until nothing is left to merge.
    Compact,
    /// Push so many samples that are older than [`Step::RetainAge`] keeps.
    PushOld(u64),
    /// Commit a batch on the condition that something holds that does, then one that it does not hold any more.
    Conditional,
    /// Count so many up in a series that is for that, one atomic increment after the other.
    Increment(u64),
    /// Delete what was accepted so far, as far as this names it (P9).
    Delete(Extent),
    /// Keep the old samples of one series, or of none (P9).
    RetainAge(Extent),
    /// Keep at most so many hundredths of the bytes that all segments have now.
    RetainBytes(u64),
    /// Copy the store to another folder.
    Backup,
    /// Say so many bytes about a metric.
    Metadata(u64),
    /// End the process and open again: the page cache lives on.
    Kill,
    /// Close and open again.
    Close,
}

/// How much of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All samples of all lanes.
    All,
    /// All samples of one series of one lane; for ages, of one series of each.
    Series,
    /// Some time of one lane, in one of its series or in all.
    Window,
}

/// Which workload it is, to have it done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// One of [`Script::short`].
    Short(u64),
    /// [`Script::random`] of a seed.
    Random(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(nth) => write!(f, "{SHORT}{nth}"),
            Self::Random(seed) => write!(f, "{seed}"),
        }
    }
}

impl FromStr for Name {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text.strip_prefix(SHORT) {
            Some(nth) => nth.parse().map(Self::Short),
            None => text.parse().map(Self::Random),
        }
    }
}

/// What one run does.
#[derive(Clone, Debug)]
pub struct Script {
    /// What random details follow from.
    pub seed: u64,
    /// Lanes that push.
    pub lanes: u8,
    /// Of the engine.
    pub durability: Durability,
    /// What is done.
    pub steps: Vec<Step>,
}

/// Sooner than most waits end, so that some syncs come unasked.
const INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

impl Script {
    /// A workload of `len` steps in which everything happens sooner or later.
    #[must_use]
    pub fn random(seed: u64, len: usize) -> Self {
        let mut rng = Rng(seed);
        let durability = match rng.below(8) {
            0 => Durability::Memory,
            1..=3 => Durability::Interval(INTERVAL),
            _ => Durability::Sync,
        };
        let lanes = 1 + (rng.below(4) == 0) as u8 * (1 + rng.below(2) as u8);
        let steps = (0..len).map(|_| Self::step(&mut rng, true)).collect();
        Self { seed, lanes, durability, steps }
    }

    /// What a recovered engine does before it dies again.
    #[must_use]
    pub fn again(rng: &mut Rng, durability: Durability) -> Self {
        let steps = (0..1 + rng.below(4)).map(|_| Self::step(rng, false)).collect();
        Self { seed: rng.draw(), lanes: 1, durability, steps }
    }

    fn step(rng: &mut Rng, endings: bool) -> Step {
        match rng.below(if endings { 100 } else { 94 }) {
            0..26 => Step::Push(1 + rng.below(30)),
            26..31 => Step::Push(1000 + rng.below(200)),
            31..33 => Step::PushOld(1 + rng.below(20)),
            33..37 => Step::PushCommon(1 + rng.below(20)),
            37..41 => Step::PushAll(1 + rng.below(4)),
            41..45 => Step::Batch(1 + rng.below(20)),
            45..46 => Step::Conflict(1 + rng.below(5)),
            46..47 => Step::Conditional,
            47..55 => Step::Visible,
            55..57 => Step::Increment(1 + rng.below(3)),
            57..67 => Step::Durable,
            67..70 => Step::Rest,
            70..78 => Step::Flush,
            78..80 => Step::Evict,
            80..84 => Step::Compact,
            84..89 => Step::Delete(match rng.below(8) {
                0 => Extent::All,
                1..3 => Extent::Series,
                _ => Extent::Window,
            }),
            89..90 => Step::RetainAge(if rng.below(3) == 0 { Extent::All } else { Extent::Series }),
            90..91 => Step::RetainBytes(20 + rng.below(80)),
            91..94 => match rng.below(5) {
                0 => Step::Backup,
                _ => Step::Metadata(1 + rng.below(60)),
            },
            94..97 => Step::Kill,
            _ => Step::Close,
        }
    }

    /// Short ones, each about one thing, for which every choice is tried.
    #[must_use]
    pub fn short() -> Vec<Self> {
        use Step::{
            Backup, Batch, Close, Compact, Conditional, Delete, Durable, Evict, Flush, Increment, Kill, Metadata, Push,
            PushOld, Rest, RetainAge, RetainBytes, Visible,
        };
        let (memory, sync) = (Durability::Memory, Durability::Sync);
        let scripts: [(Durability, &[Step]); 25] = [
            (sync, &[Push(2), Durable]),
            (sync, &[Push(2), Visible, Push(1), Durable, Push(1), Visible]),
            (sync, &[Push(2), Rest, Push(1), Rest]),
            (sync, &[Push(2), Flush, Push(1), Durable]),
            (sync, &[Push(1), Durable, Flush, Push(1), Flush, Push(1), Durable, Push(1), Visible]),
            (sync, &[Push(1), Durable, Kill, Push(1), Durable]),
            (sync, &[Push(1), Visible, Kill, Push(1), Durable, Flush]),
            (sync, &[Push(1), Close, Push(1), Durable]),
            (sync, &[Push(1), Batch(2), Durable, Batch(1), Batch(1)]),
            (sync, &[Push(2), Flush, Push(2), Flush, Push(1), Flush, Compact, Push(1), Durable]),
            // Late samples in each of some generations of the log, so that a flush makes two segments.
            (
                sync,
                &[Push(1), Flush, Push(30), Durable, Flush, Push(30), Visible, Flush, Push(9), Kill, Push(30), Flush],
            ),
            // A number means one series in one generation of the log, and another in the next.
            (sync, &[Push(3), Flush, Evict, Push(3), Durable, Flush, Evict, Push(3), Durable]),
            (sync, &[Push(3), Flush, Push(1), Evict, Push(3), Durable, Kill, Push(2), Flush, Evict, Push(2), Durable]),
            (sync, &[Metadata(9), Push(1), Metadata(9), Durable]),
            (sync, &[Conditional, Kill, Conditional]),
            (sync, &[Increment(2), Flush, Increment(1), Evict, Increment(1), Kill, Increment(1), Durable]),
            // Over a segment and a memtable, then carried out.
            (sync, &[Push(3), Flush, Push(2), Delete(Extent::Window), Push(1), Flush, Compact, Push(1), Durable]),
            (sync, &[Push(2), Delete(Extent::Series), Push(2), Durable, Kill, Push(1), Flush, Compact]),
            // Nothing is left: dropped unread.
            (sync, &[Push(2), Flush, Delete(Extent::All), Compact, Push(1), Durable]),
            (sync, &[Push(2), PushOld(2), Flush, RetainAge(Extent::Series), Compact, PushOld(1), Push(1), Durable]),
            (sync, &[PushOld(2), Flush, RetainAge(Extent::All), Compact, PushOld(1), Durable, Kill, Push(1), Flush]),
            (sync, &[Push(3), Flush, Push(3), Flush, RetainBytes(60), Push(1), Durable]),
            (sync, &[Push(1), Backup, Push(1), Durable]),
            (memory, &[Push(2), Delete(Extent::Series), Push(1), Flush, Compact]),
            (memory, &[Push(2), PushOld(2), Flush, RetainAge(Extent::All), Compact, PushOld(1), Flush]),
        ];
        let script = |(seed, (durability, steps)): (usize, &(Durability, &[Step]))| Self {
            seed: seed as u64,
            lanes: 1,
            durability: *durability,
            steps: steps.to_vec(),
        };
        scripts.iter().enumerate().map(script).collect()
    }
}
