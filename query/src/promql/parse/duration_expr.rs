//! Arithmetic on durations: in brackets and behind `offset`.

use super::ast::{BinaryOp, DurationArg, DurationExpr, DurationNode, NumberLiteral};
use super::parser::{Parser, binary_operator};
use super::token::Kind;
use super::{ParseError, Span};

/// The greatest number of seconds that fits in 64-bit nanoseconds.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// How tight a sign binds: as `*` does.
const SIGN_LEVEL: u8 = 6;

/// Refuses what does not fit in nanoseconds, rounds the rest to them.
pub(in crate::promql) fn seconds_to_nanos(seconds: f64) -> Option<i64> {
    // 2^63 itself is the one value that passes the first test and does not fit; casts saturate.
    (seconds.abs() <= SECONDS_MAX).then(|| (seconds * 1e9).round() as i64)
}

impl Parser<'_> {
    /// A range or a step: anything but zero or less.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Result<DurationArg, ParseError> {
        if !self.starts_duration() && !self.peek_kind().is_duration_function() {
            return Err(self.unexpected(context, expected));
        }
        let whole = format!("{context}, expected {expected}");
        let expr = self.duration(0).map_err(|error| self.inside(error, &whole))?;
        if let DurationNode::Number(number) = &expr.node
            && (number.value.is_nan() || number.value <= 0.0)
        {
            return Err(self.error(expr.span, "duration must be greater than 0"));
        }
        let arg = self.argument(expr)?;
        match arg {
            DurationArg::Nanos(0) => Ok(DurationArg::Nanos(1)),
            arg => Ok(arg),
        }
    }

    /// What follows `offset`: one operand, or arithmetic that starts with a parenthesis.
    pub(super) fn offset_duration(&mut self) -> Result<DurationArg, ParseError> {
        if !self.starts_duration() {
            return Err(self.unexpected("offset", "number, duration, step(), or range()"));
        }
        if self.peek_kind() != Kind::LeftParen {
            // `offset 2 ^ 2` is the square of what was two seconds ago.
            let expr = self.duration_operand(true)?;
            return self.argument(expr);
        }
        let mut expr = self.duration_operand(false)?;
        loop {
            // `offset (5m) + 1m` is six minutes; `offset (5m) + foo` is a sum of vectors.
            let before = self.position();
            let Some((op, _, rhs_level)) = binary_operator(self.peek_kind()).filter(|(op, ..)| is_arithmetic(*op))
            else {
                break;
            };
            let op_span = self.bump().span;
            let Ok(rhs) = self.duration(rhs_level) else {
                self.rewind(before);
                break;
            };
            self.count_operator(op_span)?;
            expr = self.join((op, op_span), expr, rhs)?;
        }
        self.argument(expr)
    }

    fn starts_duration(&self) -> bool {
        match self.peek_kind() {
            Kind::Number | Kind::Duration | Kind::LeftParen => true,
            Kind::Add | Kind::Sub => true,
            kind => kind.is_duration_function() && self.peek_second() == Kind::LeftParen,
        }
    }

    fn argument(&self, expr: DurationExpr) -> Result<DurationArg, ParseError> {
        let DurationNode::Number(number) = &expr.node else {
            if !self.options.experimental {
                return Err(self.error(expr.span, "experimental duration expression is not enabled"));
            }
            return Ok(DurationArg::Expr(expr));
        };
        let nanos = seconds_to_nanos(number.value).ok_or_else(|| self.error(expr.span, "duration out of range"))?;
        Ok(DurationArg::Nanos(nanos))
    }

    fn duration(&mut self, level: u8) -> Result<DurationExpr, ParseError> {
        self.nested(|parser| {
            let mut lhs = parser.duration_operand(false)?;
            while let Some((op, op_level, rhs_level)) = binary_operator(parser.peek_kind()) {
                if op_level < level || !is_arithmetic(op) {
                    break;
                }
                let op_span = parser.bump().span;
                parser.count_operator(op_span)?;
                let rhs = parser.duration(rhs_level)?;
                lhs = parser.join((op, op_span), lhs, rhs)?;
            }
            Ok(lhs)
        })
    }

    fn join(
        &self,
        (op, op_span): (BinaryOp, Span),
        lhs: DurationExpr,
        rhs: DurationExpr,
    ) -> Result<DurationExpr, ParseError> {
        let zero = matches!(&rhs.node, DurationNode::Number(n) if n.value == 0.0);
        match op {
            BinaryOp::Div if zero => return Err(self.error(op_span, "division by zero")),
            BinaryOp::Mod if zero => return Err(self.error(op_span, "modulo by zero")),
            _ => {}
        }
        let span = lhs.span.to(rhs.span);
        let node = match lhs.node {
            // An operand begins as a row only behind a plus, which changes nothing.
            DurationNode::Row(first, mut rest) => {
                rest.push((op, rhs));
                DurationNode::Row(first, rest)
            }
            _ => DurationNode::Row(Box::new(lhs), vec![(op, rhs)]),
        };
        Ok(DurationExpr { node, span })
    }

    /// A number, a function or parentheses, signed or not. `alone`: a sign covers just the next operand.
    fn duration_operand(&mut self, alone: bool) -> Result<DurationExpr, ParseError> {
        let first = self.peek();
        match first.kind {
            Kind::Add | Kind::Sub => {
                self.bump();
                let inner = if alone {
                    self.nested(|parser| parser.duration_operand(true))?
                } else {
                    self.duration(SIGN_LEVEL)?
                };
                Ok(signed(first.kind == Kind::Sub, inner, first.span))
            }
            Kind::Number | Kind::Duration => {
                let number = self.number_or_duration()?;
                if seconds_to_nanos(number.value).is_none() {
                    return Err(self.error(number.span, "duration out of range"));
                }
                let span = number.span;
                Ok(DurationExpr { node: DurationNode::Number(number), span })
            }
            Kind::LeftParen => {
                self.bump();
                let inner = self.duration(0)?;
                let close = self.take(Kind::RightParen).ok_or_else(|| self.unexpected("", ""))?;
                Ok(DurationExpr { node: DurationNode::Paren(Box::new(inner)), span: first.span.to(close.span) })
            }
            kind if kind.is_duration_function() => self.duration_function(kind),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn duration_function(&mut self, kind: Kind) -> Result<DurationExpr, ParseError> {
        let first = self.bump().span;
        self.take(Kind::LeftParen).ok_or_else(|| self.unexpected("", ""))?;
        let node = match kind {
            Kind::Step => DurationNode::Step,
            Kind::Range => DurationNode::Range,
            _ => {
                let lhs = Box::new(self.duration(0)?);
                self.take(Kind::Comma).ok_or_else(|| self.unexpected("", ""))?;
                let rhs = Box::new(self.duration(0)?);
                if kind == Kind::MinOf { DurationNode::MinOf(lhs, rhs) } else { DurationNode::MaxOf(lhs, rhs) }
            }
        };
        let close = self.take(Kind::RightParen).ok_or_else(|| self.unexpected("", ""))?;
        Ok(DurationExpr { node, span: first.to(close.span) })
    }
}

fn signed(negate: bool, inner: DurationExpr, sign: Span) -> DurationExpr {
    let span = sign.to(inner.span);
    match inner.node {
        DurationNode::Number(number) => {
            let value = if negate { -number.value } else { number.value };
            DurationExpr { node: DurationNode::Number(NumberLiteral { value, span, ..number }), span }
        }
        _ if negate => DurationExpr { node: DurationNode::Negate(Box::new(inner)), span },
        node => DurationExpr { node, span },
    }
}

fn is_arithmetic(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow)
}
