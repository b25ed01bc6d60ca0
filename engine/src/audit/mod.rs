//! The audit log: one JSON line for each administrative act, in `audit.log`.
//!
//! Bounded: a file that would outgrow [`FILE_BYTES`] becomes `audit.log.1`, the one before `audit.log.2`, and so
//! on; the oldest of [`FILES_KEPT`] goes. A line is synced before the act counts as noted.

mod deletes;
mod entry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::Fs;

pub(crate) use deletes::Audited;
pub(crate) use entry::{Act, Entry};

use crate::sync::Mutex;

pub(crate) const FILE_NAME: &str = "audit.log";
/// A file is turned over before it grows beyond this.
const FILE_BYTES: u64 = 1 << 20;
/// Files beside the current one.
const FILES_KEPT: u32 = 3;

/// Appends to the audit log of one directory. Touches the disk only when there is something to note.
pub(crate) struct AuditLog {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file_bytes: u64,
    /// One line at a time.
    alone: Mutex<()>,
}

impl AuditLog {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned(), file_bytes: FILE_BYTES, alone: Mutex::new(()) }
    }

    /// Notes an act. A few hundred bytes and one fdatasync.
    ///
    /// # Errors
    /// What the operating system answers. Whether an act that cannot be noted is done all the same is for the
    /// caller to say: a delete is, so that a full disk can be emptied.
    pub(crate) fn record(&self, entry: Entry) -> io::Result<()> {
        let _alone = self.alone.lock().expect("audit lock");
        let path = self.dir.join(FILE_NAME);
        let mut line = entry.into_line();
        let (mut file, mut end, mut made) = self.open(&path)?;
        if end > 0 && end + line.len() as u64 > self.file_bytes {
            drop(file);
            self.turn_over(&path)?;
            (file, end, made) = self.open(&path)?;
        }
        let mut last = [b'\n'];
        if end > 0 {
            file.read_at(end - 1, &mut last)?;
        }
        if last != [b'\n'] {
            // A crash tore the line before: this one must not become part of it.
            line.insert(0, '\n');
        }
        file.write_all_at(end, line.as_bytes())?;
        file.sync_data()?;
        if made { self.fs.sync_dir(&self.dir) } else { Ok(()) }
    }

    /// The file, its length, and whether it is new.
    fn open(&self, path: &Path) -> io::Result<(Arc<dyn tidegauge_storage::fs::FsFile>, u64, bool)> {
        match self.fs.open(path) {
            Ok(file) => {
                let len = file.len()?;
                Ok((file, len, false))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((self.fs.create(path)?, 0, true)),
            Err(e) => Err(e),
        }
    }

    fn turn_over(&self, path: &Path) -> io::Result<()> {
        let older = |n: u32| self.dir.join(format!("{FILE_NAME}.{n}"));
        for n in (1..FILES_KEPT).rev() {
            match self.fs.rename(&older(n), &older(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.fs.rename(path, &older(1))
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::fs::sim::SimFs;

    use super::*;

    fn text(fs: &SimFs, name: &str) -> String {
        fs.map(Path::new(name)).map_or_else(|_| String::new(), |map| String::from_utf8_lossy(&map).into_owned())
    }

    #[test]
    fn lines_are_appended_survive_a_crash_and_are_bounded() {
        let fs = SimFs::new();
        let log = AuditLog { file_bytes: 2000, ..AuditLog::new(Arc::new(fs.clone()), Path::new("")) };
        for i in 0..200 {
            log.record(Entry::new(Act::Delete).number("nth", i)).unwrap();
        }
        let crashed = fs.crash(1);
        let files: Vec<String> =
            ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"].iter().map(|n| text(&crashed, n)).collect();
        assert!(files.iter().all(|f| (1..=2000).contains(&f.len())), "each is bounded and none is empty");
        assert_eq!(fs.list(Path::new("")).unwrap().len(), 4);
        let all = files.concat();
        let nths: Vec<&str> = all.lines().map(|l| l.split("\"nth\":").nth(1).unwrap()).collect();
        let first = 200 - nths.len();
        assert!(nths.iter().enumerate().all(|(i, n)| *n == format!("{}}}", first + i)), "in order, none missing");
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let fs = SimFs::new();
        fs.create(Path::new(FILE_NAME)).unwrap().write_all_at(0, b"{\"half").unwrap();
        AuditLog::new(Arc::new(fs.clone()), Path::new("")).record(Entry::new(Act::Unlock)).unwrap();
        let text = text(&fs, FILE_NAME);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().starts_with("{\"time\":"), "{text}");
    }
}
