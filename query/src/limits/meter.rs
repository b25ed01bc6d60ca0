//! What one thread counts by itself between two looks at what all of them share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidegauge_storage::source::ReadCounts;

use super::Budget;
use crate::QueryError;

/// One task's own count, passed on to the shared budget now and then: a series of ten
/// samples must not pay for the clock.
pub(crate) struct Meter<'a> {
    budget: &'a Budget,
    samples: u64,
    /// Samples, plus something for each series looked at, since the last check.
    work: u64,
    series: u64,
    samples_by_statistics: u64,
    samples_seen: u64,
    evaluated: u64,
    read: ReadCounts,
}

/// How much work goes by between two checks: well under a millisecond.
const WORK_BETWEEN_CHECKS: u64 = 1 << 15;
/// What opening a series costs, in samples.
const WORK_OF_A_SERIES: u64 = 64;
/// What a chunk's statistics cost, in samples.
const WORK_OF_STATISTICS: u64 = 16;

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        let read = ReadCounts::default();
        Self { budget, samples: 0, work: 0, series: 0, samples_by_statistics: 0, samples_seen: 0, evaluated: 0, read }
    }

    /// Counts series looked at.
    pub(crate) fn series(&mut self, n: u64) -> Result<(), QueryError> {
        self.series += n;
        self.add(0, n.saturating_mul(WORK_OF_A_SERIES))
    }

    /// Counts samples read.
    pub(crate) fn samples(&mut self, n: usize) -> Result<(), QueryError> {
        self.add(n as u64, n as u64)
    }

    /// Counts chunks whose statistics were enough, and the samples in them.
    pub(crate) fn statistics(&mut self, chunks: u64, samples: u64) -> Result<(), QueryError> {
        self.samples_by_statistics += samples;
        self.add(0, chunks.saturating_mul(WORK_OF_STATISTICS))
    }

    /// Takes over what was read of a series whose samples are bounded elsewhere.
    pub(crate) fn seen(&mut self, samples: u64, counts: ReadCounts) {
        self.series += 1;
        self.samples_seen += samples;
        self.read += counts;
    }

    /// Counts samples that an expression looked at; by step they are counted elsewhere.
    pub(crate) fn evaluated(&mut self, samples: u64) {
        self.evaluated += samples;
    }

    /// Takes over what a cursor counted. Once, when it is done with.
    pub(crate) fn read(&mut self, counts: ReadCounts) {
        self.read += counts;
    }

    fn add(&mut self, samples: u64, work: u64) -> Result<(), QueryError> {
        self.samples += samples;
        self.work += work;
        if self.work >= WORK_BETWEEN_CHECKS { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<(), QueryError> {
        let work = std::mem::take(&mut self.work);
        if let Some(ledger) = self.budget.ledger() {
            ledger.pause_after(work);
        }
        self.budget.count_samples(std::mem::take(&mut self.samples))
    }

    /// Passes the rest on. Whoever owns the meter calls it at the end of its task.
    pub(crate) fn settle(&mut self) -> Result<(), QueryError> {
        self.tell();
        self.pass_on()
    }

    /// Passes on what is only counted and bounds nothing.
    fn tell(&mut self) {
        let counts = self.budget.counts();
        let pass = |to: &AtomicU64, n: u64| {
            if n > 0 {
                to.fetch_add(n, Relaxed);
            }
        };
        let read = std::mem::take(&mut self.read);
        pass(&counts.series_read, std::mem::take(&mut self.series));
        let samples_by_statistics = std::mem::take(&mut self.samples_by_statistics) + read.samples_by_statistics;
        pass(&counts.samples_by_statistics, samples_by_statistics);
        pass(&counts.samples_evaluated, std::mem::take(&mut self.evaluated));
        pass(&counts.chunks_pruned, read.chunks_pruned);
        pass(&counts.chunks_by_statistics, read.chunks_by_statistics);
        pass(&counts.chunks_decoded, read.chunks_decoded);
        pass(&counts.samples_seen, std::mem::take(&mut self.samples_seen));
        pass(&counts.bytes_read, read.bytes);
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limit, QueryLimits};

    #[test]
    fn samples_count_at_the_end_of_a_task_at_the_latest() {
        let budget = Budget::new(QueryLimits { samples: 10, ..QueryLimits::DEFAULT });
        let mut meter = Meter::new(&budget);
        meter.samples(11).unwrap();
        let stopped = meter.settle();
        assert!(matches!(stopped, Err(QueryError::LimitExceeded { which: Limit::Samples, .. })), "{stopped:?}");
    }
}
