//! What a query has looked at, for those who want to know why it took so long.

use std::time::Duration;

/// Counts of one query: see [`Budget::stats`](crate::Budget::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanStats {
    /// Series found by selectors, counted once for each selector that found them.
    pub series_selected: u64,
    /// Series read, counted once for each time.
    pub series_read: u64,
    /// Chunks of these series outside the range asked for: not looked at.
    pub chunks_pruned: u64,
    /// Chunks answered by their statistics, without decoding.
    pub chunks_by_statistics: u64,
    /// Chunks of which samples were decoded.
    pub chunks_decoded: u64,
    /// Samples in the chunks answered by their statistics. They do not count as read.
    pub samples_by_statistics: u64,
    /// Samples read, duplicates resolved.
    pub samples_read: u64,
    /// Samples that an expression looked at, over all its steps: one that lies in the windows
    /// of three steps counts three times. Those inside a subquery count where its values do.
    pub samples_evaluated: u64,
    /// The greatest number of samples that an expression held at one time.
    pub samples_peak: u64,
    /// Encoded bytes that were checked and decoded.
    pub bytes_read: u64,
    /// Time spent finding series and joining them over the sources.
    pub selecting: Duration,
}
