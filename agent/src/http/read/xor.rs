//! Prometheus' XOR chunk: timestamps as differences of differences, values as what
//! changed of their bits. Layout: a big-endian count of samples, then a stream of bits.
//!
//! <https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md>

/// A chunk being written. Timestamps are milliseconds and ascend.
#[derive(Debug)]
pub(super) struct XorChunk {
    bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
    count: u16,
    first: i64,
    last: i64,
    delta: i64,
    value: u64,
    /// How many zeros stand before and behind the bits that changed, as last written out.
    window: Option<(u32, u32)>,
}

impl Default for XorChunk {
    fn default() -> Self {
        Self { bytes: vec![0; 2], free: 0, count: 0, first: 0, last: 0, delta: 0, value: 0, window: None }
    }
}

impl XorChunk {
    pub(super) fn len(&self) -> u16 {
        self.count
    }

    /// The chunk's bytes, complete at any time.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// First and last timestamp; `None` if there is no sample.
    pub(super) fn time_range(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.first, self.last))
    }

    /// Forgets the samples, keeps the memory.
    pub(super) fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.extend_from_slice(&[0, 0]);
        *self = Self { bytes, ..Self::default() };
    }

    /// Appends a sample. At most `u16::MAX` of them.
    pub(super) fn push(&mut self, at: i64, value: f64) {
        let bits = value.to_bits();
        let delta = at.wrapping_sub(self.last);
        match self.count {
            0 => {
                self.first = at;
                self.varint((at << 1 ^ at >> 63) as u64);
                self.bits(bits, 64);
            }
            1 => {
                self.varint(delta as u64);
                self.value_bits(bits);
                self.delta = delta;
            }
            _ => {
                self.change_of_delta(delta.wrapping_sub(self.delta));
                self.value_bits(bits);
                self.delta = delta;
            }
        }
        (self.last, self.value) = (at, bits);
        self.count += 1;
        self.bytes[..2].copy_from_slice(&self.count.to_be_bytes());
    }

    fn change_of_delta(&mut self, change: i64) {
        let fits = |width: u32| (-((1 << (width - 1)) - 1)..=1 << (width - 1)).contains(&change);
        match change {
            0 => self.bits(0, 1),
            _ if fits(14) => {
                self.bits(0b10, 2);
                self.bits(change as u64, 14);
            }
            _ if fits(17) => {
                self.bits(0b110, 3);
                self.bits(change as u64, 17);
            }
            _ if fits(20) => {
                self.bits(0b1110, 4);
                self.bits(change as u64, 20);
            }
            _ => {
                self.bits(0b1111, 4);
                self.bits(change as u64, 64);
            }
        }
    }

    fn value_bits(&mut self, bits: u64) {
        let changed = bits ^ self.value;
        if changed == 0 {
            self.bits(0, 1);
            return;
        }
        self.bits(1, 1);
        // Five bits have room for no more.
        let (before, behind) = (changed.leading_zeros().min(31), changed.trailing_zeros());
        if let Some((old_before, old_behind)) = self.window
            && before >= old_before
            && behind >= old_behind
        {
            self.bits(0, 1);
            self.bits(changed >> old_behind, 64 - old_before - old_behind);
            return;
        }
        self.window = Some((before, behind));
        let width = 64 - before - behind;
        self.bits(1, 1);
        self.bits(u64::from(before), 5);
        // 64 does not fit in six bits; zero, which never occurs, stands for it.
        self.bits(u64::from(width & 63), 6);
        self.bits(changed >> behind, width);
    }

    /// A byte-wise number within the stream of bits.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// Appends the lowest `width` bits of `value`, the highest of them first.
    fn bits(&mut self, value: u64, mut width: u32) {
        while width > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = width.min(self.free);
            let part = value >> (width - take) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - take)) as u8;
            }
            (width, self.free) = (width - take, self.free - take);
        }
    }
}

#[cfg(test)]
mod tests;
