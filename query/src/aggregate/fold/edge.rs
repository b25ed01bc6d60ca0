//! The first or the last value.

use super::Fold;

/// The last sample if `LAST`, else the first.
#[derive(Default)]
pub(in super::super) struct Edge<const LAST: bool>(Option<(i64, f64)>);

impl<const LAST: bool> Fold for Edge<LAST> {
    type Partial = (i64, f64);

    fn add(&mut self, timestamps: &[i64], values: &[f64]) {
        let edge = |at: usize| Some((*timestamps.get(at)?, *values.get(at)?));
        if LAST {
            self.0 = edge(timestamps.len().wrapping_sub(1)).or(self.0);
        } else if self.0.is_none() {
            self.0 = edge(0);
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

    fn value(partial: &Self::Partial) -> f64 {
        partial.1
    }
}
