//! What the evaluator promises: times, absence, names, remarks.

mod common;

use std::time::Duration;

use common::promql::{SECOND, STALE, at, range, snapshot, values};
use tidegauge_query::promql::{ErrorKind, Evaluator, Options, Query, Value, parse};
use tidegauge_storage::model::Timestamp;

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
fn what_is_absent_has_the_labels_that_prometheus_gives_it() {
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
    let labels = |query: &str| match at(&s, query, 0) {
        Ok(Value::Vector(v)) => v[0].labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","),
        other => panic!("{query}: {other:?}"),
    };
    for (matchers, expected) in [
        ("a=\"c\",b=~\"d\"", "a=c"),
        ("a!=\"b\",a=\"c\"", "a=c"),
        ("a=~\"b.*\",a=\"c\"", "a=c"),
        ("a=\"c\",a!=\"b\"", ""),
        ("a=\"c\",a=\"c\"", ""),
        ("a=\"c\",a=\"d\",a=\"e\",b=\"f\"", "b=f"),
        ("a!=\"b\",a=\"c\",a=\"d\"", ""),
        ("a=\"\",b=\"f\"", "b=f"),
    ] {
        assert_eq!(labels(&format!("absent(nope{{{matchers}}})")), expected, "{matchers}");
        assert_eq!(labels(&format!("absent_over_time(nope{{{matchers}}}[1m])")), expected, "{matchers}");
    }
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

/// No regex is made for it; what matches is the same.
#[test]
fn a_label_is_set_where_there_is_none() {
    let s =
        snapshot(&[(&[("__name__", "a"), ("i", "1")], &[(0, 1.0)]), (&[("__name__", "a"), ("j", "2")], &[(0, 1.0)])]);
    let shown = |text: &str| match at(&s, text, 0) {
        Ok(Value::Vector(samples)) => samples.iter().map(|s| s.labels.to_string()).collect::<Vec<_>>().join(" "),
        other => panic!("{text}: {other:?}"),
    };
    for (replacement, pattern) in [("x", ""), ("x$1", ""), ("x", "()"), ("x$9", "(?:)")] {
        let text = format!("label_replace(a, \"n\", \"{replacement}\", \"i\", \"{pattern}\")");
        assert_eq!(shown(&text), "a{i=\"1\"} a{j=\"2\", n=\"x\"}", "{text}");
    }
    assert_eq!(shown("label_replace(a, \"i\", \"\", \"none\", \"\")"), "a a{j=\"2\"}");
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
