//! The audit log: one JSON line for each administrative act, in `audit.log`.
//!
//! Bounded: a file that would outgrow [`FILE_BYTES`] becomes `audit.log.1`, the one before `audit.log.2`, and so
//! on; the oldest of [`FILES_KEPT`] goes. A line is synced before the act counts as noted.
//!
//! Two processes may write at once. They lock the file, each for its line, so that no file is turned over twice. Where
//! that cannot be had, lines are appended all the same, none over another one; a file that stays locked is turned over
//! when it has twice the bytes.

mod deletes;
mod entry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, FsFile};
use tidegauge_storage::manifest::{Manifest, Names};

pub(crate) use deletes::{Audited, newest};
pub(crate) use entry::{Act, Entry};

use crate::lock;
use crate::recovery::quarantine::copy;
use crate::sync::Mutex;

pub(crate) const FILE_NAME: &str = "audit.log";
/// A file is turned over before it grows beyond this.
const FILE_BYTES: u64 = 1 << 20;
/// Files beside the current one.
const FILES_KEPT: u32 = 3;

/// How often it is tried to lock the file, 5 ms apart. Whoever writes a line holds it for some milliseconds; a machine
/// that died may hold it for ever, and must hold up nobody for long.
const TRIES: u32 = 400;

/// Appends to the audit log of one directory. Touches the disk only when there is something to note.
pub(crate) struct AuditLog {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file_bytes: u64,
    /// One line at a time. Whether a sync of the file, or of its name, has failed: what it lost of it no later one brings
    /// back.
    alone: Mutex<bool>,
    /// Other processes may write, too: how often to try to lock the file.
    tries: Option<u32>,
    /// Others that give names in the directory.
    names: Arc<Names>,
}

impl AuditLog {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            file_bytes: FILE_BYTES,
            alone: Mutex::new(false),
            tries: None,
            names: Arc::default(),
        }
    }

    /// On a disk where other processes may write to it at the same time: who forces the lock, or goes on without one.
    pub(crate) fn beside_others(self) -> Self {
        Self { tries: Some(TRIES), ..self }
    }

    /// Of a store whose manifest may be put in the place of the one before at the same time.
    pub(crate) fn beside_manifest(self, manifest: &Manifest) -> Self {
        Self { names: manifest.names(), ..self }
    }

    /// Notes an act. A few hundred bytes, one fdatasync, and one of the folder: who made the file may not have synced
    /// its name yet.
    ///
    /// # Errors
    /// What the operating system answers. Whether an act that cannot be noted is done all the same is for the
    /// caller to say: a delete is, so that a full disk can be emptied.
    pub(crate) fn record(&self, entry: Entry) -> io::Result<()> {
        let mut is_unsure = self.alone.lock().expect("audit lock");
        let path = self.dir.join(FILE_NAME);
        let mut line = entry.into_line();
        loop {
            // Which file has the name, and what it ends with, stays as it is meanwhile.
            let locked = self.tries.map(|tries| lock::hold(&path, tries).ok().flatten());
            if *is_unsure {
                self.make_anew(&path)?;
                *is_unsure = false;
                // What is locked is the file before.
                continue;
            }
            // Nobody turns over what another one is writing to, unless that one holds it for ever.
            let most = if matches!(locked, Some(None)) { 2 * self.file_bytes } else { self.file_bytes };
            // Too few files that may be open fail no sync, and are told before anything is written.
            let sync_names = self.fs.ready_to_sync(&self.dir)?;
            let failures = self.names.failures();
            let file = self.open(&path)?;
            let end = file.len()?;
            if end > 0 && end + line.len() as u64 > most {
                self.turn_over(&path)?;
                continue;
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
            let written = file.sync_data();
            let synced = written.and_then(|()| self.names.sync_since(failures, sync_names));
            if synced.is_err() {
                // At once, for the next process as well; or before the next line, which is not written as long as there is
                // no room for it: to turn the file over each time would take a file of lines for each that is lost.
                *is_unsure = self.make_anew(&path).is_err();
            }
            return synced;
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        match self.fs.open_append(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match self.fs.create(path) {
            // Somebody else made it meanwhile.
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => self.fs.open_append(path),
        }
    }

    /// The same lines in a new file: what is written to it from now on is not lost with what a sync that failed had lost.
    fn make_anew(&self, path: &Path) -> io::Result<()> {
        match copy(&*self.fs, path, path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            copied => copied.map(drop),
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
    use tidegauge_storage::fs::OsFs;
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

    /// What a failed sync had lost, of the file or its name, no later one brought back: the lines behind it were gone with it,
    /// or stood behind noughts in a line that nobody reads.
    #[test]
    fn a_line_behind_one_that_could_not_be_made_durable_survives() {
        for (before, sync) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
            let fs = SimFs::new();
            let log = AuditLog::new(Arc::new(fs.clone()), Path::new(""));
            let record = |nth| log.record(Entry::new(Act::Delete).number("nth", nth));
            (0..before).for_each(|nth| record(nth).unwrap());
            fs.fail_sync_at(fs.syncs() + sync);
            record(7).unwrap_err();
            record(8).unwrap();
            for seed in 0..24 {
                let text = text(&fs.crash(seed), FILE_NAME);
                let has =
                    |nth: u64| text.lines().any(|line| line.starts_with("{") && line.ends_with(&format!(":{nth}}}")));
                assert!(has(8) && (0..before).all(has), "{before} before, sync {sync}, {seed}: {text}");
            }
        }
    }

    /// Each line that could not be synced, and that there was no room to copy, turned the file over: four of them took all the
    /// lines there were.
    #[test]
    fn a_full_disk_takes_no_line_that_was_there() {
        let fs = SimFs::new();
        let log = AuditLog::new(Arc::new(fs.clone()), Path::new(""));
        let record = |nth| log.record(Entry::new(Act::Delete).number("nth", nth));
        (0..20).for_each(|nth| record(nth).unwrap());
        let check = |last: u64| {
            for disk in std::iter::once(fs.kill()).chain((0..16).map(|seed| fs.crash(seed))) {
                let all =
                    ["audit.log.3", "audit.log.2", "audit.log.1", FILE_NAME].map(|name| text(&disk, name)).concat();
                let has = |nth| all.lines().any(|line| line.starts_with('{') && line.ends_with(&format!(":{nth}}}")));
                assert!((0..20).all(has) && (last < 20 || has(last)), "{last}: {all}");
            }
        };
        for nth in 20..25 {
            // Room for a line, and none for another file.
            let bytes: u64 = fs.files().iter().map(|(_, bytes)| bytes).sum();
            fs.set_capacity(Some(bytes + 200));
            fs.fail_sync_at(fs.syncs() + 1);
            record(nth).unwrap_err();
            check(0);
        }
        fs.set_capacity(None);
        fs.restart();
        record(25).unwrap();
        check(25);
    }

    /// The sync of the audit log's name failed between the renaming of a manifest and the sync behind that, which succeeded:
    /// the commit was answered, and a power loss brought the manifest before it back.
    #[test]
    fn p5_a_commit_is_not_durable_whose_name_a_sync_of_somebody_else_has_lost() {
        use std::sync::OnceLock;

        use tidegauge_storage::manifest::{Edit, ManifestError, Metadata};

        use crate::hooked::{Call, Hooked, When};

        let (fs, dir) = (SimFs::new(), Path::new("d"));
        let log = Arc::new(OnceLock::<AuditLog>::new());
        let (disk, noting) = (fs.clone(), Arc::clone(&log));
        let hooked = Hooked::around(&fs, move |when, call, path| {
            if (when, call) == (When::After, Call::Rename)
                && path.ends_with("MANIFEST")
                && let Some(log) = noting.get()
            {
                // The one of the folder, behind that of the file.
                disk.fail_sync_at(disk.syncs() + 2);
                log.record(Entry::new(Act::Unlock)).unwrap_err();
            }
        });
        let mut manifest = Manifest::open_or_create(hooked, dir).unwrap();
        assert!(log.set(AuditLog::new(Arc::new(fs.clone()), dir).beside_manifest(&manifest)).is_ok());
        log.get().unwrap().record(Entry::new(Act::Unlock)).unwrap();
        let mut failed = false;
        for nth in 0..8 {
            let metadata = Metadata { help: "x".repeat(100_000 + nth), ..Metadata::default() };
            match manifest.commit(&[Edit::Metadata { metric: "m".to_owned(), metadata }]) {
                Ok(()) => {}
                Err(ManifestError::Failed { .. }) => {
                    failed = true;
                    break;
                }
                Err(e) => panic!("{e}"),
            }
            for seed in 0..16 {
                let left = Manifest::open_read_only(Arc::new(fs.crash(seed)), dir).unwrap();
                assert!(left.state() == manifest.state(), "commit {nth}, {seed}");
            }
        }
        assert!(failed, "it is never written anew");
    }

    /// An owner and who forces its lock, or two owners of which one has not noticed yet: each wrote at the end that it
    /// had found, one over the line of the other, and both turned the file over, one over the file of the other.
    #[test]
    fn two_processes_lose_no_line_and_mix_none() {
        const LINES: u32 = 100;
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..2 {
                // However slow the disk is, both get the lock: without it the file may grow to twice the bytes.
                let log = AuditLog::new(Arc::new(OsFs), dir.path());
                let log = AuditLog { file_bytes: 10_000, tries: Some(100_000), ..log };
                let entry = move |i| Entry::new(Act::Delete).number("writer", writer).number("nth", i);
                scope.spawn(move || (0..LINES).for_each(|i| log.record(entry(i)).unwrap()));
            }
        });
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let files = ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"].map(text);
        assert!(files.iter().all(|file| file.len() <= 10_000) && files[1].len() > 9_000, "{}", files[1].len());
        let all = files.concat();
        assert!(all.lines().all(|line| line.starts_with("{\"time\":") && line.ends_with('}')), "{all}");
        for writer in 0..2 {
            let of = |line: &str| line.split_once(&format!("\"writer\":{writer},\"nth\":")).map(|(_, n)| n.to_owned());
            let nths: Vec<String> = all.lines().filter_map(of).collect();
            assert!(nths.iter().eq((0..LINES).map(|i| format!("{i}}}")).collect::<Vec<_>>().iter()), "{nths:?}");
        }
    }

    /// The lock of a machine that is gone holds nobody up, and the log stays bounded.
    #[test]
    fn a_file_that_stays_locked_is_written_and_turned_over_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let _held = lock::lock(&path, 0).unwrap().unwrap();
        let log = AuditLog { file_bytes: 1000, tries: Some(1), ..AuditLog::new(Arc::new(OsFs), dir.path()) };
        (0..40).for_each(|i| log.record(Entry::new(Act::Unlock).number("nth", i)).unwrap());
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let files = ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"].map(text);
        let mut lens = files.each_ref().map(String::len);
        lens.sort_unstable();
        assert!(lens[3] > 1000 && lens[3] <= 2000 && lens[2] <= 1000, "one has twice the bytes: {lens:?}");
        let all = files.concat();
        assert!((0..40).all(|i| all.contains(&format!("\"nth\":{i}}}\n"))) && all.lines().count() == 40, "{all}");
    }
}
