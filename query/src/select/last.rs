//! The end of a series, without reading what comes before it.

use tidegauge_storage::model::{Sample, TimeRange, Timestamp};
use tidegauge_storage::source::{Columns, ReadError, SampleSource};

use super::Selection;
use crate::QueryError;
use crate::limits::Meter;

/// The first look covers this part of a source's time; each further one [`WIDER`] times as much.
const FIRST_LOOK: i128 = 256;
const WIDER: i128 = 8;

impl Selection {
    pub(super) fn last_of(
        &self,
        i: usize,
        scratch: &mut Columns,
        meter: &mut Meter,
    ) -> Result<Option<Sample>, QueryError> {
        meter.series()?;
        let mut best: Option<Sample> = None;
        // Later sources first: they win a tie, and are likely to hold the end.
        for (part, bounds) in self.joined.parts(i).rev() {
            let mut range = bounds.intersect(&self.range);
            if let Some(best) = best {
                // Only what is later than the best so far can still win.
                let Some(after) = best.timestamp.nanos().checked_add(1) else { break };
                range = range.intersect(&TimeRange::new(Timestamp::from_nanos(after), Timestamp::MAX));
            }
            let source = &*self.snapshot.sources()[part.source as usize];
            if let Some(found) = last_in(source, part.ordinal, range, scratch, meter)? {
                best = Some(found);
            }
        }
        Ok(best)
    }
}

/// The last sample of one source's series in `range`.
fn last_in(
    source: &dyn SampleSource,
    ordinal: u32,
    range: TimeRange,
    scratch: &mut Columns,
    meter: &mut Meter,
) -> Result<Option<Sample>, QueryError> {
    let (start, mut end) = (i128::from(range.start.nanos()), i128::from(range.end.nanos()));
    let mut width = ((end - start) / FIRST_LOOK).max(1);
    let nanos = |at: i128| Timestamp::from_nanos(at as i64);
    while !TimeRange::new(nanos(start), nanos(end)).is_empty() {
        let from = (end - width).max(start);
        let found = drain(source, ordinal, TimeRange::new(nanos(from), nanos(end)), scratch, meter)?;
        if found.is_some() || from == start {
            return Ok(found);
        }
        (end, width) = (from, width.saturating_mul(WIDER));
    }
    Ok(None)
}

/// Reads all of `range`, keeping the last sample.
fn drain(
    source: &dyn SampleSource,
    ordinal: u32,
    range: TimeRange,
    scratch: &mut Columns,
    meter: &mut Meter,
) -> Result<Option<Sample>, QueryError> {
    let read = |error: ReadError| QueryError::from(error);
    let mut cursor = source.read(ordinal, range).map_err(read)?;
    let mut last = None;
    scratch.clear();
    while cursor.next(scratch).map_err(read)? {
        let (Some(&at), Some(&value)) = (scratch.timestamps.last(), scratch.values.last()) else { break };
        last = Some(Sample { timestamp: Timestamp::from_nanos(at), value });
        meter.samples(scratch.len())?;
        scratch.clear();
    }
    Ok(last)
}
