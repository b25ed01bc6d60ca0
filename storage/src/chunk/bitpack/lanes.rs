//! 1,024 values in 16 lanes of 64 rows: value i is row i/16 of lane i%16.
//!
//! Each lane packs its 64 values into `width` 64-bit words; word j of all lanes lies
//! together. All lanes shift by the same amount at the same time, which every vector
//! unit can do, and the values come out in order.

use super::mask;
use crate::chunk::format::{LANES, VECTOR_SAMPLES};

/// Bytes of one word of each lane.
const STRIPE: usize = LANES * 8;

pub(in crate::chunk) type Stripe = [u64; LANES];

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

/// What becomes of the values of a row as they are unpacked.
pub(in crate::chunk) trait Finish {
    /// Writes `unpacked` to `row`, or whatever follows from both.
    fn finish(&mut self, unpacked: &Stripe, row: &mut Stripe);
}

/// `bytes` holds `width` stripes, 1 <= `width` <= 64; each row goes through `finish`.
#[inline(always)]
pub(in crate::chunk) fn unpack(bytes: &[u8], width: u32, out: &mut [u64; VECTOR_SAMPLES], mut finish: impl Finish) {
    let mask = mask(width);
    let (stripes, _) = bytes.as_chunks::<STRIPE>();
    let last = stripes.len() - 1;
    let mut bit = 0u32;
    // Whole rows as arrays, and no branch within: the compiler makes vector instructions of any width out of it.
    for row in out.as_chunks_mut::<LANES>().0 {
        let (at, shift) = ((bit / 64) as usize, bit % 64);
        let (low, _) = stripes[at.min(last)].as_chunks::<8>();
        let (high, _) = stripes[(at + 1).min(last)].as_chunks::<8>();
        let mut unpacked = [0; LANES];
        for lane in 0..LANES {
            // A value that ends within `low` takes nothing of `high`: the mask cuts it off.
            let (low, high) = (u64::from_le_bytes(low[lane]), u64::from_le_bytes(high[lane]));
            unpacked[lane] = ((low >> shift) | (high << 1 << (63 - shift))) & mask;
        }
        finish.finish(&unpacked, row);
        bit += width;
    }
}

/// Adds a base.
pub(in crate::chunk) struct Base(pub(in crate::chunk) u64);

impl Finish for Base {
    #[inline(always)]
    fn finish(&mut self, unpacked: &Stripe, row: &mut Stripe) {
        for (slot, value) in row.iter_mut().zip(unpacked) {
            *slot = value.wrapping_add(self.0);
        }
    }
}

/// Adds a base, and what is in the row already.
pub(in crate::chunk) struct Added(pub(in crate::chunk) u64);

impl Finish for Added {
    #[inline(always)]
    fn finish(&mut self, unpacked: &Stripe, row: &mut Stripe) {
        for (slot, value) in row.iter_mut().zip(unpacked) {
            *slot = slot.wrapping_add(value.wrapping_add(self.0));
        }
    }
}

/// Adds a base, and keeps what each lane adds up to.
pub(in crate::chunk) struct Totalled<'a> {
    pub(in crate::chunk) base: u64,
    pub(in crate::chunk) totals: &'a mut Stripe,
}

impl Finish for Totalled<'_> {
    #[inline(always)]
    fn finish(&mut self, unpacked: &Stripe, row: &mut Stripe) {
        for ((slot, total), value) in row.iter_mut().zip(&mut *self.totals).zip(unpacked) {
            *slot = value.wrapping_add(self.base);
            *total = total.wrapping_add(*slot);
        }
    }
}

#[inline(always)]
fn store(out: &mut [u8], words: &Stripe) {
    for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
