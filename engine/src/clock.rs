//! The wall clock, and what the gate makes of it.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegauge_storage::model::Timestamp;

/// The wall clock now. Costs a system clock read (20–40 ns): stamp a batch once.
#[must_use]
pub fn now() -> Timestamp {
    let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    };
    Timestamp::from_nanos(nanos)
}
