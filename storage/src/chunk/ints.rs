//! Up to 1,024 signed integers: a base, packed distances from it, and patches for those that lie too far off.
//!
//! Byte layout: docs/format/chunk.md, "Packed integers".

use super::ChunkError;
use super::bitpack;
use super::cursor::{Cursor, put_signed, signed_len, unzigzag, zigzag};
use super::format::VECTOR_SAMPLES;

/// Below this many integers a patch list cannot pay.
const PATCHED_MIN: usize = 16;

/// Integers looked at to find the middle.
const MIDDLE_OF: usize = 31;

/// How a run of integers will be stored, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    base: i64,
    width: u32,
    /// Bytes of each patch's value; 0 if there are no patches.
    patch_bytes: usize,
    /// Length of the encoding.
    pub(super) bytes: usize,
}

impl Plan {
    fn new(count: usize, base: i64, width: u32, patch_bytes: usize, patches: usize) -> Self {
        let list = if patches == 0 { 0 } else { 2 + patches * (2 + patch_bytes) };
        let patch_bytes = if patches == 0 { 0 } else { patch_bytes };
        Self { base, width, patch_bytes, bytes: 2 + signed_len(base) + bitpack::packed_len(count, width) + list }
    }

    /// The cheapest way found to store `xs` (not empty). O(n), no allocation.
    pub(super) fn of(xs: &[i64]) -> Self {
        let (min, max) = xs.iter().fold((i64::MAX, i64::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let range = max.wrapping_sub(min) as u64;
        let plain = Self::new(xs.len(), min, bitpack::width_of(range), 0, 0);
        if plain.width == 0 || xs.len() < PATCHED_MIN {
            return plain;
        }
        let sample = Sample::of(xs);
        // As wide as most of a sample: there are no outliers to patch.
        if sample.width() == plain.width {
            return plain;
        }
        Spread::of(xs, min, max, sample).cheaper_than(plain, xs)
    }

    /// Appends the encoding of `xs`, for which this plan was made.
    pub(super) fn encode(&self, xs: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
        debug_assert!(xs.len() <= VECTOR_SAMPLES);
        scratch.patched.clear();
        out.push(self.width as u8);
        out.push(self.patch_bytes as u8);
        put_signed(out, self.base);
        let offsets = &mut scratch.offsets[..xs.len()];
        for (i, (offset, x)) in offsets.iter_mut().zip(xs).enumerate() {
            *offset = x.wrapping_sub(self.base) as u64;
            if !fits(*offset, self.width) {
                scratch.patched.push(i as u16);
                *offset = 0;
            }
        }
        bitpack::pack(offsets, self.width, out);
        if self.patch_bytes > 0 {
            out.extend_from_slice(&(scratch.patched.len() as u16).to_le_bytes());
            scratch.patched.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
            for &at in &scratch.patched {
                let far = zigzag(xs[usize::from(at)].wrapping_sub(self.base));
                out.extend_from_slice(&far.to_le_bytes()[..self.patch_bytes]);
            }
        }
    }
}

/// Memory that encoding needs and keeps.
#[derive(Debug)]
pub(super) struct Scratch {
    offsets: Box<[u64; VECTOR_SAMPLES]>,
    patched: Vec<u16>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { offsets: Box::new([0; VECTOR_SAMPLES]), patched: Vec::with_capacity(VECTOR_SAMPLES) }
    }
}

const fn fits(offset: u64, width: u32) -> bool {
    width >= 64 || offset >> width == 0
}

/// Middle of a few of the integers, and least and greatest but for one: outliers rarely make their way in.
#[derive(Clone, Copy)]
struct Sample {
    least: i64,
    middle: i64,
    greatest: i64,
}

impl Sample {
    fn of(xs: &[i64]) -> Self {
        let mut sample = [0i64; MIDDLE_OF];
        let len = xs.len().min(MIDDLE_OF);
        for (i, slot) in sample[..len].iter_mut().enumerate() {
            *slot = xs[i * xs.len() / len];
        }
        let sample = &mut sample[..len];
        sample.sort_unstable();
        Self { least: sample[1], middle: sample[len / 2], greatest: sample[len - 2] }
    }

    /// Bits that hold the distance from least to greatest.
    fn width(&self) -> u32 {
        bitpack::width_of(self.greatest.wrapping_sub(self.least) as u64)
    }
}

/// How far integers lie from their middle: how many need how many bits, on each side.
struct Spread {
    sample: Sample,
    min: i64,
    max: i64,
    /// Prefix sums: how many lie at or above the middle by less than 2ᵇ, by b.
    above: [u32; 65],
    /// Likewise below the middle.
    below: [u32; 65],
}

impl Spread {
    fn of(xs: &[i64], min: i64, max: i64, sample: Sample) -> Self {
        let middle = sample.middle;
        // Two tables, taken in turn: adding to the same counter twice in a row would wait for memory.
        let mut counts = [[0u16; 256]; 2];
        let place = |x: i64| {
            let side = usize::from(x < middle) << 7;
            let distance = x.wrapping_sub(middle);
            let distance = if x < middle { distance.wrapping_neg() } else { distance } as u64;
            (side | bitpack::width_of(distance) as usize) & 0xff
        };
        let (pairs, last) = xs.as_chunks::<2>();
        for [a, b] in pairs {
            counts[0][place(*a)] += 1;
            counts[1][place(*b)] += 1;
        }
        for x in last {
            counts[0][place(*x)] += 1;
        }
        let mut spread = Self { sample, min, max, above: [0; 65], below: [0; 65] };
        for (side, first) in [(&mut spread.above, 0), (&mut spread.below, 128)] {
            let mut sum = 0;
            for (bits, slot) in side.iter_mut().enumerate() {
                sum += u32::from(counts[0][first + bits]) + u32::from(counts[1][first + bits]);
                *slot = sum;
            }
        }
        spread
    }

    /// The lowest integer of the window of 2^`width` that covers the middle and the most of the rest.
    fn base(&self, width: u32) -> i64 {
        let (middle, min, max) = (i128::from(self.sample.middle), i128::from(self.min), i128::from(self.max));
        let span = 1i128 << width;
        // No window reaches beyond the smallest or greatest integer without need.
        let base = (middle - span / 2).min(max - span + 1).max(min);
        i64::try_from(base).unwrap_or(self.min)
    }

    /// An upper bound for the integers outside of the window of `width` bits.
    fn outside_at_most(&self, width: u32, count: usize) -> usize {
        let below = self.sample.middle.wrapping_sub(self.base(width)) as u64;
        let span = 1u64.checked_shl(width).unwrap_or(0);
        // Integers from `middle` on that are inside; wraps to the right answer for 64 bits.
        let above = span.wrapping_sub(below);
        let bits = |reach: u64| (63 - reach.max(1).leading_zeros()) as usize;
        let inside = self.above[bits(above)] + if below == 0 { 0 } else { self.below[bits(below)] };
        count - inside as usize
    }

    /// Bytes of the patch that lies farthest from `base`.
    fn patch_bytes(&self, base: i64) -> usize {
        // Where a distance wraps, values between need more bits than the wrapped ends show.
        let (Some(above), Some(below)) = (self.max.checked_sub(base), self.min.checked_sub(base)) else { return 8 };
        (bitpack::width_of(zigzag(above).max(zigzag(below))) as usize).div_ceil(8).max(1)
    }

    /// The exact cost of `width` bits: around the middle, or from the sample's least or greatest on.
    fn plan(&self, xs: &[i64], width: u32) -> Plan {
        let with_base = |base: i64| {
            let outside = xs.iter().map(|x| u32::from(!fits(x.wrapping_sub(base) as u64, width))).sum::<u32>();
            Plan::new(xs.len(), base, width, self.patch_bytes(base), outside as usize)
        };
        let centred = with_base(self.base(width));
        if centred.patch_bytes == 0 || self.sample.width() > width {
            return centred;
        }
        let highest = self.sample.greatest.wrapping_sub(1i64.checked_shl(width).unwrap_or(0)).wrapping_add(1);
        let others = [with_base(self.sample.least), with_base(highest)];
        others.into_iter().fold(centred, |best, plan| if plan.bytes < best.bytes { plan } else { best })
    }

    fn cheaper_than(&self, plain: Plan, xs: &[i64]) -> Plan {
        let guess = |width: u32| {
            let patches = self.outside_at_most(width, xs.len());
            bitpack::packed_len(xs.len(), width) + patches * (2 + self.patch_bytes(self.base(width)))
        };
        let Some(width) = (0..plain.width).min_by_key(|&width| guess(width)) else { return plain };
        let best = self.plan(xs, width);
        // One bit less may do where the guess overcounts: for windows that are not around the middle.
        let may_less = width > 0 && (self.sample.width() < width || self.base(width) == self.min);
        let less = if may_less { self.plan(xs, width - 1) } else { best };
        [plain, less, best].into_iter().min_by_key(|plan| plan.bytes).unwrap_or(plain)
    }
}

/// Decodes `out.len()` integers and stores `f` of each.
#[inline]
pub(super) fn decode<T: Copy>(cursor: &mut Cursor<'_>, out: &mut [T], f: impl Fn(i64) -> T) -> Result<(), ChunkError> {
    let width = u32::from(cursor.u8("packed width")?);
    let patch_bytes = usize::from(cursor.u8("patch width")?);
    if width > 64 || patch_bytes > 8 {
        return Err(ChunkError::damaged("packed integers of more than 64 bits"));
    }
    let base = cursor.signed("base")?;
    let packed = cursor.take(bitpack::packed_len(out.len(), width), "packed integers")?;
    bitpack::unpack(packed, width, out, |x| f(base.wrapping_add(x as i64)))?;
    if patch_bytes > 0 {
        let count = usize::from(cursor.u16("patch count")?);
        let places = cursor.take(count * 2, "patch places")?;
        let values = cursor.take(count * patch_bytes, "patch values")?;
        for (place, value) in places.as_chunks::<2>().0.iter().zip(values.chunks_exact(patch_bytes)) {
            let mut far = [0; 8];
            far[..patch_bytes].copy_from_slice(value);
            let slot = out.get_mut(usize::from(u16::from_le_bytes(*place)));
            let slot = slot.ok_or(ChunkError::damaged("patch behind the last integer"))?;
            *slot = f(base.wrapping_add(unzigzag(u64::from_le_bytes(far))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(xs: &[i64]) -> usize {
        let plan = Plan::of(xs);
        let mut out = Vec::new();
        plan.encode(xs, &mut Scratch::default(), &mut out);
        assert_eq!(out.len(), plan.bytes, "the plan states the length");
        let mut got = vec![0; xs.len()];
        let mut cursor = Cursor::new(&out);
        decode(&mut cursor, &mut got, |x| x).unwrap();
        cursor.end("rest").unwrap();
        assert_eq!(got, xs);
        out.len()
    }

    #[test]
    fn a_few_outliers_do_not_widen_the_rest() {
        let mut xs: Vec<i64> = (0..1024).map(|i| 1000 + i * 37 % 16).collect();
        assert_eq!(round_trip(&xs), 2 + 2 + 512);
        xs[3] = -1_000_000;
        xs[900] = 70_000;
        assert_eq!(round_trip(&xs), 2 + 2 + 512 + 2 + 2 * (2 + 3));
    }

    #[test]
    fn the_window_is_cut_at_both_ends_where_that_is_cheaper() {
        // Half of the numbers at 0..4, a middle of 2, ten at the far ends.
        let mut xs: Vec<i64> = (0..1024).map(|i| i % 4).collect();
        for i in 0..5 {
            xs[i * 100] = 200;
            xs[i * 100 + 50] = -200;
        }
        assert_eq!(round_trip(&xs), 2 + 1 + 256 + 2 + 10 * 4);
    }

    #[test]
    fn the_widest_integers_come_back() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1]);
        let xs: Vec<i64> = (0..1024).map(|i| if i % 2 == 0 { i64::MIN } else { i64::MAX }).collect();
        round_trip(&xs);
        let xs: Vec<i64> = (0..1024).map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64).collect();
        assert_eq!(round_trip(&xs), 2 + 10 + 8192);
    }

    /// Found by the property below: the ends wrapped to short distances, and patches between
    /// them lost their upper bytes.
    #[test]
    fn patches_whose_distance_wraps_keep_all_their_bytes() {
        const CENTRE: i64 = -4_647_793_666_380_852_266;
        for seed in 0..64u64 {
            let mut noise = seed;
            let xs: Vec<i64> = (0..1024)
                .map(|i| {
                    noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    let bits = if i % 24 == 0 { 0 } else { 62 };
                    CENTRE.wrapping_add(((noise ^ noise >> 29) as i64) >> (63 - bits))
                })
                .collect();
            round_trip(&xs);
        }
    }

    proptest! {
        #[test]
        fn any_integers_come_back(
            centre in any::<i64>(), spread in 0u32..64, rare in 0u32..64, odds in 1usize..50,
            noise in prop::collection::vec(any::<u64>(), 1..1100),
        ) {
            let xs: Vec<i64> = noise.iter().take(1024).enumerate().map(|(i, x)| {
                let bits = if i % odds == 0 { rare } else { spread };
                centre.wrapping_add((*x as i64) >> (63 - bits))
            }).collect();
            round_trip(&xs);
        }
    }
}
