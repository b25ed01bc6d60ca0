//! Why a segment was not written.

use std::io;
use std::path::PathBuf;

use crate::chunk::ChunkError;
use crate::fs::is_exhausted;
use crate::model::Labels;

/// The segment was not written, and no file has its name. What was to be in it is still where it came from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The device or the operating system failed; see [`is_storage_full`](Self::is_storage_full).
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The folder could not be synced, whatever the reason: names that it had may be lost, those of other segments too, and
    /// no later sync brings them back. Commit none that were made there meanwhile; stop writing, and open the store anew.
    #[error("{} could not be synced: {source}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A segment of this id is there already. Segments are never replaced: take a fresh id.
    #[error("{} is there already: take a fresh id", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// Series must come in ascending order of their labels, each once. Sort them.
    #[error("series {next} does not come after {last}: sort the series by their labels")]
    SeriesNotAscending {
        /// The series pushed before.
        last: Labels,
        /// The series refused.
        next: Labels,
    },
    /// A series' columns differ in length, or its timestamps do not ascend strictly. Sort and deduplicate them.
    #[error("samples of {series} are not in order at index {index}: sort and deduplicate them")]
    SamplesNotAscending {
        /// The series refused.
        series: Labels,
        /// Index of the first sample that is out of order.
        index: usize,
    },
    /// An encoded chunk that was to be taken over does not decode. It is damaged where it came from.
    #[error("a chunk to be taken over is damaged: {0}")]
    Chunk(ChunkError),
    /// More series, chunks or bytes than one segment can number. Write several segments.
    #[error("a segment holds at most 4294967295 series and chunks in 1 TiB: write several")]
    TooLarge,
}

impl WriteError {
    /// Whether the disk has no space left, or no more files may be opened: free some, then write
    /// again under a fresh id.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_exhausted(source))
    }
}
