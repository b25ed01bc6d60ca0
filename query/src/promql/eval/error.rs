//! Why an expression has no value.

use tidegauge_storage::source::ReadError;

use crate::QueryError;
use crate::limits::Limit;

/// How an HTTP answer names an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The question itself is wrong: `bad_data`.
    BadData,
    /// The data or a bound does not let it be answered: `execution`.
    Execution,
    /// It took too long: `timeout`.
    Timeout,
    /// Whoever asked went away: `canceled`.
    Canceled,
    /// Stored samples could not be read: `internal`.
    Internal,
    /// Not now, for what others ask: `unavailable`.
    Unavailable,
}

impl ErrorKind {
    /// The name in an HTTP answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }
}

/// An expression has no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The expression cannot be asked this way. Change it.
    #[error("{0}")]
    BadData(String),
    /// The data does not let it be answered; the text says which series or value.
    #[error("{0}")]
    Execution(String),
    /// A bound was reached. Ask for less, or raise the bound.
    #[error("{}", over_limit(*.which, *.limit))]
    LimitExceeded {
        /// Which bound.
        which: Limit,
        /// Its value.
        limit: u64,
    },
    /// Whoever asked went away.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// Stored samples could not be read.
    #[error("expanding series: {0}")]
    Read(#[from] ReadError),
    /// The query could not go on for a reason of the scan.
    #[error("{0}")]
    Query(QueryError),
}

fn over_limit(which: Limit, limit: u64) -> String {
    match which {
        Limit::Samples => format!(
            "query processing would load too many samples into memory in query execution: \
             more than {limit}; narrow the range or the matchers, or raise the limit"
        ),
        Limit::Time => format!("query timed out in expression evaluation: it took more than {limit} ms"),
        which => which.told(limit),
    }
}

impl EvalError {
    pub(super) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }

    /// How an HTTP answer names it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadData(_) => ErrorKind::BadData,
            Self::LimitExceeded { which: Limit::Time, .. } => ErrorKind::Timeout,
            Self::LimitExceeded { which: Limit::SharedMemory, .. } => ErrorKind::Unavailable,
            Self::Execution(_) | Self::LimitExceeded { .. } => ErrorKind::Execution,
            Self::Canceled => ErrorKind::Canceled,
            Self::Read(_) | Self::Query(_) => ErrorKind::Internal,
        }
    }
}

impl From<QueryError> for EvalError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Read(error) => Self::Read(error),
            QueryError::LimitExceeded { which, limit } => Self::LimitExceeded { which, limit },
            QueryError::Cancelled => Self::Canceled,
            other => Self::Query(other),
        }
    }
}
