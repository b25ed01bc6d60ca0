//! Aggregations: many series made one for each group, or the best of each group.

mod count_values;
mod fold;
mod hash;
mod rank;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tidegauge_storage::model::{Labels, METRIC_NAME};

use super::annotations::general;
use super::error::EvalError;
use super::grid::Grid;
use super::labels::{Keys, retain};
use super::run::{Run, label_name_of};
use super::times::{Steps, greatest, least};
use crate::limits::Held;
use crate::promql::parse::ast::{Aggregate, AggregateOp, Expr};

/// Which row belongs to which group.
pub(super) struct Groups {
    /// The group of each row.
    pub(super) of_row: Vec<usize>,
    /// The labels of each group, in the order in which the rows name them.
    pub(super) labels: Vec<Labels>,
    held: Held,
}

impl Groups {
    fn new(grid: &Grid, a: &Aggregate) -> Result<Self, EvalError> {
        let mut at: HashMap<Labels, usize> = HashMap::new();
        let mut labels = Vec::new();
        let mut keys = Keys::new(grid.budget(), a.grouping.len());
        let mut of_row = Vec::with_capacity(grid.rows.len());
        for row in &grid.rows {
            keys.look(&row.labels)?;
            let key = group_labels(&row.labels, a.without, &a.grouping);
            of_row.push(match at.entry(key) {
                Entry::Occupied(group) => *group.get(),
                Entry::Vacant(place) => {
                    keys.keep(place.key(), 0)?;
                    labels.push(place.key().clone());
                    *place.insert(labels.len() - 1)
                }
            });
        }
        Ok(Self { of_row, labels, held: keys.held() })
    }

    /// An empty grid with room for them, which is charged for their labels from now on.
    pub(super) fn grid(&mut self, like: &Grid) -> Result<Grid, EvalError> {
        let mut grid = like.like(like.steps)?;
        grid.reserve(self.labels.len())?;
        let nothing = like.budget().hold_nothing();
        grid.charge(std::mem::replace(&mut self.held, nothing));
        Ok(grid)
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }
}

pub(super) fn group_labels(labels: &Labels, without: bool, names: &[String]) -> Labels {
    let listed = |name: &str| names.iter().any(|n| n == name);
    match without {
        true => retain(labels, |name| name != METRIC_NAME && !listed(name)),
        false => retain(labels, listed),
    }
}

impl Run<'_> {
    pub(super) fn aggregate(&self, a: &Aggregate, steps: Steps) -> Result<Grid, EvalError> {
        if a.op == AggregateOp::CountValues {
            let name = a.param.as_ref().map_or(Err(String::new()), label_name_of);
            let name = name.map_err(|found| EvalError::execution(format!("invalid label name {found}")))?;
            let grid = self.eval_vector(&a.expr, steps)?;
            return count_values::count_values(a, name, &grid);
        }
        let param = match &a.param {
            Some(param) => Some((self.eval_scalar(param, steps)?, param)),
            None => None,
        };
        let grid = self.eval_vector(&a.expr, steps)?;
        let mut groups = Groups::new(&grid, a)?;
        let Some((param, expr)) = param else { return fold::fold(a.op, &grid, &mut groups) };
        match a.op {
            AggregateOp::Quantile => {
                self.check_quantiles(&param, expr);
                fold::quantiles(&grid, &mut groups, &param)
            }
            AggregateOp::LimitRatio => match self.check_ratios(&param, expr)? {
                true => rank::limit_ratio(&grid, &param),
                false => grid.like(grid.steps),
            },
            _ => match check_counts(&param)? {
                true => rank::rank(a.op, &grid, &groups, &param),
                false => grid.like(grid.steps),
            },
        }
    }

    fn check_quantiles(&self, param: &[f64], expr: &Expr) {
        let mut annotations = self.annotations.borrow_mut();
        let mut odd = |q: f64| {
            let text = format!("quantile value should be between 0 and 1, got {}", general(q));
            annotations.warn(expr.unwrapped().span(), text);
        };
        if param.iter().any(|q| q.is_nan()) {
            odd(f64::NAN);
        }
        let (low, high) = bounds(param);
        if high > 1.0 {
            odd(high);
        }
        if low < 0.0 {
            odd(low);
        }
    }

    /// Whether any step asks for anything.
    fn check_ratios(&self, param: &[f64], expr: &Expr) -> Result<bool, EvalError> {
        let (low, high) = bounds(param);
        if low == 0.0 && high == 0.0 {
            return Ok(false);
        }
        if param.iter().any(|r| r.is_nan()) {
            return Err(EvalError::execution("Ratio value is NaN"));
        }
        let mut annotations = self.annotations.borrow_mut();
        for (beyond, found, cap) in [(high > 1.0, high, "1"), (low < -1.0, low, "-1")] {
            if beyond {
                let found = general(found);
                let text = format!("ratio value should be between -1 and 1, got {found}, capping to {cap}");
                annotations.warn(expr.unwrapped().span(), text);
            }
        }
        Ok(true)
    }
}

/// The least and the greatest; NaN if any is.
fn bounds(param: &[f64]) -> (f64, f64) {
    if param.iter().any(|p| p.is_nan()) {
        return (f64::NAN, f64::NAN);
    }
    let low = param.iter().copied().fold(f64::INFINITY, least);
    let high = param.iter().copied().fold(f64::NEG_INFINITY, greatest);
    (low, high)
}

/// Whether any step asks for at least one series.
fn check_counts(param: &[f64]) -> Result<bool, EvalError> {
    let (low, high) = bounds(param);
    if high < 1.0 {
        return Ok(false);
    }
    if param.iter().any(|k| k.is_nan()) {
        return Err(EvalError::execution("Parameter value is NaN"));
    }
    if low <= i64::MIN as f64 {
        return Err(EvalError::execution(format!("Scalar value {} underflows int64", general(low))));
    }
    if high >= i64::MAX as f64 {
        return Err(EvalError::execution(format!("Scalar value {} overflows int64", general(high))));
    }
    Ok(true)
}
