//! The text formats in which exporters show their metrics: Prometheus' text format 0.0.4
//! and OpenMetrics 1.0, as far as collecting samples needs them.
//!
//! A [`Parser`] walks over a whole answer; [`parse_line`] reads one line, for whoever
//! streams a file. Neither allocates for a sample: it is handed out as the bytes that name
//! its series, a value and perhaps a timestamp. Those bytes are the key of the caller's
//! cache, and only a series seen for the first time has its labels taken apart.
//!
//! Where the formats are strict about white space and comments, these parsers are not.
//! Exemplars are skipped. What makes a line unreadable is an error with its number.

mod error;
mod line;
mod number;
mod parser;
mod series;
mod write;

pub use error::{LineError, ParseError};
pub use line::{Entry, SampleLine, parse_line};
pub(crate) use number::nan_text;
pub use number::{NumberError, parse_millis, parse_nanos, parse_seconds, parse_value};
pub use parser::{Dialect, LINE_BYTES_MAX, Parser};
pub use series::{LABELS_MAX, Pair, SeriesText};
pub use write::write_series;
