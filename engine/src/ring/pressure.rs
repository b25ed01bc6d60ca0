//! What a push does when its lane is full.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::sync::{hint, thread};

/// What a push does when its lane is full: the worker is behind by the whole lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackPressure {
    /// Refuses at once; nothing of the batch is taken. For callers that can slow their source down.
    Reject,
    /// Waits for room, at most this long, then refuses. For callers that may be slowed down.
    Block(Duration),
    /// Drops the whole new batch, counts its samples, and says so. For callers that must not wait and cannot retry.
    DropNewest,
}

/// Why a push was refused. Nothing of the batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The lane has no room for the batch now. Push it again later.
    #[error("the lane is full; push again later")]
    Full,
    /// The lane was full and the batch is dropped and counted, as [`BackPressure::DropNewest`] asks.
    #[error("the lane is full; the batch was dropped and counted")]
    Dropped,
    /// The batch is longer than the lane and never fits. Split it.
    #[error("the batch is longer than the lane; split it")]
    TooLong,
    /// What the batch was judged by does not hold any more. Judge it again.
    #[error("what the batch was judged by has changed; judge it again")]
    Outdated,
    /// The engine no longer drains. Open a new one.
    #[error("the engine is closed")]
    Closed,
}

/// Attempts on a spinning processor before it is given away; a round of the worker is longer than this anyway.
const SPINS: u32 = 64;
/// Attempts with a yield between them, before sleeping.
const YIELDS: u32 = 64;
/// The first sleeps between two attempts: a worker that is not held up frees a part of a lane in so long.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// Sleeps of that length; then the worker is held up, and looking often would only take its processor away.
const SHORT_SLEEPS: u32 = 32;
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_micros(500);

impl BackPressure {
    /// Makes of a full lane what this policy makes of it. `attempt` pushes; `counted` is told of samples dropped.
    ///
    /// Called when an attempt has just failed, so that a push into a lane with room never comes here and never reads
    /// the clock.
    #[cold]
    pub(super) fn when_full(
        self,
        mut attempt: impl FnMut() -> Result<u64, Refused>,
        counted: impl FnOnce(),
    ) -> Result<u64, Refused> {
        match self {
            BackPressure::Reject => Err(Refused::Full),
            BackPressure::DropNewest => {
                counted();
                Err(Refused::Dropped)
            }
            BackPressure::Block(timeout) => {
                let started = Instant::now();
                let mut attempts = 0_u32;
                let mut sleep = SLEEP_MIN;
                loop {
                    if attempts < SPINS {
                        hint::spin_loop();
                    } else if attempts < SPINS + YIELDS {
                        // Where somebody computes, who sleeps and is woken comes sooner than who yields.
                        if !thread::yield_shortly() {
                            attempts = SPINS + YIELDS;
                        }
                    } else {
                        let left = timeout.saturating_sub(started.elapsed());
                        if left.is_zero() {
                            return Err(Refused::Full);
                        }
                        thread::sleep(sleep.min(left));
                        if attempts >= SPINS + YIELDS + SHORT_SLEEPS {
                            sleep = (sleep * 2).min(SLEEP_MAX);
                        }
                    }
                    attempts = attempts.saturating_add(1);
                    match attempt() {
                        Err(Refused::Full) => {}
                        answer => return answer,
                    }
                }
            }
        }
    }
}
