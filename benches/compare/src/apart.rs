//! Each store in a process of its own: memory and processor time are its alone, and what ends one ends no other.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tidegauge::Durability;
use tidegauge_bench::leftovers::{Victim, end_with, remove_on_signal, this_program};

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
    let mut command = this_program()?;
    command.args(["--one", store, "--workload", &options.workload.to_string()]);
    command.args(["--samples", &options.samples.to_string(), "--batch", &options.batch.to_string()]);
    command.args(["--durability", &durability.to_string(), "--seed", &options.seed.to_string()]);
    if let Some(agent) = &options.agent {
        command.arg("--agent").arg(agent);
    }
    command.arg("--dir").arg(&dir).args(["--parent", &std::process::id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // With the server that it may start.
    let child = Victim::spawn_group(&mut command)?;
    let mut said = String::new();
    child.take_stdout().ok_or("its process says nothing")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    let _ = std::fs::remove_dir_all(&dir);
    if !status.success() {
        return Err(format!("its process ended with {status}").into());
    }
    // A store may print things of its own before.
    Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
}

/// Is that process. If the one that started it is killed, nobody else is left to end the server and remove the data.
pub(crate) fn be(store: &str, options: &Options) -> Result<(), Error> {
    if let (Some(parent), Some(dir)) = (options.parent, &options.dir) {
        dir.parent().into_iter().for_each(remove_on_signal);
        end_with(parent)?;
    }
    let outcome = measure(store, options)?.map_or(Outcome::NotInstalled, |result| Outcome::Measured(Box::new(result)));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}", serde_json::to_string(&outcome)?)?;
    Ok(out.flush()?)
}
