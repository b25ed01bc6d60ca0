//! Both columns of a chunk, one behind the other.

use super::format::{CHUNK_HEADER_LEN, CHUNK_VERSION, VALUE_TYPE_F64};
use super::{Effort, TimestampEncoder, ValueEncoder};

/// Encodes chunks. Owns its memory, so keep it: a call allocates nothing once warm (beyond what `out` lacks).
#[derive(Debug, Default)]
pub struct ChunkEncoder {
    timestamps: TimestampEncoder,
    values: ValueEncoder,
}

impl ChunkEncoder {
    /// An encoder without warm memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How hard both columns are tried from now on. [`Effort::Fresh`] at first.
    pub fn set_effort(&mut self, effort: Effort) {
        self.timestamps.set_effort(effort);
        self.values.set_effort(effort);
    }

    /// Appends the chunk of these samples to `out`: at most 16 bytes a sample and 44 bytes beside.
    ///
    /// The same samples always give the same bytes. O(n).
    ///
    /// # Panics
    /// If the columns differ in length, are empty, or hold more than
    /// [`CHUNK_SAMPLES_MAX`](super::CHUNK_SAMPLES_MAX) samples. Timestamps must ascend
    /// strictly; the bytes do not decode otherwise.
    pub fn encode(&mut self, timestamps: &[i64], values: &[f64], out: &mut Vec<u8>) {
        assert_eq!(timestamps.len(), values.len(), "one value for each timestamp");
        debug_assert!(timestamps.windows(2).all(|w| w[0] < w[1]), "timestamps must ascend");
        let start = out.len();
        out.extend_from_slice(&[0; CHUNK_HEADER_LEN]);
        self.timestamps.encode(timestamps, out);
        let timestamp_bytes = (out.len() - start - CHUNK_HEADER_LEN) as u32;
        self.values.encode(values, out);

        let header = &mut out[start..start + CHUNK_HEADER_LEN];
        header[0] = CHUNK_VERSION;
        header[1] = VALUE_TYPE_F64;
        header[2..4].copy_from_slice(&(timestamps.len() as u16).to_le_bytes());
        header[4..8].copy_from_slice(&timestamp_bytes.to_le_bytes());
        header[8..16].copy_from_slice(&timestamps[0].to_le_bytes());
        header[16..24].copy_from_slice(&timestamps[timestamps.len() - 1].to_le_bytes());
    }
}
