//! Aggregations that make one series of each group.

use tidegauge_storage::model::Labels;

use super::Groups;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, Row, is_absent};
use crate::promql::eval::looks::{Looks, PIECE};
use crate::promql::eval::sums::{Mean, Sum, quantile};
use crate::promql::parse::ast::AggregateOp;

/// What one group has seen at one step.
trait Accumulator: Clone + Default {
    fn add(&mut self, value: f64);
    /// Asked only after a value was added.
    fn value(&self) -> f64;
}

/// Series after series, each at all steps: O(cells). The order of rows is the order of addition.
pub(super) fn fold(op: AggregateOp, grid: &Grid, groups: &mut Groups) -> Result<Grid, EvalError> {
    match op {
        AggregateOp::Sum => with::<Total>(grid, groups),
        AggregateOp::Avg => with::<Average>(grid, groups),
        AggregateOp::Count => with::<Count>(grid, groups),
        AggregateOp::Min => with::<Least>(grid, groups),
        AggregateOp::Max => with::<Greatest>(grid, groups),
        AggregateOp::Stddev => with::<Deviation>(grid, groups),
        AggregateOp::Stdvar => with::<Variance>(grid, groups),
        _ => with::<One>(grid, groups),
    }
}

/// Rows of each group.
fn members(groups: &Groups) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); groups.len()];
    for (i, &g) in groups.of_row.iter().enumerate() {
        members[g].push(i);
    }
    members
}

/// Appends a group's values. At steps where a member is to lose its name, so is the group:
/// where that differs from step to step there are two rows.
fn push(out: &mut Grid, grid: &Grid, labels: &Labels, rows: &[usize], values: &[f64]) -> Result<(), EvalError> {
    let row = |drop_name| Row::made(labels.clone(), drop_name);
    let dropping = rows.iter().filter(|&&i| grid.rows[i].drop_name).count();
    if dropping == 0 || dropping == rows.len() {
        return out.push_charged(row(dropping > 0), values);
    }
    let drops = |step: usize| rows.iter().any(|&i| grid.rows[i].drop_name && grid.is_present(i, step));
    for drop_name in [false, true] {
        let of = |(step, &value): (usize, &f64)| if drops(step) == drop_name { value } else { ABSENT };
        let values: Vec<f64> = values.iter().enumerate().map(of).collect();
        // The group's labels are charged once.
        match drop_name {
            false => out.push_charged(row(false), &values)?,
            true => out.push(row(true), &values)?,
        }
    }
    Ok(())
}

fn with<A: Accumulator>(grid: &Grid, groups: &mut Groups) -> Result<Grid, EvalError> {
    let mut out = groups.grid(grid)?;
    // Piece by piece: of many steps the states would take more room than the values.
    let mut states = vec![(false, A::default()); grid.steps.min(PIECE)];
    let mut values = vec![ABSENT; grid.steps];
    let mut looks = Looks::new(grid.budget());
    for (g, rows) in members(groups).into_iter().enumerate() {
        for (at, values) in values.chunks_mut(PIECE).enumerate() {
            let states = &mut states[..values.len()];
            states.fill((false, A::default()));
            for &i in &rows {
                for ((seen, state), &value) in states.iter_mut().zip(&grid.row(i)[at * PIECE..]) {
                    if !is_absent(value) {
                        state.add(value);
                        *seen = true;
                    }
                }
                looks.after(states.len())?;
            }
            for (value, (seen, state)) in values.iter_mut().zip(&*states) {
                *value = if *seen { state.value() } else { ABSENT };
            }
        }
        push(&mut out, grid, &groups.labels[g], &rows, &values)?;
    }
    out.without_empty()
}

/// The quantile of each group; `param` has one for each step.
pub(super) fn quantiles(grid: &Grid, groups: &mut Groups, param: &[f64]) -> Result<Grid, EvalError> {
    let mut out = groups.grid(grid)?;
    let mut present = Vec::new();
    let mut looks = Looks::new(grid.budget());
    for (g, rows) in members(groups).into_iter().enumerate() {
        let mut values = Vec::with_capacity(grid.steps);
        for &q in param {
            let step = values.len();
            present.clear();
            present.extend(rows.iter().map(|&i| grid.row(i)[step]).filter(|v| !is_absent(*v)));
            values.push(if present.is_empty() { ABSENT } else { quantile(q, &mut present) });
            looks.after(rows.len())?;
        }
        push(&mut out, grid, &groups.labels[g], &rows, &values)?;
    }
    out.without_empty()
}

#[derive(Clone, Default)]
struct Total(Option<Sum>);

impl Accumulator for Total {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(Sum::of(value), |sum| sum.plus(value)));
    }

    fn value(&self) -> f64 {
        self.0.unwrap_or_default().total()
    }
}

#[derive(Clone, Default)]
struct Average(Mean);

impl Accumulator for Average {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(&self) -> f64 {
        self.0.value()
    }
}

#[derive(Clone, Default)]
struct Count(f64);

impl Accumulator for Count {
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Default)]
struct One;

impl Accumulator for One {
    fn add(&mut self, _: f64) {}

    fn value(&self) -> f64 {
        1.0
    }
}

#[derive(Clone, Default)]
struct Least(Option<f64>);

impl Accumulator for Least {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |least| if least > value || least.is_nan() { value } else { least }));
    }

    fn value(&self) -> f64 {
        self.0.unwrap_or(f64::NAN)
    }
}

#[derive(Clone, Default)]
struct Greatest(Option<f64>);

impl Accumulator for Greatest {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |most| if most < value || most.is_nan() { value } else { most }));
    }

    fn value(&self) -> f64 {
        self.0.unwrap_or(f64::NAN)
    }
}

/// The running variance of Welford.
#[derive(Clone, Default)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator for Variance {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn value(&self) -> f64 {
        self.squares / self.count
    }
}

#[derive(Clone, Default)]
struct Deviation(Variance);

impl Accumulator for Deviation {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(&self) -> f64 {
        self.0.value().sqrt()
    }
}
