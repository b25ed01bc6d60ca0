//! `tidegauge unlock`: letting go of a lock whose owner is gone.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tidegauge::admin::{Owner, Unlocked, unlock};

use super::live::demand_store;
use super::{Failure, progress};
use crate::failure::print;
use crate::units::show_time;

const EXAMPLES: &str = "\
Examples:
  tidegauge unlock                                      say who owns the directory, if anybody does
  tidegauge unlock --force --data-dir /mnt/shared/data  let go of the lock of a machine that is gone

The lock of a process that died needs nothing: the next one takes the directory over. Only a file
system that is shared by machines may hold the lock of one that is gone. With --force the lock is
watched for three heartbeats: 90 seconds at least, 6 minutes if the file does not say whose it is.
An owner that is heard meanwhile, or that runs on this machine, keeps it; otherwise it is set aside,
whatever the file says of times.";

/// Let go of the lock of a machine that is gone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UnlockArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// Set the lock aside if its owner is on another machine and is not heard while it is watched
    #[arg(long)]
    force: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &UnlockArgs) -> Result<(), Failure> {
    let bar = progress::seconds(!args.no_progress);
    let done = unlock(&args.data_dir, args.force, |watched, whole| {
        if watched.is_zero() {
            let line = format!("watching the lock for {} s: whoever is heard meanwhile keeps it", whole.as_secs());
            progress::say(&bar, &line);
        }
        bar.set_length(whole.as_secs());
        bar.set_position(watched.as_secs());
    });
    bar.finish_and_clear();
    let done = done.map_err(Failure::found)?;
    let dir = args.data_dir.display();
    let (text, report) = match &done {
        Unlocked::Free { last: None } => {
            // Nothing was ever locked here: is it a store at all?
            demand_store(&args.data_dir)?;
            (format!("nobody holds the lock of {dir}: there is nothing to unlock"), json!({"result": "free"}))
        }
        Unlocked::Free { last: Some(owner) } => (
            format!("nobody holds the lock of {dir}: there is nothing to unlock; the last owner was {owner}"),
            json!({"result": "free", "owner": owner_json(owner)}),
        ),
        Unlocked::Forced { owner, aside, unnoted } => {
            let whose = owner.as_ref().map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
            let noted = unnoted.as_ref().map_or(String::new(), |why| format!("; the audit log was not written: {why}"));
            (
                format!("the lock of {whose} was set aside as {}{noted}", aside.display()),
                json!({"result": "forced", "owner": owner.as_deref().map(owner_json), "aside": aside, "unnoted": unnoted}),
            )
        }
        _ => ("done".to_owned(), json!({"result": "done"})),
    };
    let line = if args.json { report.to_string() } else { text };
    print(format!("{line}\n").as_bytes())
}

fn owner_json(owner: &Owner) -> Value {
    json!({
        "pid": owner.pid,
        "host": owner.host,
        "started": show_time(owner.started),
        "version": owner.version,
        "heartbeat": show_time(owner.heartbeat),
        "address": owner.address,
    })
}
