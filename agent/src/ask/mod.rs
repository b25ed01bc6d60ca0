//! A PromQL question and its answer, whoever asks: HTTP or the command line.

mod explain;
mod json;
mod number;
mod small;
mod tree;

use std::time::{Duration, Instant};

use tidegauge::query::promql::parse::{ParseOptions, parse_with};
use tidegauge::query::promql::{ErrorKind, EvalError, Evaluator, Expr, Options, ParseError, Value};
use tidegauge::query::{Budget, Cancel, Limit, QueryLimits};
use tidegauge::{Snapshot, Timestamp};

pub(crate) use explain::Costs;
pub(crate) use json::{Gone, Outlet, put_escaped, put_labels, put_string, put_strings, put_value};
pub(crate) use number::put_float;
pub(crate) use small::TEXT_BYTES_MAX as SHORT_TEXT_BYTES_MAX;
pub(crate) use tree::put_tree;

/// How old the latest sample of a series may be and still count, unless a question says otherwise.
pub(crate) const LOOKBACK: Duration = Duration::from_secs(300);

/// More steps than a screen has pixels; the bound that Prometheus sets.
pub(crate) const STEPS_MAX: i64 = 11_000;

/// For which times an expression is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// One time.
    At(Timestamp),
    /// Every `step` from `start` until `end`, both included.
    Every { start: Timestamp, end: Timestamp, step: Duration },
}

/// An expression and what it may cost.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) expr: String,
    pub(crate) when: When,
    /// Whether experimental functions are evaluated.
    pub(crate) experimental: bool,
    pub(crate) limits: QueryLimits,
    /// How old the latest sample may be and still count; `None` for the default of 5 minutes.
    pub(crate) lookback: Option<Duration>,
    /// Whether the costs tell what each step looked at.
    pub(crate) per_step: bool,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
    pub(crate) costs: Costs,
    /// What the answer holds is charged to it, until it is written.
    _budget: Budget,
}

/// Why times make no sense, as Prometheus words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTimes {
    #[error("end timestamp must not be before start time")]
    EndsFirst,
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    NoStep,
    #[error(
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
    )]
    TooManySteps,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The text is no PromQL; the message points at the place.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The times make no sense.
    #[error(transparent)]
    Times(#[from] BadTimes),
    /// The expression has no value.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl AskError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Times(_) => ErrorKind::BadData,
            Self::Eval(e) => e.kind(),
        }
    }
}

impl When {
    /// From the first time asked for to the last.
    pub(crate) fn span(self) -> Duration {
        match self {
            Self::At(_) => Duration::ZERO,
            Self::Every { start, end, .. } => {
                Duration::from_nanos(u64::try_from(end.nanos().saturating_sub(start.nanos())).unwrap_or(0))
            }
        }
    }

    /// The time of each step, in milliseconds.
    fn steps(self) -> impl Iterator<Item = i64> {
        let (start, end, step) = match self {
            Self::At(at) => (at.nanos(), at.nanos(), 1),
            Self::Every { start, end, step } => {
                (start.nanos(), end.nanos(), i128::try_from(step.as_nanos()).unwrap_or(1))
            }
        };
        let at = move |i: i128| i64::try_from(i128::from(start) + i * step).ok().filter(|&at| at <= end);
        (0..).map_while(at).map(|nanos| nanos.div_euclid(1_000_000))
    }

    /// Refuses what has no end or no sense.
    pub(crate) fn check(self) -> Result<(), AskError> {
        let Self::Every { start, end, step } = self else { return Ok(()) };
        if end < start {
            return Err(BadTimes::EndsFirst.into());
        }
        if step.is_zero() {
            return Err(BadTimes::NoStep.into());
        }
        let span = i128::from(end.nanos()) - i128::from(start.nanos());
        let steps = span / i128::try_from(step.as_nanos()).unwrap_or(i128::MAX);
        if steps > i128::from(STEPS_MAX) {
            return Err(BadTimes::TooManySteps.into());
        }
        Ok(())
    }
}

/// From text to tree.
pub(crate) fn parse(question: &Question) -> Result<Expr, AskError> {
    Ok(parse_with(&question.expr, ParseOptions { experimental: question.experimental })?)
}

/// Answers on one snapshot within `limits`; the threads of its engine help. Blocks.
pub(crate) fn ask(
    snapshot: &Snapshot,
    question: &Question,
    limits: QueryLimits,
    expr: &Expr,
    cancel: Cancel,
) -> Result<Answer, AskError> {
    question.when.check()?;
    let budget = snapshot.budget(limits, cancel);
    evaluate(snapshot, question, expr, &budget, true)
}

/// Answers on this thread, within a few milliseconds. `None` if that is not enough: then
/// [`ask`] is to be asked.
pub(crate) fn ask_at_once(snapshot: &Snapshot, question: &Question, expr: &Expr) -> Option<Result<Answer, AskError>> {
    if !small::may_be(question, expr) || question.when.check().is_err() {
        return None;
    }
    let budget = snapshot.budget(small::limits(&question.limits), Cancel::new());
    match evaluate(snapshot, question, expr, &budget, false) {
        Err(AskError::Eval(EvalError::LimitExceeded { which, .. })) if which != Limit::SharedMemory => None,
        done => Some(done),
    }
}

fn evaluate(
    snapshot: &Snapshot,
    question: &Question,
    expr: &Expr,
    budget: &Budget,
    shared: bool,
) -> Result<Answer, AskError> {
    let began = Instant::now();
    if question.per_step {
        // Checked: there are not too many.
        budget.count_steps(question.when.steps().count());
    }
    let mut options = Options::default();
    options.lookback = question.lookback.unwrap_or(LOOKBACK);
    options.shared = shared;
    let evaluator = Evaluator::new(snapshot, options).budget(budget).on(snapshot.threads());
    let (value, notes) = match question.when {
        When::At(at) => evaluator.instant(expr, at)?,
        When::Every { start, end, step } => {
            let (matrix, notes) = evaluator.range(expr, start, end, step)?;
            (Value::Matrix(matrix), notes)
        }
    };
    let per_step = question.when.steps().zip(budget.samples_per_step()).collect();
    let costs = Costs { evaluate: began.elapsed(), scan: budget.stats(), per_step, ..Costs::default() };
    let (warnings, infos) = (notes.warnings(&question.expr), notes.infos(&question.expr));
    Ok(Answer { value, warnings, infos, costs, _budget: budget.clone() })
}

impl Answer {
    /// Cuts a vector or matrix to `limit` series, with a warning if that took something.
    pub(crate) fn limit(&mut self, limit: usize) {
        let cut = match &mut self.value {
            Value::Vector(samples) if samples.len() > limit => {
                samples.truncate(limit);
                true
            }
            Value::Matrix(series) if series.len() > limit => {
                series.truncate(limit);
                true
            }
            _ => false,
        };
        if cut {
            self.warnings.push("results truncated due to limit".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(start: i64, end: i64, step: u64) -> Result<(), AskError> {
        let seconds = |s: i64| Timestamp::from_nanos(s.saturating_mul(1_000_000_000));
        When::Every { start: seconds(start), end: seconds(end), step: Duration::from_secs(step) }.check()
    }

    #[test]
    fn the_number_of_steps_is_bounded() {
        assert!(every(0, 11_000, 1).is_ok());
        assert!(every(0, 11_001, 1).is_err());
        assert!(every(i64::MIN, i64::MAX, 1).is_err());
        assert!(every(0, 10, 0).is_err());
        assert!(every(1, 0, 1).is_err());
        assert!(every(5, 5, u64::MAX).is_ok());
    }
}
