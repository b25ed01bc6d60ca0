//! Why a query gave no answer.

use tidegauge_storage::source::ReadError;

use crate::limits::Limit;

/// Why a query gave no answer. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Stored bytes could not be read. The message names the file and what to do.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The query would exceed one of its limits. Narrow the range or the matchers, or
    /// raise that limit in [`QueryLimits`](crate::QueryLimits); where it is the memory of all queries together, ask
    /// again later, or raise that of the [`Ledger`](crate::Ledger).
    #[error("{}", which.told(*limit))]
    LimitExceeded {
        /// Which limit.
        which: Limit,
        /// Its value, in the unit that `which` names.
        limit: u64,
    },
    /// The caller cancelled the query through its [`Cancel`](crate::Cancel).
    #[error("query cancelled: ask again if the answer is still wanted")]
    Cancelled,
    /// A window of zero length was asked for. Give at least one nanosecond.
    #[error("a window must be at least 1 ns long: give a longer one")]
    EmptyWindow,
}
