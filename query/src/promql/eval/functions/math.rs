//! Functions of one number at a time.

use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid};
use crate::promql::eval::run::Run;
use crate::promql::eval::times::{Steps, greatest, least};
use crate::promql::parse::Function;
use crate::promql::parse::ast::Call;

/// Above this, one more or less makes no difference to a square.
const SQUARE_MAX: f64 = (1u64 << 28) as f64;

/// The functions that need nothing but the value.
pub(super) fn of_one(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Acos => f64::acos,
        // The library squares its argument, which overflows long before the answer does.
        Function::Acosh => |v| if v > SQUARE_MAX { v.ln() + std::f64::consts::LN_2 } else { v.acosh() },
        Function::Asin => f64::asin,
        Function::Asinh => |v| {
            if v.abs() > SQUARE_MAX { (v.abs().ln() + std::f64::consts::LN_2).copysign(v) } else { v.asinh() }
        },
        Function::Atan => f64::atan,
        Function::Atanh => f64::atanh,
        Function::Ceil => f64::ceil,
        Function::Cos => f64::cos,
        Function::Cosh => f64::cosh,
        Function::Deg => |v| v * 180.0 / std::f64::consts::PI,
        Function::Exp => f64::exp,
        Function::Floor => f64::floor,
        Function::Ln => f64::ln,
        Function::Log10 => f64::log10,
        Function::Log2 => f64::log2,
        Function::Rad => |v| v * std::f64::consts::PI / 180.0,
        // Zero, with its sign, and NaN stay what they are.
        Function::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        Function::Sin => f64::sin,
        Function::Sinh => f64::sinh,
        Function::Sqrt => f64::sqrt,
        Function::Tan => f64::tan,
        Function::Tanh => f64::tanh,
        _ => return None,
    })
}

impl Run<'_> {
    pub(super) fn clamp(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let grid = self.eval_vector(&call.args[0], steps)?;
        let bound = self.eval_scalar(&call.args[1], steps)?;
        let open = |value: f64| self.repeated(value, steps);
        let (low, high) = match call.signature.function {
            Function::ClampMin => (bound, open(f64::INFINITY)?),
            Function::ClampMax => (open(f64::NEG_INFINITY)?, bound),
            _ => (bound, self.eval_scalar(&call.args[2], steps)?),
        };
        self.by_step(grid, |step, value| {
            // Bounds the wrong way round leave nothing.
            if high[step] < low[step] { ABSENT } else { greatest(low[step], least(high[step], value)) }
        })
    }

    pub(super) fn round(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let grid = self.eval_vector(&call.args[0], steps)?;
        let nearest = match call.args.get(1) {
            Some(arg) => self.eval_scalar(arg, steps)?,
            None => self.repeated(1.0, steps)?,
        };
        // By the inverse, as upstream: 0.1 has none that is exact, 10 is.
        self.by_step(grid, |step, value| (value * (1.0 / nearest[step]) + 0.5).floor() / (1.0 / nearest[step]))
    }

    fn by_step(&self, mut grid: Grid, f: impl Fn(usize, f64) -> f64) -> Result<Grid, EvalError> {
        grid.map_steps(f)?;
        grid.drop_names();
        grid.without_empty()
    }
}
