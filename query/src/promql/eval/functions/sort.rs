//! Orders for people to read.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::limits::Held;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::Grid;
use crate::promql::eval::looks::Looks;
use crate::promql::eval::run::{Run, string_of};
use crate::promql::eval::sums::ascending;
use crate::promql::eval::times::Steps;
use crate::promql::parse::Function;
use crate::promql::parse::ast::{Call, Expr};

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
        let mut order: Vec<usize> = (0..grid.rows.len()).collect();
        let value = |i: usize| grid.row(i)[0];
        // NaN comes last both ways.
        let by_value = |a: f64, b: f64, order: Ordering| a.is_nan().cmp(&b.is_nan()).then(order);
        match call.signature.function {
            Function::Sort => order.sort_by(|&a, &b| by_value(value(a), value(b), ascending(value(a), value(b)))),
            Function::SortDesc => order.sort_by(|&a, &b| by_value(value(a), value(b), ascending(value(b), value(a)))),
            function => {
                let (keys, _held) = self.sort_keys(&grid, &call.args[1..])?;
                match function {
                    Function::SortByLabel => order.sort_by(|&a, &b| by_labels(&grid, &keys, a, b)),
                    _ => order.sort_by(|&a, &b| by_labels(&grid, &keys, b, a)),
                }
            }
        }
        grid.reordered(&order)
    }
}

/// Of the labels that a series is sorted by those that it has: the place of each among the names, ascending, and its value.
type Key<'a> = Vec<(usize, &'a str)>;

impl Run<'_> {
    /// Names may be thousands, which no comparison of two series is to look at.
    fn sort_keys<'a>(&self, grid: &'a Grid, names: &[Expr]) -> Result<(Vec<Key<'a>>, Held), EvalError> {
        let budget = self.holdings.budget();
        let mut held = budget.hold((names.len() * 64 + grid.rows.len() * size_of::<Key<'_>>()) as u64)?;
        let mut looks = Looks::new(budget);
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            places.entry(string_of(name)).or_insert(place);
        }
        let mut keys = Vec::with_capacity(grid.rows.len());
        for row in &grid.rows {
            looks.after(1 + row.labels.encoded().len() / 16)?;
            let labels = row.labels.iter().filter_map(|(name, value)| Some((*places.get(name)?, value)));
            let mut key: Key<'a> = labels.collect();
            key.sort_unstable();
            held.grow((key.capacity() * size_of::<(usize, &str)>()) as u64)?;
            keys.push(key);
        }
        Ok((keys, held))
    }
}

fn by_labels(grid: &Grid, keys: &[Key<'_>], a: usize, b: usize) -> Ordering {
    let (mut left, mut right) = (&keys[a][..], &keys[b][..]);
    while let Some(place) = left.first().into_iter().chain(right.first()).map(|&(place, _)| place).min() {
        let order = natural(take(&mut left, place), take(&mut right, place));
        if order != Ordering::Equal {
            return order;
        }
    }
    grid.rows[a].labels.cmp(&grid.rows[b].labels)
}

/// The value at `place`, if it is the next; a label that is not there is an empty one.
fn take<'a>(key: &mut &[(usize, &'a str)], place: usize) -> &'a str {
    match key.split_first() {
        Some((&(first, value), rest)) if first == place => {
            *key = rest;
            value
        }
        _ => "",
    }
}

/// As people count: `host9` before `host10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    // Long values are often alike for most of their length. A number that differs is compared from its first digit.
    let pieces = left.chunks(64).zip(right.chunks(64));
    let mut alike: usize = pieces.take_while(|(l, r)| l == r).map(|(l, _)| l.len()).sum();
    while alike > 0 && left[alike - 1].is_ascii_digit() {
        alike -= 1;
    }
    (left, right) = (&left[alike..], &right[alike..]);
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
