//! What an engine would be that did nothing but keep samples: a plain `Vec` for each series, appended to.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::median;
use crate::rng::Rng;

/// Of the workload `w1`.
pub(super) const W1_SERIES: u32 = 4_000;
/// More than lie in a cache.
pub(super) const MANY_SERIES: u32 = 100_000;
const SAMPLES: u32 = 4_000_000;
const ROUNDS: usize = 3;

/// In which order the series are appended to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    /// One sample of each, then the next of each, as `w1` is.
    InTurn,
    /// Each time another one, at random.
    Random,
}

/// Millions of samples a second, of threads that each have series of their own, all with room for nothing at first.
pub(super) fn append_m_s(threads: usize, series: u32, order: Order) -> f64 {
    let shares = (0..threads as u32).map(|k| orders(share(series, threads, k), share(SAMPLES, threads, k), order, k));
    let shares: Vec<(u32, Vec<u32>)> = shares.collect();
    let round = || {
        let gate = Barrier::new(threads);
        let slowest_s = thread::scope(|scope| {
            let gate = &gate;
            let run = move |(series, order): &(u32, Vec<u32>)| {
                let mut all: Vec<Vec<(i64, f64)>> = vec![Vec::new(); *series as usize];
                gate.wait();
                let start = Instant::now();
                append(&mut all, order);
                let took = start.elapsed().as_secs_f64();
                assert_eq!(summed(&all), expected(order), "what was appended is there");
                took
            };
            let all: Vec<_> = shares.iter().map(|share| scope.spawn(move || run(share))).collect();
            all.into_iter().map(|t| t.join().expect("the sums are right")).fold(0.0, f64::max)
        });
        f64::from(SAMPLES) / slowest_s / 1e6
    };
    median((0..ROUNDS).map(|_| round()).collect())
}

#[inline(never)]
fn append(all: &mut [Vec<(i64, f64)>], order: &[u32]) {
    for (i, &series) in order.iter().enumerate() {
        all[series as usize].push(black_box((i as i64, f64::from(series))));
    }
}

fn share(all: u32, threads: usize, k: u32) -> u32 {
    let at = |k: u32| (u64::from(all) * u64::from(k) / threads as u64) as u32;
    at(k + 1) - at(k)
}

/// How many series a thread has, and which it appends to.
fn orders(series: u32, samples: u32, order: Order, k: u32) -> (u32, Vec<u32>) {
    let mut rng = Rng::new(1, u64::from(k));
    let next = |i: u32| match order {
        Order::InTurn => i % series,
        Order::Random => rng.below(u64::from(series)) as u32,
    };
    (series, (0..samples).map(next).collect())
}

/// Samples, sum of their times, sum of their values: whole numbers all.
fn summed(all: &[Vec<(i64, f64)>]) -> (usize, i64, f64) {
    let samples = || all.iter().flatten();
    (samples().count(), samples().map(|one| one.0).sum(), samples().map(|one| one.1).sum())
}

fn expected(order: &[u32]) -> (usize, i64, f64) {
    let n = order.len() as i64;
    (order.len(), n * (n - 1) / 2, order.iter().map(|&series| u64::from(series)).sum::<u64>() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_all_series_and_samples_among_them_in_either_order() {
        for order in [Order::InTurn, Order::Random] {
            let shares: Vec<_> = (0..3).map(|k| orders(share(100, 3, k), share(1_000, 3, k), order, k)).collect();
            assert_eq!(shares.iter().map(|one| one.0).sum::<u32>(), 100);
            assert_eq!(shares.iter().map(|one| one.1.len()).sum::<usize>(), 1_000);
            for (series, order) in shares {
                assert!(order.iter().all(|&one| one < series));
                let mut all = vec![Vec::new(); series as usize];
                append(&mut all, &order);
                assert_eq!(summed(&all), expected(&order));
                all[0].pop();
                assert_ne!(summed(&all), expected(&order), "one that is missing shows");
            }
        }
    }
}
