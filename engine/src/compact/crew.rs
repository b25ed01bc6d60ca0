//! The threads that carry out jobs: a pool of the compactor's own, so that queries keep theirs.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use super::compactor::Failure;
use super::plan::Job;
use crate::core::Core;
use crate::sync::thread::available_parallelism;
use crate::sync::{Arc, Condvar, Mutex};

pub(super) struct Crew(ThreadPool);

impl Crew {
    /// So many threads; with 0 half of the processors, at least one.
    pub(super) fn new(threads: usize, core: &Arc<Core>) -> Result<Self, String> {
        let half = available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
        let builder = ThreadPoolBuilder::new().num_threads(if threads == 0 { half } else { threads });
        // A job that fails may poison, and wakes those who wait then.
        let core = Arc::clone(core);
        let builder = builder.start_handler(move |_| core.this_is_own_thread());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    /// Their wakers were not told from other people's threads: one that closed the engine waited for the compactor, which
    /// waited for it.
    #[test]
    fn threads_that_compact_are_the_engines_own() {
        let (engine, other) = (Engine::in_memory().unwrap(), Engine::in_memory().unwrap());
        let (core, other) = (&engine.life().core, &other.life().core);
        let crew = Crew::new(1, core).unwrap();
        let own = Mutex::new(None);
        crew.scope(|scope| {
            scope.spawn(|_| *own.lock().unwrap() = Some((core.is_own_thread(), other.is_own_thread())));
        });
        assert_eq!(*own.lock().unwrap(), Some((true, false)));
        assert!(!core.is_own_thread(), "who asks is somebody else");
    }
}
