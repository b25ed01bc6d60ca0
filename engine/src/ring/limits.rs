//! What the ring may take, and what it says when it may not.

use thiserror::Error;

/// The shortest lane: two slots, so that one can be filled while the other is read.
const LANE_SAMPLES_MIN: usize = 2;
/// The longest lane: what a slot's index and a sane amount of memory allow.
const LANE_SAMPLES_MAX: usize = 1 << 26;

/// Bounds on the memory of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Samples in a lane, rounded up to a power of two (2 at least).
    ///
    /// Larger: longer batches, and a worker that is held up for longer before pushes are refused. Smaller: less memory
    /// an appender, and more of it in the cache.
    pub lane_samples: usize,
    /// Samples in the common lane, rounded likewise.
    pub common_samples: usize,
    /// Lanes at once, the common one apart.
    pub lanes_max: usize,
    /// Bytes of the slots of all lanes together, the common one included. The common lane is always there.
    pub lane_bytes_max: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        RingLimits { lane_samples: 16 * 1024, common_samples: 16 * 1024, lanes_max: 1024, lane_bytes_max: 512 << 20 }
    }
}

/// Why there is no lane for a new appender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every lane is taken. Drop an appender (its lane is free once it is drained), push through the common lane, or
    /// raise the limit.
    #[error("all {lanes_max} lanes are taken; drop an appender or raise the limit")]
    TooManyLanes {
        /// The limit.
        lanes_max: usize,
    },
    /// The slots would need more memory than allowed. Drop an appender, shorten the lanes or raise the limit.
    #[error(
        "a lane of {wanted} bytes would bring all lanes above {lane_bytes_max} bytes; drop an appender, shorten the lanes or raise the limit"
    )]
    TooManyBytes {
        /// What one lane takes.
        wanted: usize,
        /// The limit.
        lane_bytes_max: usize,
    },
    /// The engine no longer drains. Open a new one.
    #[error("the engine is closed")]
    Closed,
}

impl RingLimits {
    /// With the lanes' lengths as they are made: powers of two.
    pub(super) fn settled(self) -> Self {
        RingLimits {
            lane_samples: lane_capacity(self.lane_samples),
            common_samples: lane_capacity(self.common_samples),
            ..self
        }
    }
}

fn lane_capacity(samples: usize) -> usize {
    samples.clamp(LANE_SAMPLES_MIN, LANE_SAMPLES_MAX).next_power_of_two()
}

pub(super) fn lane_bytes<T>(capacity: usize) -> usize {
    capacity * size_of::<T>()
}

pub(super) fn common_bytes<T>(capacity: usize) -> usize {
    capacity * (size_of::<T>() + size_of::<u64>())
}
