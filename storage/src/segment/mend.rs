//! Which bit was turned over, as its checksum tells.
//!
//! CRC32C is linear: what a checksum is off by (stored, exclusive-or computed: the *syndrome*) depends on the bits that
//! were turned over alone. Its polynomial is x + 1 times a primitive one of degree 31 (Castagnoli, Bräuer and Herrmann,
//! "Optimization of Cyclic Redundancy-Check Codes with 24 and 32 Parity Bits", 1993), so up to 2³¹ − 1 bits, the
//! checksum's own among them, no fewer than four flipped bits go unseen (Koopman's tables: distance 4 up to 2,147,483,615
//! bits of data). Therefore each single bit has a syndrome of its own, and no two bits have the syndrome of one. Three
//! bits, or any other damage, may: of all syndromes as many look like one bit as there are bits. So what is put right
//! here must hold everything else that is checked as well.

/// CRC32C, its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// So many bytes and their checksum are 2³¹ − 1 bits at most.
const BYTES_MAX: usize = ((1 << 31) - 1 - 32) / 8;

/// A bit that was turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OneBit {
    /// In the bytes: bit `bit` (0: the lowest) of byte `at`.
    Bytes { at: usize, bit: u8 },
    /// In the stored checksum.
    Checksum { bit: u8 },
}

/// The one bit that makes `bytes` and their checksum `stored` agree once it is turned over again; `None` if they agree as
/// they are, or no single bit does. O(bytes), some twenty times what the checksum takes.
pub(super) fn one_bit(bytes: &[u8], stored: u32) -> Option<OneBit> {
    let syndrome = stored ^ crc32c::crc32c(bytes);
    if syndrome.is_power_of_two() {
        return Some(OneBit::Checksum { bit: syndrome.trailing_zeros() as u8 });
    }
    if syndrome == 0 || bytes.len() > BYTES_MAX {
        return None;
    }
    // What the last bit changes in the checksum; a bit before it changes what it does, one step of the register later.
    let mut changed = POLYNOMIAL;
    for at in (0..bytes.len()).rev() {
        for bit in (0..8).rev() {
            if changed == syndrome {
                return Some(OneBit::Bytes { at, bit });
            }
            changed = (changed >> 1) ^ if changed & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive twin: each bit is turned over and tried.
    fn by_trying(bytes: &[u8], stored: u32) -> Vec<OneBit> {
        let mut found = Vec::new();
        let mut tried = bytes.to_vec();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                tried[at] ^= 1 << bit;
                if crc32c::crc32c(&tried) == stored {
                    found.push(OneBit::Bytes { at, bit });
                }
                tried[at] ^= 1 << bit;
            }
        }
        let computed = crc32c::crc32c(bytes);
        found.extend((0..32).filter(|bit| computed ^ 1 << bit == stored).map(|bit| OneBit::Checksum { bit }));
        found
    }

    proptest! {
        #[test]
        fn it_finds_what_trying_each_bit_finds(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            garbled in prop::option::weighted(0.1, any::<u32>()),
        ) {
            let mut stored = crc32c::crc32c(&bytes);
            let bits = bytes.len() * 8 + 32;
            let flips: std::collections::BTreeSet<usize> = flips.iter().map(|index| index.index(bits)).collect();
            for &flip in &flips {
                match flip.checked_sub(32) {
                    Some(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
                    None => stored ^= 1 << flip,
                }
            }
            stored = garbled.unwrap_or(stored);
            let (fast, naive) = (one_bit(&bytes, stored), by_trying(&bytes, stored));
            prop_assert_eq!(fast.as_slice(), &naive[..]);
            if garbled.is_none() {
                prop_assert_eq!(fast.is_some(), flips.len() == 1, "two or three bits of so few bytes are none");
            }
        }
    }

    /// The longest column and the last block of an index are told as the shortest are.
    #[test]
    fn each_bit_of_a_long_block_is_told() {
        let mut bytes: Vec<u8> = (0..65_535u32).map(|i| ((i * i) >> 7) as u8).collect();
        let stored = crc32c::crc32c(&bytes);
        for at in (0..bytes.len()).step_by(4_111).chain([bytes.len() - 1]) {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_eq!(one_bit(&bytes, stored), Some(OneBit::Bytes { at, bit }));
                bytes[at] ^= 1 << bit;
            }
        }
        assert_eq!(one_bit(&bytes, stored), None, "nothing is wrong");
    }

    /// Polynomials over one bit, modulo CRC32C's; the lowest power is the highest bit.
    fn times(mut a: u32, b: u32) -> u32 {
        let mut product = 0;
        for power in (0..32).rev() {
            if b >> power & 1 == 1 {
                product ^= a;
            }
            a = (a >> 1) ^ if a & 1 == 1 { POLYNOMIAL } else { 0 };
        }
        product
    }

    /// What the text above says of the polynomial, proved: with x + 1 it divides nothing of an odd number of terms, and
    /// the least n with xⁿ = 1 is 2³¹ − 1 (a prime: it is that or 1), so it divides no two terms that lie closer.
    #[test]
    fn fewer_than_four_flipped_bits_never_go_unseen() {
        assert_eq!((POLYNOMIAL.count_ones() + 1) % 2, 0, "x + 1 divides it");
        let (one, x) = (1u32 << 31, 1u32 << 30);
        let (mut power, mut square) = (one, x);
        for _ in 0..31 {
            power = times(power, square);
            square = times(square, square);
        }
        assert_ne!(x, one);
        assert_eq!(power, one, "x to the power of 2^31 - 1");
        const { assert!(BYTES_MAX * 8 + 32 < 1 << 31) };
    }
}
