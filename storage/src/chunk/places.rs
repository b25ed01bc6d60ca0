//! Where in a vector something happens: a sorted set of places, as gaps or as one bit for each place.
//!
//! Byte layout: docs/format/chunk.md, "Places".

use super::ChunkError;
use super::bitpack;
use super::cursor::Cursor;
use super::format::VECTOR_SAMPLES;

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

/// A set of places whose outline was checked: as many as it says, ascending, all below the count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// How many there are.
    pub(super) len: usize,
    shape: Shape<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
    Gaps(&'a [u8], u32),
    Bits(&'a [u8]),
}

impl<'a> Places<'a> {
    /// Reads a set of places below `count`.
    pub(super) fn read(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, ChunkError> {
        let len = usize::from(cursor.u16("count of places")?);
        let width = cursor.u8("width of gaps")?;
        if len > count {
            return Err(ChunkError::damaged("more places than samples"));
        }
        if width == AS_BITS {
            let bits = cursor.take(count.div_ceil(8), "places")?;
            let beyond = if count.is_multiple_of(8) { 0 } else { bits[count / 8] >> (count % 8) };
            let set: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
            if set as usize != len || beyond != 0 {
                return Err(ChunkError::damaged("places contradict their count"));
            }
            return Ok(Self { len, shape: Shape::Bits(bits) });
        }
        let width = u32::from(width);
        if width > GAP_BITS_MAX {
            return Err(ChunkError::damaged("width of gaps"));
        }
        let gaps = cursor.take(bitpack::packed_len(len, width), "places")?;
        let end: u64 = (0..len).map(|i| 1 + bitpack::get_linear(gaps, width, i)).sum();
        if end > count as u64 {
            return Err(ChunkError::damaged("place behind the last sample"));
        }
        Ok(Self { len, shape: Shape::Gaps(gaps, width) })
    }

    /// Calls `f` with the number of each place and the place, ascending.
    #[inline]
    pub(super) fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        match self.shape {
            Shape::Gaps(gaps, width) => {
                let mut next = 0;
                for i in 0..self.len {
                    let place = next + bitpack::get_linear(gaps, width, i) as usize;
                    f(i, place);
                    next = place + 1;
                }
            }
            Shape::Bits(bits) => {
                let mut i = 0;
                for (at, byte) in bits.iter().enumerate() {
                    let mut byte = *byte;
                    while byte != 0 {
                        f(i, at * 8 + byte.trailing_zeros() as usize);
                        byte &= byte - 1;
                        i += 1;
                    }
                }
            }
        }
    }

    /// Spreads the first `len` + 1 values over all of `out`: a new one begins at 0 and at each place.
    pub(super) fn spread<T: Copy>(&self, out: &mut [T]) -> Result<(), ChunkError> {
        if self.len >= out.len() {
            return Err(ChunkError::damaged("more runs than samples"));
        }
        let starts_at_once = match self.shape {
            Shape::Gaps(gaps, width) => self.len > 0 && bitpack::get_linear(gaps, width, 0) == 0,
            Shape::Bits(bits) => bits[0] & 1 != 0,
        };
        if starts_at_once {
            return Err(ChunkError::damaged("two runs begin at the first sample"));
        }
        match self.shape {
            Shape::Gaps(gaps, width) => {
                let mut end = out.len();
                let mut start: usize =
                    (0..self.len).map(|i| 1 + bitpack::get_linear(gaps, width, i) as usize).sum::<usize>();
                // From the back: what was not moved yet lies before where it goes.
                for i in (0..self.len).rev() {
                    start -= 1;
                    let value = out[i + 1];
                    out[start..end].fill(value);
                    end = start;
                    start -= bitpack::get_linear(gaps, width, i) as usize;
                }
                let value = out[0];
                out[..end].fill(value);
            }
            Shape::Bits(bits) => {
                let mut from = self.len;
                for i in (0..out.len()).rev() {
                    out[i] = out[from.min(i)];
                    from = from.wrapping_sub(usize::from(bits[i / 8] >> (i % 8) & 1));
                }
            }
        }
        Ok(())
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
        let mut got = Vec::new();
        read.for_each(|i, place| {
            assert_eq!(i, got.len());
            got.push(place as u16);
        });
        assert_eq!(got, places);
        if places.first() == Some(&0) || count == 0 {
            return;
        }
        let mut spread: Vec<usize> = (0..count).collect();
        read.spread(&mut spread).unwrap();
        let want: Vec<usize> = (0..count).map(|i| places.iter().filter(|&&p| usize::from(p) <= i).count()).collect();
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
            assert!(Places::read(&mut Cursor::new(bytes), if bytes[2] == 0 { 2 } else { 5 }).is_err(), "{bytes:?}");
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
