//! Where a run keeps its data.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::leftovers::Temporary;

/// A folder that was empty when the run began.
#[derive(Debug)]
pub(crate) enum Folder {
    /// Named by the user, and kept.
    Kept(PathBuf),
    /// Removed with its content when the run is over, by a signal too.
    Temporary(Temporary),
}

impl Folder {
    pub(crate) fn new(named: Option<&Path>) -> Result<Self, Error> {
        let Some(dir) = named else {
            return Temporary::new().map(Self::Temporary).map_err(Error::io("."));
        };
        if dir.exists() && !dir.is_dir() {
            return Err(Error::Usage(format!("{} is not a folder", dir.display())));
        }
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        if fs::read_dir(dir).map_err(Error::io(dir))?.next().is_some() {
            return Err(Error::Usage(format!("{} is not empty: name a new folder", dir.display())));
        }
        Ok(Self::Kept(dir.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

/// Bytes of the files in `dir` whose names end in `.ext`; 0 if there is no such folder.
pub(super) fn bytes_of(dir: &Path, ext: &str) -> Result<u64, Error> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(Error::io(dir))?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(Error::io(dir))?;
        if entry.path().extension().is_some_and(|found| found == ext) {
            bytes += entry.metadata().map_err(Error::io(dir))?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_and_a_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("new/one");
        assert!(matches!(Folder::new(Some(&fresh)).unwrap(), Folder::Kept(path) if path == fresh));
        fs::write(fresh.join("x.seg"), "12345").unwrap();
        assert_eq!(Folder::new(Some(&fresh)).unwrap_err().exit_code(), 2);
        assert_eq!(Folder::new(Some(&fresh.join("x.seg"))).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn only_files_of_the_kind_asked_for_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a.seg", 3), ("b.seg", 4), ("a.tmp", 100)] {
            fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(bytes_of(dir.path(), "seg").unwrap(), 7);
        assert_eq!(bytes_of(&dir.path().join("none"), "seg").unwrap(), 0);
    }
}
