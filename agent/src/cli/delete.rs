//! `tidegauge delete`: samples by series and time.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tidegauge::query::promql::parse_selector;
use tidegauge::{DeleteCount, Engine, TimeRange, Timestamp};

use super::live::{LiveAgent, Store, open_to_read, without_log};
use super::{Failure, progress};
use crate::failure::print;
use crate::units::{parse_time, show_count, show_number_of, show_time};

const EXAMPLES: &str = "\
Examples:
  tidegauge delete '{job=\"old\"}' --dry-run                   how much it would be
  tidegauge delete '{job=\"old\"}'                             all of it
  tidegauge delete 'temperature{room=\"attic\"}' --from 2026-01-01T00:00:00Z --to 2026-01-02T00:00:00Z

What is deleted is hidden at once; its space comes back with compaction. An agent that owns the data
is asked to do it, if it runs with --enable-admin-api. Times: RFC 3339, seconds since the epoch,
`now`, or a duration before now such as -1h; the end is excluded.";

/// Delete samples by series and time
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeleteArgs {
    /// Which series, as PromQL selects them
    #[arg(value_name = "SELECTOR")]
    selector: String,
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// The first time that is deleted [default: all times]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// The first time that stays
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Count only, delete nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

pub(super) fn run(args: &DeleteArgs) -> Result<(), Failure> {
    parse_selector(&args.selector).map_err(Failure::usage)?;
    let now = tidegauge::now();
    let time = |text: &Option<String>, default| {
        text.as_ref().map_or(Ok(default), |text| parse_time(text, now)).map_err(Failure::usage)
    };
    let (from, to) = (time(&args.from, Timestamp::MIN)?, time(&args.to, Timestamp::MAX)?);
    if from >= to {
        return Err(Failure::usage("--from must lie before --to: the end is excluded"));
    }
    let range = TimeRange::new(from, to);
    let count = if args.dry_run { args.count(range)? } else { args.delete(range)? };
    let what = if args.dry_run { "would be deleted" } else { "deleted" };
    let line = if args.json {
        json!({"series": count.series, "samples": count.samples, "deleted": !args.dry_run}).to_string()
    } else {
        format!("{} of {} series {what}", show_number_of(count.samples, "sample"), show_count(count.series))
    };
    print(format!("{line}\n").as_bytes())
}

impl DeleteArgs {
    /// What there is now: as the agent that owns the data says, if it may be asked, since its memory may hold what no other
    /// process sees; else from a reader.
    fn count(&self, range: TimeRange) -> Result<DeleteCount, Failure> {
        let told = Store::agent(&self.data_dir).and_then(|agent| {
            self.ask(&agent, "/api/v1/admin/tidegauge/count", range, "the agent counts what is selected").ok()
        });
        let figure = |name: &str| told.as_ref()?[name].as_u64();
        if let (Some(series), Some(samples)) = (figure("series"), figure("samples")) {
            let mut count = DeleteCount::default();
            (count.series, count.samples) = (series, samples);
            return Ok(count);
        }
        if let Some(owner) = without_log(&self.data_dir) {
            return Err(Failure::found(format_args!(
                "{owner} owns {} and keeps no log: what a delete would take only its memory knows; start the agent with --enable-admin-api, so that it can be asked",
                self.data_dir.display()
            )));
        }
        let reader = open_to_read(&self.data_dir, !self.no_progress)?;
        self.count_in(&reader, range)
    }

    fn ask(&self, agent: &LiveAgent, path: &str, range: TimeRange, what: &'static str) -> Result<Value, Failure> {
        // There both ends are included.
        let start = self.from.as_ref().map(|_| show_time(range.start));
        let end = self.to.as_ref().map(|_| show_time(Timestamp::from_nanos(range.end.nanos() - 1)));
        let mut form = vec![("match[]", self.selector.as_str())];
        form.extend(start.as_deref().map(|at| ("start", at)));
        form.extend(end.as_deref().map(|at| ("end", at)));
        let bar = progress::turning(!self.no_progress, what);
        let answer = agent.post(path, &form, &bar);
        bar.finish_and_clear();
        answer
    }

    /// What takes long about it: samples are read to count them.
    fn count_in(&self, engine: &Engine, range: TimeRange) -> Result<DeleteCount, Failure> {
        let bar = progress::turning(!self.no_progress, "counting what is selected");
        let count = engine.count_matching(&self.selector, range);
        bar.finish_and_clear();
        count.map_err(Failure::found)
    }

    /// Answers what was there just before.
    fn delete(&self, range: TimeRange) -> Result<DeleteCount, Failure> {
        match Store::reach(&self.data_dir, !self.no_progress)? {
            Store::Here(engine) => {
                let count = self.count_in(&engine, range)?;
                engine.delete(&self.selector, range).map_err(Failure::found)?;
                engine.close().map_err(Failure::found)?;
                Ok(count)
            }
            Store::Agent(agent) => {
                let count = self.count(range)?;
                self.ask(&agent, "/api/v1/admin/tsdb/delete_series", range, "the agent deletes")?;
                Ok(count)
            }
        }
    }
}
