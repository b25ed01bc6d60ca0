//! Reading a segment from its map.

mod chunks;
mod copy;
mod cursor;
mod index;
mod inspect;
mod labels;
mod lost;
mod names;
mod open;
mod padding;
mod places;
mod salvage;
mod sets;
mod source;
mod statistics;
mod unclaimed;
mod verify;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytemuck::AnyBitPattern;

use super::SegmentInfo;
use super::format::{Section, Series, SeriesRecord, v1};
use crate::chunk::ChunkError;
use crate::fs::Map;
use crate::model::SeqNo;
use crate::source::ReadError;
use index::Index;
use lost::unreadable;
use names::Name;

pub use copy::{ChunkSpan, EncodedChunk};
pub use inspect::{ChunkInfo, VectorInfo};
pub use places::DamagedPlaces;
pub use salvage::{Expected, LostChunk, Mended, Salvage};
pub use verify::VerifyReport;
pub use walk::Walk;

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
        self.whole(|| self.series(ordinal).map(|series| SeqNo(series.max_seq)))
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
        self.index.records(Section::Series) as u32
    }

    /// Timestamp columns in it: as many as it has chunks, less those that chunks share.
    #[must_use]
    pub fn timestamp_columns(&self) -> u32 {
        // Checked to fit at opening.
        self.index.records(Section::Timestamps) as u32
    }

    /// What the directory says of a series; `None` if there are not so many.
    fn series_at(&self, ordinal: usize) -> Result<Option<Series>, ReadError> {
        Ok(if self.index.version == 1 {
            self.record::<v1::SeriesRecord>(Section::Series, ordinal)?.map(Series::from)
        } else {
            self.record::<SeriesRecord>(Section::Series, ordinal)?.map(Series::from)
        })
    }

    fn series(&self, ordinal: u32) -> Result<Series, ReadError> {
        let series = self.series_at(ordinal as usize)?;
        series.ok_or_else(|| self.corrupt(Section::Series, format!("there is no series {ordinal}")))
    }

    /// The bytes of a column, once their checksum was found right.
    fn column(&self, offset: u64, len: u16, crc: u32, what: &str) -> Result<&[u8], ReadError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(usize::from(len));
        let bytes = self.map.get(range.clone());
        let bytes = bytes.ok_or_else(|| self.corrupt_at(offset, format!("{what} lies outside of the file")))?;
        if crc32c::crc32c(bytes) != crc {
            return Err(match self.map.is_lost(&range) {
                true => unreadable(&self.path, &self.map, &range),
                false => self.corrupt_at(offset, format!("checksum of {what} is wrong")),
            });
        }
        // The count of lost pages goes up before zeros take their place: whoever began in between saw what was there (UR1).
        if self.map.is_lost(&range) {
            return Err(unreadable(&self.path, &self.map, &range));
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
            ChunkError::MissingFeature { feature } => ReadError::MissingFeature { file: self.path.clone(), feature },
            other => self.corrupt_at(offset, other.to_string()),
        }
    }
}
