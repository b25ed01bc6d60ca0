//! The end of a series, without reading what comes before it.

use tidegauge_storage::model::{Sample, TimeRange, Timestamp};
use tidegauge_storage::source::{Columns, ReadCounts};

use super::Selection;
use crate::QueryError;

impl Selection {
    /// The last sample of series `i`, and how many were decoded for it.
    pub(crate) fn last_of(
        &self,
        i: usize,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<(Option<Sample>, usize), QueryError> {
        let (mut best, mut samples) = (None::<Sample>, 0);
        // Later sources first: they win a tie, and are likely to hold the end.
        for (part, bounds) in self.joined.parts(i).rev() {
            let mut range = bounds.intersect(&self.range);
            if let Some(best) = best {
                // Only what is later than the best so far can still win.
                let Some(after) = best.timestamp.nanos().checked_add(1) else { break };
                range = range.intersect(&TimeRange::new(Timestamp::from_nanos(after), Timestamp::MAX));
            }
            if range.is_empty() {
                continue;
            }
            let source = &*self.snapshot.sources()[part.source as usize];
            scratch.clear();
            best = source.last(part.ordinal, range, scratch, counts)?.or(best);
            samples += scratch.len();
        }
        Ok((best, samples))
    }
}
