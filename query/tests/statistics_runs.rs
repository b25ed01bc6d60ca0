//! Series that stand one behind the other are asked for their statistics together: each answers as if it were asked alone.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::segments::segment;
use common::{OddSource, labels, range, snapshot};
use tidegauge_query::{Aggregate, Budget, QueryLimits, Selection, Table};
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{Labels, MatchOp, Matcher, TimeRange};
use tidegauge_storage::source::{Columns, Snapshot};

/// So many that a piece of the work has several of them.
const SERIES: u64 = 1_100;

fn set(i: u64) -> Labels {
    labels(&[("n", &format!("{i:04}")), ("of", &(i % 7).to_string())])
}

/// Whole numbers, so that sums are the same in any order; 300 samples have statistics and 100 have none.
fn columns(i: u64, from: i64, samples: u64) -> Columns {
    let mut columns = Columns::default();
    (0..samples).for_each(|n| columns.push(from + n as i64 * 10, ((n * (i + 3)) % 1_013) as f64));
    columns
}

/// A segment with all series, every fifth of them short, and a later one with some of them, and with some that begin
/// before the first one ends: and the same samples without statistics.
fn snapshots() -> (Snapshot, Snapshot) {
    let first: BTreeMap<_, _> =
        (0..SERIES).map(|i| (set(i), columns(i, 0, if i % 5 == 3 { 100 } else { 300 }))).collect();
    let some = (0..SERIES).filter(|i| i % 11 < 2);
    let second: BTreeMap<_, _> =
        some.map(|i| (set(i), columns(i, if i % 11 == 0 { 10_000 } else { 1_005 }, 300))).collect();
    let plain = [&first, &second].map(|series| {
        let pairs = |c: &Columns| c.timestamps.iter().copied().zip(c.values.iter().copied()).collect();
        let series = series.iter().map(|(labels, columns)| (labels.clone(), pairs(columns))).collect();
        OddSource { series, batches: vec![100], key: None }
    });
    let fs = SimFs::new();
    (snapshot([segment(&fs, 1, &first), segment(&fs, 2, &second)]), snapshot(plain))
}

#[test]
fn series_that_are_asked_together_answer_as_each_alone() {
    let (segments, plain) = snapshots();
    let all = Matcher::new("n", MatchOp::Regex, ".*").unwrap();
    let gaps = Matcher::new("of", MatchOp::Regex, "[0-4]").unwrap();
    let every_seventh = Matcher::equal("of", "5");
    for matcher in [all, gaps, every_seventh] {
        for asked in [TimeRange::ALL, range(0, 3_000), range(0, 1_000), range(500, 20_000), range(10_000, 20_000)] {
            let ask = |snapshot: &Snapshot| -> Vec<Table> {
                let selection = Selection::new(snapshot, std::slice::from_ref(&matcher)).unwrap().range(asked);
                let of = |aggregate| {
                    let each = selection.clone().aggregate(aggregate);
                    let windows = each.clone().every(Duration::from_nanos(1_000));
                    let between = selection.clone().aggregate(aggregate).between(100.0..=900.0);
                    [each.clone(), each.group_all(), windows.clone(), windows.group_by(["of"]), between]
                };
                let aggregates = [Aggregate::Count, Aggregate::Sum, Aggregate::Max, Aggregate::Last, Aggregate::Rate];
                aggregates.into_iter().flat_map(of).map(|asked| asked.run().unwrap()).collect()
            };
            assert_eq!(ask(&segments), ask(&plain), "{matcher:?} in {asked:?}");
        }
    }
}

/// What is counted is counted of those alone that were told.
#[test]
fn of_series_that_are_asked_together_each_counts_once() {
    let (segments, _) = snapshots();
    let budget = Budget::new(QueryLimits::DEFAULT);
    let first = Selection::within(&segments, &[], range(0, 1_000), &budget).unwrap();
    first.aggregate(Aggregate::Count).run().unwrap();
    let stats = budget.stats();
    // All chunks are cut at their 100th sample, but for the short ones, which have no statistics.
    assert_eq!((stats.series_read, stats.chunks_by_statistics, stats.samples_read), (SERIES, 0, SERIES * 100));
    let budget = Budget::new(QueryLimits::DEFAULT);
    let whole = Selection::within(&segments, &[], range(0, 3_000), &budget).unwrap();
    whole.aggregate(Aggregate::Count).run().unwrap();
    let stats = budget.stats();
    // Both segments may hold samples of those that the second one has: they are read.
    let told = (0..SERIES).filter(|i| i % 5 != 3 && i % 11 > 1).count() as u64;
    assert_eq!(
        (stats.series_read, stats.chunks_by_statistics, stats.samples_by_statistics),
        (SERIES, told, told * 300)
    );
    let short = (0..SERIES).filter(|i| i % 5 == 3).count() as u64 * 100;
    let merged = (0..SERIES).filter(|i| i % 5 != 3 && i % 11 < 2).count() as u64 * 300;
    let late = (0..SERIES).filter(|i| i % 11 == 1).count() as u64 * 200;
    assert_eq!(stats.samples_read, short + merged + late);
}

/// Of two segments with nothing in common the second goes on with the number at which the first one ends.
#[test]
fn series_of_two_segments_are_not_asked_together_for_their_numbers() {
    let half = SERIES / 2;
    let first: BTreeMap<_, _> = (0..half).map(|i| (set(i), columns(i, 0, 300))).collect();
    let others = (0..half).map(|i| (labels(&[("n", &format!("!{i:04}")), ("of", "none")]), columns(i, 0, 300)));
    let second: BTreeMap<_, _> = others.chain((half..SERIES).map(|i| (set(i), columns(i, 0, 300)))).collect();
    let fs = SimFs::new();
    let segments = snapshot([segment(&fs, 1, &first), segment(&fs, 2, &second)]);
    let selection = Selection::new(&segments, &[Matcher::new("of", MatchOp::NotEqual, "none").unwrap()]).unwrap();
    let sums = selection.aggregate(Aggregate::Sum).run().unwrap();
    let expected = (0..SERIES).map(|i| columns(i, 0, 300).values.iter().sum::<f64>());
    assert_eq!(sums.series.iter().map(|series| series.values[0]).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}
