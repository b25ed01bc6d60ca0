//! Brings samples out of an engine: CSV, exposition text, Influx line protocol.
//!
//! Streamed: memory grows with the number of series, not with that of the samples. What is written reads back with
//! [`import`](crate::import) to the bit: values that have no name in these formats (a NaN with a message, such as
//! the staleness marker) are written as `NaN(0x7ff0000000000002)`. Series that a format cannot name are left out, and
//! counted; what is known of metrics only exposition text holds, and what it has no room for is left out and counted.

mod csv;
mod error;
mod influx;
mod prom;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::io::Write;

use tidegauge::query::{Selection, Series};
use tidegauge::{ColumnCursor, Columns, Labels, Matcher, Metadata, Snapshot, TimeRange};

pub use error::ExportError;

use crate::import::Format;

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// As which format.
    pub format: Format,
    /// Series that pass one of these lists of matchers; no list: all series.
    pub selectors: Vec<Vec<Matcher>>,
    /// Samples in this range.
    pub range: TimeRange,
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
    /// Bytes written.
    pub bytes: u64,
}

impl ExportSummary {
    /// Whether anything of what was asked for is not in the output.
    #[must_use]
    pub fn lacks_something(&self) -> bool {
        self.left_out > 0 || self.metadata_left_out > 0
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
    /// What stands behind the last sample. What could not be written of metadata goes to the summary.
    fn end(&mut self, out: &mut Vec<u8>, summary: &mut ExportSummary);
}

/// The buffer is written out when it is as long as this.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the samples that `options` name, series by series in the order of labels, each in ascending time.
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
    let mut sheet: Box<dyn Sheet + '_> = match options.format {
        Format::Csv => Box::new(csv::CsvSheet::of(&selections)),
        Format::Prom => Box::new(prom::PromSheet::new(metadata)),
        Format::Influx => Box::new(influx::InfluxSheet::default()),
    };
    let mut export = Export { out, buffer: Vec::with_capacity(BUFFER_BYTES * 2), summary: ExportSummary::default() };
    sheet.begin(&mut export.buffer)?;
    let total: usize = selections.iter().map(Selection::len).sum();
    let mut done = 0;
    for (nth, selection) in selections.iter().enumerate() {
        for series in selection.iter() {
            // A series that passes several selectors comes once.
            if !selectors[..nth].iter().any(|before| passes(series.labels(), before)) {
                export.series(&mut *sheet, &series)?;
            }
            done += 1;
            progress(done, total);
        }
    }
    sheet.end(&mut export.buffer, &mut export.summary);
    export.flush()?;
    export.out.flush()?;
    Ok(export.summary)
}

fn passes(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

struct Export<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    summary: ExportSummary,
}

impl Export<'_> {
    fn series(&mut self, sheet: &mut dyn Sheet, series: &Series<'_>) -> Result<(), ExportError> {
        let mut cursor = series.cursor();
        let mut columns = Columns::default();
        let mut begun = false;
        while cursor.next(&mut columns)? {
            if !begun {
                if let Err(why) = sheet.series(series.labels(), &mut self.buffer) {
                    self.summary.left_out += 1;
                    self.summary.example.get_or_insert_with(|| format!("{}: {why}", series.labels()));
                    return Ok(());
                }
                begun = true;
                self.summary.series += 1;
            }
            sheet.samples(&columns, &mut self.buffer)?;
            self.summary.samples += columns.len() as u64;
            columns.clear();
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
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
        let what = if self.samples == 1 { "sample" } else { "samples" };
        write!(f, "{} {what} of {} series written", self.samples, self.series)?;
        if self.left_out > 0 {
            write!(f, "; {} series left out, which this format cannot name", self.left_out)?;
        }
        if let Some(example) = &self.example {
            write!(f, " (such as {example})")?;
        }
        if let Some(example) = &self.metadata_example {
            let count = self.metadata_left_out;
            write!(f, "; {count} of metadata left out, which this format has no room for (such as {example})")?;
        }
        Ok(())
    }
}
