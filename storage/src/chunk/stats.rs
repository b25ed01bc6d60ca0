//! What is known about a chunk without decoding it.

/// Prometheus' mark for a series that ended: a NaN of this very bit pattern.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Statistics over the samples of a chunk. NaN values, stale marks included, are counted
/// and otherwise left out; where there is no other value, the float fields are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChunkStats {
    /// Samples, whatever their value.
    pub count: u32,
    /// Samples that carry the stale mark.
    pub stale: u32,
    /// Samples that are NaN but no stale mark.
    pub nan: u32,
    /// Times a value was lower than the one before: resets, if the series is a counter.
    pub resets: u32,
    /// First timestamp of all, nanoseconds since the Unix epoch.
    pub first_timestamp: i64,
    /// Last timestamp of all, nanoseconds since the Unix epoch.
    pub last_timestamp: i64,
    /// First value that is no NaN.
    pub first_value: f64,
    /// Last value that is no NaN.
    pub last_value: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values, in order, by Neumaier's method.
    pub sum: f64,
    /// What the sum lost by rounding: `sum + compensation` is the better sum.
    pub compensation: f64,
    /// Sum of the increases, a value after a reset counting whole: what [`taken`](Self::taken) builds on.
    pub increase: f64,
}

/// Which of a chunk's statistics are asked for, beside its counts and times, which are always told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsWanted {
    /// `sum` and `compensation`.
    pub sum: bool,
    /// `min` and `max`.
    pub extremes: bool,
    /// `first_value` and `last_value`.
    pub ends: bool,
    /// `increase`.
    pub increase: bool,
}

impl StatsWanted {
    /// All there is.
    pub const ALL: Self = Self { sum: true, extremes: true, ends: true, increase: true };
    /// Counts and times alone.
    pub const NONE: Self = Self { sum: false, extremes: false, ends: false, increase: false };

    /// What either of them is.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sum: self.sum || other.sum,
            extremes: self.extremes || other.extremes,
            ends: self.ends || other.ends,
            increase: self.increase || other.increase,
        }
    }
}

impl ChunkStats {
    /// The statistics of a run of samples. O(n).
    ///
    /// # Panics
    /// If the columns differ in length.
    #[must_use]
    pub fn of(timestamps: &[i64], values: &[f64]) -> Self {
        assert_eq!(timestamps.len(), values.len(), "one value for each timestamp");
        let (first, last) = (timestamps.first().copied(), timestamps.last().copied());
        let (first_timestamp, last_timestamp) = (first.unwrap_or_default(), last.unwrap_or_default());
        Self { first_timestamp, last_timestamp, ..Self::of_values(values) }
    }

    /// What the resets took away: the sum of the values right before each, as far as it can be told to the bit. That is so
    /// for a counter of whole numbers below 2^53: all sums of these are exact. `None` for others, and where a sample is NaN.
    ///
    /// Of fractions sum, increase or what rounding left is next to never whole; should all of them be, it is off by the
    /// rounding of the increase, at most 2^-41 of it.
    #[must_use]
    pub fn taken(&self) -> Option<f64> {
        let Self { first_value, last_value, min, max, sum, compensation, increase, .. } = *self;
        let whole = [first_value, last_value, min, max, sum, compensation, increase].iter().all(|x| x.fract() == 0.0);
        // No value is above the first one and all increases.
        let exact = min >= 0.0 && first_value + increase < (1u64 << 53) as f64;
        (whole && exact && self.nan | self.stale == 0).then_some(increase - (last_value - first_value))
    }

    /// What of the statistics follows from the values alone; the timestamps are 0.
    pub(crate) fn of_values(values: &[f64]) -> Self {
        let mut stats = Self { count: values.len() as u32, ..Self::default() };
        let Some(start) = values.iter().position(|value| !value.is_nan()) else {
            stats.count_nans(values);
            return stats;
        };
        let mut running = Running::new(values[start]);
        let mut nans = start;
        for &value in &values[start + 1..] {
            if value.is_nan() {
                nans += 1;
            } else {
                running.add(value);
            }
        }
        if nans > 0 {
            stats.count_nans(values);
        }
        Self {
            resets: running.resets,
            first_value: values[start],
            last_value: running.last,
            min: running.min,
            max: running.max,
            sum: running.sum,
            compensation: running.compensation,
            increase: running.increase,
            ..stats
        }
    }

    fn count_nans(&mut self, values: &[f64]) {
        self.stale = values.iter().filter(|value| value.to_bits() == STALE_BITS).count() as u32;
        self.nan = values.iter().filter(|value| value.is_nan()).count() as u32 - self.stale;
    }
}

struct Running {
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    compensation: f64,
    increase: f64,
    resets: u32,
}

impl Running {
    fn new(first: f64) -> Self {
        Self { last: first, min: first, max: first, sum: first, compensation: 0.0, increase: 0.0, resets: 0 }
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
        // Neumaier: what the larger summand pushes out of the sum is kept apart.
        let sum = self.sum + value;
        let (large, small) = if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        self.compensation += if sum.is_infinite() { 0.0 } else { (large - sum) + small };
        self.sum = sum;
        let reset = value < self.last;
        self.resets += u32::from(reset);
        self.increase += if reset { value } else { value - self.last };
        self.last = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> ChunkStats {
        let timestamps: Vec<i64> = (0..values.len() as i64).collect();
        ChunkStats::of(&timestamps, values)
    }

    #[test]
    fn stale_marks_and_other_nans_are_counted_apart_and_left_out() {
        let stale = f64::from_bits(STALE_BITS);
        let stats = of(&[f64::NAN, 3.0, stale, 1.0, f64::NAN, 2.0, stale, stale]);
        assert_eq!((stats.count, stats.stale, stats.nan), (8, 3, 2));
        assert_eq!((stats.first_value, stats.last_value), (3.0, 2.0));
        assert_eq!((stats.min, stats.max, stats.sum), (1.0, 3.0, 6.0));
        assert_eq!((stats.resets, stats.increase), (1, 2.0));
        assert_eq!((stats.first_timestamp, stats.last_timestamp), (0, 7));
        assert_eq!(of(&[stale; 3]), ChunkStats { count: 3, stale: 3, last_timestamp: 2, ..ChunkStats::default() });
    }

    #[test]
    fn the_sum_keeps_what_rounding_loses() {
        let stats = of(&[1.0, 1e100, 1.0, -1e100]);
        assert_eq!(stats.sum + stats.compensation, 2.0);
        let stats = of(&[f64::INFINITY, 1.0]);
        assert_eq!(stats.sum + stats.compensation, f64::INFINITY);
    }

    #[test]
    fn what_resets_took_is_told_of_whole_numbers_only() {
        assert_eq!(of(&[10.0, 15.0, 3.0, 4.0, 0.0, 100.0]).taken(), Some(15.0 + 4.0));
        assert_eq!(of(&[1.0, 2.0]).taken(), Some(0.0));
        // Their sum does not fit into 53 bits, and is whole.
        let great = (1u64 << 52) as f64;
        assert_eq!(of(&[great - 1.0, great + 1.0, great, 0.0]).taken(), None, "they increase beyond 2^53");
        assert_eq!(of(&[great - 1.0, great + 1.0, 0.0, 7.0]).taken(), Some(great + 1.0));
        for odd in [0.5, -1.0, f64::NAN, f64::INFINITY, f64::from_bits(STALE_BITS)] {
            assert_eq!(of(&[10.0, odd, 3.0, 4.0]).taken(), None, "{odd}");
        }
        // Tenths add up to whole numbers, but for what rounding leaves.
        let tenths: Vec<f64> = (0..40).map(|i| f64::from(i % 11) / 10.0).collect();
        assert_eq!(of(&tenths).taken(), None);
    }

    #[test]
    fn a_reset_counts_the_whole_value_after_it() {
        let stats = of(&[10.0, 15.0, 3.0, 4.0]);
        assert_eq!((stats.resets, stats.increase), (1, 5.0 + 3.0 + 1.0));
    }
}
