//! One thread that waits for the device, so that the worker never does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::is_out_of_files;
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{FrameNo, SyncJob, WalSynced};

use crate::core::Core;
use crate::gate::{Full, Shortage};
use crate::lock::LockName;
use crate::pace::Pace;
use crate::sync::{Condvar, Mutex, MutexGuard, run_soon};
use crate::watch::Worker;

/// When no more files may be opened, or somebody else holds the manifest, it is tried again after this.
const RETRY: Duration = Duration::from_millis(20);

/// What the thread is at besides.
const TELLING: &str = "telling the manifest where the log ends";

/// A job and the sequence number behind the last sample that it makes durable.
type Job = (SyncJob, u64);

/// The desk between worker and sync thread: at most one job at a time.
pub(crate) struct SyncThread {
    desk: Mutex<Desk>,
    desk_changed: Condvar,
    manifest: Arc<Mutex<Manifest>>,
    /// When the manifest is told where the log ends (L8, L9).
    pace: Pace,
    /// What must be there before anybody is told that something is durable.
    lock: Option<LockName>,
}

#[derive(Default)]
struct Desk {
    job: Option<Job>,
    running: bool,
    done: Option<FrameNo>,
    /// Since when there is nothing left to do for a job; `None` once that was told.
    rests_since: Option<Instant>,
    /// Nothing follows but what the worker has handed over, or does now.
    ending: bool,
    /// Whoever closes waits for the threads, and tells how it ended.
    is_joined: bool,
    /// The job at hand found no file to be opened to the end, and is still the one at hand.
    gave_up: bool,
    stop: bool,
}

impl Desk {
    /// Whether a try that begins now is the last one. Where nobody waits for the threads, nobody tells those who wait for the
    /// device that it was given up: then it is tried on.
    fn is_ending(&self) -> bool {
        self.ending && self.is_joined || self.stop
    }
}

/// What the sync thread does next.
enum Next {
    Sync(Job),
    /// The log rests for long enough: tell where it ends.
    TellEnd,
    Stop,
}

/// What is durable, and the manifest does not know yet.
#[derive(Default)]
struct Untold {
    log: WalSynced,
    /// Behind the last sample of it.
    next_seq: u64,
}

impl SyncThread {
    /// `manifest` is told of new files of the log, and of its end. `lock`: that of the directory.
    pub(crate) fn new(manifest: Arc<Mutex<Manifest>>, pace: Pace, lock: Option<LockName>) -> Self {
        Self { desk: Mutex::default(), desk_changed: Condvar::default(), manifest, pace, lock }
    }

    /// Whether the next job may be handed over.
    pub(crate) fn is_free(&self) -> bool {
        let desk = self.desk.lock().expect("sync lock");
        desk.job.is_none() && !desk.running
    }

    /// Hands a job over. Only while [`Self::is_free`].
    pub(crate) fn hand_over(&self, job: SyncJob, seq: u64) {
        let mut desk = self.desk.lock().expect("sync lock");
        debug_assert!(desk.job.is_none() && !desk.running, "one job at a time, in order");
        desk.job = Some((job, seq));
        desk.rests_since = None;
        self.desk_changed.notify_one();
    }

    /// The worker has nothing to do, and everything is synced. Told once for each rest.
    pub(crate) fn log_rests(&self) {
        self.desk.lock().expect("sync lock").rests_since = Some(Instant::now());
        self.desk_changed.notify_one();
    }

    /// The frame up to which the last job made everything durable; each is told once.
    pub(crate) fn take_done(&self) -> Option<FrameNo> {
        self.desk.lock().expect("sync lock").done.take()
    }

    /// The worker has nothing else to do than to wait for the last jobs: a try that begins now, and may open no file, is
    /// the last one (X13), if [somebody waits](Self::will_be_joined) for the end.
    pub(crate) fn end(&self) {
        self.desk.lock().expect("sync lock").ending = true;
        self.desk_changed.notify_one();
    }

    /// Whoever closes waits for the threads from here on.
    pub(crate) fn will_be_joined(&self) {
        self.desk.lock().expect("sync lock").is_joined = true;
        self.desk_changed.notify_one();
    }

    #[cfg(test)]
    pub(crate) fn is_told_of_the_end(&self) -> bool {
        self.desk.lock().expect("sync lock").ending
    }

    /// Whether the job at hand is not tried any more.
    pub(crate) fn has_given_up(&self) -> bool {
        self.desk.lock().expect("sync lock").gave_up
    }

    /// Ends the thread when the job at hand is done.
    pub(crate) fn stop(&self) {
        self.desk.lock().expect("sync lock").stop = true;
        self.desk_changed.notify_one();
    }

    /// The thread's life. A failed job poisons: it is never run again. One that may open no file to the end has not failed:
    /// all of it has left the process.
    pub(crate) fn run(&self, core: &Arc<Core>) {
        run_soon();
        let mut untold = Untold::default();
        // Where deletes end that compaction is to be told of once they are durable.
        let mut untold_deletes = None;
        let (begun, mut told_at) = (Instant::now(), None);
        // Whether it was to be told, and somebody else held the manifest.
        let mut held_up = false;
        loop {
            let (job, seq) = match self.next(told_at, held_up) {
                Next::Sync(job) => job,
                Next::TellEnd => {
                    let _work = core.watched.begin(Worker::Sync, TELLING);
                    // Somebody may hand the next job over meanwhile.
                    held_up = match self.manifest.try_lock() {
                        Ok(manifest) => {
                            let told = self.tell(core, manifest, &mut untold);
                            told_at = Some(Instant::now());
                            if !told {
                                self.rest_on();
                            }
                            false
                        }
                        Err(_) => true,
                    };
                    continue;
                }
                Next::Stop => break,
            };
            let work = core.watched.begin(Worker::Sync, "an fdatasync of the log");
            let mut is_short = false;
            let result = loop {
                let is_last = self.is_ending();
                let started = Instant::now();
                let result = job.run();
                core.counters.fdatasync(started.elapsed());
                match &result {
                    // The folder could not be opened to be synced: no sync has failed. It stays the same piece of work,
                    // so that it is told of if it lasts.
                    Err(e) if is_out_of_files(e) => {
                        if !std::mem::replace(&mut is_short, true) {
                            core.gate.disk_is_full(Full::Sync, Shortage::Files);
                        }
                        if is_last {
                            break None;
                        }
                        self.pause();
                    }
                    _ => break Some(result),
                }
            };
            let Some(result) = result else {
                self.give_up();
                core.wake_worker();
                break;
            };
            if is_short {
                core.gate.space_is_back(Full::Sync);
            }
            // Only what the next owner reads is durable, whoever that is (LK6 of the directory's lock).
            if let Some(lost) = self.lock.as_ref().filter(|lock| result.is_ok() && !lock.is_ours()) {
                core.poison(lost.lost());
                return;
            }
            drop(work);
            match result {
                Ok(through) => {
                    // Before the desk is free: who finds it free finds what the job has made durable.
                    let told = core.durable.synced(seq);
                    {
                        let mut desk = self.desk.lock().expect("sync lock");
                        desk.running = false;
                        desk.done = Some(through);
                    }
                    // The worker first: what was logged meanwhile waits for the next job.
                    core.wake_worker();
                    core.durable_waiters.reached(told);
                    // Who deleted meanwhile did not wait until it is durable, and compaction leaves it to then. It may lie
                    // behind the job that was short.
                    untold_deletes = if is_short { Some(core.watermark.seq()) } else { untold_deletes };
                    if let Some(end) = untold_deletes {
                        core.compactions.tell();
                        untold_deletes = untold_deletes.filter(|_| seq < end);
                    }
                    (untold.log.through, untold.next_seq) = (through, seq);
                    let _work = core.watched.begin(Worker::Sync, TELLING);
                    // Who flushes may hold it for long, and somebody waits for the next job: of two new files one after
                    // the other the manifest is told at least one all the same.
                    let is_second = !untold.log.files.is_empty() && !job.made().is_empty();
                    untold.log.files.extend(job.made().iter().copied());
                    let has_files = !untold.log.files.is_empty();
                    if has_files || told_at.unwrap_or(begun).elapsed() >= self.pace.under_load {
                        let manifest = if is_second { Some(self.manifest()) } else { self.manifest.try_lock().ok() };
                        held_up = has_files && manifest.is_none();
                        if let Some(manifest) = manifest {
                            self.tell(core, manifest, &mut untold);
                            told_at = if has_files { told_at } else { Some(Instant::now()) };
                        }
                    }
                }
                Err(e) => {
                    core.poison(format!("fdatasync of the log failed: {e}"));
                    return;
                }
            }
        }
        let _work = core.watched.begin(Worker::Sync, TELLING);
        self.tell(core, self.manifest(), &mut untold);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.desk.lock().expect("sync lock").is_ending()
    }

    fn give_up(&self) {
        self.desk.lock().expect("sync lock").gave_up = true;
    }

    /// Waits a moment, less if it is to be tried for the last time.
    fn pause(&self) {
        let desk = self.desk.lock().expect("sync lock");
        drop(self.desk_changed.wait_timeout_while(desk, RETRY, |desk| !desk.is_ending()).expect("sync lock"));
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().expect("manifest lock")
    }

    /// Tells the manifest what is durable of the log that is still needed (L5, L8, L12). Answers false where there is no
    /// space for that: it is told another time.
    fn tell(&self, core: &Core, mut manifest: MutexGuard<'_, Manifest>, untold: &mut Untold) -> bool {
        if core.is_poisoned() {
            return true;
        }
        let (known, through) = (&manifest.state().wal, untold.log.through);
        // What was released since is not asked for any more (L10).
        if through < known.next_frame || (through <= known.synced_through && untold.log.files.is_empty()) {
            untold.log.files.clear();
            return true;
        }
        let numbers = Edit::Numbers { next_seq: SeqNo(untold.next_seq), greatest_frame: through };
        let told = manifest.commit(&[Edit::WalSynced(untold.log.clone()), numbers]);
        drop(manifest);
        match told {
            Ok(()) => untold.log.files.clear(),
            Err(e) if e.changes_nothing() => return false,
            Err(e) => core.poison(format!("the manifest cannot be written: {e}")),
        }
        true
    }

    /// What could not be told is tried again, unless a job brings more.
    fn rest_on(&self) {
        let mut desk = self.desk.lock().expect("sync lock");
        if desk.job.is_none() {
            desk.rests_since = Some(Instant::now());
        }
    }

    /// `told_at`: when the manifest was told last where the log ends. `held_up`: somebody held it since.
    fn next(&self, told_at: Option<Instant>, held_up: bool) -> Next {
        let again = held_up.then(|| Instant::now() + RETRY);
        let mut desk = self.desk.lock().expect("sync lock");
        loop {
            if let Some(job) = desk.job.take() {
                desk.running = true;
                return Next::Sync(job);
            }
            if desk.stop {
                return Next::Stop;
            }
            let rested = desk.rests_since.map(|since| self.pace.due(since, told_at));
            desk = match again.or(rested) {
                None => self.desk_changed.wait(desk).expect("sync lock"),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        desk.rests_since = None;
                        return Next::TellEnd;
                    }
                    self.desk_changed.wait_timeout(desk, left).expect("sync lock").0
                }
            };
        }
    }
}
