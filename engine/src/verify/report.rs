//! What was read, and what could not be.

use std::fmt;
use std::path::PathBuf;

/// What [`verify`](super::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// Sound segments.
    pub segments: u64,
    /// Chunks decoded.
    pub chunks: u64,
    /// Samples decoded in segments.
    pub samples: u64,
    /// Bytes of the sound segments.
    pub bytes: u64,
    /// Frames of the log read.
    pub log_frames: u64,
    /// Samples in them.
    pub log_samples: u64,
    /// Everything that is wrong. Empty: the store is sound.
    pub damage: Vec<Damage>,
    /// How many of these are files of a newer release, with nothing wrong as far as this one can tell: upgrade for them.
    pub newer: usize,
    /// What is worth knowing and no damage: a torn tail, files that belong to nothing, files set aside.
    pub notes: Vec<String>,
}

/// Something that cannot be read, or contradicts something else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl StoreReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// `data/segments/0000000000000001.seg, byte 72: checksum of a value column is wrong`
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.file.display(), self.offset, self.what)
    }
}
