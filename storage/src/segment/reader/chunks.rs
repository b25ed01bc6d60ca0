//! What the directory says of chunks, whatever the version of the file.

use std::ops::Range;

use super::Segment;
use super::index::record_len;
use crate::chunk::{ChunkStats, StatsWanted};
use crate::segment::format::{
    Chunk, ChunkRecord, NO_STATS, NarrowStats, STATS_UNIT, Section, Series, SeriesRecord, TimestampsRecord, WideStats,
    v1,
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

/// Records of series that stand together.
#[derive(Clone, Copy)]
enum SeriesRecords<'a> {
    Now(&'a [SeriesRecord]),
    V1(&'a [v1::SeriesRecord]),
}

/// Where the chunks of some series lie.
#[derive(Clone, Copy)]
pub(super) struct ChunksOf<'a> {
    /// Number of the first of them.
    first: u32,
    /// How many they are.
    series: usize,
    records: SeriesRecords<'a>,
    /// Chunks of all series of the file.
    chunks: usize,
}

/// Records of the chunks of several series.
pub(super) struct Run<'a> {
    /// Number of the first.
    start: usize,
    records: ChunkRecords<'a>,
}

impl<'a> Run<'a> {
    /// Some of them, by their numbers; `None` if they are not among them.
    #[inline]
    pub(super) fn get(&self, numbers: &Range<usize>) -> Option<ChunkRecords<'a>> {
        let places = numbers.start.checked_sub(self.start)?..numbers.end.checked_sub(self.start)?;
        match self.records {
            ChunkRecords::Now(records) => records.get(places).map(ChunkRecords::Now),
            ChunkRecords::V1(records) => records.get(places).map(ChunkRecords::V1),
        }
    }
}

impl ChunksOf<'_> {
    /// The first chunk of the series at a place; of all that are not there, the one behind the last.
    #[inline]
    fn first_chunk(&self, at: usize) -> usize {
        let first_chunk = match self.records {
            SeriesRecords::Now(records) => records.get(at).map(|record| Series::from(record).first_chunk),
            SeriesRecords::V1(records) => records.get(at).map(|record| Series::from(record).first_chunk),
        };
        first_chunk.map_or(self.chunks, |first_chunk| first_chunk as usize)
    }

    /// The chunks of one of the series, by their numbers.
    #[inline]
    pub(super) fn get(&self, segment: &Segment, ordinal: u32) -> Result<Range<usize>, ReadError> {
        let at = (ordinal - self.first) as usize;
        let (start, end) = (self.first_chunk(at), self.first_chunk(at + 1));
        if start > end || end > self.chunks {
            return Err(self.damaged(segment, ordinal));
        }
        Ok(start..end)
    }

    /// The records of all their chunks.
    pub(super) fn run<'a>(&self, segment: &'a Segment) -> Result<Run<'a>, ReadError> {
        let (start, end) = (self.first_chunk(0), self.first_chunk(self.series));
        if start > end {
            return Err(self.damaged(segment, self.first));
        }
        Ok(Run { start, records: segment.chunk_records(start..end)? })
    }

    #[cold]
    pub(super) fn damaged(&self, segment: &Segment, ordinal: u32) -> ReadError {
        segment.corrupt(Section::Series, format!("chunks of series {ordinal}"))
    }
}

impl Segment {
    /// The chunks of a series, by their numbers.
    pub(super) fn chunk_range(&self, ordinal: u32) -> Result<Range<usize>, ReadError> {
        self.chunks_of(ordinal..ordinal.saturating_add(1))?.get(self, ordinal)
    }

    /// Where the chunks of series lie that stand one behind the other.
    pub(super) fn chunks_of(&self, ordinals: Range<u32>) -> Result<ChunksOf<'_>, ReadError> {
        let series = self.series_count();
        if ordinals.start >= ordinals.end || ordinals.end > series {
            return Err(self.corrupt(Section::Series, format!("there are no series {ordinals:?}")));
        }
        // With the one behind them, whose first chunk is where theirs end.
        let with_next = u64::from(ordinals.start)..u64::from(ordinals.end.saturating_add(1).min(series));
        let record_len = record_len(self.index.version)[Section::Series as usize] as u64;
        let bytes = self.bytes(Section::Series, with_next.start * record_len, with_next.end * record_len)?;
        let bytes = bytes.ok_or_else(|| self.corrupt(Section::Series, format!("series {ordinals:?} are not there")))?;
        // Sections are aligned, and so is the map.
        let records = match self.index.version {
            1 => SeriesRecords::V1(bytemuck::cast_slice(bytes)),
            _ => SeriesRecords::Now(bytemuck::cast_slice(bytes)),
        };
        let chunks = self.index.records(Section::Chunks);
        Ok(ChunksOf { first: ordinals.start, series: ordinals.len(), records, chunks })
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
