//! Many series at many steps: what an expression of type instant vector is worth at every step.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use tidegauge_storage::model::Labels;

use super::error::EvalError;
use super::labels::{bytes_of, is_another, with, without_name};
use super::looks::{Looks, PIECE, pieces, pieces_mut, repeat};
use crate::limits::{Budget, Held, Limit};

/// Stands where a series has no value at a step. It is the staleness marker, which no
/// selector lets through and no arithmetic yields: its results are quiet NaNs.
pub(super) const ABSENT: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a stored or computed value is the staleness marker.
pub(super) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// Bytes and samples that the running query holds. Grids give back what they took.
#[derive(Clone, Debug)]
pub(super) struct Holdings {
    budget: Budget,
    samples: Rc<Cell<u64>>,
    peak: Rc<Cell<u64>>,
}

impl Holdings {
    pub(super) fn new(budget: &Budget) -> Self {
        Self { budget: budget.clone(), samples: Rc::default(), peak: Rc::default() }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// At the end: passes on what only statistics look at.
    pub(super) fn tell(&self) {
        self.budget.held(self.peak.get());
    }
}

/// One series of a [`Grid`].
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// Whether the value is no longer that of the named metric. The name goes at the very
    /// end, so that functions of labels can still see it.
    pub(super) drop_name: bool,
    /// Whether the query has made the labels, and no source has them: the grid is charged for those.
    pub(super) made: bool,
}

impl Row {
    /// With labels that a source has, or none.
    pub(super) fn stored(labels: Labels) -> Self {
        Self { labels, drop_name: false, made: false }
    }

    /// With labels that the query has made.
    pub(super) fn made(labels: Labels, drop_name: bool) -> Self {
        Self { labels, drop_name, made: true }
    }

    /// Bytes of the labels, if they were made.
    pub(super) fn made_bytes(&self) -> u64 {
        if self.made { bytes_of(&self.labels) } else { 0 }
    }
}

/// Series × steps, row after row.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) steps: usize,
    pub(super) rows: Vec<Row>,
    pub(super) values: Vec<f64>,
    holdings: Holdings,
    held: Held,
    /// Of the labels that were made.
    made: Held,
    samples: u64,
}

impl Grid {
    pub(super) fn new(steps: usize, holdings: &Holdings) -> Result<Self, EvalError> {
        let (held, made) = (holdings.budget.hold(0)?, holdings.budget.hold_nothing());
        Ok(Self { steps, rows: Vec::new(), values: Vec::new(), holdings: holdings.clone(), held, made, samples: 0 })
    }

    /// Room for `rows` more, refused if they do not fit in the query's memory.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<(), EvalError> {
        let cells = rows.saturating_mul(self.steps);
        let bytes = (cells as u64).saturating_mul(8).saturating_add(rows as u64 * size_of::<Row>() as u64);
        self.held.grow(bytes)?;
        self.rows.reserve(rows);
        self.values.reserve(cells);
        Ok(())
    }

    /// Appends a series; `values` has one value for each step.
    pub(super) fn push(&mut self, row: Row, values: &[f64]) -> Result<(), EvalError> {
        self.made.grow(row.made_bytes())?;
        self.push_charged(row, values)
    }

    /// As [`push`](Self::push), where [`charge`](Self::charge) has taken the labels into the account already.
    pub(super) fn push_charged(&mut self, row: Row, values: &[f64]) -> Result<(), EvalError> {
        debug_assert_eq!(values.len(), self.steps, "one value for each step");
        if self.rows.len() == self.rows.capacity() {
            let more = self.rows.len().max(4);
            self.reserve(more)?;
        }
        self.rows.push(row);
        for piece in pieces(values, &self.holdings.budget) {
            self.values.extend_from_slice(piece?);
        }
        self.count(values)
    }

    /// Appends series that have no value yet. There is room for them.
    pub(super) fn push_absent(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), EvalError> {
        let before = self.rows.len();
        for row in rows {
            self.made.grow(row.made_bytes())?;
            self.rows.push(row);
        }
        let cells = (self.rows.len() - before) * self.steps;
        repeat(&mut self.values, &ABSENT, cells, &self.holdings.budget)
    }

    /// Takes values already in place into the account.
    pub(super) fn count(&mut self, values: &[f64]) -> Result<(), EvalError> {
        let mut present = 0;
        for piece in pieces(values, &self.holdings.budget) {
            present += piece?.iter().filter(|v| !is_absent(**v)).count() as u64;
        }
        self.samples += present;
        let all = self.holdings.samples.get() + present;
        self.holdings.samples.set(all);
        self.holdings.peak.set(self.holdings.peak.get().max(all));
        let limit = self.holdings.budget.limits().samples;
        if all > limit { Err(EvalError::LimitExceeded { which: Limit::Samples, limit }) } else { Ok(()) }
    }

    /// As [`count`](Self::count), for values written into a row after it was pushed absent.
    pub(super) fn count_row(&mut self, i: usize) -> Result<(), EvalError> {
        let values = std::mem::take(&mut self.values);
        let counted = self.count(&values[i * self.steps..(i + 1) * self.steps]);
        self.values = values;
        counted
    }

    /// Takes over what labels were charged with that come into it.
    pub(super) fn charge(&mut self, labels: Held) {
        self.made.join(labels);
    }

    /// What the labels that were made are charged with, for an answer that has them.
    pub(super) fn into_charge(mut self) -> Held {
        std::mem::replace(&mut self.made, self.holdings.budget.hold_nothing())
    }

    /// Sets one label of one series. Charged before there is anything of it.
    pub(super) fn set_label(&mut self, i: usize, name: &str, value: &str) -> Result<(), EvalError> {
        let row = &mut self.rows[i];
        let most = bytes_of(&row.labels) + (name.len() + value.len() + 20) as u64;
        self.made.grow(most)?;
        let labels = with(&row.labels, name, value);
        let before = row.made_bytes();
        (row.labels, row.made) = (labels, true);
        self.made.release(before + (most - row.made_bytes()));
        Ok(())
    }

    /// The budget that it is charged to.
    pub(super) fn budget(&self) -> &Budget {
        &self.holdings.budget
    }

    /// Values counted here.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether the query may go on.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        Ok(self.holdings.budget.check()?)
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.steps..(i + 1) * self.steps]
    }

    pub(super) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.steps..(i + 1) * self.steps]
    }

    /// Each series with its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Row, &[f64])> {
        self.rows.iter().zip((0..self.rows.len()).map(|i| self.row(i)))
    }

    pub(super) fn is_present(&self, i: usize, step: usize) -> bool {
        !is_absent(self.values[i * self.steps + step])
    }

    /// Whether any series has a value at `step`.
    pub(super) fn any_at(&self, step: usize) -> bool {
        (0..self.rows.len()).any(|i| self.is_present(i, step))
    }

    /// Another empty grid in the same account.
    pub(super) fn like(&self, steps: usize) -> Result<Self, EvalError> {
        Self::new(steps, &self.holdings)
    }

    /// Replaces every value; values that are absent stay so. The metric's name no longer applies.
    pub(super) fn map(&mut self, f: impl Fn(f64) -> f64) -> Result<(), EvalError> {
        for piece in pieces_mut(&mut self.values, &self.holdings.budget) {
            piece?.iter_mut().filter(|v| !is_absent(**v)).for_each(|v| *v = f(*v));
        }
        self.drop_names();
        Ok(())
    }

    /// As [`map`](Self::map), but the names stay, and `f` is told the step.
    pub(super) fn map_steps(&mut self, f: impl Fn(usize, f64) -> f64) -> Result<(), EvalError> {
        let mut looks = Looks::new(&self.holdings.budget);
        for row in self.values.chunks_mut(self.steps.max(1)) {
            for (i, piece) in row.chunks_mut(PIECE).enumerate() {
                let steps = (i * PIECE..).zip(piece.iter_mut()).filter(|(_, v)| !is_absent(**v));
                steps.for_each(|(step, v)| *v = f(step, *v));
                looks.after(piece.len())?;
            }
        }
        Ok(())
    }

    pub(super) fn drop_names(&mut self) {
        for row in &mut self.rows {
            row.drop_name = true;
        }
    }

    /// The same grid in another order of rows.
    pub(super) fn reordered(&self, order: &[usize]) -> Result<Self, EvalError> {
        let mut out = self.like(self.steps)?;
        out.reserve(order.len())?;
        for &i in order {
            out.push(self.rows[i].clone(), self.row(i))?;
        }
        Ok(out)
    }

    /// Without series that have no value at all.
    pub(super) fn without_empty(self) -> Result<Self, EvalError> {
        let full: Vec<usize> = (0..self.rows.len()).filter(|&i| self.row(i).iter().any(|v| !is_absent(*v))).collect();
        if full.len() == self.rows.len() { Ok(self) } else { self.reordered(&full) }
    }

    /// One step's values at every one of `steps`.
    pub(super) fn spread(self, steps: usize) -> Result<Self, EvalError> {
        let mut out = self.like(steps)?;
        out.reserve(self.rows.len())?;
        for (row, values) in self.iter() {
            out.push_absent(std::iter::once(row.clone()))?;
            let at = out.rows.len() - 1;
            for piece in pieces_mut(out.row_mut(at), self.budget()) {
                piece?.fill(values[0]);
            }
            out.count_row(at)?;
        }
        Ok(out)
    }

    /// Takes the names off the series whose values are no longer theirs.
    pub(super) fn drop_due_names(mut self) -> Result<Self, EvalError> {
        // One that was made is charged for already, and becomes shorter.
        let due = self.rows.iter().filter(|row| row.drop_name && !row.made);
        self.made.grow(due.map(|row| bytes_of(&row.labels)).sum())?;
        let mut looks = Looks::new(&self.holdings.budget);
        for row in self.rows.iter_mut().filter(|row| row.drop_name) {
            looks.after(1 + row.labels.encoded().len() / 16)?;
            let labels = without_name(&row.labels);
            row.made |= is_another(&labels, &row.labels);
            (row.labels, row.drop_name) = (labels, false);
        }
        self.made.resize(self.rows.iter().map(Row::made_bytes).sum())?;
        self.merged()
    }

    /// Joins series with the same labels that never have a value at the same step.
    pub(super) fn merged(self) -> Result<Self, EvalError> {
        let mut first: HashMap<(&Labels, bool), usize> = HashMap::with_capacity(self.rows.len());
        let mut target = Vec::with_capacity(self.rows.len());
        let mut distinct = 0;
        let mut looks = Looks::new(&self.holdings.budget);
        for row in &self.rows {
            looks.after(1 + row.labels.encoded().len() / 16)?;
            let at = *first.entry((&row.labels, row.drop_name)).or_insert_with(|| {
                distinct += 1;
                distinct - 1
            });
            target.push(at);
        }
        if distinct == self.rows.len() {
            return Ok(self);
        }
        let mut out = self.like(self.steps)?;
        out.reserve(distinct)?;
        for (i, &at) in target.iter().enumerate() {
            if at == out.rows.len() {
                out.push(self.rows[i].clone(), self.row(i))?;
                continue;
            }
            for (into, from) in out.row_mut(at).iter_mut().zip(self.row(i)) {
                if is_absent(*from) {
                    continue;
                }
                if !is_absent(*into) {
                    return Err(same_labels());
                }
                *into = *from;
            }
            out.count(self.row(i))?;
        }
        Ok(out)
    }
}

/// Rows of a grid that are made as their labels come up: a value at each step may make its own.
pub(super) struct Rows {
    at: HashMap<Labels, usize>,
    blank: Vec<f64>,
    drop_name: bool,
    first: usize,
}

impl Rows {
    /// None yet.
    pub(super) fn new(out: &Grid, drop_name: bool) -> Self {
        Self { at: HashMap::new(), blank: vec![ABSENT; out.steps], drop_name, first: out.rows.len() }
    }

    /// The row of `out` with these labels, which has no value yet if it is a new one.
    pub(super) fn of(&mut self, labels: Labels, out: &mut Grid) -> Result<usize, EvalError> {
        if let Some(&at) = self.at.get(&labels) {
            return Ok(at);
        }
        // As often as there are cells.
        out.check()?;
        let at = out.rows.len();
        out.push(Row::made(labels.clone(), self.drop_name), &self.blank)?;
        self.at.insert(labels, at);
        Ok(at)
    }

    /// Takes the values that were written into the rows into the account.
    pub(super) fn end(self, out: &mut Grid) -> Result<(), EvalError> {
        (self.first..out.rows.len()).try_for_each(|at| out.count_row(at))
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.holdings.samples.set(self.holdings.samples.get() - self.samples);
    }
}

pub(super) fn same_labels() -> EvalError {
    EvalError::execution("vector cannot contain metrics with the same labelset")
}
