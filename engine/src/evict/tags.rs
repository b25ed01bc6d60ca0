//! Whose a slot is: a number that no series ever shared.

use std::sync::OnceLock;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::weakenable;

const BLOCK_BITS: u32 = if cfg!(loom) { 1 } else { 10 };
const BLOCK_SLOTS: usize = 1 << BLOCK_BITS;

/// The slot is nobody's.
const FREE: u32 = 0;

/// The tag of the series in each slot. A slot that is given again has another tag, and tags of two engines of a process
/// differ, so a series id is (slot, tag) and never comes back.
///
/// Protocol and invariants V1–V7: `docs/concurrency.md`, "Eviction". Models: `loom-tests/tests/evict.rs`.
pub struct Tags {
    blocks: Box<[OnceLock<Box<[AtomicU32]>>]>,
    /// Slots given so far, those that are free again included.
    len: AtomicU32,
    /// What slots get that are given now. Changes with each eviction, upwards.
    turn: AtomicU32,
    /// The first of them: while it is the only one, no slot was ever given twice.
    first: u32,
}

impl Tags {
    /// For up to `slots_max` slots.
    pub fn new(slots_max: usize) -> Self {
        let first = next_tag();
        Self {
            blocks: (0..slots_max.div_ceil(BLOCK_SLOTS)).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
            turn: AtomicU32::new(first),
            first,
        }
    }

    /// Slots given so far.
    #[inline]
    pub fn len(&self) -> u32 {
        // Acquire: pairs with the Release in `give`.
        self.len.load(Ordering::Acquire)
    }

    /// Slots there can be.
    pub fn slots_max(&self) -> u32 {
        (self.blocks.len() << BLOCK_BITS) as u32
    }

    /// The tag of the last eviction, or of the beginning. To compare with: it hands nothing over.
    #[inline]
    pub fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// As [`Self::turn`]; whoever reads it sees what that eviction took (V2).
    pub fn turn_seen(&self) -> u32 {
        // Acquire: pairs with the Release in `next_turn`.
        self.turn.load(weakenable!("turn_read", Acquire))
    }

    /// Whether the slot belongs to the series of this tag, as far as somebody knows who has seen `turn`.
    #[inline]
    pub fn knows(&self, slot: u32, tag: u32, turn: u32) -> bool {
        self.knowing(turn)(slot, tag)
    }

    /// As [`Self::knows`], of slots and tags that were given before this call.
    #[inline]
    pub fn knowing(&self, turn: u32) -> impl Fn(u32, u32) -> bool + '_ {
        let (is_first, len) = (turn == self.first, self.len());
        // Before the first eviction all slots have one tag, and none of them is looked up. The length also lets through
        // only slots whose heads the worker will find, whatever somebody makes up.
        move |slot, tag| slot < len && if is_first { tag == turn } else { tag != FREE && self.of(slot) == tag }
    }

    /// Whether the slot is nobody's. Ordered by the registry's lock.
    pub fn is_free(&self, slot: u32) -> bool {
        self.of(slot) == FREE
    }

    /// Whether there are numbers for many more evictions.
    pub fn has_turns(&self) -> bool {
        self.turn() < u32::MAX - (1 << 24)
    }

    /// Whether the slot belongs to the series of this tag now.
    #[inline]
    pub fn is(&self, slot: u32, tag: u32) -> bool {
        self.knows(slot, tag, self.turn_seen())
    }

    /// The tag of the series in a slot; 0 if there is none.
    #[inline]
    pub fn of(&self, slot: u32) -> u32 {
        let block = self.blocks.get(slot as usize >> BLOCK_BITS).and_then(OnceLock::get);
        // Relaxed: who knows of an eviction has seen what it took (V2), and who has an id got it in order.
        block.map_or(FREE, |block| block[slot as usize % BLOCK_SLOTS].load(Ordering::Relaxed))
    }

    /// A slot is given to a series: a free one, or the next. Answers its tag. One caller at a time, and none while an
    /// eviction goes on.
    pub fn give(&self, slot: u32) -> u32 {
        let tag = self.turn();
        let zeroed = || (0..BLOCK_SLOTS).map(|_| AtomicU32::new(FREE)).collect();
        let block = self.blocks[slot as usize >> BLOCK_BITS].get_or_init(zeroed);
        block[slot as usize % BLOCK_SLOTS].store(tag, Ordering::Relaxed);
        if slot >= self.len.load(Ordering::Relaxed) {
            // Release: whoever sees the length finds the tag, and what the caller did before.
            self.len.store(slot + 1, Ordering::Release);
        }
        tag
    }

    /// A slot becomes free. The worker alone, followed by [`Self::next_turn`] before any slot is given.
    pub fn take(&self, slot: u32) {
        let block = self.blocks.get(slot as usize >> BLOCK_BITS).and_then(OnceLock::get);
        // Relaxed: published by the turn.
        block.inspect(|block| block[slot as usize % BLOCK_SLOTS].store(FREE, Ordering::Relaxed));
    }

    /// Ends an eviction: who reads the turn answered here refuses what was taken before (V2).
    pub fn next_turn(&self) -> u32 {
        let turn = next_tag();
        self.turn.store(turn, weakenable!("turn", Release));
        turn
    }
}

/// A number for all engines of the process, upwards. Four thousand million; nothing is evicted near their end.
fn next_tag() -> u32 {
    // Not one of loom's: it outlives a model's run, and orders nothing.
    static NEXT: std::sync::Mutex<u32> = std::sync::Mutex::new(FREE);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *next += 1;
    *next
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_comes_back_and_a_made_up_one_is_nobodys() {
        let (tags, other) = (Tags::new(3_000), Tags::new(3_000));
        let old = tags.give(0);
        assert_eq!(tags.give(1), old);
        assert!(tags.is(0, old) && !tags.is(2, old), "not given yet");
        assert!(!other.is(0, old), "of another engine");
        tags.take(0);
        let turn = tags.next_turn();
        assert!(!tags.is(0, old) && tags.is(1, old));
        assert!(!tags.is(0, FREE) && !tags.is(0, turn) && !tags.is(1, turn), "made up");
        assert!(!tags.is(u32::MAX, turn) && !tags.is(2_999, FREE));
        assert_eq!(tags.give(0), turn);
        assert!(tags.is(0, turn) && !tags.is(0, old));
        assert_eq!((tags.len(), tags.slots_max()), (2, 3 << BLOCK_BITS));
    }
}
