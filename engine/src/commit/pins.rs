//! Pinned commits: which lengths the worker must still be able to tell.
//!
//! Protocol and invariants S1–S4: `docs/concurrency.md`, "Snapshots". Models:
//! `loom-tests/tests/pins.rs`.

use std::ops::Deref;
#[cfg(not(loom))]
use std::time::Duration;

use crate::commit::{Visible, Watermark};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
use crate::sync::coarse_time;
use crate::sync::{weakenable_fence, weakenable_step};

/// Pins told apart. More are possible, but cost the worker a mark at every touch.
const SLOTS: usize = if cfg!(loom) { 2 } else { 256 };

const FREE: u64 = 0;

const CROWD_BITS: u32 = 24;
const CROWD: u64 = (1 << CROWD_BITS) - 1;

/// Where this thread looks for a free slot first. Threads that take snapshots again and again begin in cache lines of
/// their own; one after another, so that the worker looks at as many lines as there are such threads.
#[cfg(not(loom))]
fn first_slot() -> usize {
    const OF_A_LINE: usize = 64 / size_of::<AtomicU64>();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static FIRST: usize = NEXT.fetch_add(OF_A_LINE, Ordering::Relaxed) % SLOTS);
    // A thread that ends, and has let go of its own: anywhere.
    FIRST.try_with(|first| *first).unwrap_or(0)
}

/// A model needs threads that are after the same slot.
#[cfg(loom)]
fn first_slot() -> usize {
    0
}

/// Slot content: pinned to `commit`.
fn pinned(commit: u64) -> u64 {
    (commit + 1) << 1
}

/// Slot content: about to be pinned to a commit at or above `floor`.
fn announced(floor: u64) -> u64 {
    pinned(floor) | 1
}

/// The commits that snapshots are pinned to.
///
/// Taking and dropping a pin is lock-free; the worker reads the slots once a commit.
pub struct Pins {
    slots: [AtomicU64; SLOTS],
    /// When each slot was taken, in nanoseconds since `born`. For the statistics, by the coarse clock: a finer one would
    /// cost more than the slot.
    #[cfg(not(loom))]
    taken: [AtomicU64; SLOTS],
    #[cfg(not(loom))]
    born: Duration,
    /// Slots below this may be in use; never falls.
    used: AtomicUsize,
    /// Pins that found no slot: while there is one, every length is kept. Above the lowest [`CROWD_BITS`] bits, which
    /// count them, since when there is one, in milliseconds since `born`.
    crowd: AtomicU64,
}

/// One pinned commit. Dropping it lets the worker forget. `P` keeps the pins.
pub struct Pin<P: Deref<Target = Pins> = Arc<Pins>> {
    pins: P,
    slot: Option<usize>,
    visible: Visible,
}

/// The pins as the worker saw them before a commit.
#[derive(Debug, Default)]
pub struct PinView {
    commits: Vec<u64>,
    /// Every commit at or above this may be pinned.
    floor: Option<u64>,
}

impl Pins {
    pub fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| AtomicU64::new(FREE)),
            #[cfg(not(loom))]
            taken: std::array::from_fn(|_| AtomicU64::new(0)),
            #[cfg(not(loom))]
            born: coarse_time(),
            used: AtomicUsize::new(0),
            crowd: AtomicU64::new(0),
        }
    }

    /// Pins the commit that is visible now. `choose` reads it (and what must fit to it).
    pub fn pin<T>(pins: &Arc<Self>, watermark: &Watermark, choose: impl FnOnce() -> (Visible, T)) -> (Pin, T) {
        Self::pin_in(Arc::clone(pins), watermark, choose)
    }

    /// As [`pin`](Self::pin), for one who keeps the pins anyway.
    pub(crate) fn pin_in<P: Deref<Target = Self>, T>(
        pins: P,
        watermark: &Watermark,
        choose: impl FnOnce() -> (Visible, T),
    ) -> (Pin<P>, T) {
        let slot = pins.announce(watermark.commit());
        // Orders the announcement before the reading of the watermark: pairs with the fence
        // in `look`. Either the worker sees the announcement, or this thread sees the commit
        // that the worker published before it looked (S2).
        weakenable_fence!("pin_announce");
        let (visible, chosen) = choose();
        if let Some(slot) = slot {
            // Release: whoever sees the commit sees nothing else through it; the worker only
            // needs the number, and until it comes it takes the announcement for more (S3).
            pins.slots[slot].store(pinned(visible.commit), Ordering::Release);
        }
        (Pin { pins, slot, visible }, chosen)
    }

    fn announce(&self, floor: u64) -> Option<usize> {
        let first = first_slot();
        for i in (first..SLOTS).chain(0..first) {
            let slot = &self.slots[i];
            let free = slot.load(Ordering::Relaxed) == FREE;
            if free && slot.compare_exchange(FREE, announced(floor), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // It never falls: once it is seen above this slot here, the worker sees it so behind the fences, too (S2).
                // Relaxed: a load behind a fence finds nothing older than a load before the other fence did, whoever stored it.
                if self.used.load(Ordering::Relaxed) <= i {
                    weakenable_step!("pin_used", self.used.fetch_max(i + 1, Ordering::AcqRel));
                }
                #[cfg(not(loom))]
                self.taken[i].store(self.age().as_nanos() as u64, Ordering::Relaxed);
                return Some(i);
            }
        }
        self.change_crowd(|crowd| if crowd == 0 { self.now_millis() << CROWD_BITS | 1 } else { crowd + 1 });
        None
    }

    fn change_crowd(&self, change: impl Fn(u64) -> u64) {
        let mut crowd = self.crowd.load(Ordering::Relaxed);
        while let Err(now) = self.crowd.compare_exchange(crowd, change(crowd), Ordering::AcqRel, Ordering::Relaxed) {
            crowd = now;
        }
    }

    #[cfg(not(loom))]
    fn age(&self) -> Duration {
        coarse_time().saturating_sub(self.born)
    }

    fn now_millis(&self) -> u64 {
        #[cfg(not(loom))]
        return self.age().as_millis() as u64;
        #[cfg(loom)]
        return 0;
    }

    /// Reads all pins. The worker calls this after it published a commit and before it
    /// applies the next (S2).
    pub fn look(&self, view: &mut PinView) {
        // Pairs with the fence in `pin`.
        weakenable_fence!("pin_look");
        view.commits.clear();
        view.floor = (self.crowd.load(Ordering::Acquire) & CROWD > 0).then_some(0);
        for slot in &self.slots[..self.used.load(Ordering::Acquire)] {
            match slot.load(Ordering::Acquire) {
                FREE => {}
                content if content & 1 == 1 => {
                    let floor = (content >> 1) - 1;
                    view.floor = Some(view.floor.map_or(floor, |f| f.min(floor)));
                }
                content => view.commits.push((content >> 1) - 1),
            }
        }
    }

    /// When the oldest pin alive was taken, since these pins were made, and its age. Those without a slot are as old as
    /// their crowd: which of them is still there is not known.
    #[cfg(not(loom))]
    pub(crate) fn oldest_age(&self) -> Option<(Duration, Duration)> {
        let used = self.used.load(Ordering::Acquire);
        let now = self.age().as_nanos() as u64;
        // A slot that changes hands in between counts as what it was or as what it is: either was true.
        let held = self.slots[..used].iter().zip(&self.taken).filter(|(slot, _)| slot.load(Ordering::Relaxed) != FREE);
        let crowd = self.crowd.load(Ordering::Relaxed);
        let crowd_since = (crowd & CROWD > 0).then_some((crowd >> CROWD_BITS) * 1_000_000);
        let taken = held.map(|(_, taken)| taken.load(Ordering::Relaxed)).chain(crowd_since).min()?;
        let nanos = Duration::from_nanos;
        Some((nanos(taken), nanos(now.saturating_sub(taken))))
    }

    /// Snapshots alive, and the oldest commit that one of them is pinned to, as far as it has a slot.
    pub fn count_and_oldest(&self) -> (usize, Option<u64>) {
        let contents = self.slots[..self.used.load(Ordering::Acquire)].iter().map(|s| s.load(Ordering::Acquire));
        let held: Vec<u64> = contents.filter(|&c| c != FREE).map(|c| (c >> 1) - 1).collect();
        (held.len() + (self.crowd.load(Ordering::Acquire) & CROWD) as usize, held.into_iter().min())
    }
}

impl<P: Deref<Target = Pins>> Pin<P> {
    /// What was visible when the pin was taken.
    pub fn visible(&self) -> Visible {
        self.visible
    }

    /// What keeps the pins.
    #[cfg(not(loom))]
    pub(crate) fn keeper(&self) -> &P {
        &self.pins
    }
}

impl<P: Deref<Target = Pins>> Drop for Pin<P> {
    fn drop(&mut self) {
        match self.slot {
            // Release: the reads made under this pin stay before it is let go.
            Some(slot) => self.pins.slots[slot].store(FREE, Ordering::Release),
            None => {
                self.pins.change_crowd(|crowd| if crowd & CROWD == 1 { 0 } else { crowd - 1 });
            }
        }
    }
}

impl PinView {
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.floor.is_none()
    }

    /// Whether some pinned commit lies in `[from, to)`.
    pub fn needs(&self, from: u64, to: u64) -> bool {
        self.floor.is_some_and(|floor| floor < to) || self.commits.iter().any(|&c| from <= c && c < to)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(commit: u64) -> Visible {
        Visible { commit, seq: commit * 10 }
    }

    #[test]
    fn a_pin_is_seen_until_it_is_dropped() {
        let (pins, watermark) = (Arc::new(Pins::new()), Watermark::new(at(7)));
        let mut view = PinView::default();
        let (pin, ()) = Pins::pin(&pins, &watermark, || (watermark.load(), ()));
        pins.look(&mut view);
        assert!(view.needs(0, 8) && view.needs(7, 8) && !view.needs(8, 9) && !view.needs(0, 7));
        assert_eq!(pins.count_and_oldest(), (1, Some(7)));
        drop(pin);
        pins.look(&mut view);
        assert!(view.is_empty());
    }

    #[test]
    fn while_a_pin_is_being_chosen_every_later_length_is_kept() {
        let (pins, watermark) = (Arc::new(Pins::new()), Watermark::new(at(7)));
        let mut view = PinView::default();
        let _pin = Pins::pin(&pins, &watermark, || {
            pins.look(&mut view);
            assert!(view.needs(8, 9) && !view.needs(0, 7));
            (watermark.load(), ())
        });
    }

    #[test]
    fn more_pins_than_slots_keep_everything() {
        let (pins, watermark) = (Arc::new(Pins::new()), Watermark::new(at(7)));
        let held: Vec<_> = (0..=SLOTS).map(|_| Pins::pin(&pins, &watermark, || (watermark.load(), ())).0).collect();
        let mut view = PinView::default();
        pins.look(&mut view);
        assert!(view.needs(100, 101));
        assert_eq!(pins.count_and_oldest().0, SLOTS + 1);
        drop(held);
        pins.look(&mut view);
        assert!(view.is_empty());
    }

    /// Who holds more snapshots than there are slots, and takes and drops others all the time, was never told that one
    /// is old.
    #[test]
    fn pins_without_a_slot_have_an_age() {
        let (pins, watermark) = (Arc::new(Pins::new()), Watermark::new(at(7)));
        let pin = || Pins::pin(&pins, &watermark, || (watermark.load(), ())).0;
        let first: Vec<_> = (0..SLOTS).map(|_| pin()).collect();
        let crowd = [pin(), pin()];
        let at_most = pins.age();
        let [one, other] = crowd;
        drop((first, one));
        let millisecond = Duration::from_millis(1);
        while pins.age() < at_most + 5 * millisecond {
            std::thread::yield_now();
        }
        let (taken, age) = pins.oldest_age().expect("there is one");
        assert!(taken <= at_most && age >= 5 * millisecond, "{taken:?}, {age:?}");
        let young = pin();
        assert_eq!(pins.oldest_age().map(|(since, _)| since), Some(taken), "though a younger one has a slot");
        drop(other);
        assert!(pins.oldest_age().is_some_and(|(since, _)| since > taken));
        drop(young);
        assert_eq!(pins.oldest_age(), None);
        let (_first, _crowd): (Vec<_>, _) = ((0..SLOTS).map(|_| pin()).collect(), pin());
        assert!(pins.oldest_age().is_some_and(|(since, _)| since >= at_most), "another crowd");
    }
}
