//! Giving the processor away for a moment, where it is a moment.

use std::time::{Duration, Instant};

use super::atomic::{AtomicU64, Ordering};
use super::thread::{self, LONG_YIELD};

/// Nobody yields for so long after a first long one; twice as long after each further one.
const REST_MIN: Duration = Duration::from_micros(500);
const REST_MAX: Duration = Duration::from_millis(320);

/// Whether it is worth while to yield.
///
/// Where all threads that are ready have little to do, a yield lets them do it and is back within microseconds, which
/// is less than to sleep and be woken. Where one of them computes (a flush, a query, another program), the scheduler
/// gives it all that the thread that yields would have had: three milliseconds on Linux 6.18. A thread that sleeps and
/// is woken comes first there. So each yield is timed, and after a long one all who ask sleep instead for a while; one
/// of them tries again then.
pub(crate) struct Yields {
    born: Instant,
    long: Duration,
    /// Nanoseconds since `born` until which nobody yields; 0: yield.
    crowded_until: AtomicU64,
    /// How long nobody yields after the next long one.
    rest: AtomicU64,
}

impl Yields {
    pub(crate) fn new() -> Self {
        let rest = AtomicU64::new(REST_MIN.as_nanos() as u64);
        Self { born: Instant::now(), long: LONG_YIELD, crowded_until: AtomicU64::new(0), rest }
    }

    /// For tests that count yields on whatever machine.
    #[cfg(test)]
    pub(crate) fn never_long() -> Self {
        Self { long: Duration::MAX, ..Self::new() }
    }

    /// Whether somebody found lately that it takes long. Reads no clock.
    pub(crate) fn are_long(&self) -> bool {
        self.crowded_until.load(Ordering::Relaxed) != 0
    }

    /// Yields. Answers false, at once, where that would take long: sleep then. Reads the clock twice.
    pub(crate) fn try_yield(&self) -> bool {
        self.attempt(|| self.born.elapsed(), thread::yield_now)
    }

    /// Relaxed throughout: nothing is read on the strength of these words.
    fn attempt(&self, clock: impl Fn() -> Duration, give_way: impl FnOnce()) -> bool {
        let before = clock().as_nanos() as u64;
        let rest = self.rest.load(Ordering::Relaxed);
        let mut seen = self.crowded_until.load(Ordering::Relaxed);
        if seen != 0 {
            // One of all who ask tries.
            if before < seen || !self.replace(seen, before + rest) {
                return false;
            }
            seen = before + rest;
        }
        give_way();
        let after = clock().as_nanos() as u64;
        if Duration::from_nanos(after - before) > self.long {
            // The first of those who were held up together: it is one reason, not many.
            if self.replace(seen, after + rest) {
                self.rest.store((2 * rest).min(REST_MAX.as_nanos() as u64), Ordering::Relaxed);
            }
        } else if seen != 0 && self.replace(seen, 0) {
            self.rest.store(REST_MIN.as_nanos() as u64, Ordering::Relaxed);
        }
        true
    }

    fn replace(&self, seen: u64, by: u64) -> bool {
        self.crowded_until.compare_exchange(seen, by, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Yields that take so long, on a clock that stands still otherwise.
    struct Machine {
        yields: Yields,
        now: Cell<Duration>,
        taken: Cell<u32>,
    }

    impl Machine {
        fn yield_for(&self, long: Duration) -> bool {
            self.yields.attempt(
                || self.now.get(),
                || {
                    self.now.set(self.now.get() + long);
                    self.taken.set(self.taken.get() + 1);
                },
            )
        }

        fn pass(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }
    }

    #[test]
    fn after_a_long_yield_nobody_yields_for_a_while_and_then_one_tries() {
        const SHORT: Duration = Duration::from_micros(2);
        let machine = Machine { yields: Yields::new(), now: Cell::new(Duration::from_secs(1)), taken: Cell::new(0) };
        let long = 10 * LONG_YIELD;
        assert!((0..100).all(|_| machine.yield_for(SHORT)));
        assert!(!machine.yields.are_long() && machine.yield_for(long), "this one was taken");
        assert!(machine.yields.are_long());
        let mut rest = REST_MIN;
        for _ in 0..12 {
            machine.pass(rest - SHORT);
            assert!(!machine.yield_for(long), "{rest:?} are not over");
            machine.pass(SHORT);
            let taken = machine.taken.get();
            // While one tries nobody else does.
            let others = Cell::new(0);
            let tried = machine.yields.attempt(
                || machine.now.get(),
                || {
                    (0..5).for_each(|_| others.set(others.get() + u32::from(machine.yield_for(SHORT))));
                    machine.pass(long);
                },
            );
            assert!(tried && others.get() == 0 && machine.taken.get() == taken);
            rest = (2 * rest).min(REST_MAX);
        }
        machine.pass(rest);
        assert!((0..100).all(|_| machine.yield_for(SHORT)), "it was short: all yield again");
        assert!(!machine.yields.are_long());
        // Of many that are held up together only one counts.
        let nested = |within: &dyn Fn()| {
            let give_way = || {
                within();
                machine.pass(long);
            };
            assert!(machine.yields.attempt(|| machine.now.get(), give_way));
        };
        nested(&|| nested(&|| nested(&|| assert!(machine.yield_for(long)))));
        machine.pass(REST_MIN);
        assert!(machine.yield_for(SHORT) && machine.yield_for(SHORT));
        // Forgotten, too.
        assert!(machine.yield_for(long) && !machine.yield_for(long));
        machine.pass(REST_MIN);
        assert!(machine.yield_for(SHORT) && machine.yield_for(SHORT));
    }
}
