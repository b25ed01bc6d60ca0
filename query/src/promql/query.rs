//! A question and the snapshot that is to answer it.

use std::time::Duration;

use tidegauge_storage::model::Timestamp;
use tidegauge_storage::source::Snapshot;

use super::eval::{Annotations, ErrorKind, EvalError, Evaluator, Matrix, Options, Value};
use super::parse::{ParseError, ParseOptions, parse_with};
use crate::Threads;
use crate::limits::{Budget, Cancel, Ledger, QueryLimits};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromqlError {
    /// The text is not a query.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The query has no value.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl PromqlError {
    /// How an HTTP answer names it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) => ErrorKind::BadData,
            Self::Eval(e) => e.kind(),
        }
    }
}

/// A PromQL query on one snapshot, not yet run.
///
/// ```
/// use std::time::Duration;
/// use tidegauge_query::promql::{Query, Value};
/// use tidegauge_storage::model::{SeqNo, Timestamp};
/// use tidegauge_storage::source::Snapshot;
///
/// let empty = Snapshot::new(Vec::new(), SeqNo(0));
/// let (value, _) = Query::new(&empty, "1 + 1").at(Timestamp::from_nanos(0))?;
/// assert_eq!(value, Value::Scalar(2.0));
/// # Ok::<(), tidegauge_query::promql::PromqlError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is run"]
pub struct Query {
    snapshot: Snapshot,
    text: String,
    options: Options,
    parse: ParseOptions,
    budget: Option<Budget>,
    threads: Option<Threads>,
}

impl Query {
    /// Reads nothing yet, not even the text.
    pub fn new(snapshot: &Snapshot, text: impl Into<String>) -> Self {
        let (options, parse) = (Options::default(), ParseOptions::default());
        Self { snapshot: snapshot.clone(), text: text.into(), options, parse, budget: None, threads: None }
    }

    /// Replaces all options of the evaluation. The ledger stays, unless they name one.
    pub fn options(mut self, options: Options) -> Self {
        let ledger = self.options.ledger.take();
        self.options = options;
        self.options.ledger = self.options.ledger.or(ledger);
        self
    }

    /// Charges what the query holds to `ledger` too.
    pub fn charged_to(mut self, ledger: &Ledger) -> Self {
        self.options.ledger = Some(ledger.clone());
        self
    }

    /// What the query may use.
    pub fn limits(mut self, limits: QueryLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Bounds the query by `budget`, in place of [`limits`](Self::limits),
    /// [`cancelled_by`](Self::cancelled_by) and [`charged_to`](Self::charged_to). Its [`stats`](Budget::stats) tell afterwards what
    /// was read, and what was not.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Lets another thread stop the query.
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.options.cancel = cancel.clone();
        self
    }

    /// How old the latest sample of a series may be and still count; 5 minutes by default.
    pub fn lookback(mut self, lookback: Duration) -> Self {
        self.options.lookback = lookback;
        self
    }

    /// Whether what is not yet a settled part of the language is accepted; yes by default.
    pub fn experimental(mut self, yes: bool) -> Self {
        self.parse.experimental = yes;
        self
    }

    /// Lets these threads help the caller's where there is much to do.
    pub fn on(mut self, threads: impl Into<Threads>) -> Self {
        self.threads = Some(threads.into());
        self
    }

    /// The value at one time.
    ///
    /// # Errors
    /// [`PromqlError`], whose [`kind`](PromqlError::kind) says whether the text, the data or a bound is the cause.
    pub fn at(&self, at: Timestamp) -> Result<(Value, Annotations), PromqlError> {
        let expr = parse_with(&self.text, self.parse)?;
        Ok(self.evaluator().instant(&expr, at)?)
    }

    /// The value at `start` and every `step` until `end`, both included.
    ///
    /// # Errors
    /// As [`at`](Self::at); also for a step of zero.
    pub fn range(
        &self,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<(Matrix, Annotations), PromqlError> {
        let expr = parse_with(&self.text, self.parse)?;
        Ok(self.evaluator().range(&expr, start, end, step)?)
    }

    fn evaluator(&self) -> Evaluator<'_> {
        let mut evaluator = Evaluator::new(&self.snapshot, self.options.clone());
        if let Some(budget) = &self.budget {
            evaluator = evaluator.budget(budget);
        }
        if let Some(threads) = &self.threads {
            evaluator = evaluator.on(threads);
        }
        evaluator
    }
}
