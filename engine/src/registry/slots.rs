//! Heads and labels by slot: found without a lock, never moved.

use std::sync::OnceLock;

use tidegauge_storage::model::Labels;

use crate::memtable::{HeadTable, SeriesHead};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const BLOCK_BITS: u32 = 10;
const BLOCK_SLOTS: usize = 1 << BLOCK_BITS;

/// One kilo of series, made when the first of them is registered.
struct Block {
    heads: Box<[SeriesHead]>,
    labels: Box<[OnceLock<Labels>]>,
}

impl Block {
    fn new() -> Self {
        Self {
            heads: (0..BLOCK_SLOTS).map(|_| SeriesHead::new()).collect(),
            labels: (0..BLOCK_SLOTS).map(|_| OnceLock::new()).collect(),
        }
    }
}

/// The heads and labels of all series of an engine.
pub(crate) struct Slots {
    blocks: Box<[OnceLock<Block>]>,
    len: AtomicU32,
    writer_claimed: AtomicBool,
}

impl Slots {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            blocks: (0..series_max.div_ceil(BLOCK_SLOTS)).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
            writer_claimed: AtomicBool::new(false),
        }
    }

    /// Takes the next slot. The registry's lock is held, so nobody else does; it has checked
    /// that there is one.
    pub(super) fn add(&self, labels: &Labels) -> u32 {
        let slot = self.len.load(Ordering::Relaxed);
        let block = self.blocks[slot as usize >> BLOCK_BITS].get_or_init(Block::new);
        let fresh = block.labels[slot as usize % BLOCK_SLOTS].set(labels.clone());
        debug_assert!(fresh.is_ok(), "a slot is taken once");
        // Release: whoever sees the length finds block and labels.
        self.len.store(slot + 1, Ordering::Release);
        slot
    }

    /// Series registered so far.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// The labels of a slot; `None` if no series has it.
    pub(crate) fn labels(&self, slot: u32) -> Option<&Labels> {
        self.blocks.get(slot as usize >> BLOCK_BITS)?.get()?.labels[slot as usize % BLOCK_SLOTS].get()
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

    fn claim_writer(&self) -> bool {
        !self.writer_claimed.swap(true, Ordering::AcqRel)
    }
}
