//! What the evaluator promises: times, absence, bounds, and that a range query is nothing
//! but many instant queries.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegauge_query::promql::{ErrorKind, EvalError, Evaluator, Matrix, Options, PromqlError, Query, Value, parse};
use tidegauge_query::{Budget, Cancel, QueryLimits};
use tidegauge_storage::model::{Labels, Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
const SECOND: i64 = 1_000_000_000;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    Labels::from_sorted(&pairs)
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn snapshot(series: &[(Pairs<'_>, &[(i64, f64)])]) -> Snapshot {
    let mut source = VecSource::new();
    for (pairs, samples) in series {
        let samples = samples.iter().map(|&(at, value)| Sample { timestamp: Timestamp::from_nanos(at), value });
        source.insert(&labels(pairs), samples);
    }
    Snapshot::new(vec![Arc::new(source)], SeqNo(0))
}

fn at(snapshot: &Snapshot, text: &str, nanos: i64) -> Result<Value, PromqlError> {
    Query::new(snapshot, text).at(Timestamp::from_nanos(nanos)).map(|(value, _)| value)
}

/// The values of an instant vector, in its order.
fn values(snapshot: &Snapshot, text: &str, nanos: i64) -> Vec<f64> {
    match at(snapshot, text, nanos) {
        Ok(Value::Vector(samples)) => samples.iter().map(|s| s.value).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

fn range(snapshot: &Snapshot, text: &str, start: i64, end: i64, step: i64) -> Matrix {
    let [start, end] = [start, end].map(Timestamp::from_nanos);
    let answer = Query::new(snapshot, text).range(start, end, Duration::from_nanos(step as u64));
    answer.unwrap_or_else(|e| panic!("{text}: {e}")).0
}

#[test]
fn the_latest_sample_counts_for_less_than_the_lookback() {
    let s = snapshot(&[(&[("__name__", "x")], &[(100 * SECOND, 1.0), (200 * SECOND, 2.0)])]);
    assert_eq!(values(&s, "x", 100 * SECOND - 1), []);
    assert_eq!(values(&s, "x", 100 * SECOND), [1.0]);
    assert_eq!(values(&s, "x", 200 * SECOND - 1), [1.0]);
    assert_eq!(values(&s, "x", 500 * SECOND - 1), [2.0]);
    // Left-open: at the full lookback it is gone, one nanosecond earlier it is not.
    assert_eq!(values(&s, "x", 500 * SECOND), []);
    assert_eq!(values(&s, "x offset 100s", 200 * SECOND), [1.0]);
    assert_eq!(values(&s, "x offset -100s", 100 * SECOND), [2.0]);
    assert_eq!(values(&s, "x @ 100", 999 * SECOND), [1.0]);
}

#[test]
fn a_staleness_marker_ends_a_series_and_is_no_sample() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0), (10, STALE), (20, f64::NAN), (30, 3.0)])]);
    assert_eq!(values(&s, "x", 9), [1.0]);
    assert_eq!(values(&s, "x", 10), []);
    assert_eq!(values(&s, "x", 19), []);
    assert!(values(&s, "x", 20)[0].is_nan());
    assert_eq!(values(&s, "count_over_time(x[1m])", 30), [3.0]);
    assert_eq!(values(&s, "absent(x)", 15), [1.0]);
}

#[test]
fn ranges_leave_out_their_start_and_take_in_their_end() {
    let samples: Vec<(i64, f64)> = (0..=10).map(|i| (i * SECOND, i as f64)).collect();
    let s = snapshot(&[(&[("__name__", "x")], &samples)]);
    assert_eq!(values(&s, "count_over_time(x[5s])", 10 * SECOND), [5.0]);
    assert_eq!(values(&s, "sum_over_time(x[5s])", 10 * SECOND), [40.0]);
    assert_eq!(values(&s, "count_over_time(x[5s:1s])", 10 * SECOND), [5.0]);
    assert_eq!(values(&s, "count_over_time(x[5s:2s])", 10 * SECOND), [3.0]);
    match at(&s, "x[2s]", 10 * SECOND) {
        Ok(Value::Matrix(m)) => assert_eq!(m[0].timestamps, [9 * SECOND, 10 * SECOND]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn times_are_nanoseconds_inside() {
    let s = snapshot(&[(&[("__name__", "x_total")], &[(1, 1.0), (2, 2.0), (3, 4.0)])]);
    assert_eq!(values(&s, "timestamp(x_total)", 3), [3e-9]);
    assert_eq!(values(&s, "idelta(x_total[1s])", 2), [1.0]);
    assert_eq!(range(&s, "x_total", 1, 3, 1)[0].values, [1.0, 2.0, 4.0]);
}

#[test]
fn times_before_the_epoch_and_at_the_ends_of_time_are_legal() {
    let s = snapshot(&[(&[("__name__", "x")], &[(-60 * SECOND, 1.0), (0, 2.0)])]);
    assert_eq!(values(&s, "x", -1), [1.0]);
    assert_eq!(values(&s, "x", 0), [2.0]);
    assert_eq!(values(&s, "sum_over_time(x[2m:1m])", 0), [3.0]);
    for text in ["x offset 290y", "x offset -290y", "rate(x[290y])", "x @ -9e9", "sum_over_time(x[1m:1s] offset 290y)"]
    {
        for nanos in [i64::MIN, 0, i64::MAX] {
            at(&s, text, nanos).unwrap_or_else(|e| panic!("{text} at {nanos}: {e}"));
        }
    }
}

#[test]
fn names_go_at_the_end_and_only_where_the_value_changed() {
    let s =
        snapshot(&[(&[("__name__", "a"), ("i", "1")], &[(0, 1.0)]), (&[("__name__", "b"), ("i", "1")], &[(0, 2.0)])]);
    let shown = |text: &str| match at(&s, text, 0) {
        Ok(Value::Vector(samples)) => samples.iter().map(|s| s.labels.to_string()).collect::<Vec<_>>().join(" "),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(shown("a > 0"), "a{i=\"1\"}");
    assert_eq!(shown("a >= bool 0"), "{i=\"1\"}");
    assert_eq!(shown("-a"), "{i=\"1\"}");
    assert_eq!(shown("sum by (__name__) (-a)"), "{}");
    assert_eq!(shown("label_replace(-a, \"n\", \"$1\", \"__name__\", \"(.*)\")"), "{i=\"1\", n=\"a\"}");
    assert_eq!(shown("last_over_time(a[1m])"), "a{i=\"1\"}");
    // Filters of values that lost their name do not bring it back.
    assert_eq!(shown("-a < ignoring(x) -(-b)"), "{i=\"1\"}");
    // Unless it is asked for.
    assert_eq!(shown("-a * on (i) group_left (__name__) b"), "b{i=\"1\"}");
    assert_eq!(shown("-a < on (i) group_left (__name__) b"), "b{i=\"1\"}");
    let e = at(&s, "-{i=\"1\"}", 0).unwrap_err();
    assert_eq!(e.to_string(), "vector cannot contain metrics with the same labelset");
    assert_eq!(e.kind(), ErrorKind::Execution);
}

#[test]
fn errors_are_of_the_kind_that_the_api_names() {
    let samples: Vec<(i64, f64)> = (0..1000).map(|i| (i * SECOND, i as f64)).collect();
    let s = snapshot(&[(&[("__name__", "x"), ("i", "1")], &samples), (&[("__name__", "x"), ("i", "2")], &samples)]);
    let kind = |text: &str| at(&s, text, 999 * SECOND).unwrap_err().kind();
    assert_eq!(kind("x +"), ErrorKind::BadData);
    assert_eq!(kind("x * on () x"), ErrorKind::Execution);
    assert_eq!(kind("label_replace(x, \"a\", \"b\", \"c\", \"(\")"), ErrorKind::Execution);
    assert_eq!(kind("topk(1e30, x)"), ErrorKind::Execution);
    assert_eq!(values(&s, "topk(1e9, x)", 999 * SECOND).len(), 2);

    let run = |text: &str, limits: QueryLimits| {
        let (expr, options) = (parse(text).unwrap(), {
            let mut o = Options::default();
            o.limits = limits;
            o
        });
        Evaluator::new(&s, options).instant(&expr, Timestamp::from_nanos(999 * SECOND)).unwrap_err()
    };
    let samples = QueryLimits { samples: 100, ..QueryLimits::DEFAULT };
    let e = run("sum_over_time(x[10m])", samples);
    assert!(e.to_string().contains("too many samples") && e.to_string().contains("100"), "{e}");
    assert_eq!(e.kind(), ErrorKind::Execution);
    let e = run("sum_over_time(x[1y:1ms])", QueryLimits::DEFAULT);
    assert!(matches!(e, EvalError::LimitExceeded { .. }), "{e}");
    let e = run("sum(x)", QueryLimits { time: Duration::ZERO, ..QueryLimits::DEFAULT });
    assert_eq!(e.kind(), ErrorKind::Timeout);

    let cancel = Cancel::new();
    cancel.cancel();
    let e = Query::new(&s, "x").cancelled_by(&cancel).at(Timestamp::from_nanos(0)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Canceled);
    let bad = |text: &str, step| {
        let times = [0, 1000].map(Timestamp::from_nanos);
        Query::new(&s, text).range(times[0], times[1], step).unwrap_err().kind()
    };
    assert_eq!(bad("x", Duration::ZERO), ErrorKind::BadData);
    assert_eq!(bad("x[5m]", Duration::from_secs(1)), ErrorKind::BadData);
    assert_eq!(bad("\"text\"", Duration::from_secs(1)), ErrorKind::BadData);
}

#[test]
fn a_huge_range_with_a_tiny_step_is_refused_at_once() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
    for text in ["x", "vector(1)", "1", "x + x", "sum_over_time(x[1h:1s])"] {
        let expr = parse(text).unwrap();
        let answer = Evaluator::new(&s, Options::default()).range(
            &expr,
            Timestamp::MIN,
            Timestamp::MAX,
            Duration::from_nanos(1),
        );
        assert!(matches!(answer, Err(EvalError::LimitExceeded { .. })), "{text}");
    }
}

#[test]
fn a_few_bytes_of_query_make_no_gigabytes_of_labels() {
    let long = "v".repeat(16 << 10);
    let s = snapshot(&[(&[("__name__", "x"), ("a", &long)], &[(0, 1.0)])]);
    let replace = format!("label_replace(x, \"b\", \"{}\", \"a\", \"(.*)\")", "$1".repeat(10_000));
    let join = format!("label_join(x, \"b\", \"\"{})", ", \"a\"".repeat(10_000));
    for text in [replace, join] {
        assert!(at(&s, &text, 0).unwrap_err().to_string().contains("at most"));
    }
}

/// An engine that tries every way to match would not come back from the first ones; the others are too big to build.
#[test]
fn catastrophic_regexes_take_linear_time_or_are_refused() {
    let value = format!("{}!", "a".repeat(8 << 10));
    let s = snapshot(&[(&[("__name__", "x"), ("a", &value)], &[(0, 1.0)])]);
    for regex in ["(a+)+", "(a|a)*", "(a*)*b", "(a|aa)+", "((a+)+)+", "a*a*a*a*a*a*a*a*b", "(.*)*(.*)*(.*)*b"] {
        assert_eq!(values(&s, &format!("x{{a=~\"{regex}\"}}"), 0), [], "{regex}");
        assert_eq!(values(&s, &format!("x{{a!~\"{regex}\"}}"), 0), [1.0], "{regex}");
        let replaced = format!("label_replace(x, \"b\", \"$1\", \"a\", \"{regex}\")");
        assert_eq!(values(&s, &replaced, 0), [1.0], "{regex}");
    }
    for regex in ["((a{100}){100}){100}", "(((a{1,100}){1,100}){1,100})!", "a{1000}{1000}", &"(".repeat(5000)] {
        let error = at(&s, &format!("x{{a=~\"{regex}\"}}"), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadData, "{regex}");
        let replaced = format!("label_replace(x, \"b\", \"$1\", \"a\", \"{regex}\")");
        assert_eq!(at(&s, &replaced, 0).unwrap_err().kind(), ErrorKind::Execution, "{regex}");
    }
}

#[test]
fn remarks_name_their_place() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0), (SECOND, 2.0)])]);
    let expr = parse("sum(\n  rate(x[5m]))").unwrap();
    let (_, remarks) = Evaluator::new(&s, Options::default()).instant(&expr, Timestamp::from_nanos(SECOND)).unwrap();
    let shown = remarks.infos("sum(\n  rate(x[5m]))");
    let wanted =
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"x\" (2:8)";
    assert_eq!(shown, [wanted]);
}

/// Upstream points at what stands inside of parentheses, and has no place for what a subquery computed.
#[test]
fn remarks_point_past_parentheses() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0), (SECOND, 2.0)])]);
    for (text, place) in [
        ("quantile((2), x)", "got 2 (1:11)"),
        ("quantile_over_time(((2)), x[1m])", "got 2 (1:22)"),
        ("quantile_over_time(1700000000, x[1m])", "got 1.7e+09 (1:20)"),
        ("histogram_quantile(0.5, (x))", "\"x\" (1:26)"),
        ("rate(x[1m:1s])", "\"x\" (1:1)"),
    ] {
        let (_, remarks) = Query::new(&s, text).at(Timestamp::from_nanos(SECOND)).unwrap();
        let shown = [remarks.warnings(text), remarks.infos(text)].concat();
        assert!(shown.len() == 1 && shown[0].ends_with(place), "{text}: {shown:?}");
    }
}

/// What is the same at each step is sorted once, which is no mistake.
#[test]
fn sorting_is_remarked_on_where_it_has_no_effect() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
    let warned = |text: &str| {
        let times = [0, 10].map(Timestamp::from_nanos);
        let (_, remarks) = Query::new(&s, text).range(times[0], times[1], Duration::from_nanos(1)).unwrap();
        !remarks.is_empty()
    };
    assert!(warned("sort(x)"));
    assert!(!warned("sort(x @ 0)"));
    let (_, remarks) = Query::new(&s, "sort(x)[10s:1s]").at(Timestamp::from_nanos(0)).unwrap();
    assert!(!remarks.is_empty(), "a subquery has steps too");
    let (_, remarks) = Query::new(&s, "sort(x)").at(Timestamp::from_nanos(0)).unwrap();
    assert!(remarks.is_empty());
}

#[test]
fn great_values_do_not_overflow_on_the_way_to_small_ones() {
    let hour = 3600 * SECOND;
    let s = snapshot(&[
        (&[("__name__", "x")], &[(0, 0.0), (hour, 1e300)]),
        (&[("__name__", "y")], &[(0, f64::MAX)]),
        (&[("__name__", "z_total")], &[(0, 1.0), (SECOND, -0.0), (2 * SECOND, 0.0)]),
    ]);
    let near = |text: &str, at: i64, wanted: f64| {
        let found = values(&s, text, at);
        assert!(found.len() == 1 && (found[0] / wanted - 1.0).abs() < 1e-12, "{text}: {found:?}");
    };
    let found = range(&s, "x smoothed", hour / 2, hour / 2, SECOND);
    assert!(found.is_empty(), "out of the lookback: {found:?}");
    let query = Query::new(&s, "x smoothed").lookback(Duration::from_secs(3600));
    match query.at(Timestamp::from_nanos(hour / 2)).unwrap().0 {
        Value::Vector(samples) => assert_eq!(samples[0].value, 5e299),
        other => panic!("{other:?}"),
    }
    let query = Query::new(&s, "timestamp(x smoothed)").lookback(Duration::from_secs(3600));
    match query.at(Timestamp::from_nanos(hour / 2)).unwrap().0 {
        Value::Vector(samples) => assert_eq!(samples[0].value, 0.0, "the time of the sample before, not a value"),
        other => panic!("{other:?}"),
    }
    near("asinh(y)", 0, 710.475_860_073_943_9);
    near("-asinh(-y)", 0, 710.475_860_073_943_9);
    near("acosh(y)", 0, 710.475_860_073_943_9);
    near("asinh(vector(2))", 0, 1.443_635_475_178_810_3);
    near("acosh(vector(2))", 0, 1.316_957_896_924_816_6);
}

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

#[test]
fn dates_of_what_is_no_date_are_prometheus_own() {
    let s = snapshot(&[]);
    for (text, wanted) in [
        ("year(vector(1e17))", 3_168_875_820.0),
        ("year(vector(NaN))", 292_277_026_596.0),
        ("month(vector(Inf))", 12.0),
        ("day_of_month(vector(-Inf))", 4.0),
        ("minute(vector(-1e300))", 30.0),
        ("hour(vector(1e300))", 15.0),
        ("day_of_week(vector(NaN))", 0.0),
        ("day_of_year(vector(NaN))", 339.0),
        ("days_in_month(vector(NaN))", 31.0),
        ("minute(vector(-0.5))", 0.0),
    ] {
        assert_eq!(values(&s, text, 0), [wanted], "{text}");
    }
}

/// A range query stops at its first step that fails, and says what an instant query there says.
#[test]
fn of_several_faults_the_first_steps_is_told() {
    let s = snapshot(&[
        (&[("__name__", "x"), ("i", "1")], &[(0, 1.0)]),
        (&[("__name__", "y"), ("i", "1"), ("k", "1")], &[(10 * SECOND, 1.0)]),
        (&[("__name__", "y"), ("i", "1"), ("k", "2")], &[(0, 1.0)]),
        (&[("__name__", "y"), ("i", "1"), ("k", "3")], &[(5 * SECOND, 1.0)]),
    ]);
    let whole = Query::new(&s, "x + on (i) y");
    let range = whole.range(Timestamp::from_nanos(0), Timestamp::from_nanos(20 * SECOND), Duration::from_secs(5));
    let told = range.unwrap_err().to_string();
    assert!(told.contains("k=\"2\"") && told.contains("k=\"3\"") && !told.contains("k=\"1\""), "{told}");
    assert_eq!(told, at(&s, "x + on (i) y", 5 * SECOND).unwrap_err().to_string());
    // At a step with nothing on the many side there is nothing to be unique.
    assert_eq!(values(&s, "x + on (i) (y > 9)", 5 * SECOND), []);
}

#[test]
fn many_operators_in_a_row_fit_on_a_small_stack() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
    for op in ["+", "or", "and"] {
        let text = format!("x{}", format!(" {op} x").repeat(350));
        assert_eq!(values(&s, &text, 0), [if op == "+" { 351.0 } else { 1.0 }]);
    }
    let deep = format!("{}x{}", "abs(".repeat(95), ")".repeat(95));
    assert_eq!(values(&s, &deep, 0), [1.0]);
}

#[test]
fn a_join_of_many_series_with_one_takes_linear_time() {
    let mut source = VecSource::new();
    for host in 0..3000 {
        let all = labels(&[("__name__", "x"), ("host", &host.to_string())]);
        source.insert(&all, [Sample { timestamp: Timestamp::from_nanos(0), value: f64::from(host) }]);
    }
    source.insert(&labels(&[("__name__", "y")]), [Sample { timestamp: Timestamp::from_nanos(0), value: 2.0 }]);
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    let matrix = range(&s, "sum(x * on () group_left () y)", 0, 299 * SECOND, SECOND);
    assert_eq!(matrix[0].values, [2.0 * 2999.0 * 1500.0; 300]);
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
    let mut source = VecSource::new();
    for host in 0..200 {
        let all = labels(&[("__name__", "x"), ("host", &host.to_string())]);
        let samples = (0..50i64).map(|i| (i * SECOND, 0.1 * f64::from(host) + 1e9 / (i + 1) as f64));
        let samples = samples.map(|(t, value)| Sample { timestamp: Timestamp::from_nanos(t), value });
        source.insert(&all, samples);
    }
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

#[test]
fn a_budget_bounds_a_query_and_tells_what_it_read() {
    let samples: Vec<(i64, f64)> = (0..50).map(|i| (i * SECOND, i as f64)).collect();
    let s = snapshot(&[(&[("__name__", "x"), ("i", "1")], &samples), (&[("__name__", "x"), ("i", "2")], &samples)]);
    let ask = |text: &str, limits| {
        let budget = Budget::new(limits);
        let answer = Query::new(&s, text).budget(&budget).at(Timestamp::from_nanos(49 * SECOND));
        (answer, budget.stats())
    };
    for (text, samples) in
        [("deriv(x[9s])", 18), ("sum_over_time(x[10s])", 20), ("x[20s]", 40), ("rate(x[5s] smoothed)", 100)]
    {
        let (answer, stats) = ask(text, QueryLimits::DEFAULT);
        answer.unwrap();
        assert_eq!((stats.series_selected, stats.series_read, stats.samples_read), (2, 2, samples), "{text}");
    }
    let refused = ask("x[20s]", QueryLimits { samples: 15, ..QueryLimits::DEFAULT }).0;
    assert!(refused.is_err(), "the budget's limits count");
}
