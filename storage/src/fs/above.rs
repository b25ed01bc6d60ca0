//! Folders that are made for a store, with names that last.

use std::io;
use std::path::{Path, PathBuf};

use super::Fs;

/// Makes `dir` and those above it, if they are not there, and makes the names of all of them durable: this process, or one
/// that was interrupted before it, may have made them. A folder above that may not be read was made by somebody else.
///
/// To be called before anything that counts is in it. A sync that failed may have lost a name, and no later one brings it
/// back: so what this call has made it removes then, as far as it is empty, and the next try makes it anew.
///
/// # Errors
/// The folder that could not be made or synced, and what the system answered.
pub fn make_dir(fs: &dyn Fs, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let is_missing =
        |dir: &&Path| !dir.as_os_str().is_empty() && fs.list(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let made: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
    // Not in a closure, whose frame has no name: the crash tests tell by that who asks for a sync.
    let lasting = match fs.create_dir_all(dir) {
        Ok(()) => sync_above(fs, dir),
        Err(e) => Err((dir.to_owned(), e)),
    };
    lasting.inspect_err(|_| {
        // The deepest first. One that holds something is somebody's by now.
        let _ = made.iter().try_for_each(|folder| match fs.remove_dir(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        });
    })
}

fn sync_above(fs: &dyn Fs, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let above: Vec<&Path> = dir.ancestors().skip(1).collect();
    // From the top: the name of a folder before those in it, or what a failed try had removed of it takes them along.
    for folder in above.into_iter().rev() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    /// What was made stayed there, and the next try had nothing left to make durable.
    #[test]
    fn a_folder_whose_name_could_not_be_made_durable_is_made_anew() {
        let (fs, dir) = (SimFs::new(), Path::new("there/far/away"));
        make_dir(&fs, Path::new("there")).unwrap();
        for sync in 1..=3 {
            fs.fail_sync_at(fs.syncs() + sync);
            make_dir(&fs, dir).unwrap_err();
            assert!(fs.list(Path::new("there")).unwrap().is_empty(), "{sync}");
        }
        make_dir(&fs, dir).unwrap();
        fs.create(&dir.join("f")).unwrap();
        fs.fail_sync_at(fs.syncs() + 1);
        make_dir(&fs, dir).unwrap_err();
        assert_eq!(fs.list(dir).unwrap(), ["f"], "what was there stays");
        for seed in 0..16 {
            assert!(fs.crash(seed).list(dir).is_ok(), "{seed}");
        }
    }
}
