//! A disk in memory that can lose power, run full and fail. For tests of this and other crates.
//!
//! [`SimFs`] keeps two states: what a running process sees (the page cache), and what a
//! power loss leaves. Between them lie the writes not yet synced and the names not yet
//! synced; [`SimFs::crash`] lets a seeded choice of them reach the disk, in any
//! combination, torn at sectors or pages.
//!
//! Every call that changes something, or syncs, is one *operation* and has a number,
//! counting from 1, so that a test can first count those of a workload and then fail
//! or stop each of them in turn.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use content::Content;

use super::{Fs, FsFile, Map};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (EIO). A failed write leaves its first half; a failed sync loses
    /// what it should have written: the running process still reads it, a later sync
    /// does not write it.
    Io,
    /// The disk is full. A failed write leaves its first half.
    Full,
}

/// A file system in memory, shared by its clones. See the [module](self).
#[derive(Clone, Default)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(u64),
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    live: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Changes of names since their folder was synced, oldest first.
    unsynced_names: Vec<NameChange>,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    stop_at: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Entry),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Content,
    durable: Content,
    unsynced: Vec<DataChange>,
}

#[derive(Clone, Debug)]
enum DataChange {
    Write(u64, Vec<u8>),
    Len(u64),
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    writable: bool,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SimFs").field("names", &state.live).field("operations", &state.operations).finish()
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}

impl SimFs {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Makes operation number `operation` fail; several may.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock().faults.insert(operation, fault);
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
        state.stop_at = None;
    }

    /// The disk as a new process finds it after the old one was killed now: everything
    /// written is there, synced or not, and nothing more became durable. This disk goes on as it is.
    #[must_use]
    pub fn kill(&self) -> Self {
        let state = self.lock();
        let left = State {
            inodes: state.inodes.clone(),
            next_inode: state.next_inode,
            live: state.live.clone(),
            durable: state.durable.clone(),
            unsynced_names: state.unsynced_names.clone(),
            capacity: state.capacity,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(left)) }
    }

    /// Limits the bytes that files may hold together; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The disk after a power loss now: everything synced, and a choice of the rest that
    /// depends on `seed` alone. This disk goes on as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.lock();
        let mut random = Random(seed);
        let chance_names = random.chance();
        let mut names = state.durable.clone();
        for change in &state.unsynced_names {
            if random.happens(chance_names) {
                change.apply(&mut names);
            }
        }
        let folders: BTreeSet<PathBuf> =
            names.iter().filter(|(_, entry)| **entry == Entry::Dir).map(|(path, _)| path.clone()).collect();
        names.retain(|path, _| parent(path).ancestors().all(|dir| is_root(dir) || folders.contains(dir)));
        let mut inodes = BTreeMap::new();
        for entry in names.values() {
            if let Entry::File(id) = entry {
                let left = state.inodes[id].after_power_loss(&mut random);
                inodes.insert(*id, Inode { live: left.clone(), durable: left, unsynced: Vec::new() });
            }
        }
        let left = State {
            inodes,
            next_inode: state.next_inode,
            live: names.clone(),
            durable: names,
            capacity: state.capacity,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(left)) }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".")
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Add(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
        }
    }

    fn in_folder(&self, dir: &Path) -> bool {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => {
                parent(path) == dir || (is_root(parent(path)) && is_root(dir))
            }
        }
    }
}

impl State {
    /// Counts an operation; answers its fault, or an error if the machine has stopped.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        self.running()?;
        self.operations += 1;
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            return Err(stopped());
        }
        Ok(self.faults.get(&self.operations).copied())
    }

    /// As above, for operations that fail whole.
    fn whole_operation(&mut self) -> io::Result<()> {
        self.operation()?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn running(&self) -> io::Result<()> {
        match self.stop_at {
            Some(stop) if self.operations >= stop => Err(stopped()),
            _ => Ok(()),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        let dir = parent(path);
        match self.live.get(dir) {
            _ if is_root(dir) => Ok(()),
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.live.get(path) {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.unsynced_names.push(change);
    }

    /// Whether the files may grow by `more` bytes together.
    fn has_room(&self, more: u64) -> bool {
        let Some(capacity) = self.capacity else { return true };
        let files: BTreeSet<u64> =
            self.live.values().filter_map(|entry| if let Entry::File(id) = entry { Some(*id) } else { None }).collect();
        let used: u64 = files.iter().map(|id| self.inodes[id].live.len()).sum();
        used + more <= capacity
    }

    fn inode(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("inodes are never dropped")
    }

    fn change(&mut self, id: u64, change: DataChange) {
        let inode = self.inode(id);
        change.apply(&mut inode.live);
        inode.unsynced.push(change);
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl DataChange {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(offset, bytes) => content.write(*offset, bytes),
            Self::Len(len) => content.set_len(*len),
        }
    }
}

impl Inode {
    /// Each unsynced sector keeps one of the states it went through since the last sync.
    fn after_power_loss(&self, random: &mut Random) -> Content {
        let mut content = self.durable.clone();
        if self.unsynced.is_empty() {
            return content;
        }
        let unit = if random.next().is_multiple_of(2) { 512 } else { 4096 };
        let chance = random.chance();
        let mut writes_of = BTreeMap::<u64, u64>::new();
        let mut lens = vec![content.len()];
        for change in &self.unsynced {
            let last = lens[lens.len() - 1];
            match change {
                DataChange::Write(offset, bytes) => {
                    for sector in sectors(*offset, bytes.len(), unit) {
                        *writes_of.entry(sector).or_default() += 1;
                    }
                    lens.push(last.max(offset + bytes.len() as u64));
                }
                DataChange::Len(len) => lens.push(*len),
            }
        }
        for versions in writes_of.values_mut() {
            if !random.happens(chance) {
                *versions = random.next() % (*versions + 1);
            }
        }
        let len_version =
            if random.happens(chance) { lens.len() - 1 } else { (random.next() % lens.len() as u64) as usize };
        for (i, change) in self.unsynced.iter().enumerate() {
            match change {
                DataChange::Write(offset, bytes) => {
                    for sector in sectors(*offset, bytes.len(), unit) {
                        let left = writes_of.get_mut(&sector).expect("counted above");
                        if *left > 0 {
                            *left -= 1;
                            let from = offset.max(&(sector * unit)) - offset;
                            let to = (offset + bytes.len() as u64).min((sector + 1) * unit) - offset;
                            content.write(offset + from, &bytes[from as usize..to as usize]);
                        }
                    }
                }
                DataChange::Len(len) if i < len_version => content.set_len(*len),
                DataChange::Len(_) => {}
            }
        }
        content.set_len(lens[len_version]);
        content
    }
}

fn sectors(offset: u64, len: usize, unit: u64) -> std::ops::Range<u64> {
    if len == 0 {
        return 0..0;
    }
    offset / unit..(offset + len as u64).div_ceil(unit)
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation()?;
        let mut missing: Vec<&Path> = dir.ancestors().filter(|d| !is_root(d)).collect();
        missing.reverse();
        for dir in missing {
            match state.live.get(dir) {
                Some(Entry::Dir) => {}
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => state.change_name(NameChange::Add(dir.to_owned(), Entry::Dir)),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.running()?;
        state.check_parent(&dir.join("x"))?;
        let inside = state.live.keys().filter(|path| parent(path) == dir);
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation()?;
        state.check_parent(&dir.join("x"))?;
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes {
            if change.in_folder(dir) {
                change.apply(&mut state.durable);
            } else {
                state.unsynced_names.push(change);
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let mut state = self.lock();
        state.whole_operation()?;
        state.check_parent(path)?;
        if state.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(id, Inode::default());
        state.change_name(NameChange::Add(path.to_owned(), Entry::File(id)));
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode: id, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let state = self.lock();
        state.running()?;
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode: state.file(path)?, writable: true }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let state = self.lock();
        state.running()?;
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode: state.file(path)?, writable: false }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation()?;
        let id = state.file(from)?;
        state.check_parent(to)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), Entry::File(id)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_operation()?;
        state.file(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let state = self.lock();
        state.running()?;
        let content = &state.inodes[&state.file(path)?].live;
        let mut bytes = vec![0; content.len() as usize];
        content.read(0, &mut bytes);
        Ok(Map::from_bytes(&bytes))
    }
}

impl SimFile {
    fn state_to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(lock(&self.state))
    }
}

impl FsFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = lock(&self.state);
        state.running()?;
        Ok(state.inodes[&self.inode].live.read(offset, buf))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        let mut fault = state.operation()?;
        let growth = (offset + bytes.len() as u64).saturating_sub(state.inode(self.inode).live.len());
        if fault.is_none() && growth > 0 && !state.has_room(growth) {
            fault = Some(Fault::Full);
        }
        let written = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        if fault != Some(Fault::Full) || state.has_room(growth) {
            state.change(self.inode, DataChange::Write(offset, bytes[..written].to_vec()));
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let fault = state.operation()?;
        let inode = state.inode(self.inode);
        let changes = std::mem::take(&mut inode.unsynced);
        if let Some(fault) = fault {
            return Err(fault.error());
        }
        for change in changes {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.whole_operation()?;
        let now = state.inode(self.inode).live.len();
        if len <= now {
            return Ok(());
        }
        if !state.has_room(len - now) {
            return Err(Fault::Full.error());
        }
        state.change(self.inode, DataChange::Len(len));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.whole_operation()?;
        state.change(self.inode, DataChange::Len(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = lock(&self.state);
        state.running()?;
        Ok(state.inodes[&self.inode].live.len())
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of: never, sometimes, mostly, always; in quarters.
    fn chance(&mut self) -> u64 {
        self.next() % 5
    }

    fn happens(&mut self, quarters: u64) -> bool {
        self.next() % 4 < quarters
    }
}

#[cfg(test)]
mod tests;
