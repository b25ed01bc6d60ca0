//! The manifest's file: appended to, rewritten now and then, owned by one opening.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::anew::{Grows, Space, ToldAnew, WriteFailed, bytes_of, drop_temp, remove_left, take_name, write_temp};
use super::closed::Closed;
use super::codec::put_edit;
use super::error::ManifestError;
use super::format::{
    COMMIT_ALIGN, CommitHeader, EDITS_BYTES_MAX, FILE_NAME, GROW_BYTES, RESERVE_BYTES, VERSION, WITNESS_AT, Witness,
    commit_checksum,
};
use super::names::Names;
use super::read::{load, load_header};
use super::state::{Edit, State};
use crate::fs::{Fs, FsFile, make_dir};

/// Folders whose content means nothing without a manifest.
const DATA_FOLDERS: [&str; 2] = ["segments", "wal"];
/// Edits of one commit at most, in bytes.
const COMMIT_BYTES_MAX: usize = 1 << 29;

/// The state of a store, durable commit by commit.
#[derive(Debug)]
pub struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    state: State,
    next_commit: u64,
    log: Option<Log>,
    poisoned: bool,
    unwitnessed: Option<Told>,
    anew: Option<ToldAnew>,
    owned: Option<Owned>,
    names: Arc<Names>,
}

/// Who hears of a commit.
struct Told(Box<dyn Fn() + Send + Sync>);

/// Who knows whether the store still is this process's, and keeps others from taking it meanwhile.
pub trait Ownership: Send + Sync {
    /// Whether it is.
    fn is_ours(&self) -> bool;

    /// Excludes every other process that puts a manifest in the place of this store's, until what is answered is
    /// dropped.
    ///
    /// # Errors
    /// Somebody else is at it, and does not come to an end; or the operating system refuses.
    fn alone(&self) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }
}

impl<T: Fn() -> bool + Send + Sync> Ownership for T {
    fn is_ours(&self) -> bool {
        self()
    }
}

struct Owned(Box<dyn Ownership>);

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owned")
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// The file that commits are appended to.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) file: Arc<dyn FsFile>,
    pub(super) seed: u32,
    /// Where the next commit goes.
    pub(super) end: u64,
    /// The last commit that the file itself calls durable.
    pub(super) witnessed: u64,
    pub(super) allocated: u64,
    /// Where the file is rewritten rather than appended to.
    pub(super) rewrite_at: u64,
}

impl Manifest {
    /// Opens the store in `dir` for writing and durably raises its open number; begins a
    /// new store if there is none (the directory is made too). The caller holds the directory's lock.
    ///
    /// Whatever was read is written anew to a fresh file first: what a former opening
    /// could read may have been in the page cache only.
    ///
    /// # Errors
    /// [`ManifestError`]; each variant says what to do. Nothing stored was changed.
    pub fn open_or_create(fs: Arc<dyn Fs>, dir: impl AsRef<Path>) -> Result<Self, ManifestError> {
        Self::open_or_create_with(fs, dir.as_ref(), random_id)
    }

    pub(super) fn open_or_create_with(
        fs: Arc<dyn Fs>,
        dir: &Path,
        new_id: impl FnOnce() -> u128,
    ) -> Result<Self, ManifestError> {
        let mut manifest = Self::read_with(fs, dir, new_id)?;
        manifest.begin()?;
        Ok(manifest)
    }

    /// The first half of [`open_or_create`](Self::open_or_create): reads what there is, and makes the directory, but
    /// nothing else. It takes no commit before [`begin`](Self::begin). Who finds on the way that the rest of the store
    /// cannot be opened leaves it as it is.
    ///
    /// # Errors
    /// [`ManifestError`]; each variant says what to do.
    pub fn read_to_open(fs: Arc<dyn Fs>, dir: impl AsRef<Path>) -> Result<Self, ManifestError> {
        Self::read_with(fs, dir.as_ref(), random_id)
    }

    fn read_with(fs: Arc<dyn Fs>, dir: &Path, new_id: impl FnOnce() -> u128) -> Result<Self, ManifestError> {
        Self::make_folder(&*fs, dir)?;
        let (state, next_commit) = match load(&*fs, dir) {
            Ok(loaded) => (loaded.state, loaded.next_commit),
            Err(ManifestError::NoStore { .. }) => {
                refuse_orphans(&*fs, dir)?;
                (State { store_id: new_id(), ..State::default() }, 1)
            }
            Err(e) => return Err(e),
        };
        Ok(Self::unbegun(fs, dir, state, next_commit))
    }

    /// Makes the folder of a store, if there is none, with a name that lasts: before there is anything in it, for one whose
    /// name a failed sync has lost is to be made anew.
    ///
    /// # Errors
    /// [`ManifestError`]; a folder that was not there is not there then.
    pub fn make_folder(fs: &dyn Fs, dir: &Path) -> Result<(), ManifestError> {
        make_dir(fs, dir).map_err(|(folder, source)| match source.kind() {
            io::ErrorKind::AlreadyExists => ManifestError::NotADirectory { dir: dir.to_owned() },
            _ => ManifestError::io(&folder, source),
        })
    }

    fn unbegun(fs: Arc<dyn Fs>, dir: &Path, state: State, next_commit: u64) -> Self {
        let dir = dir.to_owned();
        let (log, unwitnessed, anew, owned, names) = (None, None, None, None, Arc::default());
        Self { fs, dir, state, next_commit, log, poisoned: false, unwitnessed, anew, owned, names }
    }

    /// The second half of [`open_or_create`](Self::open_or_create).
    ///
    /// # Errors
    /// [`ManifestError`]; nothing stored was changed, and after [`NoSpace`](ManifestError::NoSpace) it may be tried
    /// again. [`NotOwner`](ManifestError::NotOwner) if somebody else has written since it was read.
    pub fn begin(&mut self) -> Result<(), ManifestError> {
        let of = |state: &State, next_commit: u64| (state.store_id, state.open_number, next_commit);
        let found = match load(&*self.fs, &self.dir) {
            Ok(loaded) => Some(of(&loaded.state, loaded.next_commit)),
            Err(ManifestError::NoStore { .. }) => None,
            Err(e) => return Err(e),
        };
        // A new store was not opened yet.
        let read = (self.state.open_number > 0).then(|| of(&self.state, self.next_commit));
        if found != read {
            let (found, ours) = (found.map_or(0, |found| found.1), self.state.open_number);
            return Err(ManifestError::NotOwner { file: self.dir.join(FILE_NAME), found, ours });
        }
        self.write_beginning()
    }

    /// Puts a manifest of the next opening into the place of whatever is there.
    fn write_beginning(&mut self) -> Result<(), ManifestError> {
        let mut state = self.state.clone();
        state.format = VERSION;
        state.open_number =
            state.open_number.checked_add(1).ok_or(ManifestError::BadEdit { what: "opened too often" })?;
        remove_left(&*self.fs, &self.dir);
        let log = write_temp(&*self.fs, &self.dir, &state, self.next_commit, Space::AsIs)
            .and_then(|log| take_name(&*self.fs, &self.dir, state.open_number, &self.names).map(|()| log))
            .map_err(|failed| failed.on_open(&self.dir))?;
        (self.state, self.next_commit, self.log) = (state, self.next_commit + 1, Some(log));
        Ok(())
    }

    /// Begins an opening with what `state` says, whatever the file in `dir` says.
    pub(super) fn begin_with(fs: Arc<dyn Fs>, dir: &Path, state: State) -> Result<Self, ManifestError> {
        let mut manifest = Self::unbegun(fs, dir, state, 1);
        manifest.write_beginning()?;
        Ok(manifest)
    }

    /// Reads the store in `dir` as it is now, for a process beside the owner. Writes nothing, takes no lock.
    ///
    /// # Errors
    /// [`ManifestError`]; each variant says what to do.
    pub fn open_read_only(fs: Arc<dyn Fs>, dir: impl AsRef<Path>) -> Result<Self, ManifestError> {
        let dir = dir.as_ref();
        let loaded = load(&*fs, dir).or_else(|e| match e {
            ManifestError::NoStore { .. } => refuse_orphans(&*fs, dir).and(Err(e)),
            e => Err(e),
        })?;
        Ok(Self::unbegun(fs, dir, loaded.state, loaded.next_commit))
    }

    /// For who gives other names in the folder, or syncs it, while somebody may commit.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// What the manifest says, as of the last commit that succeeded.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes on the disk that the next opening needs to write all of this anew. O(size of the state).
    #[must_use]
    pub fn bytes_to_open(&self) -> u64 {
        bytes_of(&self.state)
    }

    /// Whether the file still says what was read: false once anybody has opened the store since, or has committed
    /// anything but what is durable of the log by now ([`Edit::WalSynced`], [`Edit::Numbers`]): that lets go of nothing
    /// that was read. For readers beside the owner. O(size of the file).
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn is_current(&self) -> Result<bool, ManifestError> {
        let loaded = load(&*self.fs, &self.dir)?;
        let same_life =
            (loaded.state.store_id, loaded.state.open_number) == (self.state.store_id, self.state.open_number);
        let same = loaded.next_commit == self.next_commit || self.state.grew_only_in_what_is_synced(loaded.state);
        Ok(same_life && same)
    }

    /// Whether both were read of the same opening of the same store.
    #[must_use]
    pub fn is_of_opening(&self, other: &Self) -> bool {
        (self.state.store_id, self.state.open_number) == (other.state.store_id, other.state.open_number)
    }

    /// Applies all `edits` or none; they are durable when this returns. One write and one
    /// fdatasync, now and then a rewrite of the whole file.
    ///
    /// # Errors
    /// - [`BadEdit`](ManifestError::BadEdit), [`MetadataFull`](ManifestError::MetadataFull): nothing was written.
    /// - [`NoSpace`](ManifestError::NoSpace): nothing that counts was written; commit again later. Edits that
    ///   [give space back](Edit::gives_space_back) have 64 KiB in reserve.
    /// - [`NotOwner`](ManifestError::NotOwner): somebody else has opened the store; nothing was written.
    /// - [`LockLost`](ManifestError::LockLost): as [`owned_while`](Self::owned_while) says; the next owner may have
    ///   the edits or not.
    /// - [`Failed`](ManifestError::Failed): nobody knows whether the edits are durable; all further commits
    ///   are refused.
    pub fn commit(&mut self, edits: &[Edit]) -> Result<(), ManifestError> {
        let space = if edits.iter().all(Edit::gives_space_back) { Space::AsIs } else { Space::Reserved };
        self.commit_in(edits, space)
    }

    /// As [`commit`](Self::commit), but leaves the reserve alone, whatever the edits are: what is large would take
    /// from a full disk what the next opening needs.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_beside_reserve(&mut self, edits: &[Edit]) -> Result<(), ManifestError> {
        self.commit_in(edits, Space::Reserved)
    }

    fn commit_in(&mut self, edits: &[Edit], space: Space) -> Result<(), ManifestError> {
        if self.log.is_none() {
            return Err(ManifestError::ReadOnly);
        }
        if self.poisoned {
            return Err(ManifestError::Poisoned);
        }
        if edits.is_empty() {
            return Ok(());
        }
        let mut state = self.state.clone();
        for edit in edits {
            state.apply(edit)?;
        }
        self.check_owner()?;
        self.check_lock()?;
        let mut bytes = Vec::new();
        edits.iter().for_each(|edit| put_edit(&mut bytes, edit));
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(ManifestError::BadEdit { what: "too many edits for one commit" });
        }
        if let Err(e) = self.write(&state, &bytes, space) {
            self.poisoned = !matches!(e, ManifestError::NoSpace { .. });
            return Err(e);
        }
        // Once more: only if nobody can have begun to read before it was written does everybody read it.
        self.check_lock()?;
        self.state = state;
        self.next_commit += 1;
        self.tell_unwitnessed();
        Ok(())
    }

    /// Asks `owned` before and after each commit whether the store is still this process's; where it is not, that
    /// commit fails, and so do all that follow. Where the file is put in the place of the one before, it asks while
    /// nobody else can do so: whatever others open meanwhile, theirs is never replaced.
    pub fn owned_while(&mut self, owned: impl Ownership + 'static) {
        self.owned = Some(Owned(Box::new(owned)));
    }

    fn check_lock(&mut self) -> Result<(), ManifestError> {
        if self.owned.as_ref().is_none_or(|Owned(owned)| owned.is_ours()) {
            return Ok(());
        }
        self.poisoned = true;
        Err(ManifestError::LockLost { file: self.dir.join(FILE_NAME) })
    }

    /// Calls `told` after each commit that the file does not call durable itself, and now if there is one: some time
    /// later [`witness`](Self::witness) should be called. Whoever commits, waits for `told`.
    pub fn on_unwitnessed(&mut self, told: impl Fn() + Send + Sync + 'static) {
        self.unwitnessed = Some(Told(Box::new(told)));
        self.tell_unwitnessed();
    }

    /// Calls `told` each time that the file should be written anew: with `None` where it was; with why it could not be
    /// once the commit is in the file that there is, which grows. The next try comes 256 KiB later, or with the next commit
    /// where it was space that was wanted. Of a commit that is refused nothing is told. Whoever commits, waits for `told`.
    pub fn on_written_anew(&mut self, told: impl Fn(Option<&Grows>) + Send + Sync + 'static) {
        self.anew = Some(ToldAnew(Box::new(told)));
    }

    fn tell_anew(&self, grows: Option<&Grows>) {
        if let Some(ToldAnew(told)) = &self.anew {
            told(grows);
        }
    }

    fn tell_unwitnessed(&self) {
        if let (Some(Told(told)), false) = (&self.unwitnessed, self.is_witnessed()) {
            told();
        }
    }

    /// Whether the file calls its last commit durable itself, so that damage to it is no torn commit. True of one
    /// that was not opened for writing.
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.witnessed + 1 == self.next_commit)
    }

    /// Has the file call its last commit durable, if it does not yet. One write in place and one fdatasync. The
    /// commit does not depend on it (E1, E2 of `docs/concurrency.md`).
    ///
    /// # Errors
    /// - [`NoSpace`](ManifestError::NoSpace): it may say nothing now; try again later.
    /// - [`Failed`](ManifestError::Failed): all further commits are refused.
    pub fn witness(&mut self) -> Result<(), ManifestError> {
        if self.poisoned || self.is_witnessed() {
            return Ok(());
        }
        let (through, log) = (self.next_commit - 1, self.log.as_mut().expect("one that was not opened is witnessed"));
        let witness = Witness::new(log.seed, through);
        let written = log.file.write_all_at(WITNESS_AT as u64, bytemuck::bytes_of(&witness));
        // A sync that failed is not tried again, whatever it says: nobody knows what it has dropped.
        let synced = |()| log.file.sync_data().map_err(WriteFailed::After);
        if let Err(failed) = written.map_err(WriteFailed::before).and_then(synced) {
            self.poisoned = !failed.nothing_written();
            return Err(failed.on_commit(&self.dir));
        }
        log.witnessed = through;
        Ok(())
    }

    /// Says beside the manifest that it ends with its last commit: an older copy that somebody puts in its place is told
    /// from it then (E8). For an opening that ends, and commits nothing more. Nothing is said where the last commit is
    /// not known to be durable, nor where the file system refuses: nobody may rely on it.
    pub fn note_closed(&self) {
        if self.log.is_none() || self.poisoned || !self.is_witnessed() {
            return;
        }
        let State { store_id, open_number, .. } = self.state;
        let closed = Closed { store_id, open_number, through: self.next_commit - 1 };
        let _ = closed.write(&*self.fs, &self.dir);
    }

    fn write(&mut self, state: &State, edits: &[u8], space: Space) -> Result<(), ManifestError> {
        let log = self.log.as_mut().expect("checked by the caller");
        let (mut failed, mut rewrite_at) = (None, log.rewrite_at);
        if log.end + edits.len() as u64 > rewrite_at {
            failed = match write_temp(&*self.fs, &self.dir, state, self.next_commit, space) {
                Ok(anew) => {
                    self.replace_by(anew)?;
                    self.tell_anew(None);
                    return Ok(());
                }
                // A longer file until there is space for a shorter one.
                Err(WriteFailed::NoSpace(cause)) if space == Space::AsIs => Some(cause),
                // What failed is another file than the one that counts, and is gone: that one goes on for a while more.
                Err(WriteFailed::Before(cause)) => {
                    rewrite_at = log.end + EDITS_BYTES_MAX;
                    Some(cause)
                }
                Err(failed) => return Err(failed.on_commit(&self.dir)),
            };
        }
        let commit = commit_bytes(log.seed, self.next_commit, edits);
        log.append(&commit, space).map_err(|failed| failed.on_commit(&self.dir))?;
        // Not before: where this is refused, too, nothing has grown, and the next commit tries both.
        log.rewrite_at = rewrite_at;
        let bytes = log.end;
        failed.into_iter().for_each(|cause| self.tell_anew(Some(&Grows { bytes, cause })));
        Ok(())
    }

    /// Puts what was written anew in the place of the file, if that is still this opening's: what another one put there
    /// would be lost.
    fn replace_by(&mut self, anew: Log) -> Result<(), ManifestError> {
        // Too few files that may be open are no failure: nothing was touched.
        let alone = self.owned.as_ref().map(|Owned(owned)| owned.alone()).transpose().map_err(|source| {
            drop_temp(&*self.fs, &self.dir, self.state.open_number);
            WriteFailed::before(source).on_commit(&self.dir)
        })?;
        if let Err(lost) = self.check_owner().and_then(|()| self.check_lock()) {
            drop_temp(&*self.fs, &self.dir, self.state.open_number);
            return Err(lost);
        }
        take_name(&*self.fs, &self.dir, self.state.open_number, &self.names)
            .map_err(|failed| failed.on_commit(&self.dir))?;
        drop(alone);
        self.log = Some(anew);
        Ok(())
    }

    /// The open number on disk must be ours: the lock is what excludes others, this is
    /// for the case that somebody forced it.
    fn check_owner(&self) -> Result<(), ManifestError> {
        let path = self.dir.join(FILE_NAME);
        let header = match load_header(&*self.fs, &path) {
            Ok(header) => header,
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ManifestError::io(&path, source)),
        };
        let found = header.map_or((0, 0), |h| (u128::from_le_bytes(h.store_id), h.open_number));
        if found == (self.state.store_id, self.state.open_number) {
            return Ok(());
        }
        Err(ManifestError::NotOwner { file: path, found: found.1, ours: self.state.open_number })
    }
}

impl Log {
    fn append(&mut self, commit: &[u8], space: Space) -> Result<(), WriteFailed> {
        let end = self.end + commit.len() as u64;
        if end + RESERVE_BYTES > self.allocated {
            let allocated = (end + RESERVE_BYTES).next_multiple_of(GROW_BYTES);
            match self.file.allocate(allocated).map_err(WriteFailed::before) {
                Ok(()) => self.allocated = allocated,
                Err(WriteFailed::NoSpace(_)) if space == Space::AsIs => {
                    // The commit alone, if not the reserve behind it.
                    let least = end.next_multiple_of(GROW_BYTES);
                    if least > self.allocated {
                        self.file.allocate(least).map_err(WriteFailed::before)?;
                        self.allocated = least;
                    }
                }
                Err(e) => return Err(e),
            }
        }
        // Allocated does not mean that there is space where pages are written elsewhere each time (btrfs). What a write
        // without it leaves is no commit: its checksum is wrong, and the next one begins at the same place. But if all that
        // it did not write are noughts, which lie there anyway, it is one: then it is made.
        if let Err(error) = self.file.write_all_at(self.end, commit) {
            let failed = WriteFailed::behind(error);
            if !failed.nothing_written() || !self.holds(commit).map_err(WriteFailed::After)? {
                return Err(failed);
            }
        }
        // A sync that failed is not tried again, whatever it says (P4).
        self.file.sync_data().map_err(WriteFailed::After)?;
        self.end = end;
        Ok(())
    }

    /// Whether the file holds `commit` where the next one begins, whoever wrote it.
    fn holds(&self, commit: &[u8]) -> io::Result<bool> {
        let mut there = vec![0; commit.len()];
        let n = self.file.read_at(self.end, &mut there)?;
        Ok(n == commit.len() && there == commit)
    }
}

/// Writes the manifest of a copy: what `state` says, but for the log, of which the copy needs nothing. The files of
/// the segments must be durable in `dir` already, and so must be the name of `dir`. Durable when this returns.
///
/// # Errors
/// [`ManifestError`]; the copy is no store then.
pub fn write_copy(fs: &Arc<dyn Fs>, dir: &Path, state: &State) -> Result<(), ManifestError> {
    let state = state.without_log();
    let written = write_temp(&**fs, dir, &state, 1, Space::AsIs);
    let named = written.and_then(|_| take_name(&**fs, dir, state.open_number, &Names::default()));
    named.map_err(|failed| failed.on_open(dir))
}

pub(super) fn commit_bytes(seed: u32, number: u64, edits: &[u8]) -> Vec<u8> {
    let header = CommitHeader { crc: 0, len: edits.len() as u32, number };
    let mut bytes = bytemuck::bytes_of(&header).to_vec();
    bytes.extend_from_slice(edits);
    let crc = commit_checksum(seed, &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(COMMIT_ALIGN as usize), 0);
    bytes
}

/// A manifest may be missing, but not where there is data that only it could explain.
fn refuse_orphans(fs: &dyn Fs, dir: &Path) -> Result<(), ManifestError> {
    for found in DATA_FOLDERS {
        match fs.list(&dir.join(found)) {
            Ok(names) if !names.is_empty() => {
                return Err(ManifestError::ManifestMissing { dir: dir.to_owned(), found });
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ManifestError::io(&dir.join(found), source)),
        }
    }
    Ok(())
}

/// 128 bits that no other store has: the keys that the standard library draws for its
/// hash maps come from the operating system's generator.
pub(super) fn random_id() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(0u64));
    half() << 64 | half()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;
    use crate::manifest::SegmentRef;
    use crate::model::{SeqNo, SeqRange, TimeRange, Timestamp};
    use crate::wal::codec_tests::documented_bytes;

    #[test]
    fn the_documented_example_is_what_is_written() {
        let fs = SimFs::new();
        let id = || 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
        let mut manifest = Manifest::open_or_create_with(Arc::new(fs.clone()), Path::new("d"), id).unwrap();
        let segment = SegmentRef {
            id: 0,
            seq_range: SeqRange { start: SeqNo(1), end: SeqNo(11) },
            time_range: TimeRange::new(Timestamp::from_nanos(-1), Timestamp::from_nanos(9)),
            late: true,
            bytes: 512,
            samples: 10,
            series: 2,
            level: 0,
        };
        manifest.commit(&[Edit::SegmentAdd(segment)]).unwrap();
        manifest.witness().unwrap();
        let written = fs.map(Path::new("d/MANIFEST")).unwrap().to_vec();
        let end = manifest.log.as_ref().unwrap().end as usize;
        assert_eq!(written[..end], documented_bytes(include_str!("../../../docs/format/manifest.md")));
    }
}
