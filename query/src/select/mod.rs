//! Which series a query is about, and over which time.

mod cursor;
mod join;
mod last;
mod map;
mod order;
mod series;

use std::fmt;
use std::sync::Arc;

use tidegauge_storage::model::{Labels, Matcher, TimeRange};
use tidegauge_storage::source::Snapshot;

use crate::limits::{Budget, Cancel, Ledger, QueryLimits};
use crate::parallel::{Helpers, SAMPLES_OF_A_LONG_PIECE};
use crate::{Aggregate, Aggregation, QueryError, Threads};
use join::Joined;

pub use cursor::Cursor;
pub(crate) use series::OfOneSource;
pub use series::Series;

/// The series of a snapshot that pass some matchers, sorted by labels, and a time range.
///
/// Cheap to clone, and to narrow to another [`range`](Self::range). It pins its snapshot:
/// what it reads is the same however often it is read, and whatever is written meanwhile.
///
/// Each operation that reads (one [`Series::read`], one [`par_map`](Self::par_map), one
/// aggregation) has the [`QueryLimits`] to itself, unless a [`Budget`] is given that
/// bounds them together.
#[derive(Clone)]
pub struct Selection {
    joined: Arc<Joined>,
    snapshot: Snapshot,
    range: TimeRange,
    limits: QueryLimits,
    cancel: Cancel,
    ledger: Option<Ledger>,
    budget: Option<Budget>,
    threads: Option<Threads>,
}

impl Selection {
    /// Selects the series that pass all `matchers`, over all time, within the default limits.
    ///
    /// The label sets of all series found are decoded, joined over the sources and sorted:
    /// O(n log n) for n series, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`QueryError::Read`] if an index is damaged; [`QueryError::LimitExceeded`] if there
    /// are too many series.
    pub fn new(snapshot: &Snapshot, matchers: &[Matcher]) -> Result<Self, QueryError> {
        let budget = Budget::new(QueryLimits::DEFAULT);
        Ok(Self { budget: None, ..Self::within(snapshot, matchers, TimeRange::ALL, &budget)? })
    }

    /// As [`Selection::new`], on `threads`, where all parallel operations of this selection
    /// run later: see [`on`](Self::on). What it and they hold is charged to `ledger` too.
    ///
    /// # Errors
    /// As [`Selection::new`].
    pub fn new_on(
        snapshot: &Snapshot,
        matchers: &[Matcher],
        threads: Threads,
        ledger: &Ledger,
    ) -> Result<Self, QueryError> {
        let budget = Budget::charged_to(ledger, QueryLimits::DEFAULT, Cancel::new());
        let select = || Self::within_on(snapshot, matchers, TimeRange::ALL, &budget, Some(threads));
        let selection = ledger.owing(select)?;
        Ok(Self { budget: None, ..selection })
    }

    /// As [`Selection::new`], over `range`, counted against `budget` and so is all that is
    /// read later. Sources that hold nothing in `range` are not asked at all.
    ///
    /// # Errors
    /// As [`Selection::new`], and whatever else ends the budget.
    pub fn within(
        snapshot: &Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Self, QueryError> {
        Self::within_on(snapshot, matchers, range, budget, None)
    }

    /// As [`Selection::within`], on `threads`, if there are any.
    pub(crate) fn within_on(
        snapshot: &Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        threads: Option<Threads>,
    ) -> Result<Self, QueryError> {
        let joined = Joined::new(snapshot, matchers, range, budget, threads.as_ref())?;
        Ok(Self {
            joined: Arc::new(joined),
            snapshot: snapshot.clone(),
            range,
            limits: *budget.limits(),
            cancel: Cancel::new(),
            ledger: budget.ledger().cloned(),
            budget: Some(budget.clone()),
            threads,
        })
    }

    /// Narrows to the samples that lie in `range` and in the range so far. Series without
    /// a sample there stay selected.
    #[must_use]
    pub fn range(mut self, range: impl Into<TimeRange>) -> Self {
        self.range = self.range.intersect(&range.into());
        self
    }

    /// Bounds each operation that reads by `limits`.
    #[must_use]
    pub fn limits(mut self, limits: QueryLimits) -> Self {
        self.limits = limits;
        self.budget = None;
        self
    }

    /// Ends whatever reads through this selection once `cancel` is raised.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self.budget = None;
        self
    }

    /// Bounds all operations that read by one budget together.
    #[must_use]
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Lets `threads` help the calling thread where an operation is large. Without any, those of its rayon pool help:
    /// of the global one, unless the caller is inside `install`. What takes less than some 100 µs the calling thread
    /// does alone.
    #[must_use]
    pub fn on(mut self, threads: impl Into<Threads>) -> Self {
        self.threads = Some(threads.into());
        self
    }

    /// How many series are selected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Whether no series is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time range read.
    #[must_use]
    pub fn time_range(&self) -> TimeRange {
        self.range
    }

    /// The labels of series `i`.
    ///
    /// # Panics
    /// If `i` is not less than [`len`](Self::len).
    #[must_use]
    pub fn labels(&self, i: usize) -> &Labels {
        self.joined.labels(i)
    }

    /// Series `i`, in the order of labels.
    ///
    /// # Panics
    /// If `i` is not less than [`len`](Self::len).
    #[must_use]
    pub fn series(&self, i: usize) -> Series<'_> {
        assert!(i < self.len(), "series {i} of {}", self.len());
        Series::new(self, i)
    }

    /// The series one after the other, in the order of labels. Nothing is read until one is asked to.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Series<'_>> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|i| Series::new(self, i))
    }

    /// Aggregates by window and label group: see [`Aggregation`].
    #[must_use]
    pub fn aggregate(&self, aggregate: Aggregate) -> Aggregation {
        Aggregation::new(self.clone(), aggregate)
    }

    /// The budget of one operation.
    pub(crate) fn begin(&self) -> Budget {
        let own = || Budget::make(self.limits, self.cancel.clone(), self.ledger.clone());
        self.budget.clone().unwrap_or_else(own)
    }

    /// What it is charged to, if anything.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.budget.as_ref().map_or(self.ledger.as_ref(), Budget::ledger)
    }

    /// Who helps the thread that asks.
    pub(crate) fn helpers(&self) -> Helpers<'_> {
        Helpers::of(self.threads.as_ref())
    }

    /// Whether so many series hold so much that it is known before the first is read; the first one tells.
    pub(crate) fn is_long(&self, series: usize) -> bool {
        let one = || self.series(0).samples_about();
        !self.is_empty() && one().saturating_mul(series as u64) >= SAMPLES_OF_A_LONG_PIECE
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("series", &self.len()).field("range", &self.range).finish_non_exhaustive()
    }
}
