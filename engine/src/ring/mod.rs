//! The ring: how samples get from any number of collectors to the one ingest worker, without a lock.
//!
//! The protocol is stated in `docs/concurrency.md` ("The ring", R1 to R16); comments here refer to its numbers.
//!
//! [`Rings`] hands out senders: a [`LaneSender`] to each appender, and a [`CommonSender`] to whoever has none.
//! [`Drain`] is the worker's end, and there is one. It knows nothing of what it carries but that it can be copied.

#![allow(unsafe_code)]
// Reached from outside by the models, the stress test and the benches; see `internals` in the crate's root.
#![allow(unreachable_pub)]

mod common;
mod common_sender;
mod drain;
mod lane;
mod limits;
mod pressure;
mod progress;
mod receiver;
mod rings;
mod shared;
mod slots;
mod stats;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod twin_tests;

pub use common_sender::CommonSender;
pub use drain::{Drain, Mark};
pub use lane::LaneSender;
pub use limits::{JoinError, RingLimits};
pub use pressure::{BackPressure, Refused};
pub use progress::{LaneId, LaneProgress, LaneWatch};
pub use receiver::{LaneReceiver, lane};
pub use rings::Rings;
pub use stats::{LaneStats, RingStats};
