//! From the worker to the flusher: sealed memtables, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
    stop: bool,
}

impl FlushQueue {
    pub(crate) fn hand_over(&self, job: FlushJob) {
        self.state.lock().expect("flush lock").jobs.push_back(job);
        self.changed.notify_all();
    }

    /// The next job; waits for one, and calls `idle` once if there is none for `time`. `None` once stopped and empty.
    pub(super) fn next(&self, time: Duration, idle: impl FnOnce()) -> Option<FlushJob> {
        let nothing = |s: &mut State| s.jobs.is_empty() && !s.stop;
        let state = self.state.lock().expect("flush lock");
        let (mut state, _) = self.changed.wait_timeout_while(state, time, nothing).expect("flush lock");
        if nothing(&mut state) {
            drop(state);
            idle();
            state = self.state.lock().expect("flush lock");
            state = self.changed.wait_while(state, nothing).expect("flush lock");
        }
        state.jobs.pop_front()
    }

    /// Ends the flusher once the queue is empty.
    pub(crate) fn stop(&self) {
        self.state.lock().expect("flush lock").stop = true;
        self.changed.notify_all();
    }

    /// Waits a moment, less if the engine stops. Answers whether it does.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.state.lock().expect("flush lock");
        let (state, _) = self.changed.wait_timeout_while(state, time, |s| !s.stop).expect("flush lock");
        state.stop
    }
}
