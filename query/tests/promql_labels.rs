//! Labels that a query makes: a client chooses how many there are and how long, so they count as what it holds.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::promql::labels;
use tidegauge_query::promql::{ErrorKind, EvalError, PromqlError, Query, Value};
use tidegauge_query::{Budget, Limit, QueryLimits};
use tidegauge_storage::model::{Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

const SERIES: usize = 256;
/// Bytes of the one long label of each series.
const LONG: usize = 4 << 10;
/// What all of those take together.
const ONCE: u64 = (SERIES * LONG) as u64;

/// Series with a value of their own and short labels but for `v`, and an info series.
fn series(v: &str) -> Snapshot {
    let mut source = VecSource::new();
    let mut insert = |pairs: &[(&str, &str)], value| {
        source.insert(&labels(pairs), [Sample { timestamp: Timestamp::from_nanos(0), value }]);
    };
    for i in 0..SERIES {
        let (i, le, v) = (format!("{i:03}"), ["1", "2", "+Inf"][i % 3], format!("{i}{v}"));
        let all = [("__name__", "x"), ("i", &i), ("instance", "a"), ("job", "b"), ("le", le), ("v", &v)];
        insert(&all, i.parse().unwrap());
    }
    insert(&[("__name__", "target_info"), ("instance", "a"), ("job", "b"), ("n", "y")], 1.0);
    Snapshot::new(vec![Arc::new(source)], SeqNo(0))
}

/// The series with a long label that no source has.
fn made() -> String {
    format!("label_replace(x, 'v', '{}$1', 'i', '(.*)')", "v".repeat(LONG))
}

fn ask(s: &Snapshot, text: &str, memory_bytes: u64) -> (Result<Value, PromqlError>, Budget) {
    let budget = Budget::new(QueryLimits { memory_bytes, ..QueryLimits::DEFAULT });
    let answer = Query::new(s, text).budget(&budget).at(Timestamp::from_nanos(0));
    (answer.map(|(value, _)| value), budget)
}

fn is_memory(error: &PromqlError) -> bool {
    matches!(error, PromqlError::Eval(EvalError::LimitExceeded { which: Limit::Memory, .. }))
}

#[test]
fn whatever_makes_labels_is_charged_for_them() {
    let s = series("");
    let memory = ONCE * 3 / 2;
    let made = made();
    for text in [made.clone(), format!("count({made})"), format!("abs({made})")] {
        ask(&s, &text, memory).0.unwrap_or_else(|e| panic!("{text:.20}: {e}"));
        assert!(is_memory(&ask(&s, &text, ONCE).0.unwrap_err()), "{text:.20}");
    }
    for text in [
        "label_join(MADE, 'q', '', 'v')",
        "label_replace(MADE, 'q', '$1', 'v', '(.*)')",
        "sum by (v) (MADE)",
        "sum without (le) (MADE)",
        "quantile by (v) (0.5, MADE)",
        "topk by (v) (1, MADE)",
        "count_values by (v) ('c', MADE)",
        "x and on (v) MADE",
        "x unless on (v) MADE",
        "x or on (v) MADE",
        "x == on (v) MADE",
        "x + ignoring (le) MADE",
        "MADE * on (i) group_left () x",
        "x * on (i) group_left (v) MADE",
        "histogram_quantile(0.5, MADE)",
        "histogram_quantiles(MADE, 'q', 0.5, 0.9)",
        "info(MADE)",
        "max_over_time(MADE[1m:10s])",
        "MADE[1m:10s]",
    ] {
        let asked = text.replace("MADE", &made);
        let (answer, budget) = ask(&s, &asked, memory);
        let error = answer.expect_err(text);
        assert!(is_memory(&error), "{text}: {error}");
        assert_eq!((error.kind(), budget.bytes_held()), (ErrorKind::Execution, 0), "{text}");
        ask(&s, &asked, 64 << 20).0.unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let long = "v".repeat(LONG);
    let absent = format!("absent(y{{{}}})", (0..100).map(|i| format!("a{i}='{long}'")).collect::<Vec<_>>().join(","));
    assert!(is_memory(&ask(&s, &absent, ONCE / 4).0.unwrap_err()));
}

/// They are held once, not once for each function that they went through, and no longer than the query lasts.
#[test]
fn labels_are_charged_for_as_long_as_they_are_there() {
    let s = series("");
    let mut text = made();
    for i in 0..20 {
        text = format!("label_replace({text}, 'q', '{i}', '', '')");
    }
    let (answer, budget) = ask(&s, &format!("count({text})"), ONCE * 3 / 2);
    assert_eq!(one(&answer.unwrap()), SERIES as f64);
    assert!(budget.bytes_held() < 1000, "{}", budget.bytes_held());
    let (answer, budget) = ask(&s, &text, ONCE * 3 / 2);
    answer.unwrap();
    assert!((ONCE..ONCE * 3 / 2).contains(&budget.bytes_held()), "an answer has its labels: {}", budget.bytes_held());
    let s = series(&"v".repeat(LONG));
    for (text, is_made) in [("x", false), ("abs(x)", true), ("sum by (v) (x)", true), ("x + x", true)] {
        let (answer, budget) = ask(&s, text, 64 << 20);
        answer.unwrap();
        assert_eq!(budget.bytes_held() > ONCE, is_made, "{text}: {}", budget.bytes_held());
    }
}

fn one(value: &Value) -> f64 {
    match value {
        Value::Vector(vector) if vector.len() == 1 => vector[0].value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn thousands_of_sources_end_when_the_time_is_up() {
    let mut source = VecSource::new();
    for i in 0..2000 {
        let all = labels(&[("__name__", "x"), ("i", &i.to_string()), ("v", "v")]);
        source.insert(&all, [Sample { timestamp: Timestamp::from_nanos(0), value: 1.0 }]);
    }
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    let text = format!("count(label_join(x, 'q', ''{}))", ", 'n'".repeat(50_000));
    let limits = QueryLimits { time: Duration::from_millis(20), ..QueryLimits::DEFAULT };
    let error = Query::new(&s, &text).limits(limits).at(Timestamp::from_nanos(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[test]
fn a_label_is_joined_of_each_source_in_the_order_asked_for() {
    let mut source = VecSource::new();
    let all = labels(&[("__name__", "x"), ("a", "1"), ("c", "3")]);
    source.insert(&all, [Sample { timestamp: Timestamp::from_nanos(0), value: 1.0 }]);
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    for (text, joined) in [
        ("label_join(x, 'q', '-', 'c', 'a', 'b', 'c', '__name__')", Some("3-1--3-x")),
        ("label_join(x, 'q', '-', 'a')", Some("1")),
        ("label_join(x, 'q', '-', 'b', 'b')", Some("-")),
        ("label_join(x, 'q', '', 'b', 'b')", None),
        ("label_join(x, 'q', '-')", None),
        ("label_join(x, 'a', '-', 'b')", None),
    ] {
        let Value::Vector(found) = ask(&s, text, 1 << 20).0.unwrap() else { panic!("{text}") };
        let target = if text.contains("'a', '-', 'b'") { "a" } else { "q" };
        assert_eq!(found[0].labels.get(target), joined, "{text}");
    }
}

#[test]
fn a_series_without_a_label_is_sorted_as_one_whose_value_is_empty() {
    let mut source = VecSource::new();
    let all: [&[(&str, &str)]; 5] =
        [&[("a", "host10")], &[("a", "host9"), ("b", "2")], &[("b", "1")], &[("a", "host9")], &[("c", "0")]];
    for (i, pairs) in all.iter().enumerate() {
        let mut pairs = pairs.to_vec();
        pairs.push(("__name__", "x"));
        pairs.sort_unstable();
        source.insert(&labels(&pairs), [Sample { timestamp: Timestamp::from_nanos(0), value: i as f64 }]);
    }
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    let many = (0..3000).map(|i| format!("'n{i}'")).collect::<Vec<_>>().join(",");
    for (names, order) in [
        ("'a', 'b'".to_owned(), [4.0, 2.0, 3.0, 1.0, 0.0]),
        (format!("'a', {many}, 'b', 'a'"), [4.0, 2.0, 3.0, 1.0, 0.0]),
        ("'b', 'a'".to_owned(), [4.0, 3.0, 0.0, 2.0, 1.0]),
    ] {
        for (function, reversed) in [("sort_by_label", false), ("sort_by_label_desc", true)] {
            let Value::Vector(found) = ask(&s, &format!("{function}(x, {names})"), 1 << 20).0.unwrap() else {
                panic!()
            };
            let mut values: Vec<f64> = found.iter().map(|sample| sample.value).collect();
            if reversed {
                values.reverse();
            }
            assert_eq!(values, order, "{function} {names:.40}");
        }
    }
}

/// A group of which some members lose their name makes two series, each of which may get other labels.
#[test]
fn a_group_that_becomes_two_series_is_given_back_as_two() {
    let mut source = VecSource::new();
    for (name, i, at) in [("x", "1", 0), ("y", "2", 10)] {
        let samples = [Sample { timestamp: Timestamp::from_nanos(at), value: 1.0 }];
        source.insert(&labels(&[("__name__", name), ("i", i), ("v", &"v".repeat(LONG))]), samples);
    }
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    let budget = Budget::new(QueryLimits::DEFAULT);
    let query = Query::new(&s, "label_replace(sum by (v) (x or abs(y)), 'v', '', 'none', '')").budget(&budget);
    let (matrix, _) = query
        .range(Timestamp::from_nanos(0), Timestamp::from_nanos(20), Duration::from_nanos(5))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(matrix.len(), 1);
    assert!(budget.bytes_held() < 2000, "{}", budget.bytes_held());
}
