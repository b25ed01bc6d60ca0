//! How many samples.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use super::{Fold, present};
use crate::Aggregate;

#[derive(Default)]
pub(in super::super) struct Count(u64);

impl Fold for Count {
    type Partial = u64;

    const WANTED: StatsWanted = StatsWanted::NONE;

    fn add(&mut self, timestamps: &[i64], _: &[f64]) {
        self.0 += timestamps.len() as u64;
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        self.0 += present(stats);
    }

    fn finish(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.0)).filter(|&n| n > 0)
    }

    fn join(into: &mut u64, other: &u64) {
        *into += other;
    }

    fn value(partial: &u64, aggregate: Aggregate) -> Option<f64> {
        (aggregate == Aggregate::Count).then_some(*partial as f64)
    }
}
