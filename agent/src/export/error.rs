//! Why an export ended early.

use std::io;

use tidegauge::ReadError;
use tidegauge::query::QueryError;

/// Why an export ended early. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The output cannot be written to.
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
    /// The series could not be selected.
    #[error("{0}")]
    Query(#[from] QueryError),
    /// Stored samples are damaged: `verify` names all damage, `repair` saves the rest.
    #[error("{0}")]
    Read(#[from] ReadError),
}

impl From<csv::Error> for ExportError {
    fn from(error: csv::Error) -> Self {
        Self::Write(io::Error::other(error))
    }
}
