//! Commits: how far the engine's one order has become visible, and who looks at which.

mod durable;
mod pins;
mod watermark;

pub(crate) use durable::Durable;
pub(crate) use pins::{PinView, Pins};
pub(crate) use watermark::{Visible, Watermark};
