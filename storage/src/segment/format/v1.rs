//! Records of version 1, which are read as long as there are such files: docs/format/segment.md, "Version 1".

use bytemuck::{Pod, Zeroable};

use super::stats::Floats;
use super::{Chunk, Series};
use crate::chunk::{CHUNK_SAMPLES_MAX, ChunkStats};

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::segment) struct ChunkRecord {
    offset: u64,
    crc: u32,
    timestamps: u32,
    /// The number of its record.
    stats: u32,
    len: u16,
    value_type: u8,
    reserved: u8,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::segment) struct StatsRecord {
    stale: u32,
    nan: u32,
    resets: u32,
    reserved: u32,
    floats: Floats,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::segment) struct SeriesRecord {
    key: [u64; 2],
    max_seq: u64,
    labels: u64,
    first_chunk: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<ChunkRecord>() == 24, "the spec says 24 bytes");
const _: () = assert!(size_of::<StatsRecord>() == 72, "the spec says 72 bytes");
const _: () = assert!(size_of::<SeriesRecord>() == 40, "the spec says 40 bytes");

impl From<&ChunkRecord> for Chunk {
    fn from(record: &ChunkRecord) -> Self {
        let ChunkRecord { offset, crc, timestamps, stats, len, value_type, .. } = *record;
        Self { offset, crc, timestamps, stats, len, value_type }
    }
}

impl From<&SeriesRecord> for Series {
    fn from(record: &SeriesRecord) -> Self {
        let SeriesRecord { key, max_seq, labels, first_chunk, .. } = *record;
        Self { key, max_seq, labels, first_chunk }
    }
}

impl StatsRecord {
    /// `None` if it counts more samples than a chunk has.
    pub(in crate::segment) fn stats(&self) -> Option<ChunkStats> {
        let Self { stale, nan, resets, .. } = *self;
        let fit = [stale, nan, resets].iter().all(|count| *count <= CHUNK_SAMPLES_MAX as u32);
        fit.then(|| self.floats.with_counts(stale, nan, resets))
    }
}
