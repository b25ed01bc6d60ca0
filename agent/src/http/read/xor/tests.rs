use proptest::prelude::*;

use super::*;

/// A reader of its own, bit by bit, as the format's description says.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bit(&mut self) -> u64 {
        let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
        self.at += 1;
        u64::from(bit)
    }

    fn bits(&mut self, width: u32) -> u64 {
        (0..width).fold(0, |value, _| value << 1 | self.bit())
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn change_of_delta(&mut self) -> i64 {
        let ones = (0..4).take_while(|_| self.bit() == 1).count();
        let width = [0, 14, 17, 20, 64][ones];
        let raw = self.bits(width);
        if width == 0 || width == 64 || raw <= 1 << (width - 1) { raw as i64 } else { raw as i64 - (1 << width) }
    }
}

fn read(bytes: &[u8]) -> Vec<(i64, u64)> {
    let count = u16::from_be_bytes([bytes[0], bytes[1]]);
    let mut reader = Reader { bytes, at: 16 };
    let (mut out, mut at, mut delta, mut value, mut window) = (Vec::new(), 0i64, 0i64, 0u64, (0, 0));
    for i in 0..count {
        match i {
            0 => {
                let zigzag = reader.varint();
                at = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                value = reader.bits(64);
                out.push((at, value));
                continue;
            }
            1 => delta = reader.varint() as i64,
            _ => delta = delta.wrapping_add(reader.change_of_delta()),
        }
        at = at.wrapping_add(delta);
        if reader.bit() == 1 {
            if reader.bit() == 1 {
                let before = reader.bits(5) as u32;
                let width = match reader.bits(6) as u32 {
                    0 => 64,
                    width => width,
                };
                window = (width, 64 - before - width);
            }
            value ^= reader.bits(window.0) << window.1;
        }
        out.push((at, value));
    }
    assert!(reader.at.div_ceil(8) == bytes.len(), "nothing is left over");
    out
}

fn write(samples: &[(i64, u64)]) -> XorChunk {
    let mut chunk = XorChunk::default();
    samples.iter().for_each(|&(at, bits)| chunk.push(at, f64::from_bits(bits)));
    chunk
}

#[test]
fn the_bytes_are_those_that_prometheus_writes() {
    // 1 at 0 ms, 2 at 15 s, 2 at 30 s: worked out by hand from the description.
    let chunk = write(&[(0, 1f64.to_bits()), (15_000, 2f64.to_bits()), (30_000, 2f64.to_bits())]);
    let expected = [
        0, 3, // three samples
        0, // at 0
        0x3f, 0xf0, 0, 0, 0, 0, 0, 0, // 1.0
        0x98, 0x75, // 15,000 later
        // 1.0 ^ 2.0 = 0x7ff << 52: changed, a window of 1 zero before and 11 bits, those bits; then 0, 0.
        0xc2, 0x5f, 0xff, 0,
    ];
    assert_eq!(chunk.bytes(), expected);
    assert_eq!(chunk.time_range(), Some((0, 30_000)));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        first in -1_000_000_000_000i64..4_000_000_000_000,
        steps in prop::collection::vec(
            (prop_oneof![Just(15_000i64), 1i64..100, 1i64..100_000, 1i64..4_000_000_000_000],
             prop_oneof![any::<u64>(), Just(0u64), (0u32..1000).prop_map(|n| f64::from(n).to_bits())]),
            0..200,
        ),
    ) {
        let mut at = first;
        let samples: Vec<(i64, u64)> = steps.iter().map(|&(step, bits)| { at += step; (at, bits) }).collect();
        let mut chunk = write(&samples);
        prop_assert_eq!(read(chunk.bytes()), samples);
        chunk.clear();
        prop_assert_eq!((chunk.bytes(), chunk.time_range()), (&[0u8, 0][..], None));
    }
}
