//! Reading all of a store, to know that all of it can be read. Takes no lock, writes nothing.
//!
//! - VF1: What the manifest names is checked: each segment in whole, and the log as recovery would read it.
//! - VF2: Beside a living owner a file that is gone, or a log that moved, counts only if the manifest did not move.
//! - VF3: Beside a living owner damage of the log counts only if a second reading finds it at the same place: the
//!   first may have read a page before it was written, and its witness after.
//! - VF4: Beside a living owner that changes the manifest while it is read, it is read so many times; the last time what moved is
//!   left out and told, and the rest is judged.

mod log;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use tidegauge_storage::fs::{Fs, OsFs};
use tidegauge_storage::manifest::{Manifest, ManifestError, SegmentRef, State};
use tidegauge_storage::segment::{DamagedPlaces, Segment, VerifyReport, file_name, id_of};

use crate::audit::Audited;
use crate::error::OpenError;
use crate::lock::{Owner, owner_of};
use crate::open::lasting;
use crate::recovery::{Finding, later_file, may_be_named, open_named, quarantine};
use crate::sync::atomic::{AtomicU64, Ordering};

pub use report::{Damage, StoreReport};

/// A store that changes each time while it is read is read so many times. Sound segments are read once.
const ROUNDS_MAX: u32 = 10;

/// Told how many of how many bytes are read, now and then, by several threads.
type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Reads all of the store in `dir`: every checksum, every chunk, statistics against samples, the label index against
/// the label sets, files against the manifest, the frames of the log. Beside a living owner too.
///
/// Costs what reading and decoding the whole store costs, on every processor. `progress` is told how many bytes of
/// how many are read.
///
/// # Errors
/// [`OpenError`] if there is nothing to read: no store, or none that may be read. Damage is no error but part of
/// the report.
pub fn verify(dir: impl AsRef<Path>, progress: impl Fn(u64, u64) + Sync) -> Result<StoreReport, OpenError> {
    let dir = &*lasting(dir.as_ref().to_owned());
    // Without its lock, for VF1. What cannot be read of it is told by whoever needs it.
    let owner = owner_of(dir).ok().flatten().filter(Owner::seems_alive);
    verify_on(&(Arc::new(OsFs) as Arc<dyn Fs>), dir, owner.as_ref(), &progress)
}

pub(crate) fn verify_on(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    owner: Option<&Owner>,
    progress: &Progress<'_>,
) -> Result<StoreReport, OpenError> {
    let pool = ThreadPoolBuilder::new().thread_name(|i| format!("tidegauge-verify-{i}")).build();
    let pool = pool.map_err(|e| OpenError::Thread { source: io::Error::other(e) })?;
    let mut known = BTreeMap::new();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let last = rounds == ROUNDS_MAX;
        let verifier = Verifier { fs, dir, owner, progress, done: AtomicU64::new(0), last };
        let manifest = match Manifest::open_read_only(Arc::clone(fs), dir) {
            Ok(manifest) => manifest,
            Err(e @ (ManifestError::Corrupt { .. } | ManifestError::ManifestMissing { .. })) => {
                return pool.install(|| verifier.without_manifest(e));
            }
            Err(e) => return Err(e.into()),
        };
        if let Some(mut report) = pool.install(|| verifier.with_manifest(&manifest, &mut known))? {
            report.notes.extend(untold(&**fs, dir, manifest.state().store_id));
            return Ok(report);
        }
    }
}

/// A repair that was killed leaves a store that is sound, and lacks what it gave up (AD6 of `audit/deletes.rs`). An audit log
/// that cannot be read is told by whoever needs it.
fn untold(fs: &dyn Fs, dir: &Path, store_id: u128) -> Option<String> {
    let audited = Audited::read(fs, dir, store_id).ok()?;
    let note = "audit.log has what a repair gave up, and may have told nobody: the next `tidegauge repair` tells it";
    (!audited.untold(store_id).is_empty()).then(|| note.to_owned())
}

struct Verifier<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    /// Who writes meanwhile.
    owner: Option<&'a Owner>,
    progress: &'a Progress<'a>,
    done: AtomicU64,
    /// What moves under this one is left out and told (VF4).
    last: bool,
}

/// What is right in a segment, and what is not.
type Read = (VerifyReport, DamagedPlaces);

/// What was found of the segments: sound ones are not read again when the manifest moved.
type Known = BTreeMap<u64, VerifyReport>;

impl Verifier<'_> {
    /// `None` if the owner changed the store meanwhile, and it is looked at once more.
    fn with_manifest(&self, manifest: &Manifest, known: &mut Known) -> Result<Option<StoreReport>, OpenError> {
        let state = manifest.state();
        let folder = self.dir.join("segments");
        let total = state.segments.values().map(|s| s.bytes).sum::<u64>();
        let segments: Vec<SegmentRef> = state.segments.values().copied().collect();
        let found: Vec<(SegmentRef, Result<Read, Finding>)> = segments
            .into_par_iter()
            .filter(|named| !known.contains_key(&named.id))
            .map(|named| {
                let read = open_named(&**self.fs, &folder, &named, state.store_id).map(|segment| segment.survey());
                self.read(named.bytes, total);
                (named, read)
            })
            .collect();
        let mut report = StoreReport::default();
        let mut missing: Vec<Damage> = Vec::new();
        for (named, read) in found {
            let path = folder.join(file_name(named.id));
            match read {
                Ok((read, damage)) if damage.is_empty() => drop(known.insert(named.id, read)),
                Ok((read, damage)) => report.count_damaged(&path, &read, damage),
                Err(Finding::Missing) => {
                    missing.push(Damage { file: path, offset: 0, what: "the file is missing".to_owned() });
                }
                Err(Finding::Unreadable(e) | Finding::Unknown(e) | Finding::Damaged(e)) => report.lose(&path, &e),
                // Whoever only opens a segment does not know.
                Err(Finding::Sound(_)) => {}
            }
        }
        let mut moved = || manifest.is_current().map(|current| !current);
        let later = later_file(&**self.fs, self.dir, state)?;
        let has_moved = (!missing.is_empty() || later.is_some()) && moved()?;
        if has_moved && !self.last {
            return Ok(None);
        }
        if has_moved {
            report
                .notes
                .push("segments went, or the store was opened, while it was read: they are left out".to_owned());
        } else {
            report.damaged_segments += missing.len() as u64;
            report.damage.extend(missing);
            if let Some(later) = later {
                let what = format!("an older copy: {} is of a later opening", later.display());
                report.damage.push(Damage { file: self.dir.join("MANIFEST"), offset: 0, what });
            }
        }
        if !log::verify_log(&**self.fs, self.dir, state, self.owner, &mut moved, &mut report)? {
            if !self.last {
                return Ok(None);
            }
            report.notes.push(format!(
                "the log is not judged: what it belongs to has changed each of the {ROUNDS_MAX} times that it was read; verify when less is written, or what a backup has"
            ));
        }
        for id in state.segments.keys() {
            if let Some(read) = known.get(id) {
                report.count(read);
            }
        }
        self.note_others(state, &mut report)?;
        Ok(Some(report))
    }

    /// Without a manifest nobody knows what counts; what is there is read all the same.
    fn without_manifest(&self, why: ManifestError) -> Result<StoreReport, OpenError> {
        let folder = self.dir.join("segments");
        let names = self.list(&folder)?.into_iter().filter(|name| id_of(name).is_some());
        // Whatever is wrong with one shows when it is opened.
        let sized = |path: PathBuf| (self.fs.open_read(&path).and_then(|file| file.len()).unwrap_or(0), path);
        let segments: Vec<(u64, PathBuf)> = names.map(|name| sized(folder.join(name))).collect();
        let mut report = StoreReport::default();
        match why {
            ManifestError::Corrupt { file, offset, what } => {
                report.damage.push(Damage { file, offset, what: what.to_owned() });
            }
            _ => {
                let what = "the manifest is missing, but there is data".to_owned();
                report.damage.push(Damage { file: self.dir.join("MANIFEST"), offset: 0, what });
            }
        }
        let total = segments.iter().map(|(bytes, _)| bytes).sum();
        let read: Vec<_> = segments
            .into_par_iter()
            .map(|(bytes, path)| {
                let read = Segment::open(&**self.fs, &path).map(|segment| segment.survey());
                self.read(bytes, total);
                (path, read)
            })
            .collect();
        for (path, read) in read {
            match read {
                Ok((read, damage)) if damage.is_empty() => report.count(&read),
                Ok((read, damage)) => report.count_damaged(&path, &read, damage),
                Err(e) => report.lose(&path, &e),
            }
        }
        report.notes.push("without a manifest it is not known which segments count, nor what the log holds".to_owned());
        Ok(report)
    }

    /// Files that are there and do not count.
    fn note_others(&self, state: &State, report: &mut StoreReport) -> Result<(), OpenError> {
        let folder = self.dir.join("segments");
        for name in self.list(&folder)? {
            let id = id_of(&name);
            let what = match id {
                Some(id) if state.segments.contains_key(&id) => continue,
                Some(id) if may_be_named(&**self.fs, &folder.join(&name), id, state) => {
                    "may be a segment that the manifest names under another name: keep it until `tidegauge repair` has said whose it is, or set it aside"
                }
                _ => "belongs to nothing: an interrupted write, or just written",
            };
            report.notes.push(format!("segments/{name} {what}"));
        }
        for name in self.list(&self.dir.join(quarantine::FOLDER))? {
            report.notes.push(format!("{}/{name} was set aside", quarantine::FOLDER));
        }
        Ok(())
    }

    /// A folder that is missing holds nothing.
    fn list(&self, folder: &Path) -> Result<Vec<String>, OpenError> {
        match self.fs.list(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| OpenError::Io { path: folder.to_owned(), source }),
        }
    }

    fn read(&self, amount: u64, total: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        (self.progress)(done, total);
    }
}
