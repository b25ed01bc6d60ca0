//! Everything that can be asked of a segment, whatever is in it.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tidegauge_storage::chunk::StatsWanted;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{Labels, MatchOp, Matcher, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource};

use crate::DIR;
use crate::checksums::{SEGMENT_FOOTER, SEGMENT_HEADER, put_u32, u64_at};

/// Series and chunks that are asked for: sound segments have fewer, and more of damaged ones show nothing new.
pub const SERIES_MOST: usize = 20;
/// Of one series.
pub const CHUNKS_MOST: usize = 100;
const SAMPLES_MOST: usize = 100_000;

/// Where in a footer stands where the checksums of blocks are.
const TABLE_AT: usize = 248;
/// Bytes that are put in the place of what a mutation left out.
const LEFT_OUT_MOST: usize = 1_024;

/// Built once: compiling an expression takes longer than asking a small segment for it.
static MATCHERS: LazyLock<[Matcher; 2]> =
    LazyLock::new(|| [Matcher::equal("host", "h1"), Matcher::new("zone", MatchOp::Regex, "a|").expect("a regex")]);

/// Makes the outline of a file right that lost it to a mutation: marks, versions, length, and sections that lie askew. Of
/// inputs with bytes inserted or left out nothing else would be looked at, and these are five of six.
pub fn mend_outline(bytes: &mut Vec<u8>) {
    let Some(footer) = bytes.len().checked_sub(SEGMENT_FOOTER).filter(|at| *at >= SEGMENT_HEADER) else { return };
    // In front of the footer comes what was left out elsewhere, so that the last table ends in front of it, too.
    let table_end = u64_at(bytes, footer + TABLE_AT).saturating_add(8);
    let missing = table_end.saturating_sub(footer as u64) as usize;
    let missing = if missing < LEFT_OUT_MOST { missing } else { 0 };
    let missing = (footer + missing).next_multiple_of(8) - footer;
    bytes.splice(footer..footer, std::iter::repeat_n(0, missing));
    let (len, footer) = (bytes.len() as u64, footer + missing);
    bytes[..8].copy_from_slice(b"TGSEGM\r\n");
    let version = if bytes[8] == 1 { 1 } else { 2 };
    put_u32(bytes, 8, version);
    put_u32(bytes, footer + 264, version);
    bytes[footer + 240..footer + TABLE_AT].copy_from_slice(&len.to_le_bytes());
    bytes[footer + 272..].copy_from_slice(b"TGSEGEND");
    // Sections lie in front of the checksums of blocks, if there can be any.
    let table = Some(u64_at(bytes, footer + TABLE_AT)).filter(|table| (80..=footer as u64 - 8).contains(table));
    bytes[footer + TABLE_AT..][..8].copy_from_slice(&table.unwrap_or(0).to_le_bytes());
    let end = table.unwrap_or(footer as u64);
    let records = if version == 1 { [32, 24, 72, 40, 1, 16, 24, 1, 1] } else { [32, 20, 8, 36, 1, 16, 24, 1, 1] };
    for (i, record) in records.into_iter().enumerate() {
        let at = footer + i * 24;
        let offset = u64_at(bytes, at).clamp(72, end) & !7;
        let len = u64_at(bytes, at + 8).min(end - offset);
        bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(len - len % record).to_le_bytes());
    }
}

/// Asks for all that queries, compaction and tools do: a typed error or an answer.
///
/// # Panics
/// If what comes back contradicts itself.
pub fn ask(segment: &Segment) {
    let _ = segment.label_names(&mut |_| true);
    let _ = segment.label_values("host", &mut |_| true);
    for matcher in &*MATCHERS {
        let _ = segment.select(std::slice::from_ref(matcher));
    }
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
        let ordinals = ordinal..ordinal.saturating_add(3).min(segment.series_count());
        let _ = segment.statistics(ordinals, range, wanted, &mut ReadCounts::default(), &mut |_, _| {
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
