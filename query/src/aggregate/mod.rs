//! What becomes of the samples: one value for each window and label group.

mod between;
mod by_statistics;
mod fold;
mod group;
mod run;
mod scan;
mod window;

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegauge_storage::model::Labels;

use crate::{QueryError, Selection};
use between::Between;
use fold::{Both, Count, Edge, Extreme, Fold, Rate, Sum, Totals};
use group::Grouping;
use scan::Asked;
use window::Windows;

/// How the samples of a window become one value.
///
/// Staleness markers (the NaN with the bits `0x7ff0000000000002`) are no samples here:
/// each of these skips them. Any other NaN is a value like any other unless a line below
/// says otherwise. A window without samples has no value.
///
/// In a group of several series the samples of all of them in the window are taken
/// together, but for [`Rate`](Self::Rate), which is taken of each series and then added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregate {
    /// How many samples.
    Count,
    /// Their sum, compensated (Neumaier), so that small values are not lost beside great ones.
    Sum,
    /// The least value; NaN only if all are NaN. Zero has no sign in the answer.
    Min,
    /// The greatest value; NaN only if all are NaN. Zero has no sign in the answer.
    Max,
    /// The compensated sum divided by the count.
    Avg,
    /// The value of the earliest sample; of equal timestamps in a group, that of the
    /// series whose labels come first.
    First,
    /// The value of the latest sample; of equal timestamps in a group, that of the
    /// series whose labels come first.
    Last,
    /// A counter's increase per second between the first and the last sample of the
    /// window: (last − first + what each reset took away) ÷ the time between these two.
    /// A value below the one before it in the window is a reset and takes away that one.
    /// Nothing is extrapolated to the window's edges, and what happens between the last
    /// sample of one window and the first of the next belongs to neither. A series with
    /// fewer than two samples in the window has no rate there.
    Rate,
}

/// Sum, count and mean, and the least and the greatest value.
type Spread = Both<Totals, Both<Extreme<false>, Extreme<true>>>;
/// The first and the last value, too.
type Ends = Both<Spread, Both<Edge<false>, Edge<true>>>;
/// Each aggregate there is.
type All = Both<Ends, Rate>;

/// An aggregation being put together: see [`Selection::aggregate`].
///
/// Without [`every`](Self::every) the whole range is one window; without
/// [`group_by`](Self::group_by) or [`group_all`](Self::group_all) each series keeps an
/// answer of its own.
#[derive(Clone, Debug)]
pub struct Aggregation {
    selection: Selection,
    /// One at least.
    aggregates: Vec<Aggregate>,
    every: Option<Duration>,
    between: Option<Between>,
    grouping: Grouping,
}

/// The answer of an aggregation: sorted by labels, none without a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// One for each group, or each series where nothing was grouped.
    pub series: Vec<ResultSeries>,
}

/// The values of one group (or series), window after window, as two columns of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSeries {
    /// The labels grouped by, those that the group has; all labels where nothing was grouped.
    pub labels: Labels,
    /// Where each window begins, in nanoseconds since the Unix epoch, ascending. Windows
    /// without a value are left out. Of a window that would begin before the earliest
    /// timestamp, that timestamp.
    pub timestamps: Vec<i64>,
    /// The value of each window.
    pub values: Vec<f64>,
}

impl Aggregation {
    pub(crate) fn new(selection: Selection, aggregate: Aggregate) -> Self {
        Self { selection, aggregates: vec![aggregate], every: None, between: None, grouping: Grouping::Series }
    }

    /// Another aggregate of the same samples, in the same pass over them: see [`run_each`](Self::run_each).
    #[must_use]
    pub fn and(mut self, aggregate: Aggregate) -> Self {
        self.aggregates.push(aggregate);
        self
    }

    /// One value for each window of this length.
    ///
    /// Windows are aligned to the Unix epoch, whatever the range: window k is
    /// `[k × length, (k + 1) × length)`, so that two queries speak of the same windows.
    /// The first and the last window hold only those of their samples that lie in the range.
    #[must_use]
    pub fn every(mut self, window: Duration) -> Self {
        self.every = Some(window);
        self
    }

    /// Only samples whose value lies in `values` count, as if there were no others; NaN lies in none.
    ///
    /// Chunks whose least and greatest value rule all of their samples out are not read, and count as pruned; those of
    /// which all samples lie within are answered by their statistics where these would answer without bounds.
    #[must_use]
    pub fn between(mut self, values: RangeInclusive<f64>) -> Self {
        self.between = Some(Between { low: *values.start(), high: *values.end() });
        self
    }

    /// One answer for all series that have the same values of these labels. A label that
    /// a series lacks counts as empty. No name at all is [`group_all`](Self::group_all).
    #[must_use]
    pub fn group_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.grouping = Grouping::by(names.into_iter().map(Into::into).collect());
        self
    }

    /// One answer for all series together; its label set is empty.
    #[must_use]
    pub fn group_all(self) -> Self {
        self.group_by([""; 0])
    }

    /// Reads and aggregates, by the first aggregate alone, on the calling thread, which the selection's threads help if that is worth the way.
    ///
    /// O(samples + series), plus O(windows) a group. Holds one batch of samples a thread
    /// and one value for each window *that has samples*: a tiny window over a great range
    /// costs no more than there are samples. The answer is the same, bit for bit,
    /// whatever the number of threads.
    ///
    /// # Errors
    /// [`QueryError::EmptyWindow`] if the window has no length; [`QueryError::Read`] if stored
    /// bytes are damaged; [`QueryError::LimitExceeded`] or [`QueryError::Cancelled`] if
    /// it was stopped.
    pub fn run(&self) -> Result<Table, QueryError> {
        self.tables(&self.aggregates[..1]).map(|mut tables| tables.pop().unwrap_or_default())
    }

    /// As [`run`](Self::run), a table for each aggregate, the first one and what [`and`](Self::and) added, in that order.
    ///
    /// Samples are read once, whatever is asked of them, so that this costs less than one run after the other; least
    /// where it is reading that costs most. Each table is what a run of its aggregate alone answers, but that a sum, or
    /// a mean, may differ in its last bit where statistics tell it alone and do not tell what is asked beside it.
    /// Holds what all aggregates need for each window.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_each(&self) -> Result<Vec<Table>, QueryError> {
        self.tables(&self.aggregates)
    }

    /// By the first of these folds, the least one first, that tells all of the aggregates.
    fn tables(&self, aggregates: &[Aggregate]) -> Result<Vec<Table>, QueryError> {
        let only = |told: &[Aggregate]| aggregates.iter().all(|aggregate| told.contains(aggregate));
        match aggregates {
            [Aggregate::Count] => self.by::<Count>(aggregates),
            [Aggregate::Sum] => self.by::<Sum>(aggregates),
            [Aggregate::Min] => self.by::<Extreme<false>>(aggregates),
            [Aggregate::Max] => self.by::<Extreme<true>>(aggregates),
            [Aggregate::First] => self.by::<Edge<false>>(aggregates),
            [Aggregate::Last] => self.by::<Edge<true>>(aggregates),
            [Aggregate::Rate] => self.by::<Rate>(aggregates),
            _ if only(&[Aggregate::Count, Aggregate::Sum, Aggregate::Avg]) => self.by::<Totals>(aggregates),
            _ if aggregates.contains(&Aggregate::Rate) => self.by::<All>(aggregates),
            _ if aggregates.contains(&Aggregate::First) || aggregates.contains(&Aggregate::Last) => {
                self.by::<Ends>(aggregates)
            }
            _ => self.by::<Spread>(aggregates),
        }
    }

    fn by<F: Fold>(&self, aggregates: &[Aggregate]) -> Result<Vec<Table>, QueryError> {
        let windows = Windows::new(self.every, self.selection.time_range())?;
        let asked = Asked { windows, between: self.between };
        let budget = &self.selection.begin();
        budget.timed(|| run::tables::<F>(&self.selection, asked, &self.grouping, aggregates, budget))
    }
}
