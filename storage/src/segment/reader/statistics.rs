//! A series by the statistics of its chunks alone.

use super::Segment;
use super::cursor::is_inside;
use crate::chunk::{ChunkStats, StatsWanted};
use crate::model::TimeRange;
use crate::source::{ReadCounts, ReadError};

impl Segment {
    /// See [`SampleSource::statistics`](crate::source::SampleSource::statistics).
    pub(super) fn statistics_of(
        &self,
        ordinal: u32,
        range: TimeRange,
        wanted: StatsWanted,
        see: &mut dyn FnMut(&ChunkStats) -> bool,
    ) -> Result<Option<ReadCounts>, ReadError> {
        let (numbers, chunks_pruned) = self.chunks_in(ordinal, range)?;
        let chunks = self.chunk_records(numbers.clone())?;
        let mut counts = ReadCounts { chunks_pruned, ..ReadCounts::default() };
        // The end first: nothing is told of a long series that is cut there.
        if chunks.len() > 1 && !is_inside(self.chunk(numbers.end - 1)?.1, range) {
            return Ok(None);
        }
        let mut last = None;
        for (i, number) in numbers.enumerate() {
            let chunk = &chunks.get(i);
            let timestamps = self.timestamps_of(number, chunk)?;
            // What is wrong, if something is, shows when it is read.
            let ascends = timestamps.first <= timestamps.last && last.is_none_or(|last| last < timestamps.first);
            if !ascends || !is_inside(timestamps, range) {
                return Ok(None);
            }
            self.check_type(chunk)?;
            let Some(stats) = self.stats_wanted(chunk, timestamps, wanted)? else { return Ok(None) };
            if !see(&stats) {
                return Ok(None);
            }
            last = Some(timestamps.last);
        }
        counts.chunks_by_statistics = chunks.len() as u64;
        Ok(Some(counts))
    }
}
