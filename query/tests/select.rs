//! What selecting promises.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{OddSource, Pairs, labels, range, same, snapshot};
use proptest::prelude::*;
use tidegauge_query::{Budget, Cancel, Limit, QueryError, QueryLimits, Selection};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, SeqRange, SeriesKey, TimeRange};
use tidegauge_storage::source::{ColumnCursor, ReadError, SampleSource, SeriesHit, Snapshot};

fn source(series: Vec<(Labels, Pairs)>) -> OddSource {
    OddSource { series, batches: vec![5, 1], key: None }
}

fn pairs(range: std::ops::Range<i64>, value: f64) -> Pairs {
    range.map(|at| (at, value)).collect()
}

fn cpu(host: &str) -> Labels {
    labels(&[("__name__", "cpu"), ("host", host)])
}

#[test]
fn a_series_is_joined_over_sources_and_the_later_source_wins() {
    let first = source(vec![(cpu("b"), pairs(0..4, 1.0)), (cpu("a"), pairs(0..2, 1.0))]);
    let second = source(vec![(cpu("c"), pairs(0..1, 2.0)), (cpu("b"), pairs(3..6, 2.0))]);
    let selection = Selection::new(&snapshot([first, second]), &[]).unwrap();
    let names: Vec<_> = selection.iter().map(|s| s.labels().get("host").unwrap().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let b = selection.series(1).read().unwrap();
    assert!(same(&b, &[(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]), "{b:?}");
    assert_eq!(selection.count().unwrap(), [2, 6, 1]);
}

#[test]
fn series_whose_keys_collide_stay_apart() {
    let key = Some(SeriesKey(7));
    let hosts = ["a", "b", "c"];
    let all = |value| hosts.iter().map(|h| (cpu(h), pairs(0..3, value))).collect();
    let first = OddSource { key, ..source(all(1.0)) };
    let mut second = OddSource { key, ..source(all(2.0)) };
    second.series.reverse();
    second.series.remove(1);
    let selection = Selection::new(&snapshot([first, second]), &[]).unwrap();
    assert_eq!(selection.len(), 3);
    let firsts = selection.par_map(|labels, c| (labels.get("host").unwrap().to_owned(), c.values.clone())).unwrap();
    let expected = [("a", 2.0), ("b", 1.0), ("c", 2.0)].map(|(host, v)| (host.to_owned(), vec![v; 3]));
    assert_eq!(firsts, expected);
}

#[test]
fn matchers_and_range_narrow_what_is_read() {
    let hosts = ["web1", "web2", "db1"].map(|host| (cpu(host), pairs(0..100, 1.0)));
    let snapshot = snapshot([source(hosts.to_vec())]);
    let web = Matcher::new("host", MatchOp::Regex, "web.*").unwrap();
    let selection = Selection::new(&snapshot, &[web]).unwrap().range(range(10, 20)).range(range(15, 90));
    assert_eq!(selection.count().unwrap(), [5, 5]);
    assert_eq!(selection.time_range(), range(15, 20));
    let nothing = selection.range(range(40, 50));
    assert_eq!((nothing.len(), nothing.count().unwrap()), (2, vec![0, 0]));
    assert_eq!(nothing.last().unwrap(), [None, None]);
}

#[test]
fn sources_outside_the_range_are_not_asked() {
    let early = source(vec![(cpu("early"), pairs(0..10, 1.0))]);
    let late = source(vec![(cpu("late"), pairs(100..110, 1.0))]);
    let budget = Budget::new(QueryLimits::DEFAULT);
    let selection = Selection::within(&snapshot([early, late]), &[], range(50, 200), &budget).unwrap();
    assert_eq!(selection.len(), 1);
    assert_eq!(selection.labels(0), &cpu("late"));
    assert!(budget.bytes_held() > 0);
    drop(selection);
    assert_eq!(budget.bytes_held(), 0);
}

fn stopped_by<T>(result: Result<T, QueryError>) -> Option<Limit> {
    match result {
        Err(QueryError::LimitExceeded { which, .. }) => Some(which),
        _ => None,
    }
}

#[test]
fn each_limit_stops_a_query_and_is_named() {
    let hosts = ["a", "b", "c"].map(|host| (cpu(host), pairs(0..5_000, 1.0)));
    let snapshot = snapshot([source(hosts.to_vec())]);
    let selection = Selection::new(&snapshot, &[]).unwrap();
    let default = QueryLimits::DEFAULT;

    let few = selection.clone().limits(QueryLimits { samples: 14_999, ..default });
    assert_eq!(stopped_by(few.count()), Some(Limit::Samples));
    assert_eq!(stopped_by(few.par_map(|_, columns| columns.len())), Some(Limit::Samples));
    assert_eq!(few.series(0).read().unwrap().len(), 5_000, "each operation has its own limit");
    let enough = selection.clone().limits(QueryLimits { samples: 15_000, ..default });
    assert_eq!(enough.count().unwrap(), [5_000; 3]);

    let small = selection.clone().limits(QueryLimits { memory_bytes: 10_000, ..default });
    assert_eq!(stopped_by(small.series(0).read()), Some(Limit::Memory));
    let late = selection.clone().limits(QueryLimits { time: Duration::ZERO, ..default });
    assert_eq!(stopped_by(late.count()), Some(Limit::Time));
    let budget = Budget::new(QueryLimits { series: 2, ..default });
    assert_eq!(stopped_by(Selection::within(&snapshot, &[], TimeRange::ALL, &budget)), Some(Limit::Series));

    let together = Budget::new(QueryLimits { samples: 9_999, ..default });
    let bounded = selection.clone().budget(&together);
    bounded.series(0).read().unwrap();
    assert_eq!(stopped_by(bounded.series(1).read()), Some(Limit::Samples));

    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(selection.cancelled_by(&cancel).last(), Err(QueryError::Cancelled)));
}

/// Label sets are counted as they come: a limit speaks before all of them are there.
#[test]
fn label_sets_are_held_before_all_are_decoded() {
    #[derive(Debug, Default)]
    struct Long {
        decoded: AtomicUsize,
    }
    const SERIES: u32 = 100_000;
    const BYTES: usize = 10_000;
    impl SampleSource for Long {
        fn seq_range(&self) -> SeqRange {
            SeqRange { start: SeqNo(1), end: SeqNo(2) }
        }
        fn time_range(&self) -> Option<TimeRange> {
            Some(TimeRange::ALL)
        }
        fn select(&self, _: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
            Ok((0..SERIES).map(|ordinal| SeriesHit { ordinal, key: SeriesKey(ordinal.into()) }).collect())
        }
        fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            Ok(Labels::new([("n", format!("{ordinal:0BYTES$}"))], &LabelLimits::NONE).unwrap())
        }
        fn read<'a>(&'a self, _: u32, _: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
            unreachable!("only selected")
        }
    }
    let long = Arc::new(Long::default());
    let snapshot = Snapshot::new(vec![Arc::clone(&long) as Arc<dyn SampleSource>], SeqNo(0));
    // 16 MiB for the series, and for some 2,000 label sets twice.
    let budget = Budget::new(QueryLimits { memory_bytes: 56 << 20, ..QueryLimits::DEFAULT });
    let refused = Selection::within(&snapshot, &[], TimeRange::ALL, &budget);
    assert_eq!(stopped_by(refused.map(drop)), Some(Limit::Memory));
    let decoded = long.decoded.load(Ordering::Relaxed);
    assert!((1..10_000).contains(&decoded), "{decoded} label sets");
    assert_eq!(budget.bytes_held(), 0);
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![20 => -50..50i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
}

proptest! {
    #[test]
    fn last_and_par_map_agree_with_reading_everything(
        all in prop::collection::vec((0..4u8, prop::collection::btree_map(timestamps(), any::<i16>(), 0..30)), 0..12),
        start in timestamps(), end in timestamps(), everything in any::<bool>(),
    ) {
        let range = if everything { TimeRange::ALL } else { range(start, end) };
        let mut naive: BTreeMap<Labels, Pairs> = BTreeMap::new();
        let mut sources = Vec::new();
        for (host, samples) in &all {
            let labels = cpu(&host.to_string());
            let samples: Pairs = samples.iter().map(|(at, v)| (*at, f64::from(*v))).collect();
            if !samples.is_empty() {
                naive.entry(labels.clone()).or_default().extend(&samples);
            }
            sources.push(source(vec![(labels, samples)]));
        }
        let inside = |at: i64| range.contains(tidegauge_storage::model::Timestamp::from_nanos(at));
        for samples in naive.values_mut() {
            samples.retain(|at, _| inside(*at));
        }
        let selection = Selection::new(&snapshot(sources), &[]).unwrap().range(range);
        let read = selection.par_map(|labels, columns| (labels.clone(), columns.clone())).unwrap();
        prop_assert_eq!(read.len(), naive.len());
        let last = selection.last().unwrap();
        for (i, ((labels, columns), (expected, samples))) in read.iter().zip(&naive).enumerate() {
            prop_assert_eq!(labels, expected);
            let pairs: Vec<_> = samples.iter().map(|(at, v)| (*at, *v)).collect();
            prop_assert!(same(columns, &pairs));
            prop_assert_eq!(last[i].map(|s| (s.timestamp.nanos(), s.value)), pairs.last().copied());
        }
        let total = selection.par_fold(|_, columns| columns.len(), 0, |a, b| a + b).unwrap();
        prop_assert_eq!(total as u64, selection.count().unwrap().iter().sum::<u64>());
    }
}
