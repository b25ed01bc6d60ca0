//! Sorted in-memory samples: open tails on the series heads, sealed chunks in a skiplist.
//!
//! One memtable is a *generation*: it is active and grows, then sealed and only read, then
//! flushed. The tails are shared by all generations and carry the number of theirs.

// Reached from outside by the models and benches; see `loom_only` and `internals` in the crate's root.
#![allow(unreachable_pub, missing_docs, clippy::new_without_default, clippy::len_without_is_empty)]

mod chunk;
#[cfg(not(loom))]
mod last;
mod pack;
#[cfg(not(loom))]
mod read;
mod table;
mod tail;

pub use chunk::{SealedChunk, Sealer};
pub use pack::{PACK_SLOTS, Packer};
#[cfg(not(loom))]
pub(crate) use read::MemtableSource;
#[cfg(not(loom))]
pub(crate) use table::Listing;
pub use table::{ChunkKey, Table};
pub use tail::{
    COMMITS_MAX, Full, HeadTable, HeadWriter, Kind, Moment, ORDINALS_END, Origin, Pair, Seal, SeriesHead, TailView,
};

use std::sync::Arc;

use crate::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use crate::sync::epoch::Guard;

/// One generation of sealed chunks, and what is known about the generation as a whole.
pub struct Memtable {
    pub generation: u32,
    pub table: Table,
    /// First sequence number that may be here.
    pub first_seq: u64,
    first_commit: u64,
    /// First sequence number behind; fixed when the memtable is sealed.
    end_seq: AtomicU64,
    first: AtomicI64,
    last: AtomicI64,
    samples: AtomicU64,
    bytes: AtomicUsize,
}

/// What one commit added to a memtable.
#[derive(Debug)]
pub struct Added {
    pub samples: u64,
    pub first: i64,
    pub last: i64,
    pub end_seq: u64,
    /// What is before this nobody is shown, and how many samples were.
    pub kept_from: i64,
    pub over_age: u64,
}

impl Added {
    /// Nothing yet, from a memtable's beginning on.
    pub fn nothing(end_seq: u64, kept_from: i64) -> Self {
        Self { samples: 0, first: i64::MAX, last: i64::MIN, end_seq, kept_from, over_age: 0 }
    }
}

impl Memtable {
    /// One that begins with the engine.
    pub fn new(generation: u32, first_seq: u64) -> Self {
        Self::beginning(generation, first_seq, 0)
    }

    /// One to which nothing is appended before the commit `first_commit`.
    pub fn beginning(generation: u32, first_seq: u64, first_commit: u64) -> Self {
        Self {
            generation,
            table: Table::default(),
            first_seq,
            first_commit,
            end_seq: AtomicU64::new(first_seq),
            first: AtomicI64::new(i64::MAX),
            last: AtomicI64::new(i64::MIN),
            samples: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// What its tails refer to.
    pub fn origin(&self) -> Origin {
        Origin { generation: self.generation, commit: self.first_commit }
    }

    /// Whether it has lasted so long that its tails could soon not tell commits apart (T10).
    pub fn is_old(&self, commit: u64) -> bool {
        commit.saturating_sub(self.first_commit) >= COMMITS_MAX
    }

    /// The worker tells what a commit brings, before the watermark covers it.
    pub fn note(&self, added: &Added) {
        // Relaxed: one writer; readers are ordered by the watermark, and a value from a later
        // commit only widens what they look at.
        self.first.store(self.first.load(Ordering::Relaxed).min(added.first), Ordering::Relaxed);
        self.last.store(self.last.load(Ordering::Relaxed).max(added.last), Ordering::Relaxed);
        self.samples.store(self.samples.load(Ordering::Relaxed) + added.samples, Ordering::Relaxed);
        self.end_seq.store(added.end_seq, Ordering::Relaxed);
    }

    /// Bytes of tails and chunks changed.
    pub fn weigh(&self, bytes: isize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).wrapping_add_signed(bytes), Ordering::Relaxed);
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub fn end_seq(&self) -> u64 {
        self.end_seq.load(Ordering::Relaxed)
    }

    /// Everything of one kind of the series in `slot` as of `commit`, which is pinned: sealed chunks in order, then
    /// what was copied of a pack or of the open tail. O(log n + k); takes no lock.
    ///
    /// The tail first, then what is sealed of lower ordinal: whatever is sealed in between was seen in the tail, so
    /// nothing is seen twice or missed (T3, T4). A pack comes last: nothing follows it in its memtable.
    pub fn parts(
        &self,
        head: &SeriesHead,
        guard: &Guard,
        slot: u32,
        kind: Kind,
        commit: u64,
    ) -> (Vec<Arc<SealedChunk>>, Vec<Pair>) {
        let mut tail = Vec::new();
        let below = match head.view(guard, kind, self.origin(), commit, &mut tail) {
            TailView::Copied { ordinal } => ordinal,
            TailView::Elsewhere => ORDINALS_END,
        };
        let chunks = self.table.parts(slot, kind, below, commit, &mut tail);
        (chunks, tail)
    }

    /// Least and greatest timestamp, if there is any sample.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        (self.samples() > 0).then_some((first, last))
    }
}
