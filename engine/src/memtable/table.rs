//! The skiplist of sealed chunks.
//!
//! crossbeam's skiplist has no loom form; under loom a mutex and a `BTreeMap` stand in, so
//! that the models check our protocols, not the skiplist.

use std::sync::Arc;

use super::chunk::SealedChunk;
use super::tail::Kind;

/// (series, kind, ordinal) in one word, so that a series' chunks are neighbours in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkKey(u64);

const KIND_BIT: u64 = 1 << 31;

impl ChunkKey {
    /// `ordinal` has 21 bits (`tail.rs`).
    pub(crate) fn new(slot: u32, kind: Kind, ordinal: u32) -> Self {
        let kind = if kind == Kind::Late { KIND_BIT } else { 0 };
        Self(u64::from(slot) << 32 | kind | u64::from(ordinal))
    }

    pub(crate) fn slot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Sealed chunks by key. Inserted by the worker, read by anyone, never removed.
#[derive(Default)]
pub(crate) struct Table {
    #[cfg(not(loom))]
    chunks: crossbeam_skiplist::SkipMap<ChunkKey, Arc<SealedChunk>>,
    #[cfg(loom)]
    chunks: loom::sync::Mutex<std::collections::BTreeMap<ChunkKey, Arc<SealedChunk>>>,
}

impl Table {
    pub(crate) fn insert(&self, key: ChunkKey, chunk: Arc<SealedChunk>) {
        #[cfg(not(loom))]
        self.chunks.insert(key, chunk);
        #[cfg(loom)]
        self.chunks.lock().unwrap().insert(key, chunk);
    }

    /// Chunks of one series and kind with ordinals below `below`, in order. O(log n + k).
    pub(crate) fn chunks(&self, slot: u32, kind: Kind, below: u32) -> Vec<Arc<SealedChunk>> {
        let keys = ChunkKey::new(slot, kind, 0)..ChunkKey::new(slot, kind, below);
        #[cfg(not(loom))]
        return self.chunks.range(keys).map(|entry| Arc::clone(entry.value())).collect();
        #[cfg(loom)]
        return self.chunks.lock().unwrap().range(keys).map(|(_, chunk)| Arc::clone(chunk)).collect();
    }

    /// Slots that have a chunk here, ascending. O(n).
    #[cfg(not(loom))]
    pub(crate) fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.chunks.iter().map(|entry| entry.key().slot()).collect();
        slots.dedup();
        slots
    }
}
