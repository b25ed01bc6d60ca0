//! A range query is nothing but many instant queries, on however many threads.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::OddSource;
use common::promql::{SECOND, STALE, labels, snapshot};
use proptest::prelude::*;
use tidegauge_query::promql::{EvalError, Evaluator, Options, Query, Value, parse};
use tidegauge_query::{Budget, QueryLimits};
use tidegauge_storage::model::{Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

#[test]
fn each_step_counts_the_samples_that_an_instant_query_would() {
    let samples: Vec<(i64, f64)> = (0..=60).map(|i| (i * SECOND, i as f64)).collect();
    let s =
        snapshot(&[(&[("__name__", "x"), ("i", "1")], &samples), (&[("__name__", "x"), ("i", "2")], &samples[..25])]);
    for text in [
        "x",
        "1",
        "x @ 30",
        "sum_over_time(x[15s])",
        "sum_over_time(x[5s])",
        "max_over_time(x[10s] @ 40) + x",
        "sum_over_time(x[7s:2s]) + count(x)",
        "max_over_time(sum_over_time(x[7s])[9s:3s])",
        "sum_over_time((x @ 30)[7s:2s])",
        "rate(x[15s] anchored)",
    ] {
        let query = |budget: &Budget| Query::new(&s, text).budget(budget).lookback(Duration::from_secs(20));
        let steps: Vec<Timestamp> = (0..7).map(|i| Timestamp::from_nanos(i * 10 * SECOND)).collect();
        let once = steps.iter().map(|&at| {
            let budget = Budget::new(QueryLimits::DEFAULT);
            query(&budget).at(at).unwrap();
            budget.stats().samples_evaluated
        });
        let once: Vec<u64> = once.collect();
        let budget = Budget::new(QueryLimits::DEFAULT);
        budget.count_steps(steps.len());
        query(&budget).range(steps[0], steps[6], Duration::from_secs(10)).unwrap();
        assert_eq!(budget.samples_per_step(), once, "{text}");
        assert_eq!(budget.stats().samples_evaluated, once.iter().sum::<u64>(), "{text}");
        assert_eq!(once.iter().any(|&n| n > 0), text != "1", "{text}");
    }
}

/// Series with gaps, markers, resets and odd values.
fn data() -> impl Strategy<Value = Vec<(usize, Vec<(i64, f64)>)>> {
    let value = prop_oneof![
        8 => (0..20i32).prop_map(f64::from),
        1 => Just(STALE),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        2 => any::<i16>().prop_map(|v| f64::from(v) / 7.0),
    ];
    let samples = prop::collection::vec((0..400i64, value), 0..40);
    let samples = samples.prop_map(|s| s.into_iter().map(|(t, v)| (t * SECOND, v)).collect());
    prop::collection::vec((0..8usize, samples), 1..6)
}

fn store(data: &[(usize, Vec<(i64, f64)>)]) -> Snapshot {
    // Two sources, so that merging takes part.
    let mut sources = [VecSource::new(), VecSource::new()];
    for (i, (which, samples)) in data.iter().enumerate() {
        let (name, job, le) = (["a", "b"][which % 2], ["x", "y"][which / 2 % 2], ["1", "+Inf"][which / 4]);
        let all = labels(&[("__name__", name), ("job", job), ("le", le)]);
        let samples = samples.iter().map(|&(t, value)| Sample { timestamp: Timestamp::from_nanos(t), value });
        sources[i % 2].insert(&all, samples);
    }
    Snapshot::new(sources.into_iter().map(|s| Arc::new(s) as _).collect(), SeqNo(0))
}

/// Expressions whose value at a time does not depend on the range that is asked for.
fn expression() -> impl Strategy<Value = String> {
    let selector = prop::sample::select(vec![
        "a",
        "b",
        "{job=\"x\"}",
        "a offset 30s",
        "b offset -20s",
        "a @ 100",
        "b{le=\"1\"}",
        "a smoothed",
        "{le=~\".+\"}",
    ]);
    let ranged = (
        prop::sample::select(vec![
            "rate",
            "increase",
            "delta",
            "irate",
            "idelta",
            "changes",
            "resets",
            "avg_over_time",
            "sum_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "stddev_over_time",
            "last_over_time",
            "deriv",
            "first_over_time",
            "present_over_time",
            "mad_over_time",
            "ts_of_max_over_time",
            "absent_over_time",
        ]),
        prop::sample::select(vec![
            "a[1m]",
            "b[90s] offset 10s",
            "{job=\"y\"}[2m]",
            "a[45s] @ 200",
            "(a)[1m:10s]",
            "(a + b)[70s:7s] offset 3s",
            "rate(a[30s])[1m:15s]",
            "b[1m:]",
        ]),
    )
        .prop_map(|(f, range)| format!("{f}({range})"));
    let extended = (
        prop::sample::select(vec!["rate", "increase", "delta"]),
        prop::sample::select(vec!["a[1m] anchored", "b[40s] smoothed"]),
    )
        .prop_map(|(f, range)| format!("{f}({range})"));
    let leaf = prop_oneof![selector.prop_map(str::to_owned), ranged, extended, Just("vector(time())".to_owned())];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "/",
            "> bool",
            "<",
            "== on (job) group_left ()",
            "* on (job, le) group_right ()",
            "and",
            "or",
            "unless on (le)",
            "- fill (2)",
            "+ on (job, le) group_left fill_left (1)",
        ]);
        let aggregate = prop::sample::select(vec![
            "sum by (job)",
            "avg without (le)",
            "max",
            "count by (le)",
            "stddev",
            "group by (job)",
            "quantile(0.3, ",
            "topk(2, ",
            "bottomk by (job) (1, ",
            "limitk(2, ",
            "limit_ratio(0.5, ",
            "count_values(\"v\", ",
            "stdvar by (__name__)",
        ]);
        let function = prop::sample::select(vec![
            "abs(%)",
            "-(%)",
            "clamp(%, 1, 5)",
            "round(%, 0.5)",
            "timestamp(%)",
            "absent(%)",
            "vector(scalar(%))",
            "% + 1",
            "2 < %",
            "histogram_quantile(0.5, %)",
            "label_replace(%, \"z\", \"$1-\", \"job\", \"(.*)\")",
            "hour(%)",
            "sort(%)",
            "last_over_time((%)[1m:20s])",
            "sgn(%)",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (aggregate, inner.clone()).prop_map(|(f, a)| if f.ends_with(' ') {
                format!("{f}{a})")
            } else {
                format!("{f} ({a})")
            }),
            (function, inner).prop_map(|(f, a)| f.replace('%', &format!("({a})"))),
        ]
    })
}

type Points = Vec<(String, i64, String)>;

/// To nine digits: the order of a sum may differ, as it does where series come and go.
fn digits(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.9e}") }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_range_query_is_many_instant_queries(data in data(), text in expression(), start in 0..200i64, step in 1..40i64) {
        let snapshot = store(&data);
        let expr = parse(&text);
        prop_assert!(expr.is_ok(), "{}: {:?}", text, expr);
        let expr = expr.unwrap();
        let evaluator = Evaluator::new(&snapshot, Options::default());
        let times: Vec<i64> = (0..8).map(|i| (start + i * step) * SECOND).collect();
        let one_by_one: Result<Vec<Value>, EvalError> =
            times.iter().map(|&t| Ok(evaluator.instant(&expr, Timestamp::from_nanos(t))?.0)).collect();
        let [first, last] = [times[0], times[7]].map(Timestamp::from_nanos);
        let together = evaluator.range(&expr, first, last, Duration::from_secs(step as u64));
        match (one_by_one, together) {
            (Ok(values), Ok((matrix, _))) => {
                let mut wanted = Points::new();
                for (value, &t) in values.into_iter().zip(&times) {
                    match value {
                        Value::Vector(samples) => {
                            wanted.extend(samples.iter().map(|s| (s.labels.to_string(), t, digits(s.value))));
                        }
                        Value::Scalar(value) => wanted.push(("{}".to_owned(), t, digits(value))),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                let mut found: Points = matrix
                    .iter()
                    .flat_map(|s| s.timestamps.iter().zip(&s.values).map(|(&t, &v)| (s.labels.to_string(), t, digits(v))))
                    .collect();
                wanted.sort();
                found.sort();
                prop_assert_eq!(found, wanted, "{}", text);
            }
            (Err(_), Err(_)) => {}
            (values, matrix) => prop_assert!(false, "{}: {:?} but {:?}", text, values, matrix),
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let one = |host: i32| {
        let all = labels(&[("__name__", "x"), ("host", &host.to_string())]);
        (all, (0..50i64).map(|i| (i * SECOND, 0.1 * f64::from(host) + 1e9 / (i + 1) as f64)).collect())
    };
    let source = OddSource { series: (0..200).map(one).collect(), batches: vec![7], key: None };
    let snapshot = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    let answers = [1, 2, 8].map(|threads| {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let query = Query::new(&snapshot, "sum(x) + avg(rate(x[20s])) + stddev(x)").on(pool);
        let times = [0, 60 * SECOND].map(Timestamp::from_nanos);
        query.range(times[0], times[1], Duration::from_secs(1)).unwrap().0
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[0][0].values.len(), 60);
}
