//! A file that is allocated while there is space, so that deletes can be logged when there is none, and the store be
//! opened again: `docs/concurrency.md`, "A full disk".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::PAGE;
use crate::fs::{Fs, FsFile, is_exhausted};

/// How its name in the folder of the log begins: no epoch's, so that recovery does not take it for one. Behind it
/// stands the opening, so that nobody takes another one's.
const NAME: &str = ".reserve";
/// Its end, where no delete goes. An opening on a full disk cuts it off, for the manifest.
pub(super) const FOR_OPENING: u64 = 128 << 10;
/// What lies before, as much of it as there is space for. The most: room for some sixty deletes that are each waited
/// for, or three of the largest.
const FOR_DELETES: [u64; 6] = [256 << 10, LARGEST_DELETE, 64 << 10, 32 << 10, 16 << 10, 0];
/// Room for any delete.
const LARGEST_DELETE: u64 = 128 << 10;

/// The reserve. It stays open, so that using it needs no further file.
#[derive(Debug)]
pub(super) struct Reserve {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    capacity: u64,
}

impl Reserve {
    /// Allocates it in the folder of the log, or what is missing of `present`.
    ///
    /// # Errors
    /// What the operating system answers: there is none. Who writes nothing there need not be told.
    pub(super) fn take(present: Option<Self>, fs: &dyn Fs, dir: &Path, open_number: u32) -> io::Result<Self> {
        let mut reserve = match present {
            Some(present) => present,
            None => {
                let path = dir.join(format!("{NAME}.{open_number:08x}"));
                let file = match fs.create(&path) {
                    // One that had too little space could not be removed.
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs.open(&path)?,
                    created => created?,
                };
                Self { file, path, capacity: 0 }
            }
        };
        let sizes = FOR_DELETES.map(|bytes| FOR_OPENING + bytes);
        if reserve.capacity == sizes[0] {
            return Ok(reserve);
        }
        match allocate(&*reserve.file, sizes.into_iter().filter(|size| *size >= reserve.capacity)) {
            Ok(capacity) => reserve.capacity = capacity,
            Err(e) => {
                let _ = fs.remove(&reserve.path);
                return Err(e);
            }
        }
        Ok(reserve)
    }

    /// Whether a file in the folder of the log is one.
    pub(super) fn is_name(name: &str) -> bool {
        name.starts_with(NAME)
    }

    /// Removes the one that an earlier opening left: lost renames may have given it a second name that counts.
    /// Answers whether there was one.
    pub(super) fn give_up(fs: &dyn Fs, dir: &Path) -> bool {
        let left = fs.list(dir).unwrap_or_default().into_iter().filter(|name| Self::is_name(name));
        left.filter(|name| fs.remove(&dir.join(name)).is_ok()).count() > 0
    }

    /// Leaves one of this opening's for the next: room for a manifest of `manifest` bytes, and for any delete. What there
    /// is of it stays allocated; where there is no space for more, that is all. Others' go. Only while nobody writes the log.
    pub(super) fn leave(fs: &dyn Fs, dir: &Path, open_number: u32, manifest: u64) {
        let own = format!("{NAME}.{open_number:08x}");
        let others = fs.list(dir).unwrap_or_default().into_iter().filter(|name| Self::is_name(name) && *name != own);
        others.for_each(|name| drop(fs.remove(&dir.join(name))));
        let (path, least) = (dir.join(own), manifest.next_multiple_of(PAGE).max(FOR_OPENING));
        let leave = |file: &dyn FsFile| {
            let (held, wanted) = (file.len()?, least + LARGEST_DELETE);
            let left = if held < wanted {
                allocate(file, [wanted, least].into_iter().filter(|size| *size > held))
            } else {
                Ok(wanted)
            };
            // Gives back what is more, or what a failed try may have got hold of.
            file.set_len(left.unwrap_or(held))?;
            file.len()
        };
        let left = fs.open(&path).or_else(|_| fs.create(&path)).and_then(|file| leave(&*file));
        if !left.is_ok_and(|bytes| bytes > 0) {
            let _ = fs.remove(&path);
        }
    }

    /// Whether any delete has room, so that samples may go on.
    pub(super) fn is_ample(&self) -> bool {
        Self::would_be_ample(self.capacity)
    }

    /// The same of one of so many bytes.
    pub(super) fn would_be_ample(bytes: u64) -> bool {
        bytes >= FOR_OPENING + LARGEST_DELETE
    }

    /// What one of `held` bytes takes more, the most of it that there is space for: it goes down.
    pub(super) fn wants(held: u64) -> impl Iterator<Item = u64> {
        FOR_DELETES.into_iter().map(move |bytes| (FOR_OPENING + bytes).saturating_sub(held)).filter(|more| *more > 0)
    }

    /// Where it is tried whether there is space: a name that every opening and every close removes.
    pub(super) fn trial_path(dir: &Path) -> PathBuf {
        dir.join(format!("{NAME}.trial"))
    }

    /// Bytes of the file.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Gives it another name, to be written to.
    pub(super) fn become_file(&self, fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        fs.rename(&self.path, path)?;
        Ok(Arc::clone(&self.file))
    }
}

/// `wanted`, and less in some steps down to `least`.
pub(super) fn sizes(wanted: u64, least: u64) -> impl Iterator<Item = u64> {
    let less = move |size: &u64| (*size > least).then(|| (size / 4).next_multiple_of(PAGE).max(least));
    std::iter::successors(Some(wanted), less)
}

/// Allocates the first of `sizes` that there is space for; they go down.
pub(super) fn allocate(file: &dyn FsFile, sizes: impl IntoIterator<Item = u64>) -> io::Result<u64> {
    let mut full = None;
    for size in sizes {
        match file.allocate(size) {
            Ok(()) => {
                if full.is_some() {
                    // Gives back what a failed try may have got hold of.
                    file.set_len(size)?;
                }
                return Ok(size);
            }
            Err(e) if is_exhausted(&e) => full = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(full.unwrap_or_else(|| io::ErrorKind::StorageFull.into()))
}
