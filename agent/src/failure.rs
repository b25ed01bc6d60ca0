//! How a command ends that did not do what was asked.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// One line for the user, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// Whether line breaks are meant.
    lines: bool,
}

impl Failure {
    /// Something was found to be wrong: exit code 1.
    pub(crate) fn found(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string(), lines: false }
    }

    /// The same where each thing found has a line of its own.
    pub(crate) fn listing(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string(), lines: true }
    }

    /// What was typed cannot be done: exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string(), lines: false }
    }

    /// Whoever read our output went away (`| head`): that is no failure, but the end.
    pub(super) fn reader_left() -> Self {
        Self { code: 0, message: String::new(), lines: false }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The output could not be written, of a command that did what was asked.
    pub(crate) fn unwritten(why: &io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::BrokenPipe => Self::reader_left(),
            _ => Self::found(format_args!("cannot write the output: {why}")),
        }
    }

    /// Prints the line and answers with the code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            let line = if self.lines { self.message } else { self.message.replace('\n', " ") };
            let _ = writeln!(io::stderr(), "tidegauge: {line}");
        }
        ExitCode::from(self.code)
    }
}

/// Writes to stdout, all of it or with an error.
pub(crate) fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}

/// Writes to stdout; a reader that left ends the command quietly.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    print_and(text, Ok(()))
}

/// Writes to stdout what was found, and ends as that says: a verdict stands whether or not anybody reads the text.
pub(crate) fn print_and(text: &[u8], verdict: Result<(), Failure>) -> Result<(), Failure> {
    end(write_out(text), verdict)
}

fn end(written: io::Result<()>, verdict: Result<(), Failure>) -> Result<(), Failure> {
    match (written, verdict) {
        (Ok(()), verdict) => verdict,
        (Err(e), Ok(())) => Err(Failure::unwritten(&e)),
        (Err(e), Err(found)) if e.kind() == io::ErrorKind::BrokenPipe => Err(found),
        (Err(e), Err(found)) => {
            Err(Failure { message: format!("{}; and the output cannot be written: {e}", found.message), ..found })
        }
    }
}
