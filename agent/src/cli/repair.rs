//! `tidegauge repair`: saving what can be read.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tidegauge::{Engine, Lost, Mended, Recovery, RecoveryReport};

use super::live::demand_store;
use super::{Failure, progress};
use crate::failure::write_out;
use crate::units::show_time;

const NOTHING: &str = "nothing was damaged\n";

const EXAMPLES: &str = "\
Examples:
  tidegauge verify --data-dir ./data     what is damaged?
  tidegauge repair --data-dir ./data     save the rest

Damaged segments are rewritten without what cannot be read; where one bit was turned over, it is put
right. The log is read on behind damage, and everything saved is brought into segments. A manifest
that is damaged or gone is made anew from what the other files say. Damaged files are kept in
`quarantine/`; nothing is deleted. Stop the agent first. Exit code 1 if something is lost: each hole
is named. What a repair that ended early has noted in audit.log, the next one tells.";

/// Save what can be read of a damaged data directory, and tell what is lost
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RepairArgs {
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

pub(super) fn run(args: &RepairArgs) -> Result<(), Failure> {
    demand_store(&args.data_dir)?;
    let salvage = Engine::builder(&args.data_dir).recovery(Recovery::Salvage);
    let engine = progress::open(salvage, !args.no_progress).map_err(Failure::found)?;
    let report = engine.recovery_report().clone();
    // The close says that it was told. What is lost is told by nobody else any more, whatever becomes of the close; and where
    // nothing can be written, or who ends this before, the next one tells it again.
    tell(&report, args.json, || engine.close(), |text| write_out(text.as_bytes()))
}

/// Whether something is lost.
fn verdict(report: &RecoveryReport) -> Result<(), Failure> {
    match report.lost.iter().filter(|lost| lost.samples != Some(0)).count() {
        0 if report.manifest_made_anew => {
            Err(Failure::found("the manifest was made anew: see the notes for what it had"))
        }
        0 if report.untold_losses > 0 => {
            Err(Failure::found("an earlier repair may have lost samples and told nobody: see what it noted"))
        }
        0 => Ok(()),
        1 => Err(Failure::found("samples are lost in 1 place")),
        n => Err(Failure::found(format_args!("samples are lost in {n} places"))),
    }
}

/// Tells on stderr what could not be written where it was wanted: on a full disk there may be no line of it in audit.log.
fn tell_unwritten(report: &RecoveryReport, why: &io::Error) -> Failure {
    let next = match report.unnoted {
        true => "not all of it stands in audit.log, so no later `tidegauge repair` tells it all again",
        false => "the next `tidegauge repair` tells what stands of it in audit.log",
    };
    let found = verdict(report).err().map(|found| format!("; {}", found.message())).unwrap_or_default();
    let text = format!("cannot write the report: {why}; the store is repaired{found}; {next}\n{}", as_text(report));
    Failure::listing(text.trim_end())
}

/// Tells the report, and then whether something is lost, or the close failed. Closes nothing that was not told.
fn tell<E: std::fmt::Display>(
    report: &RecoveryReport,
    json: bool,
    close: impl FnOnce() -> Result<(), E>,
    print: impl FnOnce(&str) -> io::Result<()>,
) -> Result<(), Failure> {
    let written = print(&if json { format!("{}\n", as_json(report)) } else { as_text(report) });
    match written {
        Err(e) if !is_quiet(report) => return Err(tell_unwritten(report, &e)),
        _ => close().map_err(Failure::found)?,
    }
    verdict(report)?;
    written.map_err(|e| Failure::unwritten(&e))
}

/// Whether there is nothing that somebody misses who does not read it.
fn is_quiet(report: &RecoveryReport) -> bool {
    as_text(report) == NOTHING
}

fn as_json(report: &RecoveryReport) -> serde_json::Value {
    let lost = |lost: &Lost| {
        json!({
            "file": lost.file,
            "offset": lost.offset,
            "what": lost.what,
            "series": lost.series,
            "first_seq": lost.seq_range.start.0,
            "end_seq": lost.seq_range.end.0,
            "first_timestamp": lost.time_range.map(|range| range.start.nanos()),
            "last_timestamp": lost.time_range.map(|range| range.end.nanos().saturating_sub(1)),
            "samples": lost.samples,
            "samples_at_least": lost.samples_at_least,
        })
    };
    let mended =
        |mended: &Mended| json!({"file": mended.file, "offset": mended.offset, "bit": mended.bit, "what": mended.what});
    json!({
        "whole": report.is_whole() && report.untold_losses == 0,
        "manifest_made_anew": report.manifest_made_anew,
        "samples_from_log": report.samples,
        "torn_tail": report.torn_tail.as_ref().map(|torn| {
            let behind = torn.behind.as_ref();
            let behind = behind.map(
                |cut| json!({"file": cut.file, "offset": cut.offset, "frames": cut.frames, "samples": cut.samples}),
            );
            json!({"file": torn.file, "offset": torn.offset, "behind": behind})
        }),
        "lost": report.lost.iter().map(lost).collect::<Vec<_>>(),
        "put_right": report.mended.iter().map(mended).collect::<Vec<_>>(),
        "put_right_places": report.mended_places,
        "quarantined": report.quarantined,
        "notes": report.notes,
        "untold": report.untold,
    })
}

fn as_text(report: &RecoveryReport) -> String {
    let mut out = String::new();
    for lost in &report.lost {
        let _ = writeln!(out, "lost        {lost}");
        if let Some(range) = lost.time_range {
            let _ = writeln!(out, "            from {} to {}", show_time(range.start), show_time(range.end));
        }
    }
    for mended in &report.mended {
        let _ = writeln!(out, "put right   {mended}");
    }
    match report.mended_places - report.mended.len() as u64 {
        0 => {}
        more => {
            let _ = writeln!(out, "put right   {more} places more");
        }
    }
    for file in &report.quarantined {
        let _ = writeln!(out, "set aside   {}", file.display());
    }
    if let Some(torn) = &report.torn_tail {
        let _ = writeln!(
            out,
            "cut         a torn tail at byte {} of {}, which is kept as set aside",
            torn.offset,
            torn.file.display()
        );
    }
    for note in &report.notes {
        let _ = writeln!(out, "note        {note}");
    }
    for line in &report.untold {
        let _ = writeln!(out, "untold      {line}");
    }
    if out.is_empty() {
        out.push_str(NOTHING);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;

    use tidegauge::{Engine, Recovery, RecoveryReport};

    use super::tell;

    /// It promised that the next repair told what no line had: the report went to the disk that was full.
    #[test]
    fn a_report_that_nothing_could_note_is_told_on_stderr_and_promised_to_nobody() {
        let mut report = RecoveryReport::default();
        report.notes.push("the audit log was not written: no space left on device".to_owned());
        report.manifest_made_anew = true;
        let full = || Err(io::ErrorKind::StorageFull.into());
        for unnoted in [false, true] {
            report.unnoted = unnoted;
            let failed = tell(&report, true, || -> Result<(), &str> { panic!("it was told to nobody") }, |_| full());
            let said = failed.unwrap_err().message().to_owned();
            assert!(said.contains("made anew") && said.contains("note        the audit log was not written"), "{said}");
            assert_eq!(said.contains("the next `tidegauge repair` tells"), !unnoted, "{said}");
        }
    }

    #[test]
    fn what_is_lost_is_told_also_where_the_close_fails() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let id = engine.series(&[("__name__", "x")]).unwrap();
        engine.push(id, tidegauge::Timestamp::from_nanos(5), 1.5).unwrap();
        engine.close().unwrap();
        let segment = std::fs::read_dir(dir.path().join("segments")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(segment, [7; 64]).unwrap();
        let engine = Engine::builder(dir.path()).recovery(Recovery::Salvage).open().unwrap();
        let report = engine.recovery_report().clone();
        engine.close().unwrap();
        for json in [false, true] {
            let mut told = String::new();
            let failed = tell(
                &report,
                json,
                || Err("the disk is full"),
                |text| {
                    told.push_str(text);
                    Ok(())
                },
            );
            assert!(format!("{:?}", failed.unwrap_err()).contains("the disk is full"));
            assert!(told.contains("lost") && !told.contains("nothing was damaged"), "{told}");
        }
    }
}
