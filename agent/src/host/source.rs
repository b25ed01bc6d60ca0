//! Where the kernel's files are, and reading them into one buffer.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of the longest file that is read; `/proc/stat` of a large machine has a few hundred KiB.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Why one area of the machine could not be read. The other areas are not affected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The file is missing or cannot be read: this kernel does not have it, or a sandbox hides it.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not look as expected.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was not found.
        what: &'static str,
    },
}

/// A text that does not look as the kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// The roots `/proc` and `/sys`, and the buffer that files are read into.
#[derive(Debug)]
pub(super) struct Source {
    proc: PathBuf,
    sys: PathBuf,
    buffer: Vec<u8>,
}

impl Source {
    /// Reads below the given roots.
    pub(super) fn new(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), sys: sys.into(), buffer: Vec::new() }
    }

    /// The root of `/proc`.
    #[must_use]
    pub(super) fn proc_root(&self) -> &Path {
        &self.proc
    }

    /// The root of `/sys`.
    #[must_use]
    pub(super) fn sys_root(&self) -> &Path {
        &self.sys
    }

    /// Reads `file` below `/proc` and hands its text to `parse`.
    pub(super) fn proc(
        &mut self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<(), Malformed>,
    ) -> Result<(), HostError> {
        let path = self.proc.join(file);
        self.read(path, parse)
    }

    /// The trimmed text of a small file, if it is there. Many attributes below `/sys` answer
    /// with an error where the device has no such property.
    pub(super) fn attribute(&mut self, path: &Path) -> Option<&str> {
        self.fill(path).ok()?;
        std::str::from_utf8(&self.buffer).ok().map(str::trim)
    }

    fn read(&mut self, path: PathBuf, parse: impl FnOnce(&str) -> Result<(), Malformed>) -> Result<(), HostError> {
        if let Err(source) = self.fill(&path) {
            return Err(HostError::Read { path, source });
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|_| Malformed("not UTF-8"));
        text.and_then(parse).map_err(|Malformed(what)| HostError::Malformed { path, what })
    }

    fn fill(&mut self, path: &Path) -> io::Result<()> {
        self.buffer.clear();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut self.buffer)?;
        Ok(())
    }
}

/// The next word as a number.
pub(super) fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<f64, Malformed> {
    words.next().and_then(|word| word.parse().ok()).ok_or(Malformed("a number is missing"))
}
