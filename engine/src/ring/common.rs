//! The common lane: a bounded queue that any thread may fill (R7 to R9, R16).

use super::pressure::Refused;
use super::progress::Visible;
use super::slots::Slots;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded, weakenable};

/// What all its ends share.
pub(super) struct CommonLane<T> {
    slots: Slots<T>,
    /// One a slot; that of a range's first slot holds the position behind the range once it is published (R8).
    stamps: Box<[AtomicU64]>,
    severed: AtomicBool,
    /// Every position below is claimed. Moved by compare-and-swap (R7).
    tail: CachePadded<AtomicU64>,
    /// Every position below is free again. Written by the drain alone.
    head: CachePadded<AtomicU64>,
    /// Apart from the slots, so that a watch does not keep those.
    pub(super) visible: Arc<CachePadded<Visible>>,
    full: CachePadded<FullCounts>,
}

/// Apart from what every push reads: many threads write here when the lane is full.
struct FullCounts {
    events: AtomicU64,
    dropped_samples: AtomicU64,
    /// Positions that hold no sample (R16).
    bars: AtomicU64,
}

impl<T: Copy> CommonLane<T> {
    pub(super) fn new(capacity: usize) -> Self {
        CommonLane {
            slots: Slots::new(capacity),
            stamps: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            severed: AtomicBool::new(false),
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            visible: Arc::new(CachePadded::new(Visible::new())),
            full: CachePadded::new(FullCounts {
                events: AtomicU64::new(0),
                dropped_samples: AtomicU64::new(0),
                bars: AtomicU64::new(0),
            }),
        }
    }

    /// Claims the next `wanted` positions and gives the first, if `holds` says so once it has seen every bar below them.
    #[inline]
    fn claim(&self, wanted: u64, holds: impl Fn() -> bool) -> Result<u64, Refused> {
        // Relaxed: it hands nothing over (see `sever`).
        if self.severed.load(Ordering::Relaxed) {
            return Err(Refused::Closed);
        }
        let capacity = self.slots.capacity();
        if wanted > capacity {
            return Err(Refused::TooLong);
        }
        // Acquire: pairs with the Release in `bar`, also through the claims above the bar (R16). A claim hands no samples
        // over, and an old value only makes the exchange fail.
        let mut tail = self.tail.load(weakenable!("bar_seen", Acquire));
        loop {
            if !holds() {
                return Err(Refused::Outdated);
            }
            // Acquire: pairs with the Release in `release`: the drain's reads of the old samples come before our
            // writes over them (R7). It may be ahead of an old `tail`; then the exchange fails.
            let head = self.head.load(weakenable!("common_reclaim", Acquire));
            if (tail + wanted).saturating_sub(head) > capacity {
                return Err(Refused::Full);
            }
            // Relaxed: the exchange only decides whose the range is; samples go over by stamp (R8). Acquire: as above.
            let seen = weakenable!("bar_seen_again", Acquire);
            match self.tail.compare_exchange_weak(tail, tail + wanted, Ordering::Relaxed, seen) {
                Ok(_) => return Ok(tail),
                Err(now) => tail = now,
            }
        }
    }

    #[inline]
    pub(super) fn push_slice_if(&self, samples: &[T], holds: impl Fn() -> bool) -> Result<u64, Refused> {
        self.push_slice_amid(samples, holds, || {})
    }

    /// `claimed` is called with the range claimed and nothing written yet.
    #[inline]
    pub(super) fn push_slice_amid(
        &self,
        samples: &[T],
        holds: impl Fn() -> bool,
        claimed: impl FnOnce(),
    ) -> Result<u64, Refused> {
        let len = samples.len() as u64;
        let from = self.claim(len, holds)?;
        claimed();
        if len > 0 {
            // SAFETY: the exchange in `claim` gave this range to this thread and no other (R7), and found it free.
            unsafe { self.slots.write_slice(from, samples) };
            // Release: the copies come before it for whoever acquires this stamp (R8).
            self.stamps[self.slots.index(from)].store(from + len, weakenable!("common_publish", Release));
        }
        Ok(from + len)
    }

    /// Claims one position that will hold no sample, and gives it; `None` if there is no room (R16).
    ///
    /// For the drain, which has read all below `read_to` and will not again: so there is room if any of it is not yet
    /// released.
    pub(super) fn bar(&self, read_to: u64) -> Option<u64> {
        // Relaxed: an old value only makes the exchange fail.
        let mut tail = self.tail.load(Ordering::Relaxed);
        while tail - read_to < self.slots.capacity() {
            // Release: what the drain did before comes before the look of whoever claims above it (R16).
            let told = weakenable!("bar", Release);
            match self.tail.compare_exchange_weak(tail, tail + 1, told, Ordering::Relaxed) {
                Ok(_) => {
                    // Relaxed: statistics.
                    self.full.bars.fetch_add(1, Ordering::Relaxed);
                    return Some(tail);
                }
                Err(now) => tail = now,
            }
        }
        None
    }

    /// The end of all claims.
    pub(super) fn claimed(&self) -> u64 {
        // Relaxed: whoever must be below it has told the drain so by other means (R18).
        self.tail.load(Ordering::Relaxed)
    }

    /// Counts a push that found the lane full.
    pub(super) fn count_full(&self) {
        // Relaxed: statistics, read by themselves.
        self.full.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a batch that was dropped.
    pub(super) fn count_dropped(&self, samples: usize) {
        // Relaxed: statistics, read by themselves.
        self.full.dropped_samples.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// The end of the published ranges that follow `from`, where a range begins, and whether another one was left. Ranges
    /// are taken whole, as long as they have no more than `wanted` samples together; `one_at_least`, however long.
    pub(super) fn published(&self, from: u64, wanted: u64, one_at_least: bool) -> (u64, bool) {
        let mut end = from;
        loop {
            // Acquire: pairs with the Release of the stamp, so the range's samples are there (R8).
            let stamp = self.stamps[self.slots.index(end)].load(weakenable!("common_observe", Acquire));
            if stamp <= end {
                return (end, false);
            }
            if stamp - from > wanted && (end > from || !one_at_least) {
                return (end, true);
            }
            end = stamp;
        }
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
        // SAFETY: below `published` all is written and was acquired (R8); above what was released, no claim is given
        // (R7), and so the two are no further apart than the capacity.
        unsafe { self.slots.read(from, to, f) };
    }

    /// Lets claimers overwrite all below `position`. For the drain, which will not read there again.
    pub(super) fn release(&self, position: u64) {
        // Release: the reads of those slots come before whatever a claimer writes over them (R4, R7).
        self.head.store(position, weakenable!("common_release", Release));
    }

    /// Refuses pushes from now on: nobody will drain them.
    pub(super) fn sever(&self) {
        // Relaxed: it hands nothing over. A push that misses it is one that came before.
        self.severed.store(true, Ordering::Relaxed);
    }

    pub(super) fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// For the statistics: claimed, depth, full events, dropped samples. Each number is right by itself.
    pub(super) fn counts(&self) -> (u64, u64, u64, u64) {
        // Relaxed: nothing is read on the strength of these. The head first, so that the depth is not negative.
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed);
        let bars = self.full.bars.load(Ordering::Relaxed);
        let full_events = self.full.events.load(Ordering::Relaxed);
        (
            tail.saturating_sub(bars),
            tail.saturating_sub(head),
            full_events,
            self.full.dropped_samples.load(Ordering::Relaxed),
        )
    }
}
