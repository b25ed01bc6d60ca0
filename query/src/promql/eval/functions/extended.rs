//! Ranges whose ends are samples of their own: `anchored` and `smoothed`.

use tidegauge_storage::source::Columns;

use super::kind::Kind;
use crate::promql::eval::selector::interpolate;
use crate::promql::eval::window::Window;
use crate::promql::parse::ast::Extension;

/// The samples that bound a range: the last at or before its start, and the last in it (or,
/// smoothed, the first at or after its end).
fn bounding(times: &[i64], start: i64, end: i64, smoothed: bool) -> (usize, usize) {
    let last = times.len() - 1;
    let first = times[..last].partition_point(|&t| t <= start).saturating_sub(1);
    let last = if smoothed { times[..last].partition_point(|&t| t < end) } else { last };
    (first, last)
}

fn left(times: &[i64], values: &[f64], first: usize, start: i64, smoothed: bool, counter: bool) -> f64 {
    if smoothed && times[first] < start && first + 1 < times.len() {
        let (a, b) = ((times[first], values[first]), (times[first + 1], values[first + 1]));
        return interpolate(a, b, start, counter);
    }
    values[first]
}

fn right(times: &[i64], values: &[f64], last: usize, end: i64, smoothed: bool, counter: bool) -> f64 {
    if smoothed && last > 0 && times[last] > end {
        let (a, b) = ((times[last - 1], values[last - 1]), (times[last], values[last]));
        return interpolate(a, b, end, counter);
    }
    values[last]
}

/// Rate, increase and delta from end to end of the range. The window is not empty.
pub(super) fn extended_rate(w: &Window<'_>, kind: Kind) -> Option<f64> {
    let smoothed = w.extension == Some(Extension::Smoothed);
    let (mut first, mut last) = bounding(w.times, w.start, w.end, smoothed);
    if w.times[last] <= w.start || (smoothed && w.times[first] > w.end) {
        return None;
    }
    let from = left(w.times, w.values, first, w.start, smoothed, kind.counter);
    let to = right(w.times, w.values, last, w.end, smoothed, kind.counter);
    let mut result = to - from;
    if kind.counter {
        // The ends account for themselves; falls in between are added back.
        first += usize::from(w.times[first] <= w.start);
        let mut upto = last + 1;
        if w.times[last] >= w.end {
            upto = last;
        }
        last = upto.max(first);
        let (mut before, mut lost) = (from, 0.0);
        for &value in w.values[first..last].iter().chain([&to]) {
            if value < before {
                lost += before;
            }
            before = value;
        }
        result += lost;
    }
    Some(if kind.per_second { result / (w.range as f64 / 1e9) } else { result })
}

/// The first sample that counts: an anchored range sees the last one at or before its
/// start. `None` if no sample lies behind the start.
pub(super) fn first_sample(w: &Window<'_>) -> Option<usize> {
    if w.extension != Some(Extension::Anchored) {
        return Some(0);
    }
    let after = w.times.partition_point(|&t| t <= w.start);
    (after < w.times.len()).then(|| after.saturating_sub(1))
}

/// The samples of a range with its ends added.
pub(in crate::promql::eval) fn extended_range(
    times: &[i64],
    values: &[f64],
    start: i64,
    end: i64,
    extension: Extension,
) -> Columns {
    let mut out = Columns::default();
    if times.is_empty() {
        return out;
    }
    let smoothed = extension == Extension::Smoothed;
    let (mut first, last) = bounding(times, start, end, smoothed);
    if times[last] <= start {
        return out;
    }
    out.push(start, left(times, values, first, start, smoothed, false));
    let to = right(times, values, last, end, smoothed, false);
    first += usize::from(times[first] <= start);
    let upto = if times[last] >= end { last } else { last + 1 };
    for i in first..upto.max(first) {
        out.push(times[i], values[i]);
    }
    out.push(end, to);
    out
}
