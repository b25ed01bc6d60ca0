//! Why a scrape failed.

use std::io;
use std::time::Duration;

use crate::exposition::ParseError;

/// Why a target could not be scraped. Nothing of its answer is stored and it counts as
/// down; the next scrape tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The whole exchange took longer than allowed.
    #[error("no complete answer within {} ms: make the target faster, or the interval longer", limit.as_millis())]
    Timeout {
        /// The time allowed.
        limit: Duration,
    },
    /// Nobody listens there, the connection broke, or the answer is not HTTP.
    #[error("{0}; does it run, and is its URL right?")]
    Unreachable(String),
    /// The answer's status is not a success.
    #[error("the target answered with status {status}: check its URL")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is of a type that is not read here.
    #[error("the target sent {content_type:?}, not text metrics: check its URL")]
    NotText {
        /// The answer's `Content-Type`.
        content_type: String,
    },
    /// The answer, unpacked, is larger than allowed.
    #[error("the answer is larger than {limit} bytes: let the target tell less")]
    TooLarge {
        /// The bytes allowed.
        limit: u64,
    },
    /// The answer has more samples than allowed.
    #[error("the answer has more than {limit} samples: let the target tell less")]
    TooManySamples {
        /// The samples allowed.
        limit: usize,
    },
    /// The connection broke while the body was read.
    #[error("reading the answer: {0}")]
    Body(io::Error),
    /// Whoever asked was told to end meanwhile. Nothing is wrong with the target.
    #[error("the scrape was given up: whoever asked was told to end")]
    Stopped,
    /// The answer does not parse.
    #[error("the answer's {0}")]
    Parse(#[from] ParseError),
}

impl ScrapeError {
    pub(super) fn from_client(error: ureq::Error, limit: Duration) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Timeout { limit },
            ureq::Error::StatusCode(status) => Self::Status { status },
            other => Self::Unreachable(other.to_string()),
        }
    }

    pub(super) fn from_body(error: io::Error, limit: Duration) -> Self {
        // The client hides its own errors in those of `Read`.
        match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => Self::Timeout { limit },
            ureq::Error::Io(error) => Self::Body(error),
            other => Self::Body(io::Error::other(other.to_string())),
        }
    }
}
