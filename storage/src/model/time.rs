//! Timestamps and half-open ranges of them, in nanoseconds since the Unix epoch.

use std::fmt;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// A point in time: nanoseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Timestamp(i64);

/// A timestamp that nanoseconds in an `i64` cannot hold (they reach from 1677 to 2262).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timestamp {millis} ms does not fit in 64-bit nanoseconds (years 1677 to 2262)")]
pub struct TimestampOutOfRange {
    /// The refused timestamp, in milliseconds since the Unix epoch.
    pub millis: i64,
}

impl Timestamp {
    /// The earliest timestamp.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest timestamp.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch, as they come over the wire.
    ///
    /// # Errors
    /// [`TimestampOutOfRange`] if the product does not fit.
    pub const fn from_millis(millis: i64) -> Result<Self, TimestampOutOfRange> {
        match millis.checked_mul(NANOS_PER_MILLI) {
            Some(nanos) => Ok(Self(nanos)),
            None => Err(TimestampOutOfRange { millis }),
        }
    }

    /// From milliseconds, clamped to what can be held. For the bounds of queries.
    #[must_use]
    pub const fn from_millis_saturating(millis: i64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded towards negative infinity.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(NANOS_PER_MILLI)
    }
}

/// The half-open range `[start, end)`. Empty if `end <= start`.
///
/// `Timestamp::MAX` itself lies in no range but [`TimeRange::ALL`], whose end is
/// taken to be infinite: see [`TimeRange::contains`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First timestamp inside.
    pub start: Timestamp,
    /// First timestamp behind; `Timestamp::MAX` means no end.
    pub end: Timestamp,
}

impl TimeRange {
    /// Every timestamp, the latest included.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// `[start, end)`.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// The smallest range that holds `first` and `last` and all between.
    #[must_use]
    pub const fn covering(first: Timestamp, last: Timestamp) -> Self {
        Self { start: first, end: Timestamp(last.0.saturating_add(1)) }
    }

    /// Whether `at` lies inside. An end of `Timestamp::MAX` excludes nothing.
    #[must_use]
    pub const fn contains(&self, at: Timestamp) -> bool {
        self.start.0 <= at.0 && (at.0 < self.end.0 || self.end.0 == i64::MAX)
    }

    /// Whether no timestamp lies inside.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end.0 <= self.start.0 && self.end.0 != i64::MAX
    }

    /// What lies in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// Whether some timestamp lies in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }
}

impl From<std::ops::Range<Timestamp>> for TimeRange {
    fn from(range: std::ops::Range<Timestamp>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_milliseconds_are_checked_at_ingest_and_saturate_in_queries() {
        assert_eq!(Timestamp::from_millis(1).unwrap().nanos(), 1_000_000);
        assert_eq!(Timestamp::from_millis(i64::MAX), Err(TimestampOutOfRange { millis: i64::MAX }));
        assert_eq!(Timestamp::from_millis_saturating(i64::MIN), Timestamp::MIN);
        assert_eq!(Timestamp::from_nanos(-1).millis(), -1);
    }

    #[test]
    fn a_range_excludes_its_end_unless_it_has_none() {
        let t = Timestamp::from_nanos;
        let r = TimeRange::new(t(1), t(3));
        assert!(!r.contains(t(0)) && r.contains(t(1)) && r.contains(t(2)) && !r.contains(t(3)));
        assert!(TimeRange::ALL.contains(Timestamp::MAX));
        assert!(TimeRange::covering(t(5), Timestamp::MAX).contains(Timestamp::MAX));
        assert!(TimeRange::new(t(3), t(3)).is_empty());
        assert!(!r.overlaps(&TimeRange::new(t(3), t(9))));
    }
}
