//! A lane: a bounded queue with one sender and one reader (R1 to R6).

use super::pressure::{BackPressure, Refused};
use super::progress::{LaneId, LaneProgress, Visible};
use super::slots::Slots;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded, weakenable};

/// The bit of `tail` that says that the sender is gone (R6).
const CLOSED: u64 = 1 << 63;

/// What both ends of a lane share. Each writer has a cache line of its own; the rest is only read.
pub(super) struct Lane<T> {
    pub(super) id: LaneId,
    slots: Slots<T>,
    /// Set once, when the drain is gone. On the line of `slots`, which every push reads and nobody writes.
    severed: AtomicBool,
    sent: CachePadded<Sent>,
    /// Every position below is free again. Written by the drain alone.
    head: CachePadded<AtomicU64>,
    /// Apart from the slots, so that a watch does not keep those.
    pub(super) visible: Arc<CachePadded<Visible>>,
}

/// The sender's line.
struct Sent {
    /// Every position below is published; the top bit is `CLOSED`. Written by the sender alone.
    tail: AtomicU64,
    full_events: AtomicU64,
    dropped_samples: AtomicU64,
    /// What the sender says that it has seen of something beside the ring; upwards.
    seen: AtomicU32,
}

/// How far a lane is published.
#[derive(Clone, Copy)]
pub(super) struct Published {
    pub(super) end: u64,
    /// Nothing will come behind `end`.
    pub(super) closed: bool,
}

impl<T: Copy> Lane<T> {
    pub(super) fn new(id: LaneId, capacity: usize) -> Self {
        Lane {
            id,
            slots: Slots::new(capacity),
            severed: AtomicBool::new(false),
            sent: CachePadded::new(Sent {
                tail: AtomicU64::new(0),
                full_events: AtomicU64::new(0),
                dropped_samples: AtomicU64::new(0),
                seen: AtomicU32::new(0),
            }),
            head: CachePadded::new(AtomicU64::new(0)),
            visible: Arc::new(CachePadded::new(Visible::new())),
        }
    }

    /// How far the sender has come.
    pub(super) fn published(&self) -> Published {
        // Acquire: pairs with the Release of the store that published this end, so the samples below are there (R3).
        let tail = self.sent.tail.load(weakenable!("lane_observe", Acquire));
        Published { end: tail & !CLOSED, closed: tail & CLOSED != 0 }
    }

    /// Lends the samples in `from..to` to be changed.
    ///
    /// # Safety
    /// As [`Self::read`], and nobody reads them during the call.
    pub(super) unsafe fn change(&self, from: u64, to: u64, f: impl FnMut(&mut [T])) {
        // SAFETY: as in `read`, and nobody else reads.
        unsafe { self.slots.change(from, to, f) };
    }

    /// Lends the samples in `from..to`.
    ///
    /// # Safety
    /// The caller is the drain, `from` is at or above what it released last and `to` at or below what `published`
    /// gave it.
    pub(super) unsafe fn read(&self, from: u64, to: u64, f: impl FnMut(&[T])) {
        // SAFETY: below `published` all is written and was acquired (R3); above what was released, no sender writes
        // (R2); the two are no further apart than the capacity (R2).
        unsafe { self.slots.read(from, to, f) };
    }

    /// Lets the sender overwrite all below `position`. For the drain, which will not read there again.
    pub(super) fn release(&self, position: u64) {
        // Release: the reads of those slots come before whatever the sender writes over them (R4).
        self.head.store(position, weakenable!("lane_release", Release));
    }

    /// Refuses pushes from now on: nobody will drain them.
    pub(super) fn sever(&self) {
        // Relaxed: it hands nothing over. A push that misses it is one that came before.
        self.severed.store(true, Ordering::Relaxed);
    }

    /// What the sender said last. Whatever it pushed before is found published by whoever reads this.
    pub(super) fn seen(&self) -> u32 {
        // Acquire: pairs with the Release in `has_seen`.
        self.sent.seen.load(weakenable!("lane_seen_read", Acquire))
    }

    /// Samples that can be in the lane at once.
    pub(super) fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// For the statistics: published, depth, full events, dropped samples. Each number is right by itself.
    pub(super) fn counts(&self) -> (u64, u64, u64, u64) {
        // Relaxed: nothing is read on the strength of these. The head first, so that the depth is not negative.
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.sent.tail.load(Ordering::Relaxed) & !CLOSED;
        let full_events = self.sent.full_events.load(Ordering::Relaxed);
        let dropped_samples = self.sent.dropped_samples.load(Ordering::Relaxed);
        (tail, tail.saturating_sub(head), full_events, dropped_samples)
    }
}

/// The sending end of a lane: one a collector thread. Dropping it closes the lane; what was pushed is still drained.
pub struct LaneSender<T: Copy> {
    lane: Arc<Lane<T>>,
    /// What `lane.tail` holds: this end alone writes it (R1).
    tail: u64,
    /// The positions below are ours: the last `head` loaded, plus the capacity (R2).
    room_until: u64,
}

impl<T: Copy> LaneSender<T> {
    /// For the registry, once a lane.
    pub(super) fn new(lane: Arc<Lane<T>>) -> Self {
        let room_until = lane.capacity();
        LaneSender { lane, tail: 0, room_until }
    }

    /// The lane's number.
    pub fn id(&self) -> LaneId {
        self.lane.id
    }

    /// Samples that fit in the lane at once, and so the longest batch.
    pub fn capacity(&self) -> usize {
        self.lane.capacity() as usize
    }

    /// The position behind the last sample pushed.
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// Whether pushes are refused, because nobody will drain them.
    pub fn is_severed(&self) -> bool {
        // Relaxed: it hands nothing over (see `sever`).
        self.lane.severed.load(Ordering::Relaxed)
    }

    /// Says that what this sender pushes from now on is judged by `turn`; see [`Rings::seen_by_all`](super::Rings::seen_by_all).
    pub fn has_seen(&self, turn: u32) {
        // Release: the pushes before it come before it for whoever acquires it.
        self.lane.sent.seen.store(turn, weakenable!("lane_seen", Release));
    }

    /// How far this lane is visible. Takes no lock.
    pub fn progress(&self) -> LaneProgress {
        self.lane.visible.load()
    }

    /// Pushes one sample: a check, a copy and one store. Never waits, never calls the system.
    ///
    /// Gives the position behind it.
    ///
    /// # Errors
    /// [`Refused::Full`] if the worker is behind by the whole lane, [`Refused::Closed`] if it is gone.
    #[inline]
    pub fn push(&mut self, sample: T) -> Result<u64, Refused> {
        self.take_room(1)?;
        let end = self.tail + 1;
        // SAFETY: `take_room` found this position free (R2), and no other thread writes to this lane (R1).
        unsafe { self.lane.slots.write(self.tail, sample) };
        self.publish(end);
        Ok(end)
    }

    /// Pushes a whole batch or nothing; one store publishes all of it (R5).
    ///
    /// Gives the position behind its last sample. An empty batch is a push of nothing.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Refused::TooLong`] if it never fits.
    #[inline]
    pub fn push_slice(&mut self, samples: &[T]) -> Result<u64, Refused> {
        self.take_room(samples.len() as u64)?;
        let end = self.tail + samples.len() as u64;
        // SAFETY: `take_room` found these positions free (R2), which bounds their number by the capacity, and no other
        // thread writes to this lane (R1).
        unsafe { self.lane.slots.write_slice(self.tail, samples) };
        self.publish(end);
        Ok(end)
    }

    /// [`push`](Self::push), with `pressure` deciding what happens when the lane is full.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Refused::Dropped`] under [`BackPressure::DropNewest`].
    #[inline]
    pub fn push_under(&mut self, pressure: BackPressure, sample: T) -> Result<u64, Refused> {
        match self.push(sample) {
            Err(Refused::Full) => self.when_full(pressure, &[sample]),
            answer => answer,
        }
    }

    /// [`push_slice`](Self::push_slice), with `pressure` deciding what happens when the lane is full.
    ///
    /// # Errors
    /// As [`push_slice`](Self::push_slice), and [`Refused::Dropped`] under [`BackPressure::DropNewest`].
    #[inline]
    pub fn push_slice_under(&mut self, pressure: BackPressure, samples: &[T]) -> Result<u64, Refused> {
        match self.push_slice(samples) {
            Err(Refused::Full) => self.when_full(pressure, samples),
            answer => answer,
        }
    }

    #[cold]
    fn when_full(&mut self, pressure: BackPressure, samples: &[T]) -> Result<u64, Refused> {
        count(&self.lane.sent.full_events, 1);
        let lane = Arc::clone(&self.lane);
        let dropped = || count(&lane.sent.dropped_samples, samples.len() as u64);
        pressure.when_full(|| self.push_slice(samples), dropped)
    }

    /// Makes sure that the next `wanted` positions are ours.
    #[inline(always)]
    fn take_room(&mut self, wanted: u64) -> Result<(), Refused> {
        // Relaxed: it hands nothing over (see `sever`).
        if self.lane.severed.load(Ordering::Relaxed) {
            return Err(Refused::Closed);
        }
        if wanted > self.room_until - self.tail { self.look_for_room(wanted) } else { Ok(()) }
    }

    /// Looks how far the drain has come. Out of line: most pushes know that there is room.
    #[cold]
    #[inline(never)]
    fn look_for_room(&mut self, wanted: u64) -> Result<(), Refused> {
        let capacity = self.lane.capacity();
        if wanted > capacity {
            return Err(Refused::TooLong);
        }
        // Acquire: pairs with the Release in `release`: the drain's reads of the old samples come before our writes
        // over them (R2, R4).
        let head = self.lane.head.load(weakenable!("lane_reclaim", Acquire));
        self.room_until = head + capacity;
        if wanted > self.room_until - self.tail { Err(Refused::Full) } else { Ok(()) }
    }

    #[inline(always)]
    fn publish(&mut self, end: u64) {
        self.tail = end;
        // Release: the copies above come before it for whoever acquires this end (R3).
        self.lane.sent.tail.store(end, weakenable!("lane_publish", Release));
    }
}

impl<T: Copy> Drop for LaneSender<T> {
    fn drop(&mut self) {
        // Release: who sees the bit, and no earlier store of `tail`, still must find all samples below (R6).
        self.lane.sent.tail.store(self.tail | CLOSED, weakenable!("lane_close", Release));
    }
}

/// Adds to a counter that this thread alone writes: a load and a store, no locked instruction.
fn count(counter: &AtomicU64, by: u64) {
    // Relaxed: a statistic, read by itself.
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}
