//! All access to files goes through [`Fs`], so that a test can put a failing disk in its place.

mod above;
mod mem;
mod mmap;
mod os;
pub mod sim;
pub mod spoiled;
mod unreadable;

use std::fmt::Debug;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;
use std::sync::Arc;

pub use above::make_dir;
pub use mem::MemFs;
pub use os::OsFs;
use rustix::io::Errno;
pub use unreadable::{survive_unreadable_pages, unreadable_pages};

use mmap::Mapped;
use unreadable::Lost;

/// What is left to do of a sync of a folder: see [`Fs::ready_to_sync`].
pub type SyncNames<'a> = Box<dyn FnOnce() -> io::Result<()> + 'a>;

/// A file system. [`OsFs`] is the real one.
///
/// A name is durable only after [`sync_dir`](Fs::sync_dir) on its folder, a content only
/// after [`sync_data`](FsFile::sync_data) on its file: nothing here syncs by itself.
pub trait Fs: Send + Sync + Debug {
    /// Creates a folder and those above it. Present folders are fine.
    ///
    /// # Errors
    /// What the operating system answers, as for every method here.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names (not paths) of the entries of a folder, sorted.
    ///
    /// # Errors
    /// As above.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in `dir` durable as they are now.
    ///
    /// # Errors
    /// As above.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// As [`sync_dir`](Self::sync_dir), in two steps: what has to be opened for it is open when this returns. So whoever is
    /// about to change a name that counts finds out before that no more files may be open, and not behind it. What is
    /// answered makes the names durable as they are when it is called.
    ///
    /// # Errors
    /// As above; no sync has failed then.
    fn ready_to_sync<'a>(&'a self, dir: &'a Path) -> io::Result<SyncNames<'a>> {
        Ok(Box::new(move || self.sync_dir(dir)))
    }

    /// Creates a new file for reading and writing; `AlreadyExists` if the name is taken.
    ///
    /// # Errors
    /// As above.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// As above.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;

    /// As [`open`](Self::open), and each write goes behind what is there when it comes, wherever it is said to go: two
    /// processes that write at once do not overwrite one another. A file system that one process has may do without.
    ///
    /// # Errors
    /// As above.
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.open(path)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As above.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;

    /// Renames, replacing what has the new name. Where folders are kept, one replaces nothing but an empty one.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a further name; `AlreadyExists` if that is taken. Only for files that nobody writes any more.
    ///
    /// # Errors
    /// As above; `Unsupported` where the file system has no such thing.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file's name. Maps and open files keep its bytes.
    ///
    /// # Errors
    /// As above.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// As above; `Unsupported` where folders are not kept.
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Maps a file that nobody will write or truncate any more (a sealed segment).
    ///
    /// # Errors
    /// As above.
    fn map(&self, path: &Path) -> io::Result<Map>;

    /// As [`map`](Self::map), for bytes that are put right in memory: nothing of it reaches the file.
    ///
    /// # Errors
    /// As above.
    fn map_to_mend(&self, path: &Path) -> io::Result<MapMut> {
        let map = self.map(path)?;
        Ok(MapMut::copy_of(&map, map.len()))
    }
}

/// Whether an error says that something has run out that comes back: space on the disk, or
/// files that may be open. Where it comes from opening, creating or allocating, nothing was written.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) || is_out_of_files(error)
}

/// Whether an error says that no more files may be open: it comes from opening one, never from
/// reading, writing or syncing it.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whether an error of mapping a file says that the process may map no more: memory, addresses (`ulimit -v`) or the number of
/// its maps (`vm.max_map_count`) have run out, and come back. Nothing is said of the file. Of a write or a sync it says that
/// this has failed, as any other error does.
#[must_use]
pub fn is_out_of_memory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}

/// Whether an error of reading says that the device, or the file system by its checksums, has lost what lies there: other
/// bytes of the file may be readable. Errors that may pass by themselves (a server that does not answer, memory that is
/// short) are none of these.
#[must_use]
pub fn is_unreadable(error: &io::Error) -> bool {
    #[cfg(target_os = "linux")]
    const CODES: [Errno; 6] = [Errno::IO, Errno::BADMSG, Errno::ILSEQ, Errno::UCLEAN, Errno::NODATA, Errno::REMOTEIO];
    #[cfg(not(target_os = "linux"))]
    const CODES: [Errno; 2] = [Errno::IO, Errno::ILSEQ];
    error.raw_os_error().is_some_and(|code| CODES.map(Errno::raw_os_error).contains(&code))
}

/// Whether an error of locking says that the file system has no locks, or that who keeps them for it (NFS) does not answer.
#[must_use]
pub fn is_without_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(Errno::NOLCK.raw_os_error())
}

/// What to mend about an error, to be told behind it.
#[must_use]
pub fn what_to_mend(error: &io::Error) -> &'static str {
    if is_out_of_files(error) {
        "raise the limit of open files (`ulimit -n`; of the whole machine: `fs.file-max`)"
    } else if is_exhausted(error) {
        "make space on the disk"
    } else if error.kind() == io::ErrorKind::FileTooLarge {
        "raise the limit on the size of a file (`ulimit -f`; file systems have one of their own)"
    } else if is_out_of_memory(error) {
        "free some memory, or raise the limits (`ulimit -v`, `vm.max_map_count`)"
    } else {
        "mend that"
    }
}

/// An open file. Positions are explicit, so one handle serves several threads.
pub trait FsFile: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    /// What the operating system answers, as for every method here.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As above. Part of the bytes may have been written.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until content (and length) survive a power loss: `fdatasync`.
    ///
    /// # Errors
    /// As above. After an error nothing is known about what was written since the last
    /// success, and a second try proves nothing: do not retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space for the first `len` bytes, so that writing there cannot run out of it.
    /// The length of the file becomes at least `len`; new bytes read as zero.
    ///
    /// # Errors
    /// As above: `StorageFull` if there is no space. The file is as before then.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes.
    ///
    /// # Errors
    /// As above.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As above.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// As above.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The first `most` bytes of a file, or all it has: a file may be cut while it is read.
///
/// # Errors
/// What the operating system answers.
pub fn read_up_to(file: &dyn FsFile, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()?.min(most) as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(done as u64, &mut bytes[done..])? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// The bytes of an immutable file. Cheap to clone; unmapped with the last clone.
///
/// Where the process [survives](survive_unreadable_pages) pages that cannot be read, they read as zeros, and the map
/// knows: who hands out what he has read asks it behind the reading.
#[derive(Clone, Debug)]
pub struct Map {
    kind: MapKind,
    /// Beside the kind, for it is asked often.
    lost: Arc<Lost>,
}

#[derive(Clone, Debug)]
enum MapKind {
    File(Arc<Mapped<memmap2::Mmap>>),
    /// Pages that were written to are copies. So many of the first bytes.
    Mended(Arc<Mapped<memmap2::MmapMut>>, usize),
    /// For file systems that live in memory.
    Bytes(Arc<AlignedBytes>),
}

/// Bytes that start at an address divisible by 8, as those of a mapped file do.
#[derive(Debug)]
struct AlignedBytes {
    words: Vec<u64>,
    len: usize,
}

impl Map {
    /// A map of bytes in memory, for file systems that have no real files.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        MapMut::copy_of(bytes, bytes.len()).freeze()
    }

    /// Times that a page of it could not be read so far. As long as it is 0, or what it was before the reading, everything
    /// that was read lies in the file.
    #[must_use]
    #[inline]
    pub fn losses(&self) -> u64 {
        self.lost.faults()
    }

    /// Whether any of these bytes lies in a page that could not be read: it reads as zeros.
    #[must_use]
    #[inline]
    pub fn is_lost(&self, bytes: &Range<usize>) -> bool {
        self.lost.any() && self.lost.covers(bytes)
    }

    /// The first page of these bytes that could not be read, with its neighbours that could not either.
    #[must_use]
    pub fn lost_run(&self, bytes: &Range<usize>) -> Option<Range<usize>> {
        self.lost.run(bytes)
    }

    /// The pages that could not be read so far, neighbours together.
    #[must_use]
    pub fn lost_ranges(&self) -> Vec<Range<usize>> {
        self.lost.ranges()
    }

    /// Where the page begins that could not be read, the last of several.
    #[must_use]
    pub fn last_lost(&self) -> usize {
        self.lost.last()
    }

    /// As where all of it is given up, before zeros take its place.
    #[cfg(test)]
    pub(crate) fn begin_to_give_up(&self) {
        self.lost.note_all();
    }

    /// Reads something of each page, so that it is known which of them cannot be read. O(pages).
    pub fn touch(&self) {
        touch(self);
    }
}

fn touch(bytes: &[u8]) {
    for page in bytes.chunks(unreadable::page_size()) {
        // Looked at by nobody, so that it is read at all.
        std::hint::black_box(page[0]);
    }
}

/// The count of one map.
#[derive(Debug)]
pub(crate) struct Losses(Arc<Lost>);

impl Losses {
    /// As [`Map::losses`].
    pub(crate) fn count(&self) -> u64 {
        self.0.faults()
    }
}

/// The bytes of a file, of which some are put right before anybody reads them.
#[derive(Debug)]
pub struct MapMut(MapMutKind);

#[derive(Debug)]
enum MapMutKind {
    /// So many of the first bytes.
    File(Mapped<memmap2::MmapMut>, usize),
    Bytes(AlignedBytes),
}

impl MapMut {
    fn copy_of(bytes: &[u8], len: usize) -> Self {
        let mut words = vec![0u64; len.div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self(MapMutKind::Bytes(AlignedBytes { words, len }))
    }

    /// The same with another length: cut, which copies nothing, or filled up with zeros, for which all of it is copied to
    /// memory.
    #[must_use]
    pub fn with_len(self, len: usize) -> Self {
        if len > self.len() {
            return Self::copy_of(&self, len);
        }
        Self(match self.0 {
            MapMutKind::File(map, _) => MapMutKind::File(map, len),
            MapMutKind::Bytes(bytes) => MapMutKind::Bytes(AlignedBytes { len, ..bytes }),
        })
    }

    /// As [`Map::touch`].
    pub fn touch(&self) {
        touch(self);
    }

    /// What counts how often a page of the file could not be read, whatever becomes of this.
    pub(crate) fn losses(&self) -> Losses {
        Losses(match &self.0 {
            MapMutKind::File(map, _) => Arc::clone(map.watched.lost()),
            MapMutKind::Bytes(_) => unreadable::nothing(),
        })
    }

    /// From now on it is read only.
    #[must_use]
    pub fn freeze(self) -> Map {
        match self.0 {
            MapMutKind::File(map, len) => {
                Map { lost: Arc::clone(map.watched.lost()), kind: MapKind::Mended(Arc::new(map), len) }
            }
            MapMutKind::Bytes(bytes) => Map { lost: unreadable::nothing(), kind: MapKind::Bytes(Arc::new(bytes)) },
        }
    }
}

impl Deref for MapMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            MapMutKind::File(map, len) => &map.bytes[..*len],
            MapMutKind::Bytes(bytes) => bytes.get(),
        }
    }
}

impl DerefMut for MapMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            MapMutKind::File(map, len) => &mut map.bytes[..*len],
            MapMutKind::Bytes(bytes) => &mut bytemuck::cast_slice_mut(&mut bytes.words)[..bytes.len],
        }
    }
}

impl AlignedBytes {
    fn get(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.kind {
            MapKind::File(map) => &map.bytes,
            MapKind::Mended(map, len) => &map.bytes[..*len],
            MapKind::Bytes(bytes) => bytes.get(),
        }
    }
}
