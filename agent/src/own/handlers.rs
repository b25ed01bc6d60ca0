//! How long requests take, by who handles them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets but the last, in seconds.
pub(super) const BOUNDS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Requests of one handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// How many fell into each bucket.
    buckets: [u64; BOUNDS.len() + 1],
    /// All together.
    pub(super) seconds: f64,
}

impl Times {
    fn add(&mut self, seconds: f64) {
        self.buckets[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        self.seconds += seconds;
    }

    /// How many took at most each bound; the last is all.
    pub(super) fn within(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// By handler: as many as there are routes. Locked for as long as an addition takes.
#[derive(Debug, Default)]
pub(crate) struct Handlers(Mutex<BTreeMap<String, Times>>);

impl Handlers {
    /// A request ended.
    pub(crate) fn took(&self, handler: &str, time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(handler) {
            all.insert(handler.to_owned(), Times::default());
        }
        if let Some(times) = all.get_mut(handler) {
            times.add(time.as_secs_f64());
        }
    }

    /// Of those that were asked at all.
    pub(super) fn read(&self) -> BTreeMap<String, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_first_bucket_that_holds_them() {
        let all = Handlers::default();
        let times = [0.0, 0.0005, 0.000_501, 0.02, 10.0, 11.0, 3600.0];
        times.iter().for_each(|&seconds| all.took("/a", Duration::from_secs_f64(seconds)));
        all.took("/b", Duration::ZERO);
        let read = all.read();
        let within: Vec<u64> = read["/a"].within().collect();
        let naive: Vec<u64> = BOUNDS
            .iter()
            .chain(&[f64::INFINITY])
            .map(|bound| times.iter().filter(|time| *time <= bound).count() as u64)
            .collect();
        assert_eq!(within, naive);
        assert_eq!((read["/a"].count(), read["/b"].count()), (7, 1));
        assert!((read["/a"].seconds - times.iter().sum::<f64>()).abs() < 1e-9);
    }
}
