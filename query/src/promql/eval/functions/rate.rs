//! How fast a range grows.

use super::extended::extended_rate;
use super::kind::Kind;
use crate::promql::eval::window::Window;

/// What the samples show, stretched to the whole range: as far as a sample could still be
/// missed by chance, or else by half the usual distance, and never below zero.
pub(super) fn extrapolated(w: &Window<'_>, kind: Kind) -> Option<f64> {
    if w.extension.is_some() {
        return extended_rate(w, kind);
    }
    let (&[first, .., last], &[from, .., to]) = (w.times, w.values) else { return None };
    let mut result = to - from;
    // Most ranges hold no reset: look for one without adding anything up.
    if kind.counter && w.values.windows(2).any(|pair| pair[1] < pair[0]) {
        for pair in w.values.windows(2) {
            if pair[1] < pair[0] {
                result += pair[0];
            }
        }
    }
    let between = |a: i64, b: i64| b.saturating_sub(a) as f64 / 1e9;
    let mut to_start = between(w.start, first);
    let mut to_end = between(last, w.end);
    let sampled = between(first, last);
    let usual = sampled / (w.times.len() as u64 - 1 + w.beside.samples) as f64;
    let threshold = usual * 1.1;
    if to_start >= threshold {
        to_start = usual / 2.0;
    }
    if kind.counter && result > 0.0 && from >= 0.0 {
        // Where the slope meets zero, the counter started.
        to_start = to_start.min(sampled * (from / result));
    }
    if to_end >= threshold {
        to_end = usual / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind.per_second {
        factor /= w.range as f64 / 1e9;
    }
    Some(result * factor)
}

/// The last two samples alone.
pub(super) fn instant(w: &Window<'_>, per_second: bool) -> Option<f64> {
    let n = w.values.len();
    if n < 2 {
        return None;
    }
    let (before, last) = (w.values[n - 2], w.values[n - 1]);
    let change = if per_second && last < before { last } else { last - before };
    let apart = w.times[n - 1].saturating_sub(w.times[n - 2]);
    Some(if per_second { change / (apart as f64 / 1e9) } else { change })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Budget, QueryLimits};
    use crate::promql::eval::chunks::Beside;

    fn window<'a>(times: &'a [i64], values: &'a [f64], budget: &'a Budget) -> Window<'a> {
        Window {
            times,
            values,
            beside: Beside::default(),
            at: 60,
            start: 0,
            end: 60_000_000_000,
            range: 60_000_000_000,
            extension: None,
            budget,
        }
    }

    #[test]
    fn a_counter_that_started_again_goes_on_growing() {
        let times = [15, 30, 45, 60].map(|s| s * 1_000_000_000);
        let budget = Budget::new(QueryLimits::NONE);
        let grown = extrapolated(&window(&times, &[10.0, 20.0, 5.0, 15.0], &budget), Kind::INCREASE).unwrap();
        assert!((grown - 25.0 * (45.0 + 15.0) / 45.0).abs() < 1e-9, "{grown}");
        assert_eq!(instant(&window(&times, &[1.0, 1.0, 20.0, 5.0], &budget), true), Some(5.0 / 15.0));
        assert_eq!(instant(&window(&times, &[1.0, 1.0, 20.0, 5.0], &budget), false), Some(-15.0));
        assert_eq!(extrapolated(&window(&times[..1], &[1.0], &budget), Kind::RATE), None);
    }
}
