//! What is asked of the compactor, and what came of it.

use std::time::Duration;

use super::CompactError;
use crate::sync::{Condvar, Mutex};

/// The desk between those who want segments compacted and the thread that does it.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    /// Something changed since the compactor last looked.
    news: bool,
    /// Numbers of full compactions asked for, and of the last one that ended.
    asked: u64,
    ended: u64,
    last: Option<CompactError>,
}

/// What the compactor shall do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stop,
    /// Everything that can be done, and tell the end of request number so-and-so.
    All(u64),
    /// What is worth it.
    Due,
}

impl Desk {
    /// There may be something to do.
    pub(crate) fn tell(&self) {
        self.state.lock().expect("compaction lock").news = true;
        self.changed.notify_all();
    }

    /// Ends the compactor, in the middle of a job too.
    pub(crate) fn stop(&self) {
        self.state.lock().expect("compaction lock").stop = true;
        self.changed.notify_all();
    }

    /// Asks for everything that can be done, and waits until it is. An end of the compactor is an answer too.
    pub(crate) fn ask_and_wait(&self) -> Result<(), CompactError> {
        let mut state = self.state.lock().expect("compaction lock");
        if state.stop {
            return Err(state.last.clone().unwrap_or(CompactError::Closed));
        }
        state.asked += 1;
        let ours = state.asked;
        self.changed.notify_all();
        let state = self.changed.wait_while(state, |s| s.ended < ours && !s.stop).expect("compaction lock");
        if state.ended < ours {
            return Err(state.last.clone().unwrap_or(CompactError::Closed));
        }
        state.last.clone().map_or(Ok(()), Err)
    }

    /// Whether somebody waits for everything that can be done.
    pub(super) fn is_asked(&self) -> bool {
        let state = self.state.lock().expect("compaction lock");
        state.asked > state.ended
    }

    /// What to do; waits for something, at most `idle`.
    pub(super) fn next(&self, idle: Duration) -> Next {
        let state = self.state.lock().expect("compaction lock");
        let nothing = |s: &mut State| !s.stop && !s.news && s.asked == s.ended;
        let (mut state, _) = self.changed.wait_timeout_while(state, idle, nothing).expect("compaction lock");
        if state.stop {
            return Next::Stop;
        }
        state.news = false;
        if state.asked > state.ended { Next::All(state.asked) } else { Next::Due }
    }

    /// All requests up to number `asked` have ended so.
    pub(super) fn ended(&self, asked: u64, how: Result<(), CompactError>) {
        let mut state = self.state.lock().expect("compaction lock");
        state.ended = asked;
        state.last = how.err();
        drop(state);
        self.changed.notify_all();
    }

    /// The compactor is gone for this cause.
    pub(super) fn gone(&self, cause: CompactError) {
        let mut state = self.state.lock().expect("compaction lock");
        state.stop = true;
        state.last = Some(cause);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits a moment, less if the engine stops. Answers whether it does.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.state.lock().expect("compaction lock");
        let (state, _) = self.changed.wait_timeout_while(state, time, |s| !s.stop).expect("compaction lock");
        state.stop
    }
}
