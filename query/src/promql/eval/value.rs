//! Answers.

use std::collections::HashMap;

use tidegauge_storage::model::{Labels, Timestamp};
use tidegauge_storage::source::Columns;

use super::error::EvalError;
use super::grid::{Grid, Row, is_absent, same_labels};
use super::labels::without_name;
use super::looks::{Looks, of_times};
use super::times::Steps;
use crate::limits::Budget;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    String(String),
    /// One sample for each series, in the order that the expression gave them.
    Vector(Vec<InstantSample>),
    /// Many samples for each series.
    Matrix(Matrix),
}

/// Series with their samples, in the order of their labels.
pub type Matrix = Vec<RangeSeries>;

/// The sample of one series. Histograms will join `value` here (`docs/histograms.md`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InstantSample {
    /// Which series.
    pub labels: Labels,
    /// When it was asked for.
    pub timestamp: Timestamp,
    /// Its value.
    pub value: f64,
}

/// The samples of one series. Histograms will join `values` here (`docs/histograms.md`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RangeSeries {
    /// Which series.
    pub labels: Labels,
    /// Nanoseconds since the Unix epoch, ascending.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
}

/// Charges an answer of so many series and samples for as long as the query's budget is there.
fn keep_answer(budget: &Budget, series: usize, samples: usize) -> Result<(), EvalError> {
    budget.hold((series * size_of::<RangeSeries>() + samples * 16) as u64)?.keep();
    Ok(())
}

pub(super) fn vector(grid: Grid, at: i64) -> Result<Vec<InstantSample>, EvalError> {
    let timestamp = Timestamp::from_nanos(at);
    keep_answer(grid.budget(), grid.rows.len(), 0)?;
    let mut out = Vec::with_capacity(grid.rows.len());
    let present = grid.iter().filter(|(_, values)| !is_absent(values[0]));
    out.extend(present.map(|(row, values)| InstantSample { labels: row.labels.clone(), timestamp, value: values[0] }));
    grid.into_charge().keep();
    Ok(out)
}

pub(super) fn matrix(grid: Grid, steps: Steps) -> Result<Matrix, EvalError> {
    let counts: Vec<usize> = grid.iter().map(|(_, values)| values.iter().filter(|v| !is_absent(**v)).count()).collect();
    keep_answer(grid.budget(), grid.rows.len(), counts.iter().sum())?;
    let mut out = Matrix::with_capacity(grid.rows.len());
    let budget = grid.budget().clone();
    let mut looks = Looks::new(&budget);
    for ((row, values), count) in grid.iter().zip(counts).filter(|(_, count)| *count > 0) {
        let (timestamps, numbers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut series = RangeSeries { labels: row.labels.clone(), timestamps, values: numbers };
        looks.after(values.len())?;
        for (step, &value) in values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            series.timestamps.push(steps.at(step));
            series.values.push(value);
        }
        out.push(series);
    }
    grid.into_charge().keep();
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}

pub(super) fn matrix_of_scalars(values: &[f64], steps: Steps, budget: &Budget) -> Result<Matrix, EvalError> {
    if values.is_empty() {
        return Ok(Matrix::new());
    }
    keep_answer(budget, 1, values.len())?;
    Ok(vec![RangeSeries {
        labels: Labels::empty(),
        timestamps: of_times(steps, budget, |t| t)?,
        values: values.to_vec(),
    }])
}

/// Raw samples as an answer; series that are alike without their names must not overlap.
pub(super) fn matrix_of_ranges(ranges: Vec<(Row, Columns)>) -> Result<Matrix, EvalError> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut out = Matrix::new();
    for (row, columns) in ranges {
        let labels = if row.drop_name { without_name(&row.labels) } else { row.labels };
        let next = out.len();
        let i = *at.entry(labels.clone()).or_insert(next);
        if i == next {
            out.push(RangeSeries { labels, timestamps: columns.timestamps, values: columns.values });
            continue;
        }
        let mut both: Vec<(i64, f64)> = out[i].timestamps.iter().copied().zip(out[i].values.iter().copied()).collect();
        both.extend(columns.timestamps.into_iter().zip(columns.values));
        both.sort_by_key(|&(t, _)| t);
        if both.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(same_labels());
        }
        (out[i].timestamps, out[i].values) = both.into_iter().unzip();
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}
