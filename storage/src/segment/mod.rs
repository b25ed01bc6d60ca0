//! Immutable files of samples: written once, renamed into place, mapped, checked.
//!
//! Byte layout: `docs/format/segment.md`. A segment holds series in the order of their
//! labels, the chunks of each, statistics over them, and an index of its labels.
//! A *block*, the checksummed unit of reading, is one column of one chunk, or 16 KiB
//! of the index. Timestamp columns are stored once however many series
//! share them.

// what the bytes are called
mod error;
mod format;

// which bit of the bytes was turned over
mod mend;

// series into sets and back
mod bitmap;
mod postings;

// columns and labels -> file
mod writer;

// file -> columns and labels
mod reader;

pub use error::WriteError;
pub use format::{SEGMENT_VERSION, STATS_SAMPLES_MIN};
pub use reader::{
    ChunkInfo, ChunkSpan, DamagedPlaces, EncodedChunk, Expected, LostChunk, Mended, Salvage, Segment, VectorInfo,
    VerifyReport, Walk,
};
pub use writer::{SegmentHeader, SegmentWriter};

use crate::model::{SeqRange, TimeRange};

/// What a segment holds, for the manifest and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, which names its file.
    pub id: u64,
    /// The store it belongs to.
    pub store_id: u128,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Series in it.
    pub series: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Samples in it.
    pub samples: u64,
    /// A range that holds every timestamp in it; `None` if it has no sample.
    pub time_range: Option<TimeRange>,
    /// Its place in the order of acceptance.
    pub seq_range: SeqRange,
    /// Whether it holds the late samples of a flush: it wins over the in-order segment of the same range.
    pub late: bool,
    /// Whether each of its chunks was encoded as small as it gets: there is nothing to gain from doing so again.
    pub cold: bool,
    /// 0 for a flush; compaction counts up.
    pub level: u32,
    /// When it was made, nanoseconds since the Unix epoch, as the writer was told.
    pub created: i64,
    /// Which opening of the store made it; 0: it does not say.
    pub opening: u32,
}

/// The name of a segment's file: its id as 16 hex digits, and `.seg`.
#[must_use]
pub fn file_name(id: u64) -> String {
    format!("{id:016x}.seg")
}

/// The least id of a segment that an opening makes. So no two openings give one name, though both live: whoever goes on
/// writing without the directory's lock takes no file of the next owner's.
#[must_use]
pub fn first_id(opening: u32) -> u64 {
    u64::from(opening) << 32
}

/// The id that a file name stands for; `None` if it names no segment.
#[must_use]
pub fn id_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".seg")?;
    let hex = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_stands_for_its_id_and_others_for_none() {
        for id in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(id_of(&file_name(id)), Some(id));
        }
        for name in ["1.seg", "000000000000000G.seg", "0000000000000001.seg.tmp", "000000000000000A.seg", ".seg"] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }
}
