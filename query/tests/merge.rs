//! What merging promises, against a map that keeps the last value of each timestamp.

mod common;

use common::{OddSource, Pairs, labels, range, same};
use proptest::prelude::*;
use tidegauge_query::merge::Merge;
use tidegauge_storage::model::TimeRange;
use tidegauge_storage::source::{ColumnCursor, Columns, SampleSource};

fn source(pairs: Pairs, batches: Vec<usize>) -> OddSource {
    OddSource { series: vec![(labels(&[("a", "b")]), pairs)], batches, key: None }
}

fn naive(sources: &[OddSource], range: TimeRange) -> Vec<(i64, f64)> {
    let mut all = Pairs::new();
    for source in sources {
        all.extend(&source.series[0].1);
    }
    let inside = |at: i64| range.start.nanos() <= at && (at < range.end.nanos() || range.end.nanos() == i64::MAX);
    all.into_iter().filter(|(at, _)| inside(*at)).collect()
}

fn merged(sources: &[OddSource], range: TimeRange) -> (Columns, usize) {
    let parts = sources.iter().filter_map(|s| Some((s as &dyn SampleSource, 0, s.time_range()?)));
    let mut merge = Merge::new(parts, range);
    let (mut out, mut calls) = (Columns::default(), 0);
    while merge.next(&mut out).unwrap() {
        calls += 1;
        assert_eq!(out.timestamps.len(), out.values.len());
    }
    assert!(!merge.next(&mut out).unwrap(), "spent stays spent");
    (out, calls)
}

fn check(sources: &[OddSource], range: TimeRange) {
    let expected = naive(sources, range);
    let (out, _) = merged(sources, range);
    assert!(same(&out, &expected), "{range:?}\n{out:?}\n{expected:?}");
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0..60i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
}

fn sources(apart: i64) -> impl Strategy<Value = Vec<OddSource>> {
    let pairs = prop::collection::btree_map(timestamps(), any::<f64>(), 0..50);
    let one = (pairs, prop::collection::vec(1..9usize, 1..4));
    prop::collection::vec(one, 0..7).prop_map(move |all| {
        let moved = all.into_iter().zip(0i64..).map(|((pairs, batches), i)| {
            let pairs = pairs.into_iter().map(|(at, v)| (at.saturating_add(i * apart), v)).collect();
            source(pairs, batches)
        });
        moved.collect()
    })
}

proptest! {
    #[test]
    fn overlapping_sources_give_each_timestamp_once_and_the_later_source_wins(
        sources in sources(0), start in timestamps(), end in timestamps(),
    ) {
        check(&sources, range(start, end));
        check(&sources, TimeRange::ALL);
    }

    #[test]
    fn sources_that_follow_each_other_with_some_overlap_merge_in_order(
        sources in sources(45), apart in sources(-70), start in -300..300i64, len in 0..600i64,
    ) {
        check(&sources, TimeRange::ALL);
        check(&sources, range(start, start + len));
        check(&apart, TimeRange::ALL);
    }
}

#[test]
fn long_runs_of_overlapping_sources_cross_buffers() {
    let even = (0..10_000).map(|i| (i * 2, i as f64)).collect();
    let third = (0..6_000).map(|i| (i * 3, -(i as f64))).collect();
    let block = (5_000..9_000).map(|i| (i, 0.5)).collect();
    check(&[source(even, vec![1000, 1]), source(third, vec![4096]), source(block, vec![7])], TimeRange::ALL);
}

#[test]
fn a_source_alone_is_passed_through_batch_by_batch() {
    let pairs: Pairs = (0..5_000).map(|i| (i, i as f64)).collect();
    let sources = [source(pairs, vec![2048])];
    let (out, calls) = merged(&sources, TimeRange::ALL);
    assert_eq!((out.len(), calls), (5_000, 3));
}

#[test]
fn nothing_comes_out_of_no_source_and_of_an_empty_range() {
    check(&[], TimeRange::ALL);
    let some = [source((0..10).map(|i| (i, 1.0)).collect(), vec![3])];
    check(&some, range(5, 5));
    check(&some, range(9, 2));
    check(&some, range(10, 20));
}
