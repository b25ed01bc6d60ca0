//! The functions of the language.

mod absent;
mod buckets;
mod dates;
mod extended;
mod histogram;
mod info;
mod kind;
mod labels;
mod math;
mod over_time;
mod ranges;
mod rate;
mod regression;
mod sort;

use super::error::EvalError;
use super::grid::{Grid, Row, is_absent};
use super::looks::{Looks, PIECE, of_times};
use super::run::{Run, Val};
use super::selector::Wanted;
use super::times::{Steps, greatest, least, seconds};
use crate::promql::parse::Function;
use crate::promql::parse::ast::{Call, Expr};
use tidegauge_storage::model::Labels;

pub(super) use extended::extended_range;

impl Run<'_> {
    pub(super) fn call(&self, call: &Call, steps: Steps) -> Result<Val, EvalError> {
        let scalar = |value: f64| Ok(Val::Scalar(self.repeated(value, steps)?));
        match call.signature.function {
            Function::Pi => scalar(std::f64::consts::PI),
            Function::Start => scalar(seconds(self.asked.start)),
            Function::End => scalar(seconds(self.asked.end)),
            Function::Step => scalar(self.asked.step_seconds()),
            Function::Range => scalar(self.asked.range_seconds()),
            Function::Time => Ok(Val::Scalar(of_times(steps, self.holdings.budget(), seconds)?)),
            Function::MaxOf => self.of_two(call, steps, greatest),
            Function::MinOf => self.of_two(call, steps, least),
            Function::Scalar => self.scalar_of(&call.args[0], steps),
            _ => Ok(Val::Vector(self.vector_call(call, steps)?)),
        }
    }

    fn vector_call(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        use Function as F;
        match call.signature.function {
            F::Absent => self.absent(call, steps),
            F::AbsentOverTime => self.absent_over_time(call, steps),
            F::Vector => self.vector_of(&call.args[0], steps),
            F::Timestamp => self.timestamp(&call.args[0], steps),
            F::DayOfMonth | F::DayOfWeek | F::DayOfYear | F::DaysInMonth | F::Hour | F::Minute | F::Month | F::Year => {
                self.date(call, steps)
            }
            F::Clamp | F::ClampMax | F::ClampMin => self.clamp(call, steps),
            F::Round => self.round(call, steps),
            F::LabelReplace => self.label_replace(call, steps),
            F::LabelJoin => self.label_join(call, steps),
            F::Info => self.info(call, steps),
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => self.sort(call, steps),
            F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => self.of_buckets(call, steps),
            // Of native histograms only, and stored values are floats.
            F::HistogramAvg
            | F::HistogramCount
            | F::HistogramStddev
            | F::HistogramStdvar
            | F::HistogramSum
            | F::StartTimestamp => self.eval_vector(&call.args[0], steps)?.like(steps.count),
            function => match math::of_one(function) {
                Some(f) => {
                    let mut grid = self.eval_vector(&call.args[0], steps)?;
                    grid.map(f)?;
                    Ok(grid)
                }
                None => self.of_range(call, steps),
            },
        }
    }

    fn of_two(&self, call: &Call, steps: Steps, f: fn(f64, f64) -> f64) -> Result<Val, EvalError> {
        let a = self.eval_scalar(&call.args[0], steps)?;
        self.paired(a, &self.eval_scalar(&call.args[1], steps)?, f)
    }

    /// The value of the only series there is at a step, else NaN.
    fn scalar_of(&self, arg: &Expr, steps: Steps) -> Result<Val, EvalError> {
        let grid = self.eval_vector(arg, steps)?;
        let mut found = Vec::with_capacity(steps.count);
        let mut looks = Looks::new(self.holdings.budget());
        for first in (0..steps.count).step_by(PIECE) {
            let piece = first..steps.count.min(first + PIECE);
            let mut seen = vec![(0u8, f64::NAN); piece.len()];
            for (_, values) in grid.iter() {
                let values = &values[piece.clone()];
                for (seen, &value) in seen.iter_mut().zip(values).filter(|(_, v)| !is_absent(**v)) {
                    *seen = (seen.0.saturating_add(1), value);
                }
                looks.after(piece.len())?;
            }
            found.extend(seen.into_iter().map(|(count, value)| if count == 1 { value } else { f64::NAN }));
        }
        Ok(Val::Scalar(found))
    }

    fn vector_of(&self, arg: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        let values = self.eval_scalar(arg, steps)?;
        let mut grid = self.grid(steps.count)?;
        grid.push(Row::stored(Labels::empty()), &values)?;
        Ok(grid)
    }

    fn timestamp(&self, arg: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        let mut grid = match arg.unwrapped() {
            Expr::Vector(v) => self.vector_selector(v, steps, Wanted::Timestamp)?,
            other => {
                let mut grid = self.eval_vector(other, steps)?;
                grid.map_steps(|step, _| seconds(steps.at(step)))?;
                grid
            }
        };
        grid.drop_names();
        Ok(grid)
    }
}
