//! Questions to a snapshot: a selector, or an expression of PromQL.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_query::promql::{self, Annotations, EvalError, Evaluator, Matrix, Options, ParseError, Value};
use tidegauge_query::{QueryError, Selection};
use tidegauge_storage::model::Timestamp;

use super::Snapshot;

/// Why a question had no answer. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The text does not parse; the message points at the place.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The series could not be selected.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The expression could not be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl Snapshot {
    /// The series that a PromQL selector such as `cpu{host=~"web.*"}` names. Cost: that of
    /// finding them; samples are read when the selection is.
    ///
    /// # Errors
    /// [`AskError`] if the selector does not parse or an index is damaged.
    pub fn select(&self, selector: &str) -> Result<Selection, AskError> {
        let matchers = promql::parse_selector(selector)?;
        Ok(Selection::new_on(self, &matchers, Arc::clone(&self.pool))?)
    }

    /// An expression of PromQL, to be evaluated on this snapshot by the engine's query threads.
    pub fn promql(&self, expr: impl Into<String>) -> Question {
        Question { snapshot: self.clone(), expr: expr.into(), options: Options::default() }
    }
}

/// An expression of PromQL and the snapshot to ask. Made by [`Snapshot::promql`].
#[derive(Clone, Debug)]
#[must_use = "nothing is evaluated before `instant` or `range`"]
pub struct Question {
    snapshot: Snapshot,
    expr: String,
    options: Options,
}

impl Question {
    /// Other limits, look-back, or a way to cancel.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The value at one time.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn instant(&self, at: Timestamp) -> Result<(Value, Annotations), AskError> {
        let expr = promql::parse(&self.expr)?;
        Ok(self.snapshot.install(|sources| Evaluator::new(sources, self.options.clone()).instant(&expr, at))?)
    }

    /// The values at `start` and every `step` until `end`, both included.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn range(&self, start: Timestamp, end: Timestamp, step: Duration) -> Result<(Matrix, Annotations), AskError> {
        let expr = promql::parse(&self.expr)?;
        let options = self.options.clone();
        Ok(self.snapshot.install(|sources| Evaluator::new(sources, options).range(&expr, start, end, step))?)
    }
}
