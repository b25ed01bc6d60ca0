//! What was read, and what could not be.

use std::fmt;
use std::path::{Path, PathBuf};

use tidegauge_storage::segment::{DamagedPlaces, VerifyReport};
use tidegauge_storage::source::ReadError;

/// What [`verify`](super::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// Sound segments.
    pub segments: u64,
    /// Segments of which something cannot be read.
    pub damaged_segments: u64,
    /// Segments of a newer release, neither sound nor damaged as far as this one can tell.
    pub newer_segments: u64,
    /// Chunks that were decoded and are sound, those of damaged segments too.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of the sound segments.
    pub bytes: u64,
    /// Frames of the log read.
    pub log_frames: u64,
    /// Samples in them.
    pub log_samples: u64,
    /// Everything that is wrong: each column, each block of an index, each hole of the log. Of a segment the first 1,000
    /// places. Empty: the store is sound.
    pub damage: Vec<Damage>,
    /// How many places more there are.
    pub further_damage: u64,
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

    /// A sound segment.
    pub(super) fn count(&mut self, read: &VerifyReport) {
        self.segments += 1;
        self.bytes += read.bytes;
        self.chunks += read.chunks;
        self.samples += read.samples;
    }

    /// A segment of which parts are sound.
    pub(super) fn count_damaged(&mut self, path: &Path, read: &VerifyReport, damage: DamagedPlaces) {
        self.damaged_segments += 1;
        self.chunks += read.chunks;
        self.samples += read.samples;
        let (places, further) = damage.into_parts();
        places.iter().for_each(|e| self.note(path, e));
        self.further_damage += further;
    }

    /// A segment that cannot be opened.
    pub(super) fn lose(&mut self, path: &Path, error: &ReadError) {
        match error {
            ReadError::TooNew { .. } => self.newer_segments += 1,
            _ => self.damaged_segments += 1,
        }
        self.note(path, error);
    }

    fn note(&mut self, path: &Path, error: &ReadError) {
        self.newer += usize::from(matches!(error, ReadError::TooNew { .. }));
        self.damage.push(Damage::of(path, error));
    }
}

impl Damage {
    pub(crate) fn of(path: &Path, error: &ReadError) -> Self {
        let (offset, what) = match error {
            ReadError::Corrupt { offset, what, .. } => (*offset, what.clone()),
            ReadError::Io { source, .. } => (0, source.to_string()),
            other => (0, other.to_string()),
        };
        Self { file: path.to_owned(), offset, what }
    }
}

/// `data/segments/0000000000000001.seg, byte 72: checksum of a value column is wrong`
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_a_newer_release_is_not_counted_as_damaged() {
        let mut report = StoreReport::default();
        report.lose(Path::new("1.seg"), &ReadError::TooNew { file: "1.seg".into(), found: 3, supported: 2 });
        assert_eq!((report.newer_segments, report.damaged_segments, report.newer), (1, 0, 1));
        assert!(!report.is_sound(), "what it holds was not read");
        let corrupt = ReadError::Corrupt { file: "2.seg".into(), offset: 0, what: "its footer".to_owned() };
        report.lose(Path::new("2.seg"), &corrupt);
        assert_eq!((report.newer_segments, report.damaged_segments, report.newer), (1, 1, 1));
    }
}
