//! Files that tell that the manifest is an older copy of itself.
//!
//! An opening has its number in the manifest, durably, before it makes a file. So a file of an opening that the manifest
//! does not know of says that somebody put an older manifest back, or brought the file from elsewhere. No crash leaves
//! that; what a crash leaves is of an opening that the manifest knows (E7 of `docs/concurrency.md`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{SegmentRef, State};
use tidegauge_storage::segment::{Segment, SegmentInfo, file_name, id_of};
use tidegauge_storage::source::ReadError;
use tidegauge_storage::wal::later_than;

use crate::error::OpenError;

/// A file of the log, or a segment, of a later opening than `state` knows of.
pub(crate) fn later_file(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Option<PathBuf>, OpenError> {
    let wal = dir.join("wal");
    match later_than(fs, &wal, state.open_number)?.first() {
        Some(epoch) => Ok(Some(wal.join(epoch.file_name()))),
        None => later_segment(fs, dir, state),
    }
}

/// A segment of this store, not named by `state`, that was made by a later opening. One that is damaged says nothing.
/// Opens those alone that are not named; as a rule there are none.
pub(crate) fn later_segment(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Option<PathBuf>, OpenError> {
    unnamed(fs, dir, state, |info| info.opening > state.open_number)
}

/// A segment of this store, not named by `state`, that was made behind one that is named and whose file is gone, holds all
/// of its numbers and some of its time: a compaction put it in that one's place, and the manifest lost the commit that said
/// so. One that was made before, that one itself was made of: it was removed, and a snapshot or a crash kept its file.
pub(crate) fn successor(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Option<PathBuf>, OpenError> {
    let there: BTreeSet<u64> = ids(fs, &dir.join("segments"))?.into_iter().collect();
    let gone = state.segments.iter().filter(|(id, _)| !there.contains(id));
    let gone: Vec<&SegmentRef> = gone.map(|(_, named)| named).collect();
    if gone.is_empty() {
        return Ok(None);
    }
    unnamed(fs, dir, state, |info| {
        let in_its_time = |gone: &SegmentRef| info.time_range.is_some_and(|range| range.overlaps(&gone.time_range));
        gone.iter().any(|gone| is_made_behind(info, gone) && in_its_time(gone))
    })
}

/// Whether a segment holds all numbers of another one and was made behind it. Who makes a segment of others takes a
/// number for it once those have theirs.
pub(super) fn is_made_behind(info: &SegmentInfo, gone: &SegmentRef) -> bool {
    let (has, had) = (info.seq_range, gone.seq_range);
    info.id > gone.id && has.start <= had.start && had.end <= has.end
}

/// The first segment of this store that `state` does not name and that is `wanted`.
pub(super) fn unnamed(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    wanted: impl Fn(&SegmentInfo) -> bool,
) -> Result<Option<PathBuf>, OpenError> {
    Ok(all_unnamed(fs, dir, state)?.into_iter().find(|(_, info)| wanted(info)).map(|(path, _)| path))
}

/// All segments of this store that `state` does not name and whose outline is sound. A file of which the header says another
/// number has been renamed: it may be one that is named, and tells nothing of the manifest.
pub(super) fn all_unnamed(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Vec<(PathBuf, SegmentInfo)>, OpenError> {
    let folder = dir.join("segments");
    let ids = ids(fs, &folder)?.into_iter().filter(|id| !state.segments.contains_key(id));
    let mut all = Vec::new();
    for id in ids {
        let path = folder.join(file_name(id));
        let info = match Segment::open(fs, &path) {
            Ok(segment) => segment.info().clone(),
            // Beside the owner, he may have removed it. A folder is none.
            Err(ReadError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
            {
                continue;
            }
            // It may be one that counts, and who finds that none does removes it.
            Err(e @ ReadError::Io { .. }) => return Err(e.into()),
            Err(_) => continue,
        };
        if info.store_id == state.store_id && info.id == id {
            all.push((path, info));
        }
    }
    Ok(all)
}

/// Of the segments that there are in a folder. One that is not there has none; of one that cannot be read nobody knows.
pub(super) fn ids(fs: &dyn Fs, folder: &Path) -> Result<Vec<u64>, OpenError> {
    match fs.list(folder) {
        Ok(names) => Ok(names.iter().filter_map(|name| id_of(name)).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(OpenError::Io { path: folder.to_owned(), source }),
    }
}
