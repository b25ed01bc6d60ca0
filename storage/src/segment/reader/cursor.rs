//! Reading the samples of one series: chunk by chunk, vector by vector.

use std::ops::Range;

use super::Segment;
use crate::chunk::{ChunkStats, TimestampColumn, ValueColumn, decode_vector, prefetch};
use crate::model::{TimeRange, Timestamp};
use crate::segment::format::{Chunk, TimestampsRecord};
use crate::source::{ColumnCursor, Columns, ReadCounts, ReadError};

/// A vector a call: at most 1,024 samples, which the first-level cache holds.
pub(super) struct SegmentCursor<'a> {
    segment: &'a Segment,
    /// Chunks that may hold samples of the range, the begun one not among them.
    chunks: Range<usize>,
    range: TimeRange,
    begun: Option<Begun<'a>>,
    /// The chunk that comes next, once it was looked at.
    peeked: Option<Records<'a>>,
    /// Last timestamp of the chunk before.
    last: Option<i64>,
    counts: ReadCounts,
    /// Losses of the map up to which everything that was answered is known to have been there.
    losses: u64,
}

/// What the directory says of a chunk.
type Records<'a> = (Chunk, &'a TimestampsRecord);

/// A chunk whose columns were checked.
struct Begun<'a> {
    chunk: Chunk,
    timestamps: &'a TimestampsRecord,
    at: TimestampColumn<'a>,
    values: ValueColumn<'a>,
    /// The vector that comes next.
    vector: usize,
}

impl<'a> SegmentCursor<'a> {
    pub(super) fn new(segment: &'a Segment, ordinal: u32, range: TimeRange) -> Result<Self, ReadError> {
        let (losses, (chunks, chunks_pruned)) =
            segment.whole(|| Ok((segment.map.losses(), segment.chunks_in(ordinal, range)?)))?;
        let counts = ReadCounts { chunks_pruned, ..ReadCounts::default() };
        Ok(Self { segment, chunks, range, begun: None, peeked: None, last: None, counts, losses })
    }

    /// A page was lost since it was last asked. What was read of the chunks from number `first` on, up to the one that
    /// comes next, is right if it can still be read.
    #[cold]
    fn look_again(&mut self, first: usize) -> Result<(), ReadError> {
        let segment = self.segment;
        let next = self.chunks.start + usize::from(!self.chunks.is_empty());
        self.losses = segment.whole(|| {
            let losses = segment.map.losses();
            (first..next).try_for_each(|number| {
                let (chunk, timestamps) = segment.chunk(number)?;
                segment.stats(&chunk, timestamps)?;
                segment.columns_of(&chunk, timestamps).map(drop)
            })?;
            Ok(losses)
        })?;
        Ok(())
    }

    /// The chunk that comes next, which is looked up once.
    fn peek(&mut self) -> Result<Option<Records<'a>>, ReadError> {
        if self.peeked.is_none() {
            self.peeked = self.look()?;
        }
        Ok(self.peeked)
    }

    /// The chunk that comes next, its time checked against the one before.
    fn look(&self) -> Result<Option<Records<'a>>, ReadError> {
        if self.chunks.is_empty() {
            return Ok(None);
        }
        let (chunk, timestamps) = self.segment.chunk(self.chunks.start)?;
        if timestamps.last < timestamps.first || self.last.is_some_and(|last| last >= timestamps.first) {
            return Err(self.segment.corrupt_at(timestamps.offset, "chunks of a series overlap".to_owned()));
        }
        Ok(Some((chunk, timestamps)))
    }

    fn begin(&mut self) -> Result<Option<Begun<'a>>, ReadError> {
        let Some((chunk, timestamps)) = self.peek()? else { return Ok(None) };
        let (at, values) = self.segment.columns_of(&chunk, timestamps)?;
        self.step(timestamps);
        self.prefetch_next(&chunk, timestamps);
        self.counts.chunks_decoded += 1;
        self.counts.bytes += u64::from(timestamps.len) + u64::from(chunk.len);
        Ok(Some(Begun { chunk, timestamps, at, values, vector: 0 }))
    }

    /// Lets the columns of the chunk that comes next be on their way while `this` one is decoded.
    fn prefetch_next(&mut self, this: &Chunk, timestamps: &TimestampsRecord) {
        // What is wrong with it shows when its time has come.
        let (offset, len) = match self.peek() {
            Ok(Some((next, _))) => (next.offset, next.len),
            // Whoever reads all of a series often goes on to the next one, which lies behind it.
            Ok(None) if is_inside(timestamps, self.range) => (this.offset.saturating_add(this.len.into()), this.len),
            _ => return,
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::from(len));
        prefetch(self.segment.map.get(start..end).unwrap_or_default());
    }

    /// Goes on to the chunk behind the one that was looked at.
    fn step(&mut self, passed: &TimestampsRecord) {
        self.chunks.start += 1;
        (self.last, self.peeked) = (Some(passed.last), None);
    }

    fn advance(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        while out.len() == before {
            let begun = match self.begun.take() {
                Some(begun) => Some(begun),
                None => self.begin()?,
            };
            let Some(mut begun) = begun else { return Ok(false) };
            self.segment.decode(&begun, begun.vector, self.range, out)?;
            begun.vector += 1;
            if begun.vector < begun.at.vectors() {
                self.begun = Some(begun);
            }
        }
        Ok(true)
    }

    fn spent(&mut self) {
        (self.begun, self.peeked, self.chunks) = (None, None, 0..0);
    }
}

impl ColumnCursor for SegmentCursor<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        // The chunk that was begun is the one before.
        let (first, before) = (self.chunks.start.saturating_sub(usize::from(self.begun.is_some())), out.len());
        let mut going = self.advance(out);
        if self.segment.map.losses() != self.losses {
            going = self.look_again(first).and(going);
        }
        if going.is_err() {
            out.timestamps.truncate(before);
            out.values.truncate(before);
            self.spent();
        }
        going
    }

    fn bound(&self) -> Option<i64> {
        match &self.begun {
            Some(begun) => begun.at.first(begun.vector).ok(),
            None => {
                let next = if self.peeked.is_some() { self.peeked } else { self.look().ok().flatten() };
                next.map(|(_, timestamps)| timestamps.first)
            }
        }
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        if self.begun.is_some() {
            return Ok(None);
        }
        let mut found = self.peek().and_then(|next| {
            let Some((chunk, timestamps)) = next else { return Ok(None) };
            if !is_inside(timestamps, self.range) {
                return Ok(None);
            }
            self.segment.check_type(&chunk)?;
            self.segment.stats(&chunk, timestamps)
        });
        if self.segment.map.losses() != self.losses {
            found = self.look_again(self.chunks.start).and(found);
        }
        if found.is_err() {
            self.spent();
        }
        found
    }

    fn pass(&mut self) {
        if let Ok(Some((_, timestamps))) = self.peek() {
            self.step(timestamps);
            self.counts.chunks_by_statistics += 1;
        }
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

pub(super) fn is_inside(timestamps: &TimestampsRecord, range: TimeRange) -> bool {
    let inside = |at: i64| range.contains(Timestamp::from_nanos(at));
    inside(timestamps.first) && inside(timestamps.last)
}

impl Segment {
    /// The chunks of a series that may hold samples of `range`, and how many others it has.
    pub(super) fn chunks_in(&self, ordinal: u32, range: TimeRange) -> Result<(Range<usize>, u64), ReadError> {
        let all = self.chunk_range(ordinal)?;
        if self.lies_inside(range) { Ok((all, 0)) } else { self.cut_by_time(all, range) }
    }

    /// Whether all samples lie in `range`, as far as the file's bounds tell.
    pub(super) fn lies_inside(&self, range: TimeRange) -> bool {
        self.info.time_range.is_some_and(|bounds| range.start <= bounds.start && range.end >= bounds.end)
    }

    /// Those of a series' chunks that may hold samples of `range`, and how many others there are.
    pub(super) fn cut_by_time(&self, all: Range<usize>, range: TimeRange) -> Result<(Range<usize>, u64), ReadError> {
        let partition = |passes: &dyn Fn(&TimestampsRecord) -> bool, from: usize| -> Result<usize, ReadError> {
            let (mut low, mut high) = (from, all.end);
            while low < high {
                let middle = low + (high - low) / 2;
                if passes(self.chunk(middle)?.1) { low = middle + 1 } else { high = middle }
            }
            Ok(low)
        };
        let start = match range.start {
            Timestamp::MIN => all.start,
            start => partition(&|t| t.last < start.nanos(), all.start)?,
        };
        let end = match range.end {
            Timestamp::MAX => all.end,
            end => partition(&|t| t.first < end.nanos(), start)?,
        };
        Ok((start..end, (all.len() - (end - start)) as u64))
    }

    pub(super) fn check_type(&self, chunk: &Chunk) -> Result<(), ReadError> {
        if chunk.value_type > crate::chunk::format::VALUE_TYPE_F64 {
            return Err(ReadError::TooNew {
                file: self.path.clone(),
                found: u32::from(chunk.value_type),
                supported: u32::from(crate::chunk::format::VALUE_TYPE_F64),
            });
        }
        Ok(())
    }

    /// The two columns of a chunk, their checksums found right.
    pub(super) fn columns_of<'a>(
        &'a self,
        chunk: &Chunk,
        timestamps: &TimestampsRecord,
    ) -> Result<(TimestampColumn<'a>, ValueColumn<'a>), ReadError> {
        self.check_type(chunk)?;
        let count = usize::from(timestamps.count);
        let bytes = self.column(timestamps.offset, timestamps.len, timestamps.crc, "a timestamp column")?;
        let at = TimestampColumn::parse(bytes, count).map_err(|e| self.chunk_error(timestamps.offset, e))?;
        let bytes = self.column(chunk.offset, chunk.len, chunk.crc, "a value column")?;
        let values = ValueColumn::parse(bytes, count).map_err(|e| self.chunk_error(chunk.offset, e))?;
        Ok((at, values))
    }

    /// Appends the samples of a chunk that lie inside `range`.
    pub(super) fn decode_chunk(
        &self,
        chunk: &Chunk,
        timestamps: &TimestampsRecord,
        range: TimeRange,
        out: &mut Columns,
    ) -> Result<(), ReadError> {
        let (at, values) = self.columns_of(chunk, timestamps)?;
        let begun = Begun { chunk: *chunk, timestamps, at, values, vector: 0 };
        (0..at.vectors()).try_for_each(|vector| self.decode(&begun, vector, range, out))
    }

    /// Appends the samples of a vector that lie inside `range`.
    fn decode(&self, begun: &Begun<'_>, vector: usize, range: TimeRange, out: &mut Columns) -> Result<(), ReadError> {
        let Begun { chunk, timestamps, at, values, .. } = begun;
        let before = out.len();
        decode_vector(at, values, vector, range, out).map_err(|e| self.chunk_error(chunk.offset, e))?;
        let (first, last) = (out.timestamps.get(before), out.timestamps[before..].last());
        if first.is_some_and(|at| *at < timestamps.first) || last.is_some_and(|at| *at > timestamps.last) {
            out.timestamps.truncate(before);
            out.values.truncate(before);
            return Err(self.corrupt_at(timestamps.offset, "timestamps contradict the directory".to_owned()));
        }
        Ok(())
    }

    /// The last sample of a series in `range`: by the statistics of its chunk where they tell,
    /// else out of the last vector that holds one.
    pub(super) fn last_of(
        &self,
        ordinal: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<Option<crate::model::Sample>, ReadError> {
        let (chunks, pruned) = self.chunks_in(ordinal, range)?;
        counts.chunks_pruned += pruned;
        for (behind, number) in (0u64..).zip(chunks.clone().rev()) {
            let (chunk, timestamps) = self.chunk(number)?;
            if timestamps.last < timestamps.first {
                return Err(self.corrupt_at(timestamps.offset, "a chunk ends before it begins".to_owned()));
            }
            let rest = chunks.len() as u64 - 1 - behind;
            if range.contains(Timestamp::from_nanos(timestamps.last)) {
                self.check_type(&chunk)?;
                // Of NaN values the statistics keep no place.
                if let Some(stats) = self.stats(&chunk, timestamps)?.filter(|s| s.stale | s.nan == 0) {
                    counts.chunks_by_statistics += 1;
                    counts.samples_by_statistics += u64::from(stats.count);
                    counts.chunks_pruned += rest;
                    let timestamp = Timestamp::from_nanos(stats.last_timestamp);
                    return Ok(Some(crate::model::Sample { timestamp, value: stats.last_value }));
                }
            }
            let (at, values) = self.columns_of(&chunk, timestamps)?;
            counts.chunks_decoded += 1;
            counts.bytes += u64::from(timestamps.len) + u64::from(chunk.len);
            let begun = Begun { chunk, timestamps, at, values, vector: 0 };
            for vector in (0..at.vectors()).rev() {
                scratch.clear();
                self.decode(&begun, vector, range, scratch)?;
                if let Some(last) = scratch.last() {
                    counts.chunks_pruned += rest;
                    return Ok(Some(last));
                }
            }
        }
        Ok(None)
    }
}
