//! A series by the statistics of its chunks alone.

use std::ops::Range;

use super::Segment;
use super::cursor::is_inside;
use crate::chunk::ChunkStats;
use crate::model::TimeRange;
use crate::segment::format::{ChunkRecord, Section};
use crate::source::{ReadCounts, ReadError};

impl Segment {
    /// See [`SampleSource::statistics`](crate::source::SampleSource::statistics).
    pub(super) fn statistics_of(
        &self,
        ordinal: u32,
        range: TimeRange,
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
        for (number, chunk) in numbers.zip(chunks) {
            let timestamps = self.timestamps_of(number, chunk)?;
            // What is wrong, if something is, shows when it is read.
            let ascends = timestamps.first <= timestamps.last && last.is_none_or(|last| last < timestamps.first);
            if !ascends || !is_inside(timestamps, range) {
                return Ok(None);
            }
            self.check_type(chunk)?;
            let Some(stats) = self.stats(chunk)? else { return Ok(None) };
            if !see(&stats.stats(timestamps)) {
                return Ok(None);
            }
            last = Some(timestamps.last);
        }
        counts.chunks_by_statistics = chunks.len() as u64;
        Ok(Some(counts))
    }

    /// Records of chunks that stand together.
    fn chunk_records(&self, numbers: Range<usize>) -> Result<&[ChunkRecord], ReadError> {
        let at = |number: usize| (number * size_of::<ChunkRecord>()) as u64;
        let bytes = self.bytes(Section::Chunks, at(numbers.start), at(numbers.end))?;
        let damaged = || self.corrupt(Section::Chunks, format!("chunks {numbers:?} are not there"));
        // Sections are aligned, and so is the map.
        bytes.map(bytemuck::cast_slice).ok_or_else(damaged)
    }
}
