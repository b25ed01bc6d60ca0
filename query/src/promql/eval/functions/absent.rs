//! A value where there is none.

use std::collections::BTreeMap;

use tidegauge_storage::model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::promql::eval::chunks::Needs;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, Row};
use crate::promql::eval::looks::Looks;
use crate::promql::eval::run::Run;
use crate::promql::eval::times::Steps;
use crate::promql::parse::ast::{Call, Expr};

impl Run<'_> {
    pub(super) fn absent(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let arg = call.args[0].unwrapped();
        let grid = self.eval_vector(arg, steps)?;
        let matchers = match arg {
            Expr::Vector(v) => &v.matchers[..],
            _ => &[],
        };
        where_empty(&grid, labels_of(matchers))
    }

    pub(super) fn absent_over_time(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let arg = call.args[0].unwrapped();
        let source = self.range_source(arg, steps)?;
        let grid = self.over_windows(&source, steps, false, Needs::Count, |_, _| Ok(Some(1.0)))?;
        let matchers = match arg {
            Expr::Matrix(m) => &m.selector.matchers[..],
            _ => &[],
        };
        where_empty(&grid, labels_of(matchers))
    }
}

fn where_empty(grid: &Grid, labels: Labels) -> Result<Grid, EvalError> {
    let mut values = Vec::with_capacity(grid.steps);
    let mut looks = Looks::new(grid.budget());
    for step in 0..grid.steps {
        values.push(if grid.any_at(step) { ABSENT } else { 1.0 });
        looks.after(grid.rows.len().max(1))?;
    }
    let mut out = grid.like(grid.steps)?;
    out.push(Row::made(labels, false), &values)?;
    out.without_empty()
}

/// The labels that the missing series would surely have had: as Prometheus has it, of the first matcher that asks for a
/// value of the label, unless another one of that label follows.
fn labels_of(matchers: &[Matcher]) -> Labels {
    let mut sure: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        match sure.get_mut(matcher.name()) {
            Some(value) => *value = None,
            None if matcher.op() == MatchOp::Equal => {
                sure.insert(matcher.name(), Some(matcher.value()));
            }
            None => {}
        }
    }
    let sure: Vec<(&str, &str)> = sure.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Labels::from_sorted(&sure)
}
