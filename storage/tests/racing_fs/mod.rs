//! A disk as a reader sees it whom its owner overtakes: files and folders show something else at each look.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, FsFile, Map};

type Open = Box<dyn Fn(&Path) -> io::Result<Arc<dyn FsFile>> + Send + Sync>;
type List = Box<dyn Fn(&Path) -> io::Result<Vec<String>> + Send + Sync>;

/// What it shows is up to a test; whoever writes is no reader.
pub(crate) struct RacingFs {
    open: Open,
    list: List,
}

impl RacingFs {
    pub(crate) fn new(
        open: impl Fn(&Path) -> io::Result<Arc<dyn FsFile>> + Send + Sync + 'static,
        list: impl Fn(&Path) -> io::Result<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), list: Box::new(list) }
    }
}

/// A file that reads so.
pub(crate) fn shown(bytes: Vec<u8>) -> Arc<dyn FsFile> {
    Arc::new(Shown(bytes))
}

impl fmt::Debug for RacingFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RacingFs")
    }
}

impl Fs for RacingFs {
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        (self.open)(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        (self.list)(dir)
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn FsFile>> {
        unreachable!("a reader")
    }

    fn open(&self, _: &Path) -> io::Result<Arc<dyn FsFile>> {
        unreachable!("a reader")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn map(&self, _: &Path) -> io::Result<Map> {
        unreachable!("a reader")
    }
}

#[derive(Debug)]
struct Shown(Vec<u8>);

impl FsFile for Shown {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[self.0.len().min(offset as usize)..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn write_all_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        unreachable!("a reader")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("a reader")
    }
}
