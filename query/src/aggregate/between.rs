//! Only samples of certain values: what a chunk's statistics rule out is not read.

use tidegauge_storage::chunk::ChunkStats;
use tidegauge_storage::source::Columns;

/// Bounds of the values that count, both of them inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Between {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// How many of a chunk's samples lie between the bounds, by what its statistics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Everything,
    /// That only the samples tell.
    Some,
}

impl Between {
    pub(super) fn tells(self, stats: &ChunkStats) -> Told {
        let numbers = u64::from(stats.count).saturating_sub(u64::from(stats.stale) + u64::from(stats.nan));
        // Bounds that are NaN, or the wrong way round, hold nothing.
        let overlap = self.low <= self.high && stats.min <= self.high && stats.max >= self.low;
        if numbers == 0 || !overlap {
            return Told::Nothing;
        }
        let everything = stats.nan == 0 && self.holds(stats.min) && self.holds(stats.max);
        if everything { Told::Everything } else { Told::Some }
    }

    fn holds(self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }

    /// Takes out all samples that do not count.
    pub(super) fn retain(self, columns: &mut Columns) {
        let Columns { timestamps, values, .. } = columns;
        let mut kept = 0;
        for at in 0..values.len() {
            (timestamps[kept], values[kept]) = (timestamps[at], values[at]);
            kept += usize::from(self.holds(values[kept]));
        }
        timestamps.truncate(kept);
        values.truncate(kept);
    }
}
