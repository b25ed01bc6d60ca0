//! The threads that carry out jobs: a pool of the compactor's own, so that queries keep theirs.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use super::compactor::Failure;
use super::plan::Job;
use crate::sync::thread::available_parallelism;
use crate::sync::{Condvar, Mutex};

pub(super) struct Crew(ThreadPool);

impl Crew {
    /// So many threads; with 0 half of the processors, at least one.
    pub(super) fn new(threads: usize) -> Result<Self, String> {
        let half = available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
        let builder = ThreadPoolBuilder::new().num_threads(if threads == 0 { half } else { threads });
        let pool = builder.thread_name(|i| format!("tidegauge-compact-{i}")).build();
        pool.map(Self).map_err(|e| format!("no thread to compact with: {e}"))
    }

    pub(super) fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on this thread; returns when everything that it spawned has ended.
    pub(super) fn scope<'scope, R>(&self, work: impl FnOnce(&Scope<'scope>) -> R) -> R {
        self.0.in_place_scope(work)
    }
}

/// A job and how it ended; an error of the outer kind is a panic.
type End = (Job, Result<Result<(), Failure>, Box<dyn Any + Send>>);

/// Jobs that ended.
#[derive(Default)]
pub(super) struct Ended {
    list: Mutex<VecDeque<End>>,
    changed: Condvar,
}

impl Ended {
    /// Carries a job out and tells how it ended, by a panic too.
    pub(super) fn tell(&self, job: Job, carry_out: impl FnOnce() -> Result<(), Failure>) {
        let how = catch_unwind(AssertUnwindSafe(carry_out));
        self.list.lock().expect("crew lock").push_back((job, how));
        self.changed.notify_all();
    }

    /// Waits for a job to end, at most so long. A panic in it goes on here.
    pub(super) fn next(&self, most: Duration) -> Option<(Job, Result<(), Failure>)> {
        let list = self.list.lock().expect("crew lock");
        let waited = self.changed.wait_timeout_while(list, most, |list| list.is_empty());
        let (mut list, _) = waited.expect("crew lock");
        let (job, how) = list.pop_front()?;
        drop(list);
        Some((job, how.unwrap_or_else(|panic| resume_unwind(panic))))
    }
}
