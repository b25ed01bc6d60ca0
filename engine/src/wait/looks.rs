//! How a thread looks before it sleeps: what it waits for is often there in a moment.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{CachePadded, Yields, hint, thread};

/// Looks on a spinning processor before it is given away: some microseconds.
const SPINS: u32 = 128;
/// Looks with a yield between them.
const YIELDS: u32 = 32;

/// The threads that look at the same time.
///
/// Spinning is for those who have a processor that nobody else needs: the worker has one, and each thread that looks
/// another. Whoever comes when all are taken yields from the first look on, since what he waits for is done by the
/// thread that he would keep from running. Where a yield takes long, nobody looks any more but sleeps.
pub(crate) struct Looks {
    /// Padded: each wait writes it.
    looking: CachePadded<AtomicUsize>,
    /// How many may spin.
    spare: usize,
}

impl Looks {
    pub(crate) fn new() -> Self {
        let spare = thread::available_parallelism().map_or(0, |all| all.get() - 1);
        Self { looking: CachePadded::new(AtomicUsize::new(0)), spare }
    }

    /// How many look, where they are more than have a processor to themselves; otherwise 0. Of a moment ago, for decisions
    /// that may be wrong.
    pub(crate) fn crowd(&self) -> usize {
        let looking = self.looking.load(Ordering::Relaxed);
        if looking > self.spare { looking } else { 0 }
    }

    /// Looks again and again for a moment.
    pub(crate) fn find<R>(&self, yields: &Yields, mut look: impl FnMut() -> Option<R>) -> Option<R> {
        // Relaxed: nothing is read on the strength of it.
        let others = self.looking.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.looking);
        let spins = if others < self.spare { SPINS } else { 0 };
        for _ in 0..spins {
            hint::spin_loop();
            if let found @ Some(_) = look() {
                return found;
            }
        }
        // What came while a yield took long is found by the look behind it.
        (0..YIELDS).map_while(|_| yields.try_yield().then(&mut look)).find_map(|found| found)
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_of(looks: &Looks) -> u32 {
        let mut count = 0;
        assert_eq!(
            looks.find(&Yields::never_long(), || {
                count += 1;
                None::<()>
            }),
            None
        );
        count
    }

    #[test]
    fn only_whom_a_processor_is_left_for_spins() {
        let looks = Looks { looking: CachePadded::new(AtomicUsize::new(0)), spare: 2 };
        let (mut second, mut third) = (0, 0);
        assert_eq!(
            looks.find(&Yields::never_long(), || {
                second = looks_of(&looks);
                Some(1)
            }),
            Some(1)
        );
        looks.find(&Yields::never_long(), || {
            looks.find(&Yields::never_long(), || {
                third = looks_of(&looks);
                Some(())
            })
        });
        assert_eq!((looks_of(&looks), second, third), (SPINS + YIELDS, SPINS + YIELDS, YIELDS));
    }

    #[test]
    fn a_crowd_is_more_than_have_a_processor_each() {
        let looks = Looks { looking: CachePadded::new(AtomicUsize::new(0)), spare: 1 };
        let yields = Yields::never_long();
        let mut crowds = vec![looks.crowd()];
        looks.find(&yields, || {
            crowds.push(looks.crowd());
            looks.find(&yields, || {
                crowds.push(looks.crowd());
                Some(())
            })
        });
        crowds.push(looks.crowd());
        assert_eq!(crowds, [0, 0, 2, 0]);
    }

    #[test]
    fn a_look_that_finds_something_is_the_last() {
        let (looks, mut turn) = (Looks::new(), 0);
        let found = looks.find(&Yields::never_long(), || {
            turn += 1;
            (turn == 5).then_some(turn)
        });
        assert_eq!((found, turn), (Some(5), 5));
    }

    #[test]
    fn a_look_that_panics_counts_no_longer() {
        let looks = Looks::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            looks.find(&Yields::never_long(), || -> Option<()> { panic!("a look") })
        }));
        assert!(panicked.is_err());
        assert_eq!(looks.looking.load(Ordering::Relaxed), 0);
    }
}
