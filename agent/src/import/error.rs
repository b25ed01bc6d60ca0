//! Why an import failed.

use std::io;
use std::path::PathBuf;

use tidegauge::{AppenderError, MetadataError, PushError, WaitError};

use super::{BadLines, ImportSummary};

/// Why an import failed. What was read before is stored and stays; importing it again is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Some lines cannot be read; all others are stored. Mend the file and import it again,
    /// or skip such lines.
    #[error("{bad}")]
    BadLines {
        /// How many, and the first of them.
        bad: BadLines,
        /// What was stored.
        summary: Box<ImportSummary>,
    },
    /// A file is compressed. Pass on what it holds through a pipe.
    #[error("{}: compressed with {with}, which is not read: unpack it, or pass `{with} -dc FILE |` to `tidegauge import - --format ...`", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// With what: the program that unpacks it.
        with: &'static str,
    },
    /// No file has a line behind its header. Name one that has.
    #[error("{}: there are no samples: nothing was stored", path.display())]
    Nothing {
        /// The first file.
        path: PathBuf,
    },
    /// The CSV file has no header line. Give it one.
    #[error("{}: the file has no header line: give it one that names the columns", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// A column is missing, or two have the same name.
    #[error("{}: {what}; the columns are: {columns}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// Which column is wrong, and which option helps.
        what: String,
        /// The header.
        columns: String,
    },
    /// The engine gives no appender.
    #[error("no appender: {0}")]
    Appender(#[from] AppenderError),
    /// The engine takes no samples.
    #[error("{0}")]
    Push(#[from] PushError),
    /// The samples were taken, but did not become durable.
    #[error("{0}")]
    Wait(#[from] WaitError),
    /// HELP and TYPE were not stored.
    #[error("metadata was not stored: {0}")]
    Metadata(#[from] MetadataError),
}
