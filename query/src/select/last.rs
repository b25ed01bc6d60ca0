//! The end of a series, without reading what comes before it.

use tidegauge_storage::model::{Sample, TimeRange, Timestamp};
use tidegauge_storage::source::{Columns, ReadCounts};

use super::Selection;
use crate::QueryError;
use crate::limits::Meter;

impl Selection {
    pub(super) fn last_of(
        &self,
        i: usize,
        scratch: &mut Columns,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Sample>, QueryError> {
        meter.series()?;
        let mut best: Option<Sample> = None;
        let mut counts = ReadCounts::default();
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
            best = source.last(part.ordinal, range, scratch, &mut counts)?.or(best);
            meter.samples(scratch.len())?;
        }
        meter.read(counts);
        Ok(best)
    }
}
