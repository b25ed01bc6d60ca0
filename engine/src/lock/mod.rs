//! The directory lock: one writing process, arbitrated by the operating system alone (P10).
//!
//! - LK1: Who holds the operating system's lock on the file that `LOCK` names owns the directory. The system lets go
//!   of it when the process ends, however it ends: a dead owner is succeeded without a word.
//! - LK2: What the file says (who, since when, the last heartbeat) informs people. It decides nothing, but for LK4.
//! - LK3: A lock counts only if the name still leads to the file that was locked: `unlock` may have replaced it.
//! - LK4: `unlock` replaces the file only if the lock is held, by no process of this machine that says so, and the file
//!   did not change while it was watched for three heartbeats, 90 s at least, and of the longest kind if it does not
//!   say how long they are.
//!   What the file says of times is not believed: clocks differ, and a file that cannot be read says nothing. An owner
//!   that lives writes it anew with each heartbeat, and syncs it. One that cannot write his file is not heard.
//! - LK5: An owner whose file has lost its name stops writing: somebody else may own the directory. He looks with each
//!   heartbeat, after each fdatasync of the log and after each commit of the manifest. So does one that has let go of it,
//!   whose file goes on under its name: what is committed too late for the next owner to read is not called committed.
//! - LK6: What he says to be durable, the next owner keeps, whoever removed the file. He says it only if he found the name
//!   after the device had what he says (LK5). Who comes next locks another file, which had no name as long as the first
//!   one had it, and reads the store behind that (LK3): he reads what was written before that look. What was only visible
//!   he may have missed, up to the next fdatasync.
//! - LK7: What the next owner has written, he leaves alone, wherever the loss finds him. Each opening gives names of its
//!   own to all that it makes: segments and files of the log have the open number in their number, the manifest that is
//!   written anew and the log's reserve have it in their temporary names; and what an earlier opening left is removed,
//!   never written to again. `MANIFEST` alone is everybody's: who puts a file under that name holds the operating
//!   system's lock on the folder of the segments meanwhile, and looks behind it that the one which he replaces is his.
//! - LK8: A lock that the system refuses is neither somebody else's nor nobody's: without locks nothing is opened to
//!   write, and nothing replaced. Whoever only reads takes none.

mod beat;
mod owner;
mod unlock;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegauge_storage::fs::is_without_locks;
use tidegauge_storage::manifest::Ownership;

use crate::error::OpenError;
use crate::open::refused;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, Process, lock as held_by, thread};
use crate::watch::Works;

use beat::Beat;
pub use owner::Owner;
pub(crate) use owner::host;
pub use unlock::{UnlockError, Unlocked, owner_of, unlock};
pub(crate) use unlock::{is_held, owner_text};
#[cfg(feature = "internals")]
pub(crate) use unlock::{note, set_aside};

pub(crate) const FILE_NAME: &str = "LOCK";
/// The folder that is locked while the manifest is replaced.
const SEGMENTS: &str = "segments";
/// Whoever only looks at the lock holds it for microseconds.
const TRIES: u32 = 20;
/// Whoever replaces the manifest takes some milliseconds; whoever makes it anew from the rest of the store, longer.
const TRIES_ALONE: u32 = 2_000;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Held as long as the engine owns the directory.
pub(crate) struct DirLock {
    /// Ends before the file is closed, which ends the lock.
    beat: Option<Beat>,
    held: Held,
    taken_in: Process,
}

/// The name that must lead to the locked file, to be looked at without it.
#[derive(Clone, Debug)]
pub(crate) struct LockName {
    path: PathBuf,
    dev: u64,
    ino: u64,
    /// The lock was let go of: the next owner locks the same file, which goes on under its name. Shared by all clones.
    released: Arc<AtomicBool>,
}

impl LockName {
    fn of(file: &File, path: &Path) -> io::Result<Self> {
        let ours = file.metadata()?;
        Ok(Self { path: path.to_owned(), dev: ours.dev(), ino: ours.ino(), released: Arc::default() })
    }

    fn look(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (self.dev, self.ino)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// LK5. Where the system gives no answer, the lock holds all the same.
    pub(crate) fn is_ours(&self) -> bool {
        !self.is_released() && self.look().unwrap_or(true)
    }

    /// Whoever wrote something and then finds it not released wrote that before the next owner began to read.
    fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// What is told of it then.
    pub(crate) fn lost(&self) -> String {
        if self.is_released() {
            return format!("{} was let go of: another process may own the directory", self.path.display());
        }
        format!("{} was removed or replaced: another process may own the directory", self.path.display())
    }
}

impl Ownership for LockName {
    fn is_ours(&self) -> bool {
        LockName::is_ours(self)
    }

    fn alone(&self) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(alone(self.path.parent().unwrap_or(Path::new(".")))?))
    }
}

/// A lock of the operating system's, until dropped. To close its file alone would not do: a child that was forked
/// meanwhile has that open, too. In such a child it is closed alone: the lock is its parent's.
#[derive(Debug)]
pub(crate) struct Alone(File, Process);

impl Drop for Alone {
    fn drop(&mut self) {
        if !self.1.is_left() {
            // Where that fails, closing is what is left.
            let _ = self.0.unlock();
        }
    }
}

/// As [`lock`], let go of by its drop.
pub(crate) fn hold(path: &Path, most: u32) -> io::Result<Option<Alone>> {
    Ok(lock(path, most)?.map(|file| Alone(file, Process::current())))
}

/// Excludes others that replace the manifest of the store in `dir`, until the answer is dropped (LK7). Nothing where
/// nobody has made the folder yet: who has no segments has nothing to lose.
pub(crate) fn alone(dir: &Path) -> io::Result<Option<Alone>> {
    alone_by(dir, File::try_lock)
}

/// As above; `try_lock` asks the operating system. What it refuses is no answer: neither that somebody else is at it nor
/// that nobody is.
fn alone_by(dir: &Path, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Alone>> {
    let folder = match File::open(dir.join(SEGMENTS)) {
        Ok(folder) => folder,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for _ in 0..TRIES_ALONE {
        match try_lock(&folder) {
            Ok(()) => return Ok(Some(Alone(folder, Process::current()))),
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
    let what = format!("another process holds the lock on {} and keeps it: stop it", dir.join(SEGMENTS).display());
    Err(io::Error::new(io::ErrorKind::WouldBlock, what))
}

/// Why a file or folder could not be locked.
fn not_locked(path: PathBuf, source: io::Error) -> OpenError {
    if is_without_locks(&source) { OpenError::NoLocks { path, source } } else { OpenError::Io { path, source } }
}

/// The locked file, and the name that must lead to it.
#[derive(Clone)]
struct Held {
    /// One for all, so that a child of the process can close its copy of it. Not if the child was forked while the heartbeat
    /// wrote, or synced, with this locked: then that copy is open until the child ends. `None` once it is closed.
    file: Arc<Mutex<Option<File>>>,
    name: LockName,
    owner: Owner,
}

impl DirLock {
    /// Takes the lock and writes who holds it, and whether he keeps a log.
    pub(crate) fn take(dir: &Path, address: Option<&str>, every: Duration, keeps_log: bool) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        // What is wrong with the folder is said of the folder, anything else of the file.
        let io = |source| match refused(dir, source) {
            OpenError::Io { source, .. } => not_locked(path.clone(), source),
            other => other,
        };
        let file = lock(&path, TRIES).map_err(io)?;
        let Some(file) = file else {
            let owner = owner::read(&path).ok().flatten().map(Box::new);
            return Err(OpenError::InUse { dir: dir.to_owned(), owner });
        };
        let owner = Owner { keeps_log, ..Owner::this_process(address, every) };
        let name = LockName::of(&file, &path).inspect_err(|_| drop(file.unlock())).map_err(io)?;
        let held = Held { file: Arc::new(Mutex::new(Some(file))), name, owner };
        // From here on whatever ends it unlocks the file.
        let lock = Self { beat: None, held, taken_in: Process::current() };
        lock.held.write(&lock.held.owner).map_err(io)?;
        Ok(lock)
    }

    /// What must lead to it.
    pub(crate) fn name(&self) -> LockName {
        self.held.name.clone()
    }

    /// Whether nobody else can have the directory.
    pub(crate) fn is_held(&self) -> bool {
        self.held.name.is_ours()
    }

    /// While another process might put a manifest in the place of this store's, it waits.
    pub(crate) fn alone(&self) -> Result<Option<Alone>, OpenError> {
        let dir = self.held.name.path.parent().unwrap_or(Path::new("."));
        alone(dir).map_err(|source| not_locked(dir.join(SEGMENTS), source))
    }

    /// Begins the heartbeat. `lost` is called once if the file loses its name.
    pub(crate) fn beat(&mut self, works: Arc<Works>, lost: impl FnOnce(String) + Send + 'static) -> io::Result<()> {
        self.beat = Some(Beat::start(self.held.clone(), works, lost)?);
        Ok(())
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        if self.taken_in.is_left() {
            // The heartbeat is the parent's, and so is the lock: to close a copy of its file lets go of nothing.
            std::mem::forget(self.beat.take());
            let copy = self.held.file.try_lock().ok().and_then(|mut file| file.take());
            return drop(copy);
        }
        // It ends before, and finds the lock held all the time.
        self.beat = None;
        self.held.name.released.store(true, Ordering::Release);
        // Closing it alone would not do where a child that was forked meanwhile has it open, too.
        let _ = held_by(&self.held.file).take().map(|file| file.unlock());
    }
}

impl Held {
    /// One write of the whole, so that a reader finds one or the other.
    fn write(&self, owner: &Owner) -> io::Result<()> {
        let text = owner.to_text();
        self.with_file(|file| {
            file.write_all_at(text.as_bytes(), 0)?;
            file.set_len(text.len() as u64)
        })
    }

    /// Nothing once it is closed.
    fn with_file(&self, act: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        held_by(&self.file).as_ref().map_or(Ok(()), act)
    }
}

/// The locked file, made if it is not there, or `None` if somebody else holds it, so many tries later too.
pub(crate) fn lock(path: &Path, most: u32) -> io::Result<Option<File>> {
    lock_by(path, most, File::try_lock)
}

fn lock_by(path: &Path, most: u32, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<File>> {
    let mut tries = 0;
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match try_lock(&file) {
            Ok(()) => {
                // To close it alone would leave it locked by a child that was forked meanwhile.
                let is_same = is_same(&file, path).inspect_err(|_| drop(file.unlock()))?;
                if is_same {
                    return Ok(Some(file));
                }
            }
            Err(TryLockError::WouldBlock) if tries < most => {
                tries += 1;
                thread::sleep(BETWEEN_TRIES);
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
}

/// LK3.
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    LockName::of(file, path)?.look()
}

#[cfg(test)]
mod tests;
