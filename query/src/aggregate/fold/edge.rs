//! The first or the last value.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use super::Fold;
use crate::Aggregate;

/// The last sample if `LAST`, else the first.
#[derive(Default)]
pub(in super::super) struct Edge<const LAST: bool>(Option<(i64, f64)>);

impl<const LAST: bool> Fold for Edge<LAST> {
    type Partial = (i64, f64);

    const WANTED: StatsWanted = StatsWanted { ends: true, ..StatsWanted::NONE };

    fn add(&mut self, timestamps: &[i64], values: &[f64]) {
        let edge = |at: usize| Some((*timestamps.get(at)?, *values.get(at)?));
        if LAST {
            self.0 = edge(timestamps.len().wrapping_sub(1)).or(self.0);
        } else if self.0.is_none() {
            self.0 = edge(0);
        }
    }

    /// Of NaN values the statistics keep no place.
    fn is_told(&self, stats: &ChunkStats) -> bool {
        stats.nan | stats.stale == 0
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        if LAST {
            self.0 = Some((stats.last_timestamp, stats.last_value));
        } else {
            self.0 = self.0.or(Some((stats.first_timestamp, stats.first_value)));
        }
    }

    fn finish(&mut self) -> Option<Self::Partial> {
        self.0.take()
    }

    fn join(into: &mut Self::Partial, other: &Self::Partial) {
        if if LAST { other.0 > into.0 } else { other.0 < into.0 } {
            *into = *other;
        }
    }

    fn value(partial: &Self::Partial, aggregate: Aggregate) -> Option<f64> {
        (aggregate == if LAST { Aggregate::Last } else { Aggregate::First }).then_some(partial.1)
    }
}
