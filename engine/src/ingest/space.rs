//! What the worker finds out about space before a push does: `docs/concurrency.md`, "A full disk" (X11).

use std::time::{Duration, Instant};

use super::Worker;
use crate::gate::Full;

/// While the next push would find no space it is tried again after this. A try takes, for a moment, what is free: seldom
/// enough to be in nobody's way, and soon enough for who looks whether the engine is ready.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Worker {
    /// Tries whether a push would find space, and shuts the gate, or takes back that it is shut for this. Called at the
    /// opening, before any thread runs, and behind what found none: before who asked for that is answered.
    pub(crate) fn look_for_space(&mut self) {
        let Some((log, _)) = &self.log else { return };
        match log.short() {
            Some(short) => {
                self.ask_space_at = Some(Instant::now() + ASK_EVERY);
                self.core.disk_is_full(Full::NextPush, short);
            }
            None => self.space_is_there(),
        }
    }

    /// Tries again when that is due; not while a round does so itself, which may be larger.
    pub(super) fn ask_for_space(&mut self, now: Instant) {
        if self.ask_space_at.is_some_and(|at| at <= now) && self.no_space_until.is_none() {
            self.look_for_space();
        }
    }

    /// Whoever found none: a push would find some now.
    pub(super) fn space_is_there(&mut self) {
        if self.ask_space_at.take().is_some() {
            self.core.gate.space_is_back(Full::NextPush);
        }
    }
}
