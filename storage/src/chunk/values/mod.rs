//! Values: constants, decimals, counters, and whatever is left as bit patterns.
//!
//! Byte layout: docs/format/chunk.md, "Value vector".

// what is found in values
mod bits;
mod decimal;
mod dictionary;
mod exceptions;
mod halves;

// values <-> bytes
#[cfg(feature = "cold")]
mod bins;
#[cfg(feature = "cold")]
mod cold;
mod decode;
mod encode;
#[cfg(feature = "cold")]
mod opened;
mod plain;

use super::cursor::Cursor;
use super::format::{VECTOR_SAMPLES, ValueEncoding};
use super::vectors::Vectors;
use super::{ChunkError, kernel, room};

pub(super) use decimal::{Decimals, Scale};
pub(crate) use decimal::{decimal_to_float, float_to_decimal};
pub use encode::ValueEncoder;

/// An encoded value column whose outline was checked.
#[derive(Clone, Copy, Debug)]
pub struct ValueColumn<'a>(pub(super) Vectors<'a>);

impl<'a> ValueColumn<'a> {
    /// Checks the outline of a column of `count` values. O(1).
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes cannot be such a column.
    pub fn parse(bytes: &'a [u8], count: usize) -> Result<Self, ChunkError> {
        Vectors::parse(bytes, count).map(Self)
    }

    /// Values in the column.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Vectors in the column, of 1,024 values each but for the last.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.0.len()
    }

    /// How a vector below [`vectors`](Self::vectors) is stored.
    ///
    /// # Errors
    /// [`ChunkError`] if the vector is damaged or its encoding unknown here.
    pub fn encoding(&self, vector: usize) -> Result<ValueEncoding, ChunkError> {
        ValueEncoding::from_byte(Cursor::new(self.0.bytes(vector)).u8("value encoding")?)
    }

    /// Samples and bytes of a vector below [`vectors`](Self::vectors).
    #[must_use]
    pub fn size(&self, vector: usize) -> (usize, usize) {
        (self.0.samples(vector), self.0.bytes(vector).len())
    }

    /// Calls `visit` with each vector's number and its values, in order. Nothing is allocated; the values stay in a
    /// buffer that fits the first-level cache, so what looks at them there does so at full speed. O(count).
    ///
    /// # Errors
    /// [`ChunkError`] if a vector is damaged: those before it were visited.
    pub fn for_each_vector(&self, mut visit: impl FnMut(usize, &[f64])) -> Result<(), ChunkError> {
        room::with_values(|buffer| self.visit(buffer, &mut visit))
    }

    fn visit(
        &self,
        buffer: &mut [f64; VECTOR_SAMPLES],
        visit: &mut impl FnMut(usize, &[f64]),
    ) -> Result<(), ChunkError> {
        for vector in 0..self.vectors() {
            let values = &mut buffer[..self.0.samples(vector)];
            if vector + 1 < self.vectors() {
                kernel::prefetch(self.0.bytes(vector + 1));
            }
            decode::vector(self.0.bytes(0), self.0.bytes(vector), values)?;
            visit(vector, values);
        }
        Ok(())
    }

    /// Appends the values of one vector to `out`. O(1,024). `out` is as before after an error.
    ///
    /// # Errors
    /// [`ChunkError`] if the vector is damaged.
    pub fn decode_vector(&self, vector: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
        let start = out.len();
        out.resize(start + self.0.samples(vector), 0.0);
        let decoded = decode::vector(self.0.bytes(0), self.0.bytes(vector), &mut out[start..]);
        if decoded.is_err() {
            out.truncate(start);
        }
        decoded
    }
}
