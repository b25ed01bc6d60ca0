//! Unsigned integers in fixed numbers of bits.
//!
//! Two layouts: full vectors lie in [`lanes`], so that one instruction shifts several
//! values by the same amount; shorter ones lie one behind the other ([`linear`]), so
//! that ten samples do not pay for 1,024.

pub(super) mod lanes;
pub(super) mod linear;

use super::ChunkError;
use super::format::VECTOR_SAMPLES;
use super::kernel;

/// Bits that hold every value up to `max`.
pub(super) const fn width_of(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// The lowest `width` bits set. `width` is at most 64.
const fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

/// Bytes that `count` values of `width` bits take.
pub(super) const fn packed_len(count: usize, width: u32) -> usize {
    // A full vector in lanes takes exactly as much: 1,024 is a multiple of 8.
    (count * width as usize).div_ceil(8)
}

/// Appends the lowest `width` bits of each of up to 1,024 values.
#[inline(always)]
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + packed_len(values.len(), width), 0);
    match <&[u64; VECTOR_SAMPLES]>::try_from(values) {
        Ok(full) => lanes::pack(full, width, &mut out[start..]),
        Err(_) => linear::pack(values, width, &mut out[start..]),
    }
}

/// Appends the lowest `width` bits of each, one behind the other however many they are.
pub(super) fn pack_linear(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + packed_len(values.len(), width), 0);
    linear::pack(values, width, &mut out[start..]);
}

/// Unpacks `out.len()` values that lie one behind the other, and adds `base` to each.
///
/// `bytes` must hold exactly [`packed_len`] bytes and `width` be at most 64, or it is damage.
pub(super) fn unpack_linear(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) -> Result<(), ChunkError> {
    check(bytes, width, out.len())?;
    match width {
        0 => kernel::fill(base, out),
        _ => kernel::unpack_linear(bytes, width, base, out),
    }
    Ok(())
}

/// Unpacks `out.len()` values (at most 1,024), and adds `base` to each.
///
/// `bytes` must hold exactly [`packed_len`] bytes and `width` be at most 64, or it is damage.
pub(super) fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) -> Result<(), ChunkError> {
    let Ok(full) = <&mut [u64; VECTOR_SAMPLES]>::try_from(&mut *out) else {
        return unpack_linear(bytes, width, base, out);
    };
    check(bytes, width, VECTOR_SAMPLES)?;
    match width {
        0 => kernel::fill(base, full),
        _ => kernel::unpack(bytes, width, base, full),
    }
    Ok(())
}

fn check(bytes: &[u8], width: u32, count: usize) -> Result<(), ChunkError> {
    if width > 64 || bytes.len() != packed_len(count, width) {
        return Err(ChunkError::damaged("packed integers have the wrong length"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One bit at a time, from the spec: value i of a full vector is row i/16 of lane i%16.
    fn naive_unpack(bytes: &[u8], width: usize, count: usize) -> Vec<u64> {
        let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
        let place = |i: usize, b: usize| {
            if count < VECTOR_SAMPLES {
                return i * width + b;
            }
            let in_lane = (i / 16) * width + b;
            (in_lane / 64 * 16 + i % 16) * 64 + in_lane % 64
        };
        (0..count).map(|i| (0..width).map(|b| bit(place(i, b)) << b).sum()).collect()
    }

    fn check(values: &[u64], width: u32) {
        let mut packed = vec![0xaa];
        pack(values, width, &mut packed);
        assert_eq!(packed.len(), 1 + packed_len(values.len(), width));
        let want: Vec<u64> = values.iter().map(|v| v & mask(width)).collect();
        assert_eq!(naive_unpack(&packed[1..], width as usize, values.len()), want);
        let mut got = vec![7u64; values.len()];
        unpack(&packed[1..], width, 3, &mut got).unwrap();
        got.iter_mut().for_each(|x| *x = x.wrapping_sub(3));
        assert_eq!(got, want);
        packed.truncate(1);
        pack_linear(values, width, &mut packed);
        unpack_linear(&packed[1..], width, 3, &mut got).unwrap();
        got.iter_mut().for_each(|x| *x = x.wrapping_sub(3));
        assert_eq!(got, want);
    }

    #[test]
    fn each_width_packs_as_the_spec_says_in_both_layouts() {
        let mut x = 1u64;
        let noise: Vec<u64> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x ^ (x >> 29)
        })
        .take(VECTOR_SAMPLES)
        .collect();
        for width in 0..=64 {
            check(&noise, width);
            for count in [1, 2, 7, 8, 9, 63, 64, 100, 1023] {
                check(&noise[..count], width);
            }
        }
    }

    #[test]
    fn a_wrong_length_or_width_is_damage() {
        let mut out = [0u64; 3];
        assert!(unpack(&[0; 2], 8, 0, &mut out).is_err());
        assert!(unpack(&[0; 4], 8, 0, &mut out).is_err());
        assert!(unpack(&[0; 30], 80, 0, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn any_values_of_any_width_come_back(values in prop::collection::vec(any::<u64>(), 1..200), width in 0u32..=64) {
            check(&values, width);
        }
    }
}
