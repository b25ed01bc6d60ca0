//! The skiplist of sealed chunks.
//!
//! crossbeam's skiplist has no loom form. Under loom a list stands in that is as weak as the skiplist may be: a chunk
//! that is seen is seen whole, but only who has been told of it (by a tail's stores) is sure to see it. So the models
//! check our protocols, not the skiplist, and do not borrow order from it.

use std::sync::Arc;

use super::chunk::SealedChunk;
use super::tail::Kind;

/// (series, kind, ordinal) in one word, so that a series' chunks are neighbours in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkKey(u64);

const KIND_BIT: u64 = 1 << 31;

impl ChunkKey {
    /// `ordinal` has 21 bits (`tail.rs`).
    pub fn new(slot: u32, kind: Kind, ordinal: u32) -> Self {
        let kind = if kind == Kind::Late { KIND_BIT } else { 0 };
        Self(u64::from(slot) << 32 | kind | u64::from(ordinal))
    }

    pub fn slot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Sealed chunks by key. Inserted by the worker, read by anyone, never removed.
#[derive(Default)]
pub struct Table {
    #[cfg(not(loom))]
    chunks: crossbeam_skiplist::SkipMap<ChunkKey, Arc<SealedChunk>>,
    #[cfg(loom)]
    chunks: stand_in::Chunks,
}

impl Table {
    pub fn insert(&self, key: ChunkKey, chunk: Arc<SealedChunk>) {
        self.chunks.insert(key, chunk);
    }

    /// Chunks of one series and kind with ordinals below `below`, in order. O(log n + k).
    pub fn chunks(&self, slot: u32, kind: Kind, below: u32) -> Vec<Arc<SealedChunk>> {
        let keys = ChunkKey::new(slot, kind, 0)..ChunkKey::new(slot, kind, below);
        #[cfg(not(loom))]
        return self.chunks.range(keys).map(|entry| Arc::clone(entry.value())).collect();
        #[cfg(loom)]
        return self.chunks.range(keys);
    }

    /// Slots that have a chunk here, ascending. O(n).
    #[cfg(not(loom))]
    pub fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.chunks.iter().map(|entry| entry.key().slot()).collect();
        slots.dedup();
        slots
    }
}

#[cfg(loom)]
mod stand_in {
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    use super::{ChunkKey, SealedChunk};
    use crate::sync::atomic::{AtomicUsize, Ordering};

    /// The mutex is std's, which loom does not see: it orders nothing in a model. The count does, and may be read late.
    #[derive(Default)]
    pub(super) struct Chunks {
        all: Mutex<Vec<(ChunkKey, Arc<SealedChunk>)>>,
        count: AtomicUsize,
    }

    impl Chunks {
        pub(super) fn insert(&self, key: ChunkKey, chunk: Arc<SealedChunk>) {
            let count = {
                let mut all = self.all.lock().unwrap();
                all.push((key, chunk));
                all.len()
            };
            // Release, and Acquire below: a chunk that is seen is seen whole, as in the skiplist.
            self.count.store(count, Ordering::Release);
        }

        pub(super) fn range(&self, keys: Range<ChunkKey>) -> Vec<Arc<SealedChunk>> {
            let count = self.count.load(Ordering::Acquire);
            let mut seen: Vec<_> = self.all.lock().unwrap()[..count].to_vec();
            seen.retain(|(key, _)| keys.contains(key));
            seen.sort_by_key(|(key, _)| *key);
            seen.into_iter().map(|(_, chunk)| chunk).collect()
        }
    }
}
