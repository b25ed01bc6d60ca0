//! Series that have been idle leave memory; who still has their id is told.
//!
//! Protocol and invariants V1–V9: `docs/concurrency.md`, "Eviction". Models: `loom-tests/tests/evict.rs`.

// Reached from outside by the models; see `loom_only` in the crate's root.
#![allow(unreachable_pub, missing_docs, clippy::new_without_default, clippy::len_without_is_empty)]

#[cfg(not(loom))]
mod evictor;
mod graves;
#[cfg(not(loom))]
mod request;
mod tags;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
pub(crate) use evictor::{Evictor, IdleLimits, Past};
pub use graves::{Graves, Seen};
#[cfg(any(test, feature = "internals"))]
pub(crate) use request::evict;
#[cfg(not(loom))]
pub(crate) use request::{Epitaph, Following, Taking, grave_bytes};
#[cfg(not(loom))]
pub(crate) use request::{IdleSince, evict_here};
pub use tags::Tags;
