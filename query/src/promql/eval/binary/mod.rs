//! Operators between two expressions.

mod matching;
mod set;

use super::error::EvalError;
use super::grid::{ABSENT, Grid};
use super::run::{Run, Val, is_invariant};
use super::times::Steps;
use crate::promql::parse::Span;
use crate::promql::parse::ast::{Binary, BinaryOp, Matching, Operand};
use set::Union;

/// What an operator makes of two numbers.
pub(super) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    let truth = |yes: bool| f64::from(u8::from(yes));
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Equal => truth(a == b),
        BinaryOp::NotEqual => truth(a != b),
        BinaryOp::Less => truth(a < b),
        BinaryOp::LessEqual => truth(a <= b),
        BinaryOp::Greater => truth(a > b),
        BinaryOp::GreaterEqual => truth(a >= b),
        // Sets have no numbers, and trimming is for histograms.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => f64::NAN,
    }
}

/// How one operator treats two samples.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) op: BinaryOp,
    pub(super) return_bool: bool,
}

impl Operation {
    pub(super) fn of(b: &Operand) -> Self {
        Self { op: b.op, return_bool: b.return_bool }
    }

    /// Whether the result is no longer the left metric's value.
    pub(super) fn changes_meaning(self) -> bool {
        self.is_arithmetic() || self.return_bool
    }

    pub(super) fn is_arithmetic(self) -> bool {
        !self.op.is_comparison() && !self.op.is_set() && !self.is_trim()
    }

    fn is_trim(self) -> bool {
        matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }

    /// The result, or absent where a comparison filters it out: `kept` stays then.
    pub(super) fn apply(self, a: f64, b: f64, kept: f64) -> f64 {
        if self.is_trim() {
            return ABSENT;
        }
        let result = arithmetic(self.op, a, b);
        if !self.op.is_comparison() || self.return_bool {
            result
        } else if result == 1.0 {
            kept
        } else {
            ABSENT
        }
    }
}

impl Run<'_> {
    pub(super) fn binary(&self, b: &Binary, steps: Steps) -> Result<Val, EvalError> {
        // What stands first and is the same at every step is evaluated once.
        let same = match steps.count > 1 && is_invariant(&b.first) {
            true => b.rest.iter().take_while(|operand| is_invariant(&operand.rhs)).count(),
            false => 0,
        };
        let (same, rest) = b.rest.split_at(same);
        let mut span = b.first.span();
        let Some(last) = same.last() else {
            let first = self.eval(&b.first, steps)?;
            return self.joined(first, span, rest, steps);
        };
        let value = self.once(steps, |one| self.joined(self.eval(&b.first, one)?, span, same, one))?;
        span = span.to(last.rhs.span());
        self.joined(value, span, rest, steps)
    }

    /// What stands at `span`, and all that is joined to it.
    fn joined(&self, first: Val, mut span: Span, operands: &[Operand], steps: Steps) -> Result<Val, EvalError> {
        let mut value = first;
        let alike = |a: &Operand, b: &Operand| (a.op, b.op) == (BinaryOp::Or, BinaryOp::Or) && a.matching == b.matching;
        for run in operands.chunk_by(alike) {
            value = match (value, run) {
                (Val::Vector(first), [_, _, ..]) => Val::Vector(self.union(first, run, steps)?),
                (value, run) => {
                    run.iter().try_fold(value, |value, operand| self.operand(value, span, operand, steps))?
                }
            };
            span = run.last().map_or(span, |last| span.to(last.rhs.span()));
        }
        Ok(value)
    }

    /// `first or a or b`, with one matching.
    fn union(&self, first: Grid, operands: &[Operand], steps: Steps) -> Result<Grid, EvalError> {
        let none = Matching::default();
        let mut union = Union::new(first, operands[0].matching.as_deref().unwrap_or(&none))?;
        for operand in operands {
            union.add(self.eval_vector(&operand.rhs, steps)?)?;
        }
        union.finish()
    }

    fn operand(&self, lhs: Val, span: Span, b: &Operand, steps: Steps) -> Result<Val, EvalError> {
        let rhs = self.eval(&b.rhs, steps)?;
        let operation = Operation::of(b);
        let grid = match (lhs, rhs) {
            (Val::Scalar(lhs), Val::Scalar(rhs)) => {
                return self.paired(lhs, &rhs, |a, b| arithmetic(operation.op, a, b));
            }
            (Val::Vector(grid), Val::Scalar(scalar)) => self.with_scalar((b, span), grid, &scalar, false)?,
            (Val::Scalar(scalar), Val::Vector(grid)) => self.with_scalar((b, span), grid, &scalar, true)?,
            (Val::Vector(lhs), Val::Vector(rhs)) => {
                let none = Matching::default();
                let matching = b.matching.as_deref().unwrap_or(&none);
                match b.op {
                    BinaryOp::Or => {
                        let mut union = Union::new(lhs, matching)?;
                        union.add(rhs)?;
                        union.finish()?
                    }
                    BinaryOp::And => set::masked(lhs, &rhs, matching, true)?,
                    BinaryOp::Unless => set::masked(lhs, &rhs, matching, false)?,
                    _ => {
                        if operation.is_trim() && !lhs.rows.is_empty() && !rhs.rows.is_empty() {
                            self.trim_of_floats(b.op, span);
                        }
                        matching::join(operation, matching, &lhs, &rhs)?
                    }
                }
            }
            _ => return Err(EvalError::BadData("strings have no operators".to_owned())),
        };
        Ok(Val::Vector(grid))
    }

    fn with_scalar(
        &self,
        (b, span): (&Operand, Span),
        mut grid: Grid,
        scalar: &[f64],
        swapped: bool,
    ) -> Result<Grid, EvalError> {
        let operation = Operation::of(b);
        if operation.is_trim() && !grid.rows.is_empty() {
            self.trim_of_floats(b.op, span);
        }
        // A filter keeps the vector's value, whichever side it is on.
        grid.map_steps(|step, value| match swapped {
            true => operation.apply(scalar[step], value, value),
            false => operation.apply(value, scalar[step], value),
        })?;
        if operation.changes_meaning() {
            grid.drop_names();
            return Ok(grid);
        }
        grid.without_empty()
    }

    fn trim_of_floats(&self, op: BinaryOp, span: Span) {
        let op = op.as_str();
        let text = format!("incompatible sample types encountered for binary operator {op:?}: float {op} float");
        self.annotations.borrow_mut().info(span, text);
    }
}
