//! `and`, `or`, `unless`: which series have a counterpart.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tidegauge_storage::model::Labels;

use crate::limits::Budget;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, is_absent};
use crate::promql::eval::labels::{Keys, bytes_of, signature};
use crate::promql::eval::looks::{Looks, PIECE, pieces};
use crate::promql::parse::ast::Matching;

/// Rows that are not looked at for others of the same labels yet, at least.
const UNMERGED_MIN: usize = 64;

/// The values of `lhs` whose signature is present in `rhs` (`wanted`, that is `and`) or is not (`unless`).
/// O(cells of both).
pub(super) fn masked(mut lhs: Grid, rhs: &Grid, matching: &Matching, wanted: bool) -> Result<Grid, EvalError> {
    let budget = rhs.budget();
    let mut present = Present::new(budget, matching);
    for (row, values) in rhs.iter() {
        let key = present.key(&row.labels)?;
        present.add(key, values, budget)?;
    }
    for i in 0..lhs.rows.len() {
        let key = present.key(&lhs.rows[i].labels)?;
        present.mask(&key, lhs.row_mut(i), wanted, budget)?;
    }
    lhs.without_empty()
}

/// `a or b or c`, operand by operand. O(cells of all of them), however many there are.
pub(super) struct Union<'a> {
    all: Grid,
    present: Present<'a>,
    /// Rows when those of the same labels were last made one.
    merged: usize,
}

impl<'a> Union<'a> {
    pub(super) fn new(first: Grid, matching: &'a Matching) -> Result<Self, EvalError> {
        let mut present = Present::new(first.budget(), matching);
        for (row, values) in first.iter() {
            let key = present.key(&row.labels)?;
            present.add(key, values, first.budget())?;
        }
        Ok(Self { merged: first.rows.len(), all: first, present })
    }

    /// Adds what no series before has a counterpart for.
    pub(super) fn add(&mut self, mut more: Grid) -> Result<(), EvalError> {
        let mut held = more.budget().hold_nothing();
        let mut keys = Vec::with_capacity(more.rows.len());
        for row in &more.rows {
            let key = self.present.key(&row.labels)?;
            held.grow(bytes_of(&key))?;
            keys.push(key);
        }
        // Series of one operand are no counterparts of each other.
        for (i, key) in keys.iter().enumerate() {
            self.present.mask(key, more.row_mut(i), false, self.all.budget())?;
        }
        for ((row, values), key) in more.iter().zip(keys) {
            if values.iter().any(|value| !is_absent(*value)) {
                self.all.push(row.clone(), values)?;
                self.present.add(key, values, more.budget())?;
            }
        }
        if self.all.rows.len() > 2 * self.merged + UNMERGED_MIN {
            self.merge()?;
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<(), EvalError> {
        let empty = self.all.like(self.all.steps)?;
        self.all = std::mem::replace(&mut self.all, empty).without_empty()?.merged()?;
        self.merged = self.all.rows.len();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Grid, EvalError> {
        self.merge()?;
        Ok(self.all)
    }
}

/// For each signature, at which steps any series has it.
struct Present<'a> {
    matching: &'a Matching,
    keys: Keys,
    steps: HashMap<Labels, Vec<bool>>,
}

impl<'a> Present<'a> {
    fn new(budget: &Budget, matching: &'a Matching) -> Self {
        Self { matching, keys: Keys::new(budget, matching.labels.len()), steps: HashMap::new() }
    }

    fn key(&mut self, labels: &Labels) -> Result<Labels, EvalError> {
        self.keys.look(labels)?;
        Ok(signature(labels, self.matching.on, &self.matching.labels))
    }

    fn add(&mut self, key: Labels, values: &[f64], budget: &Budget) -> Result<(), EvalError> {
        let marks = match self.steps.entry(key) {
            Entry::Occupied(marks) => marks.into_mut(),
            Entry::Vacant(place) => {
                self.keys.keep(place.key(), values.len())?;
                place.insert(vec![false; values.len()])
            }
        };
        for (marks, values) in marks.chunks_mut(PIECE).zip(pieces(values, budget)) {
            marks.iter_mut().zip(values?).for_each(|(mark, value)| *mark |= !is_absent(*value));
        }
        Ok(())
    }

    /// Keeps the values whose signature is present (`wanted`) or is not.
    fn mask(&self, key: &Labels, values: &mut [f64], wanted: bool, budget: &Budget) -> Result<(), EvalError> {
        let marks = self.steps.get(key);
        let mut looks = Looks::new(budget);
        for (step, value) in values.iter_mut().enumerate() {
            if marks.is_some_and(|marks| marks[step]) != wanted {
                *value = ABSENT;
            }
            looks.after(1)?;
        }
        Ok(())
    }
}
