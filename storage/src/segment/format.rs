//! Records of a segment as they lie in the file: docs/format/segment.md.
//!
//! Records are read in place from the map. All integers are little-endian.

use bytemuck::{Pod, Zeroable};

use crate::chunk::ChunkStats;

#[cfg(target_endian = "big")]
compile_error!("segments are read in place, which needs a little-endian machine");

/// The segment version written here, and the newest one read.
pub const SEGMENT_VERSION: u32 = 1;

/// Chunks of fewer samples carry no statistics: reading them is as quick, and they would weigh more than the samples.
pub const STATS_SAMPLES_MIN: usize = 256;

pub(super) const HEADER_MAGIC: [u8; 8] = *b"TGSEGM\r\n";
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"TGSEGEND";

/// Every section and the footer start at a multiple of this.
pub(super) const ALIGN: u64 = 8;

/// The index is checked in blocks of this many bytes, the last one shorter.
pub(super) const INDEX_BLOCK_LEN: usize = 16 << 10;

/// In [`Header::flags`]: late samples of a flush.
pub(super) const FLAG_LATE: u32 = 1;
/// In [`Header::flags`]: encoded as small as it gets.
pub(super) const FLAG_COLD: u32 = 2;

/// In [`ChunkRecord::stats`]: the chunk has none.
pub(super) const NO_STATS: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    pub(super) flags: u32,
    /// Low half first.
    pub(super) store_id: [u64; 2],
    pub(super) id: u64,
    pub(super) seq_start: u64,
    pub(super) seq_end: u64,
    pub(super) created: i64,
    pub(super) level: u32,
    /// CRC32C of the bytes before.
    pub(super) crc: u32,
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SectionRecord {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// CRC32C of the section.
    pub(super) crc: u32,
    pub(super) reserved: u32,
}

/// The last bytes of the file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Footer {
    pub(super) sections: [SectionRecord; SECTIONS],
    pub(super) samples: u64,
    /// Meaningless if there is no sample.
    pub(super) first_timestamp: i64,
    pub(super) last_timestamp: i64,
    pub(super) file_bytes: u64,
    /// Where the checksums of the index' blocks lie, right behind the index; 0: there are none.
    pub(super) checksums: u64,
    /// CRC32C of these checksums.
    pub(super) checksums_crc: u32,
    /// The opening that wrote it; 0: it does not say.
    pub(super) opening: u32,
    pub(super) version: u32,
    /// CRC32C of the footer's bytes before.
    pub(super) crc: u32,
    pub(super) magic: [u8; 8],
}

/// The sections of the index, in the order they lie in the file and in the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Section {
    /// [`TimestampsRecord`], in the order of their columns.
    Timestamps = 0,
    /// [`ChunkRecord`], by series, then by time.
    Chunks = 1,
    /// [`StatsRecord`].
    Stats = 2,
    /// [`SeriesRecord`], in the order of the labels.
    Series = 3,
    /// Label sets as lists of label numbers.
    Labels = 4,
    /// [`NameRecord`], ascending.
    Names = 5,
    /// [`LabelRecord`], by name, then by value.
    Values = 6,
    /// Text of names and values.
    Strings = 7,
    /// Which series have a label.
    Postings = 8,
}

pub(super) const SECTIONS: usize = 9;

/// A timestamp column: one for all chunks that share it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct TimestampsRecord {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) offset: u64,
    /// CRC32C of the column.
    pub(super) crc: u32,
    pub(super) len: u16,
    /// Samples: 1 to 4,096.
    pub(super) count: u16,
}

/// A chunk: a value column and the timestamp column that goes with it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ChunkRecord {
    pub(super) offset: u64,
    /// CRC32C of the value column.
    pub(super) crc: u32,
    /// Index into the timestamps section.
    pub(super) timestamps: u32,
    /// Index into the stats section, or [`NO_STATS`].
    pub(super) stats: u32,
    pub(super) len: u16,
    pub(super) value_type: u8,
    pub(super) reserved: u8,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct StatsRecord {
    stale: u32,
    nan: u32,
    resets: u32,
    reserved: u32,
    first_value: f64,
    last_value: f64,
    min: f64,
    max: f64,
    sum: f64,
    compensation: f64,
    increase: f64,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SeriesRecord {
    /// Join key, low half first.
    pub(super) key: [u64; 2],
    /// Greatest sequence number of its samples.
    pub(super) max_seq: u64,
    /// Where its label set starts in the labels section; it ends where the next one starts.
    pub(super) labels: u64,
    /// Its first chunk; the last one stands before the next series' first.
    pub(super) first_chunk: u32,
    pub(super) reserved: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct NameRecord {
    /// Where its text starts in the strings section.
    pub(super) text: u64,
    pub(super) text_len: u32,
    /// Its first label in the values section; the last one stands before the next name's first.
    pub(super) first_value: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct LabelRecord {
    /// Where the value's text starts in the strings section.
    pub(super) text: u64,
    /// Where its series start in the postings section; they end where the next label's start.
    pub(super) postings: u64,
    pub(super) text_len: u32,
    /// How many series have the label.
    pub(super) series: u32,
}

pub(super) const HEADER_LEN: usize = size_of::<Header>();
pub(super) const FOOTER_LEN: usize = size_of::<Footer>();

/// Bytes of the header under its CRC.
pub(super) const HEADER_CRC_AT: usize = HEADER_LEN - 4;
/// Bytes of the footer under its CRC.
pub(super) const FOOTER_CRC_AT: usize = FOOTER_LEN - 12;

const _: () = assert!(HEADER_LEN == 72, "the spec says 72 bytes");
const _: () = assert!(FOOTER_LEN == 280, "the spec says 280 bytes");
const _: () = assert!(size_of::<SectionRecord>() == 24, "the spec says 24 bytes");
const _: () = assert!(size_of::<TimestampsRecord>() == 32, "the spec says 32 bytes");
const _: () = assert!(size_of::<ChunkRecord>() == 24, "the spec says 24 bytes");
const _: () = assert!(size_of::<StatsRecord>() == 72, "the spec says 72 bytes");
const _: () = assert!(size_of::<SeriesRecord>() == 40, "the spec says 40 bytes");
const _: () = assert!(size_of::<NameRecord>() == 16, "the spec says 16 bytes");
const _: () = assert!(size_of::<LabelRecord>() == 24, "the spec says 24 bytes");

/// A [`StatsRecord`] as words, to compare it bit by bit.
pub(super) const STATS_WORDS: usize = size_of::<StatsRecord>() / 8;

impl StatsRecord {
    /// Whether all values but NaN are equal.
    pub(super) fn is_constant(&self) -> bool {
        self.min == self.max
    }

    /// Count and timestamps are left out: the timestamp column has them.
    pub(super) fn new(stats: &ChunkStats) -> Self {
        Self {
            stale: stats.stale,
            nan: stats.nan,
            resets: stats.resets,
            reserved: 0,
            first_value: stats.first_value,
            last_value: stats.last_value,
            min: stats.min,
            max: stats.max,
            sum: stats.sum,
            compensation: stats.compensation,
            increase: stats.increase,
        }
    }

    pub(super) fn stats(&self, timestamps: &TimestampsRecord) -> ChunkStats {
        ChunkStats {
            count: u32::from(timestamps.count),
            stale: self.stale,
            nan: self.nan,
            resets: self.resets,
            first_timestamp: timestamps.first,
            last_timestamp: timestamps.last,
            first_value: self.first_value,
            last_value: self.last_value,
            min: self.min,
            max: self.max,
            sum: self.sum,
            compensation: self.compensation,
            increase: self.increase,
        }
    }
}
