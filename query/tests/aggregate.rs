//! What aggregating promises, against loops over a map.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{OddSource, Pairs, labels, range, snapshot};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use tidegauge_query::{Aggregate, Limit, QueryError, QueryLimits, Selection, Table};
use tidegauge_storage::model::{Labels, TimeRange, Timestamp};
use tidegauge_storage::source::Snapshot;

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
const ALL: [Aggregate; 8] = [
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Avg,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::Rate,
];

/// Result by (labels, window).
type Answer = BTreeMap<(Labels, i64), f64>;
/// The samples of each series.
type Cell<'a> = BTreeMap<&'a Labels, Vec<(i64, f64)>>;

fn flat(table: &Table) -> Answer {
    let mut out = Answer::new();
    for series in &table.series {
        assert_eq!(series.timestamps.len(), series.values.len());
        assert!(!series.timestamps.is_empty() && series.timestamps.is_sorted());
        for (at, value) in series.timestamps.iter().zip(&series.values) {
            assert!(out.insert((series.labels.clone(), *at), *value).is_none(), "each window once");
        }
    }
    assert!(table.series.windows(2).all(|two| two[0].labels < two[1].labels), "sorted, each group once");
    out
}

/// One value out of the samples of several series, as the documentation says it.
fn naive_value(aggregate: Aggregate, series: &[Vec<(i64, f64)>]) -> Option<f64> {
    let all = || series.iter().flatten().copied();
    let count = all().count() as f64;
    if count == 0.0 {
        return None;
    }
    let numbers = || all().map(|(_, v)| v).filter(|v| !v.is_nan());
    Some(match aggregate {
        Aggregate::Count => count,
        Aggregate::Sum => all().map(|(_, v)| v).sum(),
        Aggregate::Avg => all().map(|(_, v)| v).sum::<f64>() / count,
        Aggregate::Min => numbers().reduce(f64::min).unwrap_or(f64::NAN),
        Aggregate::Max => numbers().reduce(f64::max).unwrap_or(f64::NAN),
        Aggregate::First => all().reduce(|a, b| if b.0 < a.0 { b } else { a })?.1,
        Aggregate::Last => all().reduce(|a, b| if b.0 > a.0 { b } else { a })?.1,
        Aggregate::Rate => {
            let rates: Vec<f64> = series.iter().filter_map(|one| naive_rate(one)).collect();
            if rates.is_empty() {
                return None;
            }
            rates.iter().sum()
        }
        _ => unreachable!("not in ALL"),
    })
}

fn naive_rate(samples: &[(i64, f64)]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let lost: f64 = samples.windows(2).filter(|two| two[1].1 < two[0].1).map(|two| two[0].1).sum();
    let seconds = (i128::from(last.0) - i128::from(first.0)) as f64 / 1e9;
    (samples.len() > 1).then(|| (last.1 - first.1 + lost) / seconds)
}

fn naive_window(at: i64, every: Option<i64>, range: TimeRange) -> i64 {
    match every {
        Some(every) => {
            let start = i128::from(at).div_euclid(i128::from(every)) * i128::from(every);
            i64::try_from(start).unwrap_or(i64::MIN)
        }
        None => range.start.nanos(),
    }
}

fn naive(
    store: &BTreeMap<Labels, Pairs>,
    aggregate: Aggregate,
    every: Option<i64>,
    names: Option<&[&str]>,
    range: TimeRange,
) -> Answer {
    // Group and window -> series -> samples. Both maps are sorted by labels.
    let mut cells: BTreeMap<(Labels, i64), Cell<'_>> = BTreeMap::new();
    for (labels, samples) in store {
        let group = names.map_or_else(
            || labels.clone(),
            |names| {
                let pairs: Vec<_> = labels.iter().filter(|(name, _)| names.contains(name)).collect();
                Labels::from_sorted(&pairs)
            },
        );
        for (&at, &value) in samples {
            if range.contains(Timestamp::from_nanos(at)) && value.to_bits() != STALE.to_bits() {
                let cell = cells.entry((group.clone(), naive_window(at, every, range))).or_default();
                cell.entry(labels).or_default().push((at, value));
            }
        }
    }
    let value = |series: BTreeMap<_, Vec<_>>| naive_value(aggregate, &series.into_values().collect::<Vec<_>>());
    cells.into_iter().filter_map(|(at, series)| Some((at, value(series)?))).collect()
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (1.0 + scale)
}

fn check(snapshot: &Snapshot, store: &BTreeMap<Labels, Pairs>, every: Option<i64>, range: TimeRange) {
    let selection = Selection::new(snapshot, &[]).unwrap().range(range);
    let groupings: [Option<&[&str]>; 4] = [None, Some(&[]), Some(&["host"]), Some(&["zone", "host", "nowhere"])];
    for aggregate in ALL {
        for names in groupings {
            let mut asked = selection.aggregate(aggregate);
            if let Some(every) = every {
                asked = asked.every(Duration::from_nanos(every as u64));
            }
            if let Some(names) = names {
                asked = asked.group_by(names.iter().copied());
            }
            let found = flat(&asked.run().unwrap());
            let expected = naive(store, aggregate, every, names, range);
            let context = || format!("{aggregate:?} by {names:?} every {every:?} in {range:?}");
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{}", context());
            for ((at, a), b) in found.iter().zip(expected.values()) {
                let scale = if aggregate == Aggregate::Rate { b.abs() + 1e6 } else { 1e6 };
                assert!(close(*a, *b, scale), "{} {at:?}: {a} instead of {b}", context());
            }
        }
    }
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![30 => -100..100i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => -1e4..1e4f64,
        6 => (0..5u8).prop_map(f64::from),
        2 => Just(STALE),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)],
    ]
}

fn windows() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        1 => Just(None),
        8 => (1..40i64).prop_map(Some),
        1 => (1..=i64::MAX).prop_map(Some),
        1 => Just(Some(i64::MAX)),
    ]
}

fn series_labels(host: u8, zone: u8) -> Labels {
    let (host, zone) = (host.to_string(), if zone == 0 { String::new() } else { zone.to_string() });
    labels(&[("__name__", "x"), ("host", &host), ("zone", &zone)])
}

/// A few sources, and what they hold together.
fn stores() -> impl Strategy<Value = (Vec<OddSource>, BTreeMap<Labels, Pairs>)> {
    let samples = prop::collection::btree_map(timestamps(), values(), 0..60);
    let one = (0..3u8, 0..3u8, samples, prop::collection::vec(1..20usize, 1..4));
    prop::collection::vec(one, 0..9).prop_map(|all| {
        let mut store: BTreeMap<Labels, Pairs> = BTreeMap::new();
        let mut sources = Vec::new();
        for (host, zone, samples, batches) in all {
            let labels = series_labels(host, zone);
            store.entry(labels.clone()).or_default().extend(&samples);
            sources.push(OddSource { series: vec![(labels, samples)], batches, key: None });
        }
        (sources, store)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_aggregate_agrees_with_its_naive_twin(
        (sources, store) in stores(), every in windows(), start in timestamps(), end in timestamps(),
    ) {
        let snapshot = snapshot(sources);
        check(&snapshot, &store, every, TimeRange::ALL);
        check(&snapshot, &store, every, range(start, end));
    }
}

/// Values whose sum depends on the order in which they are added.
fn rough(series: usize, samples: usize) -> Snapshot {
    let mut state = 1u64;
    let mut value = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let exponent = (state >> 58) as i32 - 32;
        ((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 2f64.powi(exponent)
    };
    let mut one = |i: usize| {
        let set = labels(&[("host", &format!("{:03}", i % 7)), ("n", &format!("{i:05}"))]);
        (set, (0..samples as i64).map(|at| (at * 10, value())).collect())
    };
    let series = (0..series).map(&mut one).collect();
    snapshot([OddSource { series, batches: vec![64, 3], key: None }])
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_of_the_answer() {
    let snapshot = rough(700, 90);
    let answers = |threads: usize| -> Vec<Vec<(i64, u64)>> {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let selection = Selection::new(&snapshot, &[]).unwrap().on(pool);
        let mut all = Vec::new();
        for aggregate in ALL {
            let asked = selection.aggregate(aggregate);
            let every = Duration::from_nanos(130);
            for asked in [asked.clone(), asked.clone().group_all(), asked.every(every).group_by(["host"])] {
                let table = asked.run().unwrap();
                let bits = |s: &tidegauge_query::ResultSeries| -> Vec<(i64, u64)> {
                    s.timestamps.iter().zip(&s.values).map(|(at, v)| (*at, v.to_bits())).collect()
                };
                all.extend(table.series.iter().map(bits));
            }
        }
        all
    };
    let one = answers(1);
    assert_eq!(one, answers(2));
    assert_eq!(one, answers(8));
}

fn stopped_by<T>(result: Result<T, QueryError>) -> Option<Limit> {
    match result {
        Err(QueryError::LimitExceeded { which, .. }) => Some(which),
        _ => None,
    }
}

#[test]
fn a_tiny_window_over_all_time_costs_no_more_than_its_samples_and_is_bounded() {
    let ends: Pairs = [(i64::MIN, 1.0), (0, 2.0), (i64::MAX, 3.0)].into();
    let snapshot = snapshot([OddSource { series: vec![(series_labels(1, 1), ends)], batches: vec![9], key: None }]);
    let selection = Selection::new(&snapshot, &[]).unwrap();
    let table = selection.aggregate(Aggregate::Sum).every(Duration::from_nanos(1)).run().unwrap();
    assert_eq!(table.series[0].timestamps, [i64::MIN, 0, i64::MAX]);
    assert_eq!(table.series[0].values, [1.0, 2.0, 3.0]);

    let limits = QueryLimits { memory_bytes: 1 << 20, ..QueryLimits::DEFAULT };
    let many = Selection::new(&rough(70, 10_000), &[]).unwrap().limits(limits);
    let tiny = many.aggregate(Aggregate::Count).every(Duration::from_nanos(1));
    assert_eq!(stopped_by(tiny.run()), Some(Limit::Memory));
    assert_eq!(stopped_by(tiny.clone().group_by(["host"]).run()), Some(Limit::Memory));
    assert_eq!(stopped_by(tiny.group_by(["n"]).run()), Some(Limit::Memory));
    let coarse = many.aggregate(Aggregate::Count).every(Duration::from_nanos(100_000));
    assert_eq!(coarse.group_all().run().unwrap().series[0].values, [700_000.0]);
}

#[test]
fn the_tables_of_a_grouped_answer_are_counted_for_each_aggregate() {
    let limits = QueryLimits { memory_bytes: 2 << 20, ..QueryLimits::DEFAULT };
    let selection = Selection::new(&rough(1, 10_000), &[]).unwrap().limits(limits);
    let one = selection.aggregate(Aggregate::Count).every(Duration::from_nanos(1)).group_all();
    assert_eq!(one.run_each().unwrap().len(), 1);
    let many = (0..20).fold(one, |asked, _| asked.and(Aggregate::Count));
    assert_eq!(stopped_by(many.run_each()), Some(Limit::Memory));
}

#[test]
fn a_window_without_length_is_refused() {
    let selection = Selection::new(&rough(1, 1), &[]).unwrap();
    let asked = selection.aggregate(Aggregate::Sum).every(Duration::ZERO);
    assert!(matches!(asked.run(), Err(QueryError::EmptyWindow)));
}

#[test]
fn aggregates_obey_the_limits_on_samples_and_time() {
    let selection = Selection::new(&rough(70, 1_000), &[]).unwrap();
    let few = selection.clone().limits(QueryLimits { samples: 69_999, ..QueryLimits::DEFAULT });
    assert_eq!(stopped_by(few.aggregate(Aggregate::Sum).run()), Some(Limit::Samples));
    assert_eq!(stopped_by(few.aggregate(Aggregate::Sum).group_all().run()), Some(Limit::Samples));
    let late = selection.limits(QueryLimits { time: Duration::ZERO, ..QueryLimits::DEFAULT });
    assert_eq!(stopped_by(late.aggregate(Aggregate::Sum).run()), Some(Limit::Time));
}

#[test]
fn a_counter_that_restarts_still_has_its_whole_increase() {
    let second = 1_000_000_000;
    let counter: Pairs =
        [(0, 10.0), (1, 20.0), (2, 5.0), (3, 15.0), (4, STALE), (5, 1.0)].map(|(t, v)| (t * second, v)).into();
    let snapshot = snapshot([OddSource { series: vec![(series_labels(1, 1), counter)], batches: vec![1], key: None }]);
    let rate = Selection::new(&snapshot, &[]).unwrap().aggregate(Aggregate::Rate).run().unwrap();
    // 10 up, restarted at 5, 10 up, restarted at 1: 10 + 5 + 10 + 1 over 5 s.
    assert_eq!(rate.series[0].values, [26.0 / 5.0]);
}
