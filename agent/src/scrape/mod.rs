//! Asks other programs for their metrics over HTTP, as Prometheus does.

mod error;
mod fetch;
mod target;
#[cfg(test)]
pub(crate) mod test_server;

pub use error::ScrapeError;
pub use fetch::{Answer, BODY_BYTES_MAX, Scraper};
pub use target::{Target, TargetError};
