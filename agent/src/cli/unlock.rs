//! `tidegauge unlock`: letting go of a lock whose owner is gone.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tidegauge::admin::{Owner, Unlocked, unlock};

use super::Failure;
use super::live::demand_store;
use crate::failure::print;
use crate::units::show_time;

const EXAMPLES: &str = "\
Examples:
  tidegauge unlock                                      say who owns the directory, if anybody does
  tidegauge unlock --force --data-dir /mnt/shared/data  let go of the lock of a machine that is gone

The lock of a process that died needs nothing: the next one takes the directory over. Only a file
system that is shared by machines may hold the lock of one that is gone. While the owner lives,
or was heard lately, nothing is changed.";

/// Let go of the lock of a machine that is gone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UnlockArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// Set the lock of a silent owner on another machine aside
    #[arg(long)]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &UnlockArgs) -> Result<(), Failure> {
    let done = unlock(&args.data_dir, args.force).map_err(Failure::found)?;
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
        Unlocked::Forced { owner, aside } => (
            format!("the lock of {owner} was set aside as {}", aside.display()),
            json!({"result": "forced", "owner": owner_json(owner), "aside": aside}),
        ),
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
