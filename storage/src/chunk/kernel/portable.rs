//! Full vectors, in plain loops that the compiler makes vector instructions of.

use crate::chunk::bitpack::lanes::{self, Added, Base, Finish, Stripe, Totalled};
use crate::chunk::format::{LANES, VECTOR_SAMPLES};
use crate::chunk::steps;
use crate::chunk::values::Scale;

#[inline(always)]
pub(super) fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) {
    lanes::unpack(bytes, width, out, Base(base));
}

#[inline(always)]
pub(super) fn add_unpacked(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) {
    lanes::unpack(bytes, width, out, Added(base));
}

#[inline(always)]
pub(super) fn unpack_totals(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) -> [u64; LANES] {
    let mut totals = [0; LANES];
    lanes::unpack(bytes, width, out, Totalled { base, totals: &mut totals });
    totals
}

#[inline(always)]
pub(super) fn unpack_decimals<const FUSED: bool>(
    bytes: &[u8],
    width: u32,
    base: u64,
    scale: &Scale,
    out: &mut [u64; VECTOR_SAMPLES],
) {
    // Apart, because even without a division the quotient costs as much as all the rest.
    if scale.is_whole() {
        lanes::unpack(bytes, width, out, Decimal::<FUSED, true> { base, scale: *scale });
    } else {
        lanes::unpack(bytes, width, out, Decimal::<FUSED, false> { base, scale: *scale });
    }
}

/// Adds a base and turns integers into decimals; `WHOLE` if these are integers.
struct Decimal<const FUSED: bool, const WHOLE: bool> {
    base: u64,
    scale: Scale,
}

impl<const FUSED: bool, const WHOLE: bool> Finish for Decimal<FUSED, WHOLE> {
    #[inline(always)]
    fn finish(&mut self, unpacked: &Stripe, row: &mut Stripe) {
        for (slot, value) in row.iter_mut().zip(unpacked) {
            *slot = self.scale.bits::<FUSED, WHOLE>(value.wrapping_add(self.base));
        }
    }
}

#[inline(always)]
pub(super) fn in_order_decimals(
    steps: &[u64; VECTOR_SAMPLES],
    starts: &[u64; LANES],
    scale: &Scale,
    out: &mut [u64; VECTOR_SAMPLES],
) {
    steps::in_order(steps, starts, out);
    scale.convert::<false>(out);
}

#[inline(always)]
pub(super) fn fill(value: u64, out: &mut [u64]) {
    for slot in out {
        *slot = value;
    }
}

#[inline(always)]
pub(super) fn shift(zeros: u32, out: &mut [u64]) {
    for slot in out {
        *slot <<= zeros & 63;
    }
}

#[inline(always)]
pub(super) fn add(more: &[u64], out: &mut [u64]) {
    for (slot, more) in out.iter_mut().zip(more) {
        *slot = slot.wrapping_add(*more);
    }
}

/// Appended, and not written over: a vector that is made long enough first is cleared for nothing.
#[inline(always)]
pub(super) fn regular(first: i64, step: i64, count: usize, out: &mut Vec<i64>) {
    // By additions: a product of 64 bits takes vector units several times as long.
    let mut at = first;
    let mut next = |_| {
        let this = at;
        at = at.wrapping_add(step);
        this
    };
    // From the next line of the cache on apart: what lies across two lines takes twice as long to store.
    out.reserve(count);
    let head = out.spare_capacity_mut().as_ptr().align_offset(64).min(count);
    out.extend((0..head).map(&mut next));
    out.extend((head..count).map(next));
}
