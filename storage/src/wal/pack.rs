//! Bit packing: `n` numbers of `width` bits, the first in the lowest bits, no gaps.

use super::format::GROUP_SAMPLES_MAX;

/// Numbers packed in one go.
const BLOCK: usize = 64;

/// Bits needed for the numbers up to `max`.
pub(super) fn width_for(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// Bytes that `n` numbers of `width` bits take.
pub(super) fn packed_len(n: usize, width: u32) -> usize {
    (n * width as usize).div_ceil(8)
}

/// Room for one column of a group, used again and again.
#[derive(Debug)]
pub(super) struct Packer {
    words: Box<[u64; GROUP_SAMPLES_MAX]>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self { words: Box::new([0; GROUP_SAMPLES_MAX]) }
    }

    /// Appends `numbers - base`, each below `1 << width`, to `out`.
    pub(super) fn pack(&mut self, numbers: &[u64], base: u64, width: u32, out: &mut Vec<u8>) {
        debug_assert!(numbers.len() <= GROUP_SAMPLES_MAX && width <= 64);
        if width == 0 {
            return;
        }
        let kernel = KERNELS[width as usize];
        let (blocks, rest) = numbers.as_chunks::<BLOCK>();
        let mut at = 0;
        for block in blocks {
            kernel(block, base, &mut self.words[at..]);
            at += width as usize;
        }
        if !rest.is_empty() {
            let mut block = [base; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            kernel(&block, base, &mut self.words[at..]);
        }
        out.extend_from_slice(&bytemuck::cast_slice(&self.words[..])[..packed_len(numbers.len(), width)]);
    }
}

/// Packs one block into the first `W` words of `out`. Everything but the numbers is
/// constant, so this compiles to shifts, ors and `W` stores.
fn pack_block<const W: usize>(numbers: &[u64; BLOCK], base: u64, out: &mut [u64]) {
    let out: &mut [u64; W] = out.first_chunk_mut().expect("the words of a block fit");
    let mut word = 0u64;
    macro_rules! step {
        ($($i:literal)*) => {$(
            let number = numbers[$i].wrapping_sub(base);
            let shift = ($i * W) % 64;
            word |= number << shift;
            if shift + W >= 64 {
                out[$i * W / 64] = word;
                word = if shift + W > 64 { number >> ((64 - shift) % 64) } else { 0 };
            }
        )*};
    }
    step!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    step!(32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
    debug_assert_eq!(word, 0, "64 numbers end with a whole word");
}

type Kernel = fn(&[u64; BLOCK], u64, &mut [u64]);

macro_rules! kernels {
    ($($w:literal)*) => { [$(pack_block::<$w>),*] };
}

/// One for each width; the first is never called.
static KERNELS: [Kernel; 65] = kernels!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
    29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);

/// Calls `each` with every number of a packed column; `bytes` must be just as long as
/// [`packed_len`] says.
pub(super) fn unpack(bytes: &[u8], n: usize, width: u32, mut each: impl FnMut(usize, u64)) {
    debug_assert_eq!(bytes.len(), packed_len(n, width));
    let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
    let width = width as usize;
    // Up to 57 bits lie in the eight bytes from the one they begin in.
    let simple = if width <= 57 && bytes.len() >= 8 { ((bytes.len() - 8) * 8 / width.max(1) + 1).min(n) } else { 0 };
    for i in 0..simple {
        let bit = i * width;
        let chunk: &[u8; 8] = bytes[bit / 8..].first_chunk().expect("eight bytes from here, by `simple`");
        each(i, (u64::from_le_bytes(*chunk) >> (bit % 8)) & mask);
    }
    for i in simple..n {
        let bit = i * width;
        let from = (bit / 8).min(bytes.len());
        let tail = &bytes[from..bytes.len().min(from + 9)];
        let mut wide = [0u8; 16];
        wide[..tail.len()].copy_from_slice(tail);
        each(i, (u128::from_le_bytes(wide) >> (bit % 8)) as u64 & mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit.
    fn naive(numbers: &[u64], base: u64, width: u32) -> Vec<u8> {
        let mut out = vec![0u8; packed_len(numbers.len(), width)];
        for (i, number) in numbers.iter().enumerate() {
            for b in 0..width as usize {
                let at = i * width as usize + b;
                out[at / 8] |= ((number.wrapping_sub(base) >> b & 1) as u8) << (at % 8);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn packing_equals_the_naive_twin_and_comes_back(
            width in 0u32..=64, base: u64, raw in prop::collection::vec(any::<u64>(), 0..300)
        ) {
            let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
            let numbers: Vec<u64> = raw.iter().map(|r| (r & mask).wrapping_add(base)).collect();
            let mut out = Vec::new();
            Packer::new().pack(&numbers, base, width, &mut out);
            prop_assert_eq!(&out, &naive(&numbers, base, width));
            let mut back = Vec::new();
            unpack(&out, numbers.len(), width, |i, v| { assert_eq!(i, back.len()); back.push(v.wrapping_add(base)); });
            prop_assert_eq!(back, numbers);
        }
    }

    #[test]
    fn widths_are_just_enough() {
        assert_eq!([0, 1, 2, 255, 256, u64::MAX].map(width_for), [0, 1, 2, 8, 9, 64]);
    }
}
