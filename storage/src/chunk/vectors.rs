//! How the vectors of a column lie one behind the other.
//!
//! Byte layout: docs/format/chunk.md, "Column".

use super::ChunkError;
use super::cursor::Cursor;
use super::format::{CHUNK_SAMPLES_MAX, VECTOR_SAMPLES, VECTORS_MAX};

/// Where each vector of a column lies. No vector was decoded yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors<'a> {
    count: usize,
    body: &'a [u8],
    /// End of each vector within `body`.
    ends: [usize; VECTORS_MAX],
}

impl<'a> Vectors<'a> {
    /// Splits a column of `count` samples into its vectors.
    pub(super) fn parse(bytes: &'a [u8], count: usize) -> Result<Self, ChunkError> {
        if count == 0 || count > CHUNK_SAMPLES_MAX {
            return Err(ChunkError::damaged("a chunk holds 1 to 4096 samples"));
        }
        let vectors = count.div_ceil(VECTOR_SAMPLES);
        let mut cursor = Cursor::new(bytes);
        let mut ends = [0; VECTORS_MAX];
        let mut last = 0;
        for end in &mut ends[..vectors - 1] {
            *end = usize::from(cursor.u16("ends of vectors")?);
            if *end < last {
                return Err(ChunkError::damaged("ends of vectors do not ascend"));
            }
            last = *end;
        }
        let body = cursor.rest();
        if body.len() < last {
            return Err(ChunkError::damaged("vector behind the end of its column"));
        }
        ends[vectors - 1] = body.len();
        Ok(Self { count, body, ends })
    }

    /// Samples in all vectors.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many vectors there are.
    pub(super) fn len(&self) -> usize {
        self.count.div_ceil(VECTOR_SAMPLES)
    }

    /// Samples of one vector.
    pub(super) fn samples(&self, vector: usize) -> usize {
        (self.count - vector * VECTOR_SAMPLES).min(VECTOR_SAMPLES)
    }

    /// Bytes of one vector.
    pub(super) fn bytes(&self, vector: usize) -> &'a [u8] {
        let start = if vector == 0 { 0 } else { self.ends[vector - 1] };
        &self.body[start..self.ends[vector]]
    }
}

/// Appends a column: `encode` appends each vector of `samples`.
pub(super) fn write<T>(samples: &[T], out: &mut Vec<u8>, encode: impl FnMut(&[T], &mut Vec<u8>)) {
    lay(samples.len(), samples.chunks(VECTOR_SAMPLES), out, encode);
}

/// Appends a column of `count` samples: `append` appends each of its `vectors`.
pub(super) fn lay<V>(
    count: usize,
    vectors: impl Iterator<Item = V>,
    out: &mut Vec<u8>,
    mut append: impl FnMut(V, &mut Vec<u8>),
) {
    assert!((1..=CHUNK_SAMPLES_MAX).contains(&count), "a chunk holds 1 to 4096 samples");
    let ends = out.len();
    let last = count.div_ceil(VECTOR_SAMPLES) - 1;
    out.resize(ends + 2 * last, 0);
    let body = out.len();
    for (i, vector) in vectors.enumerate() {
        append(vector, out);
        if i < last {
            // Three raw vectors are 24,603 bytes, so 16 bits hold every end but the last, which is not written.
            let end = (out.len() - body) as u16;
            out[ends + 2 * i..][..2].copy_from_slice(&end.to_le_bytes());
        }
    }
}
