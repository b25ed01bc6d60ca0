//! Bandwidth and latency of memory.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::median;
use crate::rng::Rng;

/// Beyond any cache.
pub(super) const DRAM_BYTES: usize = 256 << 20;
/// Within the second-level cache.
pub(super) const CACHED_BYTES: usize = 256 << 10;
const ROUNDS: usize = 5;

/// Copies `DRAM_BYTES` in all, a share for each thread.
pub(super) fn memcpy_gb_s(threads: usize) -> f64 {
    let words = DRAM_BYTES / 8;
    let from = vec![1u64; words];
    let mut to = vec![0u64; words];
    let share = words.div_ceil(threads);
    let round = |to: &mut Vec<u64>| {
        let gate = Barrier::new(threads);
        let slowest_s = thread::scope(|scope| {
            let copy = |(from, to): (&[u64], &mut [u64])| {
                gate.wait();
                let start = Instant::now();
                to.copy_from_slice(from);
                start.elapsed().as_secs_f64()
            };
            let all: Vec<_> =
                from.chunks(share).zip(to.chunks_mut(share)).map(|pair| scope.spawn(move || copy(pair))).collect();
            all.into_iter().map(|t| t.join().expect("it cannot panic")).fold(0.0, f64::max)
        });
        DRAM_BYTES as f64 / slowest_s / 1e9
    };
    let speed = median((0..ROUNDS).map(|_| round(&mut to)).collect());
    assert_eq!(from, to, "what was copied is what was there");
    speed
}

/// Sums `bytes` of floats on each of some threads, until `DRAM_BYTES` are read by each.
pub(super) fn read_sum_gb_s(threads: usize, bytes: usize) -> f64 {
    let floats = vec![1.0f64; bytes / 8];
    let repeats = (DRAM_BYTES / bytes).max(1);
    let gate = Barrier::new(threads);
    let round = || {
        let slowest_s = thread::scope(|scope| {
            let read = || {
                gate.wait();
                let start = Instant::now();
                for _ in 0..repeats {
                    assert_eq!(sum(black_box(&floats)), floats.len() as f64, "a sum of ones");
                }
                start.elapsed().as_secs_f64()
            };
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
            all.into_iter().map(|t| t.join().expect("the sum is right")).fold(0.0, f64::max)
        });
        (repeats * bytes * threads) as f64 / slowest_s / 1e9
    };
    median((0..ROUNDS).map(|_| round()).collect())
}

/// Sixteen sums side by side, so that additions need not wait for each other.
fn sum(floats: &[f64]) -> f64 {
    let mut sums = [0.0; 16];
    let (chunks, rest) = floats.as_chunks::<16>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// Follows a random cycle through `DRAM_BYTES`: each load waits for the one before.
pub(super) fn random_access_ns() -> f64 {
    const LOADS: u32 = 1_000_000;
    let len = DRAM_BYTES / 4;
    // Sattolo's shuffle: one cycle through all slots.
    let mut next: Vec<u32> = (0..len as u32).collect();
    let mut rng = Rng::new(1, 0);
    for i in (1..len).rev() {
        next.swap(i, rng.below(i as u64) as usize);
    }
    let mut at = 0u32;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..LOADS {
            at = next[at as usize];
        }
        black_box(at);
        start.elapsed().as_nanos() as f64 / f64::from(LOADS)
    };
    median((0..ROUNDS).map(|_| round()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_sum_is_the_plain_sum() {
        let floats: Vec<f64> = (0..1_003).map(f64::from).collect();
        assert_eq!(sum(&floats), floats.iter().sum::<f64>());
    }
}
