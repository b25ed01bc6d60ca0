//! `tidegauge verify`: is all of it sound?

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tidegauge::admin::{StoreReport, verify};

use super::live::unreadable;
use super::{Failure, progress};
use crate::failure::print_and;
use crate::units::{show_bytes, show_count, show_number_of};

const EXAMPLES: &str = "\
Examples:
  tidegauge verify
  tidegauge verify --data-dir /var/lib/tidegauge --json

Reads every checksum, decodes every chunk, compares statistics, label index and manifest with what
is there, and follows the log. Names each damaged column, block of an index and hole of the log (of
a segment the first 1,000; further ones are counted), and counts what is sound beside them. Writes
nothing. Exit code 1 if something is damaged; `tidegauge repair` saves the rest.";

/// Read all of a data directory, and name what is damaged; also while an agent uses it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let bar = progress::bytes(!args.no_progress);
    let report = verify(&args.data_dir, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|e| unreadable(&args.data_dir, e))?;
    let text = if args.json { format!("{}\n", as_json(&report)) } else { as_text(&report) };
    print_and(text.as_bytes(), verdict(&report))
}

fn verdict(report: &StoreReport) -> Result<(), Failure> {
    match report.damage.len() as u64 + report.further_damage {
        0 => Ok(()),
        n if n == report.newer as u64 => {
            Err(Failure::found("what cannot be read is of a newer release: upgrade, and verify it with that"))
        }
        1 => Err(Failure::found("1 place is damaged: `tidegauge repair` saves the rest")),
        n => {
            Err(Failure::found(format_args!("{} places are damaged: `tidegauge repair` saves the rest", show_count(n))))
        }
    }
}

fn as_json(report: &StoreReport) -> serde_json::Value {
    let damage = report.damage.iter().map(|d| json!({"file": d.file, "offset": d.offset, "what": d.what}));
    json!({
        "sound": report.is_sound(),
        "newer": report.newer,
        "segments": report.segments,
        "damaged_segments": report.damaged_segments,
        "newer_segments": report.newer_segments,
        "chunks": report.chunks,
        "samples": report.samples,
        "bytes": report.bytes,
        "log_frames": report.log_frames,
        "log_samples": report.log_samples,
        "damage": damage.collect::<Vec<_>>(),
        "further_damage": report.further_damage,
        "notes": report.notes,
    })
}

fn as_text(report: &StoreReport) -> String {
    let mut out = String::new();
    let damaged = match report.damaged_segments {
        0 => String::new(),
        n => format!(", {} damaged", show_count(n)),
    };
    let newer = match report.newer_segments {
        0 => String::new(),
        n => format!(", {} of a newer release", show_count(n)),
    };
    let (segments, bytes) = (show_count(report.segments), show_bytes(report.bytes));
    let _ = writeln!(out, "segments    {segments} sound ({bytes}){damaged}{newer}");
    let (chunks, samples) = (show_count(report.chunks), show_number_of(report.samples, "sample"));
    let _ = writeln!(out, "chunks      {chunks} sound ({samples})");
    let _ = writeln!(
        out,
        "log         {} ({})",
        show_number_of(report.log_frames, "frame"),
        show_number_of(report.log_samples, "sample")
    );
    for damage in &report.damage {
        let _ = writeln!(out, "damaged     {damage}");
    }
    if report.further_damage > 0 {
        let _ = writeln!(out, "damaged     {} more", show_number_of(report.further_damage, "place"));
    }
    for note in &report.notes {
        let _ = writeln!(out, "note        {note}");
    }
    out
}
