//! Segments of every released version open: their files are kept in tests/fixtures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange, TimeRange};
use tidegauge_storage::segment::{SEGMENT_VERSION, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

const STALE: u64 = 0x7ff0_0000_0000_0002;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/segment-v{version}.seg"))
}

fn header() -> SegmentHeader {
    SegmentHeader {
        store_id: 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
        seq_range: SeqRange { start: SeqNo(100), end: SeqNo(9000) },
        cold: false,
        late: true,
        level: 3,
        created: 1_700_000_000_123_456_789,
        opening: 0,
    }
}

/// Samples of every encoding. Whatever later releases write, the kept file holds these.
fn contents() -> BTreeMap<Labels, Columns> {
    let regular = |count: i64| (0..count).map(|i| 1_700_000_000_000_000_000 + i * 10_000_000_000).collect::<Vec<i64>>();
    let noise = |i: i64| (i as u64 + 9).wrapping_pow(3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let jitter =
        |count: i64| (0..count).map(|i| (i * 15_000 + (noise(i) >> 60) as i64) * 1_000_000).collect::<Vec<i64>>();
    let gaps = |count: i64| (0..count).map(|i| i * i * 1000 + i).collect::<Vec<i64>>();
    let mut odd: Vec<f64> = (0..1200).map(|i| f64::from(i % 256)).collect();
    (odd[5], odd[1100], odd[7]) = (f64::from_bits(STALE), f64::NEG_INFINITY, -0.0);
    let computed: Vec<f64> = (0..1100).map(|i| 0.1 * f64::from(i * 37 % 500)).collect();
    let mut measured: Vec<f64> =
        (0..1100).map(|i| f64::from_bits((1000 + i as u64 % 20) << 52 | noise(i) >> 12)).collect();
    measured[600] = f64::NAN;
    let forms = |i: i64| f64::from_bits(0x4000 << 48 | noise(i % 50 * (i % 7)) >> 16);
    let series: [(&str, Vec<i64>, Vec<f64>); 13] = [
        ("constant", regular(1300), vec![42.0; 1300]),
        ("decimal", regular(1300), (0..1300).map(|i| (noise(i) >> 51) as f64 / 100.0).collect()),
        ("counter", jitter(1100), (0..1100).map(|i| f64::from(i * 1000 + i % 7)).collect()),
        ("odd", jitter(1200), odd),
        (
            "logarithms",
            gaps(300),
            (1..=300).map(|i| f64::from_bits((0x3ff5_5555 << 32) + i * i * 987_654_321)).collect(),
        ),
        ("fractions", gaps(300), (0..300).map(|i| f64::from_bits(0x3ff << 52 | noise(i) >> 20)).collect()),
        ("computed", regular(1100), computed),
        ("measured", regular(1100), measured),
        ("forms", regular(1100), (0..1100).map(forms).collect()),
        ("seldom", regular(1300), (0..1300).map(|i| f64::from(i * i / 50_000)).collect()),
        ("often", regular(1300), (0..1300).map(|i| forms(i / 3 * 3) * 3.0).collect()),
        ("wild", vec![i64::MIN, 0, 1, i64::MAX], (0..4).map(|i| f64::from_bits(noise(i))).collect()),
        ("single", vec![-1], vec![f64::MIN_POSITIVE / 2.0]),
    ];
    series
        .into_iter()
        .map(|(name, timestamps, values)| {
            let labels = Labels::new([("__name__", name), ("kind", "fixture"), ("größe", "ü")], &LabelLimits::DEFAULT);
            (labels.unwrap(), Columns { timestamps, values })
        })
        .collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn segments_of_every_version_open() {
    (1..=SEGMENT_VERSION).for_each(opens);
}

fn opens(version: u32) {
    let first = std::fs::read(fixture(version)).unwrap();
    assert_eq!(first[8..12], version.to_le_bytes());
    let segment = Segment::open(&OsFs, &fixture(version)).unwrap();
    segment.verify().unwrap();
    let (info, header) = (segment.info(), header());
    assert_eq!((info.id, info.store_id, info.seq_range), (0x1f, header.store_id, header.seq_range));
    assert_eq!((info.late, info.level, info.created), (true, 3, header.created));
    let chunks: Vec<_> = segment.chunks().collect::<Result<_, _>>().unwrap();
    let at: BTreeSet<_> = chunks.iter().flat_map(|chunk| &chunk.timestamp_vectors).map(|v| v.encoding).collect();
    let values: BTreeSet<_> = chunks.iter().flat_map(|chunk| &chunk.value_vectors).map(|v| v.encoding).collect();
    assert_eq!((at.len(), values.len()), (4, 8), "every encoding occurs: {at:?}, {values:?}");
    let contents = contents();
    assert_eq!(info.series, contents.len() as u64);
    for (i, (labels, samples)) in (0u32..).zip(&contents) {
        assert_eq!(segment.find(labels).unwrap(), Some(i));
        assert_eq!(segment.max_seq(i).unwrap(), SeqNo(u64::from(i) + 200));
        let mut out = Columns::default();
        let mut cursor = segment.read(i, TimeRange::ALL).unwrap();
        while cursor.next(&mut out).unwrap() {}
        assert_eq!(out.timestamps, samples.timestamps, "{labels}");
        assert_eq!(bits(&out.values), bits(&samples.values), "{labels}");
    }
}

/// What compaction does with older files: chunks go on as they are, and what is known of them too.
#[test]
fn chunks_of_every_version_are_taken_over_as_they_are() {
    for version in 1..=SEGMENT_VERSION {
        let old = Segment::open(&OsFs, &fixture(version)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, header()).unwrap();
        for (i, labels) in (0u32..).zip(contents().keys()) {
            writer.begin_series(labels, SeqNo(u64::from(i) + 200)).unwrap();
            for span in old.spans(i).unwrap() {
                writer.copy_chunk(&old.encoded(span.unwrap().number).unwrap()).unwrap();
            }
        }
        let info = writer.finish().unwrap();
        let new = Segment::open(&OsFs, &dir.path().join(file_name(1))).unwrap();
        assert_eq!((new.verify().unwrap().samples, info.samples), (old.info().samples, old.info().samples));
        let mut narrow = 0;
        for i in 0..new.series_count() {
            assert_eq!(new.max_seq(i).unwrap(), old.max_seq(i).unwrap());
            let (now, then) = (new.stats_of(i).unwrap(), old.stats_of(i).unwrap());
            assert_eq!(format!("{now:?}"), format!("{then:?}"), "-0 and NaN are told apart so");
            narrow += now.iter().flatten().filter(|stats| stats.nan + stats.stale == 0).count();
        }
        assert!(narrow > 3);
        if version == 1 {
            assert!(info.file_bytes + 32 * narrow as u64 / 2 < old.info().file_bytes, "and take less");
        }
    }
}

/// Makes the fixture of a new format version, by hand, and keep the file for good: where there is one, it stays.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture() {
    if fixture(SEGMENT_VERSION).exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 0x1f, header()).unwrap();
    for (i, (labels, samples)) in (200u64..).zip(&contents()) {
        writer.push_series(labels, samples, SeqNo(i)).unwrap();
    }
    writer.finish().unwrap();
    std::fs::copy(dir.path().join("000000000000001f.seg"), fixture(SEGMENT_VERSION)).unwrap();
}
