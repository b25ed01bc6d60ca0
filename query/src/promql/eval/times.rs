//! When: the steps of an evaluation, and durations that depend on the query.

use super::error::EvalError;
use crate::promql::parse::ast::{At, BinaryOp, DurationArg, DurationExpr, DurationNode};
use crate::promql::parse::{Span, seconds_to_nanos};

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Times at equal distances. All in nanoseconds; sums saturate, as no sample lies out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

impl Steps {
    pub(super) fn one(at: i64) -> Self {
        Self { start: at, step: 1, count: 1 }
    }

    /// From `start` to `end`, both included. `step` is above zero.
    pub(super) fn between(start: i64, end: i64, step: i64) -> Self {
        let span = i128::from(end) - i128::from(start);
        let count = if span < 0 { 0 } else { span / i128::from(step) + 1 };
        Self { start, step, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    pub(super) fn at(&self, i: usize) -> i64 {
        let at = i128::from(self.start) + i128::from(self.step) * i as i128;
        i64::try_from(at).unwrap_or(i64::MAX)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        (0..self.count).map(|i| self.at(i))
    }
}

/// What the query as a whole was asked for: `start()`, `end()`, `step()`, `range()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl Asked {
    /// The time behind `@`.
    pub(super) fn resolve(&self, at: At) -> i64 {
        match at {
            At::Millis(millis) => millis.saturating_mul(NANOS_PER_MILLI),
            At::Start => self.start,
            At::End => self.end,
        }
    }

    /// `step()` where it is an expression: an instant query has none.
    pub(super) fn step_seconds(&self) -> f64 {
        if self.start == self.end { 0.0 } else { seconds(self.step) }
    }

    pub(super) fn range_seconds(&self) -> f64 {
        seconds(self.end.saturating_sub(self.start))
    }

    /// A range or a step: nanoseconds above zero.
    pub(super) fn positive(&self, arg: &DurationArg) -> Result<i64, EvalError> {
        match arg {
            DurationArg::Nanos(nanos) => Ok(*nanos),
            DurationArg::Expr(expr) => self.computed(expr, false),
        }
    }

    /// How far back: nanoseconds, below zero for ahead.
    pub(super) fn offset(&self, arg: Option<&DurationArg>) -> Result<i64, EvalError> {
        match arg {
            None => Ok(0),
            Some(DurationArg::Nanos(nanos)) => Ok(*nanos),
            Some(DurationArg::Expr(expr)) => self.computed(expr, true),
        }
    }

    fn computed(&self, expr: &DurationExpr, negative: bool) -> Result<i64, EvalError> {
        let seconds = self.seconds_of(expr)?;
        if !seconds.is_finite() {
            return Err(fault(expr.span, "duration is NaN or infinite"));
        }
        // Durations are computed to the millisecond, cut off.
        let millis = (seconds * 1000.0).trunc();
        if seconds <= 0.0 && !negative {
            return Err(fault(expr.span, "duration must be greater than 0"));
        }
        match seconds_to_nanos(millis / 1000.0) {
            None => Err(fault(expr.span, "duration is out of range")),
            Some(0) if !negative => Err(fault(expr.span, "duration must be at least 1ms")),
            Some(nanos) => Ok(nanos),
        }
    }

    fn seconds_of(&self, expr: &DurationExpr) -> Result<f64, EvalError> {
        Ok(match &expr.node {
            DurationNode::Number(number) => number.value,
            DurationNode::Step => seconds(self.step),
            DurationNode::Range => self.range_seconds(),
            DurationNode::MinOf(a, b) => least(self.seconds_of(a)?, self.seconds_of(b)?),
            DurationNode::MaxOf(a, b) => greatest(self.seconds_of(a)?, self.seconds_of(b)?),
            DurationNode::Negate(inner) => -self.seconds_of(inner)?,
            DurationNode::Paren(inner) => self.seconds_of(inner)?,
            DurationNode::Row(first, rest) => {
                let mut so_far = self.seconds_of(first)?;
                for (op, operand) in rest {
                    let (seconds, span) = (self.seconds_of(operand)?, expr.span.to(operand.span));
                    so_far = match op {
                        BinaryOp::Div if seconds == 0.0 => return Err(fault(span, "division by zero")),
                        BinaryOp::Mod if seconds == 0.0 => return Err(fault(span, "modulo by zero")),
                        op => super::binary::arithmetic(*op, so_far, seconds),
                    };
                }
                so_far
            }
        })
    }
}

/// The greater of two. Nothing is greater than infinity, not even NaN; then NaN wins.
pub(super) fn greatest(a: f64, b: f64) -> f64 {
    match (a == f64::INFINITY || b == f64::INFINITY, a.is_nan() || b.is_nan()) {
        (true, _) => f64::INFINITY,
        (false, true) => f64::NAN,
        _ if a == 0.0 && b == 0.0 => a + b,
        _ => a.max(b),
    }
}

/// The lesser of two, as [`greatest`].
pub(super) fn least(a: f64, b: f64) -> f64 {
    -greatest(-a, -b)
}

pub(super) fn seconds(nanos: i64) -> f64 {
    // Through milliseconds where that loses nothing: 0.1 s shall be 0.1.
    if nanos % NANOS_PER_MILLI == 0 { (nanos / NANOS_PER_MILLI) as f64 / 1e3 } else { nanos as f64 / 1e9 }
}

fn fault(span: Span, what: &str) -> EvalError {
    EvalError::BadData(format!("{}:{}: {what}", span.start, span.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_beats_nan_and_zeros_have_signs() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (a, b, greater, less) in [
            (1.0, 2.0, 2.0, 1.0),
            (inf, nan, inf, nan),
            (nan, -inf, nan, -inf),
            (nan, 1.0, nan, nan),
            (0.0, -0.0, 0.0, -0.0),
            (-0.0, -0.0, -0.0, -0.0),
            (0.0, 0.0, 0.0, 0.0),
        ] {
            // Bits, since NaN equals nothing and zero equals its opposite; the sign of a NaN says nothing.
            let same = |x: f64, y: f64| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
            for (a, b) in [(a, b), (b, a)] {
                assert!(same(greatest(a, b), greater), "greatest of {a} and {b}");
                assert!(same(least(a, b), less), "least of {a} and {b}");
            }
        }
    }

    #[test]
    fn steps_reach_the_end_and_never_pass_it() {
        assert_eq!(Steps::between(0, 10, 3).iter().collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(Steps::between(0, 9, 3).count, 4);
        assert_eq!(Steps::between(1, 0, 3).count, 0);
        assert_eq!(Steps::between(i64::MIN, i64::MAX, 1).count, usize::MAX);
        assert_eq!(Steps { start: i64::MAX - 1, step: 5, count: 3 }.at(2), i64::MAX);
    }
}
