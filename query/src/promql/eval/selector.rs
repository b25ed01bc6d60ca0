//! Instant selectors: the latest sample of each series at each step.

use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts};

use super::error::EvalError;
use super::grid::{ABSENT, Grid, Row, is_absent};
use super::looks::{PIECE, of_times};
use super::run::Run;
use super::times::{Steps, seconds};
use super::window::{Buffer, WindowSpec, Windows};
use crate::limits::Meter;
use crate::promql::parse::ast::{Extension, VectorSelector};

/// What a selector yields of the sample it finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Value,
    /// Seconds since the Unix epoch.
    Timestamp,
}

impl Run<'_> {
    /// One value for each selected series and step.
    pub(super) fn vector_selector(&self, v: &VectorSelector, steps: Steps, wanted: Wanted) -> Result<Grid, EvalError> {
        let times = self.lookup_times(v, steps)?;
        self.select_at(&v.matchers, &times, wanted, v.extension == Some(Extension::Smoothed))
    }

    /// The time of each step as the selector's offset and `@` shift it.
    pub(super) fn lookup_times(&self, v: &VectorSelector, steps: Steps) -> Result<Vec<i64>, EvalError> {
        let offset = self.asked.offset(v.offset.as_ref())?;
        Ok(match v.at {
            Some(at) => vec![self.asked.resolve(at).saturating_sub(offset); steps.count],
            None => of_times(steps, self.holdings.budget(), |t| t.saturating_sub(offset))?,
        })
    }

    pub(super) fn select_at(
        &self,
        matchers: &[tidegauge_storage::model::Matcher],
        times: &[i64],
        wanted: Wanted,
        smoothed: bool,
    ) -> Result<Grid, EvalError> {
        // What lies between two samples has a value, but no sample whose time it could be.
        let smoothed = smoothed && wanted == Wanted::Value;
        let mut grid = self.grid(times.len())?;
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Ok(grid) };
        let ahead = if smoothed { self.lookback } else { 0 };
        let range = left_open(first.saturating_sub(self.lookback), last.saturating_add(ahead));
        let selection = self.select(matchers, range)?;
        grid.reserve(selection.len())?;
        grid.push_absent(selection.iter().map(|s| Row::stored(s.labels().clone())))?;
        let budget = self.holdings.budget();
        let lookback = self.lookback;
        let fill = |(buffer, meter): &mut (Buffer, Meter<'_>), i: usize, out: &mut [f64]| {
            budget.check()?;
            let scratch = &mut buffer.columns;
            if let (&[at], false) = (times, smoothed) {
                // The end of each series is enough.
                let mut counts = ReadCounts::default();
                let (last, samples) = selection.last_of(i, scratch, &mut counts)?;
                meter.seen(samples as u64, counts);
                let last = last.map_or((i64::MIN, ABSENT), |last| (last.timestamp.nanos(), last.value));
                out[0] = settled(at, last, lookback, wanted);
                return Ok(());
            }
            let mut cursor = selection.series(i).merge();
            let samples = if smoothed {
                let windows = Windows::new(cursor, budget.limits().samples, buffer);
                let (samples, counts) = smooth(windows, times, lookback, out)?;
                meter.seen(samples, counts);
                return Ok(());
            } else {
                latest(&mut cursor, scratch, times, lookback, wanted, || Ok(budget.check()?), out)?
            };
            meter.seen(samples, cursor.counts());
            Ok::<(), EvalError>(())
        };
        let scratch = || (Buffer::new(budget), Meter::new(budget));
        // Of one step only the end of each series is read.
        let is_long = |series| times.len() > 1 && selection.is_long(series);
        self.fill_rows(&mut grid.values, times.len(), is_long, scratch, fill)?;
        let values = std::mem::take(&mut grid.values);
        grid.count(&values)?;
        budget.evaluated_in_all(grid.samples());
        grid.values = values;
        if budget.counts_steps() {
            for step in 0..grid.steps {
                let present = (0..grid.rows.len()).filter(|&i| grid.is_present(i, step)).count();
                budget.evaluated_at(step, present as u64);
            }
        }
        grid.without_empty()
    }
}

/// The range (start, end] of the language as a half-open one.
pub(super) fn left_open(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(start.saturating_add(1)), Timestamp::from_nanos(end.saturating_add(1)))
}

/// Streams one series past ascending `times`: O(samples + times). Answers how many samples it saw.
fn latest(
    cursor: &mut impl ColumnCursor,
    scratch: &mut Columns,
    times: &[i64],
    lookback: i64,
    wanted: Wanted,
    check: impl Fn() -> Result<(), EvalError>,
    out: &mut [f64],
) -> Result<u64, EvalError> {
    let (mut at, mut samples) = (0, 0);
    let mut last = (i64::MIN, ABSENT);
    let mut settle = |at: usize, last: (i64, f64)| out[at] = settled(times[at], last, lookback, wanted);
    loop {
        scratch.clear();
        if !cursor.next(scratch)? {
            break;
        }
        check()?;
        samples += scratch.len() as u64;
        let (ts, vs) = (&scratch.timestamps[..], &scratch.values[..]);
        let mut seen = 0;
        while at < times.len() && ts[ts.len() - 1] > times[at] {
            seen += ts[seen..].iter().take_while(|&&t| t <= times[at]).count();
            if seen > 0 {
                last = (ts[seen - 1], vs[seen - 1]);
            }
            settle(at, last);
            at += 1;
        }
        if at == times.len() {
            return Ok(samples);
        }
        last = (ts[ts.len() - 1], vs[vs.len() - 1]);
    }
    for from in (at..times.len()).step_by(PIECE) {
        check()?;
        (from..times.len().min(from + PIECE)).for_each(|at| settle(at, last));
    }
    Ok(samples)
}

/// What the latest sample up to `at` yields there.
fn settled(at: i64, (t, value): (i64, f64), lookback: i64, wanted: Wanted) -> f64 {
    match wanted {
        _ if is_absent(value) || t <= at.saturating_sub(lookback) => ABSENT,
        Wanted::Timestamp => seconds(t),
        Wanted::Value => value,
    }
}

/// Values between two samples lie on the line between them.
fn smooth(
    mut windows: Windows<'_, impl ColumnCursor>,
    times: &[i64],
    lookback: i64,
    out: &mut [f64],
) -> Result<(u64, ReadCounts), EvalError> {
    for (at, &t) in times.iter().enumerate() {
        let (ts, vs) = windows.advance(t.saturating_sub(lookback), t.saturating_add(lookback))?;
        let next = ts.partition_point(|&sample| sample < t);
        out[at] = match (next.checked_sub(1), ts.get(next)) {
            (_, Some(&exact)) if exact == t => vs[next],
            (Some(before), Some(_)) => interpolate((ts[before], vs[before]), (ts[next], vs[next]), t, false),
            (Some(before), None) => vs[before],
            (None, _) => continue,
        };
    }
    Ok(windows.counts())
}

/// The value at `t` on the line through two samples; a counter that fell starts at zero.
pub(super) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * millis(t - a.0) / millis(b.0 - a.0)
}

/// Great values must not overflow by being multiplied by nanoseconds.
fn millis(nanos: i64) -> f64 {
    if nanos % 1_000_000 == 0 { (nanos / 1_000_000) as f64 } else { nanos as f64 / 1e6 }
}

/// The window that a range selector asks for at each step.
pub(super) fn spec_of(range: i64, extension: Option<Extension>, lookback: i64) -> WindowSpec {
    let (before, after) = match extension {
        None => (0, 0),
        Some(Extension::Anchored) => (lookback, 0),
        Some(Extension::Smoothed) => (lookback, lookback),
    };
    WindowSpec { range, before, after }
}
