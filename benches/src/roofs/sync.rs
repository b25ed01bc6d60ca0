//! What a store and an atomic addition cost.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::median;

const ROUNDS: usize = 5;

/// Appends pairs of words to a buffer that fits in a cache, and publishes each.
pub(super) fn append_release_ns() -> f64 {
    const SLOTS: usize = 4096;
    const APPENDS: u64 = 10_000_000;
    let buffer: Vec<[AtomicU64; 2]> = (0..SLOTS).map(|_| Default::default()).collect();
    let published = AtomicU64::new(0);
    let round = || {
        let start = Instant::now();
        for i in 0..APPENDS {
            let slot = &buffer[i as usize % SLOTS];
            // Relaxed: the store below publishes both words.
            slot[0].store(i, Ordering::Relaxed);
            slot[1].store(i, Ordering::Relaxed);
            // Release: as an appender that hands a sample over.
            black_box(&published).store(i + 1, Ordering::Release);
        }
        start.elapsed().as_nanos() as f64 / APPENDS as f64
    };
    median((0..ROUNDS).map(|_| round()).collect())
}

/// `threads` add to one counter; nanoseconds per call of each thread.
pub(super) fn fetch_add_ns(threads: usize) -> f64 {
    const CALLS: u64 = 2_000_000;
    let round = || {
        let (counter, gate) = (AtomicU64::new(0), Barrier::new(threads));
        let slowest = thread::scope(|scope| {
            let run = || {
                gate.wait();
                let start = Instant::now();
                for _ in 0..CALLS {
                    // Relaxed: only the cost of the addition is wanted.
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                start.elapsed().as_nanos() as f64 / CALLS as f64
            };
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            all.into_iter().map(|t| t.join().expect("it cannot panic")).fold(0.0, f64::max)
        });
        assert_eq!(counter.into_inner(), CALLS * threads as u64, "no addition is lost");
        slowest
    };
    median((0..ROUNDS).map(|_| round()).collect())
}
