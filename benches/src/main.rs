//! The Tidegauge benchmark driver.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use tidegauge_bench::Error;
use tidegauge_bench::cli::{Cli, Command};
use tidegauge_bench::leftovers::{end_on_signals, end_with, give_way};
use tidegauge_bench::live::Window;
use tidegauge_bench::measure::Machine;
use tidegauge_bench::progress::Progress;
use tidegauge_bench::roofs::{Roofs, ShortRoofs};
use tidegauge_bench::run::run_with;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are for standard output, and no errors.
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(refused) => {
            eprintln!("tidegauge-bench: {}", one_line(&refused.to_string()));
            return ExitCode::from(2);
        }
    };
    let progress = Progress::on_terminal();
    // Before there is anything to clear away.
    let followed = cli.parent.map_or(Ok(()), end_with).map_err(Error::signals);
    let result = followed.and_then(|()| command(cli.command, &progress));
    give_way();
    progress.finish();
    let outcome = result.and_then(|outcome| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", outcome.text).and_then(|()| out.flush()).map_err(Error::output)?;
        Ok(outcome.wrong)
    });
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(wrong)) => {
            eprintln!("tidegauge-bench: {wrong}");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("tidegauge-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// What clap has to say, without its heading and its way to the help.
fn one_line(refusal: &str) -> String {
    let told =
        refusal.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = told.filter(|line| !line.is_empty()).collect();
    let text = words.join(" ");
    format!("{} (see --help)", text.strip_prefix("error: ").unwrap_or(&text))
}

struct Outcome {
    text: String,
    /// Why no figure counts.
    wrong: Option<&'static str>,
}

impl Outcome {
    fn checked(text: String, verified: bool) -> Self {
        let wrong = "what was read back is not what was written: no figure of this run counts";
        Self { text, wrong: (!verified).then_some(wrong) }
    }

    fn fine(text: String) -> Self {
        Self { text, wrong: None }
    }
}

fn command(command: Command, progress: &Progress) -> Result<Outcome, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    match &command {
        // It is killed by the process that started it.
        Command::Recovery(options) if options.victim => {}
        Command::Run(_)
        | Command::Ratios(_)
        | Command::Recovery(_)
        | Command::Concurrency(_)
        | Command::Beside(_)
        | Command::Compare(_) => {
            end_on_signals(None).map_err(Error::signals)?;
        }
        // The first one asks for the summary.
        Command::Soak(_) => end_on_signals(Some(Arc::clone(&stop))).map_err(Error::signals)?,
        Command::Roofs(_) | Command::Report(_) => {}
    }
    match command {
        Command::Run(options) => {
            let report = run_with(&options, progress, |found| found, || ShortRoofs::apart().map(Some))?;
            let text = if options.json { report.to_json() } else { report.to_string() };
            Ok(Outcome::checked(text, report.verified))
        }
        Command::Ratios(options) => {
            let ratios = tidegauge_bench::ratios::measure(&options, progress)?;
            let text = if options.json { ratios.to_json() } else { ratios.to_string() };
            Ok(Outcome::checked(text, ratios.verified))
        }
        Command::Recovery(options) if options.victim => {
            tidegauge_bench::recovery::push_until_killed(&options)?;
            Ok(Outcome::fine(String::new()))
        }
        Command::Recovery(options) => {
            let recovery = tidegauge_bench::recovery::measure(&options, progress)?;
            let text = if options.json { recovery.to_json() } else { recovery.to_string() };
            Ok(Outcome::checked(text, recovery.verified))
        }
        Command::Concurrency(options) => {
            let table = tidegauge_bench::concurrency::measure(&options, progress)?;
            let text = if options.json { table.to_json() } else { table.to_string() };
            Ok(Outcome::checked(text, table.verified))
        }
        Command::Beside(options) => {
            let beside = tidegauge_bench::live::beside(&options, progress)?;
            let text = if options.json { beside.to_json() } else { beside.to_string() };
            Ok(Outcome::checked(text, beside.verified))
        }
        Command::Soak(options) => {
            let tell = |window: &Window| {
                let line = if options.json { window.to_json() } else { window.to_string() };
                progress.suspend(|| writeln!(std::io::stdout().lock(), "{line}")).map_err(Error::output)
            };
            let soak = tidegauge_bench::live::soak(&options, &stop, progress, tell)?;
            let text = if options.json { soak.to_json() } else { soak.to_string() };
            Ok(Outcome::checked(text, soak.verified))
        }
        Command::Report(options) => Ok(Outcome::fine(tidegauge_bench::page::write(&options)?)),
        Command::Compare(options) => {
            let compared = tidegauge_bench::compare::compare(&options)?;
            let wrong = "not every store could be compared: see above";
            Ok(Outcome { text: compared.text, wrong: (!compared.fine).then_some(wrong) })
        }
        Command::Roofs(options) if options.short => {
            // Before this is the load.
            let machine = Machine::with(&options.data_dir);
            let roofs = ShortRoofs::measure();
            Ok(Outcome::fine(if options.json { roofs.to_json(&machine) } else { roofs.to_string() }))
        }
        Command::Roofs(options) => {
            let roofs = Roofs::measure(&options.data_dir, progress)?;
            let text = if options.json { roofs.to_json() } else { roofs.to_string() };
            Ok(Outcome::fine(text))
        }
    }
}
