//! Functions of a range of samples: which one, and with which other arguments.

use super::kind::Kind;
use super::over_time;
use super::rate;
use super::regression;
use crate::promql::eval::annotations::general;
use crate::promql::eval::chunks::Needs;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, is_absent};
use crate::promql::eval::run::Run;
use crate::promql::eval::times::{Steps, seconds};
use crate::promql::eval::window::Window;
use crate::promql::parse::ast::{Call, Expr, Extension};
use crate::promql::parse::{Function, Span};

const ANCHORED: [Function; 5] =
    [Function::Changes, Function::Delta, Function::Increase, Function::Rate, Function::Resets];
const SMOOTHED: [Function; 3] = [Function::Delta, Function::Increase, Function::Rate];

impl Run<'_> {
    pub(super) fn of_range(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        use Function as F;
        let function = call.signature.function;
        let is_range = |arg: &&Expr| matches!(arg.unwrapped(), Expr::Matrix(_) | Expr::Subquery(_));
        let Some(range) = call.args.iter().find(is_range) else {
            return Err(EvalError::BadData(format!("{} needs a range", call.signature.name)));
        };
        let mut others = Vec::new();
        for arg in call.args.iter().filter(|arg| !is_range(arg)) {
            others.push(self.eval_scalar(arg, steps)?);
        }
        check_extension(call, range)?;
        let source = self.range_source(range, steps)?;
        let needing =
            |needs, f: fn(&Window<'_>) -> Option<f64>| self.over_windows(&source, steps, false, needs, |w, _| Ok(f(w)));
        let long = |f: fn(&Window<'_>) -> Result<Option<f64>, EvalError>| {
            self.over_windows(&source, steps, false, Needs::Samples, |w, _| f(w))
        };
        let plain = |f: fn(&Window<'_>) -> Option<f64>| needing(Needs::Samples, f);
        let named =
            |f: fn(&Window<'_>) -> Option<f64>| self.over_windows(&source, steps, true, Needs::Ends, |w, _| Ok(f(w)));
        let budget = self.holdings.budget();
        // For those that sort.
        let hold_copy = |w: &Window<'_>| budget.hold(w.values.len() as u64 * 8);
        let grid = match function {
            F::Rate => needing(Needs::Counter, |w| rate::extrapolated(w, Kind::RATE)),
            F::Increase => needing(Needs::Counter, |w| rate::extrapolated(w, Kind::INCREASE)),
            F::Delta => needing(Needs::Ends, |w| rate::extrapolated(w, Kind::DELTA)),
            F::Irate => plain(|w| rate::instant(w, true)),
            F::Idelta => plain(|w| rate::instant(w, false)),
            F::Changes => plain(over_time::changes),
            F::Resets => plain(over_time::resets),
            F::AvgOverTime => needing(Needs::Sum, |w| Some(over_time::avg(w))),
            F::SumOverTime => needing(Needs::Sum, |w| Some(over_time::sum(w))),
            F::CountOverTime => needing(Needs::Count, |w| Some(over_time::count(w))),
            F::PresentOverTime => needing(Needs::Count, |_| Some(1.0)),
            F::MinOverTime => {
                needing(Needs::Least, |w| Some(w.values[over_time::place(w.values, |v, least| v < least)]))
            }
            F::MaxOverTime => {
                needing(Needs::Greatest, |w| Some(w.values[over_time::place(w.values, |v, most| v > most)]))
            }
            F::TsOfMinOverTime => plain(|w| Some(seconds(w.times[over_time::place(w.values, |v, least| v <= least)]))),
            F::TsOfMaxOverTime => plain(|w| Some(seconds(w.times[over_time::place(w.values, |v, most| v >= most)]))),
            F::TsOfFirstOverTime => needing(Needs::Ends, |w| w.times.first().map(|&t| seconds(t))),
            F::TsOfLastOverTime => needing(Needs::Ends, |w| w.times.last().map(|&t| seconds(t))),
            F::FirstOverTime => named(|w| w.values.first().copied()),
            F::LastOverTime => named(|w| w.values.last().copied()),
            F::StddevOverTime => long(|w| Ok(Some(over_time::variance(w)?.sqrt()))),
            F::StdvarOverTime => long(|w| Ok(Some(over_time::variance(w)?))),
            F::MadOverTime => self.over_windows(&source, steps, false, Needs::Samples, |w, _| {
                let _copy = hold_copy(w)?;
                Ok(Some(over_time::median_deviation(w.values)))
            }),
            F::Deriv => long(regression::slope),
            F::QuantileOverTime => {
                let q = &others[0];
                self.over_windows(&source, steps, false, Needs::Samples, |w, step| {
                    let _copy = hold_copy(w)?;
                    Ok(Some(over_time::quantile_of(q[step], w.values)))
                })
            }
            F::PredictLinear => {
                let ahead = &others[0];
                self.over_windows(&source, steps, false, Needs::Samples, |w, step| regression::predict(w, ahead[step]))
            }
            F::DoubleExponentialSmoothing => {
                let (level, trend) = (&others[0], &others[1]);
                self.over_windows(&source, steps, false, Needs::Samples, |w, step| {
                    regression::smooth(w, level[step], trend[step])
                })
            }
            other => Err(EvalError::execution(format!("{other:?} is no function of a range"))),
        }?;
        match function {
            F::Rate | F::Increase => self.remark_on_names(&grid, range),
            F::QuantileOverTime => self.remark_on_quantiles(&grid, &others[0], &call.args[0]),
            _ => {}
        }
        Ok(grid)
    }

    /// A counter's name has an ending that says so.
    fn remark_on_names(&self, grid: &Grid, range: &Expr) {
        let mut annotations = self.annotations.borrow_mut();
        // What a subquery has computed has no place in the text, upstream says.
        let span = match range.unwrapped() {
            Expr::Subquery(_) => Span::default(),
            stored => stored.span(),
        };
        for row in &grid.rows {
            let Some(name) = row.labels.metric_name() else { continue };
            if !["_total", "_sum", "_count", "_bucket"].iter().any(|ending| name.ends_with(ending)) {
                let text =
                    format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
                annotations.info(span, text);
            }
        }
    }

    fn remark_on_quantiles(&self, grid: &Grid, quantiles: &[f64], arg: &Expr) {
        let mut annotations = self.annotations.borrow_mut();
        for (step, &q) in quantiles.iter().enumerate() {
            let asked = || (0..grid.rows.len()).any(|i| !is_absent(grid.row(i)[step]));
            if !(0.0..=1.0).contains(&q) && asked() {
                let text = format!("quantile value should be between 0 and 1, got {}", general(q));
                annotations.warn(arg.unwrapped().span(), text);
            }
        }
    }
}

fn check_extension(call: &Call, range: &Expr) -> Result<(), EvalError> {
    let Expr::Matrix(m) = range.unwrapped() else { return Ok(()) };
    let (word, allowed) = match m.selector.extension {
        None => return Ok(()),
        Some(Extension::Anchored) => ("anchored", &ANCHORED[..]),
        Some(Extension::Smoothed) => ("smoothed", &SMOOTHED[..]),
    };
    if allowed.contains(&call.signature.function) {
        return Ok(());
    }
    let names: Vec<String> = allowed.iter().map(|f| format!("{f:?}").to_lowercase()).collect();
    let (names, name) = (names.join(", "), call.signature.name);
    Err(EvalError::execution(format!("{word} modifier can only be used with: {names} - not with {name}")))
}
