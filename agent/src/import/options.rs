//! What to import and how to read it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use tidegauge::Timestamp;

use super::TimeUnit;

/// The format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// Prometheus' text format or OpenMetrics, each sample with a timestamp.
    Prom,
    /// Influx line protocol.
    Influx,
}

/// A text that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format; give csv, prom or influx")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "prom" => Ok(Self::Prom),
            "influx" => Ok(Self::Influx),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

impl Format {
    /// What the formats are called.
    pub(crate) const NAMES: [&str; 3] = ["csv", "prom", "influx"];

    /// The format that a file's ending suggests. A `.txt` may hold anything.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "prom" | "om" | "metrics" => Some(Self::Prom),
            "influx" | "lp" | "line" => Some(Self::Influx),
            _ => None,
        }
    }
}

/// What to import and how to read it.
///
/// The columns of a CSV file are told apart by these rules, each of which an option overrides:
///
/// - **time**: the column called `timestamp`, `time` or `ts` (in any case).
/// - **values**: the column called `value`, if there is one; else every other column that
///   holds only numbers or nothing in the first 100 lines, if one of them has a number there. A text that comes later makes
///   its line a bad one: no column changes its meaning within a file. A column without a name, or called `__name__` or
///   `metric`, is no value for having nothing.
/// - **labels**: all others; the header is the label's name, an empty cell means no label.
/// - **metric**: the cell of a label column called `__name__` or `metric`. Where there is
///   none, a value column's header is the metric, or the file's name if that header is
///   `value`. With several value columns and a metric given by option or column, the
///   metrics are `<metric>_<header>`; a column with nothing in the first 100 lines does not make it several, but is called
///   so if something comes.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The files, imported in this order.
    pub files: Vec<PathBuf>,
    /// Their format.
    pub format: Format,
    /// Whether bad lines are only counted, instead of making the import an error. Default: no.
    pub skip_bad: bool,
    /// The timestamp of samples without one (`prom` and `influx`). Default: their lines are bad ones.
    pub at: Option<Timestamp>,
    /// The unit of timestamps. Default: [`TimeUnit::Auto`]. Of `prom`: seconds for OpenMetrics, milliseconds for the text
    /// format; `Auto` tells them apart by the `# EOF` at a file's end, and refuses lines that only seconds make likely.
    pub time_unit: TimeUnit,
    /// The metric's name (`csv`).
    pub metric: Option<String>,
    /// The time column (`csv`).
    pub time_column: Option<String>,
    /// The value columns (`csv`); empty: found by the rule.
    pub value_columns: Vec<String>,
    /// The label columns (`csv`); empty: all that are neither time nor value.
    pub label_columns: Vec<String>,
    /// Whether a progress bar is drawn on stderr if that is a terminal. Default: yes.
    pub progress: bool,
}

impl ImportOptions {
    /// Options for `files` with every default.
    #[must_use]
    pub fn new(format: Format, files: Vec<PathBuf>) -> Self {
        Self {
            files,
            format,
            skip_bad: false,
            at: None,
            time_unit: TimeUnit::Auto,
            metric: None,
            time_column: None,
            value_columns: Vec::new(),
            label_columns: Vec::new(),
            progress: true,
        }
    }
}
