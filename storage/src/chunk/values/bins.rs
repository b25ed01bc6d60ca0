//! What the pages of a cold column share, in half of the bytes that pco takes to write it.
//!
//! Byte layout: docs/format/chunk.md, "Bins". pco writes the least number of each bin whole, how wide it is, and its
//! odds. Bins ascend and nearly touch, neighbours are about as wide, and the odds have a known sum: what follows from
//! the bin before is left out. A column of a chunk of a few thousand values has a dozen or two of them.

/// The format of pco that is written here, which stands in front of its bins.
const PCO_FORMAT: [u8; 2] = [4, 1];

const MODE_BITS: u32 = 4;
const DELTA_BITS: u32 = 4;
const ORDER_BITS: u32 = 3;
const ODDS_LOG_BITS: u32 = 4;
const PCO_COUNT_BITS: u32 = 15;
const COUNT_BITS: u32 = 8;
/// A width as it is told where it is neither that of the bin before nor next to it.
const WIDTH_OTHER: u64 = 3;

/// One bin, as pco writes it.
#[derive(Clone, Copy, Default)]
struct Bin {
    odds: u64,
    least: u64,
    width: u64,
}

/// All that the pages share.
struct Shared {
    /// Of differences; 0: none are taken.
    order: u64,
    odds_log: u64,
    bins: Vec<Bin>,
}

/// Rewrites what pco wrote of numbers of `bits` (16 or 32); `None` if it says more than this can.
pub(super) fn pack(pco: &[u8], bits: u32) -> Option<Vec<u8>> {
    let packed = Shared::read_pco(pco, bits)?.write_packed(bits);
    let (back, len) = unpack(&packed, bits)?;
    (back == pco && len == packed.len()).then_some(packed)
}

/// What pco wrote, out of what [`pack`] made of it, and the length of that.
pub(super) fn unpack(packed: &[u8], bits: u32) -> Option<(Vec<u8>, usize)> {
    let mut reader = BitReader { bytes: packed, at: 0 };
    let shared = Shared::read_packed(&mut reader, bits)?;
    Some((shared.write_pco(bits), reader.at.div_ceil(8)))
}

impl Shared {
    fn read_pco(pco: &[u8], bits: u32) -> Option<Self> {
        let mut reader = BitReader { bytes: pco.strip_prefix(&PCO_FORMAT)?, at: 0 };
        let (mode, delta) = (reader.take(MODE_BITS)?, reader.take(DELTA_BITS)?);
        let order = if delta == 0 { 0 } else { reader.take(ORDER_BITS)? };
        // One kind of numbers, as they are or as differences; the bit behind the order is of a second kind.
        if mode != 0 || delta > 1 || (delta == 1 && (order == 0 || reader.take(1)? != 0)) {
            return None;
        }
        let odds_log = reader.take(ODDS_LOG_BITS)?;
        let count = reader.take(PCO_COUNT_BITS)?;
        if !(1..=1 << COUNT_BITS).contains(&count) {
            return None;
        }
        let bin = |_| {
            let odds = reader.take(odds_log as u32)? + 1;
            Some(Bin { odds, least: reader.take(bits)?, width: reader.take(width_bits(bits))? })
        };
        let bins = (0..count).map(bin).collect::<Option<_>>()?;
        Some(Self { order, odds_log, bins })
    }

    fn write_pco(&self, bits: u32) -> Vec<u8> {
        let mut writer = BitWriter { bytes: PCO_FORMAT.to_vec(), room: 0 };
        writer.put(0, MODE_BITS);
        writer.put(u64::from(self.order > 0), DELTA_BITS);
        if self.order > 0 {
            writer.put(self.order, ORDER_BITS);
            writer.put(0, 1);
        }
        writer.put(self.odds_log, ODDS_LOG_BITS);
        writer.put(self.bins.len() as u64, PCO_COUNT_BITS);
        for bin in &self.bins {
            writer.put(bin.odds - 1, self.odds_log as u32);
            writer.put(bin.least, bits);
            writer.put(bin.width, width_bits(bits));
        }
        writer.bytes
    }

    fn write_packed(&self, bits: u32) -> Vec<u8> {
        let mut writer = BitWriter { bytes: Vec::new(), room: 0 };
        writer.put(self.order, ORDER_BITS);
        writer.put(self.odds_log, ODDS_LOG_BITS);
        writer.put(self.bins.len() as u64 - 1, COUNT_BITS);
        let mut odds = Odds::new(self.odds_log, self.bins.len());
        let mut before: Option<Bin> = None;
        for bin in &self.bins {
            // Odds that do not fit are cut here, and found out when it is read again.
            writer.put((bin.odds - 1) & mask(odds.bits()), odds.bits());
            odds.take(bin.odds);
            match before {
                Some(before) => before.write_next(*bin, bits, &mut writer),
                None => {
                    writer.put(bin.width, width_bits(bits));
                    writer.put(bin.least, bits);
                }
            }
            before = Some(*bin);
        }
        writer.bytes
    }

    fn read_packed(reader: &mut BitReader<'_>, bits: u32) -> Option<Self> {
        let order = reader.take(ORDER_BITS)?;
        let odds_log = reader.take(ODDS_LOG_BITS)?;
        let count = reader.take(COUNT_BITS)? as usize + 1;
        let mut odds = Odds::new(odds_log, count);
        let mut bins: Vec<Bin> = Vec::with_capacity(count);
        for _ in 0..count {
            let of_bin = reader.take(odds.bits())? + 1;
            odds.take(of_bin);
            let (width, least) = match bins.last() {
                Some(before) => before.read_next(bits, reader)?,
                None => (reader.take(width_bits(bits))?, reader.take(bits)?),
            };
            bins.push(Bin { odds: of_bin, least, width });
        }
        Some(Self { order, odds_log, bins })
    }
}

impl Bin {
    /// Width and least number of the bin behind this one.
    fn write_next(&self, next: Bin, bits: u32, writer: &mut BitWriter) {
        let change = next.width.wrapping_sub(self.width).wrapping_add(1);
        writer.put(change.min(WIDTH_OTHER), 2);
        if change >= WIDTH_OTHER {
            writer.put(next.width, width_bits(bits));
        }
        let step = next.least.wrapping_sub(self.least).wrapping_sub(self.reach());
        let step_bits = self.step_bits(bits);
        let near = step & !mask(step_bits) == 0;
        writer.put(u64::from(!near), 1);
        if near { writer.put(step, step_bits) } else { writer.put(next.least, bits) }
    }

    fn read_next(&self, bits: u32, reader: &mut BitReader<'_>) -> Option<(u64, u64)> {
        let change = reader.take(2)?;
        let width = match change {
            WIDTH_OTHER => reader.take(width_bits(bits))?,
            _ => (self.width + change).wrapping_sub(1) & mask(width_bits(bits)),
        };
        let least = match reader.take(1)? {
            0 => self.least.wrapping_add(self.reach()).wrapping_add(reader.take(self.step_bits(bits))?) & mask(bits),
            _ => reader.take(bits)?,
        };
        Some((width, least))
    }

    /// The next bin starts at least so far behind the start of this one: offsets in it take `width` bits, not one less.
    fn reach(&self) -> u64 {
        1 + (1 << self.width.min(40) >> 1)
    }

    /// Bits of what is more than that.
    fn step_bits(&self, bits: u32) -> u32 {
        (self.width as u32).min(bits)
    }
}

/// What is left of the odds, which add up to a power of two, and of which each bin has one at least.
struct Odds {
    left: u64,
    bins: u64,
}

impl Odds {
    fn new(log: u64, bins: usize) -> Self {
        Self { left: 1 << log, bins: bins as u64 }
    }

    /// Bits of the odds of the next bin, less one. The last has what is left, and needs none if that is one.
    fn bits(&self) -> u32 {
        u64::BITS - self.left.saturating_sub(self.bins).leading_zeros()
    }

    fn take(&mut self, odds: u64) {
        self.left = self.left.saturating_sub(odds);
        self.bins -= 1;
    }
}

/// Bits in which pco writes how wide a bin is.
fn width_bits(bits: u32) -> u32 {
    u32::BITS - bits.leading_zeros()
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Bits, the lowest first, as pco writes them.
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are free in the last byte.
    room: u32,
}

impl BitWriter {
    fn put(&mut self, value: u64, bits: u32) {
        for i in 0..bits {
            if self.room == 0 {
                self.bytes.push(0);
                self.room = 8;
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> i & 1) as u8) << (8 - self.room);
            self.room -= 1;
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl BitReader<'_> {
    /// At most 56 bits; `None` if there are not so many.
    fn take(&mut self, bits: u32) -> Option<u64> {
        let end = self.at + bits as usize;
        if end > self.bytes.len() * 8 {
            return None;
        }
        let start = self.at / 8;
        let mut word = [0; 8];
        let len = (self.bytes.len() - start).min(8);
        word[..len].copy_from_slice(&self.bytes[start..start + len]);
        let value = u64::from_le_bytes(word) >> (self.at % 8) & mask(bits);
        self.at = end;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use pco::ChunkConfig;
    use pco::wrapped::FileCompressor;
    use proptest::prelude::*;

    use super::*;

    fn shared<T: pco::data_types::Number>(numbers: &[T], level: usize) -> Vec<u8> {
        let file = FileCompressor::default();
        let chunk = file.chunk_compressor(numbers, &ChunkConfig::default().with_compression_level(level)).unwrap();
        let mut bytes = Vec::new();
        file.write_header(&mut bytes).unwrap();
        chunk.write_meta(&mut bytes).unwrap();
        bytes
    }

    /// A walk whose steps come from several distributions.
    fn walk(seed: u64, count: usize, reach: u64) -> impl Iterator<Item = u64> {
        let mut noise = seed | 1;
        let mut level = 1u64 << 14;
        (0..count).map(move |_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let step = |at: u32| noise >> at & ((1 << reach) - 1);
            level = level.wrapping_add(step(3) + step(20) + step(40) + 3).wrapping_sub(3 << (reach - 1));
            level
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn what_pages_share_comes_back_to_the_byte(
            seed in any::<u64>(), count in 1usize..4097, reach in 1u64..12, level in 0usize..13, shape in 0u8..3,
        ) {
            let numbers: Vec<u64> = match shape {
                0 => walk(seed, count, reach).collect(),
                1 => (0..count as u64).map(|i| i.wrapping_mul(seed) % (1 << reach)).collect(),
                _ => walk(seed, count, reach).map(|n| n % 40 * 1000).collect(),
            };
            let narrow = shared(&numbers.iter().map(|n| *n as u16).collect::<Vec<_>>(), level);
            let wide = shared(&numbers.iter().map(|n| *n as u32).collect::<Vec<_>>(), level);
            for (bytes, bits) in [(narrow, 16), (wide, 32)] {
                let Some(mut packed) = pack(&bytes, bits) else { continue };
                let len = packed.len();
                packed.extend_from_slice(&[0xa5; 3]);
                prop_assert_eq!(unpack(&packed, bits), Some((bytes, len)));
            }
        }

        #[test]
        fn any_bytes_unpack_to_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for bits in [16, 32] {
                if let Some((pco, len)) = unpack(&bytes, bits) {
                    prop_assert!(len <= bytes.len() && pco.len() < 2 + 5 + (1 << COUNT_BITS) * 8);
                }
                let _ = pack(&bytes, bits);
            }
        }
    }

    #[test]
    fn the_bins_of_a_walk_take_less_than_two_thirds_of_what_pco_takes() {
        let bytes = shared(&walk(7, 2500, 7).map(|n| n as u16).collect::<Vec<_>>(), 8);
        let packed = pack(&bytes, 16).expect("one kind of numbers, differences of one order");
        assert!(bytes.len() > 25 && packed.len() * 3 < bytes.len() * 2, "{} of {}", packed.len(), bytes.len());
    }
}
