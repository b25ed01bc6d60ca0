//! Values one behind the other, least significant bit first.
//!
//! Eight values of any width fill whole bytes, so that each *group* of eight begins with a byte, and all
//! groups are taken apart alike.

use super::mask;

/// Values of a group.
const GROUP: usize = 8;

/// Bytes that hold a group of the widest values taken by groups, and eight bytes from any of them on.
pub(in crate::chunk) const WINDOW: usize = 64;

/// Widest values that eight bytes hold wherever they begin.
pub(in crate::chunk) const GROUPED_WIDTH_MAX: u32 = 56;

const _: () = assert!((GROUP - 1) * GROUPED_WIDTH_MAX as usize / 8 + 8 <= WINDOW, "a group lies within its window");

/// `out` holds `packed_len` zeros.
pub(super) fn pack(values: &[u64], width: u32, out: &mut [u8]) {
    let mask = mask(width);
    let mut at = 0;
    let mut open = 0u64;
    let mut filled = 0;
    for value in values {
        let value = value & mask;
        open |= value << filled;
        filled += width;
        if filled >= 64 {
            out[at..at + 8].copy_from_slice(&open.to_le_bytes());
            at += 8;
            filled -= 64;
            // What did not fit: its highest `filled` bits. Two shifts, since one by 64 is none.
            open = if filled == 0 { 0 } else { value >> (width - filled - 1) >> 1 };
        }
    }
    let rest = filled.div_ceil(8) as usize;
    out[at..at + rest].copy_from_slice(&open.to_le_bytes()[..rest]);
}

/// Adds `base` to each value. `bytes` holds `packed_len` bytes, 1 <= `width` <= 64.
#[inline(always)]
pub(in crate::chunk) fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) {
    unpack_by(bytes, width, base, out, |window, group| take_group(window, width, base, group));
}

/// As [`unpack`], groups by `take`.
#[inline(always)]
fn unpack_by(bytes: &[u8], width: u32, base: u64, out: &mut [u64], take: impl Fn(&[u8; WINDOW], &mut [u64; GROUP])) {
    if width > GROUPED_WIDTH_MAX {
        return unpack_one_by_one(bytes, width, base, out);
    }
    let step = width as usize;
    let (groups, last) = out.as_chunks_mut::<GROUP>();
    // Groups whose windows do not run over the end.
    let inner = if bytes.len() < WINDOW { 0 } else { ((bytes.len() - WINDOW) / step + 1).min(groups.len()) };
    let (inner, outer) = groups.split_at_mut(inner);
    let mut rest = bytes;
    for group in inner {
        if let Some(window) = rest.first_chunk::<WINDOW>() {
            take(window, group);
        }
        rest = &rest[step..];
    }
    if outer.is_empty() && last.is_empty() {
        return;
    }
    // Less than a window is left; nought behind it.
    let mut end = [0; 2 * WINDOW];
    end[..rest.len()].copy_from_slice(rest);
    let mut rest = &end[..];
    for group in outer {
        if let Some(window) = rest.first_chunk::<WINDOW>() {
            take(window, group);
        }
        rest = &rest[step..];
    }
    if let (Some(window), false) = (rest.first_chunk::<WINDOW>(), last.is_empty()) {
        let mut group = [0; GROUP];
        take(window, &mut group);
        last.copy_from_slice(&group[..last.len()]);
    }
}

/// Takes a group of values of at most [`GROUPED_WIDTH_MAX`] bits from the front of `window`.
#[inline(always)]
fn take_group(window: &[u8; WINDOW], width: u32, base: u64, out: &mut [u64; GROUP]) {
    let mask = mask(width);
    for (i, slot) in out.iter_mut().enumerate() {
        let bit = i * width as usize;
        let word = window[(bit / 8).min(WINDOW - 8)..].first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        *slot = ((word >> (bit % 8)) & mask).wrapping_add(base);
    }
}

fn unpack_one_by_one(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) {
    let mut bit = 0;
    for slot in out {
        *slot = (from_bit(bytes, bit) & mask(width)).wrapping_add(base);
        bit += width as usize;
    }
}

/// The 64 bits from `bit` on, as far as there are any.
fn from_bit(bytes: &[u8], bit: usize) -> u64 {
    let mut word = [0; 16];
    let rest = bytes.get(bit / 8..).unwrap_or_default();
    let n = rest.len().min(9);
    word[..n].copy_from_slice(&rest[..n]);
    (u128::from_le_bytes(word) >> (bit % 8)) as u64
}
