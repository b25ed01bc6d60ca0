//! What is pushed: which series, at which times, with which values, in which order.
//!
//! A workload is a grid of slots and ticks. At each tick every slot gives one sample.
//! A slot is a series, but under [`Kind::Churn`], where another series takes over the slot
//! from time to time. Everything follows from the seed: whoever generates a workload a
//! second time gets the same samples in the same order.

mod feed;
mod labels;
pub mod mixed;
mod part;
mod walk;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use crate::error::Error;

pub use feed::{Feed, Input};
pub use labels::{METRICS, Pairs};
pub use part::{PREPARED_SAMPLES_MAX, Part};
pub use walk::Cell;

/// The first tick: 2000-01-01T00:00:00Z. So far back that replays, which move on in time,
/// stay in the past: an engine refuses timestamps ahead of its clock.
pub const START_NS: i64 = 946_684_800 * NS_PER_S;

pub(crate) const NS_PER_S: i64 = 1_000_000_000;

/// The workloads by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// 4,000 series (400 hosts × 10 metrics), one sample each 10 s, a walk with 2 decimals.
    W1,
    /// W1 rounded to integers.
    W1int,
    /// 1,000,000 series with 10 samples each.
    W2,
    /// One series, one sample each millisecond.
    W3,
    /// W1 at one sample a minute; every tenth sample comes up to a day late.
    Late,
    /// W1 with a fifth label; each series lives for 100 samples, then another takes its place.
    Churn,
    /// 70 % reads of a last value, 30 % writes until visible, over 100,000 series.
    Mixed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::W1 => "w1",
            Self::W1int => "w1int",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::Late => "late",
            Self::Churn => "churn",
            Self::Mixed => "mixed",
        })
    }
}

/// One workload, ready to generate samples.
#[derive(Clone, Debug)]
pub struct Workload {
    kind: Kind,
    seed: u64,
    slots: u32,
    ticks: u64,
    pass_ticks: u32,
    interval_ns: i64,
    /// A value is a whole number divided by this: 100 gives two decimals.
    scale: f64,
    /// Ticks after which another series takes over a slot.
    life: Option<u32>,
    /// Every tenth sample is up to this late.
    late_ns: Option<i64>,
}

/// Churn: ticks that a series lives.
const LIFE_TICKS: u32 = 100;
const DAY_NS: i64 = 86_400 * NS_PER_S;

impl Workload {
    /// A workload of at least `samples` samples (each kind has its own default), rounded up
    /// to whole ticks of all its series. W2 keeps 10 samples a series instead, and has fewer
    /// series when fewer samples are asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] for no samples, or for so many that they would reach into the future.
    pub fn new(kind: Kind, seed: u64, samples: Option<u64>) -> Result<Self, Error> {
        let samples = samples.unwrap_or(match kind {
            Kind::W3 => 20_000_000,
            Kind::Mixed => 100_000,
            _ => 10_000_000,
        });
        if samples == 0 {
            return Err(Error::Usage("--samples must be at least 1".into()));
        }
        let slots: u32 = match kind {
            Kind::W1 | Kind::W1int | Kind::Late | Kind::Churn => 4_000,
            Kind::W2 => samples.div_ceil(10).min(1_000_000) as u32,
            Kind::W3 => 1,
            Kind::Mixed => mixed::SERIES,
        };
        let ticks = samples.div_ceil(u64::from(slots));
        let pass_ticks = ticks.min(u64::from((PREPARED_SAMPLES_MAX / slots).max(1))) as u32;
        let workload = Self {
            kind,
            seed,
            slots,
            ticks,
            pass_ticks,
            interval_ns: match kind {
                Kind::W3 | Kind::Mixed => NS_PER_S / 1_000,
                Kind::Late => 60 * NS_PER_S,
                _ => 10 * NS_PER_S,
            },
            scale: if kind == Kind::W1int { 1.0 } else { 100.0 },
            life: (kind == Kind::Churn).then_some(LIFE_TICKS),
            late_ns: (kind == Kind::Late).then_some(DAY_NS),
        };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let end_s = i128::from(START_NS / NS_PER_S)
            + i128::from(ticks) * i128::from(workload.interval_ns) / i128::from(NS_PER_S);
        if end_s > i128::from(now_s) {
            return Err(Error::Usage(format!("--samples {samples}: workload {kind} would reach into the future")));
        }
        Ok(workload)
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What everything random follows from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Series that give a sample at each tick.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Ticks of a burst.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Ticks that are prepared; what goes beyond replays them, moved in time.
    #[must_use]
    pub fn pass_ticks(&self) -> u32 {
        self.pass_ticks
    }

    /// Nanoseconds between ticks.
    #[must_use]
    pub fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// How far a replay is moved: the length of a pass.
    #[must_use]
    pub fn pass_ns(&self) -> i64 {
        i64::from(self.pass_ticks) * self.interval_ns
    }

    /// The timestamp of a tick, counted over all passes.
    #[must_use]
    pub fn timestamp_ns(&self, tick: u64) -> i64 {
        START_NS + tick as i64 * self.interval_ns
    }

    /// The value that a cell's number stands for.
    #[must_use]
    pub fn value(&self, scaled: u16) -> f64 {
        f64::from(scaled) / self.scale
    }

    /// Whether other series take over the slots in the course of time.
    #[must_use]
    pub fn churns(&self) -> bool {
        self.life.is_some()
    }

    /// Number of the series that holds `slot` at `tick`, counted over all passes.
    #[must_use]
    pub fn series(&self, slot: u32, tick: u64) -> u64 {
        let Some(life) = self.life else { return u64::from(slot) };
        // All series of a host change places at once, each host at another time.
        let phase = crate::rng::mix64(u64::from(slot / METRICS)) % u64::from(life);
        u64::from(slot) + (tick + phase) / u64::from(life) * u64::from(self.slots)
    }

    /// The labels of a series, names ascending.
    #[must_use]
    pub fn labels(&self, series: u64) -> Pairs {
        labels::of(self.kind, self.slots, series)
    }
}
