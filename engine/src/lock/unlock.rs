//! Letting go of a lock that nobody can let go of any more.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::{Fs, OsFs, what_to_mend};

use super::owner::{Owner, parse, read, read_bytes, watch_time};
use super::{FILE_NAME, is_same};
use crate::audit::{Act, AuditLog, Entry};
use crate::clock;
use crate::recovery::quarantine;
use crate::sync::thread;

/// Between two looks at a lock that is watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What [`unlock`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlocked {
    /// Nobody holds the lock. Opening takes the directory over by itself.
    Free {
        /// The last owner that is known, dead by now.
        last: Option<Box<Owner>>,
    },
    /// The lock of an owner that was not heard was set aside.
    Forced {
        /// Whose it was, if the file says it.
        owner: Option<Box<Owner>>,
        /// Where its lock file lies now.
        aside: PathBuf,
        /// Why the audit log has no line of it, if it has none.
        unnoted: Option<String>,
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
    /// The owner is on another machine, as far as is known, and was not heard lately. Be sure that it is gone, then
    /// force.
    #[error(
        "{} is locked by {}, which was not heard lately: if that machine is gone for good, use --force, which watches the lock for {} s, and sets it aside if nobody is heard",
        dir.display(), owner_text(owner.as_deref()), watch_time(owner.as_deref()).as_secs()
    )]
    Silent {
        /// The directory.
        dir: PathBuf,
        /// Who holds the lock, if the file says it.
        owner: Option<Box<Owner>>,
    },
    /// There is no such directory.
    #[error("{} does not exist: name the folder that holds the data", dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refuses.
    #[error("{}: {source}; {}, then try again", path.display(), what_to_mend(source))]
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
        // By closing it alone, a child that was forked just now would keep it.
        Ok(()) => file.unlock().map(|()| None),
        Err(TryLockError::WouldBlock) => Ok(Some(owner_text(owner_of(dir)?.as_ref()))),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Lets go of the lock on a data directory whose owner is gone.
///
/// The lock of a process that died on this machine needs nothing. Only where a machine died and the file system
/// goes on holding its lock is there something to do: with `force` the lock is watched for three heartbeats (90 seconds
/// by default, 6 minutes if the lock file does not say how often it is written). If nobody writes to it meanwhile, it is
/// set aside, never deleted, and a line goes to the audit log. Should the owner come back, it stops writing.
///
/// `progress` is told for how long of how long the lock was watched, each second.
///
/// # Errors
/// [`UnlockError`]; nothing was changed, unless the sync behind the move fails: then the lock file lies in quarantine
/// already, and a power loss may bring it back. The owner *lives* if its process is on this machine and has the lock
/// file open, running or stopped, or if it was heard: without `force` by the file's last heartbeat, with it by a new one.
pub fn unlock(
    dir: impl AsRef<Path>,
    force: bool,
    progress: impl Fn(Duration, Duration),
) -> Result<Unlocked, UnlockError> {
    let pause = |watched, whole| {
        progress(watched, whole);
        thread::sleep(LOOK_EVERY);
    };
    unlock_with(dir.as_ref(), force, &pause)
}

/// As above; `pause` lets [`LOOK_EVERY`] pass.
pub(super) fn unlock_with(
    dir: &Path,
    force: bool,
    pause: &dyn Fn(Duration, Duration),
) -> Result<Unlocked, UnlockError> {
    let path = dir.join(FILE_NAME);
    let io = |source| UnlockError::Io { path: path.clone(), source };
    let alive = |owner| UnlockError::Alive { dir: dir.to_owned(), owner };
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound && dir.is_dir() => return Ok(Unlocked::Free { last: None }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(UnlockError::NoDirectory { dir: dir.to_owned() }),
        Err(e) => return Err(io(e)),
    };
    let before = read_bytes(&path).map_err(io)?;
    let owner = parse(&before).map(Box::new);
    if is_free(&file).map_err(io)? {
        return Ok(Unlocked::Free { last: owner });
    }
    if let Some(here) = owner.as_ref().filter(|owner| owner.is_here())
        && has_open(here.pid, &file).map_err(io)?
    {
        return Err(alive(owner));
    }
    if !force {
        let lives = owner.as_ref().is_some_and(|owner| owner.was_heard_lately());
        return Err(if lives { alive(owner) } else { UnlockError::Silent { dir: dir.to_owned(), owner } });
    }
    let whole = watch_time(owner.as_deref());
    let mut watched = Duration::ZERO;
    while watched < whole {
        pause(watched, whole);
        watched += LOOK_EVERY;
        if is_free(&file).map_err(io)? {
            return Ok(Unlocked::Free { last: owner });
        }
        if !is_same(&file, &path).map_err(io)? {
            return Err(io(io::Error::other("the lock changed hands meanwhile: look again")));
        }
        let now = read_bytes(&path).map_err(io)?;
        if now != before {
            return Err(alive(parse(&now).map(Box::new)));
        }
    }
    let aside = set_aside(&OsFs, dir).map_err(io)?;
    // On a full disk it is done all the same.
    let log = AuditLog::new(Arc::new(OsFs), dir).beside_others();
    let unnoted = note(&log, &owner_text(owner.as_deref()), &aside).err().map(|e| e.to_string());
    Ok(Unlocked::Forced { owner, aside, unnoted })
}

/// Takes the lock for a moment, if nobody has it.
fn is_free(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => file.unlock().map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Whether a process of this machine has the file open, besides by this very handle: one that is stopped has it, another
/// one that got the same number since, or the same number on another machine of the same name, has not.
fn has_open(pid: u32, file: &File) -> io::Result<bool> {
    let own = (pid == std::process::id()).then(|| file.as_raw_fd().to_string());
    let ours = file.metadata()?;
    let entries = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => {
            let what = format!(
                "only root and its own user may see whether process {pid} has it open ({e}): ask as one of them"
            );
            return Err(io::Error::other(what));
        }
    };
    let others =
        entries.filter_map(Result::ok).filter(|entry| own.as_deref().is_none_or(|own| entry.file_name() != own));
    let mut leads_to = others.filter_map(|entry| std::fs::metadata(entry.path()).ok());
    Ok(leads_to.any(|open| (open.dev(), open.ino()) == (ours.dev(), ours.ino())))
}

/// Moves the file to quarantine. A power loss leaves it there or where it was, and once this has returned, there.
pub(crate) fn set_aside(fs: &dyn Fs, dir: &Path) -> io::Result<PathBuf> {
    // Or the file might go to a folder that is not there after a power loss.
    let folder = quarantine::make_folder(fs, dir)?;
    let aside = folder.join(format!("{FILE_NAME}-{}", clock::now().nanos()));
    fs.rename(&dir.join(FILE_NAME), &aside)?;
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    Ok(aside)
}

/// Leaves a line in the audit log.
pub(crate) fn note(log: &AuditLog, owner: &str, aside: &Path) -> io::Result<()> {
    log.record(Entry::new(Act::Unlock).text("owner", owner).text("file", &aside.display().to_string()))
}
