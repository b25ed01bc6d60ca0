//! Names of the numbers in `docs/format/chunk.md`.

use super::ChunkError;

/// Samples of the longest chunk: the unit of statistics and of a segment's directory.
pub const CHUNK_SAMPLES_MAX: usize = 4096;

/// Samples of a full vector, the unit of decoding: timestamps and values together fill half of a small L1.
pub const VECTOR_SAMPLES: usize = 1024;

/// Vectors of the longest chunk.
pub const VECTORS_MAX: usize = CHUNK_SAMPLES_MAX / VECTOR_SAMPLES;

/// The chunk version written here, and the newest one read.
pub const CHUNK_VERSION: u8 = 1;

/// Bytes before the columns of a chunk.
pub const CHUNK_HEADER_LEN: usize = 24;

/// The only value type so far: `f64`.
pub const VALUE_TYPE_F64: u8 = 0;

/// In the encoding byte of a value vector: a list of values that did not fit the encoding follows.
pub const HAS_EXCEPTIONS: u8 = 0x80;

/// In the encoding byte of a value vector: distances from the decimals follow.
pub const HAS_CORRECTIONS: u8 = 0x40;

/// In the encoding byte of a value vector: only the first value of each run is stored, and where runs begin.
pub const HAS_RUNS: u8 = 0x20;

/// Rows of the lane layout; each row holds one value of each lane.
pub const LANE_ROWS: usize = 64;

/// Lanes of the lane layout.
pub const LANES: usize = 16;

/// Lengths of the units that timestamps are divided by, in nanoseconds, by their code.
pub const UNITS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Fraction bits of the slope of linear timestamps.
pub const SLOPE_FRACTION_BITS: u32 = 12;

/// Greatest power of ten that a decimal vector is divided by.
pub const DECIMAL_EXPONENT_MAX: u8 = 18;

const _: () = assert!(VECTOR_SAMPLES == LANE_ROWS * LANES, "the lane layout holds exactly one full vector");
const _: () = assert!(CHUNK_HEADER_LEN == 1 + 1 + 2 + 4 + 8 + 8, "the spec says 24 bytes");
const _: () = assert!(VECTORS_MAX == 4 && CHUNK_SAMPLES_MAX == 4096, "the spec says 4 vectors");

/// How hard an encoder tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// As fast as samples come in: for a flush.
    #[default]
    Fresh,
    /// Small above all: for old data that is rewritten once. May take ten times as long, and
    /// never gives more bytes than [`Fresh`](Self::Fresh).
    Cold,
}

/// How a vector of timestamps is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimestampEncoding {
    /// 8 bytes each.
    Raw = 0,
    /// Start and step; nothing to decode.
    Regular = 1,
    /// Differences, packed.
    Delta = 4,
    /// Distances from a straight line, packed.
    Linear = 5,
}

/// How a vector of values is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ValueEncoding {
    /// 8 bytes each.
    Raw = 0,
    /// One value for all.
    Constant = 1,
    /// Integers × 10⁻ᵏ, packed.
    Decimal = 8,
    /// Differences of integers × 10⁻ᵏ, packed.
    DecimalDelta = 9,
    /// Bit patterns, common low zeros stripped, packed.
    Bits = 10,
    /// Differences of bit patterns, common low zeros stripped, packed.
    BitsDelta = 11,
    /// Each form that values take once, and the number of each value's form.
    Dictionary = 12,
    /// Front bits by a dictionary, the rest packed.
    Halves = 13,
    /// By the `pco` crate, for data that is read seldom. Needs the feature `cold`.
    Cold = 14,
}

impl TimestampEncoding {
    pub(super) fn from_byte(byte: u8) -> Result<Self, ChunkError> {
        Ok(match byte {
            0 => Self::Raw,
            1 => Self::Regular,
            4 => Self::Delta,
            5 => Self::Linear,
            2..=3 => return Err(RETIRED),
            found => {
                let supported = Self::Linear as u8;
                return Err(ChunkError::TooNew { what: "timestamp encoding", found, supported });
            }
        })
    }
}

impl ValueEncoding {
    /// Takes the encoding byte of a vector, flags and all.
    pub(super) fn from_byte(byte: u8) -> Result<Self, ChunkError> {
        Ok(match byte & !(HAS_EXCEPTIONS | HAS_CORRECTIONS | HAS_RUNS) {
            0 => Self::Raw,
            1 => Self::Constant,
            8 => Self::Decimal,
            9 => Self::DecimalDelta,
            10 => Self::Bits,
            11 => Self::BitsDelta,
            12 => Self::Dictionary,
            13 => Self::Halves,
            14 => Self::Cold,
            2..=7 => return Err(RETIRED),
            found => {
                return Err(ChunkError::TooNew { what: "value encoding", found, supported: Self::Cold as u8 });
            }
        })
    }
}

const RETIRED: ChunkError = ChunkError::damaged("an encoding that no release has written");
