//! When a memtable is full, and its flush due.

use super::{Log, Worker};
use crate::delete::TOMBSTONES_MAX;
use crate::gate::Shut;
use crate::sync::atomic::Ordering;

/// Sealed memtables that may wait for their flush; then pushes are held back.
pub(super) const SEALED_MAX: usize = 2;
/// A memtable is full at this many samples, whatever they weigh: so the log never holds more
/// than three times as many, and a recovery, at some 33 million a second, takes no longer than a
/// second. (One series' chunks are numbered with 21 bits.)
const MEMTABLE_SAMPLES_MAX: u64 = 10 << 20;

impl Worker {
    /// Whether the active memtable is due for a flush.
    pub(super) fn is_full(&self) -> bool {
        let active = self.applier.active();
        active.bytes() as u64 >= self.flush_bytes
            || active.samples() >= MEMTABLE_SAMPLES_MAX
            || active.is_old(self.visible.commit)
            || self.has_full_log()
    }

    /// Only a flush lets go of the log: of no sample, it commits the deletes that are not forgotten by then (F6). On a full
    /// disk they stay in the reserve (X2).
    fn is_full_of_deletes(&self) -> bool {
        self.has_full_log() && !matches!(self.core.gate.why_shut(), Some(Shut::Short(_)))
    }

    fn has_full_log(&self) -> bool {
        let is_full = |log: &Log| log.bytes() >= self.wal_bytes || log.deletes >= TOMBSTONES_MAX;
        self.log.as_ref().is_some_and(|(log, _)| is_full(log))
    }

    pub(super) fn wants_rotation(&self) -> bool {
        let active = self.applier.active();
        // An empty one that is old may yet get samples (T10).
        let due_empty = || self.is_full_of_deletes() || active.is_old(self.visible.commit);
        if self.closing.is_some() || (active.samples() == 0 && !due_empty()) {
            return false;
        }
        let asked = self.core.flush_wanted.load(Ordering::Acquire) >= active.generation;
        asked || (self.is_full() && self.core.versions.load().sealed.len() < SEALED_MAX)
    }
}
