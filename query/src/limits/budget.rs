//! What a running query has used of its limits, shared by all threads that work on it.
//!
//! This folder is the one of the crate that names atomics. They count and flag, and order
//! nothing else, so all accesses are relaxed.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{Ledger, Limit, QueryLimits, ScanStats};
use crate::QueryError;

/// Stops a query from another thread. Cheap to clone; clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag: queries that carry it end with [`QueryError::Cancelled`] at
    /// their next check, normally within a millisecond. It stays raised.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the flag is raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// One query's limits and what it has used of them so far. The time runs from [`Budget::new`].
///
/// Cheap to clone; clones share the counts, so that all parts of one query, on all
/// threads, are bounded together.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    limits: QueryLimits,
    started: Instant,
    cancel: Cancel,
    samples: AtomicU64,
    bytes: AtomicU64,
    ledger: Option<Ledger>,
    /// Whether the ledger counts it as refused: once, however many threads met its bound.
    refused: AtomicBool,
    counts: Counts,
    /// Calls of [`Budget::check`], for tests.
    #[cfg(test)]
    looks: AtomicU64,
}

impl Drop for Inner {
    /// Of what was [kept](Held::keep) for as long as the query lasts.
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.give_back(*self.bytes.get_mut());
        }
    }
}

/// What only [`Budget::stats`] looks at.
#[derive(Default)]
pub(super) struct Counts {
    series_selected: AtomicU64,
    pub(super) series_read: AtomicU64,
    pub(super) chunks_pruned: AtomicU64,
    pub(super) chunks_by_statistics: AtomicU64,
    pub(super) chunks_decoded: AtomicU64,
    pub(super) samples_by_statistics: AtomicU64,
    /// Beside those that are counted against the limit.
    pub(super) samples_seen: AtomicU64,
    pub(super) samples_evaluated: AtomicU64,
    /// The same by step, for those who ask.
    evaluated_at: OnceLock<Box<[AtomicU64]>>,
    samples_peak: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    selecting_ns: AtomicU64,
}

/// What a [`Budget`] had counted at some time.
pub(crate) struct Evaluated {
    all: u64,
    at: Vec<u64>,
}

impl Budget {
    /// Starts the clock of a query bounded by `limits`.
    #[must_use]
    pub fn new(limits: QueryLimits) -> Self {
        Self::cancelled_by(limits, Cancel::new())
    }

    /// As [`Budget::new`], for a query that ends when `cancel` is raised.
    #[must_use]
    pub fn cancelled_by(limits: QueryLimits, cancel: Cancel) -> Self {
        Self::make(limits, cancel, None)
    }

    /// As [`Budget::cancelled_by`], for a query that shares the memory of `ledger` with others.
    #[must_use]
    pub fn charged_to(ledger: &Ledger, limits: QueryLimits, cancel: Cancel) -> Self {
        Self::make(limits, cancel, Some(ledger.clone()))
    }

    pub(crate) fn make(limits: QueryLimits, cancel: Cancel, ledger: Option<Ledger>) -> Self {
        let (samples, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (started, refused, counts) = (Instant::now(), AtomicBool::new(false), Counts::default());
        Self(Arc::new(Inner {
            limits,
            started,
            cancel,
            samples,
            bytes,
            ledger,
            refused,
            counts,
            #[cfg(test)]
            looks: AtomicU64::new(0),
        }))
    }

    /// The limits it was started with.
    #[must_use]
    pub fn limits(&self) -> &QueryLimits {
        &self.0.limits
    }

    /// Samples counted so far.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.0.samples.load(Relaxed)
    }

    /// What the query has looked at so far. Complete once it has ended.
    #[must_use]
    pub fn stats(&self) -> ScanStats {
        let counts = &self.0.counts;
        ScanStats {
            series_selected: counts.series_selected.load(Relaxed),
            series_read: counts.series_read.load(Relaxed),
            chunks_pruned: counts.chunks_pruned.load(Relaxed),
            chunks_by_statistics: counts.chunks_by_statistics.load(Relaxed),
            chunks_decoded: counts.chunks_decoded.load(Relaxed),
            samples_by_statistics: counts.samples_by_statistics.load(Relaxed),
            samples_read: self.samples_read() + counts.samples_seen.load(Relaxed),
            samples_evaluated: counts.samples_evaluated.load(Relaxed),
            samples_peak: counts.samples_peak.load(Relaxed),
            bytes_read: counts.bytes_read.load(Relaxed),
            selecting: Duration::from_nanos(counts.selecting_ns.load(Relaxed)),
        }
    }

    /// Counts from now on also by step what an expression looks at, for the first `steps` of them:
    /// see [`samples_per_step`](Self::samples_per_step). Ask before the query runs, and once.
    pub fn count_steps(&self, steps: usize) {
        self.0.counts.evaluated_at.get_or_init(|| (0..steps).map(|_| AtomicU64::new(0)).collect());
    }

    /// How many samples an expression looked at for each step, as far as [`count_steps`](Self::count_steps) asked.
    /// Together they are [`samples_evaluated`](ScanStats::samples_evaluated).
    #[must_use]
    pub fn samples_per_step(&self) -> Vec<u64> {
        self.steps().iter().map(|count| count.load(Relaxed)).collect()
    }

    /// Empty unless counted.
    fn steps(&self) -> &[AtomicU64] {
        self.0.counts.evaluated_at.get().map_or(&[], |steps| steps)
    }

    /// Whether someone asked for counts by step.
    pub(crate) fn counts_steps(&self) -> bool {
        !self.steps().is_empty()
    }

    /// Counts samples that an expression looked at for the first step alone.
    pub(crate) fn evaluated(&self, samples: u64) {
        self.0.counts.samples_evaluated.fetch_add(samples, Relaxed);
        self.evaluated_at(0, samples);
    }

    /// Counts by step alone what is counted as a whole elsewhere.
    pub(crate) fn evaluated_at(&self, step: usize, samples: u64) {
        if let Some(count) = self.steps().get(step) {
            count.fetch_add(samples, Relaxed);
        }
    }

    /// Counts as a whole alone what is counted by step elsewhere.
    pub(crate) fn evaluated_in_all(&self, samples: u64) {
        self.0.counts.samples_evaluated.fetch_add(samples, Relaxed);
    }

    /// What has been counted, for [`forget_since`](Self::forget_since) and [`repeat_since`](Self::repeat_since).
    pub(crate) fn evaluated_so_far(&self) -> Evaluated {
        Evaluated { all: self.0.counts.samples_evaluated.load(Relaxed), at: self.samples_per_step() }
    }

    /// Counts no more what was evaluated since then. No other thread evaluates meanwhile.
    pub(crate) fn forget_since(&self, before: &Evaluated) {
        self.0.counts.samples_evaluated.store(before.all, Relaxed);
        self.steps().iter().zip(&before.at).for_each(|(count, &before)| count.store(before, Relaxed));
    }

    /// Counts at each of the first `steps` what was evaluated once since then. No other thread evaluates meanwhile.
    pub(crate) fn repeat_since(&self, before: &Evaluated, steps: usize) {
        let once = self.0.counts.samples_evaluated.load(Relaxed) - before.all;
        self.evaluated_in_all(once * (steps as u64 - 1));
        self.steps().iter().take(steps).skip(1).for_each(|count| {
            count.fetch_add(once, Relaxed);
        });
    }

    /// Notes how many samples an expression held at one time.
    pub(crate) fn held(&self, samples: u64) {
        self.0.counts.samples_peak.fetch_max(samples, Relaxed);
    }

    /// Runs a query, and tells the ledger how long an answer took. Under pressure the thread pauses before, for what its
    /// last one took.
    pub(crate) fn timed<R, E>(&self, query: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let Some(ledger) = &self.0.ledger else { return query() };
        ledger.pause_before();
        let began = Instant::now();
        let answer = query();
        let ended = Instant::now();
        ledger.owe(ended - began, ended);
        if answer.is_ok() {
            ledger.hear(ended - began);
        }
        answer
    }

    /// What meters pass on.
    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The ledger that it is charged to, if any.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.0.ledger.as_ref()
    }

    /// Notes that a selector was resolved, since `started`.
    pub(crate) fn selected(&self, series: usize, started: Instant) {
        let counts = &self.0.counts;
        counts.series_selected.fetch_add(series as u64, Relaxed);
        let spent = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counts.selecting_ns.fetch_add(spent, Relaxed);
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// How often [`check`](Self::check) was asked.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.0.looks.load(Relaxed)
    }

    /// Time since the query began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Asks whether the query may go on. Reads the clock: about 30 ns.
    ///
    /// # Errors
    /// [`QueryError::Cancelled`], or [`QueryError::LimitExceeded`] once its time is over.
    pub fn check(&self) -> Result<(), QueryError> {
        #[cfg(test)]
        self.0.looks.fetch_add(1, Relaxed);
        if self.0.cancel.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        let time = self.0.limits.time;
        if self.elapsed() > time {
            return Err(over(Limit::Time, u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        }
        Ok(())
    }

    /// Counts `n` more samples read, and [checks](Self::check). Count a few thousand a call.
    ///
    /// # Errors
    /// [`QueryError::LimitExceeded`] if there were too many; else as [`check`](Self::check).
    pub fn count_samples(&self, n: u64) -> Result<(), QueryError> {
        let used = self.0.samples.fetch_add(n, Relaxed).saturating_add(n);
        if used > self.0.limits.samples {
            return Err(over(Limit::Samples, self.0.limits.samples));
        }
        self.check()
    }

    /// Refuses more than the allowed number of series.
    ///
    /// # Errors
    /// [`QueryError::LimitExceeded`] if `n` is more than that.
    pub fn check_series(&self, n: u64) -> Result<(), QueryError> {
        if n > self.0.limits.series {
            return Err(over(Limit::Series, self.0.limits.series));
        }
        Ok(())
    }

    /// Counts `bytes` as held until the answer is dropped. Ask *before* allocating.
    ///
    /// # Errors
    /// [`QueryError::LimitExceeded`] if they would be too many, for this query or for all of its ledger; nothing is
    /// held then.
    pub fn hold(&self, bytes: u64) -> Result<Held, QueryError> {
        let mut held = self.hold_nothing();
        held.grow(bytes)?;
        Ok(held)
    }

    /// For what grows later.
    pub(crate) fn hold_nothing(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("limits", &self.0.limits)
            .field("samples_read", &self.samples_read())
            .field("bytes_held", &self.bytes_held())
            .field("elapsed", &self.elapsed())
            .finish()
    }
}

/// Bytes counted against a [`Budget`] until dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

impl Held {
    /// Holds `more` bytes in addition.
    ///
    /// # Errors
    /// [`QueryError::LimitExceeded`] if they would be too many; what was held stays held.
    pub fn grow(&mut self, more: u64) -> Result<(), QueryError> {
        if more == 0 {
            return Ok(());
        }
        let Inner { bytes, limits, ledger, refused, .. } = &*self.budget.0;
        let used = bytes.fetch_add(more, Relaxed).checked_add(more);
        let is_over = |bytes_max: u64| used.is_none_or(|used| used > bytes_max);
        if is_over(limits.memory_bytes) {
            bytes.fetch_sub(more, Relaxed);
            return Err(over(Limit::Memory, limits.memory_bytes));
        }
        if let Some(ledger) = ledger
            && let Err(full) = ledger.take(more)
        {
            bytes.fetch_sub(more, Relaxed);
            // What is too much for all of them is so for one alone, whoever else ends.
            let full = if is_over(ledger.bytes_max()) { over(Limit::Memory, ledger.bytes_max()) } else { full };
            if !refused.swap(true, Relaxed) {
                ledger.refuse();
            }
            return Err(full);
        }
        self.bytes += more;
        Ok(())
    }

    /// What it is charged to.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Holds what `other` held of the same budget in addition.
    pub(crate) fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget.0, &other.budget.0));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Holds the bytes for as long as the budget or a clone of it is there: what they were held for is the answer.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }

    /// Holds `bytes` less. At most what is held.
    pub(crate) fn release(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.budget.0.bytes.fetch_sub(bytes, Relaxed);
        if let Some(ledger) = &self.budget.0.ledger {
            ledger.give_back(bytes);
        }
        self.bytes -= bytes;
    }

    /// Holds `bytes` from now on, more or fewer than before.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    pub fn resize(&mut self, bytes: u64) -> Result<(), QueryError> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            return self.grow(more);
        }
        self.release(self.bytes - bytes);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

fn over(which: Limit, limit: u64) -> QueryError {
    QueryError::LimitExceeded { which, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped_by(result: Result<(), QueryError>) -> Option<Limit> {
        match result {
            Err(QueryError::LimitExceeded { which, .. }) => Some(which),
            _ => None,
        }
    }

    #[test]
    fn samples_are_counted_over_all_clones() {
        let budget = Budget::new(QueryLimits { samples: 10, ..QueryLimits::DEFAULT });
        budget.count_samples(6).unwrap();
        budget.clone().count_samples(4).unwrap();
        assert_eq!(stopped_by(budget.count_samples(1)), Some(Limit::Samples));
    }

    #[test]
    fn memory_is_given_back_and_a_refusal_holds_nothing() {
        let budget = Budget::new(QueryLimits { memory_bytes: 100, ..QueryLimits::DEFAULT });
        let mut first = budget.hold(60).unwrap();
        assert_eq!(stopped_by(budget.hold(41).map(drop)), Some(Limit::Memory));
        assert_eq!(stopped_by(budget.hold(u64::MAX).map(drop)), Some(Limit::Memory));
        first.resize(20).unwrap();
        let second = budget.hold(80).unwrap();
        assert_eq!(budget.bytes_held(), 100);
        first.join(second);
        assert_eq!(budget.bytes_held(), 100);
        drop(first);
        assert_eq!(budget.bytes_held(), 0);
    }

    #[test]
    fn queries_of_one_ledger_are_bounded_together() {
        let ledger = Ledger::new(100);
        let budget = || Budget::charged_to(&ledger, QueryLimits::DEFAULT, Cancel::new());
        let (one, other) = (budget(), budget());
        let mut first = one.hold(60).unwrap();
        for _ in 0..2 {
            assert_eq!(stopped_by(other.hold(41).map(drop)), Some(Limit::SharedMemory));
        }
        assert_eq!((ledger.refused(), other.bytes_held(), ledger.bytes_held()), (1, 0, 60));
        first.resize(20).unwrap();
        let second = other.hold(80).unwrap();
        assert_eq!(ledger.bytes_held(), 100);
        // Whoever ends, one of them alone cannot have that.
        assert_eq!(stopped_by(other.hold(21).map(drop)), Some(Limit::Memory));
        drop(first);
        assert_eq!((ledger.bytes_held(), ledger.bytes_peak()), (80, 100));
        // An answer lives as long as its query.
        second.keep();
        assert_eq!((other.bytes_held(), ledger.bytes_held()), (80, 80));
        let clone = other.clone();
        drop(other);
        assert_eq!(ledger.bytes_held(), 80);
        drop(clone);
        assert_eq!(ledger.bytes_held(), 0);
        // Its own limit comes first, and is charged to nobody else.
        let small =
            Budget::charged_to(&ledger, QueryLimits { memory_bytes: 10, ..QueryLimits::DEFAULT }, Cancel::new());
        assert_eq!(stopped_by(small.hold(11).map(drop)), Some(Limit::Memory));
        assert_eq!((ledger.refused(), ledger.bytes_held()), (1, 0));
    }

    #[test]
    fn time_and_cancellation_stop_a_query() {
        let late = Budget::new(QueryLimits { time: Duration::ZERO, ..QueryLimits::DEFAULT });
        while late.elapsed().is_zero() {}
        assert_eq!(stopped_by(late.check()), Some(Limit::Time));
        let cancel = Cancel::new();
        let budget = Budget::cancelled_by(QueryLimits::NONE, cancel.clone());
        budget.check().unwrap();
        cancel.cancel();
        assert!(matches!(budget.check(), Err(QueryError::Cancelled)));
    }

    #[test]
    fn the_message_says_which_limit_and_what_to_do() {
        let e = over(Limit::Samples, 50).to_string();
        assert!(e.contains("50 samples") && e.contains("narrow"), "{e}");
        let e = over(Limit::SharedMemory, 64).to_string();
        assert!(e.contains("all running queries together") && e.contains("64 bytes") && e.contains("again"), "{e}");
    }
}
