//! Deleting by matchers and time: counted first, ordered by the worker, hidden at once,
//! given back by compaction (P9).

use std::sync::Arc;
use std::time::Duration;

use tidegauge_query::promql;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError, State};
use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Tombstone};

use crate::audit::Entry;
use crate::clock;
use crate::core::Core;
use crate::error::{DeleteError, WaitError};
use crate::gate::{Shortage, Shut};
use crate::ingest::Request;
use crate::life::Life;
use crate::requests::{NoReply, NotAsked, reply};
use crate::snapshot::{SelectError, Snapshot};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, lock};
use crate::version::Version;
use crate::wait::{NotDurable, block_durable};

/// Deletes that may wait for compaction at a time. Who asks for one looks, and so does the worker, who knows of all that
/// were asked for at the same time.
pub(crate) const TOMBSTONES_MAX: usize = 1_000;
/// What a delete waits for the worker to take it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a delete hides, or would hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteCount {
    /// Series that have a sample in the range.
    pub series: u64,
    /// Their samples in it.
    pub samples: u64,
}

/// Counts what `selector` and `range` name in a snapshot. Decodes what the statistics do not tell.
pub(crate) fn count(snapshot: &Snapshot, selector: &str, range: TimeRange) -> Result<DeleteCount, DeleteError> {
    let counts = snapshot.select(selector)?.range(range).count().map_err(SelectError::from)?;
    let series = counts.iter().filter(|n| **n > 0).count() as u64;
    Ok(DeleteCount { series, samples: counts.iter().sum() })
}

/// Why deletes are not in the manifest.
#[derive(Debug)]
pub(crate) enum NotNoted {
    /// The engine was closed, or has stopped writing.
    Shut,
    Manifest(ManifestError),
}

impl Life {
    /// Deletes; on return it is visible, and survives what a durable push survives.
    pub(crate) fn delete(&self, selector: &str, range: TimeRange) -> Result<SeqNo, DeleteError> {
        self.delete_within(selector, range, PATIENCE)
    }

    /// As [`Self::delete`], where the worker takes it within `patience`.
    pub(crate) fn delete_within(
        &self,
        selector: &str,
        range: TimeRange,
        patience: Duration,
    ) -> Result<SeqNo, DeleteError> {
        let matchers = promql::parse_selector(selector).map_err(SelectError::from)?;
        self.may_delete()?;
        if self.core.is_own_thread() {
            return Err(DeleteError::InWaker);
        }
        let tombstone = Tombstone { seq: SeqNo(0), matchers, range, created: clock::now().nanos() };
        if range.is_empty() {
            return Err(DeleteError::EmptyRange);
        }
        if !tombstone.fits() {
            return Err(DeleteError::TooLarge);
        }
        if self.core.versions.load().tombstones.len() >= TOMBSTONES_MAX {
            return Err(DeleteError::TooMany { limit: TOMBSTONES_MAX });
        }
        let act = |seq: SeqNo| format!("the delete number {} of {selector}", seq.0);
        let seq = self.ask_worker(tombstone.matchers.clone(), range, tombstone.created, patience)?;
        if self.core.durability.logs() {
            block_durable(&self.core, seq.0 + 1).map_err(|e| match e {
                NotDurable::Ended(WaitError::Poisoned(poisoned)) => DeleteError::Poisoned(poisoned),
                NotDurable::Ended(_) => DeleteError::Closed,
                NotDurable::Short(short_of) => {
                    let refused = DeleteError::NotDurable { short_of };
                    // A line would outlive a power loss, which the delete may not: a repair would obey it.
                    self.unaudited(act(seq), &refused);
                    refused
                }
            })?;
        } else {
            self.save_tombstones(seq).inspect_err(|refused| {
                if matches!(refused, DeleteError::NotNoted { .. }) {
                    self.unaudited(act(seq), refused);
                }
            })?;
        }
        self.core.compactions.tell();
        let store_id = self.manifest.lock().expect("manifest lock").state().store_id;
        let entry = Entry::of_delete(&Tombstone { seq, ..tombstone }, selector, store_id);
        // The delete stands all the same, so that a full disk can be emptied.
        self.record(entry, || act(seq));
        Ok(seq)
    }

    fn may_delete(&self) -> Result<(), DeleteError> {
        match self.core.gate.why_shut() {
            Some(Shut::ReadOnly) => Err(DeleteError::ReadOnly),
            Some(Shut::Closed) => Err(DeleteError::Closed),
            Some(Shut::Poisoned(poisoned)) => Err(poisoned.into()),
            // Deleting is how a full disk is emptied.
            Some(Shut::Short(_)) | None => Ok(()),
        }
    }

    fn ask_worker(
        &self,
        matchers: Vec<Matcher>,
        range: TimeRange,
        created: i64,
        patience: Duration,
    ) -> Result<SeqNo, DeleteError> {
        let core = &self.core;
        let gone = || core.gate.poisoned().map_or(DeleteError::Closed, DeleteError::Poisoned);
        let (replier, mut answer) = reply();
        let request = Request::Delete { matchers, range, created, replier };
        let asked = core.ask(request, 1, patience).map_err(|e| match e {
            NotAsked::Full => DeleteError::Busy,
            NotAsked::Closed => gone(),
        })?;
        match answer.wait(Some(patience)) {
            Ok(answer) => answer,
            Err(NoReply::Gone) => Err(gone()),
            // Taken in the meantime, its answer is on the way.
            Err(NoReply::Timeout) if core.requests.withdraw(asked).is_some() => {
                core.counters.wait_timed_out();
                Err(DeleteError::Busy)
            }
            Err(NoReply::Timeout) => answer.wait(None).unwrap_or_else(|_| Err(gone())),
        }
    }

    /// Without a log, deletes live in the manifest: all up to this number.
    fn save_tombstones(&self, seq: SeqNo) -> Result<(), DeleteError> {
        self.note_deletes(seq).map_err(|e| match e {
            NotNoted::Manifest(ManifestError::NoSpace { source, .. }) => {
                DeleteError::NotNoted { short_of: Shortage::of(&source) }
            }
            _ => self.core.gate.poisoned().map_or(DeleteError::Closed, DeleteError::Poisoned),
        })
    }

    /// Brings all deletes up to this number into the manifest. They must be durable already, if there is a log: what
    /// comes back after a crash is a prefix, and a delete hides nothing of what lies before a hole.
    pub(crate) fn note_deletes(&self, seq: SeqNo) -> Result<(), NotNoted> {
        let mut manifest = self.manifest_to_change().map_err(|_| NotNoted::Shut)?;
        let edits = unsaved(&self.core.versions.load(), manifest.state(), seq.0);
        let noted = manifest.commit(&edits);
        drop(manifest);
        if let Err(e) = &noted
            && !e.changes_nothing()
        {
            self.core.poison(uncommitted(e));
        }
        noted.map_err(NotNoted::Manifest)
    }

    /// At the close, when nobody else commits any more: deletes that nothing was flushed behind since they could not be
    /// noted (X13). Answers how many of this opening are undone with the close, and what they were short of.
    pub(crate) fn note_rest(&self) -> Option<(u64, Option<Shortage>)> {
        let core = &self.core;
        // A log has them. Whoever only reads has those of others.
        if core.durability.logs() || core.is_poisoned() || core.gate.why_shut() == Some(Shut::ReadOnly) {
            return None;
        }
        let mut manifest = lock(&self.manifest);
        let edits = unsaved(&core.versions.load(), manifest.state(), u64::MAX);
        if edits.is_empty() {
            return None;
        }
        let noted = manifest.commit(&edits);
        drop(manifest);
        let e = noted.err()?;
        if !e.changes_nothing() {
            core.note_poison(uncommitted(&e));
            return None;
        }
        let short_of = match &e {
            ManifestError::NoSpace { source, .. } => Some(Shortage::of(source)),
            _ => None,
        };
        // The log of the opening before has those that it brought.
        let is_own = |edit: &&Edit| matches!(edit, Edit::TombstoneAdd(t) if t.seq >= self.begins_at);
        let undone = edits.iter().filter(is_own).count() as u64;
        (undone > 0).then_some((undone, short_of))
    }
}

fn uncommitted(error: &ManifestError) -> String {
    format!("a delete cannot be committed: {error}")
}

/// The deletes of a version up to the number `through` that the manifest does not have yet.
pub(crate) fn unsaved(version: &Version, state: &State, through: u64) -> Vec<Edit> {
    let due = |t: &&Arc<Tombstone>| t.seq.0 <= through && !state.tombstones.contains_key(&t.seq);
    version.tombstones.iter().filter(due).map(|t| Edit::TombstoneAdd(Tombstone::clone(t))).collect()
}

/// Deletes that survive a power loss: what an earlier one would leave behind must not be gone already (P5). While a copy is
/// made, those alone of which all that was accepted before is in segments: what comes later it has not (BK5).
pub(crate) fn settled(core: &Core, manifest: &Mutex<Manifest>, version: &Version) -> Vec<Arc<Tombstone>> {
    let durable = if core.durability.logs() { core.durable.seq() } else { 0 };
    let manifest = manifest.lock().expect("manifest lock");
    let known = &manifest.state().tombstones;
    let flushed = match core.copies.load(Ordering::Relaxed) {
        0 => u64::MAX,
        _ => version.in_segments_below(&core.watermark),
    };
    let is_settled = |t: &&Arc<Tombstone>| t.seq.0 < flushed && (t.seq.0 < durable || known.contains_key(&t.seq));
    version.tombstones.iter().filter(is_settled).cloned().collect()
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::fs::{Fs, MemFs};
    use tidegauge_storage::model::Timestamp;

    use super::*;
    use crate::core::SeriesSample;
    use crate::faults::{SOON, series};
    use crate::options::{Builder, Durability, Level};

    /// Those who asked at the same time each found a place, and all of them took it.
    #[test]
    fn the_worker_takes_no_delete_beyond_the_last_place() {
        let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
        builder.fs = Some(Arc::new(MemFs::new()) as Arc<dyn Fs>);
        let engine = builder.open().unwrap();
        let id = series(&engine, 0);
        let sample = |i| SeriesSample::new(id, Timestamp::from_nanos(i), 1.0);
        let ack = engine.push_batch(&(0..=2_000).map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
        let range = |i: i64| TimeRange::new(Timestamp::from_nanos(i), Timestamp::from_nanos(i + 1));
        let matchers = || promql::parse_selector("cpu").unwrap();
        let ask = |i| engine.life().ask_worker(matchers(), range(i), 0, PATIENCE);
        for i in 0..TOMBSTONES_MAX as i64 {
            ask(i).unwrap();
        }
        let refused = engine.delete("cpu", range(1_500)).unwrap_err();
        assert!(matches!(refused, DeleteError::TooMany { limit: TOMBSTONES_MAX }), "{refused}");
        let refused = ask(1_500).unwrap_err();
        assert!(matches!(refused, DeleteError::TooMany { limit: TOMBSTONES_MAX }), "{refused}");
    }
}
