//! What can be wrong with a line, and with a whole text.

use super::number::NumberError;
use super::series::LABELS_MAX;

/// Why a line was refused. Nothing was taken from it; mend the exporter or the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is longer than a reader keeps.
    #[error("the line has more than {limit} bytes")]
    TooLong {
        /// The bytes allowed.
        limit: usize,
    },
    /// A name, a label's value or a help text is not UTF-8.
    #[error("a name or a label's value is not UTF-8")]
    NotUtf8,
    /// The line does not have the form `name{label="value",...} value [timestamp]`.
    #[error("column {column}: {what}")]
    Syntax {
        /// Where, in bytes from the start of the line, counted from 1.
        column: usize,
        /// What was expected there.
        what: &'static str,
    },
    /// More labels than a series may have.
    #[error("more than {LABELS_MAX} labels")]
    TooManyLabels,
    /// The value is no number, or too large for one.
    #[error("the value {text:?} {why}")]
    BadValue {
        /// The beginning of what stands in its place.
        text: String,
        /// What it is not.
        why: NumberError,
    },
    /// The timestamp is no number, or lies outside the years 1677 to 2262.
    #[error("the timestamp {text:?} is not a number, or outside the years 1677 to 2262")]
    BadTimestamp {
        /// The beginning of what stands in its place.
        text: String,
    },
    /// A TYPE line names no type of metric.
    #[error("{text:?} is no type of metric")]
    BadType {
        /// The beginning of what stands in its place.
        text: String,
    },
    /// OpenMetrics ends with `# EOF`, so that a cut-off answer can be told from a whole one.
    #[error("the text ends without `# EOF`: it was cut off on the way")]
    MissingEof,
    /// Something follows `# EOF`.
    #[error("something follows `# EOF`")]
    AfterEof,
}

impl LineError {
    pub(super) fn syntax(column: usize, what: &'static str) -> Self {
        Self::Syntax { column: column + 1, what }
    }

    /// At most the first 40 characters of `bytes`: an error must not carry a megabyte.
    pub(super) fn excerpt(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&bytes[..bytes.len().min(160)]).chars().take(40).collect()
    }
}

/// A [`LineError`] and where it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: LineError,
}
