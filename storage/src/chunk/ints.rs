//! Up to 1,024 signed integers: a base, packed distances from it, and patches for those that lie too far off.
//!
//! Byte layout: docs/format/chunk.md, "Packed integers".

use super::ChunkError;
use super::bitpack;
use super::cursor::{Cursor, put_signed, signed_len, unzigzag, zigzag};
use super::format::{LANES, VECTOR_SAMPLES};
use super::kernel;
use super::places::{self, Places};
use super::room::{self, Room};
use super::values::Scale;

/// In the width byte: integers that lie too far off follow.
const HAS_PATCHES: u8 = 0x80;

/// Below this many integers a patch list cannot pay.
const PATCHED_MIN: usize = 16;

/// Integers looked at to find the middle.
const MIDDLE_OF: usize = 31;

/// How a run of integers will be stored, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    base: i64,
    width: u32,
    /// Bits of each patch's value; 0 if there are no patches.
    patch_width: u32,
    /// Length of the encoding; with patches, what it will probably be.
    pub(super) bytes: usize,
}

impl Plan {
    #[inline(always)]
    fn new(count: usize, base: i64, width: u32, patch_width: u32, patches: usize) -> Self {
        let list = if patches == 0 { 0 } else { patch_list(count, patch_width, patches) };
        let patch_width = if patches == 0 { 0 } else { patch_width };
        Self { base, width, patch_width, bytes: 1 + signed_len(base) + bitpack::packed_len(count, width) + list }
    }

    /// The cheapest way found to store `xs` (not empty). O(n), no allocation.
    #[inline(always)]
    pub(super) fn of(xs: &[i64]) -> Self {
        let (min, max) = xs.iter().fold((i64::MAX, i64::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let range = max.wrapping_sub(min) as u64;
        let plain = Self::new(xs.len(), min, bitpack::width_of(range), 0, 0);
        if plain.width == 0 || xs.len() < PATCHED_MIN {
            return plain;
        }
        Spread::of(xs, min, max).cheaper_than(plain, xs)
    }

    /// Appends the encoding of `xs`, for which this plan was made.
    #[inline(always)]
    pub(super) fn encode(&self, xs: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
        debug_assert!(xs.len() <= VECTOR_SAMPLES);
        out.push(self.width as u8 | if self.patch_width > 0 { HAS_PATCHES } else { 0 });
        put_signed(out, self.base);
        let offsets = &mut scratch.offsets[..xs.len()];
        offsets.iter_mut().zip(xs).for_each(|(offset, x)| *offset = x.wrapping_sub(self.base) as u64);
        if self.patch_width == 0 {
            return bitpack::pack(offsets, self.width, out);
        }
        scratch.patched.clear();
        scratch.far.clear();
        for (i, offset) in offsets.iter_mut().enumerate() {
            if !fits(*offset, self.width) {
                scratch.patched.push(i as u16);
                scratch.far.push(zigzag(*offset as i64));
                *offset = 0;
            }
        }
        bitpack::pack(offsets, self.width, out);
        places::write(&scratch.patched, xs.len(), &mut scratch.gaps, out);
        out.push(self.patch_width as u8);
        bitpack::pack_linear(&scratch.far, self.patch_width, out);
    }
}

/// Bytes that `patches` of `patch_width` bits will probably take.
#[inline(always)]
fn patch_list(count: usize, patch_width: u32, patches: usize) -> usize {
    places::len_about(patches, count) + 1 + (patches * patch_width as usize).div_ceil(8)
}

/// Memory that encoding needs and keeps.
#[derive(Debug)]
pub(super) struct Scratch {
    offsets: Box<[u64; VECTOR_SAMPLES]>,
    patched: Vec<u16>,
    far: Vec<u64>,
    pub(super) gaps: Vec<u64>,
}

impl Default for Scratch {
    fn default() -> Self {
        let vector = || Vec::with_capacity(VECTOR_SAMPLES);
        let patched = Vec::with_capacity(VECTOR_SAMPLES);
        Self { offsets: Box::new([0; VECTOR_SAMPLES]), patched, far: vector(), gaps: vector() }
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
    #[inline(always)]
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
    #[inline(always)]
    fn of(xs: &[i64], min: i64, max: i64) -> Self {
        let sample = Sample::of(xs);
        let middle = sample.middle;
        // Tables taken in turn: adding to the same counter twice in a row would wait for memory.
        let mut counts = [[0u16; 256]; 4];
        // Bits of the distance in the lower seven, the side in the eighth. The middle itself needs none.
        let place = |x: i64| {
            let distance = x.wrapping_sub(middle);
            let below = x < middle;
            let distance = if below { distance.wrapping_neg() } else { distance } as u64;
            usize::from((u8::from(below) << 7) | bitpack::width_of(distance) as u8)
        };
        let (quads, last) = xs.as_chunks::<4>();
        for quad in quads {
            for (table, x) in counts.iter_mut().zip(quad) {
                table[place(*x)] += 1;
            }
        }
        for x in last {
            counts[0][place(*x)] += 1;
        }
        let mut spread = Self { sample, min, max, above: [0; 65], below: [0; 65] };
        for (side, first) in [(&mut spread.above, 0), (&mut spread.below, 128)] {
            let mut sum = 0;
            for (bits, slot) in side.iter_mut().enumerate() {
                sum += counts.iter().map(|table| u32::from(table[first + bits])).sum::<u32>();
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
        let base = self.base(width);
        let below = self.sample.middle.wrapping_sub(base) as u64;
        let span = 1u64.checked_shl(width).unwrap_or(0);
        // Integers from `middle` on that are inside; wraps to the right answer for 64 bits.
        let above = span.wrapping_sub(below);
        // A window that reaches the least or greatest integer holds all on that side.
        let bits = |reach: u64, end: u64| if reach >= end { 64 } else { (63 - reach.max(1).leading_zeros()) as usize };
        let above = self.above[bits(above, (self.max.wrapping_sub(self.sample.middle) as u64).saturating_add(1))];
        let below = self.below[bits(below, self.sample.middle.wrapping_sub(self.min) as u64)];
        count - (above + below) as usize
    }

    /// Bits of the patch that lies farthest from `base`.
    fn patch_width(&self, base: i64) -> u32 {
        // Where a distance wraps, values between need more bits than the wrapped ends show.
        let (Some(above), Some(below)) = (self.max.checked_sub(base), self.min.checked_sub(base)) else { return 64 };
        bitpack::width_of(zigzag(above).max(zigzag(below))).max(1)
    }

    /// The exact number of patches with `width` bits: around the middle, or from the sample's least or greatest on.
    #[inline(always)]
    fn plan(&self, xs: &[i64], width: u32) -> Plan {
        let centred = self.with_base(xs, width, self.base(width));
        if centred.patch_width == 0 || self.sample.width() > width {
            return centred;
        }
        let highest = self.sample.greatest.wrapping_sub(1i64.checked_shl(width).unwrap_or(0)).wrapping_add(1);
        let mut best = centred;
        for base in [self.sample.least, highest] {
            let plan = self.with_base(xs, width, base);
            if plan.bytes < best.bytes {
                best = plan;
            }
        }
        best
    }

    #[inline(always)]
    fn with_base(&self, xs: &[i64], width: u32, base: i64) -> Plan {
        let mut inside = 0u64;
        // Below 64, since a plan of all bits has no patches and is not looked at.
        let shift = width.min(63);
        for x in xs {
            inside += u64::from(x.wrapping_sub(base) as u64 >> shift == 0);
        }
        Plan::new(xs.len(), base, width, self.patch_width(base), xs.len() - inside as usize)
    }

    #[inline(always)]
    fn cheaper_than(&self, plain: Plan, xs: &[i64]) -> Plan {
        let guess = |width: u32| {
            let patches = self.outside_at_most(width, xs.len());
            let list = if patches == 0 { 0 } else { patch_list(xs.len(), self.patch_width(self.base(width)), patches) };
            bitpack::packed_len(xs.len(), width) + list
        };
        let guesses = (0..plain.width).map(|width| (guess(width), width));
        let Some((bytes, width)) = guesses.min() else { return plain };
        // The guess overcounts, but not by much.
        if bytes > plain.bytes + plain.bytes / 8 {
            return plain;
        }
        let best = self.plan(xs, width);
        // Since it overcounts, one bit less may do.
        let less = if width > 0 { self.plan(xs, width - 1) } else { best };
        [plain, less, best].into_iter().min_by_key(|plan| plan.bytes).unwrap_or(plain)
    }
}

/// Encoded integers whose outline was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    width: u32,
    base: u64,
    bytes: &'a [u8],
    patches: Option<Patches<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Patches<'a> {
    places: Places<'a>,
    width: u32,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Reads `count` integers, at most 1,024. Inlined, as what reads a scale is.
    #[inline(always)]
    pub(super) fn read(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, ChunkError> {
        let first = cursor.u8("packed width")?;
        let width = u32::from(first & !HAS_PATCHES);
        if width > 64 {
            return Err(ChunkError::damaged("packed integers of more than 64 bits"));
        }
        let base = cursor.signed("base")? as u64;
        let bytes = cursor.take(bitpack::packed_len(count, width), "packed integers")?;
        let mut patches = None;
        if first & HAS_PATCHES != 0 {
            let places = Places::read(cursor, count)?;
            let width = u32::from(cursor.u8("patch width")?);
            if width > 64 {
                return Err(ChunkError::damaged("patches of more than 64 bits"));
            }
            let bytes = cursor.take(bitpack::packed_len(places.len, width), "patch values")?;
            patches = Some(Patches { places, width, bytes });
        }
        Ok(Self { width, base, bytes, patches })
    }

    /// Width, base and packed bytes, if that is all.
    #[inline]
    pub(super) fn unpatched(&self) -> Option<(u32, u64, &'a [u8])> {
        (self.patches.is_none() && self.width > 0).then_some((self.width, self.base, self.bytes))
    }

    /// As many integers as were read.
    pub(super) fn decode(&self, out: &mut [u64], room: &mut room::Patches) -> Result<(), ChunkError> {
        bitpack::unpack(self.bytes, self.width, self.base, out)?;
        let Some(Patches { places, width, bytes }) = self.patches else { return Ok(()) };
        match places.bits() {
            Some(bits) => {
                bitpack::unpack_linear(bytes, width, 0, &mut room.far[..places.len])?;
                kernel::patch(bits, self.base, &room.far, out);
                Ok(())
            }
            None => self.patch(out, room, |_, _, integer| integer),
        }
    }

    /// As many integers as were read, which are a full vector; answers what each lane adds up to.
    pub(super) fn decode_totals(
        &self,
        out: &mut [u64; VECTOR_SAMPLES],
        room: &mut room::Patches,
    ) -> Result<[u64; LANES], ChunkError> {
        let in_bits = self.patches.is_some_and(|patches| patches.places.bits().is_some());
        if self.width == 0 || in_bits {
            self.decode(out, room)?;
            return Ok(kernel::totals(out));
        }
        let mut totals = kernel::unpack_totals(self.bytes, self.width, self.base, out);
        self.patch(out, room, |place, old, integer| {
            totals[place % LANES] = totals[place % LANES].wrapping_add(integer).wrapping_sub(old);
            integer
        })?;
        Ok(totals)
    }

    /// Unpacks the distances of the patches, and answers how many there are.
    fn far(&self, room: &mut room::Patches) -> Result<usize, ChunkError> {
        let Some(Patches { places, width, bytes }) = self.patches else { return Ok(0) };
        bitpack::unpack_linear(bytes, width, 0, &mut room.far[..places.len])?;
        Ok(places.len)
    }

    /// Adds the integers to what is there, if they are all the same but for patches.
    fn decode_onto(&self, out: &mut [u64], room: &mut room::Patches) -> Result<bool, ChunkError> {
        let Some(Patches { places, .. }) = self.patches.filter(|_| self.width == 0) else { return Ok(false) };
        let far = self.far(room)?;
        match places.bits() {
            Some(bits) => kernel::patch_onto(bits, self.base, &room.far, out),
            None if self.base == 0 => {
                for (place, far) in places.list(&mut room.places)?.iter().zip(&room.far[..far]) {
                    let slot = &mut out[usize::from(*place)];
                    *slot = slot.wrapping_add(unzigzag(*far) as u64);
                }
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Puts the patches in their places one by one, each turned into something by `finish`, told the place, what is there,
    /// and the patch.
    fn patch(
        &self,
        out: &mut [u64],
        room: &mut room::Patches,
        mut finish: impl FnMut(usize, u64, u64) -> u64,
    ) -> Result<(), ChunkError> {
        let Some(Patches { places, width, bytes }) = self.patches else { return Ok(()) };
        let far = &mut room.far[..places.len];
        bitpack::unpack_linear(bytes, width, 0, far)?;
        for (place, far) in places.list(&mut room.places)?.iter().zip(far) {
            let place = usize::from(*place);
            out[place] = finish(place, out[place], self.base.wrapping_add(unzigzag(*far) as u64));
        }
        Ok(())
    }
}

/// Decodes `out.len()` integers, at most 1,024.
pub(super) fn decode(cursor: &mut Cursor<'_>, out: &mut [u64], room: &mut Room) -> Result<(), ChunkError> {
    decode_into(cursor, out, &mut room.patches)
}

/// Likewise, where the rest of the room is lent out.
pub(super) fn decode_into(
    cursor: &mut Cursor<'_>,
    out: &mut [u64],
    room: &mut room::Patches,
) -> Result<(), ChunkError> {
    Packed::read(cursor, out.len())?.decode(out, room)
}

/// Decodes `out.len()` integers, and adds them to what is there.
pub(super) fn decode_onto(cursor: &mut Cursor<'_>, out: &mut [u64], room: &mut Room) -> Result<(), ChunkError> {
    let packed = Packed::read(cursor, out.len())?;
    if let (Some((width, base, bytes)), Ok(full)) =
        (packed.unpatched(), <&mut [u64; VECTOR_SAMPLES]>::try_from(&mut *out))
    {
        kernel::add_unpacked(bytes, width, base, full);
        return Ok(());
    }
    if packed.decode_onto(out, &mut room.patches)? {
        return Ok(());
    }
    let more = &mut room.words[..out.len()];
    packed.decode(more, &mut room.patches)?;
    kernel::add(more, out);
    Ok(())
}

/// Patches up to which converting them one by one costs less than converting all integers apart from unpacking.
const FEW_PATCHES: usize = 64;

/// Decodes `out.len()` integers to the bits of the decimals that they stand for.
pub(super) fn decode_decimals(
    cursor: &mut Cursor<'_>,
    scale: &Scale,
    out: &mut [u64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let packed = Packed::read(cursor, out.len())?;
    let few = packed.patches.is_none_or(|patches| patches.places.len <= FEW_PATCHES);
    if let (Ok(full), true) = (<&mut [u64; VECTOR_SAMPLES]>::try_from(&mut *out), few && packed.width > 0) {
        kernel::unpack_decimals(packed.bytes, packed.width, packed.base, scale, full);
        return packed.patch(full, &mut room.patches, |_, _, integer| scale.bits::<false, false>(integer));
    }
    packed.decode(out, &mut room.patches)?;
    kernel::decimals(scale, out);
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
        assert!(out.len() <= plan.bytes + plan.bytes / 8 + 16, "{} bytes, planned {}", out.len(), plan.bytes);
        assert!(plan.patch_width > 0 || out.len() == plan.bytes, "without patches the plan states the length");
        let mut got = vec![0; xs.len()];
        let mut cursor = Cursor::new(&out);
        decode(&mut cursor, &mut got, &mut Room::new()).unwrap();
        cursor.end("rest").unwrap();
        assert_eq!(got.iter().map(|x| *x as i64).collect::<Vec<i64>>(), xs);
        out.len()
    }

    #[test]
    fn a_few_outliers_do_not_widen_the_rest() {
        let mut xs: Vec<i64> = (0..1024).map(|i| 1000 + i * 37 % 16).collect();
        assert_eq!(round_trip(&xs), 1 + 2 + 512);
        xs[3] = -1_000_000;
        xs[900] = 70_000;
        assert_eq!(round_trip(&xs), 1 + 2 + 512 + 3 + 3 + 1 + 6);
    }

    #[test]
    fn the_window_is_cut_at_both_ends_where_that_is_cheaper() {
        // Half of the numbers at 0..4, a middle of 2, ten at the far ends.
        let mut xs: Vec<i64> = (0..1024).map(|i| i % 4).collect();
        for i in 0..5 {
            xs[i * 100] = 200;
            xs[i * 100 + 50] = -200;
        }
        assert_eq!(round_trip(&xs), 1 + 1 + 256 + 3 + 8 + 1 + 12);
    }

    /// Found on gaps between random events: all below the middle were inside of the window, yet counted as patches.
    #[test]
    fn a_long_tail_on_one_side_is_patched() {
        let mut noise = 1u64;
        let xs: Vec<i64> = (0..1024)
            .map(|_| {
                noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let uniform = ((noise >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
                (-30_000.0 * uniform.ln()) as i64
            })
            .collect();
        let bytes = round_trip(&xs);
        assert!(bytes * 8 < 1024 * 35 / 2, "{} bits each", bytes as f64 / 128.0);
    }

    #[test]
    fn the_widest_integers_come_back() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1]);
        let xs: Vec<i64> = (0..1024).map(|i| if i % 2 == 0 { i64::MIN } else { i64::MAX }).collect();
        round_trip(&xs);
        let xs: Vec<i64> = (0..1024).map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64).collect();
        assert_eq!(round_trip(&xs), 1 + 10 + 8192);
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

        /// As corrections are: mostly the same, in the end few or many that are not.
        #[test]
        fn integers_are_added_as_they_would_be_decoded(
            base in prop_oneof![Just(0i64), any::<i64>()], odds in 1u64..200, count in 1usize..=1024,
            noise in prop::collection::vec(any::<u64>(), 1024),
        ) {
            let noise = &noise[..count];
            let far = |x: u64| if x.is_multiple_of(odds) { (x >> 58) as i64 - 32 } else { 0 };
            let xs: Vec<i64> = noise.iter().map(|x| base.wrapping_add(far(*x))).collect();
            let mut bytes = Vec::new();
            Plan::of(&xs).encode(&xs, &mut Scratch::default(), &mut bytes);
            let mut out = noise.to_vec();
            let mut cursor = Cursor::new(&bytes);
            decode_onto(&mut cursor, &mut out, &mut Room::new()).unwrap();
            cursor.end("rest").unwrap();
            let want: Vec<u64> = noise.iter().zip(&xs).map(|(there, x)| there.wrapping_add(*x as u64)).collect();
            prop_assert_eq!(out, want);
        }
    }
}
