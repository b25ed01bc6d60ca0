//! What the directory says of chunks, whatever the version of the file.

use std::ops::Range;

use super::Segment;
use crate::chunk::{ChunkStats, StatsWanted};
use crate::segment::format::{
    Chunk, ChunkRecord, NO_STATS, NarrowStats, STATS_UNIT, Section, TimestampsRecord, WideStats, v1,
};
use crate::source::ReadError;

/// Records of chunks that stand together.
#[derive(Clone, Copy)]
pub(super) enum ChunkRecords<'a> {
    Now(&'a [ChunkRecord]),
    V1(&'a [v1::ChunkRecord]),
}

impl ChunkRecords<'_> {
    /// One of them, which must be there.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Chunk {
        match self {
            Self::Now(records) => Chunk::from(&records[at]),
            Self::V1(records) => Chunk::from(&records[at]),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Now(records) => records.len(),
            Self::V1(records) => records.len(),
        }
    }
}

impl Segment {
    /// The chunks of a series, by their numbers.
    pub(super) fn chunk_range(&self, ordinal: u32) -> Result<Range<usize>, ReadError> {
        let chunks = self.index.records(Section::Chunks);
        let (start, end) = match self.series_and_next(ordinal)? {
            Some([series, next]) => (series.first_chunk as usize, next.first_chunk as usize),
            None => (self.series(ordinal)?.first_chunk as usize, chunks),
        };
        if start > end || end > chunks {
            return Err(self.corrupt(Section::Series, format!("chunks of series {ordinal}")));
        }
        Ok(start..end)
    }

    /// Records of chunks that stand together.
    pub(super) fn chunk_records(&self, numbers: Range<usize>) -> Result<ChunkRecords<'_>, ReadError> {
        let record_len = if self.index.version == 1 { size_of::<v1::ChunkRecord>() } else { size_of::<ChunkRecord>() };
        let at = |number: usize| (number * record_len) as u64;
        let bytes = self.bytes(Section::Chunks, at(numbers.start), at(numbers.end))?;
        let bytes = bytes.ok_or_else(|| self.corrupt(Section::Chunks, format!("chunks {numbers:?} are not there")))?;
        // Sections are aligned, and so is the map.
        Ok(match self.index.version {
            1 => ChunkRecords::V1(bytemuck::cast_slice(bytes)),
            _ => ChunkRecords::Now(bytemuck::cast_slice(bytes)),
        })
    }

    /// A chunk and the timestamps that go with it.
    pub(super) fn chunk(&self, number: usize) -> Result<(Chunk, &TimestampsRecord), ReadError> {
        let chunk = if self.index.version == 1 {
            self.record::<v1::ChunkRecord>(Section::Chunks, number)?.map(Chunk::from)
        } else {
            self.record::<ChunkRecord>(Section::Chunks, number)?.map(Chunk::from)
        };
        let chunk = chunk.ok_or_else(|| self.corrupt(Section::Chunks, format!("chunk {number}: is not there")))?;
        Ok((chunk, self.timestamps_of(number, &chunk)?))
    }

    /// The timestamps that go with a chunk.
    pub(super) fn timestamps_of(&self, number: usize, chunk: &Chunk) -> Result<&TimestampsRecord, ReadError> {
        let timestamps = self.record(Section::Timestamps, chunk.timestamps as usize)?;
        let damaged = || self.corrupt(Section::Chunks, format!("chunk {number}: its timestamps are not there"));
        timestamps.ok_or_else(damaged)
    }

    /// The statistics of a chunk, if it has some.
    pub(super) fn stats(&self, chunk: &Chunk, timestamps: &TimestampsRecord) -> Result<Option<ChunkStats>, ReadError> {
        self.stats_wanted(chunk, timestamps, StatsWanted::ALL)
    }

    /// As [`stats`](Self::stats); what is not wanted may be 0.
    #[inline(always)]
    pub(super) fn stats_wanted(
        &self,
        chunk: &Chunk,
        timestamps: &TimestampsRecord,
        wanted: StatsWanted,
    ) -> Result<Option<ChunkStats>, ReadError> {
        if chunk.stats == NO_STATS {
            return Ok(None);
        }
        let stats = if self.index.version == 1 {
            let record: Option<&v1::StatsRecord> = self.record(Section::Stats, chunk.stats as usize)?;
            record.and_then(v1::StatsRecord::stats)
        } else {
            self.stats_at(u64::from(chunk.stats) * STATS_UNIT as u64, wanted)?
        };
        let stats = stats
            .ok_or_else(|| self.corrupt(Section::Chunks, "statistics of a chunk are not there, or none".to_owned()))?;
        Ok(Some(ChunkStats {
            count: u32::from(timestamps.count),
            first_timestamp: timestamps.first,
            last_timestamp: timestamps.last,
            ..stats
        }))
    }

    /// The statistics that start at a byte of their section; `None` if there are none.
    #[inline(always)]
    fn stats_at(&self, at: u64, wanted: StatsWanted) -> Result<Option<ChunkStats>, ReadError> {
        let Some(start) = self.bytes(Section::Stats, at, at + size_of::<NarrowStats>() as u64)? else {
            return Ok(None);
        };
        // Units are aligned, as the section is.
        let narrow: &NarrowStats = bytemuck::from_bytes(start);
        if narrow.is_wide() != Some(true) {
            return Ok(if narrow.is_wide().is_some() { narrow.stats(wanted) } else { None });
        }
        let whole = self.bytes(Section::Stats, at, at + size_of::<WideStats>() as u64)?;
        Ok(whole.map(|bytes| bytemuck::from_bytes::<WideStats>(bytes).stats()))
    }
}
