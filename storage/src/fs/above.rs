//! Names of folders that were made for a store.

use std::io;
use std::path::{Path, PathBuf};

use super::Fs;

/// Makes the name of `dir` durable, and those of the folders above it: this process, or one that was interrupted before
/// it, may have made them. A folder that may not be read was made by somebody else.
///
/// # Errors
/// The folder that could not be synced, and what the system answered.
pub fn sync_above(fs: &dyn Fs, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    for folder in dir.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match fs.sync_dir(folder) {
            Err(e) if !matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {
                return Err((folder.to_owned(), e));
            }
            _ => {}
        }
    }
    Ok(())
}
