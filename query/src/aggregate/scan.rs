//! One series' samples, cut into windows.

use std::ops::Range;

use tidegauge_storage::chunk::{ChunkStats, STALE_BITS};
use tidegauge_storage::lanes;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts};

use super::between::{Between, Told};
use super::by_statistics::by_statistics;
use super::fold::Fold;
use super::window::{Window, Windows};
use crate::limits::{Budget, Held, Meter};
use crate::{QueryError, Selection, Series};

/// Windows that have a value, ascending, and what is known of each.
pub(super) struct Partials<P> {
    pub(super) windows: Vec<i64>,
    pub(super) values: Vec<P>,
    held: Held,
}

impl<P: Copy> Partials<P> {
    pub(super) fn new(budget: &Budget) -> Result<Self, QueryError> {
        Ok(Self { windows: Vec::new(), values: Vec::new(), held: budget.hold(0)? })
    }

    pub(super) fn push(&mut self, window: Window, value: P) {
        self.windows.push(window.first);
        self.values.push(value);
    }

    pub(super) fn clear(&mut self) {
        self.windows.clear();
        self.values.clear();
    }

    /// Makes room for `n` windows, if they may be held.
    pub(super) fn reserve(&mut self, n: usize) -> Result<(), QueryError> {
        self.held.grow((n * (8 + size_of::<P>())) as u64)?;
        self.windows.reserve(n);
        self.values.reserve(n);
        Ok(())
    }

    /// Counts the memory as it is now.
    pub(super) fn weigh(&mut self) -> Result<(), QueryError> {
        self.held.resize((self.windows.capacity() * 8 + self.values.capacity() * size_of::<P>()) as u64)
    }
}

/// Which samples count, and how they are cut up.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) windows: Windows,
    pub(super) between: Option<Between>,
}

impl Asked {
    /// How many of a chunk's samples count, as far as its statistics tell.
    pub(super) fn tells(self, stats: &ChunkStats) -> Told {
        self.between.map_or(Told::Everything, |between| between.tells(stats))
    }
}

/// One thread's scratch and counts.
pub(super) struct Scan<'a> {
    columns: Columns,
    meter: Meter<'a>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { columns: Columns::default(), meter: Meter::new(budget) }
    }

    /// Passes on what was counted; at the end of a task.
    pub(super) fn settle(&mut self) -> Result<(), QueryError> {
        self.meter.settle()
    }

    /// Folds the samples of each of `series` into one value for each window, and hands them to `each` with the number of
    /// the series, where there are some. `out` is room for them.
    pub(super) fn each<F: Fold>(
        &mut self,
        selection: &Selection,
        series: Range<usize>,
        asked: Asked,
        out: &mut Partials<F::Partial>,
        each: &mut impl FnMut(usize, &mut Partials<F::Partial>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut next = series.start;
        while next < series.end {
            let (first, run) = (next, selection.of_one_source(next..series.end));
            let until = first + run.as_ref().map_or(1, |run| run.ordinals.len());
            while next < until {
                if let Some(run) = &run {
                    let (from, rest) = (next, run.behind((next - first) as u32));
                    let told =
                        by_statistics::<F>(&rest, asked, &mut self.meter, out, &mut |at, out| each(from + at, out));
                    next += told? as usize;
                }
                if next < until {
                    out.clear();
                    self.read::<F>(selection.series(next), asked, out)?;
                    if !out.windows.is_empty() {
                        each(next, out)?;
                    }
                    next += 1;
                }
            }
        }
        Ok(())
    }

    /// Folds the samples of a series, appended to `out`.
    fn read<F: Fold>(
        &mut self,
        series: Series<'_>,
        asked: Asked,
        out: &mut Partials<F::Partial>,
    ) -> Result<(), QueryError> {
        self.meter.series(1)?;
        let windows = asked.windows;
        let mut ruled_out = 0;
        let mut merge = series.merge();
        let columns = &mut self.columns;
        let mut fold = F::default();
        let mut current: Option<Window> = None;
        let mut run = 0;
        columns.clear();
        loop {
            if let Some(stats) = merge.whole()? {
                let told = asked.tells(&stats);
                if told == Told::Nothing {
                    ruled_out += 1;
                    self.meter.statistics(1, 0)?;
                    merge.pass();
                    continue;
                }
                let window = windows.holding(stats.first_timestamp);
                if told == Told::Everything && stats.last_timestamp <= window.last {
                    if current != Some(window)
                        && let (Some(before), Some(value)) = (current.replace(window), fold.finish())
                    {
                        out.push(before, value);
                    }
                    if fold.is_told(&stats) {
                        fold.add_chunk(&stats);
                        self.meter.statistics(1, u64::from(stats.count))?;
                        merge.pass();
                        continue;
                    }
                }
            }
            if !merge.next(columns)? {
                break;
            }
            self.meter.samples(columns.len())?;
            drop_stale(columns);
            if let Some(between) = asked.between {
                between.retain(columns);
            }
            let (mut timestamps, mut values) = (&columns.timestamps[..], &columns.values[..]);
            while let Some(&at) = timestamps.first() {
                let window = match current {
                    Some(window) if at <= window.last => window,
                    before => {
                        let window = windows.holding(at);
                        if let (Some(before), Some(value)) = (before, fold.finish()) {
                            out.push(before, value);
                        }
                        current = Some(window);
                        window
                    }
                };
                run = window.run(timestamps, run);
                fold.add(&timestamps[..run], &values[..run]);
                (timestamps, values) = (&timestamps[run..], &values[run..]);
            }
            columns.clear();
            out.weigh()?;
        }
        if let (Some(window), Some(value)) = (current, fold.finish()) {
            out.push(window, value);
        }
        self.meter.read(ruled(merge.counts(), ruled_out));
        out.weigh()
    }
}

/// Chunks that statistics answered with nothing are pruned ones.
pub(super) fn ruled(counts: ReadCounts, out: u64) -> ReadCounts {
    let (chunks_pruned, chunks_by_statistics) = (counts.chunks_pruned + out, counts.chunks_by_statistics - out);
    ReadCounts { chunks_pruned, chunks_by_statistics, ..counts }
}

/// Takes staleness markers out. Looking for NaN first is what keeps it cheap.
fn drop_stale(columns: &mut Columns) {
    if !lanes::has_nan(&columns.values) {
        return;
    }
    let keep: Vec<bool> = columns.values.iter().map(|value| value.to_bits() != STALE_BITS).collect();
    let mut kept = keep.iter();
    columns.timestamps.retain(|_| kept.next().is_none_or(|keep| *keep));
    columns.values.retain(|value| value.to_bits() != STALE_BITS);
}
