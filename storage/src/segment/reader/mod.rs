//! Reading a segment from its map.

mod cursor;
mod inspect;
mod labels;
mod open;
mod source;
mod verify;

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytemuck::AnyBitPattern;

use super::SegmentInfo;
use super::format::{
    ChunkRecord, LabelRecord, NameRecord, SECTIONS, Section, SeriesRecord, StatsRecord, TimestampsRecord,
};
use crate::chunk::ChunkError;
use crate::fs::Map;
use crate::model::SeqNo;
use crate::source::ReadError;

pub use inspect::ChunkInfo;
pub use verify::VerifyReport;

/// An open segment. Cheap to clone is only its map; share it in an `Arc`.
///
/// Everything is read in place; any number of threads may read. Checksums of the index
/// were checked by [`open`](Segment::open), those of columns are checked whenever one is read.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Map,
    info: SegmentInfo,
    sections: [Range<usize>; SECTIONS],
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

    fn section(&self, section: Section) -> &[u8] {
        &self.map[self.sections[section as usize].clone()]
    }

    /// A section as records. Alignment and length were checked at opening.
    fn records<T: AnyBitPattern>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(self.section(section))
    }

    fn all_series(&self) -> &[SeriesRecord] {
        self.records(Section::Series)
    }

    fn all_chunks(&self) -> &[ChunkRecord] {
        self.records(Section::Chunks)
    }

    fn all_timestamps(&self) -> &[TimestampsRecord] {
        self.records(Section::Timestamps)
    }

    fn all_stats(&self) -> &[StatsRecord] {
        self.records(Section::Stats)
    }

    fn names(&self) -> &[NameRecord] {
        self.records(Section::Names)
    }

    fn values(&self) -> &[LabelRecord] {
        self.records(Section::Values)
    }

    fn series(&self, ordinal: u32) -> Result<&SeriesRecord, ReadError> {
        let series = self.all_series().get(ordinal as usize);
        series.ok_or_else(|| self.corrupt(Section::Series, format!("there is no series {ordinal}")))
    }

    /// The chunks of a series, by their numbers.
    fn chunk_range(&self, ordinal: u32) -> Result<Range<usize>, ReadError> {
        let start = self.series(ordinal)?.first_chunk as usize;
        let next = self.all_series().get(ordinal as usize + 1);
        let end = next.map_or(self.all_chunks().len(), |next| next.first_chunk as usize);
        if start > end || end > self.all_chunks().len() {
            return Err(self.corrupt(Section::Series, format!("chunks of series {ordinal}")));
        }
        Ok(start..end)
    }

    /// A chunk, the timestamps that go with it, and its statistics.
    fn chunk(&self, number: usize) -> Result<(&ChunkRecord, &TimestampsRecord, Option<&StatsRecord>), ReadError> {
        let damaged = |what: &str| self.corrupt(Section::Chunks, format!("chunk {number}: {what}"));
        let chunk = self.all_chunks().get(number).ok_or_else(|| damaged("is not there"))?;
        let timestamps = self.all_timestamps().get(chunk.timestamps as usize);
        let timestamps = timestamps.ok_or_else(|| damaged("its timestamps are not there"))?;
        let stats = match chunk.stats {
            super::format::NO_STATS => None,
            at => Some(self.all_stats().get(at as usize).ok_or_else(|| damaged("its statistics are not there"))?),
        };
        Ok((chunk, timestamps, stats))
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
        self.corrupt_at(self.sections[section as usize].start as u64, what)
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
