//! The command line: what may be typed, and which exit code it ends with.

mod backup;
mod compact;
mod completions;
mod delete;
mod export;
mod failure;
mod import;
mod inspect;
mod live;
mod progress;
mod query;
mod repair;
mod serve;
mod table;
mod unlock;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::panic;
pub(crate) use failure::Failure;
pub(crate) use serve::ServeArgs;

const EXAMPLES: &str = "\
Examples:
  tidegauge                                          collect this machine, serve http://127.0.0.1:9595
  tidegauge serve --scrape http://localhost:9100/metrics --data-dir /var/lib/tidegauge
  tidegauge query 'rate(node_cpu_seconds_total{mode=\"user\"}[1m])'
  tidegauge import measurements.csv --data-dir ./archive
  tidegauge export --match 'node_load1' --from -1d > load.csv
  tidegauge backup /backups/monday
  tidegauge verify
  tidegauge inspect --json

Exit codes: 0 done, 1 something was wrong with the data or the machine, 2 with what was typed.";

/// A time-series engine with its collector: collect, receive, store, query, look.
#[derive(Debug, Parser)]
#[command(name = "tidegauge", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect, take pushes, answer queries, show the page (what plain `tidegauge` does)
    Serve(ServeArgs),
    /// Answer a PromQL expression from a data directory, also while an agent uses it
    Query(query::QueryArgs),
    /// Store the samples of files: CSV, Prometheus text with timestamps, Influx line protocol
    Import(import::ImportArgs),
    /// Write samples as CSV, OpenMetrics text or line protocol; also while an agent uses the data
    Export(export::ExportArgs),
    /// Show what a data directory holds, also while an agent uses it
    Inspect(inspect::InspectArgs),
    /// Read all of a data directory, and name what is damaged; also while an agent uses it
    Verify(verify::VerifyArgs),
    /// Save what can be read of a damaged data directory, and tell what is lost
    Repair(repair::RepairArgs),
    /// Make a copy that opens by itself; also while an agent uses the data
    Backup(backup::BackupArgs),
    /// Make a data directory of a copy
    Restore(backup::RestoreArgs),
    /// Merge segments until there is nothing left to merge
    Compact(compact::CompactArgs),
    /// Delete samples by series and time
    Delete(delete::DeleteArgs),
    /// Let go of the lock of a machine that is gone
    Unlock(unlock::UnlockArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
}

/// Reads the command line, does what it says, and answers with the exit code.
///
/// A panic below ends in exit code 1 and one line on stderr.
#[must_use]
pub fn run() -> ExitCode {
    panic::print_one_line_each();
    std::panic::catch_unwind(obey).unwrap_or(ExitCode::from(1))
}

fn obey() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version come this way too; clap knows which stream they belong on.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Query(args)) => query::run(args),
        Some(Command::Import(args)) => import::run(args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Export(args)) => export::run(&args),
        Some(Command::Backup(args)) => backup::run_backup(&args),
        Some(Command::Restore(args)) => backup::run_restore(&args),
        Some(Command::Compact(args)) => compact::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::Repair(args)) => repair::run(&args),
        Some(Command::Delete(args)) => delete::run(&args),
        Some(Command::Unlock(args)) => unlock::run(&args),
        Some(Command::Completions(args)) => completions::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
