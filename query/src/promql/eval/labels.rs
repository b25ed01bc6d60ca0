//! Label sets made from other label sets.

use tidegauge_storage::model::{Labels, METRIC_NAME};

use super::error::EvalError;
use super::looks::PIECE;
use crate::limits::{Budget, Held};
use crate::promql::parse::{label_name, quote};

/// Labels that say what a metric is; they go where a value is no longer that metric.
const DESCRIBING: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Without the labels that say what the metric is.
pub(super) fn without_name(labels: &Labels) -> Labels {
    retain(labels, |name| !DESCRIBING.contains(&name))
}

/// Only the labels that pass.
pub(super) fn retain(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    if labels.iter().all(|(name, _)| keep(name)) {
        return labels.clone();
    }
    let kept: Vec<_> = labels.iter().filter(|&(name, _)| keep(name)).collect();
    Labels::from_sorted(&kept)
}

/// With `name` set to `value`, or without it if the value is empty.
pub(super) fn with(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut all: Vec<_> = labels.iter().filter(|&(n, _)| n != name).collect();
    if !value.is_empty() {
        let at = all.partition_point(|&(n, _)| n < name);
        all.insert(at, (name, value));
    }
    Labels::from_sorted(&all)
}

/// With each of `names` as `from` has it, or without it where `from` does not.
pub(super) fn with_each(labels: &Labels, names: &[String], from: Option<&Labels>) -> Labels {
    let mut all: Vec<_> = labels.iter().collect();
    for name in names {
        let value = from.and_then(|from| from.get(name)).map(|value| (name.as_str(), value));
        match (all.binary_search_by_key(&name.as_str(), |&(name, _)| name), value) {
            (Ok(at), Some(pair)) => all[at] = pair,
            (Ok(at), None) => drop(all.remove(at)),
            (Err(at), Some(pair)) => all.insert(at, pair),
            (Err(_), None) => {}
        }
    }
    Labels::from_sorted(&all)
}

/// The labels by which series find each other: those of `on`, or all but those of `ignoring` and the name.
pub(super) fn signature(labels: &Labels, on: bool, names: &[String]) -> Labels {
    let listed = |name: &str| names.iter().any(|n| n == name);
    if on { retain(labels, listed) } else { retain(labels, |name| name != METRIC_NAME && !listed(name)) }
}

/// The room that a set takes which no source has: a client chooses how long its values are, and how many there are.
pub(super) fn bytes_of(labels: &Labels) -> u64 {
    // Beside the text the counts of those who share it.
    labels.encoded().len() as u64 + 16
}

/// Whether `made` of `from` is a set of its own.
pub(super) fn is_another(made: &Labels, from: &Labels) -> bool {
    made.encoded().as_ptr() != from.encoded().as_ptr()
}

/// Charges the sets by which series are looked up, and looks at the query's bounds while they are made.
pub(super) struct Keys {
    held: Held,
    work: usize,
    names: usize,
}

impl Keys {
    /// Each is made by comparing the names of labels with `names` others.
    pub(super) fn new(budget: &Budget, names: usize) -> Self {
        Self { held: budget.hold_nothing(), work: 0, names }
    }

    /// Before the key of `labels` is made.
    pub(super) fn look(&mut self, labels: &Labels) -> Result<(), EvalError> {
        // A label has a few bytes at least.
        self.work += 1 + labels.encoded().len() / 16 * (1 + self.names);
        if self.work >= PIECE {
            self.work = 0;
            self.held.budget().check()?;
        }
        Ok(())
    }

    /// A key that stays, and `more` bytes with it.
    pub(super) fn keep(&mut self, key: &Labels, more: usize) -> Result<(), EvalError> {
        // Beside the set its place in a table.
        Ok(self.held.grow(bytes_of(key) + (more + 2 * size_of::<(Labels, usize)>()) as u64)?)
    }

    /// What was charged, for as long as the keys are there.
    pub(super) fn held(self) -> Held {
        self.held
    }
}

/// As errors show it: everything in braces.
pub(super) fn shown(labels: &Labels) -> String {
    let inside: Vec<String> = labels.iter().map(|(n, v)| format!("{}={}", label_name(n), quote(v))).collect();
    format!("{{{}}}", inside.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_stay_sorted_and_without_empty_values() {
        let labels = Labels::from_sorted(&[("__name__", "m"), ("__type__", "gauge"), ("b", "1"), ("d", "2")]);
        assert_eq!(without_name(&labels), Labels::from_sorted(&[("b", "1"), ("d", "2")]));
        assert_eq!(with(&labels, "c", "x").iter().map(|(n, _)| n).collect::<Vec<_>>().join(""), "__name____type__bcd");
        assert_eq!(with(&without_name(&labels), "b", ""), Labels::from_sorted(&[("d", "2")]));
        assert_eq!(signature(&labels, true, &["d".into(), "x".into()]), Labels::from_sorted(&[("d", "2")]));
        assert_eq!(signature(&labels, false, &["__type__".into(), "d".into()]), Labels::from_sorted(&[("b", "1")]));
        assert_eq!(shown(&signature(&labels, true, &["b".into(), "d".into()])), "{b=\"1\", d=\"2\"}");
        assert_eq!(shown(&Labels::from_sorted(&[("a b", "\"")])), "{\"a b\"=\"\\\"\"}");
    }
}
