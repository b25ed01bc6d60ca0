//! The two states of the simulated disk, and the steps that change them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::choice::Choose;
use super::content::Content;
use super::{Fault, ListHook, SyncHook};

pub(super) type Names = BTreeMap<Arc<Path>, Entry>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Dir,
    File(u64),
}

/// One change of the disk. The same code applies it when it happens and when a
/// [`Timeline`](super::Timeline) goes through it again.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Name(NameChange),
    Data { file: u64, change: DataChange },
    SyncFile { file: u64, synced: Synced },
    SyncDir { dir: Arc<Path>, synced: Synced },
}

/// What a sync covers, and how it went.
#[derive(Clone, Debug)]
pub(super) struct Synced {
    /// Steps below this were there when it began; what came meanwhile is not covered.
    pub(super) since: u64,
    pub(super) failed: bool,
    /// Who asked for it.
    pub(super) site: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add(Arc<Path>, Entry),
    Remove(Arc<Path>),
    Rename(Arc<Path>, Arc<Path>, Entry),
}

#[derive(Clone, Debug)]
pub(super) enum DataChange {
    Write(u64, Arc<[u8]>),
    Len(u64),
}

/// Live is what processes see (the page cache); durable is what a power loss leaves for certain.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) next_file: u64,
    pub(super) live: Names,
    durable: Names,
    /// Changes of names since their folder was synced, oldest first, each with its step.
    unsynced_names: Vec<(u64, NameChange)>,
    /// Steps so far.
    pub(super) steps: u64,
    pub(super) capacity: Option<u64>,
}

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) live: Content,
    durable: Content,
    unsynced: Vec<(u64, DataChange)>,
}

/// What the operations of all handles share.
#[derive(Default)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) journal: Option<Vec<Step>>,
    /// The disk as it was when the journal began.
    pub(super) recorded_from: Option<Disk>,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) stop_at: Option<u64>,
    pub(super) syncs: u64,
    /// Syncs that fail.
    pub(super) failing_syncs: BTreeSet<u64>,
    pub(super) reads: u64,
    /// Reads that fail.
    pub(super) unreadable: BTreeSet<u64>,
    /// Handles of earlier processes are dead.
    pub(super) process: u64,
    pub(super) hook: Option<SyncHook>,
    pub(super) list_hook: Option<ListHook>,
    /// A file of which no write over what it holds finds space.
    pub(super) full_in_place: Option<Arc<Path>>,
    /// Whether there is no memory for maps.
    pub(super) refuses_maps: Option<Fault>,
    /// A file of which no byte can be read.
    pub(super) spoiled: Option<u64>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("names", &self.disk.live).field("operations", &self.operations).finish()
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

pub(super) fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".")
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(path, entry) => {
                names.insert(Arc::clone(path), *entry);
            }
            // A folder goes with what is in it.
            Self::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            Self::Rename(from, to, _) => {
                self.apply_first(names);
                names.retain(|name, _| !name.starts_with(from) || name.starts_with(to));
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

    fn is_below(&self, dir: &Path) -> bool {
        match self {
            Self::Add(path, _) | Self::Remove(path) => path.starts_with(dir),
            Self::Rename(from, to, _) => from.starts_with(dir) || to.starts_with(dir),
        }
    }

    /// What is left to do once the new name is there, if the old one is in another folder: that has to be synced, too.
    fn other_half(&self) -> Option<Self> {
        match self {
            Self::Rename(from, to, _) if parent(from) != parent(to) => Some(Self::Remove(Arc::clone(from))),
            _ => None,
        }
    }

    /// All but the other half.
    fn apply_first(&self, names: &mut Names) {
        match self {
            Self::Rename(from, to, Entry::Dir) => {
                let inside = names.iter().filter_map(|(name, entry)| {
                    let inside = name.strip_prefix(from).ok()?;
                    // Joining nothing would end the name with a slash.
                    let name = if inside.as_os_str().is_empty() { to.to_path_buf() } else { to.join(inside) };
                    Some((name.into(), *entry))
                });
                let moved: Vec<(Arc<Path>, Entry)> = inside.collect();
                names.extend(moved);
            }
            Self::Rename(_, to, entry) => drop(names.insert(Arc::clone(to), *entry)),
            _ => self.apply(names),
        }
    }
}

impl DataChange {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(offset, bytes) => content.write(*offset, bytes),
            Self::Len(len) => content.set_len(*len),
        }
    }
}

impl State {
    /// Counts an operation of `process` that needs a file to be opened, and fails whole.
    pub(super) fn opening(&mut self, process: u64) -> io::Result<()> {
        self.any_operation(process)?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Counts an operation of `process`; answers its fault, or an error if the machine has stopped.
    pub(super) fn operation(&mut self, process: u64) -> io::Result<Option<Fault>> {
        Ok(self.any_operation(process)?.filter(|fault| *fault != Fault::Files))
    }

    pub(super) fn any_operation(&mut self, process: u64) -> io::Result<Option<Fault>> {
        self.running(process)?;
        self.operations += 1;
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            return Err(stopped());
        }
        Ok(self.faults.get(&self.operations).copied())
    }

    /// As above, for operations that fail whole.
    pub(super) fn whole_operation(&mut self, process: u64) -> io::Result<()> {
        self.operation(process)?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Counts a sync, which is an operation as well; answers its fault.
    pub(super) fn syncing(&mut self) -> Option<Fault> {
        self.syncs += 1;
        self.failing_syncs.contains(&self.syncs).then_some(Fault::Io)
    }

    /// Counts something that `process` reads; an error if that is one that fails.
    pub(super) fn reading(&mut self, process: u64) -> io::Result<()> {
        self.running(process)?;
        self.reads += 1;
        if self.unreadable.contains(&self.reads) { Err(Fault::Io.error()) } else { Ok(()) }
    }

    /// Whether a write over what `file` holds finds no space.
    pub(super) fn is_full_in_place(&self, file: u64) -> bool {
        self.full_in_place.as_ref().is_some_and(|path| self.disk.file(path).is_ok_and(|named| named == file))
    }

    pub(super) fn running(&self, process: u64) -> io::Result<()> {
        match self.stop_at {
            _ if process != self.process => Err(io::Error::other("the simulated process was killed")),
            Some(stop) if self.operations >= stop => Err(stopped()),
            _ => Ok(()),
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        self.disk.apply(&step, true);
        if let Some(journal) = &mut self.journal {
            journal.push(step);
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl Disk {
    /// Takes one step; a sync that is not `heeded` reports success and does nothing.
    pub(super) fn apply(&mut self, step: &Step, heeded: bool) {
        match step {
            Step::Name(change) => {
                if let NameChange::Add(_, Entry::File(file)) = change {
                    self.files.entry(*file).or_default();
                    self.next_file = self.next_file.max(file + 1);
                }
                change.apply(&mut self.live);
                self.unsynced_names.push((self.steps, change.clone()));
            }
            Step::Data { file, change } => {
                let file = self.files.get_mut(file).expect("files are never dropped");
                change.apply(&mut file.live);
                file.unsynced.push((self.steps, change.clone()));
            }
            Step::SyncFile { file, synced } if heeded => {
                let file = self.files.get_mut(file).expect("files are never dropped");
                let covered = file.unsynced.partition_point(|(step, _)| *step < synced.since);
                for (_, change) in file.unsynced.drain(..covered) {
                    if !synced.failed {
                        change.apply(&mut file.durable);
                    }
                }
            }
            Step::SyncDir { dir, synced } if heeded => {
                let durable = &mut self.durable;
                self.unsynced_names.retain_mut(|(step, change)| {
                    if *step >= synced.since || !change.in_folder(dir) {
                        return true;
                    }
                    let other = change.other_half();
                    match (&other, synced.failed) {
                        // No later sync has it to write.
                        (_, true) => {}
                        (None, false) => change.apply(durable),
                        (Some(_), false) => change.apply_first(durable),
                    }
                    other.is_some_and(|other| {
                        *change = other;
                        true
                    })
                });
            }
            Step::SyncFile { .. } | Step::SyncDir { .. } => {}
        }
        self.steps += 1;
    }

    pub(super) fn check_parent(&self, path: &Path) -> io::Result<()> {
        let dir = parent(path);
        match self.live.get(dir) {
            _ if is_root(dir) => Ok(()),
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What `from` is, if it may be renamed to `to`. A folder may once its name and all names in it are durable: what
    /// becomes of others then is not simulated.
    pub(super) fn renamed(&self, from: &Path, to: &Path) -> io::Result<Entry> {
        self.check_parent(to)?;
        let entry = *self.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        let there = self.live.get(to);
        match entry {
            Entry::File(_) if there == Some(&Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            Entry::File(_) => Ok(entry),
            Entry::Dir if to.starts_with(from) => Err(io::ErrorKind::InvalidInput.into()),
            Entry::Dir if matches!(there, Some(Entry::File(_))) => Err(io::ErrorKind::NotADirectory.into()),
            Entry::Dir if self.live.keys().any(|path| parent(path) == to) => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            Entry::Dir if self.unsynced_names.iter().any(|(_, change)| change.is_below(from)) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the simulated disk renames synced folders only"))
            }
            Entry::Dir => Ok(entry),
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.live.get(path) {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether the files may grow by `more` bytes together.
    pub(super) fn has_room(&self, more: u64) -> bool {
        let Some(capacity) = self.capacity else { return true };
        let used: u64 = named(&self.live).iter().map(|id| self.files[id].live.len()).sum();
        used + more <= capacity
    }

    /// As a new process finds it: what was written is there, and nothing more became durable.
    pub(super) fn after_kill(&self) -> Self {
        let mut left = self.clone();
        let mut kept = named(&left.live);
        kept.extend(named(&left.durable));
        let unsynced = left.unsynced_names.iter().filter_map(|(_, change)| match change {
            NameChange::Add(_, Entry::File(id)) | NameChange::Rename(_, _, Entry::File(id)) => Some(*id),
            _ => None,
        });
        kept.extend(unsynced);
        left.files.retain(|id, _| kept.contains(id));
        left
    }

    /// As the next start finds it after a power loss: everything synced, and what `choose` leaves of the rest.
    pub(super) fn after_power_loss(&self, choose: &mut dyn Choose) -> Self {
        let mut names = self.durable.clone();
        if !self.unsynced_names.is_empty() {
            choose.begin();
        }
        for (_, change) in &self.unsynced_names {
            let states = if change.other_half().is_some() { 3 } else { 2 };
            match choose.pick(states) {
                0 => {}
                1 if states == 3 => change.apply_first(&mut names),
                _ => change.apply(&mut names),
            }
        }
        let folders: BTreeSet<Arc<Path>> =
            names.iter().filter(|(_, entry)| **entry == Entry::Dir).map(|(path, _)| Arc::clone(path)).collect();
        names.retain(|path, _| parent(path).ancestors().all(|dir| is_root(dir) || folders.contains(dir)));
        let mut files = BTreeMap::new();
        for id in named(&names) {
            let left = self.files[&id].after_power_loss(choose);
            files.insert(id, File { live: left.clone(), durable: left, unsynced: Vec::new() });
        }
        Self {
            files,
            next_file: self.next_file,
            live: names.clone(),
            durable: names,
            unsynced_names: Vec::new(),
            steps: 0,
            capacity: self.capacity,
        }
    }

    /// Turns one bit of a file over, on the disk and in memory.
    pub(super) fn flip(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let id = self.file(path)?;
        let file = self.files.get_mut(&id).expect("files are never dropped");
        for content in [&mut file.live, &mut file.durable] {
            let mut byte = [0];
            if content.read(bit / 8, &mut byte) == 1 {
                content.write(bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
            }
        }
        Ok(())
    }
}

fn named(names: &Names) -> BTreeSet<u64> {
    names.values().filter_map(|entry| if let Entry::File(id) = entry { Some(*id) } else { None }).collect()
}

impl File {
    /// Each unsynced piece keeps one of the states it went through since the last sync.
    fn after_power_loss(&self, choose: &mut dyn Choose) -> Content {
        let mut content = self.durable.clone();
        if self.unsynced.is_empty() {
            return content;
        }
        let unit = choose.begin();
        let mut writes_of = BTreeMap::<u64, u64>::new();
        let mut lens = vec![content.len()];
        for (_, change) in &self.unsynced {
            let last = lens[lens.len() - 1];
            let len = match change {
                DataChange::Write(offset, bytes) => {
                    for piece in pieces(*offset, bytes.len(), unit) {
                        *writes_of.entry(piece).or_default() += 1;
                    }
                    last.max(offset + bytes.len() as u64)
                }
                DataChange::Len(len) => *len,
            };
            lens.push(len);
        }
        for versions in writes_of.values_mut() {
            *versions = choose.pick(*versions + 1);
        }
        // Steps that leave the length as it is make no state of their own.
        let mut states: Vec<usize> = (0..lens.len()).filter(|&i| i == 0 || lens[i] != lens[i - 1]).collect();
        let len_version = states.swap_remove(choose.pick(states.len() as u64) as usize);
        for (i, (_, change)) in self.unsynced.iter().enumerate() {
            match change {
                DataChange::Write(offset, bytes) => {
                    for piece in pieces(*offset, bytes.len(), unit) {
                        let left = writes_of.get_mut(&piece).expect("counted above");
                        if *left > 0 {
                            *left -= 1;
                            let from = offset.max(&(piece * unit)) - offset;
                            let to = (offset + bytes.len() as u64).min((piece + 1) * unit) - offset;
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

fn pieces(offset: u64, len: usize, unit: u64) -> std::ops::Range<u64> {
    if len == 0 {
        return 0..0;
    }
    offset / unit..(offset + len as u64).div_ceil(unit)
}
