//! 1,024 values in 16 lanes of 64 rows: value i is row i/16 of lane i%16.
//!
//! Each lane packs its 64 values into `width` 64-bit words; word j of all lanes lies
//! together. All lanes shift by the same amount at the same time, which every vector
//! unit can do, and the values come out in order.

use super::mask;
use crate::chunk::format::{LANES, VECTOR_SAMPLES};

/// Bytes of one word of each lane.
const STRIPE: usize = LANES * 8;

type Stripe = [u64; LANES];

/// `out` holds `width` stripes of zeros.
#[inline(always)]
pub(super) fn pack(values: &[u64; VECTOR_SAMPLES], width: u32, out: &mut [u8]) {
    if width == 0 {
        return;
    }
    let mask = mask(width);
    let mut open: Stripe = [0; LANES];
    let mut filled = 0;
    let mut stripes = out.chunks_exact_mut(STRIPE);
    for row in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            open[lane] |= (row[lane] & mask) << filled;
        }
        filled += width;
        if filled >= 64 {
            if let Some(stripe) = stripes.next() {
                store(stripe, &open);
            }
            filled -= 64;
            // What did not fit: the highest `filled` bits of these values.
            for lane in 0..LANES {
                // Two shifts, since one by 64 is none.
                open[lane] = (row[lane] & mask) >> (width - filled - 1) >> 1;
            }
            if filled == 0 {
                open = [0; LANES];
            }
        }
    }
}

/// Adds `base` to each value. `bytes` holds `width` stripes, 1 <= `width` <= 64.
#[inline(always)]
pub(super) fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) {
    let mask = mask(width);
    let (stripes, _) = bytes.as_chunks::<STRIPE>();
    let last = stripes.len() - 1;
    let mut bit = 0u32;
    // Whole rows as arrays, and no branch within: the compiler makes vector instructions of any width out of it.
    for row in out.as_chunks_mut::<LANES>().0 {
        let (at, shift) = ((bit / 64) as usize, bit % 64);
        let (low, _) = stripes[at.min(last)].as_chunks::<8>();
        let (high, _) = stripes[(at + 1).min(last)].as_chunks::<8>();
        for lane in 0..LANES {
            // A value that ends within `low` takes nothing of `high`: the mask cuts it off.
            let (low, high) = (u64::from_le_bytes(low[lane]), u64::from_le_bytes(high[lane]));
            let word = (low >> shift) | (high << 1 << (63 - shift));
            row[lane] = (word & mask).wrapping_add(base);
        }
        bit += width;
    }
}

#[inline(always)]
fn store(out: &mut [u8], words: &Stripe) {
    for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
