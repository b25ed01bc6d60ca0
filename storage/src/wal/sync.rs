//! One fdatasync for all frames written so far, to be run where the caller likes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::types::{Epoch, FrameNo};
use crate::fs::{Fs, FsFile};

/// Makes the frames up to [`through`](Self::through) durable. Built by
/// [`WalWriter::sync_point`](super::WalWriter::sync_point); `Send`, so that a thread of
/// the engine's can run it while the writer goes on.
#[derive(Debug)]
#[must_use = "nothing is durable until the job has run"]
pub struct SyncJob {
    pub(super) fs: Arc<dyn Fs>,
    /// Oldest first; the last is the file in use.
    pub(super) files: Vec<Arc<dyn FsFile>>,
    /// Of the files that are new since the last job: their names are to be synced.
    pub(super) made: Vec<(Epoch, u64)>,
    pub(super) dir: PathBuf,
    pub(super) through: FrameNo,
}

impl SyncJob {
    /// The frame up to which everything is durable once [`run`](Self::run) has succeeded.
    #[must_use]
    pub fn through(&self) -> FrameNo {
        self.through
    }

    /// The files that are durable for the first time once [`run`](Self::run) has succeeded, each with the bytes that
    /// it has from then on at least. For [`Edit::WalSynced`](crate::manifest::Edit::WalSynced).
    #[must_use]
    pub fn made(&self) -> &[(Epoch, u64)] {
        &self.made
    }

    /// Waits for the device. Jobs of one writer must succeed in the order they were made.
    ///
    /// # Errors
    /// What the operating system answers. Do not run the job, or a later one, after an
    /// error: the kernel may have dropped what it could not write. Stop writing
    /// ([`WalWriter::poison`](super::WalWriter::poison)) and reopen the store.
    pub fn run(&self) -> io::Result<FrameNo> {
        for file in &self.files {
            file.sync_data()?;
        }
        if !self.made.is_empty() {
            self.fs.sync_dir(&self.dir)?;
        }
        Ok(self.through)
    }
}
