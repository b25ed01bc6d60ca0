//! Floats that are integers × 10⁻ᵏ.
//!
//! A decimal that was parsed or rounded to k places is the double nearest to n / 10ᵏ, and
//! dividing n by 10ᵏ gives that very double back (both are exact, division rounds once).
//! Multiplying by 10⁻ᵏ would not. Whatever does not come back bit for bit is an exception.

use crate::chunk::format::DECIMAL_EXPONENT_MAX;

/// Values tried for each exponent.
const SAMPLE: usize = 32;

/// Samples that may fail before an exponent is given up.
const SAMPLE_MISSES: usize = 6;

/// Integers up to this magnitude convert by adding a constant.
const INTEGER_MAX: f64 = (1u64 << 51) as f64;

/// 1.5 × 2⁵²: added to an integer-valued float below 2⁵¹, it leaves the integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const MAGIC_BITS: i64 = MAGIC.to_bits() as i64;

pub(super) const POWERS: [f64; DECIMAL_EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// The float nearest to `n`, which must lie below 2⁵¹ in magnitude (others give a float, but not that one).
#[inline]
pub(super) fn to_float(n: i64) -> f64 {
    f64::from_bits(n.wrapping_add(MAGIC_BITS) as u64) - MAGIC
}

/// The integer `value` × 10ᵏ, if it gives `value` back.
#[inline]
fn integer(value: f64, power: f64) -> (i64, bool) {
    let product = value * power;
    let shifted = product + MAGIC;
    let n = (shifted.to_bits() as i64).wrapping_sub(MAGIC_BITS);
    let back = (shifted - MAGIC) / power;
    // NaN fails the comparison of magnitudes, -0.0 that of bits.
    (n, (product.abs() < INTEGER_MAX) & (back.to_bits() == value.to_bits()))
}

/// The smallest exponent that suits most of a sample of `values`.
pub(super) fn exponent(values: &[f64]) -> Option<u8> {
    let step = values.len().div_ceil(SAMPLE);
    let sampled = values.len().div_ceil(step);
    // A sample of eight may not hold six misses.
    let misses_max = SAMPLE_MISSES.min(sampled / 4);
    (0..=DECIMAL_EXPONENT_MAX).find(|&k| {
        let power = POWERS[usize::from(k)];
        let mut misses = values.iter().step_by(step).filter(|value| !integer(**value, power).1);
        misses.nth(misses_max).is_none()
    })
}

/// Fills `out` with the integers of `values`, and `exceptions` with the places of those that have none.
///
/// An exception's integer repeats the one before it, so that it widens nothing.
pub(super) fn integers(values: &[f64], exponent: u8, out: &mut Vec<i64>, exceptions: &mut Vec<u16>) {
    let power = POWERS[usize::from(exponent)];
    exceptions.clear();
    out.clear();
    out.resize(values.len(), 0);
    let mut good = true;
    for (slot, value) in out.iter_mut().zip(values) {
        let (n, ok) = integer(*value, power);
        *slot = n;
        good &= ok;
    }
    if good {
        return;
    }
    let first_good = values.iter().find(|value| integer(**value, power).1);
    let mut last = first_good.map_or(0, |value| integer(*value, power).0);
    for (i, (slot, value)) in out.iter_mut().zip(values).enumerate() {
        if integer(*value, power).1 {
            last = *slot;
        } else {
            exceptions.push(i as u16);
            *slot = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_decimal_comes_back_by_division() {
        for k in 0..=8u8 {
            let power = POWERS[usize::from(k)];
            let values: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 - 3_000_000) / power).collect();
            let found = exponent(&values).unwrap();
            assert!(found <= k);
            let (mut ints, mut exceptions) = (Vec::new(), Vec::new());
            integers(&values, found, &mut ints, &mut exceptions);
            assert!(exceptions.is_empty());
            let back: Vec<f64> = ints.iter().map(|n| to_float(*n) / POWERS[usize::from(found)]).collect();
            assert_eq!(back, values);
        }
    }

    #[test]
    fn what_is_no_decimal_is_an_exception() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let values = [1.5, -0.0, f64::NAN, stale, f64::INFINITY, 1e300, std::f64::consts::PI, 5e-324, 2.5];
        let (mut ints, mut exceptions) = (Vec::new(), Vec::new());
        integers(&values, 1, &mut ints, &mut exceptions);
        assert_eq!(exceptions, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ints, [15, 15, 15, 15, 15, 15, 15, 15, 25]);
        assert_eq!(exponent(&[std::f64::consts::PI; 10]), None);
    }
}
