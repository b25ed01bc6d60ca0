//! A small file that is allocated while there is space, so that a delete can be logged when there is none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::PAGE;
use crate::fs::{Fs, FsFile, is_exhausted};

/// Its name in the folder of the log: no epoch's, so that recovery does not take it for one.
const NAME: &str = ".reserve";
/// Room for some sixty deletes that are each waited for, or one of the largest.
const BYTES: u64 = 256 << 10;
/// Where there is not so much, less: room for the largest delete.
const BYTES_LEAST: u64 = 128 << 10;

/// The reserve. It stays open, so that using it needs no further file.
#[derive(Debug)]
pub(super) struct Reserve {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    capacity: u64,
}

impl Reserve {
    /// Allocates it in the folder of the log. `None` where the disk has no space for it, or fails: whoever writes
    /// there will be told.
    pub(super) fn take(fs: &dyn Fs, dir: &Path) -> Option<Self> {
        let path = dir.join(NAME);
        let file = fs.create(&path).ok()?;
        match allocate(&*file, BYTES, BYTES_LEAST) {
            Ok(capacity) => Some(Self { file, path, capacity }),
            Err(_) => {
                let _ = fs.remove(&path);
                None
            }
        }
    }

    /// Removes the one that an earlier opening left: lost renames may have given it a second name that counts.
    /// Answers whether there was one.
    pub(super) fn give_up(fs: &dyn Fs, dir: &Path) -> bool {
        fs.remove(&dir.join(NAME)).is_ok()
    }

    /// Gives it another name, to be written to. Answers its capacity too.
    pub(super) fn become_file(self, fs: &dyn Fs, path: &Path) -> io::Result<(Arc<dyn FsFile>, u64)> {
        fs.rename(&self.path, path)?;
        Ok((self.file, self.capacity))
    }
}

/// Allocates `wanted` bytes, or as many as there is space for in some steps down to `least`.
pub(super) fn allocate(file: &dyn FsFile, wanted: u64, least: u64) -> io::Result<u64> {
    let mut capacity = wanted;
    loop {
        match file.allocate(capacity) {
            Ok(()) if capacity == wanted => return Ok(capacity),
            Ok(()) => {
                // Gives back what a failed try may have got hold of.
                file.set_len(capacity)?;
                return Ok(capacity);
            }
            Err(e) if is_exhausted(&e) && capacity > least => {
                capacity = (capacity / 4).next_multiple_of(PAGE).max(least);
            }
            Err(e) => return Err(e),
        }
    }
}
