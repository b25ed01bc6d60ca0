//! Lines and curves through the samples of a range.

use crate::promql::eval::error::EvalError;
use crate::promql::eval::looks::Looks;
use crate::promql::eval::sums::Sum;
use crate::promql::eval::window::Window;

/// Slope by second, and the value at `origin`, of the line with the least squares.
fn line(w: &Window<'_>, origin: i64) -> Result<(f64, f64), EvalError> {
    let first = w.values[0];
    if w.values.iter().all(|&v| v == first) {
        return Ok(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for piece in w.pieces() {
        let (times, values) = piece?;
        for (&t, &value) in times.iter().zip(values) {
            let at = (i128::from(t) - i128::from(origin)) as f64 / 1e9;
            (x, y, xy, xx) = (x.plus(at), y.plus(value), xy.plus(at * value), xx.plus(at * at));
        }
    }
    let n = w.values.len() as f64;
    let (x, y, xy, xx) = (x.total(), y.total(), xy.total(), xx.total());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Ok((slope, y / n - slope * x / n))
}

pub(super) fn slope(w: &Window<'_>) -> Result<Option<f64>, EvalError> {
    if w.values.len() < 2 { Ok(None) } else { Ok(Some(line(w, w.times[0])?.0)) }
}

/// The value that many seconds after the step.
pub(super) fn predict(w: &Window<'_>, ahead: f64) -> Result<Option<f64>, EvalError> {
    if w.values.len() < 2 {
        return Ok(None);
    }
    let (slope, now) = line(w, w.at)?;
    Ok(Some(slope * ahead + now))
}

/// Double exponential smoothing (Holt-Winters): `level` and `trend` say how much new values weigh.
pub(super) fn smooth(w: &Window<'_>, level: f64, trend: f64) -> Result<Option<f64>, EvalError> {
    let values = w.values;
    for (name, short, factor) in [("smoothing", "sf", level), ("trend", "tf", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            let why = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(EvalError::Execution(why));
        }
    }
    if values.len() < 2 {
        return Ok(None);
    }
    let (mut before, mut smoothed, mut slope) = (0.0, values[0], values[1] - values[0]);
    let mut looks = Looks::new(w.budget);
    for (i, &value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        (before, smoothed) = (smoothed, level * value + (1.0 - level) * (smoothed + slope));
        looks.after(1)?;
    }
    Ok(Some(smoothed))
}
