//! From a checked tree to values.
//!
//! Every node is evaluated for all steps at once: series by series over columns, in a
//! grid of series × steps. What is the same at each step is evaluated once.

// what comes out
mod annotations;
mod error;
mod value;

// what goes through
mod grid;
mod labels;
mod looks;
mod times;

// how: selectors, ranges, operators, aggregations, functions
mod aggregate;
mod binary;
mod chunks;
mod civil;
mod functions;
mod run;
mod selector;
mod sums;
mod window;

use std::cell::RefCell;
use std::time::Duration;

use tidegauge_storage::model::Timestamp;
use tidegauge_storage::source::Snapshot;

use crate::Threads;
use crate::limits::{Budget, Cancel, Ledger, QueryLimits};
use crate::promql::parse::ast::Expr;

pub use annotations::Annotations;
pub use error::{ErrorKind, EvalError};
pub use value::{InstantSample, Matrix, RangeSeries, Value};

use grid::Holdings;
use run::{Run, Val};
use times::{Asked, Steps};

/// How expressions are evaluated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How old the latest sample of a series may be and still count.
    pub lookback: Duration,
    /// What a query may use.
    pub limits: QueryLimits,
    /// Stops the query from outside.
    pub cancel: Cancel,
    /// What it holds is charged to this too.
    pub ledger: Option<Ledger>,
    /// The step of subqueries that name none.
    pub subquery_step: Duration,
    /// Whether other threads may help where there is much to do; yes by default.
    pub shared: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            limits: QueryLimits::DEFAULT,
            cancel: Cancel::new(),
            ledger: None,
            subquery_step: Duration::from_secs(60),
            shared: true,
        }
    }
}

/// Evaluates expressions on one snapshot, on the thread that asks. Where there is much to do, others help: those it is
/// [given](Evaluator::on), else those of the rayon pool it is called in.
#[derive(Clone, Debug)]
pub struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    options: Options,
    budget: Option<Budget>,
    threads: Option<Threads>,
}

impl<'a> Evaluator<'a> {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, options: Options) -> Self {
        Self { snapshot, options, budget: None, threads: None }
    }

    /// Bounds each evaluation by `budget`, in place of the limits, the cancel flag and the ledger of the
    /// options. Its [`stats`](Budget::stats) tell afterwards what was read. What the answer holds stays charged to it
    /// until the last clone of it goes, so give each query one of its own.
    #[must_use]
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Lets these threads help the one that asks where there is much to do.
    #[must_use]
    pub fn on(mut self, threads: &Threads) -> Self {
        self.threads = Some(threads.clone());
        self
    }

    /// The value of `expr` at one time.
    ///
    /// # Errors
    /// [`EvalError`], whose [`kind`](EvalError::kind) says whether the question, the data or a bound is the cause.
    pub fn instant(&self, expr: &Expr, at: Timestamp) -> Result<(Value, Annotations), EvalError> {
        let at = at.nanos();
        let run = self.run(Asked { start: at, end: at, step: 0 });
        run.holdings.budget().clone().timed(|| {
            let steps = Steps::one(at);
            let value = match expr.unwrapped() {
                range @ (Expr::Matrix(_) | Expr::Subquery(_)) => {
                    let source = run.range_source(range, steps)?;
                    Value::Matrix(value::matrix_of_ranges(run.raw_range(&source)?)?)
                }
                _ => match run.eval(expr, steps)? {
                    Val::Scalar(values) => Value::Scalar(values[0]),
                    Val::String(text) => Value::String(text),
                    Val::Vector(grid) => Value::Vector(value::vector(grid.drop_due_names()?, at)?),
                },
            };
            run.holdings.tell();
            Ok((value, run.annotations.into_inner()))
        })
    }

    /// The value of `expr` at `start` and every `step` until `end`, both included. Series in
    /// the order of their labels. The caller bounds the number of steps.
    ///
    /// # Errors
    /// [`EvalError`], whose [`kind`](EvalError::kind) says whether the question, the data or a bound is the cause.
    pub fn range(
        &self,
        expr: &Expr,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<(Matrix, Annotations), EvalError> {
        let step = nanos(step);
        if step == 0 {
            let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(EvalError::BadData(why.to_owned()));
        }
        let value_type = expr.value_type();
        if !run::is_for_ranges(value_type) {
            let found = value_type.documented();
            let why = format!("invalid expression type {found:?} for range query, must be Scalar or instant Vector");
            return Err(EvalError::BadData(why));
        }
        let (start, end) = (start.nanos(), end.nanos());
        let steps = Steps::between(start, end, step);
        let run = self.run(Asked { start, end, step });
        run.holdings.budget().clone().timed(|| {
            let _held = run.hold_steps(expr, steps)?;
            let matrix = match run.eval(expr, steps)? {
                Val::Scalar(values) => value::matrix_of_scalars(&values, steps, run.holdings.budget())?,
                Val::Vector(grid) => value::matrix(grid.drop_due_names()?, steps)?,
                Val::String(_) => Matrix::new(),
            };
            run.holdings.tell();
            Ok((matrix, run.annotations.into_inner()))
        })
    }

    fn run(&self, asked: Asked) -> Run<'_> {
        let Options { limits, cancel, ledger, .. } = &self.options;
        let own = || Budget::make(*limits, cancel.clone(), ledger.clone());
        let budget = self.budget.clone().unwrap_or_else(own);
        Run {
            snapshot: self.snapshot,
            asked,
            lookback: nanos(self.options.lookback),
            subquery_step: nanos(self.options.subquery_step).max(1),
            threads: self.threads.as_ref(),
            shared: self.options.shared,
            holdings: Holdings::new(&budget),
            annotations: RefCell::default(),
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
