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
pub(super) fn pack(values: &[u64; VECTOR_SAMPLES], width: u32, out: &mut [u8]) {
    if width == 0 {
        return;
    }
    let mask = mask(width);
    let mut open: Stripe = [0; LANES];
    let mut filled = 0;
    let mut stripes = out.chunks_exact_mut(STRIPE);
    for row in values.chunks_exact(LANES) {
        for (word, value) in open.iter_mut().zip(row) {
            *word |= (value & mask) << filled;
        }
        filled += width;
        if filled >= 64 {
            if let Some(stripe) = stripes.next() {
                store(stripe, &open);
            }
            filled -= 64;
            // What did not fit: the highest `filled` bits of these values.
            for (word, value) in open.iter_mut().zip(row) {
                *word = if filled == 0 { 0 } else { (value & mask) >> (width - filled) };
            }
        }
    }
}

/// `bytes` holds `width` stripes, 1 <= `width` <= 64.
#[inline]
pub(super) fn unpack<T: Copy>(bytes: &[u8], width: u32, out: &mut [T; VECTOR_SAMPLES], f: impl Fn(u64) -> T) {
    let mask = mask(width);
    let (words, _) = bytes.as_chunks::<8>();
    // Hidden from the compiler: it would unroll sixteen known lanes into scalar code instead of vectorising the loop.
    let lanes = std::hint::black_box(LANES);
    let mut bit = 0u32;
    for row in out.chunks_exact_mut(LANES) {
        let (at, shift) = ((bit / 64) as usize * LANES, bit % 64);
        let row = &mut row[..lanes];
        let low = &words[at..at + lanes];
        if shift + width <= 64 {
            for (slot, low) in row.iter_mut().zip(low) {
                *slot = f((u64::from_le_bytes(*low) >> shift) & mask);
            }
        } else {
            let high = &words[at + LANES..at + LANES + lanes];
            for ((slot, low), high) in row.iter_mut().zip(low).zip(high) {
                let word = (u64::from_le_bytes(*low) >> shift) | (u64::from_le_bytes(*high) << (64 - shift));
                *slot = f(word & mask);
            }
        }
        bit += width;
    }
}

fn store(out: &mut [u8], words: &Stripe) {
    for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
