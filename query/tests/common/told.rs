//! PromQL answered by statistics, beside the same by decoding.

use std::time::Duration;

use tidegauge_query::promql::{Query, Value};
use tidegauge_query::{Budget, QueryLimits, ScanStats};
use tidegauge_storage::model::Timestamp;
use tidegauge_storage::source::Snapshot;

/// Labels, step and value, whatever the query was.
pub(crate) fn promql(
    snapshot: &Snapshot,
    text: &str,
    at: i64,
    steps: i64,
    step: i64,
) -> (Vec<(String, i64, f64)>, ScanStats) {
    let budget = Budget::new(QueryLimits::DEFAULT);
    let query = Query::new(snapshot, text).budget(&budget).lookback(Duration::from_nanos(25));
    let t = Timestamp::from_nanos;
    let found = if steps == 1 {
        match query.at(t(at)).unwrap().0 {
            Value::Vector(samples) => samples.iter().map(|s| (s.labels.to_string(), at, s.value)).collect(),
            other => panic!("{text} is {other:?}"),
        }
    } else {
        let matrix = query.range(t(at), t(at + (steps - 1) * step), Duration::from_nanos(step as u64)).unwrap().0;
        let series = matrix.iter().map(|s| (s.labels.to_string(), &s.timestamps, &s.values));
        series
            .flat_map(|(l, t, v)| t.iter().zip(v).map(move |(t, v)| (l.clone(), *t, *v)).collect::<Vec<_>>())
            .collect()
    };
    (found, budget.stats())
}

const OVER_TIME: [&str; 13] = [
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
    "delta",
];

/// Functions of ranges, the last value and its time: both snapshots must answer the same, but for the last bits of sums.
pub(crate) fn compare_promql(with: &Snapshot, without: &Snapshot, range: i64, at: i64, steps: i64, step: i64) {
    let texts = OVER_TIME.iter().map(|f| format!("{f}({{__name__=~\"x|c\"}}[{range}e-9])"));
    for text in texts.chain(["x".to_owned(), "timestamp(c)".to_owned(), "absent_over_time(x[9e-9])".to_owned()]) {
        let (a, b) = (promql(with, &text, at, steps, step).0, promql(without, &text, at, steps, step).0);
        let context = || format!("{text} at {at}, {steps} steps of {step}");
        assert_eq!(a.len(), b.len(), "{}", context());
        for ((labels, t, a), (other, u, b)) in a.iter().zip(&b) {
            assert_eq!((labels, t), (other, u), "{}", context());
            let close = (a - b).abs() <= 1e-12 * b.abs() + 1e-20;
            let exact = !text.contains("sum_") && !text.contains("avg_");
            let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (!exact && close);
            assert!(same, "{} {labels} {t}: {a} instead of {b}", context());
        }
    }
}
