//! A value where there is none.

use tidegauge_storage::model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::promql::eval::chunks::Needs;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, Row};
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
    let values: Vec<f64> = (0..grid.steps).map(|step| if grid.any_at(step) { ABSENT } else { 1.0 }).collect();
    let mut out = grid.like(grid.steps)?;
    out.push(Row { labels, drop_name: false }, &values)?;
    out.without_empty()
}

/// The labels that the missing series would surely have had.
fn labels_of(matchers: &[Matcher]) -> Labels {
    let mut sure: Vec<(&str, &str)> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        let once = matchers.iter().filter(|m| m.name() == matcher.name()).count() == 1;
        if once && matcher.op() == MatchOp::Equal {
            sure.push((matcher.name(), matcher.value()));
        }
    }
    sure.sort_unstable();
    Labels::from_sorted(&sure)
}
