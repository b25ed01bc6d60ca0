//! The sum of the values, and with their number their mean.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use super::compensated::{Compensated, WideSum};
use super::{Fold, present};
use crate::Aggregate;

#[derive(Default)]
pub(in super::super) struct Sum(Total);

/// Values one by one, and whole chunks.
#[derive(Default)]
struct Total {
    values: WideSum,
    chunks: Compensated,
    /// Samples in these chunks.
    count: u64,
}

impl Total {
    fn add_chunk(&mut self, stats: &ChunkStats) {
        self.chunks.join(&Compensated::of(stats.sum, stats.compensation));
        if stats.nan > 0 {
            self.chunks.add(f64::NAN);
        }
        self.count += present(stats);
    }

    fn finish(&mut self) -> (Compensated, u64) {
        let (mut sum, count) = if self.values.is_empty() { Default::default() } else { self.values.finish() };
        if self.count == 0 {
            return (sum, count);
        }
        let chunks = std::mem::take(&mut self.chunks);
        if count > 0 {
            sum.join(&chunks)
        } else {
            sum = chunks
        }
        (sum, count + std::mem::take(&mut self.count))
    }
}

impl Fold for Sum {
    type Partial = Compensated;

    const WANTED: StatsWanted = StatsWanted { sum: true, ..StatsWanted::NONE };

    fn add(&mut self, _: &[i64], values: &[f64]) {
        self.0.values.add(values);
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        self.0.add_chunk(stats);
    }

    fn finish(&mut self) -> Option<Compensated> {
        let (sum, count) = self.0.finish();
        (count > 0).then_some(sum)
    }

    fn join(into: &mut Compensated, other: &Compensated) {
        into.join(other);
    }

    fn value(partial: &Compensated, aggregate: Aggregate) -> Option<f64> {
        (aggregate == Aggregate::Sum).then(|| partial.value())
    }
}

/// Sum and count, which tell the mean.
#[derive(Default)]
pub(in super::super) struct Totals(Total);

impl Fold for Totals {
    type Partial = (Compensated, u64);

    const WANTED: StatsWanted = StatsWanted { sum: true, ..StatsWanted::NONE };

    fn add(&mut self, _: &[i64], values: &[f64]) {
        self.0.values.add(values);
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        self.0.add_chunk(stats);
    }

    fn finish(&mut self) -> Option<Self::Partial> {
        Some(self.0.finish()).filter(|&(_, count)| count > 0)
    }

    fn join(into: &mut Self::Partial, other: &Self::Partial) {
        into.0.join(&other.0);
        into.1 += other.1;
    }

    fn value((sum, count): &Self::Partial, aggregate: Aggregate) -> Option<f64> {
        match aggregate {
            Aggregate::Count => Some(*count as f64),
            Aggregate::Sum => Some(sum.value()),
            Aggregate::Avg => Some(sum.value() / *count as f64),
            _ => None,
        }
    }
}
