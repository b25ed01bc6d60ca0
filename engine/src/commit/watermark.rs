//! The visible watermark: everything below it can be read.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{weakenable, weakenable_step};

/// The last commit that may be read, and the sequence number behind its last sample.
///
/// - W1: only the ingest worker advances it, one commit at a time.
/// - W2: it is advanced after the commit was logged and applied, never before.
/// - W3: a reader that loads commit `c` finds every sample of `c` and of those before.
/// - W4: commit and number of one reading belong together.
///
/// Checked by `loom-tests/tests/watermark.rs`; argued in `docs/concurrency.md`, "Watermarks".
pub struct Watermark {
    commit: AtomicU64,
    /// The numbers of the last two commits, by the parity of the commit: publishing one leaves the number of the commit
    /// before, which readers still use, as it is (W4).
    seqs: [AtomicU64; 2],
}

/// One reading of the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visible {
    pub commit: u64,
    /// First sequence number not yet visible.
    pub seq: u64,
}

impl Watermark {
    pub fn new(at: Visible) -> Self {
        Self { commit: AtomicU64::new(at.commit), seqs: [AtomicU64::new(at.seq), AtomicU64::new(at.seq)] }
    }

    /// Only the worker calls this (W1), with everything of the commit applied (W2).
    pub fn publish(&self, at: Visible) {
        debug_assert_eq!(at.commit, self.commit.load(Ordering::Relaxed) + 1, "one commit at a time (W1)");
        // Release: a reader that finds this number under the commit two before finds, when it looks again, that the
        // commit in between was published (W4).
        self.seq_of(at.commit).store(at.seq, weakenable!("watermark_seq", Release));
        // Release: pairs with the Acquire in `commit`, so what was applied is seen, and the number too (W3, W4).
        self.commit.store(at.commit, weakenable!("watermark", Release));
    }

    pub fn commit(&self) -> u64 {
        // Acquire: pairs with the Release in `publish` (W3).
        self.commit.load(weakenable!("watermark_read", Acquire))
    }

    /// First sequence number that is not visible yet.
    pub fn seq(&self) -> u64 {
        self.load().seq
    }

    /// Commit and number that belong together (W4). Retries only when a commit is published meanwhile.
    pub fn load(&self) -> Visible {
        let mut commit = self.commit();
        loop {
            // At least the number of `commit`, by the Acquire there. Acquire: if it is that of a later commit, then
            // that one's predecessor was published, and the look below sees it.
            let seq = self.seq_of(commit).load(weakenable!("watermark_read_seq", Acquire));
            let again = self.commit();
            if again == commit {
                return Visible { commit, seq };
            }
            commit = again;
        }
    }

    /// A cut through what `load` gives (the version) and the watermark: what was current when a commit was visible.
    ///
    /// The commit is read between two looks that agree. So what it brought is in that version, and what the version
    /// took over from older ones (P7) is not newer than the commit. Retries only when the version changed meanwhile.
    pub fn cut<V>(&self, load: impl Fn() -> V, same: impl Fn(&V, &V) -> bool) -> (Visible, V) {
        let mut version = load();
        loop {
            let visible = self.load();
            let again = load();
            let mut agree = true;
            weakenable_step!("cut_again", agree = same(&version, &again));
            if agree {
                return (visible, version);
            }
            version = again;
        }
    }

    fn seq_of(&self, commit: u64) -> &AtomicU64 {
        &self.seqs[(commit % 2) as usize]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn commit_and_number_belong_together_while_commits_are_published() {
        let watermark = Watermark::new(Visible { commit: 1, seq: 10 });
        std::thread::scope(|scope| {
            scope.spawn(|| (2..20_000).for_each(|commit| watermark.publish(Visible { commit, seq: commit * 10 })));
            loop {
                let Visible { commit, seq } = watermark.load();
                assert_eq!(seq, commit * 10);
                if commit == 19_999 {
                    break;
                }
            }
        });
    }
}
