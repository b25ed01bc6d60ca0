//! The directory lock: one writing process, arbitrated by the operating system alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::clock;
use crate::error::OpenError;
use crate::open::refused;

/// Held as long as the engine owns the directory; the operating system lets go of it when
/// the process ends, however it ends.
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock and writes who holds it.
    pub(crate) fn take(dir: &Path, address: Option<&str>) -> Result<Self, OpenError> {
        let path = dir.join("LOCK");
        let io = |source| refused(dir, source);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { dir: dir.to_owned(), owner: describe(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut text = format!(
            "pid={}\nhost={}\nstarted={}\nversion={}\n",
            std::process::id(),
            host.trim(),
            clock::now().nanos(),
            env!("CARGO_PKG_VERSION"),
        );
        if let Some(address) = address {
            text.push_str(&format!("address={address}\n"));
        }
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock, as far as the file says.
fn describe(file: &mut File) -> String {
    let mut text = String::new();
    // A lock file is a few lines; more than that is none of ours.
    let _ = file.take(4096).read_to_string(&mut text);
    let of = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    match (of("pid"), of("host"), of("address")) {
        (Some(pid), Some(host), Some(address)) => format!("process {pid} on {host} ({address})"),
        (Some(pid), Some(host), None) => format!("process {pid} on {host}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path(), Some("127.0.0.1:9595")).unwrap();
        let Err(OpenError::InUse { owner, .. }) = DirLock::take(dir.path(), None) else { panic!("two owners") };
        assert!(owner.contains(&std::process::id().to_string()) && owner.contains("127.0.0.1:9595"), "{owner}");
        drop(held);
        DirLock::take(dir.path(), None).unwrap();
    }
}
