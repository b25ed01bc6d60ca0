//! What `inspect` shows of the chunks.

use super::Segment;
use super::unclaimed::Unclaimed;
use crate::chunk::{ChunkStats, TimestampEncoding, ValueEncoding};
use crate::source::ReadError;

/// A vector as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorInfo<E> {
    /// How.
    pub encoding: E,
    /// Samples in it.
    pub samples: u32,
    /// Bytes it takes.
    pub bytes: u32,
}

/// A chunk as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkInfo {
    /// The series it belongs to.
    pub series: u32,
    /// Samples in it.
    pub count: u32,
    /// First timestamp, nanoseconds since the Unix epoch.
    pub first_timestamp: i64,
    /// Last timestamp, nanoseconds since the Unix epoch.
    pub last_timestamp: i64,
    /// Number of its timestamp column; chunks that share one have the same.
    pub timestamp_column: u32,
    /// Bytes of that column, which are in the file once.
    pub timestamp_bytes: u32,
    /// Bytes of its value column.
    pub value_bytes: u32,
    /// Each vector of timestamps.
    pub timestamp_vectors: Vec<VectorInfo<TimestampEncoding>>,
    /// Each vector of values.
    pub value_vectors: Vec<VectorInfo<ValueEncoding>>,
    /// Statistics; short chunks have none.
    pub stats: Option<ChunkStats>,
}

impl Segment {
    /// All chunks, by series and time. Each is checked against its checksum, none is decoded, and none
    /// comes twice.
    pub fn chunks(&self) -> impl Iterator<Item = Result<ChunkInfo, ReadError>> + '_ {
        let mut unclaimed = Unclaimed::default();
        (0..self.series_count()).flat_map(move |series| {
            let (range, error) = match self.whole_once(|| self.own_chunks(series, &mut unclaimed)) {
                Ok(range) => (range, None),
                Err(error) => (0..0, Some(Err(error))),
            };
            error.into_iter().chain(range.map(move |number| self.whole(|| self.chunk_info(series, number))))
        })
    }

    /// Statistics of a series' chunks, by time, with no column touched. `None` for short chunks.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged.
    pub fn stats_of(&self, ordinal: u32) -> Result<Vec<Option<ChunkStats>>, ReadError> {
        let stats = |number: usize| {
            let (chunk, timestamps) = self.chunk(number)?;
            self.stats(&chunk, timestamps)
        };
        self.whole(|| self.chunk_range(ordinal)?.map(stats).collect())
    }

    fn chunk_info(&self, series: u32, number: usize) -> Result<ChunkInfo, ReadError> {
        let (chunk, timestamps) = self.chunk(number)?;
        let (at, values) = self.columns_of(&chunk, timestamps)?;
        let vectors = 0..at.vectors();
        Ok(ChunkInfo {
            series,
            count: u32::from(timestamps.count),
            first_timestamp: timestamps.first,
            last_timestamp: timestamps.last,
            timestamp_column: chunk.timestamps,
            timestamp_bytes: u32::from(timestamps.len),
            value_bytes: u32::from(chunk.len),
            timestamp_vectors: vectors
                .clone()
                .map(|v| Ok(info(at.encoding(v)?, at.size(v))))
                .collect::<Result<_, _>>()
                .map_err(|e| self.chunk_error(timestamps.offset, e))?,
            value_vectors: vectors
                .map(|v| Ok(info(values.encoding(v)?, values.size(v))))
                .collect::<Result<_, _>>()
                .map_err(|e| self.chunk_error(chunk.offset, e))?,
            stats: self.stats(&chunk, timestamps)?,
        })
    }
}

fn info<E>(encoding: E, (samples, bytes): (usize, usize)) -> VectorInfo<E> {
    VectorInfo { encoding, samples: samples as u32, bytes: bytes as u32 }
}
