//! Other stores are compared in a workspace of their own, which this program builds and runs: what they bring along is
//! no part of it.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::cli::Compare as Options;
use crate::error::Error;
use crate::leftovers::Victim;

/// What the comparison printed, and whether all went well and every answer was right.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its tables, and with `--json` the object.
    pub text: String,
    /// Its word on the answers.
    pub fine: bool,
}

/// Builds and runs it. What it says on the way stands on standard error.
///
/// # Errors
/// [`Error::Usage`] if the workspace is not there or refuses the options, [`Error::Io`] if cargo cannot be started.
pub fn compare(options: &Options) -> Result<Compared, Error> {
    let manifest = options.workspace.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::Usage(format!(
            "{} is not there: in Tidegauge's source tree, type: cd benches/compare && cargo run --release -- --help",
            manifest.display()
        )));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["run", "--release", "--locked", "--manifest-path"]).arg(&manifest);
    if !options.features.is_empty() {
        command.args(["--features", &options.features.join(",")]);
    }
    command.arg("--").args(&options.options);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // A signal is passed on, and the comparison clears away its servers and folders.
    let running = Victim::spawn_asked(&mut command).map_err(Error::io(&cargo))?;
    let mut printed = Vec::new();
    if let Some(mut stdout) = running.take_stdout() {
        stdout.read_to_end(&mut printed).map_err(Error::io(&cargo))?;
    }
    let status = running.wait().map_err(Error::io(&cargo))?;
    let text = String::from_utf8_lossy(&printed).trim_end().to_owned();
    if status.code() == Some(2) {
        return Err(Error::Usage("the comparison refused its options: see above".into()));
    }
    Ok(Compared { text, fine: status.success() })
}
