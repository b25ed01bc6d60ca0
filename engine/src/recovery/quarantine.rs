//! Where damaged files go: set aside under `quarantine/`, never deleted.

use std::io;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;

/// The folder inside the data directory.
pub(crate) const FOLDER: &str = "quarantine";

/// Gives a damaged file a name in quarantine that survives a power loss; only then may its old name go. Names of
/// segments and log files are never used twice, so one that is there already is this very file.
pub(crate) fn keep(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(FOLDER);
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let kept = folder.join(name);
    fs.create_dir_all(&folder)?;
    match fs.hard_link(file, &kept) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        // No such thing on this file system.
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            copy(fs, file, &kept)?;
        }
        Err(e) => return Err(e),
    }
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    Ok(kept)
}

/// As [`keep`], for a file whose name is used again: it gets a number behind it.
pub(crate) fn keep_numbered(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(FOLDER);
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    fs.create_dir_all(&folder)?;
    let taken = fs.list(&folder)?;
    let free = (1..).map(|n: u64| format!("{name}.{n}")).find(|name| !taken.contains(name));
    let kept = folder.join(free.ok_or(io::ErrorKind::AlreadyExists)?);
    match fs.hard_link(file, &kept) {
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            copy(fs, file, &kept)?;
        }
        linked => linked?,
    }
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    Ok(kept)
}

/// Copies a file under another name, whole or not at all. The caller syncs the folder.
pub(crate) fn copy(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<u64> {
    let mut temp = to.as_os_str().to_owned();
    temp.push(".tmp");
    let temp = PathBuf::from(temp);
    match fs.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let copied = copy_bytes(fs, from, &temp);
    if copied.is_err() {
        let _ = fs.remove(&temp);
    }
    let bytes = copied?;
    fs.rename(&temp, to)?;
    Ok(bytes)
}

fn copy_bytes(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<u64> {
    let (from, to) = (fs.open_read(from)?, fs.create(to)?);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let n = from.read_at(at, &mut buffer)?;
        if n == 0 {
            break;
        }
        to.write_all_at(at, &buffer[..n])?;
        at += n as u64;
    }
    to.sync_data()?;
    Ok(at)
}
