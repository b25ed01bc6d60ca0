//! Functions of a time in seconds: its hour, its day, its month.

use tidegauge_storage::model::Labels;

use crate::promql::eval::civil::{Civil, days_in_month};
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, Row};
use crate::promql::eval::run::Run;
use crate::promql::eval::times::Steps;
use crate::promql::parse::Function;
use crate::promql::parse::ast::Call;

impl Run<'_> {
    pub(super) fn date(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let part = part_of(call.signature.function);
        let of = |seconds: i64| f64::from(part(Civil::from_seconds(seconds)));
        if let Some(arg) = call.args.first() {
            let mut grid = self.eval_vector(arg, steps)?;
            grid.map(|value| of(value as i64));
            return Ok(grid);
        }
        let values: Vec<f64> = steps.iter().map(|t| of(t.div_euclid(1_000_000_000))).collect();
        let mut grid = self.grid(steps.count)?;
        grid.push(Row { labels: Labels::empty(), drop_name: false }, &values)?;
        Ok(grid)
    }
}

fn part_of(function: Function) -> fn(Civil) -> i32 {
    match function {
        Function::DayOfMonth => |c| c.day as i32,
        Function::DayOfWeek => |c| c.weekday as i32,
        Function::DayOfYear => |c| c.day_of_year as i32,
        Function::DaysInMonth => |c| days_in_month(c.year, c.month) as i32,
        Function::Hour => |c| c.hour as i32,
        Function::Minute => |c| c.minute as i32,
        Function::Month => |c| c.month as i32,
        _ => |c| i32::try_from(c.year).unwrap_or(i32::MAX),
    }
}
