//! Values one behind the other, least significant bit first.

use super::mask;

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
pub(super) fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) {
    let mask = mask(width);
    // Values whose 8 bytes can be loaded without running over the end; wider ones span up to nine bytes.
    let whole = if width > 56 { 0 } else { bytes.len().saturating_sub(7) * 8 / width as usize };
    let (inner, tail) = out.split_at_mut(whole.min(out.len()));
    let mut bit = 0usize;
    for slot in inner.iter_mut() {
        let at = bit / 8;
        let word = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        *slot = ((word >> (bit % 8)) & mask).wrapping_add(base);
        bit += width as usize;
    }
    for slot in tail {
        *slot = (near_end(bytes, bit) & mask).wrapping_add(base);
        bit += width as usize;
    }
}

/// Value `i` alone. What lies behind the end of `bytes` is zeros. `width` is at most 64.
#[inline(always)]
pub(super) fn get(bytes: &[u8], width: u32, i: usize) -> u64 {
    let bit = i * width as usize;
    if width <= 56
        && let Some(word) = bytes.get(bit / 8..bit / 8 + 8)
    {
        return (u64::from_le_bytes(word.try_into().unwrap_or_default()) >> (bit % 8)) & mask(width);
    }
    near_end(bytes, bit) & mask(width)
}

/// The 64 bits from `bit` on, as far as there are any.
fn near_end(bytes: &[u8], bit: usize) -> u64 {
    let mut word = [0; 16];
    let rest = bytes.get(bit / 8..).unwrap_or_default();
    let n = rest.len().min(9);
    word[..n].copy_from_slice(&rest[..n]);
    (u128::from_le_bytes(word) >> (bit % 8)) as u64
}
