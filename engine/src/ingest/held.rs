//! When the worker takes nothing out of lanes, and when there is nothing left to take.

use std::time::Instant;

use super::Worker;
use super::fullness::SEALED_MAX;

impl Worker {
    /// Memory is bounded: with too many memtables waiting for their flush, lanes fill up
    /// instead, and appenders feel their policy.
    pub(super) fn is_held_back(&self) -> bool {
        // At the close nobody waits for a flush that waits, for space, files or memory: what the log holds comes back, and
        // what lanes hold is all that memory grows by.
        if self.core.is_stopping() && self.core.gate.flush_waits().is_some() {
            return false;
        }
        let version = self.core.versions.load();
        let sealed: u64 = version.sealed.iter().map(|memtable| memtable.bytes() as u64).sum();
        let all = sealed + version.active.bytes() as u64;
        version.sealed.len() > SEALED_MAX
            // What was replayed may be larger than a memtable usually is.
            || (!version.sealed.is_empty() && all >= self.flush_bytes.saturating_mul(SEALED_MAX as u64 + 1))
            || (version.sealed.len() == SEALED_MAX && self.is_full())
            // Nor does another one begin while the tails of the last are being sealed; that goes on.
            || (self.is_closing() && self.is_full())
    }

    /// Whether the log found no space a moment ago. At the end it is tried once more.
    pub(super) fn waits_for_space(&self) -> bool {
        self.no_space_until.is_some_and(|until| Instant::now() < until) && !self.core.is_stopping()
    }

    /// At the close, behind a round that took nothing: whether that is so because there is nothing left, or no space to log
    /// it. What waits for memory, or for who is amid a push, is left.
    pub(super) fn has_taken_all(&self) -> bool {
        !self.core.is_held_back() && !self.drain.is_claimed()
    }
}
