//! How far a query may go.

mod budget;
mod ledger;
mod matching;
mod meter;
mod stand_back;
mod stats;

use std::fmt;
use std::time::Duration;

pub use budget::{Budget, Cancel, Held};
pub use ledger::Ledger;
pub(crate) use matching::{Matching, watched};
pub(crate) use meter::Meter;
pub use stats::ScanStats;

/// What one query may use. On by default; reaching one stops that query only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Samples read, duplicates resolved. Default 50 million.
    pub samples: u64,
    /// Bytes held at one time for series, buffers and results. Default 1 GiB.
    pub memory_bytes: u64,
    /// Wall-clock time from the beginning of the query. Default 30 s.
    pub time: Duration,
    /// Series selected, counted once in each source that holds them. Default 10 million.
    pub series: u64,
}

impl QueryLimits {
    /// The defaults, named field by field above.
    pub const DEFAULT: Self =
        Self { samples: 50_000_000, memory_bytes: 1 << 30, time: Duration::from_secs(30), series: 10_000_000 };

    /// No limit at all. For callers who bound their queries by other means.
    pub const NONE: Self = Self { samples: u64::MAX, memory_bytes: u64::MAX, time: Duration::MAX, series: u64::MAX };
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`QueryLimits::samples`]
    Samples,
    /// [`QueryLimits::memory_bytes`]
    Memory,
    /// [`QueryLimits::time`]; the error's `limit` is in milliseconds
    Time,
    /// [`QueryLimits::series`]
    Series,
    /// [`Ledger::bytes_max`]: what all queries of an engine may hold together
    SharedMemory,
    /// What matching one text with one regular expression may take
    Matching,
}

impl Limit {
    /// What a query that reached it is told.
    pub(crate) fn told(self, limit: u64) -> String {
        match self {
            Self::SharedMemory => format!(
                "query stopped: all running queries together would hold more than {limit} {self}; \
                 ask again once others have ended, narrow the range or the matchers, or raise the bound of all"
            ),
            Self::Matching => format!(
                "query stopped: to match one text with one of its regular expressions may take more than {limit} {self}; \
                 shorten the expression, or repeat less in it"
            ),
            _ => format!(
                "query stopped: it needs more than {limit} {self}; narrow the range or the matchers, or raise the limit"
            ),
        }
    }
}

/// The limit's unit, as the error message names it.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Samples => "samples",
            Self::Memory | Self::SharedMemory => "bytes of memory",
            Self::Time => "milliseconds",
            Self::Series => "series",
            Self::Matching => "steps",
        })
    }
}
