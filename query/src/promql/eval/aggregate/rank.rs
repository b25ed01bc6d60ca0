//! Aggregations that choose series of each group: the greatest, the least, any.

use super::Groups;
use super::hash::xxh64;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, is_absent};
use crate::promql::eval::looks::Looks;
use crate::promql::eval::sums::ascending;
use crate::promql::parse::ast::AggregateOp;

/// `topk`, `bottomk`, `limitk`: at most `param[step]` series of each group at each step. At
/// a single step the rows come out in the order asked for. O(cells × log of the group).
pub(super) fn rank(op: AggregateOp, grid: &Grid, groups: &Groups, param: &[f64]) -> Result<Grid, EvalError> {
    let mut members = vec![Vec::new(); groups.len()];
    for i in by_labels(grid) {
        members[groups.of_row[i]].push(i);
    }
    let mut chosen = vec![false; grid.values.len()];
    let mut order = Vec::new();
    let mut present = Vec::new();
    let mut looks = Looks::new(grid.budget());
    for step in 0..grid.steps {
        let k = param[step].min(grid.rows.len() as f64);
        if k < 1.0 {
            continue;
        }
        looks.after(grid.rows.len())?;
        for rows in &members {
            present.clear();
            present.extend(rows.iter().copied().filter(|&i| grid.is_present(i, step)));
            let value = |i: usize| grid.row(i)[step];
            // Stable: among equals the first in the order of labels is chosen. NaN is chosen last.
            match op {
                AggregateOp::Topk => present.sort_by(|&a, &b| ascending(value(b), value(a))),
                AggregateOp::Bottomk => present.sort_by(|&a, &b| nan_last(value(a), value(b))),
                _ => {}
            }
            for &i in present.iter().take(k as usize) {
                chosen[i * grid.steps + step] = true;
                if grid.steps == 1 {
                    order.push(i);
                }
            }
        }
    }
    if grid.steps == 1 {
        return grid.reordered(&order);
    }
    masked(grid, &chosen)
}

/// Rows in the order of their labels, which selectors have already.
fn by_labels(grid: &Grid) -> Vec<usize> {
    let mut order: Vec<usize> = (0..grid.rows.len()).collect();
    if !grid.rows.is_sorted_by(|a, b| a.labels <= b.labels) {
        order.sort_by(|&a, &b| grid.rows[a].labels.cmp(&grid.rows[b].labels));
    }
    order
}

fn nan_last(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| ascending(a, b))
}

fn masked(grid: &Grid, chosen: &[bool]) -> Result<Grid, EvalError> {
    let mut out = grid.like(grid.steps)?;
    let mut values = vec![ABSENT; grid.steps];
    let mut looks = Looks::new(grid.budget());
    for (i, row) in grid.rows.iter().enumerate() {
        let chosen = &chosen[i * grid.steps..];
        for (step, value) in values.iter_mut().enumerate() {
            looks.after(1)?;
            *value = if chosen[step] { grid.row(i)[step] } else { ABSENT };
        }
        if values.iter().any(|v| !is_absent(*v)) {
            out.push(row.clone(), &values)?;
        }
    }
    Ok(out)
}

/// `limit_ratio`: about that part of the series, always the same ones; -0.3 are exactly
/// those that 0.7 leaves out.
pub(super) fn limit_ratio(grid: &Grid, param: &[f64]) -> Result<Grid, EvalError> {
    let mut chosen = vec![false; grid.values.len()];
    let mut looks = Looks::new(grid.budget());
    for (i, row) in grid.rows.iter().enumerate() {
        let place = xxh64(row.labels.encoded()) as f64 / u64::MAX as f64;
        for step in 0..grid.steps {
            looks.after(1)?;
            let ratio = param[step].clamp(-1.0, 1.0);
            let inside = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
            chosen[i * grid.steps + step] = inside && ratio != 0.0 && grid.is_present(i, step);
        }
    }
    masked(grid, &chosen)
}
