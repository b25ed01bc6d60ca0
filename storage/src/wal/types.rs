//! Numbers and errors of the WAL.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};

use crate::fs::what_to_mend;

/// One sample as it lies in a lane and goes into a frame: 24 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct WalSample {
    /// The series' number, valid inside one WAL generation.
    pub series: u32,
    /// The lane's own mark. Not stored; zero when read back.
    pub tag: u32,
    /// Nanoseconds since the Unix epoch.
    pub timestamp: i64,
    /// The value; every bit pattern is kept.
    pub value: f64,
}

const _: () = assert!(size_of::<WalSample>() == 24);

/// Number of a frame: counts up by one over a life of the store, and each later life
/// starts above. Zero is no frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNo(pub u64);

/// Name of a WAL file: the open number in the upper half, a count in the lower. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The `count`th epoch of an opening.
    #[must_use]
    pub const fn new(open_number: u32, count: u32) -> Self {
        Self((open_number as u64) << 32 | count as u64)
    }

    /// Which opening of the store it belongs to.
    #[must_use]
    pub const fn open_number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The file's name inside the WAL's folder.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:016x}.wal", self.0)
    }

    /// The reverse of [`file_name`](Self::file_name).
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let hex = name.strip_suffix(".wal")?;
        let canonical = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u64::from_str_radix(hex, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The WAL files between two rotations: the files whose epoch is at or above this and
/// below the next generation's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub Epoch);

/// Where a batch that came from another node stands in that node's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The node.
    pub node: u128,
    /// Its start: a later boot counts anew.
    pub boot: u64,
    /// Its batch, counting up by one.
    pub seq: u64,
}

/// What went wrong with the WAL, and so what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The disk is full, or no more files may be opened. Nothing was written; append the same frame again when there is space.
    #[error("no room for the WAL file {}: {source}; {}: writing resumes by itself", file.display(), what_to_mend(source))]
    NoSpace {
        /// The file that could not be prepared.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A write failed, so nobody knows what the file holds. The writer refuses from here
    /// on: close and reopen the store, which recovers from what the disk has.
    #[error("writing the WAL file {} failed: {source}; {}, then close and reopen the store", file.display(), what_to_mend(source))]
    Failed {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// An earlier failure stopped this writer. Close and reopen the store.
    #[error("the WAL stopped after an earlier failure; close and reopen the store")]
    Poisoned,
    /// Bytes that were durable are wrong. Restore the file, or open with salvage, which
    /// reads on behind the damage and reports what is lost.
    #[error("WAL file {} is damaged at byte {offset} (frame {}): {what}; `tidegauge verify` names all damage; restore the file, or save the rest with `tidegauge repair` (open with salvage)", file.display(), frame.0)]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The frame expected there.
        frame: FrameNo,
        /// What is wrong.
        what: String,
    },
    /// Written by a newer release. Upgrade, then reopen.
    #[error("WAL file {} has {what} {found}; this release reads up to {supported}: upgrade, then reopen", file.display())]
    TooNew {
        /// The file.
        file: PathBuf,
        /// What is too new: the format version, a kind of frame, a mode.
        what: &'static str,
        /// What the file has.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// Reading failed. Nothing was changed.
    #[error("WAL file {}: {source}; {}, then open the store again", file.display(), what_to_mend(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl WalError {
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_wal_files() {
        let epoch = Epoch::new(3, 17);
        assert_eq!(epoch.file_name(), "0000000300000011.wal");
        assert_eq!(Epoch::from_file_name("0000000300000011.wal"), Some(epoch));
        assert_eq!(epoch.open_number(), 3);
        for name in
            ["3.wal", "000000030000001G.wal", "000000030000000A.wal", "+000000300000011.wal", "0000000300000011"]
        {
            assert_eq!(Epoch::from_file_name(name), None, "{name}");
        }
    }
}
