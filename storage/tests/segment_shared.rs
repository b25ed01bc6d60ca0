//! Timestamp columns are stored once, however many others lie between two chunks that have the same one.

use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkView, VECTOR_SAMPLES};
use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, TimeRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

/// Their columns are more than the 4 MiB that are kept in memory.
const HOSTS: usize = 340;
const METRICS: [&str; 2] = ["a", "b"];

fn series() -> impl Iterator<Item = (Labels, Columns)> {
    METRICS.iter().flat_map(|metric| {
        (0..HOSTS).map(move |host| {
            let name = format!("{host:03}");
            let labels = Labels::new([("__name__", *metric), ("host", &name)], &LabelLimits::DEFAULT).unwrap();
            (labels, Columns { timestamps: timestamps(host), values: vec![host as f64; CHUNK_SAMPLES_MAX] })
        })
    })
}

/// Each host's clock jitters by itself, for all of its metrics alike.
fn timestamps(host: usize) -> Vec<i64> {
    let mut state = host as u64;
    let mut jittered = |i: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i as i64 * 15_000_000_000 + (state >> 32) as i64
    };
    (0..CHUNK_SAMPLES_MAX).map(&mut jittered).collect()
}

/// The segment that `push` fills.
fn segment(dir: &Path, id: u64, mut push: impl FnMut(&mut SegmentWriter, &Labels, &Columns)) -> Segment {
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir, id, SegmentHeader::default()).unwrap();
    series().for_each(|(labels, samples)| push(&mut writer, &labels, &samples));
    writer.finish().unwrap();
    Segment::open(&OsFs, &dir.join(file_name(id))).unwrap()
}

fn check(segment: &Segment) {
    segment.verify().unwrap();
    let chunks: Vec<_> = segment.chunks().map(Result::unwrap).collect();
    assert_eq!(chunks.len(), HOSTS * METRICS.len());
    let mut columns: Vec<u32> = chunks.iter().map(|chunk| chunk.timestamp_column).collect();
    columns.sort_unstable();
    columns.dedup();
    assert_eq!(columns.len(), HOSTS, "one for each host");
    let bytes: u64 = chunks[..HOSTS].iter().map(|chunk| u64::from(chunk.timestamp_bytes)).sum();
    assert!(bytes > 5 << 20, "{bytes} bytes of columns do not show it");
    for (labels, samples) in series() {
        let ordinal = segment.find(&labels).unwrap().unwrap();
        let (mut read, mut cursor) = (Columns::default(), segment.read(ordinal, TimeRange::ALL).unwrap());
        while cursor.next(&mut read).unwrap() {}
        assert!(read == samples, "{labels}");
    }
}

/// Beyond 4 MiB all was forgotten each time, just before it came again: each chunk had a column of its own.
#[test]
fn columns_are_shared_over_more_of_them_than_are_kept_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let pushed = segment(dir.path(), 1, |writer, labels, samples| {
        writer.push_series(labels, samples, SeqNo(1)).unwrap();
    });
    check(&pushed);
    let copied = segment(dir.path(), 2, |writer, labels, _| {
        writer.begin_series(labels, SeqNo(1)).unwrap();
        let ordinal = pushed.find(labels).unwrap().unwrap();
        for span in pushed.spans(ordinal).unwrap() {
            writer.copy_chunk(&pushed.encoded(span.unwrap().number).unwrap()).unwrap();
        }
    });
    check(&copied);
    let mut encoder = ChunkEncoder::new();
    let joined = segment(dir.path(), 3, |writer, labels, samples| {
        let vectors = samples.timestamps.chunks(VECTOR_SAMPLES).zip(samples.values.chunks(VECTOR_SAMPLES));
        let mut encode = |(timestamps, values): (&[i64], &[f64])| {
            let mut bytes = Vec::new();
            encoder.encode(timestamps, values, &mut bytes);
            bytes
        };
        let vectors: Vec<_> = vectors.map(&mut encode).collect();
        let views: Vec<_> = vectors.iter().map(|bytes| ChunkView::parse(bytes).unwrap()).collect();
        writer.begin_series(labels, SeqNo(1)).unwrap();
        writer.join_chunks(&views).unwrap();
    });
    check(&joined);
}

/// A regular step does not say how long the column is: each length was written in the place of the other.
#[test]
fn columns_of_equal_bytes_and_unequal_length_are_shared_each_with_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, SegmentHeader::default()).unwrap();
    let len = |i: usize| 2_000 + (i % 2) * 20;
    for i in 0..10 {
        let labels = Labels::new([("host", &format!("{i:03}"))], &LabelLimits::DEFAULT).unwrap();
        let timestamps = (0..len(i) as i64).map(|at| at * 15_000_000_000).collect();
        let samples = Columns { timestamps, values: vec![1.0; len(i)] };
        writer.push_series(&labels, &samples, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    let segment = Segment::open(&OsFs, &dir.path().join(file_name(1))).unwrap();
    segment.verify().unwrap();
    for (i, chunk) in segment.chunks().map(Result::unwrap).enumerate() {
        assert_eq!((chunk.timestamp_column as usize, chunk.count as usize), (i % 2, len(i)));
    }
}
