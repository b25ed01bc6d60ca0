//! Latencies by the processor's time-stamp counter.

use hdrhistogram::Histogram;
use quanta::Clock;
use serde::Serialize;

/// The time-stamp counter: reading it costs a few nanoseconds and no system call.
#[derive(Clone, Debug)]
pub struct TickClock(Clock);

impl TickClock {
    /// Calibrates the counter against the system's clock. Takes some milliseconds.
    #[must_use]
    pub fn new() -> Self {
        Self(Clock::new())
    }

    /// The counter now.
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.0.raw()
    }

    /// The least that two readings, one after the other, differ by if they differ: what the counter steps by, or what
    /// reading it takes, whichever is more. The counter of some processors advances many ticks at a time.
    #[must_use]
    pub fn step_ns(&self) -> f64 {
        let readings: Vec<u64> = (0..STEP_READINGS).map(|_| self.ticks()).collect();
        // Of many, since one is rounded to whole nanoseconds.
        self.between_ns(0, least_step(&readings).saturating_mul(1_000)) as f64 / 1_000.0
    }

    /// Nanoseconds between two readings.
    #[must_use]
    pub fn between_ns(&self, start: u64, end: u64) -> u64 {
        self.0.delta_as_nanos(start, end)
    }
}

/// Readings that tell [`TickClock::step_ns`].
const STEP_READINGS: usize = 10_000;

/// The least difference between neighbours that is one.
fn least_step(readings: &[u64]) -> u64 {
    readings.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).filter(|step| *step > 0).min().unwrap_or(0)
}

impl Default for TickClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram of times, kept in picoseconds: a push takes a few nanoseconds, and a block of
/// 32 pushes is divided by 32.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

const PS_PER_NS: u64 = 1_000;
/// Longer times are counted as this: 1,000 s.
const PS_MAX: u64 = 1_000_000_000_000_000;

impl Latency {
    /// An empty histogram with three significant digits.
    #[must_use]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, PS_MAX, 3).expect("the bounds are in order"))
    }

    /// Adds one time.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.saturating_mul(PS_PER_NS).max(1));
    }

    /// Adds the mean of `n` calls that took `ns` together.
    pub fn record_mean_ns(&mut self, ns: u64, n: u64) {
        self.0.saturating_record((ns.saturating_mul(PS_PER_NS) / n.max(1)).max(1));
    }

    /// Adds what another histogram has.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Times recorded.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether no time was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time below which `share` (0 to 1) of all lie, in nanoseconds.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / PS_PER_NS as f64
    }

    /// The whole distribution: (share of all, nanoseconds) rising, five steps each time that the rest is halved.
    #[must_use]
    pub fn curve(&self) -> Vec<[f64; 2]> {
        let mut curve: Vec<[f64; 2]> = Vec::new();
        for step in self.0.iter_quantiles(5) {
            let ns = step.value_iterated_to() as f64 / PS_PER_NS as f64;
            // Equal times one after the other say nothing new, but the last of them.
            if curve.len() >= 2 && curve[curve.len() - 2..].iter().all(|p| p[1] == ns) {
                curve.pop();
            }
            curve.push([step.quantile_iterated_to(), ns]);
        }
        curve
    }

    /// The usual four; `None` if nothing was recorded.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        (!self.is_empty()).then(|| Quantiles {
            p50: self.quantile_ns(0.5),
            p99: self.quantile_ns(0.99),
            p999: self.quantile_ns(0.999),
            max: self.0.max() as f64 / PS_PER_NS as f64,
        })
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// Quantiles of times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 99 % lie below.
    pub p99: f64,
    /// 99.9 % lie below.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

/// What two readings of the counter with nothing between them come to: the floor under each
/// single time, and how often this machine takes the processor away for a while.
#[must_use]
pub fn empty_pair(clock: &TickClock, times: u64) -> Latency {
    let mut latency = Latency::new();
    for _ in 0..times {
        let start = clock.ticks();
        let end = clock.ticks();
        latency.record_ns(clock.between_ns(start, end));
    }
    latency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_a_sorted_list() {
        let mut latency = Latency::new();
        let mut all: Vec<u64> = (0..10_000u64).map(|i| i * 7919 % 10_007).collect();
        all.iter().for_each(|&ns| latency.record_ns(ns));
        all.sort_unstable();
        for share in [0.5, 0.9, 0.99, 0.999] {
            let naive = all[(all.len() as f64 * share) as usize - 1] as f64;
            let found = latency.quantile_ns(share);
            assert!((found - naive).abs() <= naive * 0.002, "{share}: {found} {naive}");
        }
        assert_eq!(latency.len(), 10_000);
    }

    #[test]
    fn a_curve_is_what_a_sorted_list_says() {
        let mut latency = Latency::new();
        assert_eq!(latency.curve(), Vec::<[f64; 2]>::new());
        let mut all: Vec<u64> = (0..10_000u64).map(|i| i * 7919 % 10_007 + 1).collect();
        all.iter().for_each(|&ns| latency.record_ns(ns));
        all.sort_unstable();
        let curve = latency.curve();
        assert!(curve.windows(2).all(|w| w[0][0] <= w[1][0] && w[0][1] <= w[1][1]), "rising");
        for [share, ns] in &curve {
            let naive = all.iter().filter(|&&one| one as f64 <= *ns * 1.001).count() as f64 / all.len() as f64;
            assert!(
                naive + 1e-9 >= *share && naive - share < 0.1,
                "{share} of all are said to lie below {ns}: {naive}"
            );
        }
        let [share, longest] = *curve.last().unwrap();
        assert!(share == 1.0 && (longest - 10_007.0).abs() < 20.0, "{longest}");
    }

    #[test]
    fn a_mean_keeps_fractions_of_a_nanosecond() {
        let mut latency = Latency::new();
        latency.record_mean_ns(80, 32);
        let median = latency.quantiles().unwrap().p50;
        assert!((median - 2.5).abs() < 0.01, "{median}");
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest_and_nothing_as_none() {
        let mut latency = Latency::new();
        assert_eq!(latency.quantiles(), None);
        latency.record_ns(u64::MAX);
        assert!(latency.quantiles().unwrap().max >= 1e12 * 0.999);
    }

    #[test]
    fn a_step_of_the_counter_is_the_least_that_is_seen_and_not_nought() {
        assert_eq!(least_step(&[100, 100, 152, 178, 178, 178, 230]), 26);
        assert_eq!(least_step(&[7, 7]), 0);
        assert!(TickClock::new().step_ns() > 0.0);
    }

    #[test]
    fn the_counter_runs_as_the_clock_does() {
        let clock = TickClock::new();
        let (start, wall) = (clock.ticks(), std::time::Instant::now());
        while wall.elapsed().as_millis() < 20 {}
        let ns = clock.between_ns(start, clock.ticks());
        assert!(ns >= 19_000_000, "{ns}");
    }
}
