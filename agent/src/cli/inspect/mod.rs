//! `tidegauge inspect`: what a data directory holds, and what its bytes go to.

mod segments;

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;
use tidegauge::admin::{Damage, EncodingUse, Inspection, inspect};
use tidegauge::query::Selection;
use tidegauge::query::promql::matchers_text;
use tidegauge::{Engine, METRIC_NAME, Retention, RetentionRule, Stats, TimeRange, Timestamp};

use self::segments::Segment;
use super::live::open_to_read;
use super::{Failure, progress};
use crate::config::in_force;
use crate::failure::print_and;
use crate::own::size_of;
use crate::units::{show_bytes, show_count, show_number_of, show_time};

const EXAMPLES: &str = "\
Examples:
  tidegauge inspect
  tidegauge inspect --top 30 --data-dir /var/lib/tidegauge
  tidegauge inspect --segments
  tidegauge inspect --json | jq .bytes_per_sample

Reads beside an agent that uses the data, and writes nothing. Every chunk of every segment is looked
at, none is decoded; samples that are still in the log are only counted. What is damaged is left out
of the figures and named, and the exit code is 1; `tidegauge verify` looks for all damage.";

/// Show what a data directory holds and what its bytes go to, also while an agent uses it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// How many metrics to list, by size and by number of series
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top: usize,
    /// List the segments: times, level, samples, bytes, whether cold or late, how values are stored
    #[arg(long)]
    segments: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

/// Sizes in bytes, times in nanoseconds since the epoch (the last one inclusive).
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    /// Not known where the labels of some are damaged.
    series: Option<usize>,
    samples: u64,
    segments: u64,
    segment_samples: u64,
    segment_bytes: u64,
    bytes_per_sample: Option<f64>,
    timestamp_bytes: u64,
    value_bytes: u64,
    index_bytes: u64,
    unflushed_samples: u64,
    wal_files: u64,
    wal_bytes: u64,
    /// Allocated for an opening, and deletes, on a full disk.
    reserve_bytes: u64,
    first_timestamp: Option<i64>,
    last_timestamp: Option<i64>,
    retention: Kept,
    /// Copies that lie in the directory: those that an agent was asked for, and nobody has moved away.
    snapshots: Vec<Copied>,
    timestamps: Vec<Encoding>,
    values: Vec<Encoding>,
    metrics_by_bytes: Vec<Metric>,
    /// None where the series are not known.
    metrics_by_series: Vec<Metric>,
    /// If they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment_list: Option<Vec<Segment>>,
    damage: Vec<Place>,
    further_damage: u64,
}

/// What the store was told to keep, and remembers.
#[derive(Debug, Serialize)]
struct Kept {
    #[serde(skip)]
    text: String,
    /// Of which the first that a series passes counts.
    rules: Vec<Rule>,
    max_bytes: Option<u64>,
}

/// A copy of the store.
#[derive(Debug, PartialEq, Serialize)]
struct Copied {
    path: PathBuf,
    /// Of its files. Segments that the store still has, too, take their space once.
    bytes: u64,
}

/// How long some series are kept.
#[derive(Debug, Serialize)]
struct Rule {
    /// Those that pass these matchers; `{}`: all.
    series: String,
    /// None: for ever.
    seconds: Option<f64>,
}

/// Something damaged.
#[derive(Debug, Serialize)]
struct Place {
    file: PathBuf,
    offset: u64,
    what: String,
}

/// What one encoding holds of the segments.
#[derive(Debug, Serialize)]
struct Encoding {
    encoding: String,
    samples: u64,
    bytes: u64,
    bits_per_sample: f64,
}

/// One metric: its series, those in memory included, and what it holds of the segments.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Metric {
    metric: String,
    /// Not known where labels are damaged.
    series: Option<u64>,
    segment_samples: u64,
    segment_bytes: u64,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let engine = open_to_read(&args.data_dir, !args.no_progress)?;
    let bar = progress::bytes(!args.no_progress);
    let report = Report::of(&engine, args, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    let text = match args.json {
        true => serde_json::to_string(&report).map_err(Failure::found)? + "\n",
        false => report.text(),
    };
    print_and(text.as_bytes(), verdict(&report))
}

fn verdict(report: &Report) -> Result<(), Failure> {
    match report.damage.len() as u64 + report.further_damage {
        0 => Ok(()),
        n => Err(Failure::found(format_args!(
            "damaged and left out: {} {}; `tidegauge verify` looks for all damage, `tidegauge repair` saves the rest",
            show_count(n),
            if n == 1 { "place" } else { "places" }
        ))),
    }
}

impl Report {
    fn of(engine: &Engine, args: &InspectArgs, progress: impl Fn(u64, u64) + Sync) -> Result<Self, Failure> {
        let InspectArgs { data_dir: dir, top, .. } = args;
        let stats: Stats = engine.stats();
        let found = inspect(engine, progress);
        let snapshot = engine.snapshot();
        let all = match snapshot.install(|sources| Selection::new(sources, &[])) {
            Ok(all) => Some(all),
            // Labels that cannot be read are named.
            Err(_) if !found.damage.is_empty() => None,
            Err(e) => return Err(Failure::found(e)),
        };
        let ranges = snapshot.sources().iter().filter_map(|source| source.time_range());
        let covered = ranges.reduce(|a, b| TimeRange::new(a.start.min(b.start), a.end.max(b.end)));
        let (all_files, all_bytes) = size_of(&dir.join("wal"));
        let (reserves, reserve_bytes) = reserved(&dir.join("wal"));
        let (wal_files, wal_bytes) = (all_files.saturating_sub(reserves), all_bytes.saturating_sub(reserve_bytes));
        let mut metrics = metrics(all.as_ref(), &found);
        let mut first = |by: fn(&Metric) -> u64| -> Vec<Metric> {
            metrics.sort_by(|a, b| by(b).cmp(&by(a)).then_with(|| a.metric.cmp(&b.metric)));
            metrics.iter().take(*top).cloned().collect()
        };
        let metrics_by_bytes = first(|m| m.segment_bytes);
        let metrics_by_series = if all.is_some() { first(|m| m.series.unwrap_or(0)) } else { Vec::new() };
        Ok(Self {
            data_dir: dir.clone(),
            series: all.as_ref().map(Selection::len),
            samples: found.samples + stats.memtable_samples,
            segments: found.segments,
            segment_samples: found.samples,
            segment_bytes: found.bytes,
            bytes_per_sample: (found.samples > 0).then(|| found.bytes as f64 / found.samples as f64),
            timestamp_bytes: found.timestamp_bytes,
            value_bytes: found.value_bytes,
            index_bytes: found.index_bytes(),
            unflushed_samples: stats.memtable_samples,
            wal_files,
            wal_bytes,
            reserve_bytes,
            first_timestamp: covered.map(|range| range.start.nanos()),
            last_timestamp: covered.map(|range| range.end.nanos().saturating_sub(1)),
            retention: Kept::from(&engine.retention()),
            snapshots: copies(&dir.join("snapshots")),
            timestamps: found.timestamps.iter().map(Encoding::from).collect(),
            values: found.values.iter().map(Encoding::from).collect(),
            metrics_by_bytes,
            metrics_by_series,
            segment_list: args.segments.then(|| found.each_segment.iter().map(Segment::from).collect()),
            damage: found.damage.iter().map(Place::from).collect(),
            further_damage: found.further_damage,
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
        let series = self.series.map(|series| show_count(series as u64));
        line("series", series.unwrap_or_else(|| "not known: labels are damaged".to_owned()));
        // What a query counts is known once all of it was read: `export` does.
        let stored = show_count(self.samples);
        line("samples", format!("{stored} stored, overwritten and deleted ones too until compaction removes them"));
        line(
            "segments",
            format!(
                "{} ({}, {}{each})",
                show_count(self.segments),
                show_bytes(self.segment_bytes),
                show_number_of(self.segment_samples, "sample")
            ),
        );
        line(
            "log",
            format!(
                "{}, {} ({} not yet in a segment)",
                show_number_of(self.wal_files, "file"),
                show_bytes(self.wal_bytes),
                show_number_of(self.unflushed_samples, "sample")
            ),
        );
        if self.reserve_bytes > 0 {
            line("reserve", format!("{}, to open it and delete with on a full disk", show_bytes(self.reserve_bytes)));
        }
        line("from", time(self.first_timestamp));
        line("to", time(self.last_timestamp));
        line("kept", self.retention.text.clone());
        for Copied { path, bytes } in &self.snapshots {
            line(
                "copy",
                format!("{} ({}): move or remove it if nobody needs it there", path.display(), show_bytes(*bytes)),
            );
        }
        for Place { file, offset, what } in &self.damage {
            line("damaged", format!("{}, byte {offset}: {what}", file.display()));
        }
        if self.further_damage > 0 {
            line("damaged", format!("{} more", show_number_of(self.further_damage, "place")));
        }
        if self.segment_samples > 0 {
            self.put_encodings(&mut out);
        }
        put_metrics(&mut out, "most bytes in segments", &self.metrics_by_bytes);
        put_metrics(&mut out, "most series", &self.metrics_by_series);
        if let Some(list) = &self.segment_list {
            segments::put(&mut out, list);
        }
        out
    }

    /// Bits of timestamps, values and index add up to those of a sample.
    fn put_encodings(&self, out: &mut String) {
        let row = |out: &mut String, name: &str, samples: u64, bytes: u64, bits: f64| {
            let (samples, bytes) = (show_count(samples), show_bytes(bytes));
            let _ = writeln!(out, "{name:<20}{samples:>16}{bytes:>12}{bits:>9.3}");
        };
        let all = self.segment_samples;
        let of_all = |bytes: u64| bytes as f64 * 8.0 / all as f64;
        let _ = writeln!(out, "\n{:<20}{:>16}{:>12}{:>9}", "stored", "samples", "bytes", "bits");
        for (what, bytes, parts) in
            [("timestamps", self.timestamp_bytes, &self.timestamps), ("values", self.value_bytes, &self.values)]
        {
            row(out, what, all, bytes, of_all(bytes));
            for part in parts {
                row(out, &format!("  {}", part.encoding), part.samples, part.bytes, part.bits_per_sample);
            }
        }
        row(out, "index", all, self.index_bytes, of_all(self.index_bytes));
    }
}

impl From<&EncodingUse> for Encoding {
    fn from(found: &EncodingUse) -> Self {
        let bits_per_sample = if found.samples > 0 { found.bytes as f64 * 8.0 / found.samples as f64 } else { 0.0 };
        Self { encoding: found.encoding.clone(), samples: found.samples, bytes: found.bytes, bits_per_sample }
    }
}

impl From<&Retention> for Kept {
    fn from(retention: &Retention) -> Self {
        let rule = |rule: &RetentionRule| Rule {
            series: matchers_text(&rule.matchers),
            seconds: rule.max_age.map(|age| age.as_secs_f64()),
        };
        Self {
            text: in_force(retention),
            rules: retention.rules.iter().map(rule).collect(),
            max_bytes: retention.max_bytes,
        }
    }
}

impl From<&Damage> for Place {
    fn from(found: &Damage) -> Self {
        Self { file: found.file.clone(), offset: found.offset, what: found.what.clone() }
    }
}

/// Reserves in the folder of the log, and their bytes.
fn reserved(wal: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(wal) else { return (0, 0) };
    let reserves =
        entries.filter_map(Result::ok).filter(|file| file.file_name().as_encoded_bytes().starts_with(b".reserve"));
    let sizes = reserves.filter_map(|file| file.metadata().ok()).map(|m| m.len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}

/// The copies in a folder, by name; also what is left of one.
fn copies(folder: &Path) -> Vec<Copied> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    let bytes = |path: &Path| ["", "segments", "wal"].iter().map(|part| size_of(&path.join(part)).1).sum();
    let mut all: Vec<Copied> = paths.map(|path| Copied { bytes: bytes(&path), path }).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

/// Each metric that has a series, or had one whose samples are still stored.
fn metrics(all: Option<&Selection>, found: &Inspection) -> Vec<Metric> {
    let mut metrics: HashMap<&str, Metric> = HashMap::new();
    let none = || Metric { series: all.map(|_| 0), ..Metric::default() };
    if let Some(all) = all {
        for i in 0..all.len() {
            let name = all.labels(i).get(METRIC_NAME).unwrap_or_default();
            let series = &mut metrics.entry(name).or_insert_with(none).series;
            *series = series.map(|n| n + 1);
        }
    }
    for stored in &found.metrics {
        let metric = metrics.entry(&stored.metric).or_insert_with(none);
        (metric.segment_samples, metric.segment_bytes) = (stored.samples, stored.bytes);
    }
    metrics.into_iter().map(|(name, found)| Metric { metric: name.to_owned(), ..found }).collect()
}

fn put_metrics(out: &mut String, heading: &str, metrics: &[Metric]) {
    if metrics.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{:>12}{:>16}{:>12}  {heading}", "series", "samples", "bytes");
    for m in metrics {
        let series = m.series.map_or_else(|| "-".to_owned(), show_count);
        let samples = show_count(m.segment_samples);
        let name = if m.metric.is_empty() { "(no name)" } else { &m.metric };
        let _ = writeln!(out, "{series:>12}{samples:>16}{:>12}  {name}", show_bytes(m.segment_bytes));
    }
}

#[cfg(test)]
mod tests {
    use tidegauge::admin::MetricUse;

    use super::*;

    #[test]
    fn a_metric_whose_series_cannot_be_counted_has_no_number_of_them() {
        let mut used = MetricUse::default();
        (used.metric, used.samples, used.bytes) = ("cpu".to_owned(), 1_500, 4_096);
        let mut found = Inspection::default();
        found.metrics.push(used);
        let metrics = metrics(None, &found);
        assert_eq!(metrics.iter().map(|m| m.series).collect::<Vec<_>>(), [None]);
        let mut text = String::new();
        put_metrics(&mut text, "most bytes", &metrics);
        let row = text.lines().last().unwrap();
        assert!(row.trim_start().starts_with("-  ") && row.contains("1,500") && row.ends_with("cpu"), "{text}");
    }
}
