//! Frames into files: one pwrite each, into space that was allocated before.

mod reserved;
mod space;
mod witness;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::Zeroable;

use super::encode::{FrameEncoder, Place};
use super::format::{FILE_MAGIC, FRAME_BYTES_MAX, FileHeader, PAGE, VERSION};
use super::reserve::{FOR_OPENING, Reserve, allocate, sizes};
use super::sync::SyncJob;
use super::types::{Epoch, FrameNo, GenerationId, WalError};
use crate::fs::{Fs, FsFile, is_exhausted};
use crate::model::SeqNo;

/// On a disk that is nearly full files are smaller, but not below this unless they are meant to be.
const FILE_BYTES_LEAST: u64 = 1 << 20;

/// How a [`WalWriter`] begins.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The store the files belong to.
    pub store_id: u128,
    /// This opening's number, as the manifest has it: above that of every file there is.
    pub open_number: u32,
    /// Number of the first frame: above every number ever used.
    pub first_frame: FrameNo,
    /// Bytes allocated for a file. Larger: fewer files to switch between. Smaller: less
    /// disk held by an idle store. A frame that does not fit gets a larger file; where the disk has
    /// no space for one, it gets a smaller one, down to 1 MiB.
    /// Default: [`Self::FILE_BYTES`] (64 MiB).
    pub file_bytes: u64,
    /// Files kept for reuse when they are not needed any more; others are removed. More
    /// spares: less work for the file system at high rates. Default: [`Self::SPARE_FILES`] (4).
    pub spare_files: usize,
    /// Take the reserve at once rather than with the first file: the disk was full, and has a little space now.
    pub reserve_at_once: bool,
}

impl WriterOptions {
    /// Default of [`file_bytes`](Self::file_bytes).
    pub const FILE_BYTES: u64 = 64 << 20;
    /// Default of [`spare_files`](Self::spare_files).
    pub const SPARE_FILES: usize = 4;

    /// The defaults, for this opening of this store.
    #[must_use]
    pub fn new(store_id: u128, open_number: u32, first_frame: FrameNo) -> Self {
        Self {
            store_id,
            open_number,
            first_frame,
            file_bytes: Self::FILE_BYTES,
            spare_files: Self::SPARE_FILES,
            reserve_at_once: false,
        }
    }
}

/// What the manifest has to know before older generations may be released: commit it as
/// [`Edit::WalRelease`](crate::manifest::Edit::WalRelease), then call
/// [`WalWriter::release_before`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalRelease {
    /// Files below this epoch are not needed any more.
    pub oldest_epoch: Epoch,
    /// The first frame that is still needed.
    pub next_frame: FrameNo,
    /// Frames up to this one are durable.
    pub synced_through: FrameNo,
}

/// Writes frames. One thread owns it; the waiting for the device is handed out as [`SyncJob`]s.
#[derive(Debug)]
pub struct WalWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WriterOptions,
    next_count: u32,
    next_frame: u64,
    /// Behind the last sample that was written.
    next_seq: SeqNo,
    synced_through: FrameNo,
    /// The generation written to, and those before that are not released: each with its first frame.
    generations: Vec<(GenerationId, FrameNo)>,
    current: Option<OpenFile>,
    /// The file before a rotation, while no other is begun.
    ended: Option<OpenFile>,
    /// The greatest frame that a frame, or a witness, calls durable.
    witnessed: FrameNo,
    /// See [`taken`](Self::taken).
    taken: u64,
    /// Files written before the current one, oldest first; still needed.
    closed: Vec<Epoch>,
    /// The newest of those let go of, oldest first: what is written over is the oldest of them.
    spares: VecDeque<Epoch>,
    /// For deletes on a full disk.
    reserve: Option<Reserve>,
    unsynced: Unsynced,
    poisoned: bool,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    epoch: Epoch,
    /// Where the next frame begins.
    at: u64,
    capacity: u64,
    /// It was the reserve: only deletes go there until there is another one, and not to its end.
    reserved: bool,
}

/// What the next sync job must cover.
#[derive(Debug, Default)]
struct Unsynced {
    closed: Vec<(Epoch, Arc<dyn FsFile>)>,
    /// New files, and the bytes that they keep.
    made: Vec<(Epoch, u64)>,
    frames: bool,
}

impl WalWriter {
    /// Begins writing in the folder `dir` (created if absent), in a first generation of
    /// this opening. Files that are there stay until [`release_before`](Self::release_before).
    /// Those below `oldest_epoch` (the manifest's) are free, and removed.
    ///
    /// No file is made before the first frame needs one.
    ///
    /// # Errors
    /// [`WalError::Io`] if the folder cannot be made or read, or holds a file of this or a
    /// later opening: the open number was not raised.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: impl Into<PathBuf>,
        oldest_epoch: Epoch,
        options: WriterOptions,
    ) -> Result<Self, WalError> {
        let dir = dir.into();
        let io = |e| WalError::io(&dir, e);
        fs.create_dir_all(&dir).map_err(io)?;
        // The folder's own name must survive before any file in it can.
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Err(e) = fs.sync_dir(above) {
            // It may have lost the name, which no later sync brings back: the next try is to make the folder anew. One that
            // has files of the log has a durable name; one that has the reserve alone may have none (`leave_reserve`).
            if fs.list(&dir).is_ok_and(|names| names.iter().all(|name| Reserve::is_name(name))) {
                Reserve::give_up(&*fs, &dir);
            }
            let _ = fs.remove_dir(&dir);
            return Err(io(e));
        }
        let present: Vec<Epoch> =
            fs.list(&dir).map_err(io)?.iter().filter_map(|name| Epoch::from_file_name(name)).collect();
        let first = GenerationId(Epoch::new(options.open_number, 0));
        if let Some(taken) = present.last().filter(|&&last| last >= first.0) {
            let path = dir.join(taken.file_name());
            return Err(WalError::io(&path, io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let mut writer = Self {
            fs,
            dir,
            next_count: 0,
            next_frame: options.first_frame.0.max(1),
            next_seq: SeqNo(0),
            synced_through: FrameNo(options.first_frame.0.max(1) - 1),
            generations: vec![(first, options.first_frame)],
            current: None,
            ended: None,
            witnessed: FrameNo(options.first_frame.0.max(1) - 1),
            taken: 0,
            closed: present,
            spares: VecDeque::new(),
            reserve: None,
            unsynced: Unsynced::default(),
            poisoned: false,
            options,
        };
        writer.free_below(oldest_epoch);
        // Where an earlier opening had one, the disk may be full by now: anew, but at once.
        if Reserve::give_up(&*writer.fs, &writer.dir) || writer.options.reserve_at_once {
            let _ = writer.take_reserve();
        }
        Ok(writer)
    }

    /// The generation that frames go to now. Series are defined anew in each.
    #[must_use]
    pub fn generation(&self) -> GenerationId {
        self.generations.last().expect("there is always one").0
    }

    /// The last frame written, or one below the first if there is none yet.
    #[must_use]
    pub fn last_frame(&self) -> FrameNo {
        FrameNo(self.next_frame - 1)
    }

    /// The greatest frame told to [`note_synced`](Self::note_synced).
    #[must_use]
    pub fn synced_through(&self) -> FrameNo {
        self.synced_through
    }

    /// Bytes of files that were taken up to now: by frames, by what is left out behind a [`sync_point`](Self::sync_point),
    /// which may be most of it, and by the beginnings of files.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Files that are needed or spare.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.closed.len() + self.spares.len() + usize::from(self.current.is_some())
    }

    /// Writes one frame with one pwrite, going on to a new file if the current one is full.
    /// When this returns, the frame has left the process; it is durable once a [`SyncJob`] made
    /// later has run.
    ///
    /// # Errors
    /// - [`WalError::NoSpace`]: nothing was written; append the same frame again later.
    /// - [`WalError::Failed`]: the writer refuses from here on.
    /// - [`WalError::Poisoned`]: it refused already.
    pub fn append(&mut self, frame: &mut FrameEncoder) -> Result<FrameNo, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let len = frame.frame_len();
        self.may_take_samples()?;
        if !self.has_room(len) {
            self.next_file(len)?;
        }
        self.write(frame, len)
    }

    /// The file that a frame of `len` bytes goes to; none if one is begun for it.
    #[must_use]
    pub fn file_for(&self, len: u64) -> Option<Epoch> {
        self.current.as_ref().filter(|_| self.has_room(len)).map(|open| open.epoch)
    }

    /// Bytes of a file, where there is space and no frame needs more.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.options.file_bytes
    }

    fn has_room(&self, len: u64) -> bool {
        let kept = |open: &OpenFile| if open.reserved { FOR_OPENING } else { 0 };
        self.current.as_ref().is_some_and(|open| bytes_for(open.at, len) + kept(open) <= open.capacity)
    }

    fn write(&mut self, frame: &mut FrameEncoder, len: u64) -> Result<FrameNo, WalError> {
        let generation = self.generation();
        let next_seq = SeqNo(frame.first_seq().0 + frame.len() as u64);
        let open = self.current.as_mut().expect("just seen to");
        let number = FrameNo(self.next_frame);
        let bytes = frame.seal(&Place {
            store_id: self.options.store_id,
            epoch: open.epoch,
            frame: number,
            synced_through: self.synced_through,
            generation,
        });
        if let Err(source) = open.file.write_all_at(open.at, bytes) {
            self.poisoned = true;
            return Err(WalError::Failed { file: open.path.clone(), source });
        }
        open.at += len;
        self.taken += len;
        self.next_seq = next_seq;
        self.next_frame += 1;
        self.unsynced.frames = true;
        self.witnessed = self.synced_through;
        Ok(number)
    }

    /// The job that makes all frames written so far durable, or `None` if the last job
    /// covers them. The next frame begins a new page, so that writing it cannot tear
    /// what the job makes durable.
    pub fn sync_point(&mut self) -> Option<SyncJob> {
        if !self.unsynced.frames || self.poisoned {
            return None;
        }
        let unsynced = mem::take(&mut self.unsynced);
        let mut files: Vec<_> = unsynced.closed.into_iter().map(|(_, file)| file).collect();
        if let Some(open) = &mut self.current {
            let at = open.at.next_multiple_of(PAGE);
            self.taken += at - open.at;
            open.at = at;
            files.push(Arc::clone(&open.file));
        }
        Some(SyncJob {
            fs: Arc::clone(&self.fs),
            files,
            made: unsynced.made,
            dir: self.dir.clone(),
            through: self.last_frame(),
        })
    }

    /// Tells that a [`SyncJob`] up to this frame, and all before it, have succeeded. Later
    /// frames carry the number, and recovery takes them as witness.
    pub fn note_synced(&mut self, through: FrameNo) {
        debug_assert!(through <= self.last_frame());
        self.synced_through = self.synced_through.max(through);
    }

    /// Refuses all further frames: a [`SyncJob`] has failed, or another part of the engine did.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Begins a new generation with the next frame, in a file of its own. O(1), no I/O.
    ///
    /// No file has the epoch that it is called by; its first file has the next one, by which a survey knows it.
    pub fn rotate(&mut self) -> GenerationId {
        self.ended = self.close_current();
        let epoch = self.take_epoch();
        let generation = GenerationId(epoch);
        self.generations.push((generation, FrameNo(self.next_frame)));
        generation
    }

    /// What to commit to the manifest when all that was logged before `first_needed` is in segments.
    ///
    /// # Panics
    /// In debug builds, if `first_needed` is not a generation of this writer's.
    #[must_use]
    pub fn release_edit(&self, first_needed: GenerationId) -> WalRelease {
        let known = self.generations.iter().find(|(generation, _)| *generation == first_needed);
        debug_assert!(known.is_some(), "not a generation of this writer's");
        // Without a match, free nothing: the oldest generation stands for the one meant.
        let (generation, next_frame) = *known.unwrap_or(&self.generations[0]);
        WalRelease { oldest_epoch: generation.0, next_frame, synced_through: self.synced_through }
    }

    /// Frees the files of all generations before `first_needed`, those of earlier openings
    /// included: some of this opening's are kept for reuse, others removed. Call it only after [`release_edit`](Self::release_edit)'s answer is durable in the manifest.
    /// What cannot be removed stays as it is until the next opening.
    pub fn release_before(&mut self, first_needed: GenerationId) {
        self.generations.retain(|(generation, _)| *generation >= first_needed);
        if self.generations.is_empty() {
            debug_assert!(false, "not a generation of this writer's");
            self.generations.push((first_needed, FrameNo(self.next_frame)));
        }
        self.free_below(first_needed.0);
    }

    /// Files of earlier openings are never reused: a power loss between renames may have
    /// left two names for one file, the other being needed.
    fn free_below(&mut self, oldest: Epoch) {
        // It may be written anew under another name.
        self.ended.take_if(|ended| ended.epoch < oldest);
        // What they hold is in segments: no sync is needed, however long the next one is away.
        self.unsynced.closed.retain(|(epoch, _)| *epoch >= oldest);
        self.unsynced.made.retain(|(epoch, _)| *epoch >= oldest);
        let closed = mem::take(&mut self.closed);
        for epoch in closed {
            if epoch >= oldest {
                self.closed.push(epoch);
            } else if epoch.open_number() == self.options.open_number {
                self.spares.push_back(epoch);
            } else {
                let _ = self.fs.remove(&self.path(epoch));
            }
        }
        // The newest stay: should the manifest be lost, what they hold joins what is still needed.
        while self.spares.len() > self.options.spare_files {
            let Some(epoch) = self.spares.pop_front() else { return };
            let _ = self.fs.remove(&self.path(epoch));
        }
    }

    fn path(&self, epoch: Epoch) -> PathBuf {
        self.dir.join(epoch.file_name())
    }

    fn take_epoch(&mut self) -> Epoch {
        let epoch = Epoch::new(self.options.open_number, self.next_count);
        self.next_count = self.next_count.checked_add(1).expect("2^32 files of one opening would be 256 PiB");
        epoch
    }

    /// Takes back the number that was given last, of which there is no file. So the first file of a generation has the
    /// number behind the generation's, by which a survey knows it (SV4).
    fn give_back(&mut self, epoch: Epoch) {
        debug_assert_eq!(Epoch::new(self.options.open_number, self.next_count - 1), epoch, "it was the last");
        self.next_count -= 1;
    }

    fn close_current(&mut self) -> Option<OpenFile> {
        let open = self.current.take()?;
        if self.unsynced.frames {
            self.unsynced.closed.push((open.epoch, Arc::clone(&open.file)));
        }
        self.closed.push(open.epoch);
        Some(open)
    }

    /// Puts a file with room for a frame of `len` bytes in place of the current one. On
    /// `NoSpace` nothing has changed, but that an epoch is taken where an empty file stays.
    fn next_file(&mut self, len: u64) -> Result<(), WalError> {
        let epoch = self.take_epoch();
        let path = self.path(epoch);
        let least = bytes_for(PAGE, len).max(FILE_BYTES_LEAST.min(self.options.file_bytes)).next_multiple_of(PAGE);
        let wanted = self.options.file_bytes.next_multiple_of(PAGE).max(least);
        debug_assert!(len <= FRAME_BYTES_MAX as u64);
        let _ = self.take_reserve();
        match self.prepare(epoch, &path, wanted, least) {
            Ok((file, capacity)) => {
                self.go_on_in(OpenFile { file, path, epoch, at: PAGE, capacity, reserved: false });
                Ok(())
            }
            Err(source) if is_exhausted(&source) => {
                // No frame went there, so its name may go. If it stays, it is an empty file, and its number is taken.
                match self.fs.remove(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {}
                    _ => self.give_back(epoch),
                }
                Err(WalError::NoSpace { file: path, source })
            }
            Err(source) => {
                self.poisoned = true;
                Err(WalError::Failed { file: path, source })
            }
        }
    }

    fn go_on_in(&mut self, file: OpenFile) {
        self.close_current();
        self.ended = None;
        self.taken += file.at;
        // What was the reserve may be cut down to what it holds.
        self.unsynced.made.push((file.epoch, if file.reserved { 0 } else { file.capacity }));
        self.current = Some(file);
    }

    /// Space first, then the header on a page of its own. Answers the file's capacity too: where
    /// there is no space for what is `wanted`, less, down to `least`.
    fn prepare(&mut self, epoch: Epoch, path: &Path, wanted: u64, least: u64) -> io::Result<(Arc<dyn FsFile>, u64)> {
        let file = if self.rename_spare(path)? { self.fs.open(path)? } else { self.fs.create(path)? };
        let capacity = allocate(&*file, sizes(wanted, least))?;
        self.write_header(&*file, epoch)?;
        Ok((file, capacity))
    }

    /// Gives a kept file the name, if there is one. One that is gone was nobody's.
    fn rename_spare(&mut self, path: &Path) -> io::Result<bool> {
        while let Some(spare) = self.spares.pop_front() {
            match self.fs.rename(&self.path(spare), path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                renamed => return renamed.map(|()| true),
            }
        }
        Ok(false)
    }

    fn write_header(&self, file: &dyn FsFile, epoch: Epoch) -> io::Result<()> {
        let header = FileHeader {
            magic: FILE_MAGIC,
            version: VERSION,
            store_id: self.options.store_id.to_le_bytes(),
            epoch: epoch.0,
            generation: self.generation().0.0,
            first_frame: self.next_frame,
            synced_through: self.synced_through.0,
            ..FileHeader::zeroed()
        };
        let mut page = [0u8; PAGE as usize];
        page[..size_of::<FileHeader>()].copy_from_slice(bytemuck::bytes_of(&header.sealed()));
        file.write_all_at(0, &page)
    }
}

/// Bytes that a file must have for a frame of `len` bytes at `at`, and a page for a witness behind it.
fn bytes_for(at: u64, len: u64) -> u64 {
    (at + len).next_multiple_of(PAGE) + PAGE
}

/// Gives the reserve of a log back, so that a store can be opened on a full disk. Answers whether there was one. Only
/// while nobody writes the log.
pub fn give_up_reserve(fs: &dyn Fs, dir: &Path) -> bool {
    Reserve::give_up(fs, dir)
}

/// Leaves a reserve in the folder of the log, made if need be, for an opening that finds the disk full: room for a manifest
/// of `manifest` bytes and for some deletes, 256 KiB at least. Best effort: where there is no space, less or none. Only
/// while nobody writes the log, and by who owns the store as its opening `open_number`.
pub fn leave_reserve(fs: &dyn Fs, dir: &Path, open_number: u32, manifest: u64) {
    if fs.create_dir_all(dir).is_ok() {
        Reserve::leave(fs, dir, open_number, manifest);
    }
}
