//! Whole-range answers about many series, in parallel.

use std::ops::Range;

use tidegauge_storage::model::{Labels, Sample};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts};

use super::Selection;
use crate::QueryError;
use crate::limits::{Budget, Meter};
use crate::parallel::{chunks_with, equal};

impl Selection {
    /// Calls `map` with the labels and samples of each series, in parallel, and answers
    /// what it returned, in the order of labels. Columns are reused from series to series.
    ///
    /// # Errors
    /// As [`Series::read`](crate::Series::read); the first error met ends the whole.
    pub fn par_map<R, F>(&self, map: F) -> Result<Vec<R>, QueryError>
    where
        R: Send,
        F: Fn(&Labels, &Columns) -> R + Sync,
    {
        let budget = self.begin();
        let read = |columns: &mut Columns, meter: &mut Meter<'_>, i: usize| {
            columns.clear();
            self.series(i).read_metered(columns, &budget, meter)?;
            Ok(map(self.labels(i), columns))
        };
        self.par_series(&budget, Columns::default, read)
    }

    /// As [`par_map`](Self::par_map), folding what it returns into one: in the order of
    /// labels, so that the answer does not depend on the number of threads.
    ///
    /// # Errors
    /// As [`par_map`](Self::par_map).
    pub fn par_fold<R, A, F>(&self, map: F, first: A, fold: impl FnMut(A, R) -> A) -> Result<A, QueryError>
    where
        R: Send,
        F: Fn(&Labels, &Columns) -> R + Sync,
    {
        Ok(self.par_map(map)?.into_iter().fold(first, fold))
    }

    /// How many samples each series has in the range, duplicates counted once and
    /// staleness markers included, in the order of labels. Chunks that no other source
    /// overlaps are not decoded. Holds one batch a thread.
    ///
    /// # Errors
    /// As [`par_map`](Self::par_map).
    pub fn count(&self) -> Result<Vec<u64>, QueryError> {
        let budget = self.begin();
        let read = |columns: &mut Columns, meter: &mut Meter<'_>, i: usize| {
            meter.series(1)?;
            let mut count = 0;
            let mut merge = self.series(i).merge();
            columns.clear();
            loop {
                if let Some(stats) = merge.whole()? {
                    meter.statistics(1, u64::from(stats.count))?;
                    count += u64::from(stats.count);
                    merge.pass();
                } else if merge.next(columns)? {
                    meter.samples(columns.len())?;
                    count += columns.len() as u64;
                    columns.clear();
                } else {
                    meter.read(merge.counts());
                    return Ok(count);
                }
            }
        };
        self.par_series(&budget, Columns::default, read)
    }

    /// The last sample of each series in the range, in the order of labels; `None` where
    /// it has none. Reads the end of a series only: statistics, or one vector.
    ///
    /// # Errors
    /// As [`par_map`](Self::par_map).
    pub fn last(&self) -> Result<Vec<Option<Sample>>, QueryError> {
        let budget = self.begin();
        let read = |columns: &mut Columns, meter: &mut Meter<'_>, i: usize| {
            meter.series(1)?;
            let mut counts = ReadCounts::default();
            let (last, samples) = self.last_of(i, columns, &mut counts)?;
            meter.read(counts);
            meter.samples(samples)?;
            Ok(last)
        };
        self.par_series(&budget, Columns::default, read)
    }

    /// Runs `work` for each series on this thread and on those that help it, each thread with a scratch of its own.
    fn par_series<T, R, I, F>(&self, budget: &Budget, scratch: I, work: F) -> Result<Vec<R>, QueryError>
    where
        R: Send,
        I: Fn() -> T + Sync,
        F: Fn(&mut T, &mut Meter<'_>, usize) -> Result<R, QueryError> + Sync,
    {
        budget.check()?;
        let chunk = (self.len() / 256).clamp(1, 64);
        let begin = || Ok((scratch(), Meter::new(budget)));
        let one = |(scratch, meter): &mut (T, Meter<'_>), series: Range<usize>| {
            series.map(|i| work(scratch, meter, i)).collect::<Result<Vec<R>, _>>()
        };
        let end = |(_, mut meter): (T, Meter<'_>)| meter.settle();
        // One answer is not worth being charged to all queries: that would be a sixth of what it costs.
        if self.len() <= chunk {
            let mut scratch = begin()?;
            let done = one(&mut scratch, 0..self.len())?;
            end(scratch)?;
            return Ok(done);
        }
        let _held = budget.hold((self.len() * size_of::<R>()) as u64)?;
        let (helpers, long) = (self.helpers(), self.is_long(chunk));
        let all = chunks_with(helpers, long, equal(0..self.len(), chunk), begin, one, end)?;
        Ok(all.into_iter().flatten().collect())
    }
}
