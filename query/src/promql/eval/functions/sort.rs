//! Orders for people to read.

use std::cmp::Ordering;

use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::Grid;
use crate::promql::eval::run::{Run, string_of};
use crate::promql::eval::sums::ascending;
use crate::promql::eval::times::Steps;
use crate::promql::parse::Function;
use crate::promql::parse::ast::Call;

impl Run<'_> {
    pub(super) fn sort(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let grid = self.eval_vector(&call.args[0], steps)?;
        // What is the same at every step is asked for once, and sorted.
        let once = steps == Steps::one(steps.start);
        if !once && (steps.count > 1 || self.asked.start != self.asked.end) {
            let text = "sort is ineffective for range queries since results are always ordered by labels";
            self.annotations.borrow_mut().warn(call.span, text);
        }
        if steps.count != 1 {
            return Ok(grid);
        }
        let names: Vec<&str> = call.args[1..].iter().map(string_of).collect();
        let mut order: Vec<usize> = (0..grid.rows.len()).collect();
        let value = |i: usize| grid.row(i)[0];
        // NaN comes last both ways.
        let by_value = |a: f64, b: f64, order: Ordering| a.is_nan().cmp(&b.is_nan()).then(order);
        match call.signature.function {
            Function::Sort => order.sort_by(|&a, &b| by_value(value(a), value(b), ascending(value(a), value(b)))),
            Function::SortDesc => order.sort_by(|&a, &b| by_value(value(a), value(b), ascending(value(b), value(a)))),
            Function::SortByLabel => order.sort_by(|&a, &b| by_labels(&grid, &names, a, b)),
            _ => order.sort_by(|&a, &b| by_labels(&grid, &names, b, a)),
        }
        grid.reordered(&order)
    }
}

fn by_labels(grid: &Grid, names: &[&str], a: usize, b: usize) -> Ordering {
    let (a, b) = (&grid.rows[a].labels, &grid.rows[b].labels);
    for name in names {
        let order = natural(a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

/// As people count: `host9` before `host10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while !left.is_empty() && !right.is_empty() {
        let digits = |s: &[u8]| s.iter().take_while(|b| b.is_ascii_digit()).count();
        let (l, r) = (digits(left), digits(right));
        if l > 0 && r > 0 {
            let trim = |s: &[u8]| s.iter().position(|&b| b != b'0').unwrap_or(s.len());
            let (x, y) = (&left[..l], &right[..r]);
            let (x, y) = (&x[trim(x)..], &y[trim(y)..]);
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| l.cmp(&r));
            if order != Ordering::Equal {
                return order;
            }
            (left, right) = (&left[l..], &right[r..]);
        } else {
            if left[0] != right[0] {
                return left[0].cmp(&right[0]);
            }
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    left.len().cmp(&right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_names_are_compared_as_numbers() {
        for (a, b) in [("host9", "host10"), ("a", "b"), ("", "a"), ("a1b2", "a1b10"), ("1", "a"), ("1", "01")] {
            assert_eq!(natural(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(natural(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(natural("x7y", "x7y"), Ordering::Equal);
    }
}
