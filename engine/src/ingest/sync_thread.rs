//! One thread that waits for the device, so that the worker never does.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::is_out_of_files;
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::wal::{FrameNo, SyncJob, WalSynced};

use crate::core::Core;
use crate::sync::{Condvar, Mutex, thread};

/// When no more files may be opened, one is tried again after this.
const RETRY: Duration = Duration::from_millis(20);

/// A job and the sequence number behind the last sample that it makes durable.
type Job = (SyncJob, u64);

/// The desk between worker and sync thread: at most one job at a time.
pub(crate) struct SyncThread {
    desk: Mutex<Desk>,
    job_is_there: Condvar,
    manifest: Arc<Mutex<Manifest>>,
}

#[derive(Default)]
struct Desk {
    job: Option<Job>,
    running: bool,
    done: Option<FrameNo>,
    stop: bool,
}

impl SyncThread {
    /// `manifest` is told of new files of the log.
    pub(crate) fn new(manifest: Arc<Mutex<Manifest>>) -> Self {
        Self { desk: Mutex::default(), job_is_there: Condvar::default(), manifest }
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
        self.job_is_there.notify_one();
    }

    /// The frame up to which the last job made everything durable; each is told once.
    pub(crate) fn take_done(&self) -> Option<FrameNo> {
        self.desk.lock().expect("sync lock").done.take()
    }

    /// Ends the thread when the job at hand is done.
    pub(crate) fn stop(&self) {
        self.desk.lock().expect("sync lock").stop = true;
        self.job_is_there.notify_one();
    }

    /// The thread's life. A failed job poisons: it is never run again.
    pub(crate) fn run(&self, core: &Arc<Core>) {
        let mut untold = WalSynced::default();
        while let Some((job, seq)) = self.next() {
            let result = loop {
                let started = std::time::Instant::now();
                let result = job.run();
                core.counters.fdatasync(started.elapsed());
                match &result {
                    // The folder could not be opened to be synced: no sync has failed.
                    Err(e) if is_out_of_files(e) && !core.is_stopping() => thread::park_timeout(RETRY),
                    _ => break result,
                }
            };
            match result {
                Ok(through) => {
                    {
                        let mut desk = self.desk.lock().expect("sync lock");
                        desk.running = false;
                        desk.done = Some(through);
                    }
                    let told = core.durable.synced(seq);
                    // The worker first: what was logged meanwhile waits for the next job.
                    core.wake_worker();
                    core.durable_waiters.reached(told);
                    untold.through = through;
                    untold.files.extend(job.made().iter().copied());
                    if !untold.files.is_empty() {
                        self.tell(core, &mut untold);
                    }
                }
                Err(e) => {
                    core.poison(format!("fdatasync of the log failed: {e}"));
                    return;
                }
            }
        }
        if !core.is_poisoned() {
            self.tell(core, &mut untold);
        }
    }

    /// Tells the manifest what is durable of the log that is still needed (L5). Where there is no space for that it is
    /// told with the next job.
    fn tell(&self, core: &Core, untold: &mut WalSynced) {
        let mut manifest = self.manifest.lock().expect("manifest lock");
        let known = &manifest.state().wal;
        if untold.through < known.next_frame || (untold.through <= known.synced_through && untold.files.is_empty()) {
            return untold.files.clear();
        }
        let told = manifest.commit(&[Edit::WalSynced(untold.clone())]);
        drop(manifest);
        match told {
            Ok(()) => untold.files.clear(),
            Err(e) if e.changes_nothing() => {}
            Err(e) => core.poison(format!("the manifest cannot be written: {e}")),
        }
    }

    fn next(&self) -> Option<Job> {
        let desk = self.desk.lock().expect("sync lock");
        let mut desk = self.job_is_there.wait_while(desk, |d| d.job.is_none() && !d.stop).expect("sync lock");
        let job = desk.job.take();
        desk.running = job.is_some();
        job
    }
}
