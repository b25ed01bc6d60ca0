//! The names in a store's folder, which several give at once: the manifest that is written anew, the audit log.
//!
//! A sync of the folder that failed may have lost every name that was not durable yet, others' too, and no later sync brings
//! one back. So whoever gives a name looks whether one has failed since: the other way round his own would have succeeded,
//! and the name would be gone with the next power loss. One sync at a time, so that each failure is counted before the
//! next one begins.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many syncs of the folder have failed.
#[derive(Debug, Default)]
pub struct Names(Mutex<u64>);

impl Names {
    /// To be asked for before a name is given.
    #[must_use]
    pub fn failures(&self) -> u64 {
        *self.lock()
    }

    /// Has `sync` make durable what was named since there had been so many failures.
    ///
    /// # Errors
    /// What it answers, or that another one has failed meanwhile.
    pub fn sync_since(&self, failures: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut count = self.lock();
        sync().inspect_err(|_| *count += 1)?;
        if *count == failures {
            return Ok(());
        }
        Err(io::Error::other("another sync of the folder failed meanwhile, and may have taken the name along"))
    }

    /// While somebody who gives no name of his own syncs the folder, among others. He counts what fails.
    pub fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
