//! Reading a segment from its map.

mod copy;
mod cursor;
mod index;
mod inspect;
mod labels;
mod names;
mod open;
mod salvage;
mod sets;
mod source;
mod statistics;
mod verify;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytemuck::AnyBitPattern;

use super::SegmentInfo;
use super::format::{ChunkRecord, NO_STATS, Section, SeriesRecord, StatsRecord, TimestampsRecord};
use crate::chunk::ChunkError;
use crate::fs::Map;
use crate::model::SeqNo;
use crate::source::ReadError;
use index::Index;
use names::Name;

pub use copy::{ChunkSpan, EncodedChunk};
pub use inspect::{ChunkInfo, VectorInfo};
pub use salvage::LostChunk;
pub use verify::VerifyReport;

/// An open segment. Cheap to clone is only its map; share it in an `Arc`.
///
/// Everything is read in place; any number of threads may read. A block of the index is
/// checked when it is first looked at, a column whenever it is read.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Map,
    info: SegmentInfo,
    index: Index,
    /// Taken out of the index when first asked for.
    names: OnceLock<Box<[Name]>>,
}

impl Segment {
    /// What the segment holds.
    #[must_use]
    pub fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// The file it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Greatest sequence number among the samples of a series.
    ///
    /// # Errors
    /// [`ReadError`] if there is no such series.
    pub fn max_seq(&self, ordinal: u32) -> Result<SeqNo, ReadError> {
        self.series(ordinal).map(|series| SeqNo(series.max_seq))
    }

    /// One record of the index; `None` if there are not so many.
    fn record<T: AnyBitPattern>(&self, section: Section, at: usize) -> Result<Option<&T>, ReadError> {
        self.index.record(&self.path, &self.map, section, at)
    }

    /// Bytes of a section that hold no records; `None` if it is not so long.
    fn bytes(&self, section: Section, start: u64, end: u64) -> Result<Option<&[u8]>, ReadError> {
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { return Ok(None) };
        self.index.bytes(&self.path, &self.map, section, start..end)
    }

    /// Series in it, numbered from 0 in the order of their labels.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        // Checked to fit at opening.
        self.index.count::<SeriesRecord>(Section::Series) as u32
    }

    fn series(&self, ordinal: u32) -> Result<&SeriesRecord, ReadError> {
        let series = self.record(Section::Series, ordinal as usize)?;
        series.ok_or_else(|| self.corrupt(Section::Series, format!("there is no series {ordinal}")))
    }

    /// The chunks of a series, by their numbers.
    fn chunk_range(&self, ordinal: u32) -> Result<Range<usize>, ReadError> {
        let chunks = self.index.count::<ChunkRecord>(Section::Chunks);
        let start = self.series(ordinal)?.first_chunk as usize;
        let next: Option<&SeriesRecord> = self.record(Section::Series, ordinal as usize + 1)?;
        let end = next.map_or(chunks, |next| next.first_chunk as usize);
        if start > end || end > chunks {
            return Err(self.corrupt(Section::Series, format!("chunks of series {ordinal}")));
        }
        Ok(start..end)
    }

    /// A chunk and the timestamps that go with it.
    fn chunk(&self, number: usize) -> Result<(&ChunkRecord, &TimestampsRecord), ReadError> {
        let damaged = || self.corrupt(Section::Chunks, format!("chunk {number}: is not there"));
        let chunk: &ChunkRecord = self.record(Section::Chunks, number)?.ok_or_else(damaged)?;
        Ok((chunk, self.timestamps_of(number, chunk)?))
    }

    /// The timestamps that go with a chunk.
    fn timestamps_of(&self, number: usize, chunk: &ChunkRecord) -> Result<&TimestampsRecord, ReadError> {
        let timestamps = self.record(Section::Timestamps, chunk.timestamps as usize)?;
        let damaged = || self.corrupt(Section::Chunks, format!("chunk {number}: its timestamps are not there"));
        timestamps.ok_or_else(damaged)
    }

    /// The statistics of a chunk, if it has some.
    fn stats(&self, chunk: &ChunkRecord) -> Result<Option<&StatsRecord>, ReadError> {
        if chunk.stats == NO_STATS {
            return Ok(None);
        }
        let stats = self.record(Section::Stats, chunk.stats as usize)?;
        let damaged = || self.corrupt(Section::Chunks, "statistics of a chunk are not there".to_owned());
        stats.map(Some).ok_or_else(damaged)
    }

    /// The bytes of a column, once their checksum was found right.
    fn column(&self, offset: u64, len: u16, crc: u32, what: &str) -> Result<&[u8], ReadError> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.map.get(start..start.checked_add(usize::from(len))?))
            .ok_or_else(|| self.corrupt_at(offset, format!("{what} lies outside of the file")))?;
        if crc32c::crc32c(bytes) != crc {
            return Err(self.corrupt_at(offset, format!("checksum of {what} is wrong")));
        }
        Ok(bytes)
    }

    fn corrupt(&self, section: Section, what: String) -> ReadError {
        self.corrupt_at(self.index.sections[section as usize].start as u64, what)
    }

    fn corrupt_at(&self, offset: u64, what: String) -> ReadError {
        ReadError::Corrupt { file: self.path.clone(), offset, what }
    }

    fn chunk_error(&self, offset: u64, error: ChunkError) -> ReadError {
        match error {
            ChunkError::TooNew { found, supported, .. } => {
                ReadError::TooNew { file: self.path.clone(), found: u32::from(found), supported: u32::from(supported) }
            }
            other => self.corrupt_at(offset, other.to_string()),
        }
    }
}
