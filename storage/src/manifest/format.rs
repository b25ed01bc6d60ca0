//! Byte layout of the manifest: `docs/format/manifest.md`.

use bytemuck::{Pod, Zeroable};

/// First bytes of the file.
pub(super) const MAGIC: [u8; 8] = *b"TGMANIF\n";
/// The version this release writes, and the newest it reads.
pub(super) const VERSION: u32 = 3;
/// In it the commits followed the header at once.
const WITHOUT_WITNESS: u32 = 1;
/// The file's name in the data directory.
pub(super) const FILE_NAME: &str = "MANIFEST";
/// The file beside it in which a closed store says where it ended, its first bytes and its version.
pub(super) const CLOSED_NAME: &str = "MANIFEST.closed";
pub(super) const CLOSED_MAGIC: [u8; 8] = *b"TGCLOSE\n";
pub(super) const CLOSED_VERSION: u32 = 1;
/// Where an opening writes its next manifest before that takes the name.
pub(super) fn temp_name(open_number: u32) -> String {
    format!("{FILE_NAME}.{open_number:08x}.tmp")
}

/// Whether it is such a name, of whatever opening.
pub(super) fn is_temp_name(name: &str) -> bool {
    name.strip_prefix(FILE_NAME).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"))
}

/// Commits start at multiples of this.
pub(super) const COMMIT_ALIGN: u64 = 8;
/// The file grows by this much at a time.
pub(super) const GROW_BYTES: u64 = 64 << 10;
/// Allocated behind the last commit, for edits that give space back on a full disk.
pub(super) const RESERVE_BYTES: u64 = 64 << 10;
/// Edits behind the first commit that a file may hold before it is rewritten, beside as many
/// bytes as the first commit has.
pub(super) const EDITS_BYTES_MAX: u64 = 256 << 10;

/// What each edit says.
pub(super) mod kind {
    pub(in crate::manifest) const SEGMENT_ADD: u16 = 1;
    pub(in crate::manifest) const SEGMENT_REMOVE: u16 = 2;
    pub(in crate::manifest) const NEXT_SEGMENT: u16 = 3;
    pub(in crate::manifest) const WAL_STATE: u16 = 4;
    pub(in crate::manifest) const WAL_LIFE: u16 = 5;
    pub(in crate::manifest) const WAL_RELEASE: u16 = 6;
    pub(in crate::manifest) const NUMBERS: u16 = 7;
    pub(in crate::manifest) const METADATA: u16 = 8;
    pub(in crate::manifest) const TOMBSTONE_ADD: u16 = 9;
    // 10 is reserved for origins.
    pub(in crate::manifest) const RETENTION: u16 = 11;
    pub(in crate::manifest) const TOMBSTONE_REMOVE: u16 = 12;
    /// Of versions 1 and 2, without a number.
    pub(in crate::manifest) const HORIZON_OF_ALL: u16 = 13;
    pub(in crate::manifest) const WAL_SYNCED: u16 = 14;
    pub(in crate::manifest) const HORIZON: u16 = 15;
    pub(in crate::manifest) const HORIZON_REMOVE: u16 = 16;
    pub(in crate::manifest) const FLUSHED: u16 = 17;
    /// The greatest kind known.
    pub(in crate::manifest) const LAST: u16 = FLUSHED;
}

/// The beginning of the file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct FileHeader {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    /// CRC32C of bytes 0..12 and 16..48.
    pub(super) crc: u32,
    pub(super) store_id: [u8; 16],
    pub(super) open_number: u32,
    pub(super) reserved: u32,
    /// Number of the first commit.
    pub(super) first_commit: u64,
}

/// The beginning of a commit.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct CommitHeader {
    /// CRC32C of the file header's bytes 16..48, then of everything behind this field.
    pub(super) crc: u32,
    /// Bytes of the edits, without padding.
    pub(super) len: u32,
    pub(super) number: u64,
}

/// Behind the header: which commit is known to be durable.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Witness {
    /// CRC32C of the file header's bytes 16..48, then of everything behind this field.
    pub(super) crc: u32,
    pub(super) reserved: u32,
    /// Number of that commit.
    pub(super) through: u64,
}

pub(super) const FILE_HEADER_LEN: usize = size_of::<FileHeader>();
pub(super) const COMMIT_HEADER_LEN: usize = size_of::<CommitHeader>();

const _: () = assert!(FILE_HEADER_LEN == 48, "the spec says 48 bytes");
const _: () = assert!(COMMIT_HEADER_LEN == 16, "the spec says 16 bytes");
pub(super) const WITNESS_LEN: usize = size_of::<Witness>();
/// Where the witness lies.
pub(super) const WITNESS_AT: usize = FILE_HEADER_LEN;
/// Where the first commit lies.
const COMMITS_AT: usize = WITNESS_AT + WITNESS_LEN;

const _: () = assert!(COMMITS_AT == 64, "the spec says 64 bytes");
const _: () = assert!((COMMITS_AT as u64).is_multiple_of(COMMIT_ALIGN));

impl FileHeader {
    pub(super) fn sealed(mut self) -> Self {
        self.crc = self.checksum();
        self
    }

    /// Where the first commit of such a file lies.
    pub(super) fn commits_at(&self) -> usize {
        if self.version == WITHOUT_WITNESS { FILE_HEADER_LEN } else { COMMITS_AT }
    }

    pub(super) fn checksum(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
    }

    /// What the checksum of each commit begins with, so that a commit belongs to one file.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&bytemuck::bytes_of(self)[16..])
    }
}

impl Witness {
    pub(super) fn new(seed: u32, through: u64) -> Self {
        let mut witness = Self { crc: 0, reserved: 0, through };
        witness.crc = commit_checksum(seed, &bytemuck::bytes_of(&witness)[4..]);
        witness
    }

    /// The commit that the witness in a file with that header calls durable; none if it is damaged or was lost.
    pub(super) fn find(file: &[u8], header: &FileHeader) -> Option<u64> {
        if header.version == WITHOUT_WITNESS {
            return None;
        }
        let seed = header.seed();
        let found: Self = bytemuck::pod_read_unaligned(file.get(WITNESS_AT..COMMITS_AT)?);
        (Self::new(seed, found.through).crc == found.crc && found.reserved == 0).then_some(found.through)
    }
}

/// The checksum of a commit whose bytes behind its first field these are.
pub(super) fn commit_checksum(seed: u32, behind_crc: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, behind_crc)
}
