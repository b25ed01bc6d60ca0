//! Labels made from labels.

use std::collections::HashMap;

use crate::limits::Matching;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::Grid;
use crate::promql::eval::looks::Looks;
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
        let references = replacement.matches('$').count();
        let mut looks = Looks::new(budget);
        let mut made = String::new();
        for i in 0..grid.rows.len() {
            let labels = grid.rows[i].labels.clone();
            looks.after(1 + (labels.encoded().len() + replacement.len()) / 16)?;
            let value = labels.get(source).unwrap_or("");
            made.clear();
            match &compiled {
                None if value.is_empty() => made.push_str(replacement),
                None => continue,
                Some(compiled) => {
                    if !matching.goes_on(compiled.steps(value)) {
                        break;
                    }
                    let Some(captures) = compiled.regex().captures(value) else { continue };
                    // Each reference yields at most the whole value.
                    check_length("label_replace", replacement.len().saturating_add(references * value.len()))?;
                    expand(compiled.regex(), &captures, replacement, &mut made);
                    looks.after(made.len() / 16)?;
                }
            }
            grid.set_label(i, target, &made)?;
            grid.rows[i].drop_name &= target != METRIC_NAME;
        }
        matching.end()?;
        grid.merged()
    }

    pub(super) fn label_join(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let [target, separator] = [1, 2].map(|i| string_of(&call.args[i]));
        for source in &call.args[3..] {
            check_name("source", "label_join", source)?;
        }
        check_name("destination", "label_join", &call.args[1])?;
        let budget = self.holdings.budget();
        // A source may be named thousands of times: each name is looked up once in a set.
        let _held = budget.hold(call.args.len() as u64 * 64)?;
        let mut places: HashMap<&str, usize> = HashMap::new();
        let order: Vec<usize> = call.args[3..]
            .iter()
            .map(|source| {
                let next = places.len();
                *places.entry(string_of(source)).or_insert(next)
            })
            .collect();
        let mut grid = self.eval_vector(&call.args[0], steps)?;
        let mut looks = Looks::new(budget);
        let mut joined = String::new();
        for i in 0..grid.rows.len() {
            let labels = grid.rows[i].labels.clone();
            looks.after(1 + labels.encoded().len() / 16)?;
            let mut values = vec![""; places.len()];
            labels.iter().for_each(|(name, value)| {
                if let Some(&at) = places.get(name) {
                    values[at] = value;
                }
            });
            joined.clear();
            for (nth, &at) in order.iter().enumerate() {
                let separator = if nth > 0 { separator } else { "" };
                let more = separator.len() + values[at].len();
                check_length("label_join", joined.len() + more)?;
                looks.after(1 + more / 16)?;
                joined.push_str(separator);
                joined.push_str(values[at]);
            }
            grid.set_label(i, target, &joined)?;
            grid.rows[i].drop_name &= target != METRIC_NAME;
        }
        grid.merged()
    }
}

/// A few bytes of query must not become gigabytes of labels.
fn check_length(function: &str, bytes: usize) -> Result<(), EvalError> {
    if bytes <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let why = format!(
        "{function}() would make a label value of {bytes} bytes or more, at most {VALUE_BYTES_MAX} are allowed"
    );
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
