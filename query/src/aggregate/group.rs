//! Which series are answered together.

use std::collections::HashMap;
use std::ops::Range;

use tidegauge_storage::model::Labels;

use super::fold::Fold;
use super::scan::Partials;
use crate::limits::{Budget, Held};
use crate::parallel::chunks;
use crate::{QueryError, Selection};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Each series alone.
    Series,
    /// By the values of these labels: names ascending, each once.
    By(Vec<String>),
}

impl Grouping {
    pub(super) fn by(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self::By(names)
    }
}

/// The groups of a selection.
pub(super) struct Groups {
    /// The labels of each group.
    pub(super) labels: Vec<Labels>,
    /// The group of each series.
    of_series: Vec<u32>,
    _held: Held,
}

impl Groups {
    pub(super) fn new(selection: &Selection, names: &[String], budget: &Budget) -> Result<Self, QueryError> {
        let n = selection.len();
        let one = (size_of::<Labels>() * 2 + size_of::<u32>() * 2) as u64;
        let mut held = budget.hold(n as u64 * one)?;
        if names.is_empty() {
            return Ok(Self { labels: vec![Labels::empty()], of_series: vec![0; n], _held: held });
        }
        let of = |i: usize| -> Labels {
            let all = selection.labels(i);
            let pairs: Vec<_> = names.iter().filter_map(|name| Some((name.as_str(), all.get(name)?))).collect();
            Labels::from_sorted(&pairs)
        };
        let some = |series: Range<usize>| Ok(series.map(of).collect::<Vec<_>>());
        let labels_of = chunks(selection.helpers(), false, 0..n, 256, some)?.concat();
        held.grow(labels_of.iter().map(|labels| labels.encoded().len() as u64 + 16).sum())?;
        budget.check()?;
        let mut numbers: HashMap<Labels, u32> = HashMap::new();
        let mut labels = Vec::new();
        let mut number = |of: Labels| {
            *numbers.entry(of).or_insert_with_key(|of| {
                labels.push(of.clone());
                labels.len() as u32 - 1
            })
        };
        let of_series = labels_of.into_iter().map(&mut number).collect();
        Ok(Self { labels, of_series, _held: held })
    }

    /// The group of series `i`.
    pub(super) fn of(&self, i: usize) -> usize {
        self.of_series[i] as usize
    }
}

/// Joins `other`, of series later in label order, into `into`: window by window.
pub(super) fn join<F: Fold>(
    into: &mut Partials<F::Partial>,
    other: &Partials<F::Partial>,
    budget: &Budget,
) -> Result<(), QueryError> {
    if into.windows == other.windows {
        for (a, b) in into.values.iter_mut().zip(&other.values) {
            F::join(a, b);
        }
        return Ok(());
    }
    let mut joined = Partials::new(budget)?;
    let most = into.windows.len() + other.windows.len();
    joined.reserve(most)?;
    let (mut a, mut b) = (0, 0);
    while a < into.windows.len() || b < other.windows.len() {
        let (at_a, at_b) = (into.windows.get(a), other.windows.get(b));
        let (window, value) = match (at_a, at_b) {
            (Some(&window), Some(&same)) if window == same => {
                let mut value = into.values[a];
                F::join(&mut value, &other.values[b]);
                (a, b) = (a + 1, b + 1);
                (window, value)
            }
            (Some(&window), at_b) if at_b.is_none_or(|&later| window < later) => {
                a += 1;
                (window, into.values[a - 1])
            }
            _ => {
                b += 1;
                (other.windows[b - 1], other.values[b - 1])
            }
        };
        joined.windows.push(window);
        joined.values.push(value);
    }
    *into = joined;
    Ok(())
}
