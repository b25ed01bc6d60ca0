//! `tidegauge inspect`: what a data directory holds.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tidegauge::{Engine, Stats, TimeRange, Timestamp};

use super::Failure;
use super::failure::print;
use crate::units::{show_bytes, show_count, show_time};

const EXAMPLES: &str = "\
Examples:
  tidegauge inspect
  tidegauge inspect --data-dir /var/lib/tidegauge
  tidegauge inspect --json | jq .bytes_per_sample

Reads beside an agent that uses the data, and writes nothing.";

/// Show what a data directory holds, also while an agent uses it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Sizes in bytes, times in nanoseconds since the epoch (the last one inclusive).
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    series: usize,
    samples: u64,
    segments: u64,
    segment_samples: u64,
    segment_bytes: u64,
    bytes_per_sample: Option<f64>,
    unflushed_samples: u64,
    wal_files: u64,
    wal_bytes: u64,
    first_timestamp: Option<i64>,
    last_timestamp: Option<i64>,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let engine = Engine::builder(&args.data_dir).read_only(true).open().map_err(Failure::found)?;
    let report = Report::of(&engine, &args.data_dir)?;
    if args.json {
        let mut line = serde_json::to_vec(&report).map_err(Failure::found)?;
        line.push(b'\n');
        return print(&line);
    }
    print(report.text().as_bytes())
}

impl Report {
    fn of(engine: &Engine, dir: &Path) -> Result<Self, Failure> {
        let stats: Stats = engine.stats();
        let snapshot = engine.snapshot();
        let all = snapshot.install(|sources| tidegauge::query::Selection::new(sources, &[])).map_err(Failure::found)?;
        let ranges = snapshot.sources().iter().filter_map(|source| source.time_range());
        let covered = ranges.reduce(|a, b| TimeRange::new(a.start.min(b.start), a.end.max(b.end)));
        let (wal_files, wal_bytes) = size_of(&dir.join("wal"));
        Ok(Self {
            data_dir: dir.to_owned(),
            series: all.len(),
            samples: stats.segment_samples + stats.memtable_samples,
            segments: stats.segments,
            segment_samples: stats.segment_samples,
            segment_bytes: stats.segment_bytes,
            bytes_per_sample: (stats.segment_samples > 0)
                .then(|| stats.segment_bytes as f64 / stats.segment_samples as f64),
            unflushed_samples: stats.memtable_samples,
            wal_files,
            wal_bytes,
            first_timestamp: covered.map(|range| range.start.nanos()),
            last_timestamp: covered.map(|range| range.end.nanos().saturating_sub(1)),
        })
    }

    fn text(&self) -> String {
        let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), |at| show_time(Timestamp::from_nanos(at)));
        let each = self.bytes_per_sample.map(|bytes| format!(", {bytes:.3} bytes a sample")).unwrap_or_default();
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<12}{value}");
        };
        line("directory", self.data_dir.display().to_string());
        line("series", show_count(self.series as u64));
        line("samples", show_count(self.samples));
        line(
            "segments",
            format!(
                "{} ({}, {} samples{each})",
                show_count(self.segments),
                show_bytes(self.segment_bytes),
                show_count(self.segment_samples)
            ),
        );
        line(
            "log",
            format!(
                "{} files, {} ({} samples not yet in a segment)",
                self.wal_files,
                show_bytes(self.wal_bytes),
                show_count(self.unflushed_samples)
            ),
        );
        line("from", time(self.first_timestamp));
        line("to", time(self.last_timestamp));
        out
    }
}

/// Files directly inside, and their bytes. A folder that is missing holds nothing.
fn size_of(dir: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}
