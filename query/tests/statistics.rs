//! Statistics of whole chunks answer as the samples in them would.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::chunked::{ChunkedSource, sources, values};
use common::promql::STALE;
use common::segments::segment;
use common::told::{compare_promql, promql};
use common::{OddSource, Pairs, labels, range, snapshot};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use tidegauge_query::{Aggregate, Aggregation, Budget, QueryLimits, ScanStats, Selection, Table};
use tidegauge_storage::chunk::{ChunkStats, StatsWanted};
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::source::{AgeMask, Columns, Mask, Masked, ReadCounts, SampleSource, Snapshot};

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

/// What is asked in one pass, beside each aggregate alone.
const TOGETHER: [&[Aggregate]; 5] = [
    &[Aggregate::Sum, Aggregate::Count],
    &[Aggregate::Avg, Aggregate::Max, Aggregate::Min],
    &[Aggregate::Last, Aggregate::Count, Aggregate::First, Aggregate::Last],
    &[Aggregate::Rate, Aggregate::Sum],
    &ALL,
];

fn ask(snapshot: &Snapshot, aggregate: Aggregate, every: Option<i64>, by: Option<&[&str]>, range: TimeRange) -> Table {
    asked(snapshot, &[aggregate], every, by, range).run().unwrap()
}

fn asked(
    snapshot: &Snapshot,
    aggregates: &[Aggregate],
    every: Option<i64>,
    by: Option<&[&str]>,
    range: TimeRange,
) -> Aggregation {
    let first = Selection::new(snapshot, &[]).unwrap().range(range).aggregate(aggregates[0]);
    let mut asked = aggregates[1..].iter().fold(first, |asked, &aggregate| asked.and(aggregate));
    if let Some(every) = every {
        asked = asked.every(Duration::from_nanos(every as u64));
    }
    if let Some(by) = by {
        asked = asked.group_by(by.iter().copied());
    }
    asked
}

/// The same, but for the last bits of compensated sums.
fn same(aggregate: Aggregate, a: f64, b: f64) -> bool {
    let is_sum = matches!(aggregate, Aggregate::Sum | Aggregate::Avg);
    let close = || (a - b).abs() <= 4.0 * f64::EPSILON * b.abs() + 1e-20;
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (is_sum && close())
}

fn same_tables(aggregate: Aggregate, a: &Table, b: &Table, context: &str) {
    assert_eq!(a.series.len(), b.series.len(), "{aggregate:?} {context}");
    for (a, b) in a.series.iter().zip(&b.series) {
        assert_eq!((&a.labels, &a.timestamps), (&b.labels, &b.timestamps), "{aggregate:?} {context}");
        for (at, (a, b)) in b.timestamps.iter().zip(a.values.iter().zip(&b.values)) {
            assert!(same(aggregate, *a, *b), "{aggregate:?} {context} at {at}: {a} instead of {b}");
        }
    }
}

fn compare(with: &Snapshot, without: &Snapshot, every: Option<i64>, range: TimeRange) {
    for aggregate in ALL {
        for by in [None, Some(&["host"][..]), Some(&[])] {
            let (a, b) = (ask(with, aggregate, every, by, range), ask(without, aggregate, every, by, range));
            same_tables(aggregate, &a, &b, &format!("by {by:?} every {every:?} in {range:?}"));
        }
    }
    for aggregates in TOGETHER {
        for by in [None, Some(&["host"][..]), Some(&[])] {
            let context = format!("of {aggregates:?} by {by:?} every {every:?} in {range:?}");
            let tables = asked(with, aggregates, every, by, range).run_each().unwrap();
            assert_eq!(tables.len(), aggregates.len(), "{context}");
            for (&aggregate, table) in aggregates.iter().zip(&tables) {
                same_tables(aggregate, table, &ask(without, aggregate, every, by, range), &context);
            }
        }
    }
    let of = |snapshot| Selection::new(snapshot, &[]).unwrap().range(range);
    // Of a series nothing may be left: whether it is told of then is not what this is about.
    let counts = |snapshot| {
        let (all, counts) = (of(snapshot), of(snapshot).count().unwrap());
        let found = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        found.map(|(i, count)| (all.labels(i).clone(), count)).collect::<Vec<_>>()
    };
    assert_eq!(counts(with), counts(without));
    let read = |snapshot| {
        let read = of(snapshot).par_map(|l, c| (l.clone(), c.timestamps.clone(), bits(&c.values))).unwrap();
        read.into_iter().filter(|(_, at, _)| !at.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(read(with), read(without));
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn statistics_answer_as_decoding_would(
        sources in sources(),
        every in prop_oneof![1 => Just(None), 6 => (1..120i64).prop_map(Some), 1 => Just(Some(i64::MAX))],
        start in -110..110i64,
        end in -110..110i64,
    ) {
        let plain = snapshot(sources.iter().map(|source| source.plain.clone()));
        let chunked = snapshot(sources);
        compare(&chunked, &plain, every, TimeRange::ALL);
        compare(&chunked, &plain, every, range(start, end));
    }
}

/// What is left of all series, overwritten samples gone, if only these values count.
fn left_between(plain: &Snapshot, low: f64, high: f64) -> Snapshot {
    let merged = Selection::new(plain, &[]).unwrap().par_map(|l, c| (l.clone(), c.clone())).unwrap();
    let left = merged.into_iter().map(|(labels, columns)| {
        let pairs = columns.timestamps.iter().copied().zip(columns.values.iter().copied());
        (labels, pairs.filter(|&(_, value)| low <= value && value <= high).collect::<Pairs>())
    });
    snapshot([OddSource { series: left.collect(), batches: vec![5], key: None }])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn samples_of_other_values_are_as_if_they_were_not_there(
        sources in sources(),
        every in prop_oneof![1 => Just(None), 6 => (1..120i64).prop_map(Some)],
        bounds in [prop_oneof![3 => values(), 2 => -20.0..20.0], prop_oneof![3 => values(), 2 => -20.0..20.0]],
        asked in prop_oneof![Just(TimeRange::ALL), (-110..110i64, -110..110i64).prop_map(|(a, b)| range(a, b))],
    ) {
        let [low, high] = if bounds[0] > bounds[1] { [bounds[1], bounds[0]] } else { bounds };
        let twin = left_between(&snapshot(sources.iter().map(|source| source.plain.clone())), low, high);
        let chunked = snapshot(sources);
        for aggregate in ALL {
            for by in [None, Some(&["host"][..]), Some(&[])] {
                let mut all = Selection::new(&chunked, &[]).unwrap().range(asked).aggregate(aggregate).between(low..=high);
                if let Some(every) = every {
                    all = all.every(Duration::from_nanos(every as u64));
                }
                if let Some(by) = by {
                    all = all.group_by(by.iter().copied());
                }
                let (a, b) = (all.run().unwrap(), ask(&twin, aggregate, every, by, asked));
                let context = format!("{aggregate:?} by {by:?} every {every:?} in {asked:?} of {low}..={high}");
                prop_assert_eq!(a.series.len(), b.series.len(), "{}", context);
                for (a, b) in a.series.iter().zip(&b.series) {
                    prop_assert_eq!((&a.labels, &a.timestamps), (&b.labels, &b.timestamps), "{}", context);
                    for (a, b) in a.values.iter().zip(&b.values) {
                        prop_assert!(same(aggregate, *a, *b), "{}: {} instead of {}", context, a, b);
                    }
                }
            }
        }
    }
}

/// Values 0 to 199 in chunks of ten, and what is read where only some count.
#[test]
fn chunks_that_values_rule_out_are_not_read() {
    let pairs: Pairs = (0..200).map(|i| (i * 10, i as f64)).collect();
    let plain = OddSource { series: vec![(labels(&[("a", "1")]), pairs)], batches: vec![4], key: None };
    let one = snapshot([ChunkedSource { plain, chunk: 10, piece: 10 }]);
    let count = |values: std::ops::RangeInclusive<f64>| {
        let budget = Budget::new(QueryLimits::DEFAULT);
        let all = Selection::within(&one, &[], TimeRange::ALL, &budget).unwrap();
        let table = all.aggregate(Aggregate::Count).between(values).run().unwrap();
        let stats = budget.stats();
        let chunks = (stats.chunks_pruned, stats.chunks_by_statistics, stats.chunks_decoded);
        (table.series.first().map_or(0.0, |series| series.values[0]), chunks)
    };
    assert_eq!(count(1e300..=f64::INFINITY), (0.0, (20, 0, 0)));
    assert_eq!(count(50.0..=79.0), (30.0, (17, 3, 0)));
    assert_eq!(count(55.0..=84.0), (30.0, (16, 2, 2)));
    assert_eq!(count(f64::NEG_INFINITY..=f64::INFINITY), (200.0, (0, 20, 0)));
    assert_eq!(count(f64::NAN..=f64::NAN), (0.0, (20, 0, 0)));
    assert_eq!(count(9.5..=9.6).0, 0.0);
}

/// Deletes of some series in some time, and ages below which some are hidden.
fn masks() -> impl Strategy<Value = Mask> {
    let matcher = || prop_oneof![Just("0"), Just("1"), Just("2")].prop_map(|host| Matcher::equal("host", host));
    let matchers = || prop::collection::vec(matcher(), 0..2);
    let start = prop_oneof![20 => -110..110i64, 1 => Just(i64::MIN)];
    let end = prop_oneof![20 => -110..110i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    // One that begins at the end of time leaves what no range says.
    let bounds = prop_oneof![4 => (start, end), 1 => Just((i64::MAX, i64::MAX))];
    let tombstone = (matchers(), bounds).prop_map(|(matchers, (start, end))| {
        Arc::new(Tombstone { seq: SeqNo(0), matchers, range: range(start, end), created: 0 })
    });
    // A horizon at the end of time hides what lies there too: an end of `MAX` is none.
    let horizon = prop_oneof![20 => -110..110i64, 1 => Just(i64::MIN)];
    let age = (matchers(), horizon)
        .prop_map(|(matchers, horizon)| AgeMask { matchers: matchers.into(), horizon: Timestamp::from_nanos(horizon) });
    (prop::collection::vec(tombstone, 0..5), prop::collection::vec(age, 0..3))
        .prop_map(|(tombstones, ages)| Mask { tombstones, ages: ages.into() })
}

/// What `mask` leaves of a source, one sample at a time.
fn left_by(mask: &Mask, source: &OddSource) -> OddSource {
    let mut left = source.clone();
    for (labels, pairs) in &mut left.series {
        let of_series = |matchers: &[Matcher]| matchers.iter().all(|m| m.matches_labels(labels));
        let age = mask.ages.iter().find(|age| of_series(&age.matchers));
        pairs.retain(|&at, _| {
            let at = Timestamp::from_nanos(at);
            let deleted = mask.tombstones.iter().any(|t| of_series(&t.matchers) && t.range.contains(at));
            !deleted && age.is_none_or(|age| at >= age.horizon)
        });
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Overlapping sources, late samples, and deletes and ages that cut chunks: a chunk of which anything is hidden
    /// must be decoded, and one of which all is hidden must not count.
    #[test]
    fn statistics_answer_as_decoding_would_where_samples_are_hidden(
        sources in prop::collection::vec((sources(), masks()), 0..3),
        every in prop_oneof![1 => Just(None), 6 => (1..120i64).prop_map(Some)],
        (start, end) in (-110..110i64, -110..110i64),
        (reach, at, steps, step) in (1..150i64, -60..110i64, 1..5i64, 1..160i64),
    ) {
        let all = || sources.iter().flat_map(|(sources, mask)| sources.iter().map(move |source| (source, mask)));
        let plain = snapshot(all().map(|(source, mask)| left_by(mask, &source.plain)));
        let masked = snapshot(all().map(|(source, mask)| Masked::new(Arc::new(source.clone()), mask.clone())));
        compare(&masked, &plain, every, TimeRange::ALL);
        compare(&masked, &plain, every, range(start, end));
        compare_promql(&masked, &plain, reach, at, steps, step);
    }
}

/// No range says that the last timestamp of all is hidden: the statistics of a chunk that ends there were passed on whole.
#[test]
fn a_chunk_whose_sample_at_the_end_of_time_is_hidden_is_decoded() {
    let (set, pairs) = (labels(&[("__name__", "x")]), [(0, 1.0), (i64::MAX, 2.0)]);
    let plain = OddSource { series: vec![(set, pairs.into_iter().collect())], batches: vec![7], key: None };
    let end = range(i64::MAX, i64::MAX);
    let tombstone = Tombstone { seq: SeqNo(0), matchers: Vec::new(), range: end, created: 0 };
    let mask = Mask { tombstones: vec![Arc::new(tombstone)], ages: Arc::default() };
    let left = snapshot([left_by(&mask, &plain)]);
    for chunk in [1, 2] {
        let source = ChunkedSource { plain: plain.clone(), chunk, piece: 1 };
        compare(&snapshot([Masked::new(Arc::new(source), mask.clone())]), &left, None, TimeRange::ALL);
    }
}

/// What is hidden in the middle of a chunk leaves two ranges; at the end of the first the second begins, not what of the
/// chunk would be decoded next. Else the earlier source's sample at 45 was passed on before this one's, and both counted.
#[test]
fn a_hole_in_a_chunk_lets_no_sample_count_twice() {
    let set = || labels(&[("__name__", "x")]);
    let of = |pairs: &[(i64, f64)], chunk, piece| ChunkedSource {
        plain: OddSource { series: vec![(set(), pairs.iter().copied().collect())], batches: vec![7], key: None },
        chunk,
        piece,
    };
    let earlier = of(&[(45, 1.0)], 1, 1);
    let later = of(&[(18, 2.0), (45, 3.0), (89, 4.0), (90, 5.0)], 4, 2);
    let tombstone = Tombstone { seq: SeqNo(0), matchers: Vec::new(), range: range(23, 45), created: 0 };
    let mask = Mask { tombstones: vec![Arc::new(tombstone)], ages: Arc::default() };
    let plain = snapshot([&earlier, &later].map(|source| left_by(&mask, &source.plain)));
    let masked = snapshot([earlier, later].map(|source| Masked::new(Arc::new(source), mask.clone())));
    compare(&masked, &plain, None, TimeRange::ALL);
    assert_eq!(Selection::new(&masked, &[]).unwrap().count().unwrap(), [4]);
}

/// Any delete or age that reached a source had all its series read through cursors.
#[test]
fn a_masked_source_tells_by_statistics_where_no_chunk_is_cut() {
    let series = (0..2).map(|a| (labels(&[("a", &a.to_string())]), (0..200).map(|i| (i * 10, i as f64)).collect()));
    let plain = OddSource { series: series.collect(), batches: vec![4], key: None };
    let source = Arc::new(ChunkedSource { plain, chunk: 10, piece: 3 });
    let tombstone = |of: &str, hidden| Tombstone {
        seq: SeqNo(0),
        matchers: vec![Matcher::equal("a", of)],
        range: hidden,
        created: 0,
    };
    let age = |horizon| AgeMask { matchers: Arc::default(), horizon: Timestamp::from_nanos(horizon) };
    let told = |of: &str, hidden, horizon, asked| {
        let mask = Mask { tombstones: vec![Arc::new(tombstone(of, hidden))], ages: [age(horizon)].into() };
        let masked = Masked::new(Arc::clone(&source) as Arc<dyn SampleSource>, mask);
        let mut samples = 0;
        let mut see = |_: u32, stats: &ChunkStats| {
            samples += stats.count;
            true
        };
        let mut counts = ReadCounts::default();
        let told = masked.statistics(0..1, asked, StatsWanted::NONE, &mut counts, &mut see).unwrap();
        (told == 1).then_some((samples, counts.chunks_by_statistics))
    };
    assert_eq!(told("1", range(505, 700), i64::MIN, TimeRange::ALL), Some((200, 20)), "another one's");
    assert_eq!(told("0", range(500, 700), 100, TimeRange::ALL), Some((170, 17)), "whole chunks");
    assert_eq!(told("0", range(505, 700), 95, range(700, 1900)), Some((120, 12)), "it is not asked for");
    assert_eq!(told("0", range(505, 700), 100, TimeRange::ALL), None);
    assert_eq!(told("0", range(500, 700), 85, TimeRange::ALL), None);
    assert_eq!(told("0", TimeRange::ALL, 0, TimeRange::ALL), Some((0, 0)));
}

/// One series of 20 chunks of ten samples, a second apart, and what else is given.
fn counted(others: Vec<ChunkedSource>, every: i64, asked: TimeRange) -> ScanStats {
    let pairs: Pairs = (0..200).map(|i| (i * 10, i as f64)).collect();
    let plain = OddSource { series: vec![(labels(&[("a", "1")]), pairs)], batches: vec![4], key: None };
    let sources = std::iter::once(ChunkedSource { plain, chunk: 10, piece: 3 }).chain(others);
    let budget = Budget::new(QueryLimits::DEFAULT);
    let snapshot = snapshot(sources);
    let selection = Selection::within(&snapshot, &[], asked, &budget).unwrap();
    selection.aggregate(Aggregate::Sum).every(Duration::from_nanos(every as u64)).run().unwrap();
    budget.stats()
}

#[test]
fn only_chunks_that_a_window_or_another_source_cuts_are_decoded() {
    let chunks = |stats: ScanStats| (stats.chunks_by_statistics, stats.chunks_decoded);
    // Windows of 500: five chunks of 100 each.
    assert_eq!(chunks(counted(vec![], 500, TimeRange::ALL)), (20, 0));
    // Windows of 150 cut every other chunk.
    assert_eq!(chunks(counted(vec![], 150, TimeRange::ALL)).1, 7);
    // A range that cuts the third and the last but one.
    let stats = counted(vec![], 10_000, range(250, 1850));
    assert_eq!((chunks(stats), stats.samples_read, stats.samples_by_statistics), ((15, 2), 10, 150));
    // Late samples in the seventh chunk's time, and one between two chunks.
    let late: Pairs = [(601, 1.0), (680, 2.0), (895, 3.0)].into();
    let plain = OddSource { series: vec![(labels(&[("a", "1")]), late)], batches: vec![4], key: None };
    let stats = counted(vec![ChunkedSource { plain, chunk: 1, piece: 1 }], 10_000, TimeRange::ALL);
    assert_eq!(chunks(stats), (19 + 2, 2), "of the late ones only that decodes whose time is taken");
    // Another series in that time is in nobody's way.
    let other: Pairs = (0..2000).map(|i| (i, 1.0)).collect();
    let plain = OddSource { series: vec![(labels(&[("a", "2")]), other)], batches: vec![4], key: None };
    let stats = counted(vec![ChunkedSource { plain, chunk: 500, piece: 9 }], 10_000, TimeRange::ALL);
    assert_eq!((chunks(stats), stats.series_read, stats.series_selected), ((20 + 4, 0), 2, 2));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_where_statistics_answer() {
    let mut state = 1u64;
    let mut rough = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 2f64.powi((state >> 58) as i32 - 32)
    };
    let mut one = |i: usize| {
        let set = labels(&[("host", &format!("{:03}", i % 7)), ("n", &format!("{i:05}"))]);
        (set, (0..90).map(|at| (at * 10, rough())).collect())
    };
    let plain = OddSource { series: (0..700).map(&mut one).collect(), batches: vec![64, 3], key: None };
    let snapshot = snapshot([ChunkedSource { plain, chunk: 13, piece: 5 }]);
    let answers = |threads: usize| -> Vec<(Vec<i64>, Vec<u64>)> {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let selection = Selection::new(&snapshot, &[]).unwrap().on(pool);
        let tables = ALL.iter().flat_map(|&aggregate| {
            let asked = selection.aggregate(aggregate);
            [asked.clone(), asked.clone().group_all(), asked.every(Duration::from_nanos(300)).group_by(["host"])]
        });
        let tables: Vec<Table> = tables.map(|asked| asked.run().unwrap()).collect();
        tables.iter().flat_map(|t| &t.series).map(|s| (s.timestamps.clone(), bits(&s.values))).collect()
    };
    let one = answers(1);
    assert_eq!(one, answers(2));
    assert_eq!(one, answers(8));
}

/// Counters of 12,000 samples, and a second segment that repeats some of them late.
fn segments(odd: &[(usize, f64)]) -> (Snapshot, Snapshot) {
    let set = |i: u64| labels(&[("__name__", "c"), ("host", &i.to_string())]);
    let counter = |i: u64| {
        let mut columns = Columns::default();
        (0..12_000u64).for_each(|n| columns.push((n * 10) as i64, (n * (i + 1) % 50_000) as f64 / 8.0));
        odd.iter().for_each(|&(at, value)| columns.values[at] = value);
        columns
    };
    let late = |i: u64| {
        let mut columns = Columns::default();
        (0..300u64).for_each(|n| columns.push((50_000 + n * 7 + i) as i64, n as f64));
        columns
    };
    let (first, second): (BTreeMap<_, _>, BTreeMap<_, _>) =
        ((0..4).map(|i| (set(i), counter(i))).collect(), (0..2).map(|i| (set(i), late(i))).collect());
    let plain = [&first, &second].map(|series| {
        let pairs = |c: &Columns| c.timestamps.iter().copied().zip(c.values.iter().copied()).collect();
        let series = series.iter().map(|(labels, columns)| (labels.clone(), pairs(columns))).collect();
        OddSource { series, batches: vec![1000], key: None }
    });
    let fs = SimFs::new();
    (snapshot([segment(&fs, 1, &first), segment(&fs, 2, &second)]), snapshot(plain))
}

#[test]
fn segments_answer_by_statistics_as_plain_samples_do() {
    for odd in [&[][..], &[(5000, STALE), (9000, f64::NAN), (11_999, STALE), (2, -0.0), (4096, f64::INFINITY)]] {
        let (segments, plain) = segments(odd);
        for every in [None, Some(100_000), Some(30_000), Some(3_600)] {
            for asked in [TimeRange::ALL, range(0, 81_920), range(40_960, 200_000), range(13, 51_000)] {
                compare(&segments, &plain, every, asked);
            }
        }
        for asked in [TimeRange::ALL, range(0, 81_920), range(13, 51_000), range(51_000, 51_001), range(-9, 0)] {
            let last = |snapshot| {
                let last = Selection::new(snapshot, &[]).unwrap().range(asked).last().unwrap();
                last.iter().map(|s| s.map(|s| (s.timestamp, s.value.to_bits()))).collect::<Vec<_>>()
            };
            assert_eq!(last(&segments), last(&plain), "{asked:?}");
        }
    }
}

#[test]
fn a_last_value_is_read_from_statistics_or_one_vector() {
    let (segments, _) = segments(&[]);
    let count = |asked: TimeRange| {
        let budget = Budget::new(QueryLimits::DEFAULT);
        Selection::within(&segments, &[Matcher::equal("host", "3")], asked, &budget).unwrap().last().unwrap();
        budget.stats()
    };
    let whole = count(TimeRange::ALL);
    assert_eq!((whole.chunks_by_statistics, whole.chunks_decoded, whole.samples_read), (1, 0, 0));
    let cut = count(range(0, 50_000));
    assert_eq!((cut.chunks_by_statistics, cut.chunks_decoded, cut.chunks_pruned), (0, 1, 2));
    assert!(cut.samples_read <= 1024, "{cut:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn promql_answers_by_statistics_as_by_decoding(
        sources in sources(), range in 1..150i64, at in -60..110i64, steps in 1..5i64, step in 1..160i64,
    ) {
        let plain = snapshot(sources.iter().map(|source| source.plain.clone()));
        compare_promql(&snapshot(sources), &plain, range, at, steps, step);
    }
}

#[test]
fn promql_over_segments_decodes_only_what_a_range_cuts() {
    for odd in [&[][..], &[(5000, STALE), (9000, f64::NAN), (11_999, STALE), (2, -0.0), (4096, f64::INFINITY)]] {
        let (segments, plain) = segments(odd);
        for (range, at, steps, step) in
            [(200_000, 119_990, 1, 1), (81_920, 119_990, 1, 1), (40_960, 40_950, 3, 40_960), (9_000, 50_000, 4, 30_000)]
        {
            compare_promql(&segments, &plain, range, at, steps, step);
        }
    }
    let (segments, _) = segments(&[]);
    // The third series has no late samples: three chunks, of 4,096 samples, 4,096 and 3,808.
    let stats = promql(&segments, "sum_over_time(c{host=\"3\"}[1e-3])", 119_990, 1, 1).1;
    assert_eq!((stats.chunks_by_statistics, stats.chunks_decoded), (3, 0));
    assert_eq!((stats.samples_by_statistics, stats.samples_read), (12_000, 0));
    let stats = promql(&segments, "avg_over_time(c{host=\"3\"}[100e-6])", 119_990, 1, 1).1;
    assert_eq!((stats.chunks_by_statistics, stats.chunks_decoded), (2, 1));
    assert_eq!(stats.samples_by_statistics, 4096 + 3808);
    assert_eq!(stats.samples_read, 2096, "of the first chunk what the range leaves of it");
    let stats = promql(&segments, "c{host=\"3\"}", 119_990, 1, 1).1;
    assert_eq!((stats.chunks_decoded, stats.samples_read), (0, 0), "the last sample is in the statistics");
    assert_eq!((stats.chunks_by_statistics, stats.samples_by_statistics), (1, 3808));
    let stats = promql(&segments, "c{host=\"3\"}", 60_000, 1, 1).1;
    assert!(stats.chunks_decoded == 1 && stats.samples_read <= 1024, "{stats:?}");
}

/// A counter that begins anew after each of `lives` samples, in steps of 1 ÷ `unit`.
fn restarting(lives: usize, unit: f64, samples: usize) -> Columns {
    let mut columns = Columns::default();
    (0..samples).for_each(|n| columns.push(n as i64 * 10, ((n % lives) * (1 + n / lives % 7)) as f64 / unit));
    columns
}

/// As segments, and as plain samples.
fn stored(columns: Columns) -> (Snapshot, Snapshot) {
    let name = labels(&[("__name__", "c"), ("host", "0")]);
    let pairs: Pairs = columns.timestamps.iter().copied().zip(columns.values.iter().copied()).collect();
    let plain = OddSource { series: vec![(name.clone(), pairs)], batches: vec![1000], key: None };
    let fs = SimFs::new();
    (snapshot([segment(&fs, 1, &BTreeMap::from([(name, columns)]))]), snapshot([plain]))
}

/// Each chunk with a reset was decoded.
#[test]
fn whole_numbers_with_resets_are_answered_by_statistics_and_fractions_decoded() {
    // Three chunks; of the last two columns: decoded by the aggregate, and by PromQL, which takes one reset a chunk.
    let cases = [(5_000, 1.0, 0, 0), (700, 1.0, 0, 3), (5_000, 10.0, 2, 2), (20_000, 10.0, 0, 0), (4_096, 1.0, 0, 0)];
    for (lives, unit, by_aggregate, by_promql) in cases {
        let (segments, plain) = stored(restarting(lives, unit, 12_000));
        compare(&segments, &plain, None, TimeRange::ALL);
        compare(&segments, &plain, Some(30_000), TimeRange::ALL);
        compare_promql(&segments, &plain, 200_000, 119_990, 1, 1);
        let budget = Budget::new(QueryLimits::DEFAULT);
        let all = Selection::within(&segments, &[], TimeRange::ALL, &budget).unwrap();
        all.aggregate(Aggregate::Rate).run().unwrap();
        let context = format!("a life of {lives} samples, in steps of 1/{unit}");
        assert_eq!(budget.stats().chunks_decoded, by_aggregate, "{context}");
        for function in ["rate", "increase"] {
            let stats = promql(&segments, &format!("{function}(c[200000e-9])"), 119_990, 1, 1).1;
            assert_eq!((stats.chunks_decoded, stats.chunks_by_statistics), (by_promql, 3 - by_promql), "{context}");
        }
    }
}

/// Counters of whole numbers, of tenths and of great ones that begin anew now and then.
fn restarting_sources() -> impl Strategy<Value = Vec<ChunkedSource>> {
    let step = prop_oneof![3 => Just(None), 60 => (0..90u16).prop_map(Some)];
    let unit = prop_oneof![4 => Just(1.0), 2 => Just(10.0), 1 => Just(1.0 / (1u64 << 44) as f64), 1 => Just(8.0)];
    let one = (0..2u8, prop::collection::btree_map(-100..100i64, step, 0..120), unit, 4..30usize, 1..5usize);
    prop::collection::vec(one, 1..4).prop_map(|all| {
        let source = |(host, steps, unit, chunk, piece): (u8, BTreeMap<i64, Option<u16>>, f64, usize, usize)| {
            let mut total = 0u64;
            let grow = |(at, step): (i64, Option<u16>)| {
                total = step.map_or(0, |step| total + u64::from(step));
                (at, total as f64 / unit)
            };
            let labels = labels(&[("__name__", "x"), ("host", &host.to_string())]);
            let series = vec![(labels, steps.into_iter().map(grow).collect())];
            ChunkedSource { plain: OddSource { series, batches: vec![7], key: None }, chunk, piece }
        };
        all.into_iter().map(source).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn counters_that_begin_anew_answer_to_the_bit(
        sources in restarting_sources(), every in prop_oneof![1 => Just(None), 3 => (20..150i64).prop_map(Some)],
        range in 50..250i64, at in -20..110i64, steps in 1..4i64,
    ) {
        let plain = snapshot(sources.iter().map(|source| source.plain.clone()));
        let chunked = snapshot(sources);
        compare(&chunked, &plain, every, TimeRange::ALL);
        compare_promql(&chunked, &plain, range, at, steps, range);
    }
}
