//! Brings samples out of an engine: CSV, exposition text, Influx line protocol.
//!
//! Streamed: memory grows with the number of series, not with that of the samples. What is written reads back with
//! [`import`](crate::import) to the bit: values that have no name in these formats (a NaN with a message, such as
//! the staleness marker) are written as `NaN(0x7ff0000000000002)`. Series that a format cannot name are left out, and
//! counted; what is known of metrics only exposition text holds, and what it has no room for is left out and counted.
//! What exposition text guarantees beyond, and what not, its own module says: `prom/mod.rs`.

mod csv;
mod error;
mod influx;
mod prom;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use tidegauge::query::{Cursor, Selection, Series};
use tidegauge::{ColumnCursor, Columns, Labels, Matcher, Metadata, ReadError, Snapshot, TimeRange};

pub use error::ExportError;
pub(crate) use prom::is_loose;

use crate::collect::STALE_MARKER_BITS;
use crate::import::Format;
use crate::units::{show_count, show_number_of};

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// As which format.
    pub format: Format,
    /// Series that pass one of these lists of matchers; no list: all series.
    pub selectors: Vec<Vec<Matcher>>,
    /// Samples in this range.
    pub range: TimeRange,
    /// Whether staleness markers, the NaNs that say that a series has ended, are left out. What is read by others than an
    /// import is better without: they take them for any NaN.
    pub without_stale: bool,
}

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Samples written: of each series at one time one.
    pub samples: u64,
    /// Series with at least one of them.
    pub series: u64,
    /// Series that this format cannot name; none of their samples is written.
    pub left_out: u64,
    /// One of them, and why.
    pub example: Option<String>,
    /// Types, units and texts of help that exposition text has no room for, or not for all of it. The other formats hold
    /// none, and count none.
    pub metadata_left_out: u64,
    /// One of them.
    pub metadata_example: Option<String>,
    /// Second descriptions of a family that has one. The other formats hold none, and count none.
    pub second_descriptions: u64,
    /// The name under which one of them is stored.
    pub second_example: Option<String>,
    /// Families that are no sound ones of their type, and are written as `unknown` to OpenMetrics. Their samples are all there.
    pub weakened: u64,
    /// One of them, and why.
    pub weakened_example: Option<String>,
    /// Series that were selected, with samples or without.
    pub selected: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl ExportSummary {
    /// Whether anything of what was asked for is not in the output.
    #[must_use]
    pub fn lacks_something(&self) -> bool {
        self.left_out > 0 || self.metadata_left_out > 0
    }

    /// Whether nothing was found that could be written.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.series == 0 && self.left_out == 0
    }
}

/// A format, writing into a buffer.
trait Sheet {
    /// What stands before the first sample.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ExportError>;
    /// Prepares for a series. The error says why this format cannot name it.
    fn series(&mut self, labels: &Labels, out: &mut Vec<u8>) -> Result<(), &'static str>;
    /// Some samples of the series.
    fn samples(&mut self, columns: &Columns, out: &mut Vec<u8>) -> Result<(), ExportError>;
}

/// The buffer is written out when it is as long as this.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the samples that `options` name: of CSV and line protocol series by series in the order of labels, each in
/// ascending time; of exposition text family by family.
/// `progress` is told the series done, of how many.
///
/// # Errors
/// [`ExportError`]; part of the output may be written. Series that the format cannot name are no error: the
/// summary counts them.
pub fn run(
    snapshot: &Snapshot,
    metadata: &BTreeMap<String, Metadata>,
    options: &ExportOptions,
    out: &mut dyn Write,
    mut progress: impl FnMut(usize, usize),
) -> Result<ExportSummary, ExportError> {
    let every = [Vec::new()];
    let selectors = if options.selectors.is_empty() { &every[..] } else { &options.selectors[..] };
    let select = |matchers: &Vec<Matcher>| {
        let all = snapshot.install(|sources| Selection::new(sources, matchers))?;
        Ok::<_, ExportError>(all.range(options.range))
    };
    let selections = selectors.iter().map(select).collect::<Result<Vec<_>, _>>()?;
    let mut picked = Vec::new();
    for (nth, selection) in selections.iter().enumerate() {
        // A series that passes several selectors comes once.
        let is_new = |series: &Series<'_>| !selectors[..nth].iter().any(|before| passes(series.labels(), before));
        picked.extend(selection.iter().filter(is_new));
    }
    let (total, mut done) = (picked.len(), 0);
    let mut tell = || {
        done += 1;
        progress(done, total);
    };
    let mut export = Export {
        out,
        buffer: Vec::with_capacity(BUFFER_BYTES * 2),
        columns: Columns::default(),
        summary: ExportSummary { selected: total as u64, ..ExportSummary::default() },
        without_stale: options.without_stale,
        weakened: BTreeSet::new(),
        tell: &mut tell,
    };
    match options.format {
        Format::Csv => export.all(&mut csv::CsvSheet::of(&selections), &picked)?,
        Format::Influx => export.all(&mut influx::InfluxSheet::default(), &picked)?,
        Format::Prom => prom::write(&mut export, picked.iter().copied(), metadata)?,
    }
    export.flush()?;
    export.out.flush()?;
    Ok(export.summary)
}

fn passes(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

/// Reads on, until there is something or nothing more. Answers whether there is something.
fn next_columns(cursor: &mut Cursor<'_>, columns: &mut Columns, without_stale: bool) -> Result<bool, ReadError> {
    loop {
        columns.clear();
        if !cursor.next(columns)? {
            return Ok(false);
        }
        if without_stale && columns.values.iter().any(|&value| is_stale(value)) {
            let mut fresh = columns.values.iter().map(|&value| !is_stale(value));
            columns.timestamps.retain(|_| fresh.next().unwrap_or(true));
            columns.values.retain(|&value| !is_stale(value));
        }
        if !columns.is_empty() {
            return Ok(true);
        }
    }
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

struct Export<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    columns: Columns,
    summary: ExportSummary,
    without_stale: bool,
    /// By the names under which their types are stored.
    weakened: BTreeSet<String>,
    /// That one series more is done.
    tell: &'a mut dyn FnMut(),
}

impl Export<'_> {
    /// All series, one after the other.
    fn all(&mut self, sheet: &mut dyn Sheet, picked: &[Series<'_>]) -> Result<(), ExportError> {
        sheet.begin(&mut self.buffer)?;
        for series in picked {
            self.series(sheet, series)?;
            self.done();
        }
        Ok(())
    }

    fn series(&mut self, sheet: &mut dyn Sheet, series: &Series<'_>) -> Result<(), ExportError> {
        let mut cursor = series.cursor();
        let mut begun = false;
        while next_columns(&mut cursor, &mut self.columns, self.without_stale)? {
            if !begun {
                if let Err(why) = sheet.series(series.labels(), &mut self.buffer) {
                    self.leave_out(series.labels(), why);
                    return Ok(());
                }
                begun = true;
                self.summary.series += 1;
            }
            sheet.samples(&self.columns, &mut self.buffer)?;
            self.wrote(self.columns.len())?;
        }
        Ok(())
    }

    fn done(&mut self) {
        (self.tell)();
    }

    fn leave_out(&mut self, labels: &Labels, why: &str) {
        self.summary.left_out += 1;
        self.summary.example.get_or_insert_with(|| format!("{labels}: {why}"));
    }

    fn leave_out_metadata(&mut self, what: &str, metric: &str) {
        self.summary.metadata_left_out += 1;
        self.summary.metadata_example.get_or_insert_with(|| format!("the {what} of {metric}"));
    }

    fn tell_second(&mut self, metric: &str) {
        self.summary.second_descriptions += 1;
        self.summary.second_example.get_or_insert_with(|| metric.to_owned());
    }

    fn weaken(&mut self, metric: &str, why: &str) {
        if self.weakened.insert(metric.to_owned()) {
            self.summary.weakened += 1;
            self.summary.weakened_example.get_or_insert_with(|| format!("{metric}: {why}"));
        }
    }

    /// Counts samples that are in the buffer.
    fn wrote(&mut self, samples: usize) -> Result<(), ExportError> {
        self.summary.samples += samples as u64;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.out.write_all(&self.buffer)?;
        self.summary.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// One line: what was written, and what was left out.
impl std::fmt::Display for ExportSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} series written", show_number_of(self.samples, "sample"), show_count(self.series))?;
        if self.left_out > 0 {
            write!(f, "; {} series left out, which this format cannot name", show_count(self.left_out))?;
        }
        if let Some(example) = &self.example {
            write!(f, " (such as {example})")?;
        }
        if let Some(example) = &self.metadata_example {
            let count = show_count(self.metadata_left_out);
            write!(f, "; {count} of metadata left out, which this format has no room for (such as {example})")?;
        }
        if let Some(example) = &self.second_example {
            let seconds = show_number_of(self.second_descriptions, "second description");
            write!(f, "; {seconds} of what has one already not written (such as that of {example})")?;
        }
        if let Some(example) = &self.weakened_example {
            let types = show_number_of(self.weakened, "type");
            write!(
                f,
                "; {types} written as unknown, as OpenMetrics wants it (such as that of {example}); where the newest scrape is not whole yet, `--to -1m` leaves it out"
            )?;
        }
        Ok(())
    }
}
