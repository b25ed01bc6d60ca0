//! What is pushed into a segment is what its reader finds, whatever is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, Sample, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentInfo, SegmentWriter, WriteError, file_name};
use tidegauge_storage::source::{Columns, SampleSource, VecSource};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied(), &LabelLimits::DEFAULT).unwrap()
}

fn header() -> SegmentHeader {
    SegmentHeader {
        store_id: 0xfeed_0000_0000_0000_0000_0000_0000_0007,
        seq_range: SeqRange { start: SeqNo(5), end: SeqNo(900) },
        late: true,
        cold: true,
        level: 2,
        created: 1_700_000_000_000_000_000,
        opening: 9,
    }
}

fn write(dir: &Path, series: &BTreeMap<Labels, Columns>) -> (Segment, SegmentInfo) {
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir, 7, header()).unwrap();
    for (i, (labels, samples)) in (1u64..).zip(series) {
        writer.push_series(labels, samples, SeqNo(i)).unwrap();
    }
    let info = writer.finish().unwrap();
    (Segment::open(&OsFs, &dir.join(file_name(7))).unwrap(), info)
}

fn read(source: &dyn SampleSource, ordinal: u32, range: TimeRange) -> (Vec<i64>, Vec<u64>) {
    let mut cursor = source.read(ordinal, range).unwrap();
    let mut out = Columns::default();
    while cursor.next(&mut out).unwrap() {}
    assert_eq!(out.timestamps.len(), out.values.len());
    (out.timestamps, out.values.iter().map(|value| value.to_bits()).collect())
}

/// Every answer of the segment against that of plain samples in memory.
fn compare(segment: &Segment, twin: &VecSource, matchers: &[Matcher], range: TimeRange) {
    let of = |source: &dyn SampleSource| -> BTreeMap<Labels, (Vec<i64>, Vec<u64>)> {
        let hits = source.select(matchers).unwrap();
        let all: BTreeMap<_, _> = hits
            .iter()
            .map(|hit| {
                let labels = source.labels(hit.ordinal).unwrap();
                assert_eq!(labels.key(), hit.key);
                (labels, read(source, hit.ordinal, range))
            })
            .collect();
        assert_eq!(all.len(), hits.len(), "each series once");
        all
    };
    assert_eq!(of(segment), of(twin), "{matchers:?}");
}

fn twin_of(series: &BTreeMap<Labels, Columns>) -> VecSource {
    let mut twin = VecSource::new();
    for (labels, samples) in series {
        let pairs = samples.timestamps.iter().zip(&samples.values);
        let sample = |(at, value): (&i64, &f64)| Sample { timestamp: Timestamp::from_nanos(*at), value: *value };
        twin.insert(labels, pairs.map(sample));
    }
    twin
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let name = prop::sample::select(vec!["__name__", "host", "zone", "absent"]);
    let value = prop::sample::select(vec!["", "a", "b", "a|b", "a.*", ".*", ".+", "nothing", "ü"]);
    (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

fn series() -> impl Strategy<Value = BTreeMap<Labels, Columns>> {
    let value = prop::sample::select(vec!["", "a", "b", "ab", "c", "ü"]);
    let set = (prop::sample::select(vec!["cpu", "mem"]), value.clone(), value)
        .prop_map(|(name, host, zone)| labels(&[("__name__", name), ("host", host), ("zone", zone)]));
    let samples = (0usize..40, any::<i32>(), 1i64..1000, any::<u64>()).prop_map(|(count, start, step, noise)| {
        // Some series longer than a chunk.
        let count = if count > 36 { count * 200 } else { count };
        let mut columns = Columns::default();
        for i in 0..count as i64 {
            columns.push(i64::from(start) + i * step, (noise.wrapping_mul(i as u64) >> 50) as f64 / 4.0);
        }
        columns
    });
    prop::collection::btree_map(set, samples, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_segment_answers_as_plain_samples_do(
        series in series(),
        asked in prop::collection::vec((prop::collection::vec(matcher(), 0..3), any::<i32>(), any::<i32>()), 12),
    ) {
        let series: BTreeMap<_, _> = series.into_iter().filter(|(_, samples)| !samples.is_empty()).collect();
        let dir = tempfile::tempdir().unwrap();
        let (segment, info) = write(dir.path(), &series);
        prop_assert_eq!(segment.info(), &info);
        let twin = twin_of(&series);
        prop_assert_eq!(info.samples, series.values().map(|s| s.len() as u64).sum::<u64>());
        prop_assert_eq!(info.time_range, twin.time_range());
        let report = segment.verify().unwrap();
        prop_assert_eq!((report.series, report.samples), (info.series, info.samples));
        compare(&segment, &twin, &[], TimeRange::ALL);
        for (matchers, a, b) in &asked {
            let (start, end) = (i64::from(*a.min(b)), i64::from(*a.max(b)));
            compare(&segment, &twin, matchers, TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end)));
        }
        for (i, (labels, _)) in (0u32..).zip(&series) {
            prop_assert_eq!(segment.find(labels).unwrap(), Some(i));
            prop_assert_eq!(segment.max_seq(i).unwrap(), SeqNo(u64::from(i) + 1));
        }
        prop_assert_eq!(segment.find(&labels(&[("x", "y")])).unwrap(), None);
        let names = |source: &dyn SampleSource| {
            let mut names = BTreeSet::new();
            let mut keep = |name: &str| {
                names.insert(name.to_owned());
                true
            };
            source.label_names(&mut keep).unwrap();
            let mut values = BTreeSet::new();
            for name in &names {
                let mut keep = |value: &str| {
                    values.insert(value.to_owned());
                    true
                };
                source.label_values(name, &mut keep).unwrap();
            }
            (names, values)
        };
        prop_assert_eq!(names(&segment), names(&twin));
        for source in [&segment as &dyn SampleSource, &twin] {
            let mut told = 0;
            let mut enough = |_: &str| {
                told += 1;
                false
            };
            source.label_names(&mut enough).unwrap();
            source.label_values("host", &mut enough).unwrap();
            prop_assert!(told <= 2, "it goes on although it was told to end");
        }
    }
}

fn regular(count: i64) -> Columns {
    let mut columns = Columns::default();
    (0..count).for_each(|i| columns.push(i * 1_000_000_000, i as f64));
    columns
}

/// An expression whose texts begin in few ways is tried on those values alone, and finds what trying all of them would.
#[test]
fn a_regex_sees_only_values_that_begin_as_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let mut hosts: Vec<String> = (0..1_000).map(|i| format!("{}-{i}", ["db", "é", "web"][i % 3])).collect();
    hosts.sort();
    let columns = Columns { timestamps: vec![1], values: vec![1.0] };
    let series = hosts.iter().map(|host| (labels(&[("host", host)]), columns.clone())).collect();
    let (segment, _) = write(dir.path(), &series);
    for (regex, seen_most) in
        [("db-1.*", 36), ("(web|db)-99[0-9]", 8), ("é-.*7", 333), ("x.*", 0), (".*7", 1_000), ("[^d].*", 1_000)]
    {
        let seen = Arc::new(Mutex::new(0));
        let count = Arc::clone(&seen);
        let matcher = Matcher::new("host", MatchOp::Regex, regex).unwrap();
        let watched = matcher.clone().watched(Arc::new(move |_| {
            *count.lock().unwrap() += 1;
            true
        }));
        let found: Vec<u32> = segment.select(&[watched]).unwrap().iter().map(|hit| hit.ordinal).collect();
        let passing = |(_, host): &(u32, &String)| matcher.matches(host);
        assert_eq!(found, (0..).zip(&hosts).filter(passing).map(|(at, _)| at).collect::<Vec<u32>>(), "{regex}");
        // One more: whether series without the label pass.
        let seen = *seen.lock().unwrap();
        assert!(seen <= seen_most + 1, "{regex}: {seen} values");
    }
}

#[test]
fn series_scraped_together_share_their_timestamps() {
    let dir = tempfile::tempdir().unwrap();
    let mut jittered = regular(3000);
    jittered.timestamps.iter_mut().enumerate().for_each(|(i, at)| *at += (i * 7919 % 1000) as i64);
    let series: BTreeMap<_, _> =
        (0..50).map(|i| (labels(&[("__name__", "cpu"), ("host", &format!("h{i:02}"))]), jittered.clone())).collect();
    let (segment, info) = write(dir.path(), &series);
    let chunks: Vec<_> = segment.chunks().collect::<Result<_, _>>().unwrap();
    assert_eq!(chunks.len() as u64, info.chunks);
    assert_eq!(chunks.iter().map(|chunk| chunk.timestamp_column).collect::<BTreeSet<_>>().len(), 1);
    assert!(chunks.iter().all(|chunk| chunk.count == 3000 && chunk.stats.is_some_and(|s| s.sum == 2999.0 * 1500.0)));
    assert_eq!(segment.stats_of(3).unwrap(), [chunks[3].stats]);
    let columns = chunks[0].timestamp_bytes + chunks.iter().map(|chunk| chunk.value_bytes).sum::<u32>();
    assert!(info.file_bytes < u64::from(columns) + 50 * 200, "{} of {}", columns, info.file_bytes);
}

/// The index of many series takes its time: who watches whether the writer hangs hears of each part.
#[test]
fn a_finish_tells_that_it_gets_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap();
    writer.push_series(&labels(&[("a", "1")]), &regular(3), SeqNo(9)).unwrap();
    let steps = std::cell::Cell::new(0);
    writer.finish_with(None, &|| steps.set(steps.get() + 1)).unwrap();
    assert_eq!(steps.get(), 4, "columns, labels, all written, all durable");
}

#[test]
fn series_out_of_order_and_samples_out_of_order_are_refused_and_others_still_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap();
    let (a, b) = (labels(&[("a", "1")]), labels(&[("a", "2")]));
    writer.push_series(&a, &regular(3), SeqNo(9)).unwrap();
    let again = writer.push_series(&a, &regular(3), SeqNo(9)).unwrap_err();
    assert!(matches!(again, WriteError::SeriesNotAscending { .. }), "{again}");
    let twice = Columns { timestamps: vec![1, 2, 2], values: vec![0.0; 3] };
    let error = writer.push_series(&b, &twice, SeqNo(9)).unwrap_err();
    assert!(matches!(error, WriteError::SamplesNotAscending { index: 2, .. }), "{error}");
    let uneven = Columns { timestamps: vec![1, 2], values: vec![0.0; 3] };
    assert!(writer.push_series(&b, &uneven, SeqNo(9)).is_err());
    writer.push_series(&b, &regular(2), SeqNo(9)).unwrap();
    let info = writer.finish().unwrap();
    assert_eq!((info.series, info.samples), (2, 5));
    Segment::open(&OsFs, &dir.path().join(file_name(1))).unwrap().verify().unwrap();
}

#[test]
fn an_unfinished_segment_leaves_no_file_and_an_id_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap();
    writer.push_series(&labels(&[("a", "1")]), &regular(5000), SeqNo(9)).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    // What a crash leaves is cleared away.
    std::fs::write(dir.path().join("0000000000000001.seg.tmp"), b"left").unwrap();
    SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap().finish().unwrap();
    let again = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap_err();
    assert!(matches!(again, WriteError::Exists { .. }), "{again}");
    let empty = Segment::open(&OsFs, &dir.path().join(file_name(1))).unwrap();
    assert_eq!((empty.info().samples, empty.info().time_range), (0, None));
    assert!(empty.select(&[]).unwrap().is_empty());
    empty.verify().unwrap();
}
