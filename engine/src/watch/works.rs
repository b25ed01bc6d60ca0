//! What the threads of an engine are at, so that the watchdog sees who does not get on.

use std::fmt;
use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};

/// A thread of an engine, or threads that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Worker {
    /// Orders, logs, applies and publishes all samples.
    Ingest,
    /// Waits for the fdatasyncs of the log.
    Sync,
    /// Writes memtables as segments.
    Flush,
    /// Replaces segments by fewer ones.
    Compact,
    /// Writes the heartbeat of the directory's lock.
    Lock,
}

impl Worker {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Ingest, Self::Sync, Self::Flush, Self::Compact, Self::Lock];

    /// In one word: what its thread's name ends with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Sync => "sync",
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Lock => "lock",
        }
    }
}

/// A worker that does not get on with what it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalled {
    /// Who.
    pub worker: Worker,
    /// With what.
    pub work: &'static str,
    /// Since when at least.
    pub for_at_least: Duration,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, work, for_at_least } = self;
        write!(f, "the {} thread has not got on with {work} for {for_at_least:?}", worker.name())
    }
}

/// The pieces of work that are under way. What a thread waits for when it has nothing to do is none.
#[derive(Default)]
pub(crate) struct Works(Mutex<Vec<Arc<Work>>>);

/// A piece of work.
pub(super) struct Work {
    pub(super) worker: Worker,
    pub(super) what: &'static str,
    steps: AtomicU64,
}

impl Work {
    /// Moves while whoever does it gets on.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

impl Works {
    /// A piece of work begins. It ends when the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>, worker: Worker, what: &'static str) -> Working {
        let work = Arc::new(Work { worker, what, steps: AtomicU64::new(0) });
        lock(&self.0).push(Arc::clone(&work));
        Working { works: Arc::clone(self), work }
    }

    pub(super) fn under_way(&self) -> Vec<Arc<Work>> {
        lock(&self.0).clone()
    }
}

/// Held by whoever does a piece of work.
pub(crate) struct Working {
    works: Arc<Works>,
    work: Arc<Work>,
}

impl Working {
    /// It gets on, or waits for somebody whom it may wait for.
    pub(crate) fn gets_on(&self) {
        // Relaxed: nothing is read on the strength of it.
        self.work.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.works.0).retain(|work| !Arc::ptr_eq(work, &self.work));
    }
}
