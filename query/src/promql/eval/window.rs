//! Ranges of samples that slide over a series from step to step.

use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts};

use super::chunks::{Beside, Disjoint, Needs};
use super::error::EvalError;
use super::grid::{Grid, Row, is_absent};
use super::looks::{PIECE, of_times, pieces};
use super::run::Run;
use super::selector::{left_open, spec_of};
use super::times::Steps;
use crate::limits::{Budget, Held, Limit, Meter};
use crate::parallel::SAMPLES_OF_A_LONG_PIECE;
use crate::promql::parse::ast::{Expr, Extension, MatrixSelector, Subquery};
use crate::select::Selection;

/// How far a range reaches, beyond its ends too.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowSpec {
    /// Nanoseconds.
    pub(super) range: i64,
    /// Further back, for what stands at the range's start.
    pub(super) before: i64,
    /// Further ahead, for what stands at its end.
    pub(super) after: i64,
}

/// The samples that a function of a range sees at one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    /// What chunks answered by their statistics add to them, as the function [needs](Needs) it.
    pub(super) beside: Beside,
    /// The time of the step.
    pub(super) at: i64,
    /// The range is (start, end].
    pub(super) start: i64,
    pub(super) end: i64,
    /// Its length, nanoseconds.
    pub(super) range: i64,
    pub(super) extension: Option<Extension>,
    /// What a function of many samples looks at now and then.
    pub(super) budget: &'a Budget,
}

impl<'a> Window<'a> {
    /// Its samples, a piece at a time, with a look at the bounds between.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Result<(&'a [i64], &'a [f64]), EvalError>> {
        self.times.chunks(PIECE).zip(pieces(self.values, self.budget)).map(|(times, values)| Ok((times, values?)))
    }
}

/// Samples of the windows at hand, series after series, charged to the query.
pub(super) struct Buffer {
    pub(super) columns: Columns,
    held: Held,
}

impl Buffer {
    pub(super) fn new(budget: &Budget) -> Self {
        Self { columns: Columns::default(), held: budget.hold_nothing() }
    }

    /// Charges the memory as it is now. Call after each batch.
    pub(super) fn weigh(&mut self) -> Result<(), EvalError> {
        let Columns { timestamps, values } = &self.columns;
        Ok(self.held.resize((timestamps.capacity() + values.capacity()) as u64 * 8)?)
    }
}

/// Slides over one series. Ranges must not move back.
pub(super) struct Windows<'a, C> {
    cursor: C,
    spent: bool,
    /// Samples read, staleness markers among them.
    samples: u64,
    /// Of them since the last look at the bounds.
    unlooked: usize,
    buffer: &'a mut Buffer,
    first: usize,
    samples_max: u64,
}

impl<'a, C: ColumnCursor> Windows<'a, C> {
    /// Works in the memory of `buffer`.
    pub(super) fn new(cursor: C, samples_max: u64, buffer: &'a mut Buffer) -> Self {
        buffer.columns.clear();
        Self { cursor, spent: false, samples: 0, unlooked: 0, buffer, first: 0, samples_max }
    }

    /// How many samples were read, and what that took.
    pub(super) fn counts(&self) -> (u64, ReadCounts) {
        (self.samples, self.cursor.counts())
    }

    /// The samples in (start, end], staleness markers left out.
    pub(super) fn advance(&mut self, start: i64, end: i64) -> Result<(&[i64], &[f64]), EvalError> {
        while !self.spent && self.buffer.columns.timestamps.last().is_none_or(|&last| last <= end) {
            self.forget(start);
            self.pull()?;
        }
        self.forget(start);
        let Columns { timestamps, values } = &self.buffer.columns;
        let upto = self.first + timestamps[self.first..].partition_point(|&t| t <= end);
        Ok((&timestamps[self.first..upto], &values[self.first..upto]))
    }

    fn pull(&mut self) -> Result<(), EvalError> {
        let columns = &mut self.buffer.columns;
        let before = columns.len();
        self.spent = !self.cursor.next(columns)?;
        let pulled = columns.len() - before;
        self.samples += pulled as u64;
        self.unlooked += pulled;
        if self.unlooked >= PIECE {
            self.unlooked = 0;
            self.buffer.held.budget().check()?;
        }
        let columns = &mut self.buffer.columns;
        if columns.values[before..].iter().any(|v| is_absent(*v)) {
            drop_markers(columns, before);
        }
        if (columns.len() - self.first) as u64 > self.samples_max {
            return Err(EvalError::LimitExceeded { which: Limit::Samples, limit: self.samples_max });
        }
        self.buffer.weigh()
    }

    /// Drops what no later range can see; moves the rest only when it is the lesser part.
    fn forget(&mut self, start: i64) {
        let Columns { timestamps, values } = &mut self.buffer.columns;
        self.first += timestamps[self.first..].partition_point(|&t| t <= start);
        if self.first > 1024 && self.first * 2 > timestamps.len() {
            timestamps.drain(..self.first);
            values.drain(..self.first);
            self.first = 0;
        }
    }
}

fn drop_markers(columns: &mut Columns, from: usize) {
    let Columns { timestamps, values } = columns;
    let mut kept = from;
    for i in from..values.len() {
        if !is_absent(values[i]) {
            (timestamps[kept], values[kept]) = (timestamps[i], values[i]);
            kept += 1;
        }
    }
    timestamps.truncate(kept);
    values.truncate(kept);
}

/// A cursor over the values of a subquery, those that are there. A window takes of them what it sees, and no more.
struct Computed<'a> {
    times: &'a [i64],
    values: &'a [f64],
}

/// Steps that a batch looks at.
const COMPUTED_BATCH: usize = 1024;

impl<'a> Computed<'a> {
    /// Of series `i` of a grid with these values, whose steps are at `times`.
    fn new(times: &'a [i64], values: &'a [f64], i: usize) -> Self {
        Self { times, values: &values[i * times.len()..(i + 1) * times.len()] }
    }
}

impl ColumnCursor for Computed<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, tidegauge_storage::source::ReadError> {
        let before = out.len();
        while !self.times.is_empty() && out.len() == before {
            let (times, later) = self.times.split_at(self.times.len().min(COMPUTED_BATCH));
            let (values, rest) = self.values.split_at(times.len());
            let present = times.iter().zip(values).filter(|(_, value)| !is_absent(**value));
            present.for_each(|(&at, &value)| out.push(at, value));
            (self.times, self.values) = (later, rest);
        }
        Ok(out.len() > before)
    }
}

/// Where a range's samples come from, and which range each step sees.
pub(super) struct RangeSource {
    samples: Samples,
    spec: WindowSpec,
    extension: Option<Extension>,
    /// The end of each step's range.
    ends: Vec<i64>,
    _held: Held,
}

enum Samples {
    Stored(Selection),
    /// The steps of a subquery and its values at them.
    Computed(Vec<i64>, Grid),
}

/// What threads may share of it.
#[derive(Clone, Copy)]
enum View<'a> {
    Stored(&'a Selection),
    Computed(&'a [i64], &'a [f64]),
}

impl Run<'_> {
    /// The range argument of a function.
    pub(super) fn range_source(&self, expr: &Expr, steps: Steps) -> Result<RangeSource, EvalError> {
        match expr.unwrapped() {
            Expr::Matrix(m) => self.stored_range(m, steps),
            Expr::Subquery(s) => self.subquery_range(s, steps),
            other => Err(EvalError::BadData(format!("{other} is no range"))),
        }
    }

    fn stored_range(&self, m: &MatrixSelector, steps: Steps) -> Result<RangeSource, EvalError> {
        let extension = m.selector.extension;
        let spec = spec_of(self.asked.positive(&m.range)?, extension, self.lookback);
        let ends = self.lookup_times(&m.selector, steps)?;
        let first = ends.first().copied().unwrap_or(0).saturating_sub(spec.range).saturating_sub(spec.before);
        let last = ends.last().copied().unwrap_or(0).saturating_add(spec.after);
        let range = left_open(first, last);
        let selection = self.select(&m.selector.matchers, range)?;
        let _held = self.holdings.budget().hold(ends.len() as u64 * 8)?;
        Ok(RangeSource { samples: Samples::Stored(selection), spec, extension, ends, _held })
    }

    fn subquery_range(&self, s: &Subquery, steps: Steps) -> Result<RangeSource, EvalError> {
        let range = self.asked.positive(&s.range)?;
        let ends = self.subquery_ends(s, steps)?;
        let (inner, grid, mut held) = self.subquery(s, range, &ends)?;
        let spec = spec_of(range, None, 0);
        let times = of_times(inner, self.holdings.budget(), |t| t)?;
        // Of all that the subquery held, the times stay.
        held.resize((inner.count + ends.len()) as u64 * 8)?;
        Ok(RangeSource { samples: Samples::Computed(times, grid), spec, extension: None, ends, _held: held })
    }

    fn subquery_ends(&self, s: &Subquery, steps: Steps) -> Result<Vec<i64>, EvalError> {
        let offset = self.asked.offset(s.offset.as_ref())?;
        Ok(match s.at {
            Some(at) => vec![self.asked.resolve(at).saturating_sub(offset); steps.count],
            None => of_times(steps, self.holdings.budget(), |t| t.saturating_sub(offset))?,
        })
    }

    /// The steps of a subquery, multiples of its step, and its value at them.
    fn subquery(&self, s: &Subquery, range: i64, ends: &[i64]) -> Result<(Steps, Grid, Held), EvalError> {
        let step = match &s.step {
            Some(step) => self.asked.positive(step)?,
            None => self.subquery_step,
        };
        let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else {
            return Ok((Steps::between(1, 0, 1), self.grid(0)?, self.holdings.budget().hold_nothing()));
        };
        let after = first.saturating_sub(range);
        let start = after.div_euclid(step).saturating_mul(step).saturating_add(step);
        let inner = Steps::between(start, last, step);
        let held = self.hold_steps(&s.expr, inner)?;
        // What is inside counts where its values are looked at, and not before.
        let budget = self.holdings.budget();
        let evaluated = budget.evaluated_so_far();
        let grid = self.eval_vector(&s.expr, inner)?;
        budget.forget_since(&evaluated);
        Ok((inner, grid, held))
    }

    /// Applies `f`, which needs `needs`, to every series' range at every step. The name goes unless `keep_name`.
    pub(super) fn over_windows<F>(
        &self,
        source: &RangeSource,
        steps: Steps,
        keep_name: bool,
        needs: Needs,
        f: F,
    ) -> Result<Grid, EvalError>
    where
        F: Fn(&Window<'_>, usize) -> Result<Option<f64>, EvalError> + Sync,
    {
        let mut grid = self.grid(steps.count)?;
        let rows: Vec<Row> = match &source.samples {
            Samples::Stored(selection) => {
                selection.iter().map(|s| Row { drop_name: !keep_name, ..Row::stored(s.labels().clone()) }).collect()
            }
            Samples::Computed(_, inner) => {
                let of = |row: &Row| Row { drop_name: row.drop_name || !keep_name, ..row.clone() };
                inner.rows.iter().map(of).collect()
            }
        };
        grid.reserve(rows.len())?;
        grid.push_absent(rows.into_iter())?;
        let rows = std::mem::take(&mut grid.rows);
        let view = match &source.samples {
            Samples::Stored(selection) => View::Stored(selection),
            Samples::Computed(times, inner) => View::Computed(times, &inner.values),
        };
        let (spec, extension, ends) = (source.spec, source.extension, &source.ends[..]);
        let budget = self.holdings.budget();
        let samples_max = budget.limits().samples;
        let disjoint = Disjoint { spec, steps, ends, needs, budget, f: &f };
        let are_disjoint = needs != Needs::Samples && extension.is_none() && Disjoint::<F>::are(spec.range, ends);
        let fill = |(memory, batch, meter): &mut (Buffer, Columns, Meter<'_>), i: usize, out: &mut [f64]| {
            budget.check()?;
            let (evaluated, samples, counts) = match view {
                View::Stored(selection) if are_disjoint => {
                    disjoint.fill(selection.series(i).merge(), memory, batch, out)?
                }
                View::Stored(selection) => {
                    let windows = Windows::new(selection.series(i).merge(), samples_max, memory);
                    slide(windows, spec, extension, steps, ends, &f, budget, out)?
                }
                View::Computed(times, values) => {
                    let windows = Windows::new(Computed::new(times, values, i), samples_max, memory);
                    slide(windows, spec, extension, steps, ends, &f, budget, out)?
                }
            };
            meter.evaluated(evaluated);
            if let View::Stored(_) = view {
                meter.seen(samples, counts);
            }
            Ok::<(), EvalError>(())
        };
        let scratch = || (Buffer::new(budget), Columns::default(), Meter::new(budget));
        let is_long = |series| match view {
            View::Stored(selection) => selection.is_long(series),
            View::Computed(times, _) => (times.len() * series) as u64 >= SAMPLES_OF_A_LONG_PIECE,
        };
        self.fill_rows(&mut grid.values, steps.count, is_long, scratch, fill)?;
        grid.rows = rows;
        let values = std::mem::take(&mut grid.values);
        grid.count(&values)?;
        grid.values = values;
        grid.without_empty()
    }

    /// The samples themselves, for an answer that is a range: labels, times, values.
    pub(super) fn raw_range(&self, source: &RangeSource) -> Result<Vec<(Row, Columns)>, EvalError> {
        let mut out = Vec::new();
        let Some(&end) = source.ends.first() else { return Ok(out) };
        let budget = self.holdings.budget();
        let samples_max = budget.limits().samples;
        let (start, spec) = (end.saturating_sub(source.spec.range), source.spec);
        let (mut held, mut all) = (budget.hold_nothing(), 0);
        let mut keep = |row: Row, times: &[i64], values: &[f64]| {
            budget.check()?;
            all += times.len() as u64;
            if all > samples_max {
                return Err(EvalError::LimitExceeded { which: Limit::Samples, limit: samples_max });
            }
            held.grow((size_of::<(Row, Columns)>() + times.len() * 16) as u64 + row.made_bytes())?;
            let columns = match source.extension {
                None => Columns { timestamps: times.to_vec(), values: values.to_vec() },
                Some(extension) => super::functions::extended_range(times, values, start, end, extension),
            };
            if !columns.is_empty() {
                out.push((row, columns));
            }
            Ok(())
        };
        let mut buffer = Buffer::new(budget);
        match &source.samples {
            Samples::Stored(selection) => {
                let mut meter = Meter::new(budget);
                for series in selection.iter() {
                    let mut windows = Windows::new(series.merge(), samples_max, &mut buffer);
                    let (times, values) =
                        windows.advance(start.saturating_sub(spec.before), end.saturating_add(spec.after))?;
                    budget.evaluated(times.len() as u64);
                    keep(Row::stored(series.labels().clone()), times, values)?;
                    let (samples, counts) = windows.counts();
                    meter.seen(samples, counts);
                }
            }
            Samples::Computed(steps, grid) => {
                for (i, row) in grid.rows.iter().enumerate() {
                    let mut windows = Windows::new(Computed::new(steps, &grid.values, i), samples_max, &mut buffer);
                    let (times, values) = windows.advance(i64::MIN, i64::MAX)?;
                    budget.evaluated(times.len() as u64);
                    keep(row.clone(), times, values)?;
                }
            }
        }
        held.keep();
        Ok(out)
    }
}

#[allow(clippy::too_many_arguments, reason = "the inner loop of every range function, shared by two kinds of cursor")]
fn slide<C: ColumnCursor>(
    mut windows: Windows<'_, C>,
    spec: WindowSpec,
    extension: Option<Extension>,
    steps: Steps,
    ends: &[i64],
    f: &impl Fn(&Window<'_>, usize) -> Result<Option<f64>, EvalError>,
    budget: &Budget,
    out: &mut [f64],
) -> Result<(u64, u64, ReadCounts), EvalError> {
    let by_step = budget.counts_steps();
    let (mut work, mut evaluated) = (0, 0);
    for (step, (&end, slot)) in ends.iter().zip(out).enumerate() {
        let start = end.saturating_sub(spec.range);
        let (times, values) = windows.advance(start.saturating_sub(spec.before), end.saturating_add(spec.after))?;
        if times.is_empty() {
            continue;
        }
        work += times.len();
        evaluated += times.len() as u64;
        if by_step {
            budget.evaluated_at(step, times.len() as u64);
        }
        if work > 1 << 16 {
            work = 0;
            budget.check()?;
        }
        let (at, range, beside) = (steps.at(step), spec.range, Beside::default());
        let window = Window { times, values, beside, at, start, end, range, extension, budget };
        if let Some(value) = f(&window, step)? {
            *slot = value;
        }
    }
    let (samples, counts) = windows.counts();
    Ok((evaluated, samples, counts))
}
