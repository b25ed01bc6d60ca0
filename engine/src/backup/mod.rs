//! Copies of a store that open by themselves.
//!
//! - BK1: A backup holds exactly what one state of the manifest names, everything visible when it was asked for
//!   included: it is flushed first, and no log is needed.
//! - BK2: Only segments are shared, by hard links: nobody ever writes to them. What cannot be linked is copied.
//! - BK3: The manifest comes last, and gets its name once the copy is known to be whole, and of one moment. A copy that was
//!   interrupted has none, or after a power loss one that names segments which are not there, and is refused as a store.
//! - BK4: Nothing that is there already is touched: the target must be empty, or not exist.
//! - BK6: Of a copy that could not be made nothing is left, as far as it can be removed: the manifest goes first. Once a
//!   restored store has its manifest it is one, which somebody may have opened, and nothing of it is removed.
//! - BK5: It is a cut of the order of all that was accepted: of samples and deletes it holds those below one number, which
//!   is above all that was visible when it was asked for. Deletes below it are in the manifest before that is copied, the
//!   others are left out, and what they hid is still there: meanwhile compaction carries out none of these.
//! - BK7: It is made in one pass: the segments of that state are held until each has its name in the copy, so that their
//!   files stay, whatever replaces them.
//! - BK8: A close does not wait for a copy, nor does it take anything from one that was begun: what it brings into segments
//!   is what the copy would have flushed, and the files that the copy needs stay. Only the next opening removes them, and
//!   a copy that misses one then says so.

mod bring;
#[cfg(test)]
mod cut_tests;
mod error;
mod restore;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, make_dir};
use tidegauge_storage::manifest::State;
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::segment::{Segment, file_name};

use crate::audit::{Act, Entry};
use crate::core::Core;
use crate::delete::NotNoted;
use crate::engine::Engine;
use crate::error::FlushError;
use crate::gate::Shut;
use crate::life::Life;
use crate::open::lasting;
use crate::recovery::quarantine::copy;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::wait::{NotDurable, block_durable};

#[cfg(feature = "internals")]
pub(crate) use bring::bring_on;
pub use bring::{bring, discard};
pub use error::BackupError;
pub use restore::restore;
#[cfg(feature = "internals")]
pub(crate) use restore::restore_on;

/// Folders in which a copy would be taken for something else.
const OWN_FOLDERS: [&str; 3] = ["segments", "wal", "quarantine"];

/// The name of a restored store's manifest until it is known that the copy is whole, and of one moment.
const UNNAMED: &str = "MANIFEST.tmp";

/// What a backup or a restored store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Segments in it.
    pub segments: u64,
    /// Samples in them.
    pub samples: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of the bytes were copied; the others are shared with the store by hard links.
    pub bytes_copied: u64,
}

/// As [`Engine::backup`]; `progress` is told how many bytes of how many the copy has, linked or copied, segment by
/// segment, once all that was in memory is flushed.
///
/// # Errors
/// As [`Engine::backup`].
pub fn backup(
    engine: &Engine,
    target: impl AsRef<Path>,
    progress: impl Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    checked(engine, target.as_ref(), None, &progress)
}

/// As [`backup`], of a copy that is made to be moved on, to `destination`: the audit log names that as its target, and
/// where it was made beside it.
///
/// # Errors
/// As [`Engine::backup`].
pub fn backup_for(
    engine: &Engine,
    target: impl AsRef<Path>,
    destination: &str,
    progress: impl Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    checked(engine, target.as_ref(), Some(destination), &progress)
}

fn checked(
    engine: &Engine,
    target: &Path,
    destination: Option<&str>,
    progress: &dyn Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    let (life, target) = (engine.life(), &*lasting(target.to_owned()));
    let Some(dir) = &life.dir else { return Err(BackupError::InMemory) };
    life.core.gate.not_in_child().map_err(FlushError::from)?;
    if life.core.gate.why_shut() == Some(Shut::ReadOnly) {
        return Err(BackupError::ReadOnly);
    }
    for own in OWN_FOLDERS {
        if target.starts_with(dir.join(own)) {
            return Err(BackupError::InsideStore { target: target.to_owned() });
        }
    }
    make(engine, target, destination, progress)
}

/// A copy to a folder of the disk that the engine is on, unchecked.
#[cfg(any(test, feature = "internals"))]
pub(crate) fn backup_to(
    engine: &Engine,
    target: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    make(engine, target, None, progress)
}

/// What is asked is right.
fn make(
    engine: &Engine,
    target: &Path,
    destination: Option<&str>,
    progress: &dyn Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    let life = engine.life();
    let fs = &*life.fs;
    // In the store's folder it is synced among others' names. Anywhere else nobody waits for a disk that may not answer.
    let made = if target.starts_with(&life.root) {
        let names = life.manifest.lock().expect("manifest lock").names();
        let mut failures = names.lock();
        make_empty(fs, target).inspect_err(|e| {
            let of_root = matches!(e, BackupError::Io { path, .. } if *path == life.root);
            *failures += u64::from(of_root);
        })?
    } else {
        make_empty(fs, target)?
    };
    let copied = copy_to(engine, target, destination, progress);
    if copied.is_err() {
        clear(fs, target, made);
    }
    copied
}

fn copy_to(
    engine: &Engine,
    target: &Path,
    destination: Option<&str>,
    progress: &dyn Fn(u64, u64),
) -> Result<BackupReport, BackupError> {
    let life = engine.life();
    let (_cut, visible) = Cut::begin(life)?;
    match engine.flush().map_err(BackupError::from).and_then(|()| life.note_deletes_for_copy(visible)) {
        Err(BackupError::Flush(FlushError::Closed)) => life.flushed_by_close(visible)?,
        other => other?,
    }
    let (state, held) = life.cut(visible);
    let report = life.share(&state, target, progress)?;
    drop(held);
    life.reads.graveyard.sweep(&|| ());
    // Other commits may have come since: the copy is of the state that was shared.
    tidegauge_storage::manifest::write_copy(&life.fs, target, &state)?;
    let made_in = target.display().to_string();
    let entry = Entry::new(Act::Backup).text("target", destination.unwrap_or(&made_in));
    // Whoever reads the log looks for the copy where it is in the end.
    let entry = if destination.is_some() { entry.text("made_in", &made_in) } else { entry };
    let entry = entry.number("samples", report.samples).number("bytes", report.bytes);
    // A full disk must not take back a backup that is there.
    life.record(entry, || format!("a backup to {}", target.display()));
    Ok(report)
}

/// While it lives, compaction carries out no delete that the copy may not have.
struct Cut<'a>(&'a Core);

impl<'a> Cut<'a> {
    /// The number above all that is visible, and all that compaction has carried out or is about to.
    fn begin(life: &'a Life) -> Result<(Self, u64), BackupError> {
        let core = &*life.core;
        // With its lock: what the compactor decides on before this is told, it has decided on before what is read here.
        let _manifest = life.manifest.lock().expect("manifest lock");
        // A close that has not shut the gate yet takes this lock later, and finds the copy (BK8).
        if core.gate.why_shut() == Some(Shut::Closed) {
            return Err(FlushError::Closed.into());
        }
        core.copies.fetch_add(1, Ordering::Relaxed);
        let last = core.versions.load().tombstones.iter().map(|t| t.seq.0 + 1).max();
        Ok((Self(core), core.watermark.seq().max(last.unwrap_or(0))))
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.copies.fetch_sub(1, Ordering::Relaxed);
        // What it has waited for.
        self.0.compactions.tell();
    }
}

impl Life {
    /// What the manifest says now, but for deletes that were accepted behind what it has of samples, and with those of the
    /// log that were accepted before (BK5). And the segments that it names: as long as somebody holds them their files stay,
    /// whatever replaces them.
    fn cut(&self, visible: u64) -> (State, Vec<Arc<Segment>>) {
        let manifest = self.manifest.lock().expect("manifest lock");
        let version = self.core.versions.load();
        let end = version.in_segments_below(&self.core.watermark).max(visible);
        let mut state = manifest.state().clone();
        let logged = version.tombstones.iter().map(|t| (t.seq, Tombstone::clone(t)));
        state.tombstones.extend(logged);
        state.tombstones.retain(|seq, _| seq.0 < end);
        (state, version.segments.clone())
    }

    /// A delete that nothing was flushed after is in the log alone, of which a copy has nothing (BK5).
    fn note_deletes_for_copy(&self, visible: u64) -> Result<(), BackupError> {
        let core = &self.core;
        let gone = || core.gate.poisoned().map_or(FlushError::Closed, FlushError::Poisoned);
        if core.durability.logs() {
            block_durable(core, visible).map_err(|e| match e {
                // One that a close gave up goes on no more.
                NotDurable::Short(short) if !core.has_ended() => short.into(),
                NotDurable::Short(_) | NotDurable::Ended(_) => gone(),
            })?;
        }
        self.note_deletes(SeqNo(visible)).map_err(|e| match e {
            NotNoted::Shut => gone().into(),
            NotNoted::Manifest(e) => e.into(),
        })
    }

    /// Waits until the close that is under way has brought all that has a number below `visible` into segments (BK8). The
    /// deletes below are in the version, which is all that the cut needs of them.
    fn flushed_by_close(&self, visible: u64) -> Result<(), BackupError> {
        let core = &self.core;
        let is_flushed = || core.versions.load().in_segments_below(&core.watermark) >= visible;
        core.flushes.wait_until(|| {
            if is_flushed() {
                return Some(Ok(()));
            }
            // Once more: it may have been done between the two looks.
            core.has_ended().then(|| if is_flushed() { Ok(()) } else { Err(BackupError::Closed) })
        })
    }

    /// Whether a copy is being made. For who has shut the gate: none is begun any more.
    pub(crate) fn is_copied(&self) -> bool {
        // Asked by a close, which is to end whatever panicked under the lock.
        let _manifest = lock(&self.manifest);
        self.core.copies.load(Ordering::Relaxed) > 0
    }

    /// Gives every segment of `state` a name in the target.
    fn share(&self, state: &State, target: &Path, progress: &dyn Fn(u64, u64)) -> Result<BackupReport, BackupError> {
        let fs = &*self.fs;
        let (from, to) = (self.root.join("segments"), target.join("segments"));
        let mut report = BackupReport::default();
        let total = state.segments.values().map(|segment| segment.bytes).sum();
        progress(0, total);
        for segment in state.segments.values() {
            let name = file_name(segment.id);
            let copied = link_or_copy(fs, &from.join(&name), &to.join(&name));
            report.bytes_copied += copied.map_err(|e| match e.kind() {
                // The next opening has removed what the closed one kept for this copy.
                io::ErrorKind::NotFound if self.core.has_ended() => BackupError::Closed,
                _ => BackupError::io(&from.join(&name), e),
            })?;
            report.count(segment);
            progress(report.bytes, total);
        }
        fs.sync_dir(&to).map_err(|e| BackupError::io(&to, e))?;
        Ok(report)
    }
}

impl BackupReport {
    fn count(&mut self, segment: &tidegauge_storage::manifest::SegmentRef) {
        self.segments += 1;
        self.samples += segment.samples;
        self.bytes += segment.bytes;
    }
}

/// Makes the folders of an empty copy. Answers whether the target is new.
fn make_empty(fs: &dyn Fs, target: &Path) -> Result<bool, BackupError> {
    let new = match fs.list(target) {
        Ok(names) if names.is_empty() => false,
        Ok(names) if is_unfinished(&names) => return Err(BackupError::Unfinished { target: target.to_owned() }),
        Ok(_) => return Err(BackupError::NotEmpty { target: target.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => true,
        Err(e) => return Err(BackupError::io(target, e)),
    };
    // Those above it, too, before anything is in it: see there.
    make_dir(fs, target).map_err(|(folder, e)| BackupError::io(&folder, e))?;
    let folder = target.join("segments");
    match fs.create_dir_all(&folder) {
        Ok(()) => Ok(new),
        Err(e) => {
            clear(fs, target, new);
            Err(BackupError::io(&folder, e))
        }
    }
}

/// Whether a folder holds what a copy makes before its manifest, and nothing else.
fn is_unfinished(names: &[String]) -> bool {
    names.iter().any(|name| name == "segments")
        && names.iter().all(|name| ["segments", "wal", UNNAMED].contains(&name.as_str()))
}

/// Removes what a copy that failed has made, its folder too if that is `new`. The error that ended it is told, not
/// those of this.
fn clear(fs: &dyn Fs, target: &Path, new: bool) {
    let folders = ["segments", "wal"].map(|name| target.join(name));
    for folder in [target].into_iter().chain(folders.iter().map(PathBuf::as_path)) {
        for name in fs.list(folder).unwrap_or_default() {
            // A folder is no file, and stays.
            let _ = fs.remove(&folder.join(name));
        }
    }
    for folder in &folders {
        let _ = fs.remove_dir(folder);
    }
    if new {
        let _ = fs.remove_dir(target);
    }
}

/// Answers the bytes copied: none if a link could be made.
fn link_or_copy(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<u64> {
    match fs.hard_link(from, to) {
        Ok(()) => Ok(0),
        Err(e) => match e.kind() {
            io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TooManyLinks => copy(fs, from, to),
            _ => Err(e),
        },
    }
}
