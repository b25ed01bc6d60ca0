//! Space to open a store with on a full disk.

use std::path::PathBuf;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::ManifestError;
use tidegauge_storage::wal::{Recovered, WalState, give_up_reserve};

use super::store::Place;
use crate::error::OpenError;

/// Space that a store can be opened with after it was killed on a full disk.
pub(super) struct LogReserve {
    fs: Arc<dyn Fs>,
    wal_dir: PathBuf,
    pub(super) given_up: bool,
    /// Files that this opening removes in any case, once all was read.
    pub(super) leftovers: Vec<PathBuf>,
}

impl LogReserve {
    pub(super) fn new(place: &Place) -> Self {
        Self { fs: Arc::clone(&place.fs), wal_dir: place.wal.clone(), given_up: false, leftovers: Vec::new() }
    }

    /// Where there is no space, once more without leftovers, without the reserve, and then without what is allocated
    /// behind what the log holds, where it was read.
    pub(super) fn or_without<T>(
        &mut self,
        log: Option<(&Recovered, &WalState)>,
        mut attempt: impl FnMut() -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let is_full = |e: &OpenError| matches!(e, OpenError::Manifest(ManifestError::NoSpace { .. }));
        let mut result = attempt();
        if result.as_ref().is_err_and(is_full) && !self.leftovers.is_empty() {
            // What the reserve was given up for may have been taken by a flush that a crash ended.
            self.leftovers.drain(..).for_each(|path| drop(self.fs.remove(&path)));
            result = attempt();
        }
        if result.as_ref().is_err_and(is_full) && give_up_reserve(&*self.fs, &self.wal_dir) {
            self.given_up = true;
            result = attempt();
        }
        if result.as_ref().is_err_and(is_full)
            && let Some((recovered, known)) = log
            && recovered.give_back(&*self.fs, known)
        {
            self.given_up = true;
            result = attempt();
        }
        result
    }
}
