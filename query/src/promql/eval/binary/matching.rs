//! Arithmetic and comparison of two vectors: which series meets which.

use std::collections::HashMap;

use tidegauge_storage::model::Labels;

use super::Operation;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, Row, is_absent};
use crate::promql::eval::labels::{retain, shown, signature, with, without_name};
use crate::promql::parse::ast::{Cardinality, Matching};

/// Joins series with equal signatures. O(cells of both) unless many series share one.
pub(super) fn join(operation: Operation, matching: &Matching, lhs: &Grid, rhs: &Grid) -> Result<Grid, EvalError> {
    // Below, `many` may have many series of a signature and `one` just one at each step.
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    // The fill modifiers speak of the sides after the swap: left is the many side.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let join = Join { operation, matching, many, one, swapped, fill_many, fill_one };
    join.run()
}

struct Join<'a> {
    operation: Operation,
    matching: &'a Matching,
    many: &'a Grid,
    one: &'a Grid,
    swapped: bool,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// A row of the result while it is made.
struct Output {
    row: Row,
    values: Vec<f64>,
}

impl Join<'_> {
    fn run(&self) -> Result<Grid, EvalError> {
        let mut out = self.many.like(self.many.steps)?;
        for group in self.groups() {
            self.group(&group, &mut out)?;
        }
        out.without_empty()?.merged()
    }

    /// Series by signature, in the order in which the many side has them.
    fn groups(&self) -> Vec<Group> {
        let mut at: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let key = |row: &Row| signature(&row.labels, self.matching.on, &self.matching.labels);
        let mut find = |groups: &mut Vec<Group>, key: Labels| {
            *at.entry(key).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            })
        };
        for (i, row) in self.many.rows.iter().enumerate() {
            let g = find(&mut groups, key(row));
            groups[g].many.push(i);
        }
        for (i, row) in self.one.rows.iter().enumerate() {
            let g = find(&mut groups, key(row));
            groups[g].one.push(i);
        }
        groups
    }

    fn group(&self, group: &Group, out: &mut Grid) -> Result<(), EvalError> {
        match (&group.many[..], &group.one[..]) {
            (&[], _) if self.fill_many.is_none() => self.check_one_side(group, None),
            (_, &[]) if self.fill_one.is_none() => Ok(()),
            // Most groups: no choice at any step.
            (&[many], &[one]) if self.fill_many.is_none() && self.fill_one.is_none() => {
                let row = self.result_row(&self.many.rows[many], Some(&self.one.rows[one]));
                let both = self.many.row(many).iter().zip(self.one.row(one));
                let values: Vec<f64> = both.map(|(&m, &o)| self.pair(m, o)).collect();
                out.push(row, &values)
            }
            _ => self.step_by_step(group, out),
        }
    }

    fn pair(&self, many: f64, one: f64) -> f64 {
        if is_absent(many) || is_absent(one) {
            return ABSENT;
        }
        let (a, b) = if self.swapped { (one, many) } else { (many, one) };
        self.operation.apply(a, b, a)
    }

    /// Two series of the one side at the same step are an error, matched or not, unless
    /// there is nothing at all to join then.
    fn check_one_side(&self, group: &Group, step: Option<usize>) -> Result<(), EvalError> {
        if group.one.len() < 2 {
            return Ok(());
        }
        let filled = self.fill_many.is_some() || self.fill_one.is_some();
        for step in step.map_or(0..self.one.steps, |step| step..step + 1) {
            let mut present = group.one.iter().filter(|&&i| self.one.is_present(i, step));
            if let (Some(&first), Some(&second)) = (present.next(), present.next())
                && (filled || self.many.any_at(step))
            {
                return Err(self.duplicate(first, second));
            }
        }
        Ok(())
    }

    fn duplicate(&self, first: usize, second: usize) -> EvalError {
        let labels = |i: usize| &self.one.rows[i].labels;
        let group = shown(&signature(labels(first), self.matching.on, &self.matching.labels));
        let mut both = [shown(labels(first)), shown(labels(second))];
        both.sort();
        let side = if self.swapped { "left" } else { "right" };
        EvalError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            both[0], both[1]
        ))
    }

    fn step_by_step(&self, group: &Group, out: &mut Grid) -> Result<(), EvalError> {
        let steps = self.many.steps;
        let mut outputs: Vec<Output> = Vec::new();
        let mut of_pair: HashMap<(Option<usize>, Option<usize>), usize> = HashMap::new();
        let mut seen: Vec<usize> = Vec::new();
        for step in 0..steps {
            self.check_one_side(group, Some(step))?;
            let one = group.one.iter().copied().find(|&i| self.one.is_present(i, step));
            let mut pairs: Vec<(Option<usize>, Option<usize>)> =
                group.many.iter().copied().filter(|&i| self.many.is_present(i, step)).map(|i| (Some(i), one)).collect();
            if pairs.is_empty() && one.is_some() {
                pairs.push((None, one));
            }
            seen.clear();
            for (many, one) in pairs {
                let many_value = many.map_or(self.fill_many, |i| Some(self.many.row(i)[step]));
                let one_value = one.map_or(self.fill_one, |i| Some(self.one.row(i)[step]));
                let (Some(many_value), Some(one_value)) = (many_value, one_value) else { continue };
                let at = *of_pair.entry((many, one)).or_insert_with(|| {
                    let row = self.pair_row(many, one);
                    let alike = |o: &Output| o.row.labels == row.labels && o.row.drop_name == row.drop_name;
                    outputs.iter().position(alike).unwrap_or_else(|| {
                        outputs.push(Output { row, values: vec![ABSENT; steps] });
                        outputs.len() - 1
                    })
                });
                self.check_unique(&seen, at)?;
                seen.push(at);
                outputs[at].values[step] = self.pair(many_value, one_value);
            }
        }
        for output in outputs {
            out.push(output.row, &output.values)?;
        }
        Ok(())
    }

    /// At one step, one signature yields each result once.
    fn check_unique(&self, seen: &[usize], at: usize) -> Result<(), EvalError> {
        if self.matching.cardinality == Cardinality::OneToOne && !seen.is_empty() {
            return Err(EvalError::execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            ));
        }
        if seen.contains(&at) {
            return Err(EvalError::execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }
        Ok(())
    }

    /// A missing side has just the labels that had to match.
    fn pair_row(&self, many: Option<usize>, one: Option<usize>) -> Row {
        let bare = |row: &Row| Row {
            labels: signature(&row.labels, self.matching.on, &self.matching.labels),
            drop_name: false,
        };
        match (many, one) {
            (Some(many), Some(one)) => self.result_row(&self.many.rows[many], Some(&self.one.rows[one])),
            (Some(many), None) => self.result_row(&self.many.rows[many], Some(&bare(&self.many.rows[many]))),
            (None, Some(one)) => self.result_row(&bare(&self.one.rows[one]), Some(&self.one.rows[one])),
            (None, None) => Row { labels: Labels::empty(), drop_name: false },
        }
    }

    fn result_row(&self, many: &Row, one: Option<&Row>) -> Row {
        let mut labels = match self.operation.is_arithmetic() {
            true => without_name(&many.labels),
            false => many.labels.clone(),
        };
        if self.matching.cardinality == Cardinality::OneToOne {
            let listed = |name: &str| self.matching.labels.iter().any(|l| l == name);
            labels = retain(&labels, |name| listed(name) == self.matching.on);
        }
        for name in &self.matching.include {
            let value = one.and_then(|row| row.labels.get(name)).unwrap_or("");
            labels = with(&labels, name, value);
        }
        Row { labels, drop_name: many.drop_name || self.operation.return_bool }
    }
}
