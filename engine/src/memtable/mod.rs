//! Sorted in-memory samples: open tails on the series heads, sealed chunks in a skiplist.
//!
//! One memtable is a *generation*: it is active and grows, then sealed and only read, then
//! flushed. The tails are shared by all generations and carry the number of theirs.

mod chunk;
mod read;
mod table;
mod tail;

pub(crate) use chunk::{SealedChunk, Sealer};
pub(crate) use read::MemtableSource;
pub(crate) use table::{ChunkKey, Table};
pub(crate) use tail::{Full, HeadTable, HeadWriter, Kind, Moment, Pair, Seal, SeriesHead, TailView};

use crate::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// One generation of sealed chunks, and what is known about the generation as a whole.
pub(crate) struct Memtable {
    pub(crate) generation: u32,
    pub(crate) table: Table,
    /// First sequence number that may be here.
    pub(crate) first_seq: u64,
    /// First sequence number behind; fixed when the memtable is sealed.
    end_seq: AtomicU64,
    first: AtomicI64,
    last: AtomicI64,
    samples: AtomicU64,
    bytes: AtomicUsize,
}

/// What one commit added to a memtable.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) samples: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) end_seq: u64,
}

impl Memtable {
    pub(crate) fn new(generation: u32, first_seq: u64) -> Self {
        Self {
            generation,
            table: Table::default(),
            first_seq,
            end_seq: AtomicU64::new(first_seq),
            first: AtomicI64::new(i64::MAX),
            last: AtomicI64::new(i64::MIN),
            samples: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// The worker tells what a commit brings, before the watermark covers it.
    pub(crate) fn note(&self, added: &Added) {
        // Relaxed: one writer; readers are ordered by the watermark, and a value from a later
        // commit only widens what they look at.
        self.first.store(self.first.load(Ordering::Relaxed).min(added.first), Ordering::Relaxed);
        self.last.store(self.last.load(Ordering::Relaxed).max(added.last), Ordering::Relaxed);
        self.samples.store(self.samples.load(Ordering::Relaxed) + added.samples, Ordering::Relaxed);
        self.end_seq.store(added.end_seq, Ordering::Relaxed);
    }

    /// Bytes of tails and chunks changed.
    pub(crate) fn weigh(&self, bytes: isize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).wrapping_add_signed(bytes), Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub(crate) fn end_seq(&self) -> u64 {
        self.end_seq.load(Ordering::Relaxed)
    }

    /// Least and greatest timestamp, if there is any sample.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        (self.samples() > 0).then_some((first, last))
    }
}
