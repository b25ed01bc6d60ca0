//! Everything that can be asked of a segment, whatever is in it.

use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::chunk::StatsWanted;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{Labels, MatchOp, Matcher, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource};

use crate::DIR;

/// Series and chunks that are asked for: more show nothing new.
const SERIES_MOST: usize = 100;
const CHUNKS_MOST: usize = 1_000;
const SAMPLES_MOST: usize = 100_000;

/// Asks for all that queries, compaction and tools do: a typed error or an answer.
///
/// # Panics
/// If what comes back contradicts itself.
pub fn ask(segment: &Segment) {
    let _ = segment.label_names(&mut |_| true);
    let _ = segment.label_values("host", &mut |_| true);
    let _ = segment.select(&[Matcher::equal("host", "h3")]);
    let _ = segment.select(&[Matcher::new("zone", MatchOp::Regex, "a|").expect("a regex")]);
    let mut hits = segment.select(&[]).unwrap_or_default();
    hits.truncate(SERIES_MOST);
    let ordinals: Vec<u32> = hits.iter().map(|hit| hit.ordinal).collect();
    let alone: Vec<Result<Labels, ReadError>> = ordinals.iter().map(|&ordinal| segment.labels(ordinal)).collect();
    match segment.labels_of(&ordinals) {
        Ok(together) => assert!(alone.iter().zip(&together).all(|(a, b)| a.as_ref().is_ok_and(|a| a == b))),
        Err(_) => assert!(alone.iter().any(Result::is_err), "one by one all of them can be read"),
    }
    for (&ordinal, labels) in ordinals.iter().zip(&alone) {
        let _ = labels.as_ref().map(|labels| segment.find(labels));
        let _ = segment.stats_of(ordinal);
        let cut = TimeRange::new(Timestamp::from_nanos(0), Timestamp::from_nanos(500_000_000_000));
        for range in [TimeRange::ALL, cut] {
            ask_for_samples(segment, ordinal, range);
        }
    }
    copy(segment, &ordinals, &alone);
}

fn ask_for_samples(segment: &Segment, ordinal: u32, range: TimeRange) {
    for wanted in [StatsWanted::ALL, StatsWanted::NONE] {
        let mut chunks = 0;
        let _ = segment.statistics(ordinal, range, wanted, &mut |_| {
            chunks += 1;
            chunks < CHUNKS_MOST
        });
    }
    let (mut out, mut counts) = (Columns::default(), ReadCounts::default());
    let _ = segment.samples_about(ordinal, range);
    if let Ok(Some(last)) = segment.last(ordinal, range, &mut out, &mut counts) {
        assert!(range.contains(last.timestamp));
    }
    out.clear();
    let Ok(mut cursor) = segment.read(ordinal, range) else { return };
    while out.len() < SAMPLES_MOST && cursor.next(&mut out).unwrap_or(false) {}
    assert_eq!(out.timestamps.len(), out.values.len());
    assert!(out.timestamps.is_sorted_by(|a, b| a < b), "what comes back ascends");
    assert!(out.timestamps.iter().all(|at| range.contains(Timestamp::from_nanos(*at))));
    if range == TimeRange::ALL
        && let Ok(cursor) = segment.read(ordinal, range)
    {
        pass_what_statistics_tell(cursor, &mut out);
    }
}

/// As an aggregate does: whole chunks by their statistics, others decoded.
fn pass_what_statistics_tell(mut cursor: Box<dyn ColumnCursor + '_>, out: &mut Columns) {
    for _ in 0..CHUNKS_MOST {
        out.clear();
        let _ = cursor.bound();
        match cursor.whole() {
            Ok(Some(_)) => cursor.pass(),
            Ok(None) if cursor.next(out).unwrap_or(false) => {}
            _ => break,
        }
    }
}

/// As compaction takes chunks over, undecoded.
fn copy(segment: &Segment, ordinals: &[u32], labels: &[Result<Labels, ReadError>]) {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 2, SegmentHeader::default());
    let mut writer = writer.expect("memory");
    let mut left = CHUNKS_MOST;
    for (&ordinal, labels) in ordinals.iter().zip(labels) {
        let (Ok(labels), Ok(spans)) = (labels, segment.spans(ordinal)) else { continue };
        if writer.begin_series(labels, SeqNo(1)).is_err() {
            continue;
        }
        for span in spans.take(left) {
            left -= 1;
            let Ok(chunk) = span.and_then(|span| segment.encoded(span.number)) else { break };
            if writer.copy_chunk(&chunk).is_err() {
                break;
            }
        }
    }
    if writer.finish().is_ok() {
        Segment::open(&fs, &Path::new(DIR).join(file_name(2))).expect("just written");
    }
}
