//! Byte layout of WAL files and frames: `docs/format/wal.md`.

use bytemuck::{Pod, Zeroable};

use crate::model::SeqNo;

const _: () = assert!(cfg!(target_endian = "little"), "the formats are little-endian and read in place");

/// First bytes of a WAL file.
pub(super) const FILE_MAGIC: [u8; 8] = *b"TGWALOG\n";
/// The version this release writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;
/// The file header has a page of its own, so that no frame shares one with it.
pub const PAGE: u64 = 4096;

/// First bytes of a frame.
pub(super) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"TGFR");
/// A frame of samples and the definitions they need.
pub(super) const KIND_SAMPLES: u8 = 1;
/// A frame of one delete.
pub(super) const KIND_DELETE: u8 = 2;
/// Stands where the next frame will, and says what is durable. Other kinds come with later versions.
pub(super) const KIND_WITNESS: u8 = 3;
/// Frames start at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 8;

/// Bytes of a frame at most, header and padding included.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Samples of a frame at most: bounds the memory that decoding needs.
pub const FRAME_SAMPLES_MAX: usize = 1 << 19;
/// Samples of a group at most. A group's columns fit the first-level cache.
pub(super) const GROUP_SAMPLES_MAX: usize = 512;
/// What a group costs beside its packed columns, at most.
pub(super) const GROUP_OVERHEAD_MAX: usize = 64;

/// How a column of series numbers is stored.
pub(super) mod series_mode {
    pub(in crate::wal) const SAME: u8 = 0;
    pub(in crate::wal) const RUNS: u8 = 1;
    pub(in crate::wal) const PACKED: u8 = 2;
}

/// How a column of timestamps is stored.
pub(super) mod time_mode {
    pub(in crate::wal) const SAME: u8 = 0;
    pub(in crate::wal) const REGULAR: u8 = 1;
    pub(in crate::wal) const RUNS: u8 = 2;
    pub(in crate::wal) const PACKED: u8 = 3;
}

/// The type of a column of values. Only `f64` today.
pub(super) const VALUE_TYPE_F64: u8 = 0;

/// How a column of values is stored.
pub(super) mod value_mode {
    pub(in crate::wal) const SAME: u8 = 0;
    pub(in crate::wal) const RAW: u8 = 1;
    pub(in crate::wal) const DECIMAL: u8 = 2;
}

/// Powers of ten that decimals may be scaled by.
pub(super) const SCALES: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// The beginning of a WAL file; the rest of its page is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct FileHeader {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    /// CRC32C of bytes 0..12 and 16..64.
    pub(super) crc: u32,
    pub(super) store_id: [u8; 16],
    pub(super) epoch: u64,
    pub(super) generation: u64,
    pub(super) first_frame: u64,
    pub(super) synced_through: u64,
}

/// The beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct FrameHeader {
    pub(super) magic: u32,
    /// CRC32C of bytes 8..96.
    pub(super) header_crc: u32,
    /// CRC32C of everything behind the header.
    pub(super) payload_crc: u32,
    /// Bytes of the frame, header and padding included.
    pub(super) frame_len: u32,
    pub(super) store_id: [u8; 16],
    pub(super) epoch: u64,
    pub(super) frame_no: u64,
    pub(super) synced_through: u64,
    pub(super) generation: u64,
    pub(super) first_seq: u64,
    pub(super) samples: u32,
    pub(super) groups_len: u32,
    pub(super) definitions: u32,
    pub(super) definitions_len: u32,
    pub(super) origins: u16,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) reserved: u32,
}

pub(super) const FILE_HEADER_LEN: usize = size_of::<FileHeader>();
pub(super) const FRAME_HEADER_LEN: usize = size_of::<FrameHeader>();
pub(super) const ORIGIN_LEN: usize = 32;

const _: () = assert!(FILE_HEADER_LEN == 64, "the spec says 64 bytes");
const _: () = assert!(FRAME_HEADER_LEN == 96, "the spec says 96 bytes");

impl FileHeader {
    pub(super) fn sealed(mut self) -> Self {
        self.crc = self.checksum();
        self
    }

    pub(super) fn checksum(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
    }
}

impl FrameHeader {
    /// Fills in both checksums.
    pub(super) fn sealed(mut self, payload: &[u8]) -> Self {
        self.payload_crc = crc32c::crc32c(payload);
        self.header_crc = self.checksum();
        self
    }

    pub(super) fn checksum(&self) -> u32 {
        crc32c::crc32c(&bytemuck::bytes_of(self)[8..])
    }

    /// The number behind the last one of the frame.
    pub(super) fn end_seq(&self) -> SeqNo {
        SeqNo(self.first_seq.saturating_add(self.samples.into()))
    }
}
