//! Everything that was done to a disk, to be gone through again step by step.

use std::path::Path;
use std::sync::Arc;

use super::choice::Choose;
use super::disk::{Disk, NameChange, State, Step};
use super::{SimFs, SyncSite};

/// A step that has to do with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStep<'a> {
    /// A file or folder was made, or a file got a further name.
    Made(&'a Path),
    /// A file got another name.
    Renamed(&'a Path, &'a Path),
    /// A name was removed.
    Removed(&'a Path),
    /// The names in a folder were synced.
    Synced(&'a Path),
}

/// A recorded disk, at one of its steps. Between any two of them the power may have failed.
///
/// Going on costs what the step costs, and an image shares all pages that it does not change.
#[derive(Clone)]
pub struct Timeline {
    disk: Disk,
    first: u64,
    steps: Arc<[Step]>,
    at: usize,
}

impl Timeline {
    pub(super) fn new(start: Disk, steps: Vec<Step>) -> Self {
        Self { first: start.steps, disk: start, steps: steps.into(), at: 0 }
    }

    /// Steps taken since the disk was new, comparable with [`SimFs::steps`].
    #[must_use]
    pub fn at(&self) -> u64 {
        self.first + self.at as u64
    }

    /// Steps when all are taken.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.steps.len() as u64
    }

    /// The steps that have to do with names, taken or not, each with the number of those before it.
    pub fn name_steps(&self) -> impl Iterator<Item = (u64, NameStep<'_>)> {
        (self.first..).zip(self.steps.iter()).filter_map(|(at, step)| {
            let named = match step {
                Step::Name(NameChange::Add(path, _)) => NameStep::Made(path),
                Step::Name(NameChange::Rename(from, to, _)) => NameStep::Renamed(from, to),
                Step::Name(NameChange::Remove(path)) => NameStep::Removed(path),
                Step::SyncDir { dir, synced } if !synced.failed => NameStep::Synced(dir),
                _ => return None,
            };
            Some((at, named))
        })
    }

    /// Whether all steps are taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.at == self.steps.len()
    }

    /// Who asks for the next step, if that is a sync.
    #[must_use]
    pub fn next_site(&self) -> Option<&str> {
        match self.steps.get(self.at)? {
            Step::SyncFile { synced, .. } | Step::SyncDir { synced, .. } => synced.site.as_deref(),
            _ => None,
        }
    }

    /// Takes the next step. Syncs asked for by a site for which `ignored` answers true report
    /// success and do nothing, as those of a disk that lies.
    pub fn advance_ignoring(&mut self, ignored: impl Fn(&str) -> bool) {
        let heeded = !self.next_site().is_some_and(ignored);
        let Some(step) = self.steps.get(self.at) else { return };
        self.disk.apply(step, heeded);
        self.at += 1;
    }

    /// Takes the next step.
    pub fn advance(&mut self) {
        self.advance_ignoring(|_| false);
    }

    /// The sites of all syncs that succeeded, as often as they did.
    pub fn sync_sites(&self) -> impl Iterator<Item = SyncSite> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::SyncFile { synced, .. } | Step::SyncDir { synced, .. } if !synced.failed => synced.site.clone(),
            _ => None,
        })
    }

    /// The disk after a power loss now, with what `choose` leaves of the unsynced.
    #[must_use]
    pub fn power_loss(&self, choose: &mut dyn Choose) -> SimFs {
        SimFs::of(self.disk.after_power_loss(choose))
    }

    /// The disk as a new process finds it if the old one was killed now.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        SimFs::of(self.disk.after_kill())
    }
}

impl SimFs {
    /// Keeps every step from now on.
    pub fn record(&self) {
        let mut state = self.lock();
        state.journal = Some(Vec::new());
        state.recorded_from = Some(state.disk.clone());
    }

    /// What was recorded up to now; recording goes on. Nothing, if [`record`](Self::record) was not called.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let state = self.lock();
        let State { recorded_from, journal, disk, .. } = &*state;
        let start = recorded_from.clone().unwrap_or_else(|| disk.clone());
        Timeline::new(start, journal.clone().unwrap_or_default())
    }
}
