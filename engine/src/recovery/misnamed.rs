//! Segments that lie under another one's name, or under one that nobody has: RS5 of `segments.rs`.

use std::io;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Remains, SegmentRef, State};
use tidegauge_storage::segment::{Salvage as Damaged, Segment, SegmentInfo, file_name};
use tidegauge_storage::source::ReadError;

use super::check::contradiction;
use super::later::ids;
use super::{Finding, check_segment};
use crate::error::OpenError;

/// What a file says of itself, one flipped bit of that put right.
pub(super) fn outline(fs: &dyn Fs, path: &Path) -> Result<SegmentInfo, ReadError> {
    match Segment::open(fs, path) {
        Ok(segment) => Ok(segment.info().clone()),
        Err(e @ ReadError::Corrupt { .. }) => {
            Damaged::open(fs, path, None).map(|damaged| damaged.info().clone()).map_err(|_| e)
        }
        Err(e) => Err(e),
    }
}

/// Refuses where a file that the manifest names is another segment that it names, and misses.
pub(super) fn refuse_exchanged(
    fs: &dyn Fs,
    folder: &Path,
    checked: &[(SegmentRef, Finding)],
    store_id: u128,
) -> Result<(), OpenError> {
    for (named, finding) in checked {
        let path = folder.join(file_name(named.id));
        let Finding::Unreadable(_) = finding else { continue };
        let Some(info) = known_outline(fs, &path)? else { continue };
        let is_it = |other: &SegmentRef| other.id != named.id && contradiction(&info, other, store_id).is_none();
        if let Some((other, of_other)) = checked.iter().find(|(other, _)| is_it(other))
            && is_missed(fs, folder, &path, (other, of_other), store_id)?
        {
            return Err(misnamed(folder, path, &info));
        }
    }
    Ok(())
}

/// Refuses where a file that the manifest does not name is a segment that it names, and misses.
pub(super) fn refuse_renamed(fs: &dyn Fs, folder: &Path, state: &State) -> Result<(), OpenError> {
    for id in ids(fs, folder)?.into_iter().filter(|id| !state.segments.contains_key(id)) {
        let path = folder.join(file_name(id));
        let Some(info) = known_outline(fs, &path)?.filter(|info| info.id != id) else { continue };
        let is_it = |other: &&SegmentRef| contradiction(&info, other, state.store_id).is_none();
        let Some(other) = state.segments.get(&info.id).filter(is_it) else { continue };
        let finding = match check_segment(fs, folder, other, state.store_id) {
            Finding::Unknown(e) => return Err(e.into()),
            finding => finding,
        };
        if is_missed(fs, folder, &path, (other, &finding), state.store_id)? {
            return Err(misnamed(folder, path, &info));
        }
    }
    Ok(())
}

/// Whether a file that the manifest does not name may be a segment that it names: what a salvage was refused for, for what
/// lies under the own name is missing or worse. One that cannot be read now may be.
pub(crate) fn may_be_named(fs: &dyn Fs, path: &Path, id: u64, state: &State) -> bool {
    match known_outline(fs, path) {
        Ok(Some(info)) => info.store_id == state.store_id && info.id != id && state.segments.contains_key(&info.id),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// Refuses where there is no manifest to tell what is missed, and a file is a segment of this store of which none lies under
/// its own name, unless a manifest had removed it, or named another one by that name. `strange` are files under other names
/// than they say, `own` those that have theirs.
pub(super) fn refuse_homeless(
    folder: &Path,
    strange: &[(PathBuf, SegmentInfo)],
    own: &[SegmentInfo],
    remains: &Remains,
    store_id: u128,
) -> Result<(), OpenError> {
    for (path, info) in strange.iter().filter(|(_, info)| info.store_id == store_id) {
        let is_there = own.iter().any(|own| (own.store_id, own.id) == (store_id, info.id));
        let is_another =
            || remains.named.get(&info.id).is_some_and(|named| contradiction(info, named, store_id).is_some());
        if !is_there && !remains.removed.contains(&info.id) && !is_another() {
            return Err(misnamed(folder, path.clone(), info));
        }
    }
    Ok(())
}

/// Refuses where nothing but segments tells which store it is, and as many under strange names are of other stores than
/// `of_own`, that of most which have their own names: a file that was brought from elsewhere would have all of them set
/// aside, and nothing told as lost. Of those whose names others have nobody is told to give them back.
pub(super) fn refuse_undecided(
    folder: &Path,
    strange: &[(PathBuf, SegmentInfo)],
    own: &[SegmentInfo],
    of_own: u128,
) -> Result<(), OpenError> {
    let others = || strange.iter().filter(|(_, info)| info.store_id != of_own);
    if others().count() < own.iter().filter(|info| info.store_id == of_own).count() {
        return Ok(());
    }
    match others().find(|(_, info)| own.iter().all(|own| own.id != info.id)) {
        Some((path, info)) => Err(misnamed(folder, path.clone(), info)),
        None => Ok(()),
    }
}

fn misnamed(folder: &Path, path: PathBuf, info: &SegmentInfo) -> OpenError {
    OpenError::Misnamed { belongs: folder.join(file_name(info.id)), path }
}

/// Whether less than what lies at `path` is under the name of `named`, as far as is known: no file, another segment, or one
/// that is damaged where this one is sound.
fn is_missed(
    fs: &dyn Fs,
    folder: &Path,
    path: &Path,
    (named, finding): (&SegmentRef, &Finding),
    store_id: u128,
) -> Result<bool, OpenError> {
    let is_another = match finding {
        Finding::Sound(_) | Finding::Unknown(_) => return Ok(false),
        // Where it is damaged, what can be saved of it is saved under its own name alone.
        Finding::Missing => return Ok(true),
        Finding::Damaged(_) => false,
        Finding::Unreadable(_) => known_outline(fs, &folder.join(file_name(named.id)))?
            .is_some_and(|info| contradiction(&info, named, store_id).is_some()),
    };
    Ok(is_another || is_sound(fs, path)?)
}

fn is_sound(fs: &dyn Fs, path: &Path) -> Result<bool, OpenError> {
    match Segment::open(fs, path) {
        Ok(segment) => Ok(segment.verify().is_ok()),
        Err(e @ ReadError::Io { .. }) => Err(e.into()),
        Err(_) => Ok(false),
    }
}

/// `None` of what tells none. What cannot be read now may be one that is missed.
fn known_outline(fs: &dyn Fs, path: &Path) -> Result<Option<SegmentInfo>, OpenError> {
    match outline(fs, path) {
        Ok(info) => Ok(Some(info)),
        Err(ReadError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
        {
            Ok(None)
        }
        Err(e @ ReadError::Io { .. }) => Err(e.into()),
        Err(_) => Ok(None),
    }
}
