//! Why there is no copy.

use std::io;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::{is_exhausted, what_to_mend};
use tidegauge_storage::manifest::ManifestError;

use crate::error::FlushError;
use crate::gate::Shortage;

/// Why a backup or a restore was not made. What was there before is as it was, and of the copy its empty folders are
/// left at most. Where even removing fails, or the process ended, an unfinished copy has no manifest and is refused as
/// a store: remove it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The target holds something. Name a directory that is empty or does not exist.
    #[error("{} is not empty: name a directory that is empty or does not exist", target.display())]
    NotEmpty {
        /// The target.
        target: PathBuf,
    },
    /// The target holds nothing but what a copy that was not finished has left, of a process that was ended. Remove it.
    #[error("{} holds the remains of a copy that was not finished, and no store: remove it, then try again", target.display())]
    Unfinished {
        /// The target.
        target: PathBuf,
    },
    /// The target lies where the store keeps its own files. Name another directory.
    #[error("{} is part of the store: name another directory", target.display())]
    InsideStore {
        /// The target.
        target: PathBuf,
    },
    /// The engine writes no file.
    #[error("an engine in memory has no files to back up: open one on a directory")]
    InMemory,
    /// The engine was opened read-only. Ask the owner.
    #[error("the engine was opened read-only: the owner can make a backup")]
    ReadOnly,
    /// The store to restore from is being written to. Make a backup of it instead.
    #[error("{} is in use by {owner}: make a backup of it, and restore that", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Who writes there.
        owner: String,
    },
    /// The store to restore from was opened while it was copied. Nothing of the copy is left: restore again.
    #[error("{} was opened and written to while it was copied: nothing of the copy is left; try again, or make a backup of it, and restore that", dir.display())]
    Changed {
        /// The directory.
        dir: PathBuf,
    },
    /// The engine was closed while the copy was made, and could not flush all of it, or the store was opened again
    /// before the copy had all that it needs. Nothing of the copy is left.
    #[error(
        "the engine was closed while the copy was made: nothing of the copy is left; open the store again, and make another one"
    )]
    Closed,
    /// What is in memory could not be brought into segments.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// The manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The copy has its new name, and whether a power loss leaves it that is not known.
    #[error("the copy is complete at {}, but {} cannot be synced, so a power loss may take the copy or its name: copy it, or try again elsewhere: {source}", target.display(), folder.display())]
    NotSynced {
        /// Where the copy is.
        target: PathBuf,
        /// The folder whose names may not be on the disk.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The copy was brought to another file system, and the one it was made of is still there. Remove that one.
    #[error("the copy is complete at {}, but the one in {} is still there: {source}; remove that folder", target.display(), made.display())]
    NotRemoved {
        /// Where the copy is.
        target: PathBuf,
        /// Where the one that is too many lies.
        made: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system refuses.
    #[error("{}: {source}; {}, then try again", path.display(), what_to_mend(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl BackupError {
    /// What had run out, if that was the cause: mend it, then try again.
    #[must_use]
    pub fn short_of(&self) -> Option<Shortage> {
        match self {
            Self::Flush(FlushError::DiskFull) => Some(Shortage::Space),
            Self::Flush(FlushError::OutOfFiles) => Some(Shortage::Files),
            Self::Flush(FlushError::OutOfMemory) => Some(Shortage::Memory),
            Self::Manifest(ManifestError::NoSpace { source, .. }) => Some(Shortage::of(source)),
            Self::Io { source, .. } | Self::NotSynced { source, .. } => {
                is_exhausted(source).then(|| Shortage::of(source))
            }
            _ => None,
        }
    }

    /// Whether there was no space for it: make some, then try again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.short_of() == Some(Shortage::Space)
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
