//! Deletes and horizons that hide nothing any more.

use std::sync::Arc;

use tidegauge_storage::manifest::Edit;
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::source::SampleSource;

use super::CompactError;
use super::compactor::CompactorParts;
use super::look::Found;
use super::plan::Piece;
use crate::version::hiding;
use crate::watch::Worker;

impl CompactorParts {
    /// Forgets the deletes and horizons that hide nothing any more: not in a segment, and not in a memtable (K9).
    pub(super) fn forget_deletes(&self, found: &Found) -> Result<(), CompactError> {
        let Found { version, hiding: waiting, hides: in_segments, pieces } = found;
        let core = &self.core;
        let work = core.watched.begin(Worker::Compact, "forgetting deletes that are carried out");
        // What a delete hides of a segment that cannot be read is not known. It hides nothing where it names no series.
        let may_name = |t: &Tombstone, id: u64| {
            work.gets_on();
            let segment = version.segments.iter().find(|s| s.info().id == id);
            segment.is_some_and(|s| s.select(&t.matchers).map_or(true, |named| !named.is_empty()))
        };
        let hides = |(t, in_segment): &(&Arc<Tombstone>, &bool)| {
            let damaged = |p: &&Piece| p.damaged && t.reaches(p.seq, Some(p.time));
            let in_memory = version.sealed.iter().any(|m| m.first_seq <= t.seq.0 && m.samples() > 0);
            **in_segment || in_memory || pieces.iter().filter(damaged).any(|p| may_name(t, p.id))
        };
        let deletes = waiting.len() - version.horizons.len();
        let over: Vec<(usize, &Arc<Tombstone>)> = waiting
            .iter()
            .zip(in_segments)
            .enumerate()
            .filter(|(_, waits)| !hides(waits))
            .map(|(i, (t, _))| (i, t))
            .collect();
        let done: Vec<SeqNo> = over.iter().filter(|(i, _)| *i < deletes).map(|(_, t)| t.seq).collect();
        let passed: Vec<&Arc<Tombstone>> = over.iter().filter(|(i, _)| *i >= deletes).map(|(_, t)| *t).collect();
        let mut manifest = self.manifest.lock().expect("manifest lock");
        if let Some(poisoned) = core.gate.poisoned() {
            return Err(poisoned.into());
        }
        let known = &manifest.state().tombstones;
        // One that only the log has comes back with it after a crash, finds nothing, and goes again.
        let noted = done.iter().filter(|seq| known.contains_key(seq));
        let mut edits: Vec<Edit> = noted.map(|seq| Edit::TombstoneRemove(*seq)).collect();
        // One that became another meanwhile stays.
        let state = manifest.state();
        let kept = state.horizons.iter().filter(|horizon| passed.iter().any(|t| ***t == horizon.tombstone()));
        edits.extend(kept.map(|h| Edit::HorizonRemove { before: h.before, through: h.through }));
        match manifest.commit(&edits) {
            Ok(()) if done.is_empty() && passed.is_empty() => Ok(()),
            Ok(()) => {
                core.versions.forget(&done, &hiding(&manifest.state().horizons));
                Ok(())
            }
            Err(error) => {
                drop(manifest);
                Err(self.not_committed("a compaction", error))
            }
        }
    }
}
