//! What a query may cost: bounds are kept, by name, and nothing takes more than linear time.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::promql::{SECOND, at, labels, range, snapshot, values};
use tidegauge_query::promql::{ErrorKind, EvalError, Evaluator, Options, Query, parse};
use tidegauge_query::{Budget, Cancel, QueryLimits};
use tidegauge_storage::model::{Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

/// Nothing can be looked at while one text is matched.
#[test]
fn a_long_text_and_a_large_expression_are_not_matched() {
    let long = "ab".repeat(400_000);
    let s = snapshot(&[(&[("__name__", "x"), ("v", &long)], &[(0, 1.0)])]);
    assert_eq!(values(&s, "count(x{v=~\"[ab]*a[ab]{9}\"})", 0).len(), 1);
    for text in ["x{v=~\"[ab]*a[ab]{900}\"}", "label_replace(x, \"n\", \"m\", \"v\", \"[ab]*a[ab]{900}\")"] {
        let e = at(&s, text, 0).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Execution, "{text}: {e}");
        assert!(e.to_string().contains("shorten the expression"), "{text}: {e}");
    }
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
    // Each cell makes a series of its own: time is up long before memory is.
    let count = Query::new(&s, "count_values(\"v\", x * time())")
        .limits(QueryLimits { time: Duration::from_millis(50), ..QueryLimits::DEFAULT });
    let e = count.range(Timestamp::from_nanos(0), Timestamp::from_nanos(999 * SECOND), Duration::from_millis(100));
    assert_eq!(e.unwrap_err().kind(), ErrorKind::Timeout);

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

/// An eighth of what a thread has unless it is told otherwise.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
}

/// Each costs no stack: neither reading, evaluating, printing, comparing, copying nor dropping.
#[test]
fn thousands_of_operators_in_a_row_fit_on_a_small_stack() {
    const MANY: usize = 5_000;
    on_a_small_stack(|| {
        let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
        let row = |operands: &[&str]| format!("x{}", operands.iter().cycle().take(MANY).copied().collect::<String>());
        for (operands, expected) in [
            (&[" + x"][..], 1.0 + MANY as f64),
            (&[" or x"], 1.0),
            (&[" and x"], 1.0),
            (&[" unless y"], 1.0),
            (&[" > 0"], 1.0),
            (&[" * 1", " + 2 ^ 2 * x - 4"], 1.0),
            (&[" or x * x + x", " and x - x or y"], 1.0),
        ] {
            let text = row(operands);
            assert_eq!(values(&s, &text, 0), [expected], "{text:.40}");
            let ranged = range(&s, &text, 0, 2 * SECOND, SECOND);
            assert_eq!(ranged[0].values, [expected; 3], "{text:.40}");
            let expr = parse(&text).unwrap();
            assert_eq!(expr.to_string(), text);
            assert_eq!(expr, expr.clone());
            assert!(format!("{expr:?}").len() > text.len());
        }
        let text = row(&[" + x"]);
        let pretty = parse(&text).unwrap().pretty();
        assert_eq!(pretty.split_ascii_whitespace().collect::<Vec<_>>().join(" "), text);
        let deep = format!("{}x{}", "abs(".repeat(90), ")".repeat(90));
        assert!(parse(&deep).is_ok());
    });
    let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0)])]);
    let deep = format!("{}x{}", "abs(".repeat(95), ")".repeat(95));
    assert_eq!(values(&s, &deep, 0), [1.0]);
    let number = range(&s, &format!("time(){}", " + 1".repeat(MANY)), 0, 10_999 * SECOND, SECOND);
    assert_eq!(number[0].values[7], 7.0 + MANY as f64, "what is joined is gone: no memory for each operand");
}

/// In brackets, and behind `offset`, where parentheses begin it.
#[test]
fn thousands_of_operators_in_a_row_of_durations_fit_on_a_small_stack() {
    const MANY: usize = 5_000;
    on_a_small_stack(|| {
        let s = snapshot(&[(&[("__name__", "x")], &[(0, 1.0), (SECOND, 2.0)])]);
        let zero = " + 2 - 4 / 2".repeat(MANY / 3);
        let ranges = [format!("last_over_time(x[1{zero}])"), format!("last_over_time(x[1h:1{zero}])")];
        for text in ranges.into_iter().chain([format!("x offset (1){zero}"), format!("x offset (1{zero})")]) {
            let expr = parse(&text).unwrap();
            assert_eq!(expr.to_string(), text);
            assert_eq!(expr, expr.clone());
            let expected = if text.contains("offset") { 1.0 } else { 2.0 };
            assert_eq!(values(&s, &text, SECOND), [expected], "{text:.40}");
        }
        let fault = at(&s, &format!("x[1{zero} / (step() - step())]"), SECOND).unwrap_err();
        assert!(fault.to_string().contains("division by zero"), "{fault}");
    });
    for row in ["x[1ROW]", "x offset (1)ROW", "x[1h:1ROW]"] {
        let refused = parse(&row.replace("ROW", &"+1".repeat(20_001))).unwrap_err();
        assert!(refused.to_string().contains("more than 20000 operators"), "{row}: {refused}");
    }
}

/// `or` one after the other looks at each series once: 5,000 of different ones, as generated alerts have.
#[test]
fn a_union_of_thousands_of_series_is_as_if_joined_one_by_one() {
    let names: Vec<String> = (0..300).map(|i| (i % 250).to_string()).collect();
    let mut source = VecSource::new();
    for (i, name) in names.iter().take(250).enumerate() {
        let times = (0..6).filter(|at| (i + at) % 3 > 0).map(|at| at as i64 * SECOND);
        let samples = times.map(|at| Sample { timestamp: Timestamp::from_nanos(at), value: i as f64 });
        source.insert(&labels(&[("__name__", "x"), ("i", name)]), samples);
    }
    let s = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
    for operand in ["x{i=\"I\"}", "abs(x{i=\"I\"} offset 1s)", "sum by (j) (x{i=\"I\"})"] {
        for matching in ["", " on ()", " on (i)", " ignoring (i)"] {
            let operands: Vec<String> = names.iter().map(|name| operand.replace('I', name)).collect();
            let together = operands.join(&format!(" or{matching} "));
            // Parentheses make each a node of its own.
            let mut one_by_one = operands[0].clone();
            for (at, operand) in operands.iter().enumerate().skip(1) {
                one_by_one = match at % 5 {
                    0 => format!("({one_by_one}) or{matching} {operand}"),
                    _ => format!("{one_by_one} or{matching} {operand}"),
                };
            }
            let ask = |text: &str| range(&s, text, 0, 6 * SECOND, SECOND / 2);
            assert_eq!(ask(&together), ask(&one_by_one), "{operand}{matching}");
        }
    }
}

/// Only neighbours with one matching are joined at once.
#[test]
fn a_row_of_or_joins_each_operand_by_its_own_matching() {
    let value = [(0, 1.0)];
    let all: Vec<_> =
        (0..12).map(|n| [("__name__", "x"), ("i", ["a", "b", "c"][n % 3]), ("j", ["a", "b"][n % 2])]).collect();
    let s = snapshot(&all[..6].iter().map(|labels| (&labels[..], &value[..])).collect::<Vec<_>>());
    let matchings = ["", " on (i)", " ignoring (i)", " on ()", " on (j)"];
    for first in 0..matchings.len() {
        for second in 0..matchings.len() {
            let (mut row, mut nested) = ("x{i=\"a\",j=\"a\"}".to_owned(), "x{i=\"a\",j=\"a\"}".to_owned());
            for (at, of) in all.iter().enumerate().skip(1) {
                let matching = matchings[if at % 4 < 2 { first } else { second }];
                let operand = format!("x{{i=\"{}\",j=\"{}\"}}", of[1].1, of[2].1);
                row = format!("{row} or{matching} {operand}");
                nested = format!("({nested}) or{matching} {operand}");
            }
            assert_eq!(range(&s, &row, 0, SECOND, SECOND), range(&s, &nested, 0, SECOND, SECOND), "{row}");
        }
    }
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

/// The samples of a range count together, not series by series: many short ones took all the memory there was.
#[test]
fn all_series_of_a_raw_range_count_against_the_limit_of_samples() {
    let samples: Vec<(i64, f64)> = (0..50).map(|i| (i * SECOND, i as f64)).collect();
    let s = snapshot(&[(&[("__name__", "x"), ("i", "1")], &samples), (&[("__name__", "x"), ("i", "2")], &samples)]);
    for text in ["x[1h]", "x[1h:1s]"] {
        let ask = |samples| {
            let limits = QueryLimits { samples, ..QueryLimits::DEFAULT };
            Query::new(&s, text).limits(limits).at(Timestamp::from_nanos(49 * SECOND))
        };
        ask(100).unwrap_or_else(|e| panic!("{text}: {e}"));
        let refused = ask(99).unwrap_err();
        assert!(refused.to_string().contains("too many samples"), "{text}: {refused}");
        let limits = QueryLimits { memory_bytes: 1500, ..QueryLimits::DEFAULT };
        let refused = Query::new(&s, text).limits(limits).at(Timestamp::from_nanos(49 * SECOND)).unwrap_err();
        assert!(refused.to_string().contains("1500 bytes of memory"), "{text}: {refused}");
    }
}
