//! A copy that was made in one place and is wanted in another.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, OsFs, make_dir};

use super::restore::{refuse_if_held, restore_on};
use super::{BackupError, BackupReport};
use crate::open::lasting;

/// Gives the copy in `made`, as [`backup`](super::backup) leaves it, the name `target`. Where that is another file
/// system it is copied as by [`restore`](super::restore) and removed behind that; what was copied is answered then,
/// and `progress` is told of it.
///
/// Once this has answered, a power loss leaves it at `target`, and before that in one of the two places.
///
/// # Errors
/// [`BackupError`]. Nothing that is there already is touched, but for an empty folder. The copy stays in `made`, to be brought
/// again or [removed](discard); after [`BackupError::NotSynced`] it is at `target`, after [`BackupError::NotRemoved`] in both.
pub fn bring(
    made: impl AsRef<Path>,
    target: impl AsRef<Path>,
    progress: impl Fn(u64, u64),
) -> Result<Option<BackupReport>, BackupError> {
    let [made, target] = [made.as_ref(), target.as_ref()].map(|path| lasting(path.to_owned()));
    refuse_if_held(&made)?;
    bring_on(&(Arc::new(OsFs) as Arc<dyn Fs>), &made, &target, &progress)
}

/// Removes the copy in `made`, as [`backup`](super::backup) leaves it: nobody wants it any more. Where this is interrupted,
/// what is left is no store.
///
/// # Errors
/// [`BackupError`]: there is no copy, somebody writes to it, or the operating system refuses.
pub fn discard(made: impl AsRef<Path>) -> Result<(), BackupError> {
    let made = made.as_ref();
    refuse_if_held(made)?;
    remove(&OsFs, made).map_err(|e| BackupError::io(made, e))
}

pub(crate) fn bring_on(
    fs: &Arc<dyn Fs>,
    made: &Path,
    target: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Option<BackupReport>, BackupError> {
    let above = named(target.parent());
    // Before the copy moves there: in a folder without a name of its own it would be nowhere.
    make_dir(&**fs, above).map_err(|(folder, e)| BackupError::io(&folder, e))?;
    if fs.rename(made, target).is_err() {
        let report = restore_on(fs, made, target, progress, &|| Ok(()))?;
        return match remove(&**fs, made) {
            Ok(()) => Ok(Some(report)),
            Err(source) => Err(BackupError::NotRemoved { target: target.to_owned(), made: made.to_owned(), source }),
        };
    }
    let not_synced = |folder: &Path, source| {
        let (target, folder) = (target.to_owned(), folder.to_owned());
        BackupError::NotSynced { target, folder, source }
    };
    let was_in = named(made.parent());
    fs.sync_dir(above).map_err(|e| not_synced(above, e))?;
    fs.sync_dir(was_in).map_err(|e| not_synced(was_in, e))?;
    Ok(None)
}

/// The folder at hand has no name.
fn named(folder: Option<&Path>) -> &Path {
    folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The manifest first: what has none is no store.
fn remove(fs: &dyn Fs, made: &Path) -> io::Result<()> {
    fs.remove(&made.join("MANIFEST"))?;
    let segments = made.join("segments");
    for folder in [&segments, made] {
        for name in fs.list(folder)? {
            fs.remove(&folder.join(name))?;
        }
        fs.remove_dir(folder)?;
    }
    Ok(())
}
