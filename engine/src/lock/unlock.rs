//! Letting go of a lock that nobody can let go of any more.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, OsFs};

use super::owner::{Owner, read};
use super::{FILE_NAME, is_same};
use crate::audit::{Act, AuditLog, Entry};
use crate::clock;
use crate::recovery::quarantine;

/// What [`unlock`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlocked {
    /// Nobody holds the lock. Opening takes the directory over by itself.
    Free {
        /// The last owner that is known, dead by now.
        last: Option<Box<Owner>>,
    },
    /// The lock of a silent owner on another host was set aside.
    Forced {
        /// Whose it was.
        owner: Box<Owner>,
        /// Where its lock file lies now.
        aside: PathBuf,
    },
}

/// Why a lock was left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// The owner lives. Stop it.
    #[error("{} is in use by {}, which lives: stop it there", dir.display(), owner_text(owner.as_deref()))]
    Alive {
        /// The directory.
        dir: PathBuf,
        /// Who holds the lock, if the file says it.
        owner: Option<Box<Owner>>,
    },
    /// The owner is on another host and has not been heard for long. Be sure that it is gone, then force.
    #[error("{} is locked by {owner}: if that machine is gone for good, use --force", dir.display())]
    Silent {
        /// The directory.
        dir: PathBuf,
        /// Who holds the lock.
        owner: Box<Owner>,
    },
    /// There is no such directory.
    #[error("{} does not exist: name the folder that holds the data", dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refuses.
    #[error("{}: {source}; mend that, then try again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

pub(crate) fn owner_text(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "another process".to_owned(), Owner::to_string)
}

/// What the lock file of a data directory says of its owner, dead or alive. Takes no lock.
///
/// # Errors
/// What the operating system answers; a missing or strange file is `None`.
pub fn owner_of(dir: impl AsRef<Path>) -> io::Result<Option<Owner>> {
    read(&dir.as_ref().join(FILE_NAME))
}

/// Who holds the lock on a data directory now, if anybody does. Holds it for a moment itself.
pub(crate) fn is_held(dir: &Path) -> io::Result<Option<String>> {
    let file = match File::open(dir.join(FILE_NAME)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(owner_text(owner_of(dir)?.as_ref()))),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Lets go of the lock on a data directory whose owner is gone.
///
/// The lock of a process that died on this machine needs nothing. Only where a machine died and the file system
/// goes on holding its lock is there something to do: with `force` the lock file is set aside, never deleted, and
/// a line goes to the audit log. Should the owner come back, it stops writing.
///
/// # Errors
/// [`UnlockError`]; nothing was changed. The owner *lives* if it runs on this machine or was heard lately.
pub fn unlock(dir: impl AsRef<Path>, force: bool) -> Result<Unlocked, UnlockError> {
    let dir = dir.as_ref();
    let path = dir.join(FILE_NAME);
    let io = |source| UnlockError::Io { path: path.clone(), source };
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound && dir.is_dir() => return Ok(Unlocked::Free { last: None }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(UnlockError::NoDirectory { dir: dir.to_owned() }),
        Err(e) => return Err(io(e)),
    };
    let owner = read(&path).map_err(io)?.map(Box::new);
    match file.try_lock() {
        Ok(()) => return Ok(Unlocked::Free { last: owner }),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    let owner = match owner {
        Some(owner) if !owner.is_here() && owner.is_silent() => owner,
        owner => return Err(UnlockError::Alive { dir: dir.to_owned(), owner }),
    };
    if !force {
        return Err(UnlockError::Silent { dir: dir.to_owned(), owner });
    }
    if !is_same(&file, &path).map_err(io)? {
        return Err(io(io::Error::other("the lock changed hands meanwhile: look again")));
    }
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let aside = set_aside(&*fs, dir).map_err(io)?;
    note(fs, dir, &owner.to_string(), &aside).map_err(io)?;
    Ok(Unlocked::Forced { owner, aside })
}

/// Moves the file to quarantine. A power loss leaves it there or where it was, and once this has returned, there.
pub(crate) fn set_aside(fs: &dyn Fs, dir: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(quarantine::FOLDER);
    fs.create_dir_all(&folder)?;
    // Or the file might go to a folder that is not there after a power loss.
    fs.sync_dir(dir)?;
    let aside = folder.join(format!("{FILE_NAME}-{}", clock::now().nanos()));
    fs.rename(&dir.join(FILE_NAME), &aside)?;
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    Ok(aside)
}

/// Leaves a line in the audit log.
pub(crate) fn note(fs: Arc<dyn Fs>, dir: &Path, owner: &str, aside: &Path) -> io::Result<()> {
    let entry = Entry::new(Act::Unlock).text("owner", owner).text("file", &aside.display().to_string());
    AuditLog::new(fs, dir).record(entry)
}
