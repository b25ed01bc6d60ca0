//! Functions of a time in seconds: its hour, its day, its month.

use tidegauge_storage::model::Labels;

use crate::promql::eval::civil::{Civil, days_in_month};
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, Row};
use crate::promql::eval::looks::of_times;
use crate::promql::eval::run::Run;
use crate::promql::eval::times::Steps;
use crate::promql::parse::Function;
use crate::promql::parse::ast::Call;

impl Run<'_> {
    pub(super) fn date(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let part = part_of(call.signature.function);
        let of = |seconds: i64| part(Civil::from_seconds(seconds));
        if let Some(arg) = call.args.first() {
            let mut grid = self.eval_vector(arg, steps)?;
            let nowhere = part(Civil::NOWHERE);
            // 2^63 and everything beyond it, infinity and NaN are no seconds that fit.
            let fits = |value: f64| value.abs() < 9_223_372_036_854_775_808.0;
            grid.map(|value| if fits(value) { of(value as i64) } else { nowhere })?;
            return Ok(grid);
        }
        let values = of_times(steps, self.holdings.budget(), |t| of(t.div_euclid(1_000_000_000)))?;
        let mut grid = self.grid(steps.count)?;
        grid.push(Row::stored(Labels::empty()), &values)?;
        Ok(grid)
    }
}

fn part_of(function: Function) -> fn(Civil) -> f64 {
    match function {
        Function::DayOfMonth => |c| c.day.into(),
        Function::DayOfWeek => |c| c.weekday.into(),
        Function::DayOfYear => |c| c.day_of_year.into(),
        Function::DaysInMonth => |c| days_in_month(c.year, c.month).into(),
        Function::Hour => |c| c.hour.into(),
        Function::Minute => |c| c.minute.into(),
        Function::Month => |c| c.month.into(),
        _ => |c| c.year as f64,
    }
}
