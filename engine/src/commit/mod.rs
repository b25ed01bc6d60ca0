//! Commits: how far the engine's one order has become visible, and who looks at which.

// Reached from outside by the models; see `loom_only` in the crate's root.
#![allow(unreachable_pub, missing_docs, clippy::new_without_default)]

mod durable;
mod pins;
mod watermark;

pub use durable::Durable;
pub use pins::{Pin, PinView, Pins};
pub use watermark::{Visible, Watermark};
