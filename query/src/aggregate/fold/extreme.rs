//! The least or the greatest value.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};
use tidegauge_storage::lanes::{self, LANES};

use super::{Fold, present};
use crate::Aggregate;

/// The greatest value if `MAX`, else the least. NaN only where all values are.
pub(in super::super) struct Extreme<const MAX: bool> {
    /// Of the values that are numbers; what beats nothing where there are none.
    best: f64,
    numbers: bool,
    samples: bool,
}

impl<const MAX: bool> Extreme<MAX> {
    /// Beaten by every number but itself.
    const WORST: f64 = if MAX { f64::NEG_INFINITY } else { f64::INFINITY };

    /// A comparison with NaN is false, so NaN never wins.
    #[inline(always)]
    fn better(value: f64, than: f64) -> f64 {
        if if MAX { value > than } else { value < than } { value } else { than }
    }
}

impl<const MAX: bool> Default for Extreme<MAX> {
    fn default() -> Self {
        Self { best: Self::WORST, numbers: false, samples: false }
    }
}

impl<const MAX: bool> Fold for Extreme<MAX> {
    type Partial = f64;

    const WANTED: StatsWanted = StatsWanted { extremes: true, ..StatsWanted::NONE };

    fn add(&mut self, _: &[i64], values: &[f64]) {
        let (whole, rest) = values.as_chunks::<LANES>();
        let mut best = [self.best; LANES];
        if MAX {
            lanes::greatest(&mut best, whole)
        } else {
            lanes::least(&mut best, whole)
        }
        self.best = best.iter().chain(rest).fold(self.best, |best, &value| Self::better(value, best));
        self.samples |= !values.is_empty();
        // Still the worst of all? It may stand among the values, or no number does.
        self.numbers = self.numbers || self.best != Self::WORST || values.contains(&Self::WORST);
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        let present = present(stats);
        self.samples |= present > 0;
        if present > u64::from(stats.nan) {
            self.best = Self::better(if MAX { stats.max } else { stats.min }, self.best);
            self.numbers = true;
        }
    }

    fn finish(&mut self) -> Option<f64> {
        let Self { best, numbers, samples } = std::mem::take(self);
        // Adding zero takes the sign off zero: which of both was met first does not matter.
        samples.then_some(if numbers { best + 0.0 } else { f64::NAN })
    }

    fn join(into: &mut f64, other: &f64) {
        *into = if into.is_nan() { *other } else { Self::better(*other, *into) };
    }

    fn value(partial: &f64, aggregate: Aggregate) -> Option<f64> {
        (aggregate == if MAX { Aggregate::Max } else { Aggregate::Min }).then_some(*partial)
    }
}
