//! Looking into an engine, for tests.

use std::collections::BTreeMap;

use tidegauge::query::Selection;
use tidegauge::{Engine, Matcher, Timestamp};

/// Each series that passes `matchers`, as PromQL writes it, with its samples; values as bits,
/// so that a NaN equals itself.
pub(crate) fn samples(engine: &Engine, matchers: &[Matcher]) -> BTreeMap<String, Vec<(i64, u64)>> {
    let snapshot = engine.snapshot();
    let selection = Selection::new(&snapshot, matchers).unwrap();
    let read = |series: tidegauge::query::Series<'_>| {
        let columns = series.read().unwrap();
        let values = columns.values.iter().map(|value| value.to_bits());
        (series.labels().to_string(), columns.timestamps.iter().copied().zip(values).collect())
    };
    selection.iter().map(read).filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty()).collect()
}

/// The samples of a series that must be the only one with this metric.
pub(crate) fn samples_of(engine: &Engine, metric: &str) -> Vec<(i64, u64)> {
    let mut all = samples(engine, &[Matcher::equal(tidegauge::METRIC_NAME, metric)]);
    assert!(all.len() <= 1, "{:?}", all.keys());
    all.pop_first().map(|(_, samples)| samples).unwrap_or_default()
}

/// Seconds since the epoch.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}
