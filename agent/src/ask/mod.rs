//! A PromQL question and its answer, whoever asks: HTTP or the command line.

mod json;
mod number;
mod tree;

use std::time::Duration;

use tidegauge::query::Cancel;
use tidegauge::query::QueryLimits;
use tidegauge::query::promql::parse::{ParseOptions, parse_with};
use tidegauge::query::promql::{Annotations, ErrorKind, EvalError, Evaluator, Options, ParseError, Value};
use tidegauge::{Snapshot, Timestamp};

pub(crate) use json::{Gone, Outlet, put_labels, put_string, put_strings, put_value};
pub(crate) use number::put_float;
pub(crate) use tree::tree;

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
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The text is no PromQL; the message points at the place.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The times make no sense.
    #[error("{0}")]
    Times(&'static str),
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

    /// Refuses what has no end or no sense.
    pub(crate) fn check(self) -> Result<(), AskError> {
        let Self::Every { start, end, step } = self else { return Ok(()) };
        if end < start {
            return Err(AskError::Times("end timestamp must not be before start time"));
        }
        if step.is_zero() {
            return Err(AskError::Times(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        let span = i128::from(end.nanos()) - i128::from(start.nanos());
        let steps = span / i128::try_from(step.as_nanos()).unwrap_or(i128::MAX);
        if steps > i128::from(STEPS_MAX) {
            return Err(AskError::Times(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        Ok(())
    }
}

/// Answers on one snapshot, on the threads of its engine. Blocks.
pub(crate) fn ask(snapshot: &Snapshot, question: &Question, cancel: Cancel) -> Result<Answer, AskError> {
    question.when.check()?;
    let expr = parse_with(&question.expr, ParseOptions { experimental: question.experimental })?;
    let mut options = Options::default();
    options.limits = question.limits;
    options.cancel = cancel;
    options.lookback = question.lookback.unwrap_or(LOOKBACK);
    let (value, notes) = snapshot.install(|sources| {
        let evaluator = Evaluator::new(sources, options);
        match question.when {
            When::At(at) => evaluator.instant(&expr, at),
            When::Every { start, end, step } => {
                evaluator.range(&expr, start, end, step).map(|(matrix, notes)| (Value::Matrix(matrix), notes))
            }
        }
    })?;
    Ok(Answer::new(value, &notes, &question.expr))
}

impl Answer {
    fn new(value: Value, notes: &Annotations, expr: &str) -> Self {
        Self { value, warnings: notes.warnings(expr), infos: notes.infos(expr) }
    }

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
