//! The manifest and the segments that it names, as they are or as they can be saved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tidegauge_query::Threads;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Manifest, SegmentRef, State};
use tidegauge_storage::model::SeqRange;
use tidegauge_storage::segment::{Segment, first_id, id_of};
use tidegauge_storage::source::ReadError;
use tidegauge_storage::wal::{Recovered, finish_renaming};

use super::reserve::LogReserve;
use crate::audit::{AuditLog, Audited};
use crate::error::OpenError;
use crate::lock::DirLock;
use crate::recovery::{
    OnProgress, RecoveryReport, keep_misplaced, keep_unnamed, later_file, may_be_named, missing_is_damage,
    open_as_named, open_or_rebuild, quarantine, salvage_segments,
};
use crate::version::order_of;

/// Where the files of a store lie.
pub(super) struct Place {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) root: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) segments: PathBuf,
}

impl Place {
    pub(super) fn new(fs: Arc<dyn Fs>, root: PathBuf) -> Self {
        let (wal, segments) = (root.join("wal"), root.join("segments"));
        Self { fs, root, wal, segments }
    }
}

/// What is in segments, and what says so.
pub(super) struct Store {
    pub(super) manifest: Manifest,
    /// By order of acceptance.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Segments that a salvage set aside, for the manifest does not name them.
    pub(super) unnamed: Vec<(PathBuf, SeqRange)>,
    /// What a salvage did so far; it has its lines in the audit log.
    pub(super) salvaged: RecoveryReport,
    /// Files that this opening removes in any case, once all was read. Of each that nobody names the whole is read for that.
    leftovers: Vec<PathBuf>,
}

impl Store {
    /// Writes nothing: a store that is refused stays as it is.
    pub(super) fn read(place: &Place, teams: &Threads) -> Result<Self, OpenError> {
        let (fs, root) = (&*place.fs, &*place.root);
        if let Some(path) = quarantine::misplaced(fs, root).pop() {
            return Err(OpenError::NotAFolder { path });
        }
        finish_names(fs, &place.wal)?;
        let manifest = Manifest::read_to_open(Arc::clone(&place.fs), root)?;
        if let Some(path) = later_file(fs, root, manifest.state())? {
            return Err(OpenError::LaterFile { path });
        }
        let segments = teams.install(|| open_segments(fs, &place.segments, &manifest))?;
        let leftovers = leftovers(fs, &place.segments, manifest.state());
        let (unnamed, salvaged) = (Vec::new(), RecoveryReport::default());
        Ok(Self { manifest, segments, unnamed, salvaged, leftovers })
    }

    /// Saves what it can, and sets the rest aside.
    pub(super) fn salvage(
        place: &Place,
        teams: &Threads,
        progress: &OnProgress,
        lock: Option<&DirLock>,
        reserve: &mut LogReserve,
        audit: &AuditLog,
    ) -> Result<Self, OpenError> {
        let (fs, root) = (&*place.fs, &*place.root);
        let mut salvaged = RecoveryReport::default();
        // One that could not be read later would leave half a repair that told nobody what it gave up (AD5). What it tells
        // of repairs before this one, none of this one's lines may be among (AD6).
        let before = Audited::read(fs, root, 0)?;
        let mut noted = keep_misplaced(fs, root, audit)?;
        finish_names(fs, &place.wal)?;
        let _alone = lock.map(DirLock::alone).transpose()?;
        let mut manifest =
            reserve.or_without(None, || open_or_rebuild(&place.fs, root, teams, audit, &mut noted, &mut salvaged))?;
        let opening = (manifest.state().store_id, manifest.state().open_number);
        salvaged.append(noted);
        make_folder(fs, root, &place.segments)?;
        let (mut unnamed, of_unnamed) = keep_unnamed(fs, root, &manifest, &salvaged.lost, audit)?;
        salvaged.append(of_unnamed);
        let (segments, of_segments) =
            salvage_segments(&place.fs, root, &mut manifest, teams, (&mut unnamed, progress), audit)?;
        salvaged.append(of_segments);
        (salvaged.untold, salvaged.untold_losses) = (before.untold(opening.0), before.untold_losses(opening.0));
        let leftovers = leftovers(fs, &place.segments, manifest.state());
        Ok(Self { manifest, segments, unnamed, salvaged, leftovers })
    }

    /// Says in the manifest that a new opening begins. All was read, and is right.
    pub(super) fn begin(&mut self, reserve: &mut LogReserve, recovered: &Recovered) -> Result<(), OpenError> {
        let known = self.manifest.state().wal.clone();
        reserve.leftovers.clone_from(&self.leftovers);
        reserve.or_without(Some((recovered, &known)), || Ok(self.manifest.begin()?))
    }

    pub(super) fn make_folder(&self, place: &Place) -> Result<(), OpenError> {
        make_folder(&*place.fs, &place.root, &place.segments)
    }

    /// Removes segments that a crash left before the manifest named them: what is in them is in the log too. Not one that is
    /// named, and lies under a strange name: a repair says where it belongs (RS5). A file that cannot be removed is tried
    /// again at the next opening.
    pub(super) fn remove_leftovers(&self, place: &Place) {
        self.leftovers.iter().for_each(|path| drop(place.fs.remove(path)));
    }
}

/// An opening that died before may have left files of the log with other names, the same files.
fn finish_names(fs: &dyn Fs, wal: &Path) -> Result<(), OpenError> {
    finish_renaming(fs, wal).map_err(|source| OpenError::Io { path: wal.to_owned(), source })
}

/// The folder's own name must survive before any segment in it can.
fn make_folder(fs: &dyn Fs, dir: &Path, segments: &Path) -> Result<(), OpenError> {
    let made = fs.create_dir_all(segments).and_then(|()| {
        // A sync that failed may have lost the name, and no later one brings it back: the next try is to make it anew.
        fs.sync_dir(dir).inspect_err(|_| drop(fs.remove_dir(segments)))
    });
    made.map_err(|source| OpenError::Io { path: segments.to_owned(), source })
}

/// Number of the next segment: of this opening, and not taken (LK7 of `lock/`).
pub(crate) fn next_segment(state: &State) -> u64 {
    state.next_segment_id.max(first_id(state.open_number))
}

/// As above, behind each file that has such a name: one that nobody names may stay (RS5).
pub(super) fn free_segment(fs: &dyn Fs, folder: &Path, state: &State) -> u64 {
    // The lower half: what follows the last one is another opening's.
    let own = first_id(state.open_number)..first_id(state.open_number) + (1 << 31);
    let names = fs.list(folder).unwrap_or_default();
    let taken = names.iter().filter_map(|name| id_of(name)).filter(|id| own.contains(id)).max();
    taken.map_or(0, |id| id + 1).max(next_segment(state))
}

/// Opens what the manifest names, in parallel, in order of acceptance.
fn open_segments(fs: &dyn Fs, dir: &Path, manifest: &Manifest) -> Result<Vec<Arc<Segment>>, OpenError> {
    let state = manifest.state();
    let named: Vec<&SegmentRef> = state.segments.values().collect();
    let open = |named: &&SegmentRef| open_as_named(fs, dir, named, state.store_id).map(Arc::new);
    let opened: Result<Vec<_>, ReadError> = named.par_iter().map(open).collect();
    let mut segments = opened.map_err(missing_is_damage)?;
    segments.sort_by_key(|s| order_of(s));
    Ok(segments)
}

fn leftovers(fs: &dyn Fs, dir: &Path, state: &State) -> Vec<PathBuf> {
    let is_leftover = |name: &String| match id_of(name) {
        Some(id) => !state.segments.contains_key(&id) && !may_be_named(fs, &dir.join(name), id, state),
        None => name.ends_with(".seg.tmp"),
    };
    fs.list(dir).unwrap_or_default().iter().filter(|name| is_leftover(name)).map(|name| dir.join(name)).collect()
}
