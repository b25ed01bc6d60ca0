//! Where in a vector something happens: a sorted set of places, as gaps or as one bit for each place.
//!
//! Byte layout: docs/format/chunk.md, "Places".

use super::ChunkError;
use super::bitpack;
use super::cursor::{Cursor, unzigzag};
use super::format::VECTOR_SAMPLES;
use super::kernel;

/// Stands for the width of gaps where bits are stored instead.
const AS_BITS: u8 = 16;

/// Bits that hold any gap between places of a vector.
const GAP_BITS_MAX: u32 = 10;

const _: () = assert!(VECTOR_SAMPLES == 1 << GAP_BITS_MAX, "a gap is less than a vector");

/// An upper bound for what [`write`] appends for `places` places below `count`, close unless they crowd together.
pub(super) fn len_at_most(places: usize, count: usize) -> usize {
    3 + (places * GAP_BITS_MAX as usize).div_ceil(8).min(count.div_ceil(8))
}

/// What [`write`] probably appends: the longest gap is some times the mean.
pub(super) fn len_about(places: usize, count: usize) -> usize {
    let width = bitpack::width_of((count / places.max(1)) as u64 * 4).min(GAP_BITS_MAX);
    3 + (places * width as usize).div_ceil(8).min(count.div_ceil(8))
}

/// Appends ascending `places`, all below `count`.
pub(super) fn write(places: &[u16], count: usize, gaps: &mut Vec<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(places.len() as u16).to_le_bytes());
    gaps.clear();
    let mut next = 0;
    gaps.extend(places.iter().map(|&place| {
        let gap = u64::from(place - next);
        next = place + 1;
        gap
    }));
    let width = bitpack::width_of(gaps.iter().fold(0, |sum, gap| sum | gap));
    let as_bits = count.div_ceil(8);
    if as_bits < bitpack::packed_len(places.len(), width) {
        out.push(AS_BITS);
        let start = out.len();
        out.resize(start + as_bits, 0);
        places.iter().for_each(|&place| out[start + usize::from(place) / 8] |= 1 << (place % 8));
    } else {
        out.push(width as u8);
        bitpack::pack_linear(gaps, width, out);
    }
}

/// A set of places whose outline was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// How many there are.
    pub(super) len: usize,
    /// Samples that they are places of.
    count: usize,
    shape: Shape<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
    Gaps(&'a [u8], u32),
    Bits(&'a [u8]),
}

/// Gaps unpacked at a time: they fill whole bytes, whatever their width.
const GAPS: usize = 64;

/// One bit for each sample of a vector.
pub(super) type Bits = [u8; VECTOR_SAMPLES / 8];

impl<'a> Places<'a> {
    /// Reads a set of places below `count`, of a vector at most. Inlined, as what reads a scale is.
    #[inline(always)]
    pub(super) fn read(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, ChunkError> {
        let len = usize::from(cursor.u16("count of places")?);
        let width = cursor.u8("width of gaps")?;
        if len > count.min(VECTOR_SAMPLES) {
            return Err(ChunkError::damaged("more places than samples"));
        }
        if width == AS_BITS {
            let bits = cursor.take(count.div_ceil(8), "places")?;
            let beyond = if count.is_multiple_of(8) { 0 } else { bits[count / 8] >> (count % 8) };
            let (words, rest) = bits.as_chunks::<8>();
            let set = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum::<u32>()
                + rest.iter().map(|byte| byte.count_ones()).sum::<u32>();
            if set as usize != len || beyond != 0 {
                return Err(ChunkError::damaged("places contradict their count"));
            }
            return Ok(Self { len, count, shape: Shape::Bits(bits) });
        }
        let width = u32::from(width);
        if width > GAP_BITS_MAX {
            return Err(ChunkError::damaged("width of gaps"));
        }
        let gaps = cursor.take(bitpack::packed_len(len, width), "places")?;
        Ok(Self { len, count, shape: Shape::Gaps(gaps, width) })
    }

    /// The places one by one, ascending, each below the count.
    pub(super) fn list<'r>(&self, room: &'r mut [u16; VECTOR_SAMPLES + 8]) -> Result<&'r [u16], ChunkError> {
        match self.shape {
            Shape::Bits(bits) => {
                let mut n = 0;
                for (at, byte) in bits.iter().enumerate() {
                    // Eight at once, whether or not all of them count: what does not is overwritten.
                    let first = at as u16 * 8;
                    if let Some(slots) = room[n..].first_chunk_mut::<8>() {
                        *slots = SET_BITS[usize::from(*byte)].map(|bit| first + u16::from(bit));
                    }
                    n += byte.count_ones() as usize;
                }
            }
            Shape::Gaps(gaps, width) => {
                let mut next = 0;
                let bytes = bitpack::packed_len(GAPS, width);
                for (i, slots) in room[..self.len].chunks_mut(GAPS).enumerate() {
                    let mut some = [0; GAPS];
                    let some = &mut some[..slots.len()];
                    let packed = bitpack::packed_len(some.len(), width);
                    bitpack::unpack_linear(&gaps[i * bytes..][..packed], width, 0, some)?;
                    for (slot, gap) in slots.iter_mut().zip(some) {
                        next += *gap as u32;
                        *slot = next as u16;
                        next += 1;
                    }
                }
                // Below 2²¹, so nothing wrapped but what is refused here.
                if next as usize > self.count {
                    return Err(ChunkError::damaged("place behind the last sample"));
                }
            }
        }
        Ok(&room[..self.len])
    }

    /// One bit for each sample, if that is how they are stored.
    pub(super) fn bits(&self) -> Option<&'a [u8]> {
        match self.shape {
            Shape::Bits(bits) => Some(bits),
            Shape::Gaps(..) => None,
        }
    }

    /// Spreads the first `len` + 1 values over all of `out`: a new one begins at 0 and at each place. `out` is as long
    /// as the count.
    pub(super) fn spread(&self, out: &mut [u64], room: &mut [u16; VECTOR_SAMPLES + 8]) -> Result<(), ChunkError> {
        if self.len >= out.len() {
            return Err(ChunkError::damaged("more runs than samples"));
        }
        kernel::spread(&self.later_runs(room)?, self.len, out);
        Ok(())
    }

    /// One bit for each sample, set where a run begins, but for the first.
    fn later_runs(&self, room: &mut [u16; VECTOR_SAMPLES + 8]) -> Result<Bits, ChunkError> {
        let mut bits: Bits = [0; VECTOR_SAMPLES / 8];
        match self.shape {
            Shape::Bits(found) => bits[..found.len()].copy_from_slice(found),
            Shape::Gaps(..) => {
                for place in self.list(room)? {
                    bits[usize::from(*place) / 8 % (VECTOR_SAMPLES / 8)] |= 1 << (place % 8);
                }
            }
        }
        if bits[0] & 1 != 0 {
            return Err(ChunkError::damaged("two runs begin at the first sample"));
        }
        Ok(bits)
    }

    /// One bit for each sample, set where a run begins.
    pub(super) fn runs(&self, room: &mut [u16; VECTOR_SAMPLES + 8]) -> Result<Bits, ChunkError> {
        let mut bits = self.later_runs(room)?;
        bits[0] |= 1;
        Ok(bits)
    }
}

/// The places of the bits that are set in a byte, ascending; 0 where there are no more.
static SET_BITS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut n) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte][n] = bit;
                n += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// By the upper seven bits of a byte: how many of them are set up to each bit, the lowest bit left out.
pub(super) static RANKS: [[u8; 8]; 128] = {
    let mut table = [[0; 8]; 128];
    let mut upper = 0;
    while upper < 128 {
        let mut bit = 1;
        while bit < 8 {
            table[upper][bit] = table[upper][bit - 1] + (upper >> (bit - 1) & 1) as u8;
            bit += 1;
        }
        upper += 1;
    }
    table
};

/// Moves value r to where the r-th run lies, runs beginning at 0 and at each of the `len` bits that are set. `len` is
/// less than `out.len()`, and the lowest bit is not set.
#[inline(always)]
pub(super) fn spread_runs(bits: &Bits, len: usize, out: &mut [u64]) {
    spread_runs_by(bits, len, out, |ranks, values| ranks.map(|rank| values[usize::from(rank) % 8]));
}

/// As [`spread_runs`]; `pick` answers the values of the given numbers, all below 8.
#[inline(always)]
pub(super) fn spread_runs_by(bits: &Bits, len: usize, out: &mut [u64], pick: impl Fn(&[u8; 8], &[u64; 8]) -> [u64; 8]) {
    // From the back: what was not moved yet lies before where it goes.
    let mut rank = len;
    let whole = out.len() / 8;
    for i in (whole * 8..out.len()).rev() {
        out[i] = out[rank.min(i)];
        rank = rank.wrapping_sub(usize::from(bits[i / 8 % bits.len()] >> (i % 8) & 1));
    }
    for (block, byte) in bits.iter().enumerate().take(whole).rev() {
        rank = rank.wrapping_sub(byte.count_ones() as usize);
        let first = rank.wrapping_add(usize::from(byte & 1)).min(block * 8);
        let values = out[first..].first_chunk::<8>().copied().unwrap_or_default();
        let picked = pick(&RANKS[usize::from(byte >> 1)], &values);
        if let Some(slots) = out[block * 8..].first_chunk_mut::<8>() {
            *slots = picked;
        }
    }
}

/// Replaces the values at the bits that are set by `far`, one after the other, each the zigzag of a distance from `base`.
#[inline(always)]
pub(super) fn patch(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) {
    patch_by(bits, far, out, |byte, far, values| {
        let mut rank = 0;
        for (bit, slot) in values.iter_mut().enumerate() {
            let is_set = byte >> bit & 1;
            let patch = base.wrapping_add(unzigzag(far[rank % 8]) as u64);
            *slot = if is_set == 1 { patch } else { *slot };
            rank += usize::from(is_set);
        }
    });
}

/// Adds `base` to each value, and where a bit is set the distance of which `far` has the zigzag, one after the other.
#[inline(always)]
pub(super) fn patch_onto(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) {
    patch_by(bits, far, out, |byte, far, values| {
        let mut rank = 0;
        for (bit, slot) in values.iter_mut().enumerate() {
            let is_set = byte >> bit & 1;
            let distance = if is_set == 1 { unzigzag(far[rank % 8]) as u64 } else { 0 };
            *slot = slot.wrapping_add(base).wrapping_add(distance);
            rank += usize::from(is_set);
        }
    });
}

/// As [`patch`]; `merge` does it for the values of one byte.
#[inline(always)]
pub(super) fn patch_by(
    bits: &[u8],
    far: &[u64; VECTOR_SAMPLES + 8],
    out: &mut [u64],
    merge: impl Fn(u8, &[u64; 8], &mut [u64; 8]),
) {
    let mut rank = 0;
    let (whole, last) = out.as_chunks_mut::<8>();
    let (bytes, last_byte) = bits.split_at(whole.len().min(bits.len()));
    for (values, byte) in whole.iter_mut().zip(bytes) {
        if let Some(far) = far[rank..].first_chunk::<8>() {
            merge(*byte, far, values);
        }
        rank += byte.count_ones() as usize;
    }
    if let (Some(byte), Some(far)) = (last_byte.first(), far[rank..].first_chunk::<8>()) {
        let mut values = [0; 8];
        values[..last.len()].copy_from_slice(last);
        merge(*byte, far, &mut values);
        last.copy_from_slice(&values[..last.len()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(places: &[u16], count: usize) {
        let mut out = Vec::new();
        write(places, count, &mut Vec::new(), &mut out);
        assert!(out.len() <= len_at_most(places.len(), count));
        let mut cursor = Cursor::new(&out);
        let read = Places::read(&mut cursor, count).unwrap();
        cursor.end("rest").unwrap();
        assert_eq!(read.list(&mut [0; VECTOR_SAMPLES + 8]).unwrap(), places);
        if places.first() == Some(&0) || count == 0 {
            return;
        }
        let mut spread: Vec<u64> = (0..count as u64).collect();
        read.spread(&mut spread, &mut [0; VECTOR_SAMPLES + 8]).unwrap();
        let want: Vec<u64> =
            (0..count).map(|i| places.iter().filter(|&&p| usize::from(p) <= i).count() as u64).collect();
        assert_eq!(spread, want);
    }

    #[test]
    fn few_are_gaps_and_many_are_bits() {
        check(&[], 1024);
        check(&[0], 1);
        check(&[1023], 1024);
        let few: Vec<u16> = (1..1024).step_by(100).collect();
        check(&few, 1024);
        let mut out = Vec::new();
        write(&few, 1024, &mut Vec::new(), &mut out);
        assert_eq!(out.len(), 3 + (few.len() * 7).div_ceil(8));
        let many: Vec<u16> = (1..1024).step_by(3).collect();
        check(&many, 1024);
        check(&(0..1000).collect::<Vec<u16>>(), 1000);
    }

    #[test]
    fn places_beyond_the_last_sample_or_without_a_bit_are_damage() {
        for bytes in [&[1, 0, 4, 9][..], &[3, 0, 0], &[2, 0, 16, 1], &[1, 0, 16, 0x80], &[1, 0, 11, 0, 0], &[9, 0, 0]] {
            let read = Places::read(&mut Cursor::new(bytes), if bytes[2] == 0 { 2 } else { 5 });
            let listed = read.and_then(|places| places.list(&mut [0; VECTOR_SAMPLES + 8]).map(<[u16]>::len));
            assert!(listed.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_places_come_back(count in 1usize..=1024, odds in 1u32..200, noise in prop::collection::vec(any::<u32>(), 1024)) {
            let places: Vec<u16> = (0..count as u16).filter(|&i| noise[usize::from(i)].is_multiple_of(odds)).collect();
            check(&places, count);
            check(&places[usize::from(places.first() == Some(&0))..], count);
        }
    }
}
