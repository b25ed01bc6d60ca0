//! What can go wrong in a run, and the exit code it ends with.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a run did not come to its figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request makes no sense. Change the options; nothing was run.
    #[error("{0}")]
    Usage(String),
    /// The engine refused or failed. The run's data is kept if a folder was named.
    #[error("{doing}: {source}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The engine's word on it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The operating system refused or failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word on it.
        source: io::Error,
    },
    /// An answer is wrong: the engine has a bug, no figure of this run counts.
    #[error("wrong answer: {0}")]
    Wrong(String),
}

impl Error {
    /// The exit code that the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// What was found could not be printed.
    #[must_use]
    pub fn output(source: io::Error) -> Self {
        Self::Io { path: PathBuf::from("standard output"), source }
    }

    /// Signals could not be listened to.
    #[must_use]
    pub fn signals(source: io::Error) -> Self {
        Self::Io { path: PathBuf::from("signal handlers"), source }
    }

    pub(crate) fn engine<E: StdError + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Engine { doing, source: Box::new(source) }
    }

    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), source }
    }
}
