//! Other stores are compared in a workspace of their own, which this program builds and runs: what they bring along is
//! no part of it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::Compare as Options;
use crate::error::Error;
use crate::leftovers::Victim;

/// What servers stand beside: the agent, which is built in the workspace above.
const SERVER: &str = "tidegauge-server";
/// Where the comparison is told which agent that is.
const AGENT: &str = "--agent";
/// ... and what it is told where there is none.
const WITHOUT: &str = "--without";

/// What the comparison printed, and whether all went well and every answer was right.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its tables, and with `--json` the object.
    pub text: String,
    /// Its word on the answers.
    pub fine: bool,
}

/// Builds and runs it, with the agent of the same tree, or without it where that cannot be built and is not asked for by
/// name. What it says on the way stands on standard error.
///
/// # Errors
/// [`Error::Usage`] if the workspace is not there or refuses the options, or the agent is asked for by name and cannot be built; [`Error::Io`] if
/// cargo cannot be started.
pub fn compare(options: &Options) -> Result<Compared, Error> {
    let manifest = options.workspace.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::Usage(format!(
            "{} is not there: in Tidegauge's source tree, type: cd benches/compare && cargo run --release -- --help",
            manifest.display()
        )));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = options.workspace.join("../../Cargo.toml");
    let agent = if needs_agent(&options.options) { Some(build_agent(&cargo, &root)) } else { None };
    let is_missed = agent.as_ref().is_some_and(Result::is_err) && root.is_file();
    let agent = match agent {
        // Nothing else was asked for, perhaps: without it that is not what would be measured.
        Some(Err(why)) if names_server(&options.options) => return Err(why),
        Some(Err(why)) => {
            eprintln!("tidegauge-bench: {SERVER} is left out: {why}");
            vec![WITHOUT.into(), SERVER.into()]
        }
        Some(Ok(agent)) => vec![AGENT.into(), agent],
        None => Vec::new(),
    };
    let mut command = Command::new(&cargo);
    command.args(["run", "--release", "--locked", "--manifest-path"]).arg(&manifest);
    if !options.features.is_empty() {
        command.args(["--features", &options.features.join(",")]);
    }
    command.arg("--").args(&options.options).args(agent);
    let (printed, code) = output(&mut command, &cargo)?;
    if code == Some(2) {
        return Err(Error::Usage("the comparison refused its options: see above".into()));
    }
    Ok(Compared { text: printed.trim_end().to_owned(), fine: code == Some(0) && !is_missed })
}

/// Whether the agent is among what is measured, and nobody has named one.
fn needs_agent(options: &[String]) -> bool {
    let is = |option: &String, name: &str| option.split('=').next() == Some(name);
    if options.iter().any(|option| is(option, AGENT) || ["-h", "--help", "-V", "--version"].contains(&option.as_str()))
    {
        return false;
    }
    let is_all = stores_behind(options, "--only").is_empty();
    let is_left = stores_behind(options, WITHOUT).contains(&SERVER);
    !is_left && (is_all || names_server(options))
}

fn names_server(options: &[String]) -> bool {
    stores_behind(options, "--only").contains(&SERVER)
}

/// The stores that follow an option of this name.
fn stores_behind<'a>(options: &'a [String], name: &str) -> Vec<&'a str> {
    let behind = |(i, option): (usize, &'a String)| match option.split_once('=') {
        Some((option, stores)) => (option == name).then_some(stores),
        None => options.get(i + 1).filter(|_| option == name).map(String::as_str),
    };
    options.iter().enumerate().filter_map(behind).flat_map(|stores| stores.split(',')).collect()
}

/// Where cargo put it: not everywhere below the tree.
fn build_agent(cargo: &OsStr, manifest: &Path) -> Result<OsString, Error> {
    if !manifest.is_file() {
        return Err(Error::Usage(format!(
            "{} is not there, so that no agent can be built: name one with -- {AGENT} FILE",
            manifest.display()
        )));
    }
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "tidegauge-agent", "--bin", "tidegauge"]);
    command.args(["--message-format", "json-render-diagnostics", "--manifest-path"]).arg(manifest);
    let (printed, code) = output(&mut command, cargo)?;
    let built = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = built.filter_map(|message| Some(message.get("executable")?.as_str()?.to_owned())).next_back();
    match executable.filter(|_| code == Some(0)) {
        Some(executable) => Ok(executable.into()),
        None => Err(Error::Usage(format!(
            "the agent of {} could not be built (see above): mend that, or leave {SERVER} away with -- --only STORE,..",
            manifest.display()
        ))),
    }
}

/// Runs it, and answers what it printed and the code that it ended with. A signal is passed on: the comparison clears away
/// its servers and folders.
fn output(command: &mut Command, cargo: &OsStr) -> Result<(String, Option<i32>), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let running = Victim::spawn_asked(command).map_err(Error::io(cargo))?;
    let mut printed = Vec::new();
    if let Some(mut stdout) = running.take_stdout() {
        stdout.read_to_end(&mut printed).map_err(Error::io(cargo))?;
    }
    let status = running.wait().map_err(Error::io(cargo))?;
    Ok((String::from_utf8_lossy(&printed).into_owned(), status.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_built_where_it_is_measured_and_nobody_has_named_one() {
        let needs = |line: &str| needs_agent(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for line in ["", "--samples 5", "--only tidegauge-server,prometheus", "--only=fjall,tidegauge-server --json"] {
            assert!(needs(line), "{line}");
        }
        for line in [
            "--only fjall",
            "--only=fjall,prometheus",
            "--agent a",
            "--agent=a --samples 5",
            "--help",
            "--without=tidegauge-server",
        ] {
            assert!(!needs(line), "{line}");
        }
    }
}
