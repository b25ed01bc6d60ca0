//! Heads and label sets by slot: found without a lock, never moved.

use std::sync::OnceLock;

use tidegauge_storage::model::{Labels, SeriesKey};

use super::pairs::Texts;
use super::ragged::Ragged;
use crate::memtable::{HeadTable, SeriesHead};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const BLOCK_BITS: u32 = 10;
const BLOCK_SLOTS: usize = 1 << BLOCK_BITS;

/// One kilo of series, made when the first of them is registered.
struct Block {
    heads: Box<[SeriesHead]>,
    /// The numbers of each series' label pairs, names ascending.
    sets: Ragged,
}

impl Block {
    fn new() -> Self {
        Self { heads: (0..BLOCK_SLOTS).map(|_| SeriesHead::new()).collect(), sets: Ragged::new(BLOCK_SLOTS) }
    }
}

/// The heads and labels of all series of an engine.
pub(crate) struct Slots {
    blocks: Box<[OnceLock<Box<Block>>]>,
    texts: Arc<Texts>,
    len: AtomicU32,
    writer_claimed: AtomicBool,
}

impl Slots {
    pub(super) fn new(series_max: usize, texts: Arc<Texts>) -> Self {
        Self {
            blocks: (0..series_max.div_ceil(BLOCK_SLOTS)).map(|_| OnceLock::new()).collect(),
            texts,
            len: AtomicU32::new(0),
            writer_claimed: AtomicBool::new(false),
        }
    }

    /// Takes the next slot. The registry's lock is held, so nobody else does; it has checked
    /// that there is one.
    pub(super) fn add(&self, pairs: &[u32]) -> u32 {
        let slot = self.len.load(Ordering::Relaxed);
        let block = self.blocks[slot as usize >> BLOCK_BITS].get_or_init(|| Box::new(Block::new()));
        block.sets.push(slot as usize % BLOCK_SLOTS, pairs.iter().copied());
        // Release: whoever sees the length finds block and labels.
        self.len.store(slot + 1, Ordering::Release);
        slot
    }

    /// Series registered so far.
    pub(crate) fn len(&self) -> u32 {
        HeadTable::len(self)
    }

    /// The numbers of a series' label pairs, names ascending. None if there is no such series.
    pub(crate) fn pairs(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        // One that nobody set is empty.
        let block = self.blocks.get(slot as usize >> BLOCK_BITS).and_then(OnceLock::get);
        block.map(|block| block.sets.get(slot as usize % BLOCK_SLOTS)).into_iter().flatten()
    }

    /// Puts the encoding of a series' labels into `out`. Answers whether there is such a series.
    pub(crate) fn encoded(&self, slot: u32, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.pairs(slot).for_each(|pair| self.texts.append(pair, out));
        !out.is_empty()
    }

    /// The labels of a series; `None` if there is no such series. Builds them anew each time.
    pub(crate) fn labels(&self, slot: u32) -> Option<Labels> {
        let mut encoded = Vec::new();
        self.encoded(slot, &mut encoded).then(|| Labels::from_encoded(&encoded).expect("encoded by this process"))
    }

    /// The key of a series' labels. `scratch` is memory to work in.
    pub(crate) fn key(&self, slot: u32, scratch: &mut Vec<u8>) -> Option<SeriesKey> {
        self.encoded(slot, scratch).then(|| SeriesKey::of_encoded(scratch))
    }

    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }
}

impl HeadTable for Slots {
    /// # Panics
    /// If the slot was never given out: ids carry their engine's tag, so no caller has one.
    #[inline]
    fn head(&self, slot: u32) -> &SeriesHead {
        let block = self.blocks[slot as usize >> BLOCK_BITS].get().expect("the slot was given out");
        &block.heads[slot as usize % BLOCK_SLOTS]
    }

    fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    fn claim_writer(&self) -> bool {
        !self.writer_claimed.swap(true, Ordering::AcqRel)
    }
}
