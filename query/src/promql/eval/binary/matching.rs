//! Arithmetic and comparison of two vectors: which series meets which.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tidegauge_storage::model::{Labels, METRIC_NAME};

use super::Operation;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, Row, is_absent};
use crate::promql::eval::labels::{Keys, is_another, retain, shown, signature, with_each, without_name};
use crate::promql::eval::looks::Looks;
use crate::promql::parse::ast::{Cardinality, Matching};

const MANY_TO_ONE: &str = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
const NOT_UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";

/// Joins series with equal signatures. O(cells of both) unless many series share one.
pub(super) fn join(operation: Operation, matching: &Matching, lhs: &Grid, rhs: &Grid) -> Result<Grid, EvalError> {
    // Below, `many` may have many series of a signature and `one` just one at each step.
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    // The fill modifiers speak of the sides after the swap: left is the many side.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let join = Join { operation, matching, many, one, swapped, fill_many, fill_one, any_many: OnceCell::new() };
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
    /// At which steps the many side has anything; rarely asked for.
    any_many: OnceCell<Vec<bool>>,
}

#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The rows of the result that one group has made so far.
struct Outputs {
    keys: Keys,
    /// Their numbers in the result, by labels.
    rows: HashMap<(Labels, bool), usize>,
    /// For each number, the steps at which a pair has met. Filters leave no value behind.
    met: HashMap<usize, Vec<bool>>,
}

impl Join<'_> {
    fn run(&self) -> Result<Grid, EvalError> {
        let mut out = self.many.like(self.many.steps)?;
        let mut looks = Looks::new(self.many.budget());
        let mut keys = self.keys();
        for group in self.groups()? {
            group.many.iter().try_for_each(|&i| keys.look(&self.many.rows[i].labels))?;
            looks.after((group.many.len() + group.one.len()) * self.many.steps)?;
            match self.group(&group, &mut out) {
                // Of the data, not of a bound or of who went away: those are not to be searched for.
                Err(error @ EvalError::Execution(_)) => return Err(self.first_fault()?.unwrap_or(error)),
                joined => joined?,
            }
        }
        out.without_empty()?.merged()
    }

    /// Series by signature, in the order in which the many side has them.
    fn groups(&self) -> Result<Vec<Group>, EvalError> {
        let mut at: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut keys = self.keys();
        let mut find = |groups: &mut Vec<Group>, row: &Row| {
            keys.look(&row.labels)?;
            Ok::<usize, EvalError>(match at.entry(self.key(row)) {
                Entry::Occupied(group) => *group.get(),
                Entry::Vacant(place) => {
                    keys.keep(place.key(), size_of::<Group>())?;
                    groups.push(Group::default());
                    *place.insert(groups.len() - 1)
                }
            })
        };
        for (i, row) in self.many.rows.iter().enumerate() {
            let g = find(&mut groups, row)?;
            groups[g].many.push(i);
        }
        for (i, row) in self.one.rows.iter().enumerate() {
            let g = find(&mut groups, row)?;
            groups[g].one.push(i);
        }
        Ok(groups)
    }

    fn key(&self, row: &Row) -> Labels {
        signature(&row.labels, self.matching.on, &self.matching.labels)
    }

    fn keys(&self) -> Keys {
        Keys::new(self.many.budget(), self.matching.labels.len() + self.matching.include.len())
    }

    fn group(&self, group: &Group, out: &mut Grid) -> Result<(), EvalError> {
        match (&group.many[..], &group.one[..]) {
            (&[], _) if self.fill_many.is_none() => self.check_one_side(group),
            (_, &[]) if self.fill_one.is_none() => Ok(()),
            // Most groups: no choice at any step.
            (&[many], &[one]) if self.fill_many.is_none() && self.fill_one.is_none() => {
                let row = self.result_row(&self.many.rows[many], Some(&self.one.rows[one]));
                let both = self.many.row(many).iter().zip(self.one.row(one));
                let values: Vec<f64> = both.map(|(&m, &o)| self.pair(m, o)).collect();
                out.push(row, &values)
            }
            _ => self.choose(group, out),
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
    fn check_one_side(&self, group: &Group) -> Result<(), EvalError> {
        if group.one.len() < 2 {
            return Ok(());
        }
        let filled = self.fill_many.is_some() || self.fill_one.is_some();
        let mut first = vec![None; self.one.steps];
        for &i in &group.one {
            for (step, first) in first.iter_mut().enumerate().filter(|&(step, _)| self.one.is_present(i, step)) {
                match *first {
                    None => *first = Some(i),
                    Some(before) if filled || self.joins_at(step) => return Err(self.duplicate(before, i)),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether the many side has anything at a step.
    fn joins_at(&self, step: usize) -> bool {
        let any = self.any_many.get_or_init(|| (0..self.many.steps).map(|step| self.many.any_at(step)).collect());
        any[step]
    }

    /// Of several faults the one of the first step, and at that step first those of the one side: so
    /// the same query says the same, however many steps it has. Only asked for once there is one.
    fn first_fault(&self) -> Result<Option<EvalError>, EvalError> {
        let filled = self.fill_many.is_some() || self.fill_one.is_some();
        let mut keys = self.keys();
        let mut all = |grid: &Grid| -> Result<Vec<Labels>, EvalError> {
            let mut all = Vec::with_capacity(grid.rows.len());
            for row in &grid.rows {
                keys.look(&row.labels)?;
                all.push(self.key(row));
                keys.keep(&all[all.len() - 1], 0)?;
            }
            Ok(all)
        };
        let (one_keys, many_keys) = (all(self.one)?, all(self.many)?);
        let mut looks = Looks::new(self.many.budget());
        for step in (0..self.many.steps).filter(|&step| filled || (self.joins_at(step) && self.one.any_at(step))) {
            looks.after(one_keys.len() + many_keys.len())?;
            let mut one_of: HashMap<&Labels, usize> = HashMap::new();
            for (i, key) in one_keys.iter().enumerate().filter(|&(i, _)| self.one.is_present(i, step)) {
                if let Some(before) = one_of.insert(key, i) {
                    return Ok(Some(self.duplicate(before, i)));
                }
            }
            // Of one step: at most what the result would have held of it.
            let mut held = self.keys();
            let mut met: HashMap<&Labels, HashSet<Labels>> = HashMap::new();
            for (i, key) in many_keys.iter().enumerate().filter(|&(i, _)| self.many.is_present(i, step)) {
                let one = one_of.get(key).copied();
                if one.is_none() && self.fill_one.is_none() {
                    continue;
                }
                held.look(&self.many.rows[i].labels)?;
                let row = self.pair_row(Some(i), one);
                let met = met.entry(key).or_default();
                if self.matching.cardinality == Cardinality::OneToOne && !met.is_empty() {
                    return Ok(Some(EvalError::execution(MANY_TO_ONE)));
                }
                held.keep(&row.labels, 0)?;
                if !met.insert(row.labels) {
                    return Ok(Some(EvalError::execution(NOT_UNIQUE)));
                }
            }
        }
        Ok(None)
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

    /// Each series of the many side with whatever stands on the other at each step:
    /// O(cells of the group), however many series share the signature.
    fn choose(&self, group: &Group, out: &mut Grid) -> Result<(), EvalError> {
        let steps = self.many.steps;
        self.check_one_side(group)?;
        let mut one_at = vec![None; steps];
        let mut looks = Looks::new(self.many.budget());
        for &i in &group.one {
            for (slot, value) in one_at.iter_mut().zip(self.one.row(i)).filter(|(_, v)| !is_absent(**v)) {
                *slot = Some((i, *value));
                looks.after(1)?;
            }
        }
        let mut outputs = Outputs { keys: self.keys(), rows: HashMap::new(), met: HashMap::new() };
        let mut taken = vec![false; steps];
        for &many in &group.many {
            out.check()?;
            let mut last: Option<(Option<usize>, usize)> = None;
            for (step, (&value, &one)) in self.many.row(many).iter().zip(&one_at).enumerate() {
                looks.after(1)?;
                let Some(one_value) = one.map(|(_, value)| value).or(self.fill_one) else { continue };
                if is_absent(value) {
                    continue;
                }
                let one = one.map(|(i, _)| i);
                let at = match last {
                    Some((before, at)) if before == one => at,
                    _ => self.output(&mut outputs, Some(many), one, out)?,
                };
                last = Some((one, at));
                self.meet(&mut outputs, at, step, &mut taken)?;
                out.row_mut(at)[step] = self.pair(value, one_value);
            }
        }
        if let Some(fill) = self.fill_many {
            for (step, one) in one_at.into_iter().enumerate() {
                looks.after(group.many.len())?;
                let unmet = group.many.iter().all(|&i| !self.many.is_present(i, step));
                if let (Some((one, value)), true) = (one, unmet) {
                    let at = self.output(&mut outputs, None, Some(one), out)?;
                    self.meet(&mut outputs, at, step, &mut taken)?;
                    out.row_mut(at)[step] = self.pair(fill, value);
                }
            }
        }
        outputs.rows.into_values().try_for_each(|at| out.count_row(at))
    }

    /// The row of the result for a pair.
    fn output(
        &self,
        outputs: &mut Outputs,
        many: Option<usize>,
        one: Option<usize>,
        out: &mut Grid,
    ) -> Result<usize, EvalError> {
        let labels = many.map(|i| &self.many.rows[i].labels).or(one.map(|i| &self.one.rows[i].labels));
        labels.map_or(Ok(()), |labels| outputs.keys.look(labels))?;
        let row = self.pair_row(many, one);
        let key = (row.labels.clone(), row.drop_name);
        if let Some(&at) = outputs.rows.get(&key) {
            return Ok(at);
        }
        let at = out.rows.len();
        out.push(row, &vec![ABSENT; self.many.steps])?;
        outputs.rows.insert(key, at);
        Ok(at)
    }

    /// At one step, one signature yields each result once, and just one if both sides are to be unique.
    fn meet(&self, outputs: &mut Outputs, at: usize, step: usize, taken: &mut [bool]) -> Result<(), EvalError> {
        if self.matching.cardinality == Cardinality::OneToOne {
            if std::mem::replace(&mut taken[step], true) {
                return Err(EvalError::execution(MANY_TO_ONE));
            }
            return Ok(());
        }
        let met = outputs.met.entry(at).or_insert_with(|| vec![false; taken.len()]);
        if std::mem::replace(&mut met[step], true) {
            return Err(EvalError::execution(NOT_UNIQUE));
        }
        Ok(())
    }

    /// A missing side has just the labels that had to match.
    fn pair_row(&self, many: Option<usize>, one: Option<usize>) -> Row {
        let bare = |row: &Row| Row::made(self.key(row), false);
        match (many, one) {
            (Some(many), Some(one)) => self.result_row(&self.many.rows[many], Some(&self.one.rows[one])),
            (Some(many), None) => self.result_row(&self.many.rows[many], Some(&bare(&self.many.rows[many]))),
            (None, Some(one)) => self.result_row(&bare(&self.one.rows[one]), Some(&self.one.rows[one])),
            (None, None) => Row::stored(Labels::empty()),
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
        if !self.matching.include.is_empty() {
            labels = with_each(&labels, &self.matching.include, one.map(|row| &row.labels));
        }
        // Arithmetic has taken the name already; one that is there now was asked for.
        let own_name = !self.operation.is_arithmetic() && !self.matching.include.iter().any(|l| l == METRIC_NAME);
        let made = many.made || is_another(&labels, &many.labels);
        Row { labels, made, drop_name: self.operation.return_bool || (own_name && many.drop_name) }
    }
}
