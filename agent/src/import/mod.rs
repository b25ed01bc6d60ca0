//! Brings files into an engine: CSV, exposition text with timestamps, Influx line protocol.
//!
//! Files are streamed: memory grows with the number of series, not with that of the lines.
//! Samples may come in any order and at any age.
//!
//! # Bad lines
//! A line that cannot be read is noted with its number and passed over; none of its samples
//! is stored. All other lines are stored and stay. Without [`ImportOptions::skip_bad`] the
//! import then ends in [`ImportError::BadLines`]. Importing the mended file again does no
//! harm: a sample that is there already is replaced by its equal.

mod bad;
mod csv;
mod error;
mod influx;
mod input;
mod lines;
mod options;
mod progress;
mod prom;
mod replaced;
mod series;
mod sink;
#[cfg(test)]
mod tests;
mod time;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use tidegauge::Engine;

pub use bad::{BadLine, BadLines};
pub use error::ImportError;
pub use options::{Format, ImportOptions, UnknownFormat};
pub use time::{TimeUnit, UnknownTimeUnit};

use crate::units::{show_count, show_number_of};
use progress::Progress;
use sink::Sink;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportSummary {
    /// Samples accepted. Of several of one series at one time the last one counts.
    pub samples: u64,
    /// How many of them took the place of an earlier value of the same series and time, one of this import's or one
    /// that was there. Right if nobody else writes these series meanwhile. `None` where a retention hides what is
    /// old: some may be hidden instead.
    pub replaced: Option<u64>,
    /// How many of them are older than retention keeps any series, or lie in a time that it has dropped: they are not
    /// shown.
    pub over_age: u64,
    /// Different series among them.
    pub series: u64,
    /// Values that are no samples: empty cells and texts where a number could stand.
    pub skipped: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Which columns of numbers became labels, because of which cells.
    pub notes: Vec<String>,
    /// How long it took, until the last sample was durable (with durability `memory`: visible).
    pub elapsed: Duration,
}

impl ImportSummary {
    /// Samples accepted per second.
    #[must_use]
    pub fn samples_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.samples as f64 / seconds } else { 0.0 }
    }
}

/// One line: samples, series, time, rate, what was replaced, and what was left out.
impl std::fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { samples, series, replaced, over_age, skipped, bad_lines, elapsed, .. } = self;
        let (seconds, rate) = (elapsed.as_secs_f64(), self.samples_per_second());
        let (samples, series, rate) =
            (show_number_of(*samples, "sample"), show_count(*series), show_count(rate as u64));
        write!(f, "{samples} of {series} series accepted in {seconds:.2} s ({rate} samples/s)")?;
        if let Some(replaced) = replaced.filter(|&replaced| replaced > 0) {
            let replaced = show_count(replaced);
            write!(f, ", {replaced} of which replaced an earlier value of the same series and time")?;
        }
        if *over_age > 0 {
            let (over_age, are) = (show_count(*over_age), if *over_age == 1 { "is" } else { "are" });
            write!(f, ", {over_age} of which {are} older than the store's retention keeps, and {are} not shown")?;
        }
        if *skipped > 0 {
            let what = if *skipped == 1 { "cell or field" } else { "cells or fields" };
            let skipped = show_count(*skipped);
            write!(f, ", {skipped} {what} without a number skipped")?;
        }
        if *bad_lines > 0 {
            write!(f, ", {} skipped", show_number_of(*bad_lines, "bad line"))?;
        }
        Ok(())
    }
}

/// Opens all files that are no pipes, and tells their columns where they have any, before anything is stored. All of them
/// together must hold something.
///
/// # Errors
/// [`ImportError`], as [`run`] would meet it later.
pub fn check(options: &ImportOptions) -> Result<(), ImportError> {
    let mut holds_something = false;
    for path in &options.files {
        let read = |source| ImportError::Read { path: path.clone(), source };
        let file = std::fs::metadata(path).map_err(read)?;
        // A pipe gives what it holds only once.
        holds_something |= if !file.is_file() {
            true
        } else if let Some(with) = compressed(path).map_err(read)? {
            return Err(ImportError::Compressed { path: path.clone(), with });
        } else if options.format == Format::Csv {
            csv::check(path, options)?
        } else {
            drop(File::open(path).map_err(read)?);
            file.len() > 0
        };
    }
    if holds_something {
        Ok(())
    } else {
        Err(ImportError::Nothing { path: options.files.first().cloned().unwrap_or_default() })
    }
}

/// What a file is compressed with, by its first bytes, which begin no text that is imported.
fn compressed(path: &Path) -> io::Result<Option<&'static str>> {
    const KINDS: [(&str, &[u8]); 3] =
        [("gzip", &[0x1f, 0x8b]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("xz", b"\xfd7zXZ\0")];
    let mut begin = Vec::new();
    File::open(path)?.take(10).read_to_end(&mut begin)?;
    // Three letters alone may be text: a level and a block follow.
    if matches!(begin[..], [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y']) {
        return Ok(Some("bzip2"));
    }
    Ok(KINDS.iter().find(|(_, magic)| begin.starts_with(magic)).map(|(with, _)| *with))
}

/// Imports all files, one after the other, through an appender of its own.
///
/// Returns when everything is durable, or with durability `memory` visible.
///
/// # Errors
/// [`ImportError`]. What was read before the error stays stored.
pub fn run(options: &ImportOptions, engine: &Engine) -> Result<ImportSummary, ImportError> {
    let (start, before) = (Instant::now(), engine.stats().pushed_over_age);
    let progress = Progress::new(&options.files, options.progress)?;
    let mut sink = Sink::new(engine, progress)?;
    for path in &options.files {
        sink.start_file(path);
        match options.format {
            Format::Csv => csv::import(path, options, &mut sink)?,
            Format::Prom => prom::import(path, options, &mut sink)?,
            Format::Influx => influx::import(path, options, &mut sink)?,
        }
    }
    let (mut summary, bad, replaced) = sink.finish()?;
    summary.elapsed = start.elapsed();
    summary.replaced = replaced.count(engine);
    summary.over_age = engine.stats().pushed_over_age - before;
    if summary.bad_lines > 0 && !options.skip_bad {
        return Err(ImportError::BadLines { bad, summary: Box::new(summary) });
    }
    Ok(summary)
}
