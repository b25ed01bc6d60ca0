//! A disk that refuses to read some pages of its files, for tests: reading them is EIO, and where they are mapped, SIGBUS.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Fs, FsFile, Map, MapMut, OsFs, mmap, unreadable};

/// The real file system, but for what was [spoiled](Self::spoil). Clones share that.
///
/// A test that maps with it needs a process that [survives](super::survive_unreadable_pages) it.
#[derive(Clone, Debug, Default)]
pub struct SpoiledFs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By file: the first and the last byte of whole pages, and what is behind.
    spoiled: BTreeMap<PathBuf, Vec<Range<usize>>>,
    /// Those that were made so far.
    maps: Vec<(PathBuf, Map)>,
}

impl SpoiledFs {
    /// Nothing is spoiled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the pages in which these bytes lie cannot be read, in maps that are there neither.
    ///
    /// # Errors
    /// What the operating system says; `Unsupported` on others than Linux.
    pub fn spoil(&self, path: &Path, bytes: Range<usize>) -> io::Result<()> {
        let page = unreadable::page_size();
        let pages = bytes.start / page * page..bytes.end.next_multiple_of(page);
        let mut state = self.state();
        for (_, map) in state.maps.iter().filter(|(mapped, _)| mapped == path) {
            mmap::spoil(map, pages.clone(), false)?;
        }
        state.spoiled.entry(path.to_owned()).or_default().push(pages);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spoiled(&self, path: &Path) -> Vec<Range<usize>> {
        self.state().spoiled.get(path).cloned().unwrap_or_default()
    }
}

impl Fs for SpoiledFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsFs.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.sync_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        OsFs.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(SpoiledFile { file: OsFs.open(path)?, spoiled: self.spoiled(path) }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        OsFs.open_append(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(SpoiledFile { file: OsFs.open_read(path)?, spoiled: self.spoiled(path) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)?;
        let mut state = self.state();
        let moved = state.spoiled.remove(from);
        state.spoiled.remove(to);
        state.spoiled.extend(moved.map(|pages| (to.to_owned(), pages)));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.hard_link(from, to)?;
        let pages = self.spoiled(from);
        self.state().spoiled.insert(to.to_owned(), pages);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)?;
        self.state().spoiled.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.remove_dir(dir)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let map = OsFs.map(path)?;
        self.spoiled(path).into_iter().try_for_each(|pages| mmap::spoil(&map, pages, false))?;
        self.state().maps.push((path.to_owned(), map.clone()));
        Ok(map)
    }

    fn map_to_mend(&self, path: &Path) -> io::Result<MapMut> {
        let map = OsFs.map_to_mend(path)?;
        self.spoiled(path).into_iter().try_for_each(|pages| mmap::spoil(&map, pages, true))?;
        Ok(map)
    }
}

#[derive(Debug)]
struct SpoiledFile {
    file: Arc<dyn FsFile>,
    spoiled: Vec<Range<usize>>,
}

impl FsFile for SpoiledFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = offset.saturating_add(buf.len() as u64);
        let meets = |pages: &Range<usize>| (pages.start as u64) < end && offset < pages.end as u64;
        if self.spoiled.iter().any(meets) {
            return Err(Errno::IO.into());
        }
        self.file.read_at(offset, buf)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
