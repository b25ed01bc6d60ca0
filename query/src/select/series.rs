//! One selected series.

use std::fmt;
use std::ops::Range;

use tidegauge_storage::model::{Labels, TimeRange};
use tidegauge_storage::source::{ColumnCursor, Columns, SampleSource};

use super::join::Part;
use super::{Cursor, Selection};
use crate::QueryError;
use crate::limits::{Budget, Meter};
use crate::merge::Merge;

/// One series of a [`Selection`], and how to read it.
#[derive(Clone, Copy)]
pub struct Series<'a> {
    selection: &'a Selection,
    i: usize,
}

impl<'a> Series<'a> {
    pub(super) fn new(selection: &'a Selection, i: usize) -> Self {
        Self { selection, i }
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &'a Labels {
        self.selection.labels(self.i)
    }

    /// Its samples within the selection's range, as columns. A staleness marker is a
    /// sample like any other here.
    ///
    /// # Errors
    /// [`QueryError::Read`] if stored bytes are damaged; [`QueryError::LimitExceeded`] or
    /// [`QueryError::Cancelled`] if it was stopped.
    pub fn read(&self) -> Result<Columns, QueryError> {
        let read = || {
            let mut out = Columns::default();
            self.read_into(&mut out, &self.selection.begin())?;
            Ok(out)
        };
        self.selection.ledger().map_or_else(read, |ledger| ledger.owing(read))
    }

    /// Appends its samples to `out`, counted against `budget`. The memory of `out` is
    /// the caller's, bounded here while it grows and no longer counted afterwards.
    ///
    /// # Errors
    /// As [`read`](Self::read); `out` may have grown then.
    pub fn read_into(&self, out: &mut Columns, budget: &Budget) -> Result<(), QueryError> {
        let mut meter = Meter::new(budget);
        self.read_metered(out, budget, &mut meter)?;
        meter.settle()
    }

    pub(super) fn read_metered(
        &self,
        out: &mut Columns,
        budget: &Budget,
        meter: &mut Meter<'_>,
    ) -> Result<(), QueryError> {
        meter.series(1)?;
        let mut held = budget.hold(0)?;
        let mut merge = self.merge();
        let mut before = out.len();
        while merge.next(out)? {
            meter.samples(out.len() - before)?;
            before = out.len();
            held.resize((out.timestamps.capacity() + out.values.capacity()) as u64 * 8)?;
        }
        meter.read(merge.counts());
        Ok(())
    }

    /// About how many samples it has in the selection's range, as far as directories tell.
    pub(crate) fn samples_about(&self) -> u64 {
        let selection = self.selection;
        let of = |(part, bounds): (Part, TimeRange)| {
            let range = bounds.intersect(&selection.range);
            let source = &selection.snapshot.sources()[part.source as usize];
            if range.is_empty() { None } else { source.samples_about(part.ordinal, range) }
        };
        selection.joined.parts(self.i).filter_map(of).fold(0, u64::saturating_add)
    }

    /// A cursor over its samples within the selection's range, for callers who want
    /// them in pieces. Nothing is counted against a budget.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.merge(), self.selection.ledger())
    }

    /// As [`cursor`](Self::cursor), for those who count what they read and pause by that.
    pub(crate) fn merge(&self) -> Merge<'a> {
        let sources = self.selection.snapshot.sources();
        let parts = self.selection.joined.parts(self.i);
        let parts = parts.map(|(part, bounds)| (&*sources[part.source as usize], part.ordinal, bounds));
        Merge::new(parts, self.selection.range)
    }
}

/// Series that stand one behind the other in the one source that may have samples of them in the selection's range.
pub(crate) struct OfOneSource<'a> {
    pub(crate) source: &'a dyn SampleSource,
    pub(crate) ordinals: Range<u32>,
    pub(crate) range: TimeRange,
}

impl OfOneSource<'_> {
    /// Those behind the first `n`.
    pub(crate) fn behind(&self, n: u32) -> Self {
        Self { ordinals: self.ordinals.start + n..self.ordinals.end, ..*self }
    }
}

impl Selection {
    /// As many of `series`, from the first on, as one source alone has, one behind the other; `None` if the first is none
    /// of these.
    pub(crate) fn of_one_source(&self, series: Range<usize>) -> Option<OfOneSource<'_>> {
        let (Part { source, ordinal: first }, range) = self.only_part(series.start)?;
        let behind = |(i, ordinal): &(usize, u32)| {
            self.only_part(*i).is_some_and(|(part, _)| part.source == source && part.ordinal == *ordinal)
        };
        let more = (series.start + 1..series.end).zip(first + 1..).take_while(behind).count();
        let source = &*self.snapshot.sources()[source as usize];
        Some(OfOneSource { source, ordinals: first..first + 1 + more as u32, range })
    }

    /// The only part of a series that may hold samples of the selection's range, and that much of it.
    #[inline]
    fn only_part(&self, i: usize) -> Option<(Part, TimeRange)> {
        let inside = |(part, bounds): (Part, TimeRange)| (part, bounds.intersect(&self.range));
        let mut parts = self.joined.parts(i).map(inside).filter(|(_, range)| !range.is_empty());
        let part = parts.next()?;
        parts.next().is_none().then_some(part)
    }
}

impl fmt::Debug for Series<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Series({})", self.labels())
    }
}
