//! The visible watermark: everything below it can be read.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::weakenable;

/// The last commit that may be read, and the sequence number behind its last sample.
///
/// - W1: only the ingest worker advances it, and never backwards.
/// - W2: it is advanced after the commit was logged and applied, never before.
/// - W3: a reader that loads commit `c` finds every sample of `c` and of those before.
///
/// Checked by `loom-tests/tests/watermark.rs`.
pub(crate) struct Watermark {
    commit: AtomicU64,
    seq: AtomicU64,
}

/// One reading of the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    pub(crate) commit: u64,
    /// First sequence number not yet visible.
    pub(crate) seq: u64,
}

impl Watermark {
    pub(crate) fn new(at: Visible) -> Self {
        Self { commit: AtomicU64::new(at.commit), seq: AtomicU64::new(at.seq) }
    }

    /// Only the worker calls this (W1), with everything of the commit applied (W2).
    pub(crate) fn publish(&self, at: Visible) {
        // The number first: a reader that sees it before its commit loads again (`load`).
        self.seq.store(at.seq, Ordering::Release);
        // Release: pairs with the Acquire in `commit`, so what was applied is seen (W3).
        self.commit.store(at.commit, weakenable!("watermark", Release));
    }

    pub(crate) fn commit(&self) -> u64 {
        // Acquire: pairs with the Release in `publish` (W3).
        self.commit.load(Ordering::Acquire)
    }

    /// First sequence number that is not visible yet. May run ahead of [`Self::commit`] by
    /// one commit that is just being published.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Commit and number that belong together. Retries only while commits are published.
    pub(crate) fn load(&self) -> Visible {
        loop {
            let commit = self.commit();
            let seq = self.seq();
            // Acquire on `seq` read the number of `commit` or a later one; if it was a later
            // one, its commit follows at once, or has already.
            if commit == self.commit.load(Ordering::Acquire) && self.seq.load(Ordering::Acquire) == seq {
                return Visible { commit, seq };
            }
            crate::sync::hint::spin_loop();
        }
    }
}
