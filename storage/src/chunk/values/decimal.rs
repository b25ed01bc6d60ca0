//! Floats that are integers × 10⁻ᵏ, or next to such a float.
//!
//! A decimal that was parsed or rounded to k places is the double nearest to n / 10ᵏ, and
//! dividing n by 10ᵏ gives that very double back (both are exact, division rounds once).
//! Multiplying by 10⁻ᵏ would not. One that was computed may lie a few doubles further: the
//! distance, in doubles, is its *correction*. Whatever has neither is an exception.

use crate::chunk::format::DECIMAL_EXPONENT_MAX;

/// Values tried for each exponent.
const SAMPLE: usize = 32;

/// Samples that may fail before an exponent is given up.
const SAMPLE_MISSES: usize = 6;

/// Doubles that a sample may lie off its decimal: more are likely no decimals at all.
const NEAR: u64 = 16;

/// Doubles that any value may lie off before it is an exception.
const CORRECTION_MAX: u64 = 1 << 20;

/// Integers up to this magnitude convert by adding a constant.
const INTEGER_MAX: f64 = (1u64 << 51) as f64;

/// 1.5 × 2⁵²: added to an integer-valued float below 2⁵¹, it leaves the integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const MAGIC_BITS: i64 = MAGIC.to_bits() as i64;

const POWERS: [f64; DECIMAL_EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// The float nearest to `n`, which must lie below 2⁵¹ in magnitude (others give a float, but not that one).
#[inline(always)]
pub(super) fn to_float(n: i64) -> f64 {
    f64::from_bits(n.wrapping_add(MAGIC_BITS) as u64) - MAGIC
}

/// The integer nearest to `value` × 10ᵏ, the float it stands for, and the bits of its magnitude as a float: as integers
/// they compare as the magnitudes do, NaN above all. Of the product before it was rounded they would not tell that it
/// was rounded up to 2⁵¹.
#[inline(always)]
fn nearest<const FUSED: bool>(value: f64, scale: &Scale) -> (i64, f64, u64) {
    let product = value * scale.power;
    let shifted = product + MAGIC;
    let n = (shifted.to_bits() as i64).wrapping_sub(MAGIC_BITS);
    let whole = shifted - MAGIC;
    (n, scale.quotient::<FUSED>(whole), whole.abs().to_bits())
}

/// The float that `n` × 10⁻ᵏ stands for, k at most [`DECIMAL_EXPONENT_MAX`].
#[inline(always)]
pub(crate) fn decimal_to_float(n: i32, exponent: u8) -> f64 {
    f64::from(n) / POWERS[usize::from(exponent)]
}

/// The integer nearest to `value` × 10ᵏ; `None` from 2⁵¹ on, and of no number.
pub(crate) fn float_to_decimal(value: f64, exponent: u8) -> Option<i64> {
    let (n, _, magnitude) = nearest::<false>(value, &SCALES[usize::from(exponent)]);
    (magnitude < INTEGER_MAX.to_bits()).then_some(n)
}

/// Doubles between `value` and the decimal next to it; more than 2⁶² if there is none.
#[inline(always)]
fn distance(value: f64, scale: &Scale) -> u64 {
    let (_, decimal, magnitude) = nearest::<false>(value, scale);
    let off = value.to_bits().wrapping_sub(decimal.to_bits());
    // -0.0 lies half the range away from 0.0.
    if magnitude < INTEGER_MAX.to_bits() { (off as i64).unsigned_abs() } else { u64::MAX }
}

/// The smallest exponent that suits most of a sample of `values`.
pub(super) fn exponent(values: &[f64]) -> Option<u8> {
    let step = values.len().div_ceil(SAMPLE);
    let sampled = values.len().div_ceil(step);
    // A sample of eight may not hold six misses.
    let misses_max = SAMPLE_MISSES.min(sampled / 4);
    let suits = |k: u8, off_max: u64, misses_max: usize| {
        let mut misses = 0;
        for value in values.iter().step_by(step) {
            misses += usize::from(distance(*value, &SCALES[usize::from(k)]) > off_max);
            if misses > misses_max {
                return false;
            }
        }
        true
    };
    let near = (0..=DECIMAL_EXPONENT_MAX).find(|&k| suits(k, NEAR, misses_max))?;
    // Where doubles lie as far apart as that, one more digit may make them exact, and spare the corrections.
    let exact = (near..=DECIMAL_EXPONENT_MAX.min(near + 1)).find(|&k| suits(k, 0, misses_max));
    Some(exact.unwrap_or(near))
}

/// A vector as decimals.
#[derive(Debug, Default, PartialEq)]
pub(in crate::chunk) struct Decimals {
    pub(super) integers: Vec<i64>,
    /// Doubles that each value lies behind its decimal; empty if all are 0.
    pub(super) corrections: Vec<i64>,
    /// Places of the values that are neither decimals nor near one. Their integers repeat the one before, so that
    /// they widen nothing.
    pub(super) exceptions: Vec<u16>,
    /// Divides all integers; they are stored divided.
    pub(super) factor: u64,
}

impl Decimals {
    /// Finds the integers of `values` (not empty).
    #[inline(always)]
    pub(in crate::chunk) fn find<const FUSED: bool>(&mut self, values: &[f64], scale: &Scale) {
        self.exceptions.clear();
        self.corrections.clear();
        self.integers.resize(values.len(), 0);
        let (mut differ, mut large) = (0, 0);
        for (slot, value) in self.integers.iter_mut().zip(values) {
            let (n, decimal, magnitude) = nearest::<FUSED>(*value, scale);
            *slot = n;
            differ |= decimal.to_bits() ^ value.to_bits();
            large |= INTEGER_MAX.to_bits().wrapping_sub(1).wrapping_sub(magnitude);
        }
        if differ != 0 || large >> 63 != 0 {
            self.correct::<FUSED>(values, scale);
        }
        self.divide();
    }

    #[inline(always)]
    fn correct<const FUSED: bool>(&mut self, values: &[f64], scale: &Scale) {
        self.corrections.resize(values.len(), 0);
        let (mut used, mut misses) = (0, 0u64);
        for ((slot, value), off) in self.integers.iter_mut().zip(values).zip(&mut self.corrections) {
            let (n, decimal, magnitude) = nearest::<FUSED>(*value, scale);
            *slot = n;
            *off = value.to_bits().wrapping_sub(decimal.to_bits()) as i64;
            let good = (magnitude < INTEGER_MAX.to_bits()) & (off.unsigned_abs() <= CORRECTION_MAX);
            // A miss keeps a correction that no other value can have.
            *off = if good { *off } else { i64::MIN };
            used |= if good { *off } else { 0 };
            misses += u64::from(!good);
        }
        if misses > 0 {
            self.except();
        }
        if used == 0 {
            self.corrections.clear();
        }
    }

    /// Turns misses into exceptions.
    fn except(&mut self) {
        let first_good = self.corrections.iter().position(|off| *off != i64::MIN);
        let mut last = first_good.map_or(0, |i| self.integers[i]);
        for (i, (slot, off)) in self.integers.iter_mut().zip(&mut self.corrections).enumerate() {
            if *off == i64::MIN {
                self.exceptions.push(i as u16);
                *off = 0;
                *slot = last;
            }
            last = *slot;
        }
    }

    /// Divides all integers by their greatest common divisor.
    #[inline(always)]
    fn divide(&mut self) {
        self.factor = 1;
        let mut divisor = 0;
        for n in self.integers.iter().step_by(self.integers.len().div_ceil(SAMPLE)) {
            divisor = greatest_common_divisor(divisor, n.unsigned_abs());
            if divisor == 1 {
                return;
            }
        }
        // What divides a sample may not divide all. It shrinks at least by half each time that it does not.
        while divisor > 1 {
            let by = divisor as f64;
            let rest = self.integers.iter().find(|n| {
                let float = to_float(**n);
                float != ((float / by + MAGIC) - MAGIC) * by
            });
            match rest {
                Some(n) => divisor = greatest_common_divisor(divisor, n.unsigned_abs()),
                None => {
                    self.factor = divisor;
                    if divisor.is_power_of_two() {
                        let zeros = divisor.trailing_zeros();
                        self.integers.iter_mut().for_each(|n| *n >>= zeros);
                    } else {
                        // Exact, since it divides.
                        self.integers.iter_mut().for_each(|n| *n = (to_float(*n) / by) as i64);
                    }
                    return;
                }
            }
        }
    }

    /// Bytes of the list of exceptions.
    pub(super) fn exception_bytes(&self, count: usize) -> usize {
        if self.exceptions.is_empty() { 0 } else { super::exceptions::len_at_most(self.exceptions.len(), count) }
    }
}

/// By subtraction and shifts; 0 only of two noughts.
fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 0 || b == 0 {
        return a | b;
    }
    let shift = (a | b).trailing_zeros();
    a >>= a.trailing_zeros();
    while b != 0 {
        b >>= b.trailing_zeros();
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        b -= a;
    }
    a << shift
}

/// How integers become floats again: `n` × factor ÷ 10ᵏ.
#[derive(Clone, Copy, Debug)]
pub(in crate::chunk) struct Scale {
    pub(in crate::chunk) factor: f64,
    pub(in crate::chunk) power: f64,
    pub(in crate::chunk) inverse: f64,
}

impl Scale {
    /// `None` if there is no such scale.
    pub(in crate::chunk) fn new(exponent: u8, factor: u64) -> Option<Self> {
        let scale = *SCALES.get(usize::from(exponent))?;
        let known = factor >= 1 && (factor as f64) < INTEGER_MAX;
        known.then_some(Self { factor: factor as f64, ..scale })
    }

    /// Turns integers into the bits of the floats that they stand for.
    #[inline(always)]
    pub(in crate::chunk) fn convert<const FUSED: bool>(&self, words: &mut [u64]) {
        // Apart, because even without a division the quotient costs as much as all the rest.
        if self.is_whole() {
            for word in words {
                *word = self.bits::<FUSED, true>(*word);
            }
        } else {
            for word in words {
                *word = self.bits::<FUSED, false>(*word);
            }
        }
    }

    /// `a` ÷ 10ᵏ. With `FUSED`, by multiplications only: three of them cost a fraction of a division where the machine
    /// has a fused multiply-add.
    ///
    /// They give the very quotient. The remainder r = a - q × 10ᵏ of the first guess q is exact (10ᵏ has at most 42
    /// significant bits), and q + r × (1/10ᵏ) misses a/10ᵏ by less than 2⁻⁵² of the last place. To round otherwise,
    /// a/10ᵏ would have to lie that near to the middle between two doubles; but it lies at least 2⁻⁴⁴ of the last place
    /// away, since both are fractions over 2 × 5ᵏ, and it is no such middle itself, for that takes 54 bits and |a| < 2⁵¹.
    #[inline(always)]
    fn quotient<const FUSED: bool>(&self, a: f64) -> f64 {
        if !FUSED {
            return a / self.power;
        }
        let guess = a * self.inverse;
        let rest = (-guess).mul_add(self.power, a);
        rest.mul_add(self.inverse, guess)
    }

    /// Added to an integer below 2⁵¹ in its bits, and taken off as a float, it converts it.
    pub(in crate::chunk) const MAGIC: f64 = MAGIC;

    /// Whether integers stand for integers.
    #[inline(always)]
    pub(in crate::chunk) fn is_whole(&self) -> bool {
        self.power == 1.0
    }

    /// The bits of the float that an integer stands for. `WHOLE` only if it [is](Self::is_whole).
    #[inline(always)]
    pub(in crate::chunk) fn bits<const FUSED: bool, const WHOLE: bool>(&self, integer: u64) -> u64 {
        let product = to_float(integer as i64) * self.factor;
        if WHOLE { product.to_bits() } else { self.quotient::<FUSED>(product).to_bits() }
    }
}

/// The scales of each exponent, without a factor.
const SCALES: [Scale; POWERS.len()] = {
    let mut scales = [Scale { factor: 1.0, power: 1.0, inverse: 1.0 }; POWERS.len()];
    let mut k = 0;
    while k < POWERS.len() {
        scales[k] = Scale { factor: 1.0, power: POWERS[k], inverse: 1.0 / POWERS[k] };
        k += 1;
    }
    scales
};

#[cfg(test)]
mod tests {
    use super::*;

    fn find(values: &[f64], exponent: u8) -> Decimals {
        let mut found = Decimals::default();
        found.find::<false>(values, &Scale::new(exponent, 1).unwrap());
        found
    }

    #[test]
    fn a_rounded_decimal_comes_back_by_division() {
        for k in 0..=8u8 {
            let power = POWERS[usize::from(k)];
            let values: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 - 3_000_000) / power).collect();
            let exponent = exponent(&values).unwrap();
            assert!(exponent <= k);
            let found = find(&values, exponent);
            assert!(found.exceptions.is_empty() && found.corrections.is_empty());
            let scale = Scale::new(exponent, found.factor).unwrap();
            let back: Vec<f64> =
                found.integers.iter().map(|n| f64::from_bits(scale.bits::<false, false>(*n as u64))).collect();
            assert_eq!(back, values);
        }
    }

    #[test]
    fn what_is_no_decimal_is_an_exception() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let values = [1.5, -0.0, f64::NAN, stale, f64::INFINITY, 1e300, std::f64::consts::PI, 5e-324, 2.6];
        let found = find(&values, 1);
        assert_eq!(found.exceptions, [1, 2, 3, 4, 5, 6]);
        assert_eq!(found.integers, [15, 15, 15, 15, 15, 15, 15, 0, 26]);
        // The smallest double is the one behind nought.
        assert_eq!(found.corrections, [0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(exponent(&[1e300; 10]), None);
    }

    #[test]
    fn a_computed_decimal_is_a_few_doubles_off() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.1 + 0.2).collect();
        let exponent = exponent(&values).unwrap();
        assert_eq!(exponent, 1);
        let found = find(&values, exponent);
        assert!(found.exceptions.is_empty());
        assert_eq!(found.integers, (2..1002).collect::<Vec<i64>>());
        assert!(found.corrections.iter().any(|off| *off != 0) && found.corrections.iter().all(|off| off.abs() <= 4));
    }

    #[test]
    fn what_divides_all_integers_is_taken_out() {
        for (factor, odd) in [(125, 0), (4096, 0), (36, 18), (1000, 1)] {
            let values: Vec<f64> =
                (1..500).map(|i| f64::from(i * i * factor + if i == 77 { odd } else { 0 })).collect();
            let found = find(&values, 0);
            let want = if odd == 0 { factor } else { odd };
            assert_eq!(found.factor, want as u64);
            assert!(found.integers.iter().zip(&values).all(|(n, v)| *n * i64::from(want) == *v as i64));
        }
        assert_eq!(find(&[0.0; 9], 0).factor, 1);
    }

    /// The proof is beside `Scale::quotient`; this is the check of it.
    #[test]
    fn multiplying_gives_the_quotient_that_dividing_gives() {
        let mut x = 88_172_645_463_325_252u64;
        for k in 0..=DECIMAL_EXPONENT_MAX {
            let scale = Scale::new(k, 1).unwrap();
            for i in 0..20_000 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let n = match i % 3 {
                    0 => x as i64 >> (13 + i % 50),
                    1 => i - 10_000,
                    _ => (1i64 << 51) - 1 - i,
                };
                let (fused, divided) = (scale.bits::<true, false>(n as u64), scale.bits::<false, false>(n as u64));
                assert_eq!(fused, divided, "{n} / 10^{k}");
            }
        }
    }
}
