//! Again after a conflict: up to a bound, after a random moment.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use super::{Batch, Committed};
use crate::engine::Engine;
use crate::error::CommitError;
use crate::sync::thread;

/// How often and how fast to try again.
///
/// Behind try `n` a random time up to `pause × 2ⁿ⁻¹` passes, at most `pause_max`: those who collided once do not
/// collide again in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, one at least.
    pub tries: u32,
    /// The longest first pause.
    pub pause: Duration,
    /// The longest pause of all.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// Up to 32 tries, pauses from 50 µs up to 20 ms: half a second in all at most.
    fn default() -> Self {
        Self { tries: 32, pause: Duration::from_micros(50), pause_max: Duration::from_millis(20) }
    }
}

/// Why trying again ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError<E> {
    /// Each try found a conflict; this is the last one. Others are writing what the batch depends on: try later, or
    /// with more patience.
    #[error("gave up after {tries} tries ({last}): try later, or with more patience")]
    Exhausted {
        /// How many.
        tries: u32,
        /// The last conflict.
        last: CommitError,
    },
    /// Another failure than a conflict: trying again would not help.
    #[error(transparent)]
    Commit(CommitError),
    /// The batch could not be filled.
    #[error("{0}")]
    Fill(E),
}

impl Retry {
    /// One try and no more.
    pub const ONCE: Self = Self { tries: 1, pause: Duration::ZERO, pause_max: Duration::ZERO };

    /// Fills and commits a batch until it meets no conflict. `fill` reads what it depends on anew each time, and adds
    /// the conditions that follow from that.
    ///
    /// # Errors
    /// [`RetryError`]; nothing was applied.
    pub fn run<E>(
        &self,
        engine: &Engine,
        mut fill: impl FnMut(&mut Batch) -> Result<(), E>,
    ) -> Result<Committed, RetryError<E>> {
        let mut tries = 0;
        loop {
            let mut batch = engine.batch();
            fill(&mut batch).map_err(RetryError::Fill)?;
            tries += 1;
            match batch.commit() {
                Ok(committed) => return Ok(committed),
                Err(last @ CommitError::Conflict { .. }) if tries >= self.tries => {
                    return Err(RetryError::Exhausted { tries, last });
                }
                Err(CommitError::Conflict { .. }) => thread::sleep(self.pause(tries, random())),
                Err(e) => return Err(RetryError::Commit(e)),
            }
        }
    }

    /// The pause after the `tries`th try, for a random number.
    fn pause(&self, tries: u32, random: u64) -> Duration {
        let longest = self.pause.saturating_mul(1 << (tries - 1).min(20)).min(self.pause_max);
        Duration::from_nanos(((longest.as_nanos() * u128::from(random >> 32)) >> 32) as u64)
    }
}

/// A number that differs from thread to thread and from call to call.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_spread_evenly() {
        let retry = Retry { tries: 9, pause: Duration::from_micros(64), pause_max: Duration::from_micros(1000) };
        let longest: Vec<u128> = (1..8).map(|tries| retry.pause(tries, u64::MAX).as_micros()).collect();
        assert_eq!(longest, [63, 127, 255, 511, 999, 999, 999]);
        assert_eq!(retry.pause(u32::MAX, 1 << 63), Duration::from_micros(500));
        assert_eq!(retry.pause(1, 0), Duration::ZERO);
        assert_eq!(Retry::ONCE.pause(1, u64::MAX), Duration::ZERO);
    }
}
