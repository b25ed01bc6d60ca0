//! A disk in memory that can lose power, run full and fail. For tests of this and other crates.
//!
//! [`SimFs`] keeps two states: what a running process sees (the page cache), and what a
//! power loss leaves. Between them lie the writes not yet synced and the names not yet
//! synced; at a power loss a choice of them ([`Choose`]) reaches the disk, in any
//! combination, torn at sectors or pages. A sync covers what was there when it began.
//!
//! Every call that changes something, or syncs, is one *operation* and has a number,
//! counting from 1, so that a test can first count those of a workload and then fail
//! or stop each of them in turn; so is every call that reads something a *read*. Every change, and every sync that ends, is one *step*;
//! a recorded disk can be gone through again step by step ([`Timeline`]).

mod choice;
mod content;
mod disk;
mod file;
mod timeline;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use choice::{AllBut, Choose, Every, Random};
pub use timeline::{NameStep, Timeline};

use super::{Fs, FsFile, Map, SyncNames};
use disk::{Disk, Entry, NameChange, State, Step, Synced, is_root, parent};
use file::SimFile;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (EIO). A failed write leaves its first half; a failed sync loses
    /// what it should have written, contents or names: the running process still reads it, a later sync
    /// does not write it.
    Io,
    /// The disk is full. A failed write leaves its first half, a failed sync loses as above.
    Full,
    /// No more files may be opened (EMFILE): files are not created, and the sync of a folder does not begin. Other
    /// operations go on as if nothing were.
    Files,
    /// The operating system has no memory for it (ENOMEM). Otherwise as [`Io`](Self::Io).
    Memory,
}

/// Who asks for a sync, as far as a test can tell.
pub type SyncSite = Arc<str>;

/// Called in the middle of each sync, without any lock; answers who asks for it.
pub type SyncHook = Arc<dyn Fn() -> SyncSite + Send + Sync>;

/// Called before each listing of a folder, without any lock.
pub type ListHook = Arc<dyn Fn(&Path) + Send + Sync>;

/// A file system in memory, shared by its clones. See the [module](self).
#[derive(Clone, Default)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
    process: u64,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimFs").field(&*self.lock()).finish()
    }
}

impl SimFs {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn of(disk: Disk) -> Self {
        Self { state: Arc::new(Mutex::new(State { disk, ..State::default() })), process: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lock().disk.steps
    }

    /// Makes operation number `operation` fail; several may.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock().faults.insert(operation, fault);
    }

    /// Syncs so far, of files and of folders, those that failed too.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Makes sync number `sync` fail (EIO), whichever operation that is.
    pub fn fail_sync_at(&self, sync: u64) {
        self.lock().failing_syncs.insert(sync);
    }

    /// Reads so far: of bytes, lengths, names, and openings for that.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Makes read number `read` fail as those of a device do that cannot read a sector (EIO).
    pub fn fail_read_at(&self, read: u64) {
        self.lock().unreadable.insert(read);
    }

    /// Stops the machine before operation number `operation`: it and everything behind it,
    /// reads too, answers an error and changes nothing.
    pub fn stop_at(&self, operation: u64) {
        self.lock().stop_at = Some(operation);
    }

    /// Forgets faults and stops.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.failing_syncs.clear();
        state.unreadable.clear();
        state.stop_at = None;
    }

    /// Has each sync ask `hook` who it is, and take as long as `hook` does.
    pub fn on_sync(&self, hook: SyncHook) {
        self.lock().hook = Some(hook);
    }

    /// Has each listing call `hook` first: what it does, others did between two looks of who lists.
    pub fn on_list(&self, hook: ListHook) {
        self.lock().list_hook = Some(hook);
    }

    /// From now on no byte of the file that has the name `path` can be read (EIO), whatever it is called then.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn spoil(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.spoiled = Some(state.disk.file(path)?);
        Ok(())
    }

    /// The disk as a new process finds it after the old one was killed now: everything
    /// written is there, synced or not, and nothing more became durable. This disk goes on as it is.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::of(self.lock().disk.after_kill())
    }

    /// This very disk for a new process, faults and record included. The old process is
    /// killed: its handles, and its open files, answer errors from now on.
    #[must_use]
    pub fn next_process(&self) -> Self {
        let mut state = self.lock();
        state.process += 1;
        Self { state: Arc::clone(&self.state), process: state.process }
    }

    /// Limits the bytes that files may hold together; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().disk.capacity = bytes;
    }

    /// Has each write to the file that has the name `path` find the disk full, also over what it holds and what is
    /// allocated to it, as on file systems that write elsewhere what is written anew (copy on write): the first half may
    /// have found its place. `None`: there is space again.
    pub fn set_full_in_place(&self, path: Option<&Path>) {
        self.lock().full_in_place = path.map(Arc::from);
    }

    /// Has each map fail: for [`Memory`](Fault::Memory), as of a process that may have no more addresses or maps, or for
    /// [`Files`](Fault::Files), as a file is opened to be mapped. `None`: there is enough again.
    pub fn refuse_maps(&self, refuse: Option<Fault>) {
        self.lock().refuses_maps = refuse;
    }

    /// The disk after a power loss now: everything synced, and a choice of the rest that
    /// depends on `seed` alone. This disk goes on as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self::of(self.lock().disk.after_power_loss(&mut Random::new(seed)))
    }

    /// All files and their lengths in bytes, by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.lock();
        let len = |entry: &Entry| match entry {
            Entry::File(id) => Some(state.disk.files[id].live.len()),
            Entry::Dir => None,
        };
        state.disk.live.iter().filter_map(|(path, entry)| Some((path.to_path_buf(), len(entry)?))).collect()
    }

    /// Turns bit number `bit` of a file over, as an ageing disk does.
    ///
    /// # Errors
    /// If there is no such file. A bit beyond the end is no error.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.lock().disk.flip(path, bit)
    }

    /// `opens`: the folder is not open yet.
    fn do_sync_dir(&self, dir: &Path, opens: bool) -> io::Result<()> {
        let (fault, since, hook) = {
            let mut state = self.lock();
            let fault = state.any_operation(self.process)?.filter(|fault| opens || *fault != Fault::Files);
            if fault == Some(Fault::Files) {
                return Err(Fault::Files.error());
            }
            let failing = state.syncing();
            state.disk.check_parent(&dir.join("x"))?;
            (fault.or(failing), state.disk.steps, state.hook.clone())
        };
        let site = hook.map(|hook| hook());
        let mut state = self.lock();
        state.running(self.process)?;
        let synced = Synced { since, failed: fault.is_some(), site };
        state.step(Step::SyncDir { dir: dir.into(), synced });
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn open_file(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn FsFile>> {
        let mut state = self.lock();
        state.reading(self.process)?;
        let file = state.disk.file(path)?;
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), process: self.process, file, writable }))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Files => io::Error::from_raw_os_error(24),
            Self::Memory => io::ErrorKind::OutOfMemory.into(),
        }
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation(self.process)?;
        let mut missing: Vec<&Path> = dir.ancestors().filter(|d| !is_root(d)).collect();
        missing.reverse();
        for dir in missing {
            match state.disk.live.get(dir) {
                Some(Entry::Dir) => {}
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => state.step(Step::Name(NameChange::Add(dir.into(), Entry::Dir))),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let hook = self.lock().list_hook.clone();
        if let Some(hook) = hook {
            hook(dir);
        }
        let mut state = self.lock();
        state.reading(self.process)?;
        state.disk.check_parent(&dir.join("x"))?;
        let inside = state.disk.live.keys().filter(|path| parent(path) == dir);
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.do_sync_dir(dir, true)
    }

    fn ready_to_sync<'a>(&'a self, dir: &'a Path) -> io::Result<SyncNames<'a>> {
        let mut state = self.lock();
        state.opening(self.process)?;
        state.disk.check_parent(&dir.join("x"))?;
        Ok(Box::new(move || self.do_sync_dir(dir, false)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let mut state = self.lock();
        state.opening(self.process)?;
        state.disk.check_parent(path)?;
        if state.disk.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.disk.next_file;
        state.step(Step::Name(NameChange::Add(path.into(), Entry::File(file))));
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), process: self.process, file, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.open_file(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.open_file(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation(self.process)?;
        let entry = state.disk.renamed(from, to)?;
        state.step(Step::Name(NameChange::Rename(from.into(), to.into(), entry)));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation(self.process)?;
        let id = state.disk.file(from)?;
        state.disk.check_parent(to)?;
        if state.disk.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.step(Step::Name(NameChange::Add(to.into(), Entry::File(id))));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation(self.process)?;
        state.disk.file(path)?;
        state.step(Step::Name(NameChange::Remove(path.into())));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation(self.process)?;
        match state.disk.live.get(dir) {
            Some(Entry::Dir) => {}
            Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        if state.disk.live.keys().any(|path| parent(path) == dir) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.step(Step::Name(NameChange::Remove(dir.into())));
        Ok(())
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let mut state = self.lock();
        state.reading(self.process)?;
        let content = &state.disk.files[&state.disk.file(path)?].live;
        if let Some(fault) = state.refuses_maps {
            return Err(fault.error());
        }
        let mut bytes = vec![0; content.len() as usize];
        content.read(0, &mut bytes);
        Ok(Map::from_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests;
