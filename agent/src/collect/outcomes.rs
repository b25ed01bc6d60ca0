//! How the last round of each target went, for those who ask.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scrape::Target;

/// Errors by job and instance. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Arc<Mutex<HashMap<(String, String), String>>>);

impl Outcomes {
    /// Why the last round failed; empty if it did not, or if there was none yet.
    #[must_use]
    pub fn last_error(&self, target: &Target) -> String {
        let key = (target.job().to_owned(), target.instance().to_owned());
        self.errors().get(&key).cloned().unwrap_or_default()
    }

    /// A round is over.
    pub(super) fn note(&self, job: &str, instance: &str, error: Option<&dyn Display>) {
        let key = (job.to_owned(), instance.to_owned());
        match error {
            Some(error) => self.errors().insert(key, error.to_string()),
            None => self.errors().remove(&key),
        };
    }

    /// A panic elsewhere leaves texts that are still good.
    fn errors(&self) -> MutexGuard<'_, HashMap<(String, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
