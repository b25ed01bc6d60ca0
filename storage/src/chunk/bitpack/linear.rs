//! Values one behind the other, least significant bit first.

use super::mask;

/// `out` holds `packed_len` zeros.
pub(super) fn pack(values: &[u64], width: u32, out: &mut [u8]) {
    let mask = mask(width);
    let mut at = 0;
    let mut open = 0u128;
    let mut filled = 0;
    for value in values {
        open |= u128::from(value & mask) << filled;
        filled += width;
        if filled >= 64 {
            out[at..at + 8].copy_from_slice(&(open as u64).to_le_bytes());
            at += 8;
            open >>= 64;
            filled -= 64;
        }
    }
    let rest = filled.div_ceil(8) as usize;
    out[at..at + rest].copy_from_slice(&(open as u64).to_le_bytes()[..rest]);
}

/// `bytes` holds `packed_len` bytes, 1 <= `width` <= 64.
#[inline]
pub(super) fn unpack<T: Copy>(bytes: &[u8], width: u32, out: &mut [T], f: impl Fn(u64) -> T) {
    let mask = mask(width);
    if width > 56 {
        return unpack_wide(bytes, width, out, f);
    }
    // Values whose 8 bytes can be loaded without running over the end.
    let whole = bytes.len().saturating_sub(7) * 8 / width as usize;
    let (inner, tail) = out.split_at_mut(whole.min(out.len()));
    let mut bit = 0usize;
    for slot in inner.iter_mut() {
        let at = bit / 8;
        let word = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        *slot = f((word >> (bit % 8)) & mask);
        bit += width as usize;
    }
    for slot in tail {
        let mut word = [0; 8];
        let rest = &bytes[bit / 8..];
        let n = rest.len().min(8);
        word[..n].copy_from_slice(&rest[..n]);
        *slot = f((u64::from_le_bytes(word) >> (bit % 8)) & mask);
        bit += width as usize;
    }
}

/// More than 56 bits at any bit offset span up to nine bytes.
fn unpack_wide<T: Copy>(bytes: &[u8], width: u32, out: &mut [T], f: impl Fn(u64) -> T) {
    let mask = mask(width);
    let mut bit = 0usize;
    for slot in out {
        let mut word = [0; 16];
        let rest = &bytes[bit / 8..];
        let n = rest.len().min(9);
        word[..n].copy_from_slice(&rest[..n]);
        *slot = f((u128::from_le_bytes(word) >> (bit % 8)) as u64 & mask);
        bit += width as usize;
    }
}
