//! Reading the samples of one series.

use std::ops::Range;

use super::Segment;
use crate::chunk::{TimestampColumn, ValueColumn, decode_vector};
use crate::model::{TimeRange, Timestamp};
use crate::segment::format::{ChunkRecord, TimestampsRecord};
use crate::source::{ColumnCursor, Columns, ReadError};

/// A chunk a call: at most 4,096 samples.
pub(super) struct SegmentCursor<'a> {
    segment: &'a Segment,
    chunks: Range<usize>,
    range: TimeRange,
    /// Last timestamp of the chunk before.
    last: Option<i64>,
}

impl<'a> SegmentCursor<'a> {
    pub(super) fn new(segment: &'a Segment, ordinal: u32, range: TimeRange) -> Result<Self, ReadError> {
        let chunks = segment.chunk_range(ordinal)?;
        Ok(Self { segment, chunks, range, last: None })
    }

    fn read(&mut self, number: usize, out: &mut Columns) -> Result<(), ReadError> {
        let (chunk, timestamps, _) = self.segment.chunk(number)?;
        if timestamps.last < timestamps.first || self.last.is_some_and(|last| last >= timestamps.first) {
            return Err(self.segment.corrupt_at(timestamps.offset, "chunks of a series overlap".to_owned()));
        }
        self.last = Some(timestamps.last);
        let chunk_range =
            TimeRange::covering(Timestamp::from_nanos(timestamps.first), Timestamp::from_nanos(timestamps.last));
        if chunk_range.overlaps(&self.range) { self.segment.decode(chunk, timestamps, self.range, out) } else { Ok(()) }
    }
}

impl ColumnCursor for SegmentCursor<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        while out.len() == before {
            let Some(number) = self.chunks.next() else { return Ok(false) };
            if let Err(error) = self.read(number, out) {
                self.chunks = 0..0;
                return Err(error);
            }
        }
        Ok(true)
    }
}

impl Segment {
    /// The two columns of a chunk, their checksums found right.
    pub(super) fn columns_of<'a>(
        &'a self,
        chunk: &ChunkRecord,
        timestamps: &TimestampsRecord,
    ) -> Result<(TimestampColumn<'a>, ValueColumn<'a>), ReadError> {
        if chunk.value_type > crate::chunk::format::VALUE_TYPE_F64 {
            return Err(ReadError::TooNew {
                file: self.path.clone(),
                found: u32::from(chunk.value_type),
                supported: u32::from(crate::chunk::format::VALUE_TYPE_F64),
            });
        }
        let count = usize::from(timestamps.count);
        let bytes = self.column(timestamps.offset, timestamps.len, timestamps.crc, "a timestamp column")?;
        let at = TimestampColumn::parse(bytes, count).map_err(|e| self.chunk_error(timestamps.offset, e))?;
        let bytes = self.column(chunk.offset, chunk.len, chunk.crc, "a value column")?;
        let values = ValueColumn::parse(bytes, count).map_err(|e| self.chunk_error(chunk.offset, e))?;
        Ok((at, values))
    }

    /// Appends the samples of a chunk that lie inside `range`.
    pub(super) fn decode(
        &self,
        chunk: &ChunkRecord,
        timestamps: &TimestampsRecord,
        range: TimeRange,
        out: &mut Columns,
    ) -> Result<(), ReadError> {
        let (at, values) = self.columns_of(chunk, timestamps)?;
        let before = out.len();
        for vector in 0..at.vectors() {
            let decoded = decode_vector(&at, &values, vector, range, out);
            decoded.map_err(|e| self.chunk_error(chunk.offset, e))?;
        }
        let (first, last) = (out.timestamps.get(before), out.timestamps[before..].last());
        if first.is_some_and(|at| *at < timestamps.first) || last.is_some_and(|at| *at > timestamps.last) {
            out.timestamps.truncate(before);
            out.values.truncate(before);
            return Err(self.corrupt_at(timestamps.offset, "timestamps contradict the directory".to_owned()));
        }
        Ok(())
    }
}
