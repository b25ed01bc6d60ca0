//! Why an engine did not open.

use std::path::PathBuf;

use tidegauge_storage::fs::what_to_mend;
use tidegauge_storage::manifest::ManifestError;
use tidegauge_storage::source::ReadError;

use super::{FlushError, Poisoned};
use crate::lock::{Owner, owner_text};

/// Why an engine did not open. No sample, segment or log was changed but what the message says; the lock file was written,
/// and the opening may have been counted. A salvage that ends with an error may have set files aside, made the manifest anew,
/// or saved some of the segments by then: each of that has its line in `audit.log`, if it could be written, and to salvage
/// again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is something else than a directory.
    #[error("{} is not a directory: give a directory, or a name that does not exist yet", .0.display())]
    NotADirectory(PathBuf),
    /// A file lies where a folder of the store belongs. Put the folder back, or open with salvage, which sets the file
    /// aside and saves the rest.
    #[error("{} is a file where a folder of the store belongs: put the folder back from a backup, or let `tidegauge repair` (open with salvage) set the file aside and save the rest", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// The log, or the segments, have a file of a later opening than the manifest knows of. Put the newest manifest
    /// back, or open with salvage, which makes one anew, and sets a file aside that is none of this store's.
    #[error("{} is of a later opening than MANIFEST knows of, which is an older copy then, or the file comes from elsewhere: put the newest MANIFEST back from a backup, or let `tidegauge repair` (open with salvage) make it anew", path.display())]
    LaterFile {
        /// The file.
        path: PathBuf,
    },
    /// A segment lies under another name than its own, and under its own lies none, or a worse one: it would be set aside, and
    /// what is in it told as lost. Give it its name back, without losing the file that has it now, then open with salvage
    /// again. Where nobody needs it, to move it out of `segments/` is enough.
    #[error("{} is a segment that belongs at {}: move what lies there out of the way, if anything does, which may be another segment under a wrong name, give this one that name back, and repair again (what nobody needs may be moved out of `segments/` instead); neither file was changed (what a repair did before this stands in audit.log)", path.display(), belongs.display())]
    Misnamed {
        /// Where it lies.
        path: PathBuf,
        /// Its own name.
        belongs: PathBuf,
    },
    /// Read beside its owner, the store was another one behind each reading. Read it again, or ask its owner.
    #[error("{} changed {tries} times while it was read: read it again, or ask its owner", dir.display())]
    Overtaken {
        /// The directory.
        dir: PathBuf,
        /// How often it was read.
        tries: u32,
    },
    /// The directory cannot be written to.
    #[error("{}: {source}; check the permissions; reading alone (read-only) needs none to write", dir.display())]
    NotPermitted {
        /// The directory, or what is in it.
        dir: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Another process owns the directory, or this one, which has it open already: it goes on with that engine, whose
    /// clones are one engine, or closes it before.
    #[error("{} is in use by {}: {}", dir.display(), who(owner.as_deref()), what_then(owner.as_deref()))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What the lock file says of the owner, if it says anything.
        owner: Option<Box<Owner>>,
    },
    /// Nobody can be kept from writing beside this process, since the file system has no locks, or cannot give one. Use
    /// one that has.
    #[error("{} cannot be locked ({source}), so nobody could be kept from writing beside you: put the data on a local file system, or mount this one with locks (NFS: with its lock service running), then open it again; reading alone (read-only) needs none", path.display())]
    NoLocks {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// An option makes no sense.
    #[error("option {option}: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A file is damaged or was written by a newer release.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log holds a million series more than `max_series` allows: as many are taken, because they were accepted.
    /// Raise it, at least until they are flushed.
    #[error("the log holds more than {limit} series: open it with the `max_series` of the program that wrote it")]
    TooManySeries {
        /// As many are taken.
        limit: usize,
    },
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Wal(#[from] tidegauge_storage::wal::WalError),
    /// The manifest is damaged or cannot be read.
    #[error(transparent)]
    Manifest(ManifestError),
    /// Salvage could not bring what it saved of the log into segments. The log is as it was; what was made anew before
    /// stays, and what that lost stands in `audit.log`. Open with salvage again.
    #[error(
        "what was saved of the log did not reach a segment ({why}); what was lost so far stands in audit.log: open with salvage again"
    )]
    NotSettled {
        /// Why not.
        why: FlushError,
    },
    /// A reader beside the owner that a defect (a panic) of an earlier refresh has stopped, or one of a process that this one
    /// was forked from. Open another.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A thread could not be started. Allow more threads or free memory, then open it again.
    #[error("a thread could not be started: {source}; allow more threads or free memory, then open it again")]
    Thread {
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system refuses. Mend what it names, then open it again.
    #[error("{}: {source}; {}, then open it again", path.display(), what_to_mend(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl From<ManifestError> for OpenError {
    /// What is wrong with the directory is told alike, whoever finds it.
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::NotADirectory { dir } => Self::NotADirectory(dir),
            ManifestError::NotPermitted { file, source } => Self::NotPermitted { dir: file, source },
            other => Self::Manifest(other),
        }
    }
}

fn is_this_process(owner: &Owner) -> bool {
    owner.pid == std::process::id() && owner.is_here()
}

fn who(owner: Option<&Owner>) -> String {
    let text = owner_text(owner);
    if owner.is_some_and(is_this_process) { format!("this process itself ({text})") } else { text }
}

/// What to do about an owner.
fn what_then(owner: Option<&Owner>) -> &'static str {
    match owner {
        Some(owner) if is_this_process(owner) => {
            "it has the directory open already: use that engine (its clones are the same one), or close it first"
        }
        Some(owner) if !owner.is_here() && !owner.was_heard_lately() => {
            "if that machine is gone for good, `tidegauge unlock --force` lets go of its lock"
        }
        None => {
            "stop it, or, if its machine is gone for good, use `tidegauge unlock --force`; whoever only reads (read-only) may stay beside it"
        }
        _ => "stop it; whoever only reads (read-only) may stay beside it",
    }
}
