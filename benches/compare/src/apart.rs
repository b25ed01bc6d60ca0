//! Each store in a process of its own: memory and processor time are its alone, and what ends one ends no other.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use tidegauge::Durability;

use crate::Options;
use crate::measure::{Measured, measure};
use crate::store::Error;

/// What the process says in its last line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Outcome {
    /// The store is no part of this machine.
    NotInstalled,
    /// Its figures.
    Measured(Box<Measured>),
}

/// Starts the process and waits for what it says. The data are gone afterwards.
pub(crate) fn run(store: &str, durability: Durability, folder: &Path, options: &Options) -> Result<Outcome, Error> {
    let dir = folder.join(format!("{store}-{durability}").replace(':', "-"));
    std::fs::create_dir_all(&dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--one", store, "--workload", &options.workload.to_string()]);
    command.args(["--samples", &options.samples.to_string(), "--batch", &options.batch.to_string()]);
    command.args(["--durability", &durability.to_string(), "--seed", &options.seed.to_string()]);
    command.arg("--dir").arg(&dir);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let _ = std::fs::remove_dir_all(&dir);
    if !output.status.success() {
        return Err(format!("its process ended with {}", output.status).into());
    }
    let said = String::from_utf8(output.stdout)?;
    // A store may print things of its own before.
    Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
}

/// Is that process.
pub(crate) fn be(store: &str, options: &Options) -> Result<(), Error> {
    let outcome = measure(store, options)?.map_or(Outcome::NotInstalled, |result| Outcome::Measured(Box::new(result)));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}", serde_json::to_string(&outcome)?)?;
    Ok(out.flush()?)
}
