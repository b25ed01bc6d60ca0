//! What the flusher does next: sealed memtables, oldest first, and what is due besides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::wal::WalRelease;

use crate::memtable::Memtable;
use crate::sync::{Condvar, Mutex};

/// A memtable whose every tail is sealed.
pub(crate) struct FlushJob {
    pub(crate) memtable: Arc<Memtable>,
    /// A commit that covers everything in it.
    pub(crate) commit: u64,
    /// What the log may let go once this and all before are in segments.
    pub(crate) release: Option<WalRelease>,
    /// Deletes up to this number the manifest has by then: what the log lets go of may have them (K8).
    pub(crate) deletes_through: u64,
}

/// Jobs in the order in which their memtables were sealed.
#[derive(Default)]
pub(crate) struct FlushQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<FlushJob>,
    /// Since when the manifest has commits that it does not call durable itself.
    unwitnessed_since: Option<Instant>,
    stop: bool,
}

/// What is to be done.
pub(super) enum Next {
    Flush(FlushJob),
    /// The manifest is to say which commit is durable.
    Witness,
    /// The time that was given has come.
    Tidy,
    Stop,
}

impl FlushQueue {
    pub(crate) fn hand_over(&self, job: FlushJob) {
        self.state.lock().expect("flush lock").jobs.push_back(job);
        self.changed.notify_all();
    }

    /// The manifest has a commit that it does not call durable itself.
    pub(crate) fn manifest_grew(&self) {
        let mut state = self.state.lock().expect("flush lock");
        if state.unwitnessed_since.is_none() {
            state.unwitnessed_since = Some(Instant::now());
            self.changed.notify_all();
        }
    }

    /// Waits for something to do. `witness_due` answers when the manifest's witness is due that has something to say
    /// since then. [`Next::Stop`] once stopped and empty; the witness is left to who stops it then.
    pub(super) fn next(&self, tidy_at: Option<Instant>, witness_due: impl Fn(Instant) -> Instant) -> Next {
        let mut state = self.state.lock().expect("flush lock");
        loop {
            let (now, witness_at) = (Instant::now(), state.unwitnessed_since.map(&witness_due));
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            // Before the next job: there may always be one.
            if is_due(witness_at) && !state.stop {
                state.unwitnessed_since = None;
                return Next::Witness;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Next::Flush(job);
            }
            if state.stop {
                return Next::Stop;
            }
            if is_due(tidy_at) {
                return Next::Tidy;
            }
            state = match [witness_at, tidy_at].into_iter().flatten().min() {
                None => self.changed.wait(state).expect("flush lock"),
                Some(at) => self.changed.wait_timeout(state, at - now).expect("flush lock").0,
            };
        }
    }

    /// Ends the flusher once the queue is empty.
    pub(crate) fn stop(&self) {
        self.state.lock().expect("flush lock").stop = true;
        self.changed.notify_all();
    }

    /// Whether nothing is handed over any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().expect("flush lock").stop
    }

    /// Waits a moment, less if the engine stops.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.state.lock().expect("flush lock");
        drop(self.changed.wait_timeout_while(state, time, |s| !s.stop).expect("flush lock"));
    }
}
