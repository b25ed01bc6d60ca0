//! Two folds in one pass.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use super::Fold;
use crate::Aggregate;

/// Both of the same samples. Where only one of them makes a value, the other has none.
#[derive(Default)]
pub(in super::super) struct Both<A, B>(A, B);

impl<A: Fold, B: Fold> Fold for Both<A, B> {
    type Partial = (Option<A::Partial>, Option<B::Partial>);

    const WANTED: StatsWanted = A::WANTED.and(B::WANTED);

    fn add(&mut self, timestamps: &[i64], values: &[f64]) {
        self.0.add(timestamps, values);
        self.1.add(timestamps, values);
    }

    fn is_told(&self, stats: &ChunkStats) -> bool {
        self.0.is_told(stats) && self.1.is_told(stats)
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        self.0.add_chunk(stats);
        self.1.add_chunk(stats);
    }

    fn finish(&mut self) -> Option<Self::Partial> {
        let both = (self.0.finish(), self.1.finish());
        (both.0.is_some() || both.1.is_some()).then_some(both)
    }

    fn join(into: &mut Self::Partial, other: &Self::Partial) {
        join::<A>(&mut into.0, other.0.as_ref());
        join::<B>(&mut into.1, other.1.as_ref());
    }

    fn value(partial: &Self::Partial, aggregate: Aggregate) -> Option<f64> {
        let of_a = partial.0.as_ref().and_then(|partial| A::value(partial, aggregate));
        of_a.or_else(|| partial.1.as_ref().and_then(|partial| B::value(partial, aggregate)))
    }
}

fn join<F: Fold>(into: &mut Option<F::Partial>, other: Option<&F::Partial>) {
    match (into, other) {
        (Some(into), Some(other)) => F::join(into, other),
        (none @ None, Some(other)) => *none = Some(*other),
        (_, None) => {}
    }
}
