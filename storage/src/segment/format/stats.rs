//! Statistics of a chunk as they lie in the file: narrow where the values are decimals, wide otherwise.
//!
//! Byte layout: docs/format/segment.md, "Statistics". A narrow record is one only if it gives the very bits back that a
//! wide one would keep.

use bytemuck::{Pod, Zeroable};

use crate::chunk::{ChunkStats, DECIMAL_EXPONENT_MAX, StatsWanted, decimal_to_float, float_to_decimal};

/// A record starts at a multiple of this in its section; [`Chunk::stats`](super::Chunk::stats) counts it.
pub(in crate::segment) const STATS_UNIT: usize = 8;

/// In [`WideStats::kind`].
const WIDE: u8 = 0;
/// In [`NarrowStats::kind`].
const NARROW: u8 = 1;

/// Every bit pattern as it is.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(in crate::segment) struct WideStats {
    stale: u16,
    nan: u16,
    resets: u16,
    reserved: u8,
    kind: u8,
    floats: Floats,
}

/// What of statistics is told in floats, in the order of every record that has them whole.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Floats {
    first_value: f64,
    last_value: f64,
    min: f64,
    max: f64,
    sum: f64,
    compensation: f64,
    increase: f64,
}

impl Floats {
    fn new(stats: &ChunkStats) -> Self {
        let ChunkStats { first_value, last_value, min, max, sum, compensation, increase, .. } = *stats;
        Self { first_value, last_value, min, max, sum, compensation, increase }
    }

    /// With the counts beside them. Number and timestamps of the samples are not known here.
    pub(super) fn with_counts(&self, stale: u32, nan: u32, resets: u32) -> ChunkStats {
        let Self { first_value, last_value, min, max, sum, compensation, increase } = *self;
        let counts = ChunkStats { stale, nan, resets, ..ChunkStats::default() };
        ChunkStats { first_value, last_value, min, max, sum, compensation, increase, ..counts }
    }
}

/// Decimals of one exponent. No sample is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(in crate::segment) struct NarrowStats {
    /// Doubles that sum and increase lie behind their decimals.
    sum_off: i16,
    increase_off: i16,
    resets: u16,
    exponent: u8,
    kind: u8,
    min: i32,
    sum: i32,
    increase: i32,
    /// Above the least value.
    first_value: u16,
    last_value: u16,
    max: u16,
    /// Bits 16 to 31 of the compensation, then 32 to 63; those below are 0.
    compensation_low: u16,
    compensation_high: u32,
}

const _: () = assert!(size_of::<WideStats>() == 64, "the spec says 64 bytes");
const _: () = assert!(size_of::<NarrowStats>() == 32, "the spec says 32 bytes");

/// A [`WideStats`] as words, to compare it bit by bit.
pub(in crate::segment) type StatsWords = [u64; size_of::<WideStats>() / 8];

impl WideStats {
    /// Count and timestamps are left out: the timestamp column has them. A chunk's counts fit, for it has at most 4,096
    /// samples.
    pub(in crate::segment) fn new(stats: &ChunkStats) -> Self {
        Self {
            stale: stats.stale as u16,
            nan: stats.nan as u16,
            resets: stats.resets as u16,
            reserved: 0,
            kind: WIDE,
            floats: Floats::new(stats),
        }
    }

    /// Whether all values but NaN are equal.
    pub(in crate::segment) fn is_constant(&self) -> bool {
        self.floats.min == self.floats.max
    }

    pub(in crate::segment) fn words(&self) -> StatsWords {
        bytemuck::cast(*self)
    }

    pub(in crate::segment) fn stats(&self) -> ChunkStats {
        self.floats.with_counts(self.stale.into(), self.nan.into(), self.resets.into())
    }
}

impl NarrowStats {
    /// The same in fewer bytes; `None` if that would not give every bit back.
    pub(in crate::segment) fn new(wide: &WideStats) -> Option<Self> {
        (0..=DECIMAL_EXPONENT_MAX).find_map(|exponent| Self::of_exponent(wide, exponent))
    }

    fn of_exponent(wide: &WideStats, exponent: u8) -> Option<Self> {
        let floats = &wide.floats;
        let integer = |value: f64| i32::try_from(float_to_decimal(value, exponent)?).ok();
        let min = integer(floats.min)?;
        let above = |value: f64| u16::try_from(i64::from(integer(value)?) - i64::from(min)).ok();
        let off = |value: f64, near: i32| {
            let near = decimal_to_float(near, exponent);
            i16::try_from(value.to_bits().wrapping_sub(near.to_bits()) as i64).ok()
        };
        let (sum, increase) = (integer(floats.sum)?, integer(floats.increase)?);
        let compensation = floats.compensation.to_bits();
        let narrow = Self {
            sum_off: off(floats.sum, sum)?,
            increase_off: off(floats.increase, increase)?,
            resets: wide.resets,
            exponent,
            kind: NARROW,
            min,
            sum,
            increase,
            first_value: above(floats.first_value)?,
            last_value: above(floats.last_value)?,
            max: above(floats.max)?,
            compensation_low: (compensation >> 16) as u16,
            compensation_high: (compensation >> 32) as u32,
        };
        // Whatever was rounded away above shows here.
        (WideStats::new(&narrow.stats(StatsWanted::ALL)?).words() == wide.words()).then_some(narrow)
    }

    /// What is wanted, and 0 for the rest: a number costs a division. `None` if there is no such exponent.
    #[inline(always)]
    pub(in crate::segment) fn stats(&self, wanted: StatsWanted) -> Option<ChunkStats> {
        if self.exponent > DECIMAL_EXPONENT_MAX {
            return None;
        }
        let float = |n: i32| decimal_to_float(n, self.exponent);
        let above = |distance: u16| float(self.min.wrapping_add(i32::from(distance)));
        let behind = |n: i32, off: i16| f64::from_bits(float(n).to_bits().wrapping_add(i64::from(off) as u64));
        let mut stats = ChunkStats { resets: u32::from(self.resets), ..ChunkStats::default() };
        if wanted.sum {
            let compensation = u64::from(self.compensation_high) << 32 | u64::from(self.compensation_low) << 16;
            (stats.sum, stats.compensation) = (behind(self.sum, self.sum_off), f64::from_bits(compensation));
        }
        if wanted.extremes {
            (stats.min, stats.max) = (float(self.min), above(self.max));
        }
        if wanted.ends {
            (stats.first_value, stats.last_value) = (above(self.first_value), above(self.last_value));
        }
        if wanted.increase {
            stats.increase = behind(self.increase, self.increase_off);
        }
        Some(stats)
    }

    /// Whether the record that starts with these bytes is wide: then it goes on behind them. `None` if it is of no
    /// kind that is known here.
    pub(in crate::segment) fn is_wide(&self) -> Option<bool> {
        match self.kind {
            WIDE => Some(true),
            NARROW => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a narrow record of these statistics gives back, if there is one.
    fn back(stats: &ChunkStats) -> Option<StatsWords> {
        let narrow = NarrowStats::new(&WideStats::new(stats))?;
        assert_eq!((narrow.is_wide(), WideStats::new(stats).kind), (Some(false), WIDE));
        Some(WideStats::new(&narrow.stats(StatsWanted::ALL).expect("a known exponent")).words())
    }

    /// A walk of integers ÷ 10ᵏ, as a chunk holds it.
    fn walk(seed: u64, count: usize, exponent: u8, base: i64) -> Vec<f64> {
        let mut noise = seed | 1;
        let mut level = 0i64;
        let step = |_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            level = (level + (noise % 401) as i64 - 200).clamp(0, 10_000);
            decimal_to_float((base + level) as i32, exponent)
        };
        (0..count).map(step).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn walks_of_decimals_are_narrow_and_come_back_to_the_bit(
            seed in any::<u64>(), count in 1usize..4097, exponent in 0u8..4, base in 1_000i64..200_000,
        ) {
            let stats = ChunkStats::of_values(&walk(seed, count, exponent, base));
            prop_assert_eq!(back(&stats), Some(WideStats::new(&stats).words()));
        }

        #[test]
        fn whatever_is_narrow_gives_the_bits_of_its_wide_twin(
            seed in any::<u64>(), count in 1usize..300, exponent in 0u8..6, base in -30_000i64..30_000,
            odd in prop::collection::vec((any::<u64>(), 0usize..6, 0usize..12), 0..3),
        ) {
            let mut values = walk(seed, count, exponent, base);
            for (bits, at, which) in odd {
                let strange = [
                    -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::from_bits(crate::chunk::STALE_BITS),
                    5e-324, f64::MAX, 0.1 + 0.2, 2_147_483_648.0, -2_147_483_649.0, 65_536.0, f64::from_bits(bits),
                ];
                // The first and the last are kept as they are, others where they are least or greatest.
                let at = [0, count - 1, count / 2][at % 3];
                values[at] = strange[which];
            }
            let stats = ChunkStats::of_values(&values);
            if let Some(words) = back(&stats) {
                prop_assert_eq!(words, WideStats::new(&stats).words());
            }
        }

        #[test]
        fn any_narrow_record_reads_without_panic(bytes in any::<[u8; 32]>()) {
            let record: NarrowStats = bytemuck::cast(bytes);
            prop_assert_eq!(record.stats(StatsWanted::ALL).is_none(), record.exponent > DECIMAL_EXPONENT_MAX);
        }

        #[test]
        fn what_is_wanted_is_what_all_of_it_says_and_the_rest_is_nought(
            bytes in any::<[u8; 32]>(), exponent in 0..=DECIMAL_EXPONENT_MAX,
            sum in any::<bool>(), extremes in any::<bool>(), ends in any::<bool>(), increase in any::<bool>(),
        ) {
            let record = NarrowStats { exponent, ..bytemuck::cast(bytes) };
            let words = |wanted| WideStats::new(&record.stats(wanted).expect("a known exponent")).words();
            let mut expected = words(StatsWanted::ALL);
            // In the order of the wide record: counts, first, last, min, max, sum, compensation, increase.
            let told = [true, ends, ends, extremes, extremes, sum, sum, increase];
            expected.iter_mut().zip(told).filter(|(_, told)| !told).for_each(|(word, _)| *word = 0);
            prop_assert_eq!(words(StatsWanted { sum, extremes, ends, increase }), expected);
        }
    }

    #[test]
    fn what_no_decimal_gives_back_stays_wide() {
        let of = |values: &[f64]| back(&ChunkStats::of_values(values));
        let narrow = |values: &[f64]| of(values).is_some();
        assert!(narrow(&[1.25, 3.5, 0.01]) && narrow(&[0.0; 9]) && narrow(&[2_147_483_647.0]));
        assert!(narrow(&[0.0, 65_535.0]) && !narrow(&[0.0, 65_536.0]), "the greatest lies too far above the least");
        assert!(!narrow(&[2_147_483_648.0]) && !narrow(&[2e9, 2e9 + 1.0]), "the sum does not fit");
        for odd in [-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, std::f64::consts::PI, 5e-324] {
            assert!(!narrow(&[1.0, odd, 2.0]) && !narrow(&[odd]), "{odd}");
        }
        assert!(
            !narrow(&[1.0, f64::from_bits(crate::chunk::STALE_BITS)]),
            "NaN values are counted by wide records only"
        );
        // A sum far off its decimal, a compensation with all its bits.
        let stats = ChunkStats::of_values(&[1.0, 2.0]);
        let far = ChunkStats { sum: f64::from_bits(3f64.to_bits() + (1 << 15)), ..stats };
        assert!(back(&stats).is_some() && back(&far).is_none());
        let all_bits = ChunkStats { compensation: 0.1, ..stats };
        assert!(back(&ChunkStats { compensation: 0.5, ..stats }).is_some() && back(&all_bits).is_none());
    }
}
