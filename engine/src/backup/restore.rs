//! A store from a backup, or from the files of another store that nobody writes to.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, OsFs};
use tidegauge_storage::manifest::Manifest;
use tidegauge_storage::segment::file_name;
use tidegauge_storage::wal::files_of_log;

use super::{BackupError, BackupReport, UNNAMED, clear, make_empty};
use crate::audit::{Act, AuditLog, Entry};
use crate::lock::is_held;
use crate::open::lasting;
use crate::recovery::quarantine::{copy, copy_bytes};

/// Copies the store in `backup` to `dir`, byte by byte: what damages one leaves the other alone. Its log goes along,
/// if it has one. `progress` is told how many bytes of how many are copied.
///
/// Costs what reading and writing it costs. Verify what came out: damage of the backup is copied too.
///
/// # Errors
/// [`BackupError`]. Nothing that is there already is touched, and of a copy that could not be made nothing is left, as far
/// as it can be removed: it can be tried again. Where only the name of its manifest could not be made durable, or
/// `audit.log` takes no line ([`BackupError::Io`] behind the last byte), it stays: it is whole, and somebody may have
/// opened it.
pub fn restore(
    backup: impl AsRef<Path>,
    dir: impl AsRef<Path>,
    progress: impl Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    let [backup, dir] = [backup.as_ref(), dir.as_ref()].map(|path| lasting(path.to_owned()));
    refuse_if_held(&backup)?;
    restore_on(&(Arc::new(OsFs) as Arc<dyn Fs>), &backup, &dir, &progress, &|| refuse_if_held(&backup))
}

pub(super) fn refuse_if_held(dir: &Path) -> Result<(), BackupError> {
    match is_held(dir).map_err(|e| BackupError::io(dir, e))? {
        Some(owner) => Err(BackupError::InUse { dir: dir.to_owned(), owner }),
        None => Ok(()),
    }
}

/// `free` answers an error if somebody owns what is copied.
pub(crate) fn restore_on(
    fs: &Arc<dyn Fs>,
    backup: &Path,
    dir: &Path,
    progress: &dyn Fn(u64, u64),
    free: &dyn Fn() -> Result<(), BackupError>,
) -> Result<BackupReport, BackupError> {
    let manifest = Manifest::open_read_only(Arc::clone(fs), backup)?;
    let new = make_empty(&**fs, dir)?;
    let copied = copy_all(fs, &manifest, backup, dir, progress);
    // Who opens a store says so in its manifest. One that was opened before that was read here, and written to since, is
    // owned still, or has been closed, which is in the manifest, too. As long as nobody knows, it is no store (BK3).
    let restored = copied.and_then(|report| {
        free()?;
        if !manifest.is_current()? {
            return Err(BackupError::Changed { dir: backup.to_owned() });
        }
        let named = fs.rename(&dir.join(UNNAMED), &dir.join("MANIFEST"));
        named.map(|()| report).map_err(|e| BackupError::io(&dir.join("MANIFEST"), e))
    });
    if restored.is_err() {
        clear(&**fs, dir, new);
    }
    let report = restored?;
    // From here on it is a store (BK6).
    let entry = Entry::new(Act::Restore).text("from", &backup.display().to_string());
    let entry = entry.number("samples", report.samples).number("bytes", report.bytes);
    // The line makes the names in the folder durable, that of the manifest with them.
    AuditLog::new(Arc::clone(fs), dir).record(entry).map_err(|e| BackupError::io(dir, e))?;
    Ok(report)
}

fn copy_all(
    fs: &Arc<dyn Fs>,
    manifest: &Manifest,
    backup: &Path,
    dir: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    let mut report = BackupReport::default();
    let total = manifest.state().segments.values().map(|s| s.bytes).sum::<u64>();
    for segment in manifest.state().segments.values() {
        report.bytes_copied += copy_into(&**fs, backup, dir, "segments", &file_name(segment.id))?;
        report.count(segment);
        progress(report.bytes_copied, total);
    }
    let segments = dir.join("segments");
    fs.sync_dir(&segments).map_err(|e| BackupError::io(&segments, e))?;
    let log = match fs.list(&backup.join("wal")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|e| BackupError::io(&backup.join("wal"), e))?,
    };
    let folder = dir.join("wal");
    if !log.is_empty() {
        fs.create_dir_all(&folder).map_err(|e| BackupError::io(&folder, e))?;
    }
    // The names of both folders before the manifest's (BK3): one that was told of no frame yet would pass for a whole store
    // without the log. And where this fails, they are made anew by the next try.
    fs.sync_dir(dir).map_err(|e| BackupError::io(dir, e))?;
    if !log.is_empty() {
        for (name, own) in files_of_log(&log) {
            let from = backup.join("wal").join(name);
            let copied = copy(&**fs, &from, &folder.join(own));
            report.bytes_copied += copied.map_err(|e| BackupError::io(&from, e))?;
        }
        fs.sync_dir(&folder).map_err(|e| BackupError::io(&folder, e))?;
    }
    // Last (BK3), as it is: the log belongs to it.
    let from = backup.join("MANIFEST");
    copy_bytes(&**fs, &from, &dir.join(UNNAMED), u64::MAX).map_err(|e| BackupError::io(&from, e))?;
    Ok(report)
}

fn copy_into(fs: &dyn Fs, from: &Path, to: &Path, folder: &str, name: &str) -> Result<u64, BackupError> {
    let path = from.join(folder).join(name);
    copy(fs, &path, &to.join(folder).join(name)).map_err(|e| BackupError::io(&path, e))
}
