//! A simulated disk whose operations on names somebody hears of: what he does then, others did between two of them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, FsFile, Map};

/// What is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    List,
    SyncDir,
    Create,
    OpenRead,
    /// To the path that is told.
    Rename,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

type Hook = dyn Fn(When, Call, &Path) + Send + Sync;

/// See the [module](self). Whoever uses the disk itself is not heard of.
pub(crate) struct Hooked {
    fs: SimFs,
    hook: Box<Hook>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").field(&self.fs).finish()
    }
}

impl Hooked {
    pub(crate) fn around(fs: &SimFs, hook: impl Fn(When, Call, &Path) + Send + Sync + 'static) -> Arc<dyn Fs> {
        Arc::new(Self { fs: fs.clone(), hook: Box::new(hook) })
    }

    fn heard<R>(&self, call: Call, path: &Path, done: impl FnOnce(&SimFs) -> R) -> R {
        (self.hook)(When::Before, call, path);
        let result = done(&self.fs);
        (self.hook)(When::After, call, path);
        result
    }
}

impl Fs for Hooked {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.heard(Call::List, dir, |fs| fs.list(dir))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.heard(Call::SyncDir, dir, |fs| fs.sync_dir(dir))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.heard(Call::Create, path, |fs| fs.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.fs.open(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.heard(Call::OpenRead, path, |fs| fs.open_read(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.heard(Call::Rename, to, |fs| fs.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.heard(Call::Remove, path, |fs| fs.remove(path))
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.remove_dir(dir)
    }
    fn map(&self, path: &Path) -> io::Result<Map> {
        self.fs.map(path)
    }
}
