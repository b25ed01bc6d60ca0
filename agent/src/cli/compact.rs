//! `tidegauge compact`: the smallest files now.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::live::Store;
use super::{Failure, progress};
use crate::failure::print;
use crate::units::{show_bytes, show_number_of};

const EXAMPLES: &str = "\
Examples:
  tidegauge compact
  tidegauge compact --data-dir /var/lib/tidegauge --json

The store compacts by itself what is worth it; this merges everything that can be merged, now. An
agent that owns the data is asked to do it, if it runs with --enable-admin-api.";

/// Merge segments until there is nothing left to merge
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompactArgs {
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

pub(super) fn run(args: &CompactArgs) -> Result<(), Failure> {
    let line = match compact(args)? {
        (segments, bytes) if args.json => json!({"segments": segments, "bytes": bytes}).to_string(),
        (segments, bytes) => format!("{} ({})", show_number_of(segments, "segment"), show_bytes(bytes)),
    };
    print(format!("{line}\n").as_bytes())
}

/// Segments and their bytes afterwards.
fn compact(args: &CompactArgs) -> Result<(u64, u64), Failure> {
    let store = Store::reach(&args.data_dir, !args.no_progress)?;
    let bar = progress::turning(!args.no_progress, "merging segments");
    let done = merge(store, &bar);
    bar.finish_and_clear();
    done
}

fn merge(store: Store, bar: &ProgressBar) -> Result<(u64, u64), Failure> {
    match store {
        Store::Here(engine) => {
            engine.flush().map_err(Failure::found)?;
            engine.compact().map_err(Failure::found)?;
            let stats = engine.stats();
            engine.close().map_err(Failure::found)?;
            Ok((stats.segments, stats.segment_bytes))
        }
        Store::Agent(agent) => {
            let done = agent.post("/api/v1/admin/tidegauge/compact", &[], bar)?;
            let number = |name: &str| done[name].as_u64().unwrap_or(0);
            Ok((number("segments"), number("bytes")))
        }
    }
}
