//! What can go wrong with the manifest, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{is_exhausted, what_to_mend};

/// Why a manifest could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The data directory is a file. Name a directory.
    #[error("{} is not a directory: name a directory to keep the data in", dir.display())]
    NotADirectory {
        /// What was named.
        dir: PathBuf,
    },
    /// Not allowed to read or write there. Change the permissions, or name another directory.
    #[error("{}: {source}; check the permissions of the data directory; reading alone (read-only) needs none to write", file.display())]
    NotPermitted {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nothing is stored here to be read. Name the directory that holds the store.
    #[error("{} holds no store (there is no MANIFEST): name the directory that does", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// There are data files, but no manifest that says which of them count. Repair the store (open it with salvage),
    /// or restore it from a backup; beginning a new store here would orphan the data.
    #[error("{} holds data in {found} but no MANIFEST: repair it (`tidegauge repair`), restore it from a backup, or name another directory", dir.display())]
    ManifestMissing {
        /// The directory.
        dir: PathBuf,
        /// The folder that is not empty.
        found: &'static str,
    },
    /// The bytes are wrong. Repair the store (open it with salvage), or restore it from a backup.
    #[error("{} is damaged at byte {offset}: {what}; repair it (`tidegauge repair`), or restore it from a backup", file.display())]
    Corrupt {
        /// The manifest.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a newer release. Upgrade, then reopen.
    #[error("{} has {what} {found}; this release knows up to {supported}: upgrade, then reopen", file.display())]
    TooNew {
        /// The manifest.
        file: PathBuf,
        /// What is too new.
        what: &'static str,
        /// What the file has.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// The edit contradicts the state. Nothing was written.
    #[error("the manifest cannot take this edit: {what}; nothing was written")]
    BadEdit {
        /// Why.
        what: &'static str,
    },
    /// Metric metadata has reached its limit. Nothing was written; what is known stays.
    #[error(
        "metadata of metric {metric:?} refused, the {limit} bytes for metadata are used up: store its samples without"
    )]
    MetadataFull {
        /// The metric.
        metric: String,
        /// The bytes allowed.
        limit: usize,
    },
    /// The disk is full, or no more files may be opened. Nothing was changed; commit again when there is space.
    #[error("{} cannot be written: {source}; {}, then try again", file.display(), what_to_mend(source))]
    NoSpace {
        /// The manifest.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Somebody else has opened the store since (the lock was forced, or the file
    /// replaced). Stop writing and close it.
    #[error("{} belongs to opening {found} now, this is opening {ours}: another process took the store over; stop and reopen", file.display())]
    NotOwner {
        /// The manifest.
        file: PathBuf,
        /// The open number it has now.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// The lock that keeps others from the store was lost: somebody else may own it by now. Stop writing and close it.
    #[error("{} may belong to another process now, for the store's lock was removed or replaced: stop and reopen", file.display())]
    LockLost {
        /// The manifest.
        file: PathBuf,
    },
    /// A write failed, so nobody knows what the file holds. Close and reopen the store.
    #[error("writing {} failed: {source}; {}, then close and reopen the store", file.display(), what_to_mend(source))]
    Failed {
        /// The manifest.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// An earlier write failed. Close and reopen the store.
    #[error("the manifest stopped after an earlier failure; close and reopen the store")]
    Poisoned,
    /// Opened read-only. Open the store for writing.
    #[error("the manifest was opened read-only: open the store to write")]
    ReadOnly,
    /// Reading failed. Nothing was changed; mend what the operating system names, then open it again.
    #[error("{}: {source}; {}, then open it again", file.display(), what_to_mend(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl ManifestError {
    /// Whether nothing was written, and committing something (or the same again) may go well. After
    /// any other error the store must be closed and opened again.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Poisoned | Self::NotOwner { .. } | Self::LockLost { .. })
    }

    /// For failures before anything depends on what was written.
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::NotADirectory => Self::NotADirectory { dir: file },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotPermitted { file, source },
            _ if is_exhausted(&source) => Self::NoSpace { file, source },
            _ => Self::Io { file, source },
        }
    }
}
