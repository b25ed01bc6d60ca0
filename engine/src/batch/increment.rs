//! An atomic increment: read, add and write in one step.

use tidegauge_storage::model::Timestamp;
use tidegauge_storage::source::ReadError;

use super::{Batch, Committed, Expect, LastError, Retry, RetryError, last};
use crate::clock;
use crate::core::Core;
use crate::engine::Engine;
use crate::error::PushError;
use crate::registry::SeriesId;

/// What an increment wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incremented {
    /// The new value.
    pub value: f64,
    /// Its timestamp: now, or one nanosecond after the last one if that is not before.
    pub timestamp: Timestamp,
    /// Its place in the engine's order.
    pub committed: Committed,
}

/// Why a value was not incremented.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncrementError {
    /// The sample was refused.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The last value cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<LastError> for IncrementError {
    fn from(error: LastError) -> Self {
        match error {
            LastError::StaleSeries => Self::Push(PushError::StaleSeries),
            LastError::Read(error) => Self::Read(error),
        }
    }
}

pub(crate) fn increment(
    engine: &Engine,
    core: &Core,
    series: SeriesId,
    delta: f64,
    retry: Retry,
) -> Result<Incremented, RetryError<IncrementError>> {
    let mut written = (0.0, Timestamp::MIN);
    let committed = retry.run(engine, |batch: &mut Batch| {
        let last = last::last(core, series)?;
        let now = clock::now();
        let (value, timestamp) = match last {
            None => (delta, now),
            Some(last) => {
                (last.value + delta, now.max(Timestamp::from_nanos(last.timestamp.nanos().saturating_add(1))))
            }
        };
        batch.expect_last(series, last.map_or(Expect::Nothing, |last| Expect::UnchangedSince(last.as_of)));
        batch.push(series, timestamp, value)?;
        written = (value, timestamp);
        Ok(())
    })?;
    let (value, timestamp) = written;
    Ok(Incremented { value, timestamp, committed })
}
