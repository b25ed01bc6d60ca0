//! Statistics of whole chunks answer as the samples in them would.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{OddSource, Pairs, labels, range, snapshot};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use tidegauge_query::promql::{Query, Value};
use tidegauge_query::{Aggregate, Budget, QueryLimits, ScanStats, Selection, Table};
use tidegauge_storage::chunk::{ChunkStats, StatsWanted};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{Labels, Matcher, SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{
    AgeMask, ColumnCursor, Columns, Mask, Masked, ReadCounts, ReadError, SampleSource, SeriesHit, Snapshot,
};

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

/// Series cut into small chunks that have statistics, decoded in smaller pieces.
#[derive(Clone, Debug)]
struct ChunkedSource {
    plain: OddSource,
    chunk: usize,
    piece: usize,
}

struct ChunkedCursor {
    chunks: std::collections::VecDeque<Columns>,
    range: TimeRange,
    /// Samples of the first chunk that were passed on.
    at: usize,
    piece: usize,
    counts: ReadCounts,
}

impl ColumnCursor for ChunkedCursor {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        while out.len() == before {
            let Some(chunk) = self.chunks.front() else { return Ok(false) };
            self.counts.chunks_decoded += u64::from(self.at == 0);
            let end = (self.at + self.piece).min(chunk.len());
            for i in self.at..end {
                if self.range.contains(Timestamp::from_nanos(chunk.timestamps[i])) {
                    out.push(chunk.timestamps[i], chunk.values[i]);
                }
            }
            self.at = end;
            if end == chunk.len() {
                self.chunks.pop_front();
                self.at = 0;
            }
        }
        Ok(true)
    }

    fn bound(&self) -> Option<i64> {
        self.chunks.front().map(|chunk| chunk.timestamps[self.at])
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        let Some(chunk) = self.chunks.front().filter(|_| self.at == 0) else { return Ok(None) };
        let inside = chunk.timestamps.iter().all(|at| self.range.contains(Timestamp::from_nanos(*at)));
        Ok(inside.then(|| ChunkStats::of(&chunk.timestamps, &chunk.values)))
    }

    fn pass(&mut self) {
        assert_eq!(self.at, 0, "only a whole chunk is passed over");
        self.chunks.pop_front().expect("a chunk was told of");
        self.counts.chunks_by_statistics += 1;
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

impl SampleSource for ChunkedSource {
    fn seq_range(&self) -> SeqRange {
        SeqRange::default()
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.plain.time_range()
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        self.plain.select(matchers)
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.plain.labels(ordinal)
    }

    fn statistics(
        &self,
        ordinal: u32,
        range: TimeRange,
        wanted: StatsWanted,
        see: &mut dyn FnMut(&ChunkStats) -> bool,
    ) -> Result<Option<ReadCounts>, ReadError> {
        // Half of the sources leave it to their cursors.
        if self.piece.is_multiple_of(2) {
            return Ok(None);
        }
        let mut cursor = self.read(ordinal, range)?;
        while let Some(mut stats) = cursor.whole()? {
            // Whoever does not ask for it must not look at it.
            if !wanted.sum {
                (stats.sum, stats.compensation) = (f64::NAN, f64::NAN);
            }
            if !wanted.extremes {
                (stats.min, stats.max) = (f64::NAN, f64::NAN);
            }
            if !wanted.ends {
                (stats.first_value, stats.last_value) = (f64::NAN, f64::NAN);
            }
            if !wanted.increase {
                stats.increase = f64::NAN;
            }
            if !see(&stats) {
                return Ok(None);
            }
            cursor.pass();
        }
        Ok((!cursor.next(&mut Columns::default())?).then(|| cursor.counts()))
    }

    fn samples_about(&self, ordinal: u32, range: TimeRange) -> Option<u64> {
        self.plain.samples_about(ordinal, range)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let samples: Vec<(i64, f64)> = self.plain.series[ordinal as usize].1.iter().map(|(t, v)| (*t, *v)).collect();
        let chunks = samples.chunks(self.chunk).map(|chunk| Columns {
            timestamps: chunk.iter().map(|(at, _)| *at).collect(),
            values: chunk.iter().map(|(_, value)| *value).collect(),
        });
        let overlaps = |c: &Columns| {
            let nanos = Timestamp::from_nanos;
            TimeRange::covering(nanos(c.timestamps[0]), nanos(c.timestamps[c.len() - 1])).overlaps(&range)
        };
        let chunks = chunks.filter(overlaps).collect();
        let counts = ReadCounts::default();
        Ok(Box::new(ChunkedCursor { chunks, range, at: 0, piece: self.piece, counts }))
    }
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        40 => -1e4..1e4f64,
        12 => (0..5u8).prop_map(f64::from),
        2 => Just(STALE),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(1e300)],
    ]
}

/// A counter, or anything.
fn samples() -> impl Strategy<Value = Pairs> {
    let timestamps = || prop_oneof![60 => -100..100i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let counter = prop::collection::btree_map(timestamps(), 0..10u8, 0..60).prop_map(|steps| {
        let mut value = 0.0;
        let grow = |(at, step): (i64, u8)| {
            value = if step == 0 { 0.0 } else { value + f64::from(step) };
            (at, value)
        };
        steps.into_iter().map(grow).collect()
    });
    prop_oneof![prop::collection::btree_map(timestamps(), values(), 0..60), counter]
}

fn sources() -> impl Strategy<Value = Vec<ChunkedSource>> {
    let one = (0..2u8, 0..2u8, samples(), 1..9usize, 1..5usize);
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let source = |(host, zone, samples, chunk, piece): (u8, u8, Pairs, usize, usize)| {
            let labels = labels(&[("__name__", "x"), ("host", &host.to_string()), ("zone", &zone.to_string())]);
            let plain = OddSource { series: vec![(labels, samples)], batches: vec![7], key: None };
            ChunkedSource { plain, chunk, piece }
        };
        all.into_iter().map(source).collect()
    })
}

fn ask(snapshot: &Snapshot, aggregate: Aggregate, every: Option<i64>, by: Option<&[&str]>, range: TimeRange) -> Table {
    let mut asked = Selection::new(snapshot, &[]).unwrap().range(range).aggregate(aggregate);
    if let Some(every) = every {
        asked = asked.every(Duration::from_nanos(every as u64));
    }
    if let Some(by) = by {
        asked = asked.group_by(by.iter().copied());
    }
    asked.run().unwrap()
}

/// The same, but for the last bits of compensated sums.
fn same(aggregate: Aggregate, a: f64, b: f64) -> bool {
    let is_sum = matches!(aggregate, Aggregate::Sum | Aggregate::Avg);
    let close = || (a - b).abs() <= 4.0 * f64::EPSILON * b.abs() + 1e-20;
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (is_sum && close())
}

fn compare(with: &Snapshot, without: &Snapshot, every: Option<i64>, range: TimeRange) {
    for aggregate in ALL {
        for by in [None, Some(&["host"][..]), Some(&[])] {
            let (a, b) = (ask(with, aggregate, every, by, range), ask(without, aggregate, every, by, range));
            let context = || format!("{aggregate:?} by {by:?} every {every:?} in {range:?}");
            assert_eq!(a.series.len(), b.series.len(), "{}", context());
            for (a, b) in a.series.iter().zip(&b.series) {
                assert_eq!((&a.labels, &a.timestamps), (&b.labels, &b.timestamps), "{}", context());
                for (at, (a, b)) in b.timestamps.iter().zip(a.values.iter().zip(&b.values)) {
                    assert!(same(aggregate, *a, *b), "{} at {at}: {a} instead of {b}", context());
                }
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
    // None begins at the end of time: what is left before it would be a range whose end is none.
    let start = prop_oneof![20 => -110..110i64, 1 => Just(i64::MIN)];
    let end = prop_oneof![20 => -110..110i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let tombstone = (matchers(), start, end).prop_map(|(matchers, start, end)| {
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

/// Segments as they are written and mapped, in the file system of the tests.
fn segment(fs: &SimFs, id: u64, series: &BTreeMap<Labels, Columns>) -> Segment {
    let dir = Path::new("/s");
    fs.create_dir_all(dir).unwrap();
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), dir, id, SegmentHeader::default()).unwrap();
    for (labels, columns) in series {
        writer.push_series(labels, columns, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    Segment::open(fs, &dir.join(file_name(id))).unwrap()
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

/// Labels, step and value, whatever the query was.
fn promql(snapshot: &Snapshot, text: &str, at: i64, steps: i64, step: i64) -> (Vec<(String, i64, f64)>, ScanStats) {
    let budget = Budget::new(QueryLimits::DEFAULT);
    let query = Query::new(snapshot, text).budget(&budget).lookback(Duration::from_nanos(25));
    let t = Timestamp::from_nanos;
    let found = if steps == 1 {
        match query.at(t(at)).unwrap().0 {
            Value::Vector(samples) => samples.iter().map(|s| (s.labels.to_string(), at, s.value)).collect(),
            other => panic!("{text} is {other:?}"),
        }
    } else {
        let matrix = query.range(t(at), t(at + (steps - 1) * step), Duration::from_nanos(step as u64)).unwrap().0;
        let series = matrix.iter().map(|s| (s.labels.to_string(), &s.timestamps, &s.values));
        series
            .flat_map(|(l, t, v)| t.iter().zip(v).map(move |(t, v)| (l.clone(), *t, *v)).collect::<Vec<_>>())
            .collect()
    };
    (found, budget.stats())
}

const OVER_TIME: [&str; 13] = [
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
    "delta",
];

fn compare_promql(with: &Snapshot, without: &Snapshot, range: i64, at: i64, steps: i64, step: i64) {
    let texts = OVER_TIME.iter().map(|f| format!("{f}({{__name__=~\"x|c\"}}[{range}e-9])"));
    for text in texts.chain(["x".to_owned(), "timestamp(c)".to_owned(), "absent_over_time(x[9e-9])".to_owned()]) {
        let (a, b) = (promql(with, &text, at, steps, step).0, promql(without, &text, at, steps, step).0);
        let context = || format!("{text} at {at}, {steps} steps of {step}");
        assert_eq!(a.len(), b.len(), "{}", context());
        for ((labels, t, a), (other, u, b)) in a.iter().zip(&b) {
            assert_eq!((labels, t), (other, u), "{}", context());
            let close = (a - b).abs() <= 1e-12 * b.abs() + 1e-20;
            let exact = !text.contains("sum_") && !text.contains("avg_");
            let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (!exact && close);
            assert!(same, "{} {labels} {t}: {a} instead of {b}", context());
        }
    }
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
