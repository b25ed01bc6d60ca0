//! Open tails: where a sample lands, and where a reader may look at the same moment.
//!
//! Protocol and invariants: `docs/concurrency.md`, "Open tails". Models: `loom-tests/tests/tail.rs`.
#![allow(unsafe_code)]

mod buf;
mod head;
#[cfg(all(test, not(loom)))]
mod tests;
mod view;

use std::ptr::{self, NonNull};

use crate::commit::PinView;
use crate::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};
use crate::sync::{UnsafeCell, weakenable, weakenable_step};

pub use buf::{ChunkMark, ORDINALS_END, len_at};
use buf::{Mark, Marks, Slot, TailBuf, free_marks, next_capacity, retire, slot_at, with_pairs};
pub use head::{HeadTable, HeadWriter, SeriesHead};
pub use view::TailView;

/// Samples in a full tail; it is sealed then. One vector of a chunk.
#[cfg(not(loom))]
pub const TAIL_SAMPLES: usize = 1024;
/// Small, so that a model fills a tail with two samples.
#[cfg(loom)]
pub const TAIL_SAMPLES: usize = 2;

/// Longest tail that is packed at the rotation: beyond, an encoded chunk is smaller.
pub const PACKED_SAMPLES: usize = if cfg!(loom) { 1 } else { 24 };

/// Timestamp and value beside each other: one cache line takes four.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub timestamp: i64,
    pub value: f64,
}

/// What a reader needs in one load: the commit that touched the tail last, counted from its memtable's [`Origin`] (T10),
/// the length before it did, the length now. Of a tail that is empty the commit says nothing.
#[derive(Clone, Copy)]
struct State(u64);

const LEN_BITS: u32 = 11;
const LEN_MASK: u64 = (1 << LEN_BITS) - 1;
const _: () = assert!(TAIL_SAMPLES as u64 <= LEN_MASK);
const COMMIT_BITS: u32 = u64::BITS - 2 * LEN_BITS;

/// A memtable is full after so many commits, whatever they brought: half of what a state can count (T10). With a million
/// of them a second that is three weeks.
pub const COMMITS_MAX: u64 = 1 << (COMMIT_BITS - 1);

/// Of a memtable, what its tails refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub generation: u32,
    /// Not above its first commit; states count from here (T10).
    pub commit: u64,
}

impl State {
    fn new(commit: u64, base: u64, len: u64) -> Self {
        debug_assert!(commit < 1 << COMMIT_BITS, "the memtable was rotated long before");
        Self(commit << (2 * LEN_BITS) | base << LEN_BITS | len)
    }

    /// Without the origin.
    fn commit(self) -> u64 {
        self.0 >> (2 * LEN_BITS)
    }

    /// The last touch, with the whole number of its commit.
    fn touch(self, origin: u64) -> ChunkMark {
        ChunkMark { commit: origin + self.commit(), base: self.base() as u32 }
    }

    fn base(self) -> u64 {
        (self.0 >> LEN_BITS) & LEN_MASK
    }

    fn len(self) -> u64 {
        self.0 & LEN_MASK
    }
}

/// What only the thread with the [`HeadWriter`] touches.
struct Own {
    slots: *mut Slot,
    generation: u32,
    capacity: u32,
    /// That of the generation. See [`Origin::commit`].
    origin: u64,
}

impl Own {
    /// The buffer is gone: what it weighed.
    fn release(&mut self) -> isize {
        TailBuf::layout(std::mem::take(&mut self.capacity) as usize).size() as isize
    }
}

/// The marks of a buffer that is still published, newest first. For the one writer.
fn kept_marks(buf: NonNull<TailBuf>) -> Marks {
    // SAFETY: only the writer retires buffers, and this one is still published.
    let kept = unsafe { buf.as_ref() }.marks.load(Ordering::Relaxed);
    // SAFETY: the writer alone adds marks, and they are freed only when it retires their buffer.
    unsafe { Marks::new(kept) }
}

struct OpenTail {
    state: AtomicU64,
    buf: AtomicPtr<TailBuf>,
    /// Of an in-order tail the greatest timestamp in its generation. Of a late tail the greatest at which one of its
    /// samples took the place of the newest in order, in all generations. One writer (T1).
    last: AtomicI64,
    own: UnsafeCell<Own>,
}

/// Which of a series' two tails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Strictly newer than all before it in its memtable.
    InOrder,
    /// Everything else, in order of acceptance.
    Late,
}

/// When an append happens.
pub struct Moment<'a> {
    pub commit: u64,
    /// Of the active memtable.
    pub origin: Origin,
    pub pins: &'a PinView,
}

/// A tail that is full or whose memtable is no longer active.
pub struct Full<'a> {
    pub slot: u32,
    pub kind: Kind,
    pub generation: u32,
    pub ordinal: u32,
    pub pairs: &'a [Pair],
    pub marks: Vec<ChunkMark>,
    /// Number of the series' last sample, of either kind, when the tail was sealed: of the last tail sealed of a
    /// generation, that of the generation (C2).
    pub last_seq: u64,
}

/// Takes sealed tails into the skiplist, and hears what the tails weigh.
pub trait Seal {
    /// The samples must be readable in the skiplist of their generation on return (T3).
    fn seal(&mut self, full: Full<'_>);

    /// A short idle tail for the pack at hand.
    fn pack(&mut self, full: Full<'_>);

    /// All that was packed since the last call must be readable on return (T3). It is of `generation`, and of the
    /// slots around `slot`.
    fn finish_pack(&mut self, generation: u32, slot: u32);

    /// What the tails of `generation` take, their marks included, grew (or shrank, when a tail was sealed).
    fn weigh(&mut self, generation: u32, bytes: isize);
}

impl OpenTail {
    fn new() -> Self {
        let own = Own { slots: ptr::null_mut(), generation: 0, capacity: 0, origin: 0 };
        Self {
            state: AtomicU64::new(0),
            buf: AtomicPtr::new(ptr::null_mut()),
            last: AtomicI64::new(i64::MIN),
            own: UnsafeCell::new(own),
        }
    }

    /// Appends the first of `pairs`, and those that follow while there is room and each is newer than all before it;
    /// answers how many.
    ///
    /// # Safety
    /// Only the holder of the one `HeadWriter` calls this, and not while inside another call.
    #[inline]
    unsafe fn append<S: Seal>(
        &self,
        slot: u32,
        kind: Kind,
        at: &Moment<'_>,
        pairs: impl IntoIterator<Item = Pair>,
        last_seq: &AtomicU64,
        seal: &mut S,
    ) -> usize {
        self.own.with_mut(|own| {
            // SAFETY: the caller is the only one to touch `own` (T1).
            let own = unsafe { &mut *own };
            // Relaxed: this thread alone stores the state.
            let mut state = State(self.state.load(Ordering::Relaxed));
            if state.len() == u64::from(own.capacity) || own.generation != at.origin.generation {
                self.make_room(slot, kind, at, own, last_seq, seal);
                state = State(self.state.load(Ordering::Relaxed));
            }
            let commit = at.commit - at.origin.commit;
            if state.commit() != commit {
                if !at.pins.is_empty() {
                    self.keep_mark(state, at, seal);
                }
                state = State::new(commit, state.len(), state.len());
            }
            let room = (u64::from(own.capacity) - state.len()) as usize;
            // Relaxed: this thread alone stores it.
            let mut last = self.last.load(Ordering::Relaxed);
            let mut taken = 0;
            for pair in pairs.into_iter().take(room) {
                if taken > 0 && pair.timestamp <= last {
                    break;
                }
                last = last.max(pair.timestamp);
                // SAFETY: `make_room` left room, and no more than that is taken, so the slot lies inside the buffer.
                let cell = unsafe { slot_at(own.slots, state.len() as usize + taken) };
                // SAFETY: no reader looks at or beyond the published length (T2).
                cell.with_mut(|p| unsafe { (*p).write(pair) });
                taken += 1;
            }
            if kind == Kind::InOrder {
                // Relaxed: this thread alone loads it.
                self.last.store(last, Ordering::Relaxed);
            }
            // Release: pairs with the Acquire in `view`; the samples, their buffer and the marks
            // kept above are visible to whoever sees this length (T2, T5).
            self.state.store(state.0 + taken as u64, weakenable!("tail_len", Release));
            taken
        })
    }

    /// Grows the buffer, or seals it and starts the next one.
    #[cold]
    fn make_room<S: Seal>(
        &self,
        slot: u32,
        kind: Kind,
        at: &Moment<'_>,
        own: &mut Own,
        last_seq: &AtomicU64,
        seal: &mut S,
    ) {
        let same = own.generation == at.origin.generation;
        let state = State(self.state.load(Ordering::Relaxed));
        let old = NonNull::new(self.buf.load(Ordering::Relaxed));
        if let Some(old) = old
            && same
            && (own.capacity as usize) < TAIL_SAMPLES
        {
            self.grow(old, state.len() as usize, own, seal);
            return;
        }
        let mut ordinal = 0;
        if let Some(old) = old {
            debug_assert!(same, "what is open of an older memtable was closed before");
            // SAFETY: only this thread retires buffers, and this one is still published.
            ordinal = unsafe { old.as_ref() }.ordinal() + 1;
            self.seal(slot, kind, old, own, last_seq.load(Ordering::Relaxed), seal);
        }
        if !same && kind == Kind::InOrder {
            // Of a late tail it never falls, so that `newest` misses no late sample that wins (T9).
            self.last.store(i64::MIN, Ordering::Relaxed);
        }
        // After a full tail the series is busy: begin with a kilobyte.
        let capacity = if ordinal == 0 { next_capacity(0) } else { next_capacity(31.min(TAIL_SAMPLES)) };
        let fresh = TailBuf::allocate(at.origin.generation, ordinal, capacity, ptr::null_mut());
        seal.weigh(at.origin.generation, TailBuf::layout(capacity).size() as isize);
        own.slots = TailBuf::slots(fresh);
        own.capacity = capacity as u32;
        (own.generation, own.origin) = (at.origin.generation, at.origin.commit);
        // Release: whoever sees the buffer sees its header, and the state that `seal` left (T4).
        self.buf.store(fresh.as_ptr(), weakenable!("tail_fresh", Release));
    }

    fn grow<S: Seal>(&self, old: NonNull<TailBuf>, len: usize, own: &mut Own, seal: &mut S) {
        // SAFETY: only this thread retires buffers, and this one is still published.
        let header = unsafe { old.as_ref() };
        let capacity = next_capacity(own.capacity as usize);
        let marks = header.marks.load(Ordering::Relaxed);
        let grown = TailBuf::allocate(header.generation, header.ordinal(), capacity, marks);
        for i in 0..len {
            // SAFETY: both slots lie inside their buffers: `len` fits the smaller one.
            let from = unsafe { slot_at(own.slots, i) };
            // SAFETY: as above.
            let to = unsafe { slot_at(TailBuf::slots(grown), i) };
            // SAFETY: `from` was written before the length covered it, and `to` is not yet
            // published, so nobody else touches it.
            from.with(|from| to.with_mut(|to| unsafe { ptr::copy_nonoverlapping(from, to, 1) }));
        }
        let more = TailBuf::layout(capacity).size() - TailBuf::layout(own.capacity as usize).size();
        seal.weigh(header.generation, more as isize);
        own.slots = TailBuf::slots(grown);
        own.capacity = capacity as u32;
        // Release: whoever sees the buffer sees the samples copied into it (T4).
        self.buf.store(grown.as_ptr(), weakenable!("tail_grow", Release));
        retire(old, ptr::null_mut());
    }

    /// Moves the tail's samples to the skiplist and leaves the series without a tail.
    fn seal<S: Seal>(&self, slot: u32, kind: Kind, old: NonNull<TailBuf>, own: &mut Own, last_seq: u64, seal: &mut S) {
        let state = State(self.state.load(Ordering::Relaxed));
        let mut marks = vec![state.touch(own.origin)];
        marks.extend(kept_marks(old));
        // SAFETY: only this thread retires buffers, and this one is still published.
        let generation = unsafe { old.as_ref() }.generation;
        self.with_full(slot, kind, old, own, marks, last_seq, |full| seal.seal(full));
        let marks = self.empty(old);
        seal.weigh(generation, -(own.release() + marks));
    }

    /// Offers an idle tail: a short one to the pack at hand, where it stays open until [`Self::empty`], any other is
    /// sealed. Its last pair is kept only for a pin that needs it: the pins were looked at after its memtable was
    /// rotated, and so after the last commit that touched it (T5).
    #[allow(clippy::too_many_arguments)] // as above
    fn seal_idle<S: Seal>(&self, slot: u32, kind: Kind, pins: &PinView, own: &mut Own, last_seq: u64, seal: &mut S) {
        let Some(old) = NonNull::new(self.buf.load(Ordering::Relaxed)) else { return };
        let state = State(self.state.load(Ordering::Relaxed));
        if state.len() as usize > PACKED_SAMPLES {
            return self.seal(slot, kind, old, own, last_seq, seal);
        }
        let mut marks: Vec<ChunkMark> = kept_marks(old).collect();
        let touch = state.touch(own.origin);
        if pins.needs(marks.first().map_or(0, |newest| newest.commit), touch.commit) {
            weakenable_step!("idle_mark", marks.push(touch));
        }
        self.with_full(slot, kind, old, own, marks, last_seq, |full| seal.pack(full));
    }

    #[allow(clippy::too_many_arguments)] // as above
    fn with_full(
        &self,
        slot: u32,
        kind: Kind,
        buf: NonNull<TailBuf>,
        own: &Own,
        marks: Vec<ChunkMark>,
        last_seq: u64,
        take: impl FnOnce(Full<'_>),
    ) {
        let len = State(self.state.load(Ordering::Relaxed)).len() as usize;
        // SAFETY: only this thread retires buffers, and this one is still published.
        let header = unsafe { buf.as_ref() };
        let (generation, ordinal) = (header.generation, header.ordinal());
        with_pairs(own.slots, len, |pairs| take(Full { slot, kind, generation, ordinal, pairs, marks, last_seq }));
    }

    /// Leaves the series without a tail. What it held is in the skiplist. Answers what its marks weighed.
    fn empty(&self, old: NonNull<TailBuf>) -> isize {
        let marks = kept_marks(old).count() * size_of::<Mark>();
        // SAFETY: only this thread retires buffers, and this one is still published.
        let kept = unsafe { old.as_ref() }.marks.load(Ordering::Relaxed);
        // Empty before gone: a reader that still sees the old buffer reads nothing from it
        // and all chunks up to its ordinal, this one included (T4).
        self.state.store(State::new(0, 0, 0).0, weakenable!("tail_empty", Release));
        // Release: whoever sees no buffer finds the chunk in the skiplist (T3).
        self.buf.store(ptr::null_mut(), weakenable!("tail_seal", Release));
        retire(old, kept);
        marks as isize
    }

    /// Before the state forgets (commit, base): keeps the pair if a pinned commit needs it (T5).
    #[cold]
    fn keep_mark<S: Seal>(&self, state: State, at: &Moment<'_>, seal: &mut S) {
        // Nothing was there before, nor is there now: the touch to come says as much.
        if state.len() == 0 {
            return;
        }
        let Some(buf) = NonNull::new(self.buf.load(Ordering::Relaxed)) else { return };
        // SAFETY: only this thread retires buffers, and this one is still published.
        let marks = unsafe { &buf.as_ref().marks };
        let next = marks.load(Ordering::Relaxed);
        let newest_commit = kept_marks(buf).next().map_or(0, |mark| mark.commit);
        let pair = state.touch(at.origin.commit);
        if at.pins.needs(newest_commit, pair.commit) {
            let mark = Mark { pair: UnsafeCell::new(pair), next };
            // Release: pairs with the Acquire in `view`.
            marks.store(Box::into_raw(Box::new(mark)), weakenable!("tail_mark", Release));
            seal.weigh(at.origin.generation, size_of::<Mark>() as isize);
        }
    }
}

impl Drop for OpenTail {
    fn drop(&mut self) {
        if let Some(buf) = NonNull::new(self.buf.load(Ordering::Relaxed)) {
            // SAFETY: the buffer lives until the end of this function.
            let marks = unsafe { buf.as_ref() }.marks.load(Ordering::Relaxed);
            // SAFETY: `&mut self`: no writer and no reader is left, so the marks are ours.
            unsafe { free_marks(marks) };
            // SAFETY: as above, and the buffer came from `allocate`.
            unsafe { TailBuf::free(buf) };
        }
    }
}
