//! One evaluation: walks the tree, each node for all steps at once.

use std::cell::RefCell;

use tidegauge_storage::model::{Matcher, TimeRange};
use tidegauge_storage::source::Snapshot;

use super::annotations::Annotations;
use super::error::EvalError;
use super::grid::{Grid, Holdings};
use super::looks::{PIECE, pieces_mut, repeat};
use super::selector::Wanted;
use super::times::{Asked, Steps};
use crate::limits::Held;
use crate::parallel::{Helpers, share};
use crate::promql::parse::ast::{Call, Expr};
use crate::promql::parse::{Function, ValueType};
use crate::{Selection, Threads};

/// Into how many pieces series are cut, where there are enough of them.
const PIECES: usize = 256;

/// What an expression is worth at every step.
pub(super) enum Val {
    /// One number a step.
    Scalar(Vec<f64>),
    Vector(Grid),
    String(String),
}

/// All that a walk needs.
pub(super) struct Run<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) asked: Asked,
    /// Nanoseconds.
    pub(super) lookback: i64,
    /// Nanoseconds.
    pub(super) subquery_step: i64,
    /// Those that help, if they are not of the pool it is called in.
    pub(super) threads: Option<&'a Threads>,
    /// Whether other threads may help.
    pub(super) shared: bool,
    pub(super) holdings: Holdings,
    pub(super) annotations: RefCell<Annotations>,
}

impl Run<'_> {
    /// The series that pass `matchers`.
    pub(super) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Selection, EvalError> {
        let budget = self.holdings.budget();
        Ok(Selection::within_on(self.snapshot, matchers, range, budget, self.threads.cloned())?)
    }

    /// Fills `values`, those of each series at each of `steps`: `fill` is told which series, `is_long` how many of them
    /// are filled in a row.
    pub(super) fn fill_rows<S>(
        &self,
        values: &mut [f64],
        steps: usize,
        is_long: impl FnOnce(usize) -> bool,
        scratch: impl Fn() -> S + Sync,
        fill: impl Fn(&mut S, usize, &mut [f64]) -> Result<(), EvalError> + Sync,
    ) -> Result<(), EvalError> {
        if values.is_empty() {
            return Ok(());
        }
        let series = (values.len() / steps).div_ceil(PIECES);
        let helpers = if self.shared { Helpers::of(self.threads) } else { Helpers::Nobody };
        let pieces = values.chunks_mut(series * steps).enumerate();
        let one = |scratch: &mut S, (piece, values): (usize, &mut [f64])| {
            let mut rows = values.chunks_mut(steps).enumerate();
            rows.try_for_each(|(i, out)| fill(scratch, piece * series + i, out))
        };
        share(helpers, self.shared && is_long(series), pieces, || Ok(scratch()), one, |_| Ok(()))
    }

    pub(super) fn grid(&self, steps: usize) -> Result<Grid, EvalError> {
        Grid::new(steps, &self.holdings)
    }

    /// Refuses more steps than fit in the query's memory, before anything is made of them: their times, and the
    /// numbers of one a step that `expr` works on.
    pub(super) fn hold_steps(&self, expr: &Expr, steps: Steps) -> Result<Held, EvalError> {
        let one = bytes_of_a_step(expr).saturating_add(16);
        Ok(self.holdings.budget().hold((steps.count as u64).saturating_mul(one))?)
    }

    pub(super) fn eval(&self, expr: &Expr, steps: Steps) -> Result<Val, EvalError> {
        self.holdings.budget().check()?;
        if steps.count > 1 && is_invariant(expr) && !matches!(expr, Expr::Number(_) | Expr::String(_)) {
            return self.once(steps, |one| self.eval_node(expr, one));
        }
        self.eval_node(expr, steps)
    }

    /// What is the same at each of many steps.
    pub(super) fn once(
        &self,
        steps: Steps,
        eval: impl FnOnce(Steps) -> Result<Val, EvalError>,
    ) -> Result<Val, EvalError> {
        let budget = self.holdings.budget();
        let before = budget.evaluated_so_far();
        let value = eval(Steps::one(steps.start))?;
        budget.repeat_since(&before, steps.count);
        Ok(match value {
            Val::Scalar(value) => Val::Scalar(self.repeated(value[0], steps)?),
            Val::Vector(grid) => Val::Vector(grid.spread(steps.count)?),
            Val::String(text) => Val::String(text),
        })
    }

    /// The same number at each step.
    pub(super) fn repeated(&self, value: f64, steps: Steps) -> Result<Vec<f64>, EvalError> {
        let mut all = Vec::new();
        repeat(&mut all, &value, steps.count, self.holdings.budget())?;
        Ok(all)
    }

    /// `a` with `b` at each step, in the place of `a`.
    pub(super) fn paired(&self, mut a: Vec<f64>, b: &[f64], f: impl Fn(f64, f64) -> f64) -> Result<Val, EvalError> {
        let budget = self.holdings.budget();
        for (a, b) in pieces_mut(&mut a, budget).zip(b.chunks(PIECE)) {
            a?.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, *b));
        }
        Ok(Val::Scalar(a))
    }

    fn eval_node(&self, expr: &Expr, steps: Steps) -> Result<Val, EvalError> {
        match expr {
            Expr::Number(n) => Ok(Val::Scalar(self.repeated(n.value, steps)?)),
            Expr::String(s) => Ok(Val::String(s.value.clone())),
            Expr::Vector(v) => Ok(Val::Vector(self.vector_selector(v, steps, Wanted::Value)?)),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(EvalError::BadData("a range vector is an answer to an instant query only".to_owned()))
            }
            Expr::Paren(p) => self.eval(&p.expr, steps),
            Expr::Unary(u) => {
                let mut value = self.eval(&u.expr, steps)?;
                if u.negate {
                    match &mut value {
                        Val::Scalar(values) => {
                            for piece in pieces_mut(values, self.holdings.budget()) {
                                piece?.iter_mut().for_each(|v| *v = -*v);
                            }
                        }
                        Val::Vector(grid) => grid.map(|v| -v)?,
                        Val::String(_) => {}
                    }
                }
                Ok(value)
            }
            Expr::Binary(b) => self.binary(b, steps),
            Expr::Aggregate(a) => Ok(Val::Vector(self.aggregate(a, steps)?)),
            Expr::Call(c) => self.call(c, steps),
        }
    }

    pub(super) fn eval_vector(&self, expr: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        match self.eval(expr, steps)? {
            Val::Vector(grid) => Ok(grid),
            _ => Err(EvalError::BadData(format!("{expr} is no instant vector"))),
        }
    }

    pub(super) fn eval_scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps)? {
            Val::Scalar(values) => Ok(values),
            _ => Err(EvalError::BadData(format!("{expr} is no scalar"))),
        }
    }
}

/// Bytes a step of all scalars in `expr`, which are no grid's; those inside a subquery have steps of their own.
fn bytes_of_a_step(expr: &Expr) -> u64 {
    let own = match expr {
        Expr::Subquery(_) => return 0,
        // Counts as it goes.
        Expr::Call(call) if call.signature.function == Function::Scalar => 24,
        other if other.value_type() == ValueType::Scalar => 8,
        _ => 0,
    };
    match expr {
        // One after the other is joined to the first, and gone.
        Expr::Binary(b) => {
            let rest = b.rest.iter().map(|operand| bytes_of_a_step(&operand.rhs)).max();
            own + bytes_of_a_step(&b.first) + rest.unwrap_or(0)
        }
        _ => own + expr.children().into_iter().map(bytes_of_a_step).sum::<u64>(),
    }
}

/// The text of a string argument.
pub(super) fn string_of(expr: &Expr) -> &str {
    match expr.unwrapped() {
        Expr::String(s) => &s.value,
        _ => "",
    }
}

/// The text of a string argument that is to be a label's name; else the error's text for it.
pub(super) fn label_name_of(expr: &Expr) -> Result<&str, String> {
    match expr.unwrapped() {
        Expr::String(s) if s.bytes.is_none() && !s.value.is_empty() => Ok(&s.value),
        other => Err(other.to_string()),
    }
}

/// Whether the value is the same at every step, so that one evaluation is enough.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(v) => v.at.is_some(),
        Expr::Matrix(m) => m.selector.at.is_some(),
        Expr::Subquery(s) => s.at.is_some(),
        Expr::Aggregate(_) | Expr::Binary(_) | Expr::Paren(_) | Expr::Unary(_) => {
            expr.children().into_iter().all(is_invariant)
        }
        Expr::Call(c) => is_invariant_call(c),
    }
}

fn is_invariant_call(call: &Call) -> bool {
    let args = || call.args.iter().all(is_invariant);
    match call.signature.function {
        // These look at the time of the step.
        Function::Time | Function::PredictLinear => false,
        Function::DaysInMonth
        | Function::DayOfMonth
        | Function::DayOfWeek
        | Function::DayOfYear
        | Function::Hour
        | Function::Minute
        | Function::Month
        | Function::Year => !call.args.is_empty() && args(),
        // Of a selector, the time of the sample; of anything else, that of the step.
        Function::Timestamp => matches!(call.args[0].unwrapped(), Expr::Vector(_)) && args(),
        _ => args(),
    }
}

/// Whether an answer of this type can be given for a range.
pub(super) fn is_for_ranges(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::Scalar | ValueType::Vector)
}
