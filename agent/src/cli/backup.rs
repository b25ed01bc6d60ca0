//! `tidegauge backup` and `tidegauge restore`: copies that open by themselves.

use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tidegauge::admin::{backup, bring, discard, restore, verify};
use tidegauge::{BackupError, BackupReport};

use super::interrupted::Interrupted;
use super::live::Store;
use super::{Failure, progress};
use crate::failure::print_and;
use crate::units::{show_bytes, show_number_of};

const BACKUP_EXAMPLES: &str = "\
Examples:
  tidegauge backup /backups/monday --data-dir /var/lib/tidegauge
  tidegauge backup /backups/monday --verify           and reads the copy through
  tidegauge serve --enable-admin-api                  lets a running agent make backups

The copy holds everything that was visible, opens by itself, and shares segments with the store by
hard links where the file system allows it: both have the same bytes on the disk, and what damages
them later damages both. On another file system every byte is copied. An agent that owns the
directory is asked to make it.
What is damaged in the store is in the copy, and told with --verify only: that reads all of it.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  tidegauge restore /backups/monday --data-dir ./restored

Copies every byte and verifies the copy. Nothing is overwritten: the folder must be empty or not
exist. The data of a killed agent may be restored from too; its log is taken along.";

/// Make a copy that opens by itself; also while an agent uses the data
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(super) struct BackupArgs {
    /// Folder for the copy: empty, or not there yet
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// Read the copy through: exit code 1 if something in it is damaged
    #[arg(long)]
    verify: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

/// Make a data directory of a copy
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(super) struct RestoreArgs {
    /// The copy
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Folder for the data: empty, or not there yet
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

pub(super) fn run_backup(args: &BackupArgs) -> Result<(), Failure> {
    let target = std::path::absolute(&args.target).map_err(Failure::found)?;
    if fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some()) {
        let shown = args.target.display();
        return Err(Failure::found(format_args!(
            "{shown} is not empty: name a folder that is empty or does not exist"
        )));
    }
    let shown = !args.no_progress;
    let held = match Store::reach(&args.data_dir, shown)? {
        Store::Here(engine) => {
            let report = told(shown, |tell| backup(&engine, &target, tell).map_err(Failure::found))?;
            engine.close().map_err(Failure::found)?;
            Held::from(report)
        }
        Store::Agent(agent) => {
            let snapshots = args.data_dir.join("snapshots");
            let interrupted = Interrupted::listen(&snapshots)?;
            let bar = progress::turning(shown, "the agent makes the copy");
            let destination = target.display().to_string();
            let made = agent.post("/api/v1/admin/tsdb/snapshot", &[("destination", &destination)], &bar);
            bar.finish_and_clear();
            let made = made?;
            let name = made["name"].as_str().filter(|name| is_plain(name));
            // The agent writes inside its own directory only: the copy is moved from there.
            let made_at = snapshots.join(name.ok_or_else(|| Failure::found("the agent names no copy"))?);
            interrupted.is_made(&made_at);
            let copied = told(shown, |tell| Ok(bring(&made_at, &target, tell)))?;
            interrupted.is_brought();
            match copied.map_err(|why| removed(&made_at, why))? {
                Some(report) => Held::from(report),
                None => Held::deserialize(&made).map_err(|e| {
                    Failure::found(format_args!("the copy is made, but the agent tells not of what: {e}"))
                })?,
            }
        }
    };
    let checked = if args.verify {
        told(shown, |tell| verify(&target, tell).map_err(Failure::found))?.damage
    } else {
        Vec::new()
    };
    let verdict = match checked.first() {
        None => Ok(()),
        Some(damage) => Err(Failure::found(format_args!(
            "the store is damaged, and so is the copy: {damage}; `tidegauge verify` names all, `tidegauge repair` saves the rest"
        ))),
    };
    held.show(&target, args.json, verdict)
}

/// Whether this names something in a folder, and nowhere else.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// What an agent made for a copy that could not be brought away is removed: the next try has another one made.
fn removed(made: &Path, why: BackupError) -> Failure {
    // It is at its place already.
    if matches!(why, BackupError::NotSynced { .. } | BackupError::NotRemoved { .. }) {
        return Failure::found(why);
    }
    match discard(made) {
        Ok(()) => Failure::found(format_args!("{why} (what the agent had made for it is removed)")),
        Err(also) => Failure::found(format_args!(
            "{why}; what the agent had made for it lies in {}, and cannot be removed: {also}",
            made.display()
        )),
    }
}

/// Does some work under a bar over bytes.
fn told<T>(shown: bool, work: impl FnOnce(&(dyn Fn(u64, u64) + Sync)) -> Result<T, Failure>) -> Result<T, Failure> {
    let bar = progress::bytes(shown);
    let done = work(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    done
}

/// What a copy holds, as [`BackupReport`] has it and as an agent tells it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Held {
    segments: u64,
    samples: u64,
    bytes: u64,
    bytes_copied: u64,
}

impl From<BackupReport> for Held {
    fn from(report: BackupReport) -> Self {
        let BackupReport { segments, samples, bytes, bytes_copied, .. } = report;
        Self { segments, samples, bytes, bytes_copied }
    }
}

pub(super) fn run_restore(args: &RestoreArgs) -> Result<(), Failure> {
    let (report, checked) = told(!args.no_progress, |tell| {
        let report = restore(&args.backup, &args.data_dir, tell).map_err(Failure::found)?;
        Ok((report, verify(&args.data_dir, tell).map_err(Failure::found)?))
    })?;
    let verdict = match checked.damage.first() {
        None => Ok(()),
        Some(damage) => Err(Failure::found(format_args!(
            "the copy was damaged, and so is what was restored: {damage}; `tidegauge repair` saves the rest"
        ))),
    };
    Held::from(report).show(&args.data_dir, args.json, verdict)
}

impl Held {
    /// Ends as `verdict` says, whether or not anybody reads it.
    fn show(&self, target: &Path, as_json: bool, verdict: Result<(), Failure>) -> Result<(), Failure> {
        let Self { segments, samples, bytes, bytes_copied } = *self;
        let line = if as_json {
            json!({
                "target": target,
                "segments": segments,
                "samples": samples,
                "bytes": bytes,
                "bytes_copied": bytes_copied,
            })
            .to_string()
        } else {
            format!(
                "{} holds {} in {} ({}, {} copied)",
                target.display(),
                show_number_of(samples, "sample"),
                show_number_of(segments, "segment"),
                show_bytes(bytes),
                show_bytes(bytes_copied)
            )
        };
        print_and(format!("{line}\n").as_bytes(), verdict)
    }
}
