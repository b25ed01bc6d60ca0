//! Series heads and the right to append to them.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::{self, NonNull};

use super::super::pack::PACK_SLOTS;
use super::{Kind, Moment, OpenTail, Origin, Own, Pair, Seal, State, TailView};
use crate::commit::PinView;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::epoch::Guard;
use crate::sync::{prefetch, weakenable, weakenable_step};

/// One series' place in the memtable: one cache line.
#[repr(C, align(64))]
pub struct SeriesHead {
    tail: OpenTail,
    /// Samples not newer than all before them; made when the first comes.
    late: AtomicPtr<OpenTail>,
    /// Number of the last sample accepted since this head was made; 0: none was.
    last_seq: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SeriesHead>() == 64, "an append touches one line of the head");

// SAFETY: `own` is touched only through the one `HeadWriter` (T1); buffers and marks are
// published by release stores and retired through the epoch (T6).
unsafe impl Sync for SeriesHead {}
// SAFETY: as above; the pointers own their targets.
unsafe impl Send for SeriesHead {}

impl SeriesHead {
    pub fn new() -> Self {
        Self { tail: OpenTail::new(), late: AtomicPtr::new(ptr::null_mut()), last_seq: AtomicU64::new(0) }
    }

    /// Copies into `out` what the open tail of `kind` holds of the memtable `of` as of
    /// `commit`, in order of acceptance. Lock-free; retries only when the writer moved on.
    pub fn view(&self, guard: &Guard, kind: Kind, of: Origin, commit: u64, out: &mut Vec<Pair>) -> TailView {
        match kind {
            Kind::InOrder => self.tail.view(guard, of, commit, out),
            Kind::Late => self.late().map_or(TailView::Elsewhere, |t| t.view(guard, of, commit, out)),
        }
    }

    /// The number of the last sample applied, visible or not; `None` if there was none since the head was made.
    ///
    /// Exact for the worker. For others it is at or above what they have been told of (a commit, an answer).
    pub fn last_seq(&self) -> Option<u64> {
        // Relaxed: nothing is read on the strength of it.
        Some(self.last_seq.load(Ordering::Relaxed)).filter(|&seq| seq > 0)
    }

    /// The newest sample of the memtable `of`, if the open tail alone tells which it is; `None` says nothing.
    ///
    /// As of a commit that is visible: `visible` answers the watermark. Lock-free, copies nothing, pins nothing (T9).
    pub fn newest(&self, guard: &Guard, of: Origin, visible: impl Fn() -> u64) -> Option<Pair> {
        let pair = self.tail.newest(guard, of, visible)?;
        // After the watermark: what is visible of the late tail is counted here.
        self.if_no_late_one_wins(pair)
    }

    /// As [`newest`](Self::newest), as of `commit`, which is visible and pinned.
    pub fn newest_at(&self, guard: &Guard, of: Origin, commit: u64) -> Option<Pair> {
        let pair = self.tail.last_at(guard, of, commit)?;
        self.if_no_late_one_wins(pair)
    }

    /// A late sample wins over one in order of the same time. Whichever is visible beside `pair` is no newer, since
    /// what was newest when it came is visible, too (T9).
    fn if_no_late_one_wins(&self, pair: Pair) -> Option<Pair> {
        let replaced = self.late().map_or(i64::MIN, |late| late.last.load(Ordering::Relaxed));
        (replaced < pair.timestamp).then_some(pair)
    }

    fn late(&self) -> Option<&OpenTail> {
        // Acquire: pairs with the Release in `late_or_new`.
        let late = self.late.load(weakenable!("tail_read_late", Acquire));
        // SAFETY: made once by `late_or_new`, freed only with the head.
        unsafe { late.as_ref() }
    }

    fn late_or_new(&self) -> &OpenTail {
        if let Some(late) = self.late() {
            return late;
        }
        let late = Box::into_raw(Box::new(OpenTail::new()));
        // Release: the tail is initialised for whoever sees the pointer. Only the one
        // writer stores here, so nothing is overwritten.
        self.late.store(late, weakenable!("tail_late", Release));
        // SAFETY: just made, freed only with the head.
        unsafe { &*late }
    }
}

impl Drop for SeriesHead {
    fn drop(&mut self) {
        let late = self.late.load(Ordering::Relaxed);
        if !late.is_null() {
            // SAFETY: `&mut self`: nobody else uses it; it came from `Box::into_raw`.
            drop(unsafe { Box::from_raw(late) });
        }
    }
}

/// Where heads are found by slot.
pub trait HeadTable {
    /// The head of a series that exists.
    fn head(&self, slot: u32) -> &SeriesHead;

    /// Heads there are.
    fn len(&self) -> u32;

    /// Gives the right to append away, once: `true` for the first caller only.
    fn claim_writer(&self) -> bool;
}

/// The right to append to the tails of one table. Exactly one exists for each table (T1).
pub struct HeadWriter<H>(H);

impl<T: HeadTable, H: std::ops::Deref<Target = T>> HeadWriter<H> {
    /// The writer of `heads`; `None` if it was given away before.
    pub fn new(heads: H) -> Option<Self> {
        heads.claim_writer().then_some(Self(heads))
    }

    /// Appends the sample with number `seq` of the series in `slot`, to the tail where it belongs.
    #[inline]
    #[cfg_attr(not(any(test, loom, feature = "internals")), allow(dead_code))]
    pub fn append<S: Seal>(&mut self, slot: u32, at: &Moment<'_>, seq: u64, pair: Pair, seal: &mut S) {
        self.append_run(slot, at, seq, pair, std::iter::empty(), seal);
    }

    /// Appends `first`, whose number is `seq`, and of those that follow it, all of the series in `slot`, as many as are
    /// in order and fit in the same tail: they are published by one store. Answers how many were appended.
    #[inline]
    pub fn append_run<S: Seal>(
        &mut self,
        slot: u32,
        at: &Moment<'_>,
        seq: u64,
        first: Pair,
        more: impl Iterator<Item = Pair>,
        seal: &mut S,
    ) -> usize {
        let head = self.0.head(slot);
        let (generation, open) = head.tail.own.with(|own| {
            // SAFETY: `&mut self` of the one writer (T1).
            let own = unsafe { &*own };
            (own.generation, own.capacity > 0)
        });
        // Relaxed: this thread alone stores it.
        let last = head.tail.last.load(Ordering::Relaxed);
        // A memtable's first sample of a series is in order, so whatever is open has this tail open too.
        if generation != at.origin.generation && open {
            self.close_around(slot, at, seal);
        }
        let head = self.0.head(slot);
        let taken = if generation != at.origin.generation || first.timestamp > last {
            let pairs = std::iter::once(first).chain(more);
            // SAFETY: `&mut self` of the one writer (T1).
            unsafe { head.tail.append(slot, Kind::InOrder, at, pairs, &head.last_seq, seal) }
        } else {
            let late = head.late_or_new();
            if first.timestamp == last {
                // Relaxed: the watermark's Release publishes it with the sample (T9).
                late.last.store(last.max(late.last.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
            // SAFETY: `&mut self` of the one writer (T1).
            unsafe { late.append(slot, Kind::Late, at, [first], &head.last_seq, seal) }
        };
        // After the append: a tail that it sealed takes the number from before (C2). Relaxed: this thread alone stores
        // it, and others compare it only with numbers they were told.
        let last_taken = seq + taken as u64 - 1;
        weakenable_step!("batch_last_seq", head.last_seq.store(last_taken, Ordering::Relaxed));
        taken
    }

    /// The first sample of `slot` in a younger memtable: what it and its neighbours still hold of the older one goes.
    #[cold]
    fn close_around<S: Seal>(&mut self, slot: u32, at: &Moment<'_>, seal: &mut S) {
        let first = slot - slot % PACK_SLOTS;
        let end = self.0.len().min(first.saturating_add(PACK_SLOTS));
        self.close(first..end, at.origin.generation, at.pins, seal);
    }

    /// Brings the head of `slot` towards the cache.
    #[inline]
    pub fn prefetch_head(&self, slot: u32) {
        prefetch(ptr::from_ref(self.0.head(slot)));
    }

    /// Brings the line that the next sample of `slot` goes to towards the cache.
    #[inline]
    pub fn prefetch_tail(&self, slot: u32) {
        let tail = &self.0.head(slot).tail;
        let len = State(tail.state.load(Ordering::Relaxed)).len() as usize;
        // SAFETY: `&self` of the one writer, and `append` needs `&mut` (T1).
        let slots = tail.own.with(|own| unsafe { (*own).slots });
        prefetch(slots.wrapping_add(len));
    }

    /// Seals the tails in `slots` that belong to a memtable other than `generation`: neighbours of one pack.
    ///
    /// `pins` were looked at after that memtable was rotated.
    pub fn close<S: Seal>(&mut self, slots: Range<u32>, generation: u32, pins: &PinView, seal: &mut S) {
        debug_assert!(slots.is_empty() || slots.start / PACK_SLOTS == (slots.end - 1) / PACK_SLOTS, "one pack");
        let mut older = None;
        for slot in slots.clone() {
            let last_seq = self.0.head(slot).last_seq.load(Ordering::Relaxed);
            self.each_older(slot, generation, |kind, tail, own| {
                older = Some((slot, own.generation));
                tail.seal_idle(slot, kind, pins, own, last_seq, seal);
            });
        }
        let Some((slot, of)) = older else { return };
        // In the skiplist before out of the tails (T3).
        seal.finish_pack(of, slot);
        for slot in slots {
            self.each_older(slot, generation, |_, tail, own| {
                if let Some(buf) = NonNull::new(tail.buf.load(Ordering::Relaxed)) {
                    let marks = tail.empty(buf);
                    seal.weigh(of, -(own.release() + marks));
                }
            });
        }
    }

    /// The series in `slot` is gone, and all its samples are in segments: the head is as if just made for the next one.
    pub fn forget(&mut self, slot: u32) {
        let head = self.0.head(slot);
        let tails = [Some(&head.tail), head.late()];
        for tail in tails.into_iter().flatten() {
            // SAFETY: of the one writer (T1).
            debug_assert!(tail.own.with(|own| unsafe { (*own).capacity } == 0), "its samples are flushed");
            // Relaxed: who reads a number or time of the series before finds its id stale afterwards (V7).
            tail.last.store(i64::MIN, Ordering::Relaxed);
        }
        head.last_seq.store(0, Ordering::Relaxed);
    }

    /// The tails of `slot` that are open and of another memtable than `generation`.
    fn each_older(&mut self, slot: u32, generation: u32, mut found: impl FnMut(Kind, &OpenTail, &mut Own)) {
        let head = self.0.head(slot);
        for (kind, tail) in [(Kind::InOrder, Some(&head.tail)), (Kind::Late, head.late())] {
            let Some(tail) = tail else { continue };
            tail.own.with_mut(|own| {
                // SAFETY: of the one writer (T1), which `close` holds alone.
                let own = unsafe { &mut *own };
                if own.generation != generation && own.capacity > 0 {
                    found(kind, tail, own);
                }
            });
        }
    }
}
