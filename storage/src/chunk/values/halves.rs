//! Doubles that are no decimals: sign, exponent and the first bits of the mantissa by a dictionary, the rest as it is.
//!
//! Byte layout: docs/format/chunk.md, "Halves". Measured values spread over a few
//! magnitudes: their front bits take few forms, their last bits any.

use crate::chunk::ChunkError;
use crate::chunk::bitpack;
use crate::chunk::cursor::Cursor;
use crate::chunk::format::VECTOR_SAMPLES;

/// Front bits of the finest cut: sign, exponent, four of the mantissa.
const FRONT_BITS: u32 = 16;

/// Bits of a number in the dictionary, at most.
const CODE_BITS_MAX: u32 = 6;

/// Front halves looked at to find the dictionary.
const SAMPLE: usize = 256;

/// Where doubles are cut, and the front halves that are known by number.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// Bits behind the cut.
    cut: u32,
    /// Common zeros at the end of all values, which are not stored.
    zeros: u32,
    fronts: Vec<u16>,
    pub(super) exceptions: Vec<u16>,
    counts: Vec<(u32, u16)>,
    codes: Vec<u64>,
}

impl Halves {
    /// Finds where to cut `values`, whose bits all end in `zeros` zeros. Answers the bytes it will probably take.
    pub(super) fn find(&mut self, values: &[f64], zeros: u32) -> usize {
        let step = values.len().div_ceil(SAMPLE);
        let mut finest = [0u16; SAMPLE];
        let sampled = values.len().div_ceil(step);
        for (slot, value) in finest.iter_mut().zip(values.iter().step_by(step)) {
            *slot = (value.to_bits() >> (64 - FRONT_BITS)) as u16;
        }
        let finest = &mut finest[..sampled];
        finest.sort_unstable();
        let mut best = usize::MAX;
        for front_bits in (1..=FRONT_BITS).rev() {
            let cut = 64 - front_bits;
            if cut <= zeros {
                continue;
            }
            self.counts.clear();
            for front in finest.iter().map(|front| front >> (FRONT_BITS - front_bits)) {
                match self.counts.last_mut() {
                    Some((count, last)) if *last == front => *count += 1,
                    _ => self.counts.push((1, front)),
                }
            }
            self.counts.sort_unstable_by_key(|(count, front)| (std::cmp::Reverse(*count), *front));
            for code_bits in 0..=CODE_BITS_MAX {
                let known = self.counts.len().min(1 << code_bits);
                let missed: u32 = self.counts[known..].iter().map(|(count, _)| count).sum();
                let bits = (cut - zeros + code_bits) as usize * sampled + missed as usize * 74;
                let bytes = (bits * values.len() / sampled).div_ceil(8) + 2 * known;
                if bytes < best {
                    best = bytes;
                    (self.cut, self.zeros) = (cut, zeros);
                    self.fronts.clear();
                    self.fronts.extend(self.counts[..known].iter().map(|(_, front)| front));
                }
                if missed == 0 {
                    break;
                }
            }
        }
        best + 4
    }

    /// Appends cut, zeros, dictionary, numbers and rests, and notes the exceptions.
    pub(super) fn write(&mut self, values: &[f64], out: &mut Vec<u8>) {
        out.push(self.cut as u8);
        out.push(self.zeros as u8);
        out.push(self.fronts.len() as u8);
        self.fronts.iter().for_each(|front| out.extend_from_slice(&front.to_le_bytes()));
        self.exceptions.clear();
        self.codes.clear();
        for (i, value) in values.iter().enumerate() {
            let front = (value.to_bits() >> self.cut) as u16;
            let code = self.fronts.iter().position(|known| *known == front).unwrap_or_else(|| {
                self.exceptions.push(i as u16);
                0
            });
            self.codes.push(code as u64);
        }
        bitpack::pack(&self.codes, code_bits(self.fronts.len()), out);
        self.codes.clear();
        self.codes.extend(values.iter().map(|value| value.to_bits() >> self.zeros));
        bitpack::pack(&self.codes, self.cut - self.zeros, out);
    }
}

/// Bits of the number of one of `fronts` front halves.
fn code_bits(fronts: usize) -> u32 {
    bitpack::width_of(fronts as u64 - 1)
}

/// Decodes what [`Halves::write`] appended, exceptions aside.
pub(super) fn decode(
    cursor: &mut Cursor<'_>,
    out: &mut [u64],
    rests: &mut [u64; VECTOR_SAMPLES],
) -> Result<(), ChunkError> {
    let (cut, zeros) = (u32::from(cursor.u8("cut")?), u32::from(cursor.u8("low zeros")?));
    let count = usize::from(cursor.u8("count of front halves")?);
    if cut >= 64 || zeros >= cut || cut < 64 - FRONT_BITS || count == 0 || count > 1 << CODE_BITS_MAX {
        return Err(ChunkError::damaged("cut of doubles"));
    }
    let mut fronts = [0u64; 1 << CODE_BITS_MAX];
    let listed = cursor.take(count * 2, "front halves")?.as_chunks::<2>().0;
    for (slot, front) in fronts.iter_mut().zip(listed) {
        *slot = u64::from(u16::from_le_bytes(*front)) << cut;
    }
    let width = code_bits(count);
    let codes = cursor.take(bitpack::packed_len(out.len(), width), "numbers of front halves")?;
    let packed = cursor.take(bitpack::packed_len(out.len(), cut - zeros), "rests of doubles")?;
    let rests = &mut rests[..out.len()];
    bitpack::unpack(packed, cut - zeros, 0, rests)?;
    bitpack::unpack(codes, width, 0, out)?;
    let known = fronts.len();
    out.iter_mut().zip(rests).for_each(|(word, rest)| *word = fronts[*word as usize % known] | *rest << zeros);
    Ok(())
}
