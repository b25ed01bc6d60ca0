//! Chunks as they lie in the file, for those who move them without decoding.

use std::ops::Range;

use super::Segment;
use crate::chunk::ChunkStats;
use crate::segment::format::{Chunk, TimestampsRecord};
use crate::source::ReadError;

/// What the directory says of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSpan {
    /// The chunk's number in its segment.
    pub number: usize,
    /// First timestamp, nanoseconds since the Unix epoch.
    pub first: i64,
    /// Last timestamp.
    pub last: i64,
    /// Samples.
    pub count: u32,
    /// Bytes of its value column.
    pub value_bytes: u32,
    /// The number of its timestamp column, which other chunks may have, too.
    pub timestamp_column: u32,
    /// Bytes of that.
    pub timestamp_bytes: u32,
}

/// A chunk's columns as they are stored, their checksums found right. Borrows the map.
#[derive(Clone, Copy, Debug)]
pub struct EncodedChunk<'a> {
    pub(in crate::segment) record: Chunk,
    pub(in crate::segment) timestamps: &'a TimestampsRecord,
    pub(in crate::segment) timestamp_bytes: &'a [u8],
    pub(in crate::segment) value_bytes: &'a [u8],
    pub(in crate::segment) stats: Option<ChunkStats>,
}

impl Segment {
    /// The chunks of a series, by time, as the directory names them. No column is touched.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged.
    pub fn spans(&self, ordinal: u32) -> Result<impl Iterator<Item = Result<ChunkSpan, ReadError>> + '_, ReadError> {
        Ok(self.spans_of(self.whole(|| self.chunk_range(ordinal))?))
    }

    pub(super) fn spans_of(
        &self,
        numbers: Range<usize>,
    ) -> impl Iterator<Item = Result<ChunkSpan, ReadError>> + use<'_> {
        let mut before = None;
        numbers.map(move |number| {
            let span = self.whole(|| {
                let (chunk, timestamps) = self.chunk(number)?;
                if timestamps.last < timestamps.first || before.is_some_and(|last| last >= timestamps.first) {
                    return Err(self.corrupt_at(timestamps.offset, "chunks of a series overlap".to_owned()));
                }
                Ok(ChunkSpan {
                    number,
                    first: timestamps.first,
                    last: timestamps.last,
                    count: u32::from(timestamps.count),
                    value_bytes: u32::from(chunk.len),
                    timestamp_column: chunk.timestamps,
                    timestamp_bytes: u32::from(timestamps.len),
                })
            })?;
            before = Some(span.last);
            Ok(span)
        })
    }

    /// The stored columns of a chunk that [`spans`](Self::spans) named. Whoever has copied them asks
    /// [`check_readable`](Self::check_readable): what is borrowed here may be lost before he has.
    ///
    /// # Errors
    /// [`ReadError`] if they are damaged, or written by a newer release.
    pub fn encoded(&self, number: usize) -> Result<EncodedChunk<'_>, ReadError> {
        self.whole(|| self.encoded_at(number))
    }

    fn encoded_at(&self, number: usize) -> Result<EncodedChunk<'_>, ReadError> {
        let (record, timestamps) = self.chunk(number)?;
        // Parsed, so that nothing is passed on that could not be read.
        self.columns_of(&record, timestamps)?;
        Ok(EncodedChunk {
            record,
            timestamps,
            timestamp_bytes: self.column(timestamps.offset, timestamps.len, timestamps.crc, "a timestamp column")?,
            value_bytes: self.column(record.offset, record.len, record.crc, "a value column")?,
            stats: self.stats(&record, timestamps)?,
        })
    }
}
