//! Reading one series: batches of columns, or the statistics of a whole chunk in their place.

use super::{Columns, ReadError};
use crate::chunk::ChunkStats;

/// Reads one series of one source, in ascending time.
///
/// A cursor that only knows [`next`](Self::next) is complete: the rest lets a reader do with less.
pub trait ColumnCursor: Send {
    /// Appends the next samples to `out` (at most a few thousand a call) and answers
    /// whether there were any. Timestamps ascend strictly over all calls together:
    /// a source resolves its own duplicates.
    ///
    /// # Errors
    /// [`ReadError`] if the bytes behind the cursor are damaged; the cursor is spent then.
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError>;

    /// A timestamp that no sample still to come is before, known without decoding; `None`
    /// if nothing is known.
    fn bound(&self) -> Option<i64> {
        None
    }

    /// The statistics of the samples that come next, if these are a whole chunk that has
    /// statistics and all of it would be read. The cursor stays where it is: what follows is
    /// either [`next`](Self::next), which decodes, or [`pass`](Self::pass).
    ///
    /// O(1) and no column is touched. Whoever uses them instead of the samples must know that
    /// no other source holds samples of the series in the chunk's time, and that nothing of it
    /// was deleted.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged; the cursor is spent then.
    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        Ok(None)
    }

    /// Passes over the chunk whose statistics [`whole`](Self::whole) has just answered.
    fn pass(&mut self) {}

    /// What was read so far, and what was not.
    fn counts(&self) -> ReadCounts {
        ReadCounts::default()
    }
}

/// What answering took, and what it was spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Chunks of the series outside the range asked for: not looked at.
    pub chunks_pruned: u64,
    /// Chunks answered by their statistics.
    pub chunks_by_statistics: u64,
    /// Samples in those, if they were asked for their last one. Who takes [`ColumnCursor::whole`] counts himself.
    pub samples_by_statistics: u64,
    /// Chunks of which samples were decoded.
    pub chunks_decoded: u64,
    /// Encoded bytes that were checked and decoded; raw ones of open tails included.
    pub bytes: u64,
}

impl std::ops::AddAssign for ReadCounts {
    fn add_assign(&mut self, other: Self) {
        self.chunks_pruned += other.chunks_pruned;
        self.chunks_by_statistics += other.chunks_by_statistics;
        self.samples_by_statistics += other.samples_by_statistics;
        self.chunks_decoded += other.chunks_decoded;
        self.bytes += other.bytes;
    }
}
