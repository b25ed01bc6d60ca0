//! Lines that could not be read: all are counted, the first are kept.

use std::fmt::{self, Display};
use std::path::PathBuf;

use crate::units::{show_count, show_number_of};

/// Lines that are kept with their reason.
const KEPT: usize = 10;

/// A line that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u64,
    /// Why it could not be read.
    pub why: String,
}

/// How many lines could not be read, and the first ten of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadLines {
    /// How many.
    pub count: u64,
    /// The first ten.
    pub first: Vec<BadLine>,
}

/// Why a sample was refused that no option gives a time either.
#[derive(Debug, thiserror::Error)]
#[error("the sample has no timestamp: --at TIME gives one to all that lack it")]
pub(super) struct NoTimestamp;

impl BadLines {
    pub(super) fn note(&mut self, file: &std::path::Path, line: u64, why: impl Display) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(BadLine { file: file.to_owned(), line, why: why.to_string() });
        }
    }
}

impl Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.why)
    }
}

/// The count, then each kept line on its own.
impl Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; all others are stored", show_number_of(self.count, "bad line"))?;
        for bad in &self.first {
            write!(f, "\n  {bad}")?;
        }
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            write!(f, "\n  and {} more", show_count(more))?;
        }
        Ok(())
    }
}
