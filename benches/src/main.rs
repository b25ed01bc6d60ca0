//! The Tidegauge benchmark driver.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidegauge_bench::Error;
use tidegauge_bench::cli::{Cli, Command};
use tidegauge_bench::progress::Progress;
use tidegauge_bench::roofs::Roofs;
use tidegauge_bench::run::run;

fn main() -> ExitCode {
    // clap ends the process itself: 0 for help, 2 for what it does not understand.
    let progress = Progress::on_terminal();
    let result = command(Cli::parse().command, &progress);
    progress.finish();
    let outcome = result.and_then(|outcome| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", outcome.text).and_then(|()| out.flush()).map_err(Error::output)?;
        Ok(outcome.fine)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("tidegauge-bench: what was read back is not what was written: no figure of this run counts");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("tidegauge-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

struct Outcome {
    text: String,
    fine: bool,
}

fn command(command: Command, progress: &Progress) -> Result<Outcome, Error> {
    match command {
        Command::Run(options) => {
            let report = run(&options, progress)?;
            let text = if options.json { report.to_json() } else { report.to_string() };
            Ok(Outcome { text, fine: report.verified })
        }
        Command::Roofs(options) => {
            let roofs = Roofs::measure(&options.data_dir, progress)?;
            let text = if options.json { roofs.to_json() } else { roofs.to_string() };
            Ok(Outcome { text, fine: true })
        }
    }
}
