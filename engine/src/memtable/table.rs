//! The skiplists of sealed chunks and packs.
//!
//! crossbeam's skiplist has no loom form. Under loom a list stands in that is as weak as the skiplist may be: a chunk
//! that is seen is seen whole, but only who has been told of it (by a tail's stores) is sure to see it. So the models
//! check our protocols, not the skiplist, and do not borrow order from it.

use std::sync::Arc;

use super::chunk::SealedChunk;
use super::pack::{PACK_SLOTS, Pack};
#[cfg(not(loom))]
use super::tail::ORDINALS_END;
use super::tail::{Kind, Pair};
#[cfg(not(loom))]
use crate::registry::large;

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

#[cfg(not(loom))]
type Map<K, V> = crossbeam_skiplist::SkipMap<K, Arc<V>>;
#[cfg(loom)]
type Map<K, V> = stand_in::Map<K, V>;

/// Sealed chunks by key, and packs by the slots they are of. Inserted by the worker, read by anyone, never removed.
#[derive(Default)]
pub struct Table {
    chunks: Map<ChunkKey, SealedChunk>,
    packs: Map<u32, Pack>,
}

/// All of a table in order, gathered once: for whoever reads every series.
#[cfg(not(loom))]
pub struct Listing {
    chunks: Vec<(ChunkKey, Arc<SealedChunk>)>,
    packs: Vec<(u32, Arc<Pack>)>,
}

impl Table {
    pub fn insert(&self, key: ChunkKey, chunk: Arc<SealedChunk>) {
        self.chunks.insert(key, chunk);
    }

    /// Adds the pack of the slots around `slot`; there is one at most.
    pub fn insert_pack(&self, slot: u32, pack: Arc<Pack>) {
        self.packs.insert(slot / PACK_SLOTS, pack);
    }

    /// Chunks of one series and kind with ordinals below `below`, in order, and what a pack has behind them as of
    /// `commit`. O(log n + k).
    pub fn parts(
        &self,
        slot: u32,
        kind: Kind,
        below: u32,
        commit: u64,
        packed: &mut Vec<Pair>,
    ) -> Vec<Arc<SealedChunk>> {
        let keys = ChunkKey::new(slot, kind, 0)..ChunkKey::new(slot, kind, below);
        #[cfg(not(loom))]
        let (chunks, pack) = (
            self.chunks.range(keys).map(|entry| Arc::clone(entry.value())).collect(),
            self.packs.get(&(slot / PACK_SLOTS)).map(|entry| Arc::clone(entry.value())),
        );
        #[cfg(loom)]
        let (chunks, pack) =
            (self.chunks.range(keys), self.packs.range(slot / PACK_SLOTS..slot / PACK_SLOTS + 1).pop());
        if let Some(pack) = pack {
            pack.copy(slot, kind, below, commit, packed);
        }
        chunks
    }

    /// Sealed chunks.
    #[cfg(not(loom))]
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Everything that is here now. One pass; O(n).
    #[cfg(not(loom))]
    pub fn list(&self) -> Listing {
        Listing {
            chunks: self.chunks.iter().map(|entry| (*entry.key(), Arc::clone(entry.value()))).collect(),
            packs: self.packs.iter().map(|entry| (*entry.key(), Arc::clone(entry.value()))).collect(),
        }
    }
}

#[cfg(not(loom))]
impl Listing {
    /// Slots that have a sample here, ascending.
    pub fn slots(&self) -> Vec<u32> {
        let packed = self.packs.len() * PACK_SLOTS as usize;
        let mut slots = large::with_room(self.chunks.len() + packed);
        slots.extend(self.chunks.iter().map(|(key, _)| key.slot()));
        slots.extend(self.packs.iter().flat_map(|(_, pack)| pack.slots()));
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The number of the series' last sample here: each part has that of when it was sealed, and the last was sealed
    /// behind all samples (C2).
    pub fn last_seq(&self, slot: u32) -> u64 {
        let of = |kind| self.chunks(slot, kind).last().map_or(0, |(_, chunk)| chunk.last_seq());
        let packed = self.pack(slot).map_or(0, |pack| pack.last_seq(slot));
        of(Kind::InOrder).max(of(Kind::Late)).max(packed)
    }

    /// As [`Table::parts`], of all ordinals.
    pub fn parts(&self, slot: u32, kind: Kind, commit: u64, packed: &mut Vec<Pair>) -> &[(ChunkKey, Arc<SealedChunk>)] {
        if let Some(pack) = self.pack(slot) {
            pack.copy(slot, kind, ORDINALS_END, commit, packed);
        }
        self.chunks(slot, kind)
    }

    fn chunks(&self, slot: u32, kind: Kind) -> &[(ChunkKey, Arc<SealedChunk>)] {
        let (first, end) = (ChunkKey::new(slot, kind, 0), ChunkKey::new(slot, kind, ORDINALS_END));
        let first = self.chunks.partition_point(|(key, _)| *key < first);
        let len = self.chunks[first..].iter().take_while(|(key, _)| *key < end).count();
        &self.chunks[first..first + len]
    }

    fn pack(&self, slot: u32) -> Option<&Pack> {
        let at = self.packs.binary_search_by_key(&(slot / PACK_SLOTS), |(group, _)| *group).ok()?;
        Some(&self.packs[at].1)
    }
}

#[cfg(loom)]
mod stand_in {
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    use crate::sync::atomic::{AtomicUsize, Ordering};

    /// The mutex is std's, which loom does not see: it orders nothing in a model. The count does, and may be read late.
    pub(super) struct Map<K, V> {
        all: Mutex<Vec<(K, Arc<V>)>>,
        count: AtomicUsize,
    }

    impl<K, V> Default for Map<K, V> {
        fn default() -> Self {
            Self { all: Mutex::default(), count: AtomicUsize::new(0) }
        }
    }

    impl<K: Copy + Ord, V> Map<K, V> {
        pub(super) fn insert(&self, key: K, value: Arc<V>) {
            let count = {
                let mut all = self.all.lock().unwrap();
                all.push((key, value));
                all.len()
            };
            // Release, and Acquire below: what is seen is seen whole, as in the skiplist.
            self.count.store(count, Ordering::Release);
        }

        pub(super) fn range(&self, keys: Range<K>) -> Vec<Arc<V>> {
            let count = self.count.load(Ordering::Acquire);
            let mut seen: Vec<_> = self.all.lock().unwrap()[..count].to_vec();
            seen.retain(|(key, _)| keys.contains(key));
            seen.sort_by_key(|(key, _)| *key);
            seen.into_iter().map(|(_, value)| value).collect()
        }
    }
}
