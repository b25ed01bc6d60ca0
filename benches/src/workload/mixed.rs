//! The mixed workload: each worker reads last values and writes samples until visible.
//!
//! A worker writes only series of its own, in turn, so it knows what the last value of each
//! of them must be, and reads its own writes or finds a bug. It reads all series.

use std::ops::Range;

use super::Workload;
use crate::rng::Rng;

/// Series that are there before the clock starts, each with one sample.
pub const SERIES: u32 = 100_000;

/// Reads among 100 operations.
const READS_PERCENT: u64 = 70;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Read the last value of this series from a fresh snapshot.
    Read {
        /// Which.
        series: u32,
    },
    /// Push a batch and wait until it is visible.
    Write,
}

/// The operations of one worker, in order; the same for the same seed.
#[derive(Clone, Debug)]
pub struct Worker {
    own: Range<u32>,
    choices: Rng,
    values: Rng,
    written: u64,
}

impl Worker {
    /// Worker `index` of `of`.
    #[must_use]
    pub fn new(workload: &Workload, index: u32, of: u32) -> Self {
        let at = |k: u32| (u64::from(workload.slots()) * u64::from(k) / u64::from(of)) as u32;
        let stream = u64::from(index) * 2;
        Self {
            own: at(index)..at(index + 1),
            choices: Rng::new(workload.seed(), stream + 1),
            values: Rng::new(workload.seed(), stream + 2),
            written: 0,
        }
    }

    /// What to do next.
    pub fn operation(&mut self) -> Operation {
        if self.choices.below(100) < READS_PERCENT {
            Operation::Read { series: self.choices.below(u64::from(SERIES)) as u32 }
        } else {
            Operation::Write
        }
    }

    /// The next sample to write: series, tick, value. Tick 0 is [`first`]'s.
    pub fn sample(&mut self) -> (u32, u64, f64) {
        let width = u64::from(self.own.end - self.own.start);
        let series = self.own.start + (self.written % width) as u32;
        let tick = 1 + self.written / width;
        self.written += 1;
        (series, tick, (self.values.unit() * 10_000.0).round() / 100.0)
    }

    /// The series that this worker, and no other, writes.
    #[must_use]
    pub fn own(&self) -> Range<u32> {
        self.own.clone()
    }
}

/// The value that a series has before the clock starts, at tick 0.
#[must_use]
pub fn first(series: u32) -> f64 {
    f64::from(series % 101)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;

    #[test]
    fn seven_of_ten_operations_are_reads() {
        let workload = Workload::new(Kind::Mixed, 1, None).unwrap();
        let mut worker = Worker::new(&workload, 0, 2);
        let reads = (0..100_000).filter(|_| matches!(worker.operation(), Operation::Read { .. })).count();
        assert!((69_000..71_000).contains(&reads), "{reads}");
    }

    #[test]
    fn workers_write_their_own_series_forward_in_time() {
        let workload = Workload::new(Kind::Mixed, 1, None).unwrap();
        let mut seen = std::collections::HashSet::new();
        for index in 0..3 {
            let mut worker = Worker::new(&workload, index, 3);
            let mut again = worker.clone();
            let mut last = std::collections::HashMap::new();
            for _ in 0..70_000 {
                let (series, tick, value) = worker.sample();
                assert_eq!((series, tick, value), again.sample(), "the same for the same seed");
                assert!(worker.own().contains(&series));
                assert!(last.insert(series, tick).is_none_or(|before| before < tick));
                assert!(seen.insert((series, tick)), "one sample for each series and tick");
            }
        }
    }
}
