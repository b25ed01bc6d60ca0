//! `count_values`: how often each value occurs.

use super::group_labels;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, Rows, is_absent};
use crate::promql::eval::labels::with;
use crate::promql::eval::looks::Looks;
use crate::promql::parse::ast::Aggregate;
use crate::promql::parse::format_number;

/// One series for each group and value; the value is in label `name`. O(cells).
pub(super) fn count_values(a: &Aggregate, name: &str, grid: &Grid) -> Result<Grid, EvalError> {
    let mut grouping = a.grouping.clone();
    if !a.without {
        grouping.push(name.to_owned());
    }
    let mut out = grid.like(grid.steps)?;
    let mut rows = Rows::new(&out, false);
    let mut looks = Looks::new(grid.budget());
    for (row, values) in grid.iter() {
        let mut last = None;
        for (step, &value) in values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            looks.after(1)?;
            let i = match last {
                Some((bits, i)) if bits == value.to_bits() => i,
                _ => {
                    // Its labels are made to see whether they are there.
                    looks.after(row.labels.encoded().len() / 16 * (1 + grouping.len()))?;
                    let labels = group_labels(&with(&row.labels, name, &format_number(value)), a.without, &grouping);
                    rows.of(labels, &mut out)?
                }
            };
            last = Some((value.to_bits(), i));
            let count = &mut out.row_mut(i)[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
    Ok(out)
}
