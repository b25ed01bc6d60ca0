//! Series whose records lie in damaged blocks.
//!
//! - SH1: Chunks stand by series, then by time, and those of one series do not overlap. Where one does not begin after the
//!   one before has ended, another series begins; and each series has a chunk at least. So the chunks between two known
//!   records fall into pieces. If there are as many as series begin there, each is a series. If there are fewer, some
//!   piece is of several series, and it is one of more than one chunk: those before the first such piece are still the
//!   first series, those behind the last one the last.
//! - SH2: Postings say which labels a series has. Without a record to prove it, what all label sets between two known
//!   records are encoded as must be the very bytes that lie there.

use std::collections::BTreeMap;
use std::ops::Range;

use super::labels::by_postings;
use crate::chunk::put_varint;
use crate::segment::format::{Section, Series};
use crate::segment::reader::Segment;
use crate::source::ReadError;

/// Chunks of a series.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    pub(super) range: Range<usize>,
    /// Whether these are all that it has.
    pub(super) whole: bool,
}

#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Of series whose own or next record is damaged, as far as they can be told.
    chunks: BTreeMap<u32, Option<Chunks>>,
    /// Numbers of their labels, proved (SH2).
    sets: BTreeMap<u32, Vec<u32>>,
}

/// Series between two known records: the first one has one, or is the very first; the others have none.
struct Span {
    series: Range<u32>,
    chunks: Range<usize>,
    labels: Range<u64>,
}

impl Holes {
    pub(super) fn find(segment: &Segment) -> Self {
        let mut holes = Self::default();
        let spans = spans(segment);
        // Once for all: it looks at all postings.
        let ordinals: Vec<u32> = spans.iter().flat_map(|span| span.series.clone()).collect();
        let mut sets = by_postings(segment, &ordinals).into_iter();
        for span in spans {
            holes.delimit(segment, &span);
            holes.prove(segment, &span, sets.by_ref().take(span.series.len()).collect());
        }
        holes
    }

    /// Where the chunks of each series of a span lie (SH1).
    fn delimit(&mut self, segment: &Segment, span: &Span) {
        let Span { series, chunks, .. } = span;
        self.chunks.extend(series.clone().map(|ordinal| (ordinal, None)));
        // Records may say anything, whatever their checksums.
        if chunks.start > chunks.end || chunks.end > segment.index.records(Section::Chunks) {
            return;
        }
        let pieces = if chunks.len() == series.len() {
            chunks.clone().map(|number| number..number + 1).collect()
        } else {
            pieces(segment, chunks)
        };
        let all_told = pieces.len() == series.len();
        if pieces.len() > series.len() || chunks.len() < series.len() {
            return;
        }
        let told = |piece: &&Range<usize>| all_told || piece.len() == 1;
        let from_the_first = series.clone().zip(pieces.iter().take_while(told));
        let from_the_last = series.clone().rev().zip(pieces.iter().rev().take_while(told));
        let whole =
            |(ordinal, piece): (u32, &Range<usize>)| (ordinal, Some(Chunks { range: piece.clone(), whole: true }));
        let front = pieces.iter().take_while(told).count();
        self.chunks.extend(from_the_first.map(whole));
        self.chunks.extend(from_the_last.map(whole));
        if let Some(piece) = pieces.get(front) {
            // Whatever series follow in it, it begins with this one.
            let first = Chunks { range: piece.start..piece.start + 1, whole: false };
            self.chunks.insert(series.start + front as u32, Some(first));
        }
    }

    /// The label sets of a span, if they are what lies there (SH2).
    fn prove(&mut self, segment: &Segment, span: &Span, sets: Vec<Vec<u32>>) {
        let mut encoded = Vec::new();
        for set in &sets {
            let mut before = 0;
            for &number in set {
                put_varint(&mut encoded, u64::from(number - before));
                before = number;
            }
        }
        let there = segment.bytes(Section::Labels, span.labels.start, span.labels.end);
        if there.is_ok_and(|there| there.is_some_and(|there| *there == encoded[..])) {
            self.sets.extend(span.series.clone().zip(sets));
        }
    }

    /// The numbers of the labels of a series that has no record.
    pub(super) fn proved_set(&self, ordinal: u32) -> Option<&[u32]> {
        self.sets.get(&ordinal).map(Vec::as_slice)
    }

    /// The chunks of a series.
    pub(super) fn chunks(&self, segment: &Segment, ordinal: u32) -> Result<Chunks, ReadError> {
        match self.chunks.get(&ordinal) {
            Some(Some(chunks)) => Ok(chunks.clone()),
            Some(None) => Err(segment.corrupt(Section::Series, format!("chunks of series {ordinal}"))),
            None => segment.chunk_range(ordinal).map(|range| Chunks { range, whole: true }),
        }
    }
}

/// The spans that have series without a record.
fn spans(segment: &Segment) -> Vec<Span> {
    let count = segment.series_count();
    let known = |ordinal: u32| -> Option<Series> { segment.series(ordinal).ok() };
    let mut spans: Vec<Span> = Vec::new();
    let mut before: Option<(u32, Series)> = None;
    let mut missing = false;
    for ordinal in 0..=count {
        let this = if ordinal < count { known(ordinal) } else { None };
        if ordinal < count && this.is_none() {
            missing = true;
            continue;
        }
        if missing {
            let start = before.map_or((0, 0, 0), |(at, series)| (at, series.first_chunk, series.labels));
            let all = (segment.index.records(Section::Chunks), segment.index.len(Section::Labels) as u64);
            let end = this.map_or(all, |series| (series.first_chunk as usize, series.labels));
            spans.push(Span { series: start.0..ordinal, chunks: start.1 as usize..end.0, labels: start.2..end.1 });
        }
        missing = false;
        before = this.map(|series| (ordinal, series));
    }
    spans
}

/// Chunks that are of one series, or of several that do not tell (SH1).
fn pieces(segment: &Segment, chunks: &Range<usize>) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for number in chunks.clone() {
        let bounds = segment.chunk(number).ok().map(|(_, at)| (at.first, at.last));
        let begins = bounds.zip(last).is_some_and(|((first, _), last)| first <= last);
        match pieces.last_mut() {
            Some(piece) if !begins => piece.end = number + 1,
            _ => pieces.push(number..number + 1),
        }
        last = bounds.map(|(_, last)| last);
    }
    pieces
}
