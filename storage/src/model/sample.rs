//! One observation, and the order in which observations were accepted.

use super::Timestamp;

/// One (timestamp, value) of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in nanoseconds since the Unix epoch.
    pub timestamp: Timestamp,
    /// What. Every bit pattern is kept, NaN payloads included.
    pub value: f64,
}

/// Place in the engine's single order of acceptance. Later is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeqNo(pub u64);

/// The half-open range `[start, end)` of sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqRange {
    /// First number inside.
    pub start: SeqNo,
    /// First number behind.
    pub end: SeqNo,
}
