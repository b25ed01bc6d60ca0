//! How a thread looks before it sleeps: what it waits for is often there in a moment.

use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{hint, thread};

/// Looks on a spinning processor before it is given away: some microseconds.
const SPINS: u32 = 128;
/// Looks with a yield between them.
const YIELDS: u32 = 32;

/// The threads that look at the same time.
///
/// Spinning is for those who have a processor that nobody else needs: the worker has one, and each thread that looks
/// another. Whoever comes when all are taken yields from the first look on, since what he waits for is done by the
/// thread that he would keep from running.
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

    /// Looks again and again for a moment.
    pub(crate) fn find<R>(&self, mut look: impl FnMut() -> Option<R>) -> Option<R> {
        // Relaxed: nothing is read on the strength of it.
        let others = self.looking.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.looking);
        let spins = if others < self.spare { SPINS } else { 0 };
        (0..spins + YIELDS).find_map(|turn| {
            if turn < spins {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
            look()
        })
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
            looks.find(|| {
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
            looks.find(|| {
                second = looks_of(&looks);
                Some(1)
            }),
            Some(1)
        );
        looks.find(|| {
            looks.find(|| {
                third = looks_of(&looks);
                Some(())
            })
        });
        assert_eq!((looks_of(&looks), second, third), (SPINS + YIELDS, SPINS + YIELDS, YIELDS));
    }

    #[test]
    fn a_look_that_finds_something_is_the_last() {
        let (looks, mut turn) = (Looks::new(), 0);
        let found = looks.find(|| {
            turn += 1;
            (turn == 5).then_some(turn)
        });
        assert_eq!((found, turn), (Some(5), 5));
    }

    #[test]
    fn a_look_that_panics_counts_no_longer() {
        let looks = Looks::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            looks.find(|| -> Option<()> { panic!("a look") })
        }));
        assert!(panicked.is_err());
        assert_eq!(looks.looking.load(Ordering::Relaxed), 0);
    }
}
