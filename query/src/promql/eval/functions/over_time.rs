//! What can be said of the samples of a range.

use super::extended::first_sample;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::sums::{Mean, Sum, finite_sum, quantile};
use crate::promql::eval::window::Window;

pub(super) fn count(w: &Window<'_>) -> f64 {
    (w.values.len() as u64 + w.beside.samples) as f64
}

pub(super) fn sum(w: &Window<'_>) -> f64 {
    if let Some(sum) = finite_sum(w.values).and_then(|sum| sum.and(w.beside.sum)) {
        return sum.total();
    }
    let sum = w.values.iter().copied().fold(w.beside.sum, Sum::plus);
    if sum.value.is_infinite() { sum.value } else { sum.total() }
}

pub(super) fn avg(w: &Window<'_>) -> f64 {
    let count = count(w);
    if let Some(sum) = finite_sum(w.values).and_then(|sum| sum.and(w.beside.sum)) {
        return sum.value / count + sum.lost / count;
    }
    let mut mean = Mean::default();
    w.values.iter().for_each(|&v| mean.add(v));
    if w.beside.samples == 0 {
        return mean.value();
    }
    // The sum is beyond the finite numbers, or a value is: the parts' shares of the mean may not be.
    mean.value() * (w.values.len() as f64 / count) + w.beside.sum.total() / count
}

/// The place of the value that no other one `beats`; NaN loses to all. `values` is not empty.
pub(super) fn place(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (i, &value) in values.iter().enumerate() {
        if beats(value, values[best]) || values[best].is_nan() {
            best = i;
        }
    }
    best
}

pub(super) fn variance(w: &Window<'_>) -> Result<f64, EvalError> {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for piece in w.pieces() {
        for &value in piece?.1 {
            count += 1.0;
            let delta = value - mean.total();
            mean = mean.plus(delta / count);
            squares = squares.plus(delta * (value - mean.total()));
        }
    }
    Ok(squares.total() / count)
}

/// The median of the distances from the median.
pub(super) fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values)
}

pub(super) fn quantile_of(q: f64, values: &[f64]) -> f64 {
    quantile(q, &mut values.to_vec())
}

pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    pairs(window, |a, b| a != b && !(a.is_nan() && b.is_nan()))
}

pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    pairs(window, |a, b| b < a)
}

/// How many neighbours in time pass.
fn pairs(window: &Window<'_>, passes: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let values = &window.values[first_sample(window)?..];
    Some(values.windows(2).filter(|w| passes(w[0], w[1])).count() as f64)
}
