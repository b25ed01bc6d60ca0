//! Labels made from labels.

use crate::limits::Matching;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::Grid;
use crate::promql::eval::labels::with;
use crate::promql::eval::run::{Run, label_name_of, string_of};
use crate::promql::eval::times::Steps;
use crate::promql::parse::ast::{Call, Expr};
use tidegauge_storage::model::{METRIC_NAME, Pattern, compile_anchored, expand};

/// A label value that is made may be this long.
const VALUE_BYTES_MAX: usize = 1 << 20;

impl Run<'_> {
    pub(super) fn label_replace(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let [target, replacement, source, pattern] = [1, 2, 3, 4].map(|i| string_of(&call.args[i]));
        // As a label is set that was not there: to compile that would take longer than the rest of a small question.
        let is_plain = pattern.is_empty() && !replacement.contains('$');
        let invalid = |_| EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}"));
        // As many may stand in a query as its text has room for.
        let budget = self.holdings.budget();
        budget.check()?;
        let compiled = (!is_plain).then(|| compile_anchored(pattern)).transpose().map_err(invalid)?;
        let _held = budget.hold(compiled.as_ref().map_or(0, Pattern::bytes))?;
        let matching = Matching::new(budget);
        check_name("destination", "label_replace", &call.args[1])?;
        let mut grid = self.eval_vector(&call.args[0], steps)?;
        for row in &mut grid.rows {
            let value = row.labels.get(source).unwrap_or("");
            // Each reference yields at most the whole value.
            let references = replacement.matches('$').count();
            let bytes_max = replacement.len().saturating_add(references.saturating_mul(value.len()));
            let mut made = String::new();
            match &compiled {
                None if value.is_empty() => made.push_str(replacement),
                None => continue,
                Some(compiled) => {
                    if !matching.goes_on(compiled.steps(value)) {
                        break;
                    }
                    let Some(captures) = compiled.regex().captures(value) else { continue };
                    check_length("label_replace", bytes_max)?;
                    expand(compiled.regex(), &captures, replacement, &mut made);
                }
            }
            row.labels = with(&row.labels, target, &made);
            row.drop_name &= target != METRIC_NAME;
        }
        matching.end()?;
        grid.merged()
    }

    pub(super) fn label_join(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let [target, separator] = [1, 2].map(|i| string_of(&call.args[i]));
        let sources: Vec<&str> = call.args[3..].iter().map(string_of).collect();
        for source in &call.args[3..] {
            check_name("source", "label_join", source)?;
        }
        check_name("destination", "label_join", &call.args[1])?;
        let mut grid = self.eval_vector(&call.args[0], steps)?;
        for row in &mut grid.rows {
            let values: Vec<&str> = sources.iter().map(|name| row.labels.get(name).unwrap_or("")).collect();
            let bytes: usize = values.iter().map(|v| v.len() + separator.len()).sum();
            check_length("label_join", bytes)?;
            let joined = values.join(separator);
            row.labels = with(&row.labels, target, &joined);
            row.drop_name &= target != METRIC_NAME;
        }
        grid.merged()
    }
}

/// A few bytes of query must not become gigabytes of labels.
fn check_length(function: &str, bytes: usize) -> Result<(), EvalError> {
    if bytes <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let why = format!("{function}() would make a label value of {bytes} bytes, at most {VALUE_BYTES_MAX} are allowed");
    Err(EvalError::Execution(why))
}

fn check_name(which: &str, function: &str, arg: &Expr) -> Result<(), EvalError> {
    match label_name_of(arg) {
        Ok(_) => Ok(()),
        Err(_) => {
            let name = string_of(arg);
            Err(EvalError::Execution(format!("invalid {which} label name in {function}(): {name}")))
        }
    }
}
