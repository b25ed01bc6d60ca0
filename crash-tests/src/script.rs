//! What is done to an engine: a list of steps, by hand or at random.

use tidegauge::Durability;

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
    /// Bring everything visible into segments.
    Flush,
    /// Merge segments until nothing is left to merge.
    Compact,
    /// Say so many bytes about a metric.
    Metadata(u64),
    /// End the process and open again: the page cache lives on.
    Kill,
    /// Close and open again.
    Close,
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
            0..28 => Step::Push(1 + rng.below(30)),
            28..34 => Step::Push(1000 + rng.below(200)),
            34..38 => Step::PushCommon(1 + rng.below(20)),
            38..42 => Step::PushAll(1 + rng.below(4)),
            42..46 => Step::Batch(1 + rng.below(20)),
            46..47 => Step::Conflict(1 + rng.below(5)),
            47..60 => Step::Visible,
            60..76 => Step::Durable,
            76..87 => Step::Flush,
            87..90 => Step::Compact,
            90..94 => Step::Metadata(1 + rng.below(60)),
            94..97 => Step::Kill,
            _ => Step::Close,
        }
    }

    /// Short ones, each about one thing, for which every choice is tried.
    #[must_use]
    pub fn short() -> Vec<Self> {
        use Step::{Batch, Close, Compact, Durable, Flush, Kill, Metadata, Push, Visible};
        let scripts: [&[Step]; 10] = [
            &[Push(2), Durable],
            &[Push(2), Visible, Push(1), Durable, Push(1), Visible],
            &[Push(2), Flush, Push(1), Durable],
            &[Push(1), Durable, Flush, Push(1), Flush, Push(1), Durable, Push(1), Visible],
            &[Push(1), Durable, Kill, Push(1), Durable],
            &[Push(1), Visible, Kill, Push(1), Durable, Flush],
            &[Push(1), Close, Push(1), Durable],
            &[Push(1), Batch(2), Durable, Batch(1), Batch(1)],
            &[Push(2), Flush, Push(2), Flush, Push(1), Flush, Compact, Push(1), Durable],
            &[Metadata(9), Push(1), Metadata(9), Durable],
        ];
        let script = |(seed, steps): (usize, &&[Step])| Self {
            seed: seed as u64,
            lanes: 1,
            durability: Durability::Sync,
            steps: steps.to_vec(),
        };
        scripts.iter().enumerate().map(script).collect()
    }
}
