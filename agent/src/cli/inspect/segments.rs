//! `tidegauge inspect --segments`: one line for each.

use std::fmt::Write;

use serde::Serialize;
use tidegauge::Timestamp;
use tidegauge::admin::SegmentUse;

use super::Encoding;
use crate::units::{show_bytes, show_count, show_time};

/// Times in nanoseconds since the epoch (the last one inclusive).
#[derive(Debug, Serialize)]
pub(super) struct Segment {
    /// As in the file's name.
    id: String,
    first_timestamp: Option<i64>,
    last_timestamp: Option<i64>,
    level: u32,
    series: u64,
    samples: u64,
    bytes: u64,
    cold: bool,
    late: bool,
    /// How values are stored, the heaviest first.
    values: Vec<Encoding>,
}

impl From<&SegmentUse> for Segment {
    fn from(found: &SegmentUse) -> Self {
        let info = &found.info;
        Self {
            id: format!("{:016x}", info.id),
            first_timestamp: info.time_range.map(|range| range.start.nanos()),
            last_timestamp: info.time_range.map(|range| range.end.nanos().saturating_sub(1)),
            level: info.level,
            series: info.series,
            samples: info.samples,
            bytes: info.file_bytes,
            cold: info.cold,
            late: info.late,
            values: found.values.iter().map(Encoding::from).collect(),
        }
    }
}

/// A table; of encodings the part of the samples that each holds.
pub(super) fn put(out: &mut String, segments: &[Segment]) {
    let _ = writeln!(
        out,
        "\n{:<16}  {:<26}  {:<26}{:>6}{:>16}{:>12}  {:<9}  values",
        "segment", "from", "to", "level", "samples", "bytes", ""
    );
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), |at| show_time(Timestamp::from_nanos(at)));
    for segment in segments {
        let Segment { id, level, cold, late, .. } = segment;
        let (from, to) = (time(segment.first_timestamp), time(segment.last_timestamp));
        let (samples, bytes) = (show_count(segment.samples), show_bytes(segment.bytes));
        let marks: Vec<&str> = [(*cold, "cold"), (*late, "late")].into_iter().filter(|m| m.0).map(|m| m.1).collect();
        let stored: u64 = segment.values.iter().map(|part| part.samples).sum();
        let part = |part: &Encoding| format!("{} {:.0} %", part.encoding, part.samples as f64 * 100.0 / stored as f64);
        let values: Vec<String> = segment.values.iter().map(part).collect();
        let (marks, values) = (marks.join(" "), values.join(", "));
        let _ = writeln!(out, "{id}  {from:<26}  {to:<26}{level:>6}{samples:>16}{bytes:>12}  {marks:<9}  {values}");
    }
}
