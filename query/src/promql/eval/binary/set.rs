//! `and`, `or`, `unless`: which series have a counterpart.

use std::collections::HashMap;

use tidegauge_storage::model::Labels;

use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{ABSENT, Grid, is_absent};
use crate::promql::eval::labels::signature;
use crate::promql::parse::ast::{BinaryOp, Matching};

/// Joins two sets of series. O(cells of both).
pub(super) fn set_operator(op: BinaryOp, matching: &Matching, mut lhs: Grid, mut rhs: Grid) -> Result<Grid, EvalError> {
    match op {
        BinaryOp::Or => {
            let present = Present::of(&lhs, matching);
            present.mask(&mut rhs, matching, false);
            lhs.reserve(rhs.rows.len())?;
            for (row, values) in rhs.iter() {
                lhs.push(row.clone(), values)?;
            }
            lhs.without_empty()?.merged()
        }
        BinaryOp::And => {
            Present::of(&rhs, matching).mask(&mut lhs, matching, true);
            lhs.without_empty()
        }
        _ => {
            Present::of(&rhs, matching).mask(&mut lhs, matching, false);
            lhs.without_empty()
        }
    }
}

/// For each signature, at which steps any series has it.
struct Present {
    steps: HashMap<Labels, Vec<bool>>,
}

impl Present {
    fn of(grid: &Grid, matching: &Matching) -> Self {
        let mut steps: HashMap<Labels, Vec<bool>> = HashMap::new();
        for (row, values) in grid.iter() {
            let key = signature(&row.labels, matching.on, &matching.labels);
            let marks = steps.entry(key).or_insert_with(|| vec![false; values.len()]);
            marks.iter_mut().zip(values).for_each(|(mark, value)| *mark |= !is_absent(*value));
        }
        Self { steps }
    }

    /// Keeps the values whose signature is present (`wanted`) or is not.
    fn mask(&self, grid: &mut Grid, matching: &Matching, wanted: bool) {
        for i in 0..grid.rows.len() {
            let marks = self.steps.get(&signature(&grid.rows[i].labels, matching.on, &matching.labels));
            for (step, value) in grid.row_mut(i).iter_mut().enumerate() {
                if marks.is_some_and(|marks| marks[step]) != wanted {
                    *value = ABSENT;
                }
            }
        }
    }
}
