//! One thread that looks once in a while, so that the others need no clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{OnWarning, Warning};
use crate::core::Core;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, lock};

/// It looks at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bounds beyond which a warning is due.
#[derive(Clone, Debug)]
pub(crate) struct WatchLimits {
    pub(crate) stall_warn_after: Duration,
    pub(crate) snapshot_warn_after: Duration,
    pub(crate) on_warning: OnWarning,
}

/// What it has seen, for the statistics.
#[derive(Default)]
pub(crate) struct Watched {
    /// Whether the worker is stalled now.
    pub(crate) worker_stalled: AtomicBool,
    pub(crate) worker_stalls: AtomicU64,
    pub(crate) warnings: AtomicU64,
}

/// The watchdog.
#[derive(Default)]
pub(crate) struct Watchdog {
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Watchdog {
    pub(crate) fn stop(&self) {
        *lock(&self.stop) = true;
        self.stopped.notify_all();
    }

    /// The thread's life.
    pub(crate) fn run(&self, core: &Core, limits: &WatchLimits) {
        let every = LOOK_EVERY.min(limits.stall_warn_after / 4).min(limits.snapshot_warn_after / 4);
        let mut seen = Seen::new(core);
        loop {
            let stop = lock(&self.stop);
            let (stop, _) = self
                .stopped
                .wait_timeout_while(stop, every.max(Duration::from_millis(1)), |stop| !*stop)
                .expect("watch lock");
            if *stop {
                return;
            }
            drop(stop);
            for warning in seen.look(core, limits, Instant::now()) {
                core.watched.warnings.fetch_add(1, Ordering::Relaxed);
                // Someone else's code: its panic is its own.
                let _ = catch_unwind(AssertUnwindSafe(|| (limits.on_warning.0)(&warning)));
            }
        }
    }
}

/// What was seen last.
struct Seen {
    rounds: u64,
    moved_at: Instant,
    /// The snapshot that was told of last, by when it was taken.
    told_of: Option<Duration>,
}

impl Seen {
    fn new(core: &Core) -> Self {
        Self { rounds: core.rounds(), moved_at: Instant::now(), told_of: None }
    }

    fn look(&mut self, core: &Core, limits: &WatchLimits, now: Instant) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let rounds = core.rounds();
        // A worker that has ended, as it should or by poison, is another matter.
        if rounds != self.rounds || core.has_ended() || core.is_poisoned() {
            (self.rounds, self.moved_at) = (rounds, now);
            core.watched.worker_stalled.store(false, Ordering::Relaxed);
        } else {
            let for_at_least = now.duration_since(self.moved_at);
            if for_at_least >= limits.stall_warn_after && !core.watched.worker_stalled.swap(true, Ordering::Relaxed) {
                core.watched.worker_stalls.fetch_add(1, Ordering::Relaxed);
                warnings.push(Warning::WorkerStalled { for_at_least });
            }
        }
        if let Some((taken, age)) = core.pins.oldest_age()
            && age >= limits.snapshot_warn_after
            && self.told_of.is_none_or(|told| told < taken)
        {
            self.told_of = Some(taken);
            warnings.push(Warning::SnapshotHeld { age });
        }
        warnings
    }
}
