//! Names of files that may not be durable, though a running process reads them.
//!
//! A sync of the folder that failed may have lost a name, and no later one brings it back: there is nothing left to write.
//! So a file whose name is not known to be durable gets it anew: it is renamed, and back. Who dies between the two leaves
//! the other name, and the next opening finishes what he began.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::types::Epoch;
use crate::fs::{Fs, FsFile};

/// Behind the name of a file that is about to get its own again.
const BETWEEN: &str = ".renamed";

/// Gives a file its name anew. Durable once the folder is synced.
pub(super) fn renew(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let between = between(path);
    fs.rename(path, &between)?;
    fs.rename(&between, path)
}

fn between(path: &Path) -> PathBuf {
    let mut between = path.to_owned().into_os_string();
    between.push(BETWEEN);
    between.into()
}

/// Opens a file of the log for reading, whichever of the two names it has: of a store that nobody owns, or beside an owner
/// who may be opening it.
pub(super) fn open_read(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn FsFile>> {
    let is_missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    match fs.open_read(path) {
        Err(e) if is_missing(&e) => match fs.open_read(&between(path)) {
            // Renamed back meanwhile, or there is none.
            Err(e) if is_missing(&e) => fs.open_read(path),
            other => other,
        },
        other => other,
    }
}

/// The files of the log among the names in its folder: each with the name that it has once renaming is finished.
pub fn files_of_log(names: &[String]) -> impl Iterator<Item = (&str, &str)> {
    let of_log = |name: &str| Epoch::from_file_name(name).is_some();
    names.iter().filter_map(move |name| match name.strip_suffix(BETWEEN) {
        Some(own) if of_log(own) && !names.iter().any(|there| there == own) => Some((name.as_str(), own)),
        None if of_log(name) => Some((name.as_str(), name.as_str())),
        _ => None,
    })
}

/// Finishes what an opening left half done that was to give files of the log in `dir` their names anew. For who owns the
/// store, before the log is read.
///
/// # Errors
/// What the operating system answers.
pub fn finish_renaming(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let names = match fs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    for between in &names {
        let Some(name) = between.strip_suffix(BETWEEN).filter(|name| Epoch::from_file_name(name).is_some()) else {
            continue;
        };
        if names.iter().any(|there| there == name) {
            // A power loss left both.
            fs.remove(&dir.join(between))?;
        } else {
            fs.rename(&dir.join(between), &dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::{Random, SimFs};

    #[test]
    fn a_name_that_a_failed_sync_has_lost_is_made_anew_whatever_a_power_loss_leaves() {
        let (fs, dir) = (SimFs::new(), Path::new("d"));
        let (path, bytes) = (dir.join(Epoch::new(1, 2).file_name()), [7; 3]);
        fs.create_dir_all(dir).unwrap();
        fs.sync_dir(Path::new("")).unwrap();
        for durable in [false, true] {
            let file = fs.create(&path).unwrap();
            file.write_all_at(0, &bytes).unwrap();
            file.sync_data().unwrap();
            if !durable {
                fs.fail_sync_at(fs.syncs() + 1);
            }
            assert_eq!(fs.sync_dir(dir).is_ok(), durable);
            fs.record();
            renew(&fs, &path).unwrap();
            let mut timeline = fs.timeline();
            while !timeline.is_over() {
                timeline.advance();
                for seed in 0..20 {
                    let disk = timeline.power_loss(&mut Random::new(seed));
                    finish_renaming(&disk, dir).unwrap();
                    let left = disk.list(dir).unwrap();
                    assert!(left.iter().all(|name| Epoch::from_file_name(name).is_some()), "{left:?}");
                    assert!(!durable || disk.map(&path).unwrap()[..] == bytes);
                }
            }
            fs.sync_dir(dir).unwrap();
            assert!((0..20).all(|seed| fs.crash(seed).map(&path).unwrap()[..] == bytes), "{durable}");
            fs.remove(&path).unwrap();
            fs.sync_dir(dir).unwrap();
        }
    }

    /// As file systems leave it whose renames make the new name first, and then take the old one away.
    #[test]
    fn of_two_names_that_a_power_loss_left_the_files_own_stays() {
        let (fs, dir) = (SimFs::new(), Path::new("d"));
        fs.create_dir_all(dir).unwrap();
        let name = Epoch::new(1, 2).file_name();
        let (own, between, other) = (dir.join(&name), dir.join(name + BETWEEN), dir.join("other.renamed"));
        for path in [&own, &between, &other] {
            fs.create(path).unwrap().write_all_at(0, if path == &own { b"own" } else { b"old" }).unwrap();
        }
        finish_renaming(&fs, dir).unwrap();
        assert_eq!(fs.map(&own).unwrap()[..], *b"own");
        assert!(fs.map(&between).is_err() && fs.map(&other).is_ok(), "what is none of the log's stays");
    }
}
