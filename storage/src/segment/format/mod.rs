//! Records of a segment as they lie in the file: docs/format/segment.md.
//!
//! Records are read in place from the map. All integers are little-endian.

mod stats;
pub(super) mod v1;

use bytemuck::{Pod, Zeroable};

pub(super) use stats::{NarrowStats, STATS_UNIT, StatsWords, WideStats};

#[cfg(target_endian = "big")]
compile_error!("segments are read in place, which needs a little-endian machine");

/// The segment version written here, and the newest one read.
pub const SEGMENT_VERSION: u32 = 2;

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

/// In [`Chunk::stats`]: the chunk has none.
pub(super) const NO_STATS: u32 = u32::MAX;

/// Series, chunks and label names of a segment at most: each has a number, and none has that of "nothing".
pub(super) const RECORDS_MAX: usize = u32::MAX as usize - 1;

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
    /// [`NarrowStats`] and [`WideStats`].
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chunk {
    /// Of the value column in the file.
    pub(super) offset: u64,
    /// CRC32C of the value column.
    pub(super) crc: u32,
    /// Index into the timestamps section.
    pub(super) timestamps: u32,
    /// Where its statistics start in their section, in [units](STATS_UNIT) (version 1: in records), or [`NO_STATS`].
    pub(super) stats: u32,
    pub(super) len: u16,
    pub(super) value_type: u8,
}

/// A [`Chunk`] in the file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ChunkRecord {
    offset_low: u32,
    crc: u32,
    timestamps: u32,
    stats: u32,
    len: u16,
    offset_high: u8,
    value_type: u8,
}

/// What the directory says of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    /// Join key, low half first.
    pub(super) key: [u64; 2],
    /// Greatest sequence number of its samples.
    pub(super) max_seq: u64,
    /// Where its label set starts in the labels section; it ends where the next one starts.
    pub(super) labels: u64,
    /// Its first chunk; the last one stands before the next series' first.
    pub(super) first_chunk: u32,
}

/// A [`Series`] in the file: every number as halves of four bytes, low half first.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SeriesRecord {
    key: [[u32; 2]; 2],
    max_seq: [u32; 2],
    labels: [u32; 2],
    first_chunk: u32,
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
const _: () = assert!(size_of::<ChunkRecord>() == 20, "the spec says 20 bytes");
const _: () = assert!(size_of::<SeriesRecord>() == 36, "the spec says 36 bytes");
const _: () = assert!(size_of::<NameRecord>() == 16, "the spec says 16 bytes");
const _: () = assert!(size_of::<LabelRecord>() == 24, "the spec says 24 bytes");

/// Value columns start below this offset, which has five bytes.
pub(super) const CHUNK_OFFSET_END: u64 = 1 << 40;

impl From<&Chunk> for ChunkRecord {
    fn from(chunk: &Chunk) -> Self {
        let Chunk { offset, crc, timestamps, stats, len, value_type } = *chunk;
        Self { offset_low: offset as u32, offset_high: (offset >> 32) as u8, crc, timestamps, stats, len, value_type }
    }
}

impl From<&ChunkRecord> for Chunk {
    fn from(record: &ChunkRecord) -> Self {
        let ChunkRecord { offset_low, offset_high, crc, timestamps, stats, len, value_type } = *record;
        let offset = u64::from(offset_high) << 32 | u64::from(offset_low);
        Self { offset, crc, timestamps, stats, len, value_type }
    }
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl From<&Series> for SeriesRecord {
    fn from(series: &Series) -> Self {
        let Series { key, max_seq, labels, first_chunk } = *series;
        Self { key: key.map(halves), max_seq: halves(max_seq), labels: halves(labels), first_chunk }
    }
}

impl From<&SeriesRecord> for Series {
    fn from(record: &SeriesRecord) -> Self {
        let SeriesRecord { key, max_seq, labels, first_chunk } = *record;
        Self { key: key.map(whole), max_seq: whole(max_seq), labels: whole(labels), first_chunk }
    }
}
