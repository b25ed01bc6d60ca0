//! What the engine notices of itself: workers that do not get on, snapshots that stay, series that are hot.

#[cfg(test)]
mod grows_tests;
mod hot;
#[cfg(test)]
mod tests;
mod warning;
mod watchdog;
mod works;

pub use hot::HotSeries;
pub(crate) use hot::Sketch;
pub(crate) use warning::OnWarning;
pub use warning::Warning;
pub(crate) use watchdog::{WatchLimits, Watchdog, Watched};
pub use works::{Stalled, Worker};
pub(crate) use works::{Working, Works};
