//! Series by the statistics of their chunks alone.

use std::ops::Range;

use super::Segment;
use super::chunks::ChunkRecords;
use super::cursor::is_inside;
use crate::chunk::{ChunkStats, StatsWanted};
use crate::model::TimeRange;
use crate::source::{ReadCounts, ReadError};

impl Segment {
    /// See [`SampleSource::statistics`](crate::source::SampleSource::statistics).
    pub(super) fn statistics_of(
        &self,
        ordinals: Range<u32>,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(u32, &ChunkStats) -> bool,
    ) -> Result<u32, ReadError> {
        let chunks_of = self.chunks_of(ordinals.clone())?;
        // Where the range cuts nothing off, the records of all of them together: to look for them costs as much as they do.
        let run = if self.lies_inside(range) { Some(chunks_of.run(self)?) } else { None };
        for ordinal in ordinals.clone() {
            let all = chunks_of.get(self, ordinal)?;
            let (numbers, records, pruned) = match &run {
                Some(run) => {
                    let records = run.get(&all).ok_or_else(|| chunks_of.damaged(self, ordinal))?;
                    (all, records, 0)
                }
                None => {
                    let (numbers, pruned) = self.cut_by_time(all, range)?;
                    let records = self.chunk_records(numbers.clone())?;
                    (numbers, records, pruned)
                }
            };
            if !self.tells(numbers.clone(), records, range, wanted, &mut |stats| see(ordinal, stats))? {
                return Ok(ordinal - ordinals.start);
            }
            counts.chunks_pruned += pruned;
            counts.chunks_by_statistics += numbers.len() as u64;
        }
        Ok(ordinals.end - ordinals.start)
    }

    /// Whether the statistics of these chunks of a series tell of all their samples, and `see` takes them all.
    #[inline(always)]
    fn tells(
        &self,
        numbers: Range<usize>,
        chunks: ChunkRecords<'_>,
        range: TimeRange,
        wanted: StatsWanted,
        see: &mut impl FnMut(&ChunkStats) -> bool,
    ) -> Result<bool, ReadError> {
        // The end first: nothing is told of a long series that is cut there.
        if chunks.len() > 1 && !is_inside(self.chunk(numbers.end - 1)?.1, range) {
            return Ok(false);
        }
        let mut last = None;
        for (i, number) in numbers.enumerate() {
            let chunk = &chunks.get(i);
            let timestamps = self.timestamps_of(number, chunk)?;
            // What is wrong, if something is, shows when it is read.
            let ascends = timestamps.first <= timestamps.last && last.is_none_or(|last| last < timestamps.first);
            if !ascends || !is_inside(timestamps, range) {
                return Ok(false);
            }
            self.check_type(chunk)?;
            let Some(stats) = self.stats_wanted(chunk, timestamps, wanted)? else { return Ok(false) };
            if !see(&stats) {
                return Ok(false);
            }
            last = Some(timestamps.last);
        }
        Ok(true)
    }
}
