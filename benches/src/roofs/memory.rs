//! Bandwidth and latency of memory.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::median;
use crate::rng::Rng;

/// Beyond any cache, for few threads.
const DRAM_BYTES: usize = 256 << 20;
/// Beyond each core's part of the last cache.
const SHARE_BYTES_MIN: usize = 32 << 20;
/// Within the second-level cache.
const CACHED_BYTES: usize = 256 << 10;
const ROUNDS: usize = 5;
const LOADS: u32 = 1_000_000;

/// How much is worked on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// By all threads together.
    pub(super) bytes: usize,
    pub(super) rounds: usize,
    /// Dependent loads of a round.
    pub(super) loads: u32,
}

impl Effort {
    fn of(threads: usize) -> Self {
        Self { bytes: DRAM_BYTES, rounds: ROUNDS, loads: LOADS }.shared_by(threads)
    }

    /// So much that no cache holds the share that is each thread's own until it comes again.
    pub(super) fn shared_by(self, threads: usize) -> Self {
        Self { bytes: self.bytes.max(threads * SHARE_BYTES_MIN), ..self }
    }
}

/// Copies from DRAM to DRAM, a share for each thread.
pub(super) fn memcpy_gb_s(threads: usize) -> f64 {
    memcpy_of(threads, Effort::of(threads))
}

pub(super) fn memcpy_of(threads: usize, Effort { bytes, rounds, .. }: Effort) -> f64 {
    let words = bytes / 8;
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
        bytes as f64 / slowest_s / 1e9
    };
    let speed = median((0..rounds).map(|_| round(&mut to)).collect());
    assert_eq!(from, to, "what was copied is what was there");
    speed
}

/// Sums floats from DRAM, a share for each thread.
pub(super) fn read_sum_gb_s(threads: usize) -> f64 {
    read_sum_of(threads, Effort::of(threads))
}

pub(super) fn read_sum_of(threads: usize, Effort { bytes, rounds, .. }: Effort) -> f64 {
    ones_gb_s(bytes, threads, 1, rounds)
}

/// Sums floats from a cache, one thread.
pub(super) fn read_sum_cached_gb_s() -> f64 {
    ones_gb_s(CACHED_BYTES, 1, DRAM_BYTES / CACHED_BYTES, ROUNDS)
}

fn ones_gb_s(bytes: usize, threads: usize, times: usize, rounds: usize) -> f64 {
    let floats = vec![1.0; bytes / 8];
    let round = |_| {
        let read = read_sum(&floats, threads, times);
        assert_eq!(read.sum, (floats.len() * times) as f64, "a sum of ones");
        read.gb_s
    };
    median((0..rounds).map(round).collect())
}

struct Read {
    gb_s: f64,
    sum: f64,
}

/// Sums floats some times, each thread a share of its own: what all of them read, the second would have from a cache that
/// the first has filled.
fn read_sum(floats: &[f64], threads: usize, times: usize) -> Read {
    let shares: Vec<&[f64]> = floats.chunks(floats.len().div_ceil(threads)).collect();
    let gate = Barrier::new(shares.len());
    let read = |share: &[f64]| {
        gate.wait();
        let start = Instant::now();
        let sum: f64 = (0..times).map(|_| sum(black_box(share))).sum();
        (sum, start.elapsed().as_secs_f64())
    };
    let (all, slowest_s) = thread::scope(|scope| {
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| read(share))).collect();
        let done = running.into_iter().map(|t| t.join().expect("it cannot panic"));
        done.fold((0.0, 0.0f64), |(all, slowest), (sum, s)| (all + sum, slowest.max(s)))
    });
    Read { gb_s: (size_of_val(floats) * times) as f64 / slowest_s / 1e9, sum: all }
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
    let len = DRAM_BYTES / 4;
    // Sattolo's shuffle: one cycle through all slots.
    let mut next: Vec<u32> = (0..len as u32).collect();
    let mut rng = Rng::new(1, 0);
    for i in (1..len).rev() {
        next.swap(i, rng.below(i as u64) as usize);
    }
    follow(&next, Effort::of(1))
}

/// The same through a cycle that is made in an instant, and that no processor foresees either.
pub(super) fn cycle_ns(effort: Effort) -> f64 {
    follow(&cycle((effort.bytes / 4).next_power_of_two() as u32), effort)
}

/// Through each of 2ⁿ slots once (Hull and Dobell: the summand is odd, the factor less one a multiple of four).
fn cycle(len: u32) -> Vec<u32> {
    (0..len).map(|i| i.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & (len - 1)).collect()
}

fn follow(next: &[u32], Effort { rounds, loads, .. }: Effort) -> f64 {
    let mut at = 0u32;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..loads {
            at = next[at as usize];
        }
        black_box(at);
        start.elapsed().as_nanos() as f64 / f64::from(loads)
    };
    median((0..rounds).map(|_| round()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_sum_is_the_plain_sum() {
        let floats: Vec<f64> = (0..1_003).map(f64::from).collect();
        assert_eq!(sum(&floats), floats.iter().sum::<f64>());
    }

    #[test]
    fn threads_that_sum_together_read_each_float_once_and_not_all_of_them_the_same() {
        let floats: Vec<f64> = (0..10_007).map(f64::from).collect();
        let once = floats.iter().sum::<f64>();
        for threads in [1, 2, 3, 7] {
            let read = read_sum(&floats, threads, 3);
            assert_eq!(read.sum, 3.0 * once, "{threads} threads");
            assert!(read.gb_s > 0.0);
        }
    }

    #[test]
    fn a_cycle_goes_through_every_slot_before_it_comes_to_one_again() {
        let next = cycle(1 << 12);
        let (mut seen, mut at) = (vec![false; next.len()], 0);
        while !std::mem::replace(&mut seen[at as usize], true) {
            at = next[at as usize];
        }
        assert!(at == 0 && seen.iter().all(|&seen| seen));
    }

    #[test]
    fn each_of_many_threads_has_a_share_that_no_cache_of_its_core_holds() {
        for threads in [1, 2, 64, 256] {
            let Effort { bytes, .. } = Effort::of(threads);
            assert!(bytes >= DRAM_BYTES && bytes / threads >= SHARE_BYTES_MIN);
        }
    }
}
