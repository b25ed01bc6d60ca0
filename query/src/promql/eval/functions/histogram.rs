//! Functions of classic histograms: series that differ in `le` only.

use std::collections::HashMap;

use tidegauge_storage::model::Labels;

use super::buckets::{self, Bucket};
use crate::limits::Held;
use crate::promql::eval::annotations::{Forced, general};
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, Rows, is_absent};
use crate::promql::eval::labels::{Keys, retain, with};
use crate::promql::eval::looks::Looks;
use crate::promql::eval::run::{Run, string_of};
use crate::promql::eval::times::Steps;
use crate::promql::parse::Function;
use crate::promql::parse::ast::{Call, Expr};

/// The label of a bucket's upper bound.
const BOUND: &str = "le";

/// The buckets of one histogram: bound and row of each.
struct Histogram {
    labels: Labels,
    rows: Vec<(f64, usize)>,
}

impl Run<'_> {
    pub(super) fn of_buckets(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        match call.signature.function {
            Function::HistogramFraction => {
                let lower = self.eval_scalar(&call.args[0], steps)?;
                let upper = self.eval_scalar(&call.args[1], steps)?;
                let grid = self.eval_vector(&call.args[2], steps)?;
                let (histograms, _held) = self.histograms(&grid, &call.args[2])?;
                let mut out = grid.like(steps.count)?;
                self.each(&grid, &histograms, &mut out, None, |step, buckets| {
                    buckets::fraction(lower[step], upper[step], buckets)
                })?;
                Ok(out)
            }
            Function::HistogramQuantile => {
                let q = self.quantile_argument(&call.args[0], steps)?;
                let grid = self.eval_vector(&call.args[1], steps)?;
                let (histograms, _held) = self.histograms(&grid, &call.args[1])?;
                let mut out = grid.like(steps.count)?;
                self.quantiles(&grid, &histograms, &mut out, &q, None, &call.args[1], steps)?;
                Ok(out)
            }
            _ => {
                let name = string_of(&call.args[1]);
                let mut quantiles = Vec::new();
                for arg in &call.args[2..] {
                    quantiles.push(self.quantile_argument(arg, steps)?);
                }
                let grid = self.eval_vector(&call.args[0], steps)?;
                let (histograms, _held) = self.histograms(&grid, &call.args[0])?;
                let mut out = grid.like(steps.count)?;
                for q in &quantiles {
                    self.quantiles(&grid, &histograms, &mut out, q, Some(name), &call.args[0], steps)?;
                }
                out.merged()
            }
        }
    }

    fn quantile_argument(&self, arg: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        let values = self.eval_scalar(arg, steps)?;
        let mut annotations = self.annotations.borrow_mut();
        for &q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            let text = format!("quantile value should be between 0 and 1, got {}", general(q));
            annotations.warn(arg.unwrapped().span(), text);
        }
        Ok(values)
    }

    /// Which rows are buckets of the same histogram, and what their labels are charged with.
    fn histograms(&self, grid: &Grid, arg: &Expr) -> Result<(Vec<Histogram>, Held), EvalError> {
        let mut at: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Histogram> = Vec::new();
        let mut keys = Keys::new(self.holdings.budget(), 1);
        for (i, row) in grid.rows.iter().enumerate() {
            keys.look(&row.labels)?;
            let bound = row.labels.get(BOUND).unwrap_or("");
            let Ok(value) = bound.parse::<f64>() else {
                let mut text = format!("bucket label \"le\" is missing or has a malformed value of {bound:?}");
                if let Some(name) = row.labels.metric_name() {
                    text.push_str(&format!(" for metric name {name:?}"));
                }
                self.annotations.borrow_mut().warn(arg.unwrapped().span(), text);
                continue;
            };
            let labels = retain(&row.labels, |name| name != BOUND);
            let next = out.len();
            let i_of = *at.entry(labels.clone()).or_insert(next);
            if i_of == next {
                keys.keep(&labels, size_of::<Histogram>())?;
                out.push(Histogram { labels, rows: Vec::new() });
            }
            out[i_of].rows.push((value, i));
        }
        Ok((out, keys.held()))
    }

    #[allow(clippy::too_many_arguments, reason = "two functions share it: one names its quantiles, one does not")]
    fn quantiles(
        &self,
        grid: &Grid,
        histograms: &[Histogram],
        out: &mut Grid,
        q: &[f64],
        label: Option<&str>,
        arg: &Expr,
        steps: Steps,
    ) -> Result<(), EvalError> {
        let mut forced: Vec<(String, Forced)> = Vec::new();
        let mut histogram = 0;
        let mut last_step = None;
        self.each(grid, histograms, out, label.map(|label| (label, q)), |step, buckets| {
            // Steps ascend within a histogram.
            if last_step.is_some_and(|last| step <= last) {
                histogram += 1;
            }
            last_step = Some(step);
            let (value, mended) = buckets::quantile(q[step], buckets);
            if let Some(mended) = mended {
                let name = histograms.get(histogram).and_then(|h| h.labels.metric_name()).unwrap_or("");
                let at = steps.at(step).div_euclid(1_000_000_000);
                forced.push((
                    name.to_owned(),
                    Forced {
                        bucket_min: mended.bucket_min,
                        bucket_max: mended.bucket_max,
                        diff_max: mended.diff_max,
                        samples: 1,
                        first: at,
                        last: at,
                    },
                ));
            }
            value
        })?;
        let mut annotations = self.annotations.borrow_mut();
        for (name, forced) in forced {
            annotations.forced_monotonic(arg.unwrapped().span(), &name, forced);
        }
        Ok(())
    }

    /// One row of the result for each histogram, or for each quantile of it that `named` has.
    fn each(
        &self,
        grid: &Grid,
        histograms: &[Histogram],
        out: &mut Grid,
        named: Option<(&str, &[f64])>,
        mut f: impl FnMut(usize, &mut Vec<Bucket>) -> f64,
    ) -> Result<(), EvalError> {
        let mut buckets = Vec::new();
        let mut looks = Looks::new(grid.budget());
        for histogram in histograms {
            let mut rows = Rows::new(out, true);
            let mut last: Option<(u64, usize)> = None;
            for step in 0..grid.steps {
                looks.after(histogram.rows.len())?;
                buckets.clear();
                let present = histogram.rows.iter().map(|&(bound, i)| (bound, grid.row(i)[step]));
                buckets.extend(present.filter(|(_, v)| !is_absent(*v)).map(|(bound, count)| Bucket { bound, count }));
                if buckets.is_empty() {
                    continue;
                }
                let value = f(step, &mut buckets);
                let key = named.map_or(0, |(_, q)| q[step].to_bits());
                let at = match last {
                    Some((bits, at)) if bits == key => at,
                    _ => {
                        let labels = match named {
                            Some((name, q)) => with(&histogram.labels, name, &quantile_label(q[step])),
                            None => histogram.labels.clone(),
                        };
                        looks.after(labels.encoded().len() / 16)?;
                        rows.of(labels, out)?
                    }
                };
                last = Some((key, at));
                out.row_mut(at)[step] = value;
            }
            rows.end(out)?;
        }
        Ok(())
    }
}

/// A quantile as a label has it: never without a point.
fn quantile_label(q: f64) -> String {
    let text = general(q);
    if text.contains(['.', 'e']) || !q.is_finite() { text } else { text + ".0" }
}
