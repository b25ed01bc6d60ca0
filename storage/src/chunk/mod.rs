//! Samples of one series, encoded: up to 4,096 of them, in vectors of 1,024.
//!
//! Byte layout: `docs/format/chunk.md`. A chunk is a timestamp column and a value
//! column that do not know of each other, so that a segment can store a timestamp
//! column once for all series that were scraped together.
//!
//! Every bit pattern comes back: NaN payloads, -0.0, infinities, subnormals.

// what the bytes are called
mod error;
pub mod format;

// integers into bits
mod bitpack;
mod cursor;
mod ints;
mod places;
mod room;
mod steps;

// columns of integers and of floats
mod timestamps;
// the same code for wider vector units
mod kernel;

mod values;
mod vectors;

// both columns together
mod encoder;
mod join;
mod view;

// what is known about a chunk without decoding it
mod stats;

pub(crate) use cursor::{Cursor, put_signed, put_varint, unzigzag, varint_len, zigzag};
pub use encoder::ChunkEncoder;
pub use error::ChunkError;
pub(crate) use format::DECIMAL_EXPONENT_MAX;
pub use format::{CHUNK_SAMPLES_MAX, Effort, TimestampEncoding, VECTOR_SAMPLES, ValueEncoding};
pub(crate) use join::Joined;
pub(crate) use kernel::Machine;
pub use kernel::prefetch;
pub use stats::{ChunkStats, STALE_BITS, StatsWanted};
pub use timestamps::{TimestampColumn, TimestampEncoder};
pub use values::{ValueColumn, ValueEncoder};
pub(crate) use values::{decimal_to_float, float_to_decimal};
pub use view::{ChunkView, decode_vector};
