//! Following along: whole commits, in order, once visible.
//!
//! Protocol and invariants U1–U6: `docs/concurrency.md`, "Subscriptions".

// Reached from outside by the models; see `loom_only` in the crate's root.
#![allow(unreachable_pub, missing_docs)]

mod feed;
#[cfg(not(loom))]
mod feeds;
#[cfg(not(loom))]
mod subscription;

#[cfg(loom)]
pub use feed::{CommitHead, Piece};
pub use feed::{Feed, Inbox, Missed, Next, feed};
#[cfg(not(loom))]
pub(crate) use feeds::{Feeds, NewFeed};
#[cfg(not(loom))]
pub(crate) use subscription::subscribe;
#[cfg(all(test, not(loom)))]
pub(crate) use subscription::subscribe_within;
#[cfg(not(loom))]
pub use subscription::{Delivery, Lag, RecvError, SubscribeError, SubscribeOptions, Subscription};
