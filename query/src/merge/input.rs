//! One source of a merge, with the samples read from it and not yet passed on.

use tidegauge_storage::chunk::ChunkStats;
use tidegauge_storage::model::TimeRange;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource};

pub(super) struct Input<'a> {
    /// Place among the sources: of equal timestamps the greater rank wins.
    pub(super) rank: usize,
    source: &'a dyn SampleSource,
    ordinal: u32,
    range: TimeRange,
    cursor: Option<Box<dyn ColumnCursor + 'a>>,
    buffer: Columns,
    /// How many of the buffer were passed on.
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(rank: usize, source: &'a dyn SampleSource, ordinal: u32, range: TimeRange) -> Self {
        Self { rank, source, ordinal, range, cursor: None, buffer: Columns::default(), at: 0 }
    }

    /// No timestamp is before this one.
    pub(super) fn first(&self) -> i64 {
        self.range.start.nanos()
    }

    /// No timestamp is behind this one.
    pub(super) fn last(&self) -> i64 {
        match self.range.end.nanos() {
            i64::MAX => i64::MAX,
            end => end - 1,
        }
    }

    /// Begins to read, unless it has begun. The answer is true, for chaining.
    pub(super) fn open(&mut self) -> Result<bool, ReadError> {
        if self.cursor.is_none() {
            self.cursor = Some(self.source.read(self.ordinal, self.range)?);
        }
        Ok(true)
    }

    pub(super) fn has_buffered(&self) -> bool {
        self.at < self.buffer.len()
    }

    /// The timestamp that comes next, or a bound of it where nothing is buffered.
    pub(super) fn head(&self) -> i64 {
        match self.buffer.timestamps.get(self.at) {
            Some(&at) => at,
            None => self.bound().map_or(self.first(), |bound| bound.max(self.first())),
        }
    }

    /// A bound of what the cursor answers next, if it knows one.
    pub(super) fn bound(&self) -> Option<i64> {
        self.cursor.as_ref()?.bound()
    }

    /// The statistics of what comes next, if it is a whole chunk and nothing is buffered.
    pub(super) fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        match &mut self.cursor {
            Some(cursor) if self.at >= self.buffer.len() => cursor.whole(),
            _ => Ok(None),
        }
    }

    /// Passes over the chunk that [`whole`](Self::whole) told of.
    pub(super) fn pass(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.pass();
        }
    }

    pub(super) fn counts(&self) -> ReadCounts {
        self.cursor.as_ref().map(|cursor| cursor.counts()).unwrap_or_default()
    }

    /// Buffers more if nothing is buffered; answers whether something is then.
    pub(super) fn refill(&mut self) -> Result<bool, ReadError> {
        if self.has_buffered() {
            return Ok(true);
        }
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        self.buffer.clear();
        self.at = 0;
        cursor.next(&mut self.buffer)?;
        Ok(self.has_buffered())
    }

    /// Reads past the buffer, which must be empty; answers whether there was something.
    pub(super) fn read_into(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        if let Some(cursor) = &mut self.cursor {
            cursor.next(out)?;
        }
        Ok(out.len() > before)
    }

    pub(super) fn take_one(&mut self, out: &mut Columns) {
        self.take(1, out);
    }

    pub(super) fn take_all(&mut self, out: &mut Columns) {
        self.take(usize::MAX, out);
    }

    /// Passes on what is buffered of timestamps before `end`, and at least one sample:
    /// the head is known to be due, even where `end` cannot say so.
    pub(super) fn take_before(&mut self, end: i64, out: &mut Columns) {
        let rest = &self.buffer.timestamps[self.at.min(self.buffer.len())..];
        self.take(run_before(rest, end).max(1), out);
    }

    /// How many samples are buffered of timestamps before `end`.
    pub(super) fn buffered_before(&self, end: Option<i64>) -> usize {
        let rest = &self.buffer.timestamps[self.at..];
        end.map_or(rest.len(), |end| run_before(rest, end))
    }

    fn take(&mut self, n: usize, out: &mut Columns) {
        let end = self.at.saturating_add(n).min(self.buffer.len());
        out.timestamps.extend_from_slice(&self.buffer.timestamps[self.at..end]);
        out.values.extend_from_slice(&self.buffer.values[self.at..end]);
        self.at = end;
    }

    /// Drops the head if it has this timestamp.
    pub(super) fn skip(&mut self, timestamp: i64) {
        if self.buffer.timestamps.get(self.at) == Some(&timestamp) {
            self.at += 1;
        }
    }
}

/// A run at least this long is worth looking for and copying whole.
const LONG_RUN: usize = 16;

/// Merges the next `a` and `b` samples of two inputs, the later of which wins, until one of
/// them has none left.
pub(super) fn merge_two(earlier: &mut Input<'_>, a: usize, later: &mut Input<'_>, b: usize, out: &mut Columns) {
    let (end_a, end_b) = (earlier.at + a, later.at + b);
    let (times_a, values_a) = (&earlier.buffer.timestamps[..end_a], &earlier.buffer.values[..end_a]);
    let (times_b, values_b) = (&later.buffer.timestamps[..end_b], &later.buffer.values[..end_b]);
    let (mut i, mut j) = (earlier.at, later.at);
    while i < end_a && j < end_b {
        let (at_a, at_b) = (times_a[i], times_b[j]);
        if at_a < at_b {
            let next = i + run_of(&times_a[i..], at_b);
            out.timestamps.extend_from_slice(&times_a[i..next]);
            out.values.extend_from_slice(&values_a[i..next]);
            i = next;
        } else {
            // Of two samples of the same time, that of the earlier input is passed over.
            i += usize::from(at_a == at_b);
            let next = if at_a == at_b { j + 1 } else { j + run_of(&times_b[j..], at_a) };
            out.timestamps.extend_from_slice(&times_b[j..next]);
            out.values.extend_from_slice(&values_b[j..next]);
            j = next;
        }
    }
    (earlier.at, later.at) = (i, j);
}

/// How many samples to take before `end`; the first is known to be due.
fn run_of(timestamps: &[i64], end: i64) -> usize {
    match timestamps.get(LONG_RUN) {
        Some(&far) if far < end => run_before(timestamps, end),
        _ => timestamps.iter().take(LONG_RUN).take_while(|&&at| at < end).count(),
    }
}

/// How many of the ascending `timestamps` lie before `end`. Gallops: O(log of the answer).
fn run_before(timestamps: &[i64], end: i64) -> usize {
    let mut bound = 1;
    while bound < timestamps.len() && timestamps[bound - 1] < end {
        bound *= 2;
    }
    let known = bound / 2;
    let bound = bound.min(timestamps.len());
    known + timestamps[known..bound].partition_point(|&at| at < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galloping_finds_what_counting_finds() {
        for len in 0..40 {
            let column: Vec<i64> = (0..len).map(|i| i * 2).collect();
            for end in -1..=2 * len + 1 {
                let naive = column.iter().filter(|&&at| at < end).count();
                assert_eq!(run_before(&column, end), naive, "{len} {end}");
            }
        }
    }
}
