//! The command line: what may be typed, and which exit code it ends with.

mod backup;
mod compact;
mod completions;
mod delete;
mod export;
mod import;
mod inspect;
mod interrupted;
mod live;
pub(crate) mod offered;
mod progress;
mod query;
mod repair;
mod serve;
mod table;
mod unlock;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ServeArgs;
use crate::failure::Failure;
use crate::panic;

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

/// Collect, receive, store, query and look at time series
///
/// Without a command it does what `serve` does, with these options: collects this machine's metrics every second into
/// ./tidegauge-data, takes Prometheus' remote write, answers PromQL, and shows live charts at http://127.0.0.1:9595.
/// Every command tells its own options and examples: `tidegauge help COMMAND`.
#[derive(Debug, Parser)]
#[command(name = "tidegauge", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
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
    // Without it one bad sector ends whatever reads the segment that has it: `repair`, too. All else works without.
    let _ = tidegauge::survive_unreadable_pages();
    std::panic::catch_unwind(obey).unwrap_or(ExitCode::from(1))
}

fn obey() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, and are no errors.
        Err(asked) if !asked.use_stderr() => {
            let _ = asked.print();
            return ExitCode::SUCCESS;
        }
        Err(refusal) => return Failure::usage(one_line(&refusal.to_string())).report(),
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

/// What clap has to say, without its heading and its way to the help.
fn one_line(refusal: &str) -> String {
    let end = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
    let told: Vec<&str> = refusal.lines().map(str::trim).take_while(end).filter(|line| !line.is_empty()).collect();
    let text = told.join(" ");
    format!("{} (see --help)", text.strip_prefix("error: ").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What an example would give the program: up to a comment (two spaces off), a pipe or a redirection.
    fn typed(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut blanks) = (Vec::new(), String::new(), false, 0);
        for c in line.trim().chars().chain([' ']) {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => {
                    blanks += 1;
                    if blanks == 2 || [">", "|"].contains(&word.as_str()) {
                        break;
                    }
                    words.push(std::mem::take(&mut word));
                    continue;
                }
                c => word.push(c),
            }
            blanks = 0;
        }
        assert!(!quoted, "{line}: a quote stays open");
        words
    }

    #[test]
    fn each_command_has_examples_and_they_can_be_typed() {
        fn walk(path: &str, command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  tidegauge")).collect();
            assert!(help.starts_with("Examples:\n") && !examples.is_empty(), "{path}: give it examples");
            assert!(examples.iter().any(|line| line.contains(path)), "{path}: none of its examples is its own");
            assert!(command.get_about().is_some(), "{path}: say what it does");
            for line in examples {
                let words = typed(line);
                assert!(!words.is_empty() && words[0] == "tidegauge", "{line}");
                Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{path}: {line}: {e}"));
            }
            for below in command.get_subcommands() {
                walk(&format!("{path} {}", below.get_name()), below);
            }
        }
        walk("tidegauge", &Cli::command());
    }

    #[test]
    fn the_help_says_what_the_program_does_without_a_command() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.starts_with("Collect, receive, store, query"), "{help}");
        for said in ["./tidegauge-data", "http://127.0.0.1:9595", "--data-dir", "Exit codes", "inspect"] {
            assert!(help.contains(said), "{said}");
        }
    }
}
