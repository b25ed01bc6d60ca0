//! The driver from end to end, with few samples, verb by verb.

mod compare;
mod concurrency;
mod figures;
mod live;
mod page;
mod ratios;
mod recovery;
mod run;
mod signals;
mod table;

use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use tidegauge_bench::cli::{Cli, Command, Run};
use tidegauge_bench::progress::Progress;
use tidegauge_bench::run::run;

/// Options of a run whose data lies in a temporary folder.
fn options(line: &str) -> (Run, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("tidegauge-bench run {line}");
    let Command::Run(mut run) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("run expected")
    };
    run.data_dir = Some(dir.path().join("bench"));
    (run, dir)
}

fn report(line: &str) -> Value {
    let (run_options, _dir) = options(line);
    let report = run(&run_options, &Progress::hidden()).unwrap();
    serde_json::from_str(&report.to_json()).unwrap()
}

fn page_of(dir: &Path, figures: &str) -> String {
    std::fs::write(dir.join("figures.json"), figures).unwrap();
    let output = reporting(dir, "figures.json --out page.html --svg-dir plots");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(dir.join("page.html")).unwrap()
}

fn reporting(dir: &Path, line: &str) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.arg("report").args(line.split_whitespace()).current_dir(dir).output().unwrap()
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}
