//! CSV with a header line.

mod bound;
mod columns;
mod known;

use std::io;
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};
use tidegauge::{METRIC_NAME, SeriesError, SeriesId, Timestamp};

use self::bound::{Bounded, Mark};
use self::columns::{Columns, Spoilt};
use self::known::Known;
use super::input::Input;
use super::sink::Sink;
use super::{ImportError, ImportOptions, TimeUnit};
use crate::exposition::{NumberError, parse_value};

/// Lines that are looked at to tell values from labels.
const LOOKAHEAD: usize = 100;

/// Why a line was refused.
#[derive(Debug, thiserror::Error)]
enum BadRow {
    #[error("{found} cells, but the header has {expected}")]
    Cells { found: usize, expected: usize },
    #[error("{cell:?} in column {column:?} is no {}: --time-unit says what times are if not that", unit.what())]
    Timestamp { column: String, cell: String, unit: TimeUnit },
    #[error(
        "{cell:?} in column {column:?} is no {}, which the first time of the file is: a column's times are all of one \
         kind, and --time-unit says of which; import lines of another kind as a file of their own", unit.what()
    )]
    OtherKind { column: String, cell: String, unit: TimeUnit },
    #[error("{cell:?} in column {column:?} is no time: neither a number nor a date such as 2026-01-31T12:00:00Z")]
    NoTime { column: String, cell: String },
    #[error("{cell:?} in column {column:?} {why}")]
    Value { column: String, cell: String, why: NumberError },
    #[error(
        "{cell:?} in column {column:?} is not a number, and the first {LOOKAHEAD} lines have nothing there: \
         --value-column says which columns are values (all others are labels then), or --label-column which are labels"
    )]
    Undecided { column: String, cell: String },
    #[error("column {column:?} is not UTF-8")]
    NotUtf8 { column: String },
    #[error("column {column:?} names no metric")]
    NoMetric { column: String },
    #[error("{0}")]
    Series(#[from] SeriesError),
}

/// What is kept between lines.
struct Rows<'a> {
    columns: Columns,
    headers: &'a [String],
    /// As it was asked for, and as it was told from the first good line.
    given: TimeUnit,
    unit: TimeUnit,
    known: Known,
    key: Vec<u8>,
    values: Vec<Option<f64>>,
    /// The series of each of `values` that is there.
    ids: Vec<Option<SeriesId>>,
}

/// A file whose columns are known.
struct Opened<'e> {
    reader: Reader<Bounded<Input<'e>>>,
    mark: Mark,
    headers: Vec<String>,
    columns: Columns,
    /// The first lines.
    ahead: Vec<ByteRecord>,
}

fn open<'e>(path: &Path, input: io::Result<Input<'e>>, options: &ImportOptions) -> Result<Opened<'e>, ImportError> {
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let (input, mark) = Bounded::new(input.map_err(read)?);
    let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(256 << 10).from_reader(input);
    let headers = reader.byte_headers().map_err(|error| read(error.into()))?;
    let headers: Vec<String> = headers.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
    if headers.iter().all(String::is_empty) {
        return Err(ImportError::NoHeader { path: path.to_owned() });
    }
    let mut ahead = Vec::new();
    let mut record = ByteRecord::new();
    while ahead.len() < LOOKAHEAD && reader.read_byte_record(&mut record).map_err(|error| read(error.into()))? {
        mark.done(reader.position().byte());
        ahead.push(record.clone());
    }
    let columns = Columns::choose(&headers, &ahead, options, path)?;
    Ok(Opened { reader, mark, headers, columns, ahead })
}

/// Whether the columns can be told, by the header and the first lines. Answers whether there is a line behind the header.
pub(super) fn check(path: &Path, options: &ImportOptions) -> Result<bool, ImportError> {
    open(path, Input::open(path, None), options).map(|opened| !opened.ahead.is_empty())
}

pub(super) fn import(path: &Path, options: &ImportOptions, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let Opened { mut reader, mark, headers, columns, ahead } = open(path, sink.open(path), options)?;
    let mut rows = Rows {
        values: vec![None; columns.values.len()],
        ids: vec![None; columns.values.len()],
        columns,
        headers: &headers,
        given: options.time_unit,
        unit: options.time_unit,
        known: Known::new(),
        key: Vec::new(),
    };
    for record in &ahead {
        rows.take(record, sink)?;
    }
    drop(ahead);
    for Spoilt { column, line, cell } in &rows.columns.spoilt {
        let name = &headers[*column];
        sink.note(
            *line,
            format_args!(
                "{cell:?} in column {name:?} is no number, so that the column became a label, and each number in it \
                 makes series of its own: --value-column says which columns are values, --label-column which are labels"
            ),
        );
    }
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| read(error.into()))? {
        mark.done(reader.position().byte());
        rows.take(&record, sink)?;
        sink.read(reader.position().byte());
    }
    sink.read(reader.position().byte());
    sink.end_file()
}

impl Rows<'_> {
    /// Stores what a line says, or notes that it is bad.
    fn take(&mut self, record: &ByteRecord, sink: &mut Sink<'_>) -> Result<(), ImportError> {
        let line = record.position().map_or(0, csv::Position::line);
        match self.read(record).and_then(|at| self.resolve(record, sink).map(|()| at)) {
            Ok(at) => {
                for (id, value) in self.ids.iter().zip(&self.values) {
                    match (id, value) {
                        (&Some(id), &Some(value)) => sink.push(id, at, value, line)?,
                        _ => sink.skip(),
                    }
                }
            }
            Err(why) => sink.bad(line, why),
        }
        Ok(())
    }

    /// Fills `values` and returns the timestamp.
    fn read(&mut self, record: &ByteRecord) -> Result<Timestamp, BadRow> {
        if record.len() != self.headers.len() {
            return Err(BadRow::Cells { found: record.len(), expected: self.headers.len() });
        }
        let cell = record[self.columns.time].trim_ascii();
        let unit = self.unit.or_told_from(cell);
        let at = unit.parse(cell).ok_or_else(|| {
            let (column, cell) = (self.headers[self.columns.time].clone(), excerpt(cell));
            match self.given {
                TimeUnit::Auto if self.unit == TimeUnit::Auto => BadRow::NoTime { column, cell },
                TimeUnit::Auto => BadRow::OtherKind { column, cell, unit },
                _ => BadRow::Timestamp { column, cell, unit },
            }
        })?;
        // Told from the first good line, it holds for all others.
        self.unit = unit;
        let columns = self.columns.values.iter().zip(&self.columns.presumed);
        for (value, (&column, &presumed)) in self.values.iter_mut().zip(columns) {
            *value = match record[column].trim_ascii() {
                [] => None,
                cell => Some(parse_value(cell).map_err(|why| {
                    let (column, cell) = (self.headers[column].clone(), excerpt(cell));
                    match why {
                        NumberError::NoNumber if presumed => BadRow::Undecided { column, cell },
                        why => BadRow::Value { column, cell, why },
                    }
                })?),
            };
        }
        Ok(at)
    }

    /// Fills `ids`.
    fn resolve(&mut self, record: &ByteRecord, sink: &mut Sink<'_>) -> Result<(), BadRow> {
        self.key.clear();
        for &column in &self.columns.labels {
            let cell = &record[column];
            self.key.extend_from_slice(&(cell.len() as u32).to_le_bytes());
            self.key.extend_from_slice(cell);
        }
        let (columns, headers) = (&self.columns, self.headers);
        for (nth, (id, value)) in self.ids.iter_mut().zip(&self.values).enumerate() {
            let make = || resolve_one(columns, headers, record, nth, sink);
            *id = value.map(|_| self.known.get_or(&self.key, nth as u32, make)).transpose()?;
        }
        Ok(())
    }
}

fn resolve_one(
    columns: &Columns,
    headers: &[String],
    record: &ByteRecord,
    nth: usize,
    sink: &mut Sink<'_>,
) -> Result<SeriesId, BadRow> {
    let cell = |column: usize| {
        let not_utf8 = |_| BadRow::NotUtf8 { column: headers[column].clone() };
        std::str::from_utf8(&record[column]).map_err(not_utf8)
    };
    let from_cell = columns.metric_column.map(cell).transpose()?;
    let metric = columns.metric(nth, from_cell).ok_or_else(|| BadRow::NoMetric {
        column: columns.metric_column.map_or_else(String::new, |column| headers[column].clone()),
    })?;
    let mut labels = vec![(METRIC_NAME, metric.as_str())];
    for &column in columns.labels.iter().filter(|&&column| Some(column) != columns.metric_column) {
        labels.push((headers[column].as_str(), cell(column)?));
    }
    Ok(sink.resolve(&labels)?)
}

fn excerpt(cell: &[u8]) -> String {
    String::from_utf8_lossy(&cell[..cell.len().min(160)]).chars().take(40).collect()
}
