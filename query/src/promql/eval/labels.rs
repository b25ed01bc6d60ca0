//! Label sets made from other label sets.

use tidegauge_storage::model::{Labels, METRIC_NAME};

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

/// The labels by which series find each other: those of `on`, or all but those of `ignoring` and the name.
pub(super) fn signature(labels: &Labels, on: bool, names: &[String]) -> Labels {
    let listed = |name: &str| names.iter().any(|n| n == name);
    if on { retain(labels, listed) } else { retain(labels, |name| name != METRIC_NAME && !listed(name)) }
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
