//! Other stores are compared in a workspace of their own, which this program builds and runs: what they bring along is
//! no part of it.

use std::process::{Command, Stdio};

use crate::cli::Compare as Options;
use crate::error::Error;

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
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(Error::io(&cargo))?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.code() == Some(2) {
        return Err(Error::Usage("the comparison refused its options: see above".into()));
    }
    Ok(Compared { text, fine: output.status.success() })
}
