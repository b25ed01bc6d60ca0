//! What the engine notices of itself: a worker that does not go round, snapshots that stay, series that are hot.

mod hot;
mod warning;
mod watchdog;

pub use hot::HotSeries;
pub(crate) use hot::Sketch;
pub(crate) use warning::OnWarning;
pub use warning::Warning;
pub(crate) use watchdog::{WatchLimits, Watchdog, Watched};
