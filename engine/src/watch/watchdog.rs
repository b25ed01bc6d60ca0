//! One thread that looks once in a while, so that the others need no clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::works::Work;
use super::{OnWarning, Stalled, Warning, Worker, Working, Works};
use crate::core::Core;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, expect_none_held, lock};

/// It looks at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Warnings of others that wait for a look.
const SOON_MAX: usize = 64;

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
    /// All workers that are stalled now.
    pub(crate) stalled: Mutex<Vec<Stalled>>,
    pub(crate) stalls: AtomicU64,
    pub(crate) warnings: AtomicU64,
    /// Of others, told with the next look: nobody's own code runs in the thread of who asked for something.
    soon: Mutex<Vec<Warning>>,
    /// What the workers are at, but for the ingest worker, who counts his rounds.
    pub(crate) works: Arc<Works>,
}

impl Watched {
    /// A worker begins a piece of work. It ends when the answer is dropped.
    pub(crate) fn begin(&self, worker: Worker, what: &'static str) -> Working {
        self.works.begin(worker, what)
    }

    /// Has a warning told by the watch thread. Beyond as many as it tells at once it is left out.
    pub(crate) fn warn(&self, warning: Warning) {
        let mut soon = lock(&self.soon);
        if soon.len() < SOON_MAX {
            soon.push(warning);
        }
    }
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

    /// The thread's life. Where it ends nothing is stalled any more: nobody would take it back.
    pub(crate) fn run(&self, core: &Core, limits: &WatchLimits) {
        let every = LOOK_EVERY.min(limits.stall_warn_after / 4).min(limits.snapshot_warn_after / 4);
        let mut seen = Seen::new(core);
        loop {
            let stop = lock(&self.stop);
            let (stop, _) = self
                .stopped
                .wait_timeout_while(stop, every.max(Duration::from_millis(1)), |stop| !*stop)
                .expect("watch lock");
            let is_over = *stop;
            drop(stop);
            // First: the guard would live as long as the call that it stands in.
            let soon = std::mem::take(&mut *lock(&core.watched.soon));
            tell(core, limits, soon);
            if is_over {
                lock(&core.watched.stalled).clear();
                core.watched.worker_stalled.store(false, Ordering::Relaxed);
                return;
            }
            tell(core, limits, seen.look(core, limits, Instant::now()));
        }
    }
}

fn tell(core: &Core, limits: &WatchLimits, warnings: Vec<Warning>) {
    for warning in warnings {
        core.watched.warnings.fetch_add(1, Ordering::Relaxed);
        // Someone else's code: its panic is its own, and it may ask the engine for anything.
        expect_none_held();
        let _ = catch_unwind(AssertUnwindSafe(|| (limits.on_warning.0)(&warning)));
    }
}

/// What was seen last.
struct Seen {
    rounds: u64,
    moved_at: Instant,
    works: Vec<SeenWork>,
    /// The snapshot that was told of last, by when it was taken.
    told_of: Option<Duration>,
}

/// A piece of work, and how far it was.
struct SeenWork {
    work: Arc<Work>,
    steps: u64,
    moved_at: Instant,
    is_stalled: bool,
}

impl Seen {
    fn new(core: &Core) -> Self {
        Self { rounds: core.rounds(), moved_at: Instant::now(), works: Vec::new(), told_of: None }
    }

    fn look(&mut self, core: &Core, limits: &WatchLimits, now: Instant) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut stalled: Vec<Stalled> = self.look_at_ingest(core, limits, now, &mut warnings).into_iter().collect();
        stalled.extend(self.look_at_works(&core.watched.works, limits, now, &mut warnings));
        core.watched.stalls.fetch_add(warnings.len() as u64, Ordering::Relaxed);
        *lock(&core.watched.stalled) = stalled;
        if let Some((taken, age)) = core.pins.oldest_age()
            && age >= limits.snapshot_warn_after
            && self.told_of.is_none_or(|told| told < taken)
        {
            self.told_of = Some(taken);
            warnings.push(Warning::SnapshotHeld { age });
        }
        warnings
    }

    fn look_at_ingest(
        &mut self,
        core: &Core,
        limits: &WatchLimits,
        now: Instant,
        warnings: &mut Vec<Warning>,
    ) -> Option<Stalled> {
        let rounds = core.rounds();
        let for_at_least = now.duration_since(self.moved_at);
        // A worker that has ended, as it should or by poison, is another matter.
        if rounds != self.rounds || core.has_ended() || core.is_poisoned() {
            (self.rounds, self.moved_at) = (rounds, now);
            core.watched.worker_stalled.store(false, Ordering::Relaxed);
            return None;
        }
        if for_at_least < limits.stall_warn_after {
            return None;
        }
        if !core.watched.worker_stalled.swap(true, Ordering::Relaxed) {
            core.watched.worker_stalls.fetch_add(1, Ordering::Relaxed);
            warnings.push(Warning::WorkerStalled { for_at_least });
        }
        Some(Stalled { worker: Worker::Ingest, work: "its rounds", for_at_least })
    }

    /// Those of the others that are stalled.
    fn look_at_works(
        &mut self,
        works: &Works,
        limits: &WatchLimits,
        now: Instant,
        warnings: &mut Vec<Warning>,
    ) -> Vec<Stalled> {
        let under_way = works.under_way();
        let is_under_way = |seen: &SeenWork| under_way.iter().any(|work| Arc::ptr_eq(work, &seen.work));
        self.works.retain(is_under_way);
        let mut stalled = Vec::new();
        for work in under_way {
            let steps = work.steps();
            let Some(seen) = self.works.iter_mut().find(|seen| Arc::ptr_eq(&work, &seen.work)) else {
                self.works.push(SeenWork { work, steps, moved_at: now, is_stalled: false });
                continue;
            };
            if steps != seen.steps {
                (seen.steps, seen.moved_at, seen.is_stalled) = (steps, now, false);
                continue;
            }
            let for_at_least = now.duration_since(seen.moved_at);
            if for_at_least < limits.stall_warn_after {
                continue;
            }
            let found = Stalled { worker: work.worker, work: work.what, for_at_least };
            if !std::mem::replace(&mut seen.is_stalled, true) {
                warnings.push(Warning::Stalled(found.clone()));
            }
            stalled.push(found);
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock is ours: who gets on, however long it takes, is not stalled, nor is who has nothing to do.
    #[test]
    fn who_gets_on_is_not_stalled_and_who_does_not_is_told_of_once() {
        let limits = WatchLimits {
            stall_warn_after: Duration::from_secs(5),
            snapshot_warn_after: Duration::MAX,
            on_warning: OnWarning::default(),
        };
        let works = Arc::new(Works::default());
        let mut seen = Seen { rounds: 0, moved_at: Instant::now(), works: Vec::new(), told_of: None };
        let start = Instant::now();
        let mut at = |seconds: u64| {
            let mut warnings = Vec::new();
            let now = start + Duration::from_secs(seconds);
            let stalled = seen.look_at_works(&works, &limits, now, &mut warnings);
            let of = |s: &Stalled| (s.worker, s.work, s.for_at_least.as_secs());
            (stalled.iter().map(of).collect::<Vec<_>>(), warnings.len())
        };
        assert_eq!(at(0), (vec![], 0), "nobody does anything");
        let long = works.begin(Worker::Compact, "a long job");
        let hangs = works.begin(Worker::Compact, "a job that hangs");
        for second in 1..6 {
            assert_eq!(at(second), (vec![], 0));
            long.gets_on();
        }
        let job = |seconds| (Worker::Compact, "a job that hangs", seconds);
        assert_eq!(at(6), (vec![job(5)], 1));
        long.gets_on();
        assert_eq!(at(9), (vec![job(8)], 0), "each is told of once");
        hangs.gets_on();
        assert_eq!(at(10), (vec![], 0), "it gets on");
        assert_eq!(at(15), (vec![(Worker::Compact, "a long job", 6), job(5)], 2), "again");
        drop(long);
        assert_eq!(at(16), (vec![job(6)], 0));
        drop(hangs);
        // Another piece of work has its own time, wherever it lies.
        let next = works.begin(Worker::Flush, "the next");
        assert_eq!(at(100), (vec![], 0));
        assert_eq!(at(104), (vec![], 0));
        assert_eq!(at(105), (vec![(Worker::Flush, "the next", 5)], 1));
        drop(next);
        assert_eq!(at(200), (vec![], 0));
    }
}
