//! The life of an engine: what is opened, which threads run, how it ends.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{Epoch, leave_reserve};

use crate::audit::{AuditLog, Entry};
use crate::compact::Compactor;
use crate::core::{Core, SeriesSample};
use crate::engine::Metadata;
use crate::error::{CloseError, MetadataError, OpenError};
use crate::evict::{Evictor, IdleLimits};
use crate::flush::{FlushQueue, Flusher, try_witness};
use crate::follow::Follower;
use crate::gate::{Shortage, Shut};
use crate::ingest::{SyncThread, Worker};
use crate::lock::DirLock;
use crate::recovery::RecoveryReport;
use crate::ring::CommonSender;
use crate::snapshot::Reads;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, lock, thread};
use crate::watch::{Warning, WatchLimits, Watchdog};

/// Closes an engine when the last handle goes.
pub(crate) struct Owner(Arc<Life>);

impl Owner {
    pub(crate) fn new(life: Life) -> Self {
        Self(Arc::new(life))
    }

    pub(crate) fn close(&self) -> Result<(), CloseError> {
        self.0.told.store(true, Ordering::Relaxed);
        self.0.close()
    }
}

impl std::ops::Deref for Owner {
    type Target = Life;

    fn deref(&self) -> &Life {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.core.gate.is_forked() {
            return self.0.leave_to_parent();
        }
        self.0.close_and_tell();
    }
}

/// An open engine.
pub(crate) struct Life {
    pub(crate) core: Arc<Core>,
    pub(crate) common: CommonSender<SeriesSample>,
    pub(crate) dir: Option<PathBuf>,
    /// Whether the store is there when the engine is not: that of an engine in memory goes with it.
    pub(crate) outlives: bool,
    /// Memtables of generations below this are of the log that the opening found, which stays until they are in segments.
    pub(crate) replayed_below: u32,
    /// The number of the first thing that it accepts.
    pub(crate) begins_at: SeqNo,
    /// The files, and the directory they are in; of an engine in memory too.
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) root: PathBuf,
    pub(crate) manifest: Arc<Mutex<Manifest>>,
    /// Where administrative acts are noted.
    pub(crate) audit: AuditLog,
    /// How the opening went.
    pub(crate) report: RecoveryReport,
    /// Whether who has the engine closed it, and did not only let go of it: then he has the report (AD6 of `audit/`).
    pub(crate) told: AtomicBool,
    /// What a reader beside the owner reads anew.
    pub(crate) follower: Option<Mutex<Follower>>,
    /// Where the log's files are; `None` if this engine writes none.
    pub(crate) log_files: Option<(Arc<dyn Fs>, PathBuf)>,
    pub(crate) sync: Option<Arc<SyncThread>>,
    pub(crate) flushes: Arc<FlushQueue>,
    /// What readers need: the query threads, segments that were compacted while somebody read them.
    pub(crate) reads: Arc<Reads>,
    pub(crate) held: Mutex<Held>,
}

/// What is given back at the close.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) worker: Option<thread::JoinHandle<()>>,
    pub(crate) flusher: Option<thread::JoinHandle<()>>,
    pub(crate) syncer: Option<thread::JoinHandle<()>>,
    pub(crate) compactor: Option<thread::JoinHandle<()>>,
    pub(crate) watchdog: Option<(Arc<Watchdog>, thread::JoinHandle<()>)>,
    pub(crate) evictor: Option<(Arc<Evictor>, thread::JoinHandle<()>)>,
    pub(crate) lock: Option<DirLock>,
    /// How many deletes the close could not note, and what they were short of: every close tells.
    pub(crate) not_noted: Option<(u64, Option<Shortage>)>,
}

impl Held {
    fn stop_evictor(&mut self) {
        if let Some((evictor, thread)) = self.evictor.take() {
            evictor.stop();
            join(Some(thread));
        }
    }
}

impl Life {
    /// Notes an act that stands whether it can be noted or not. Where it cannot be, that is counted, and told.
    pub(crate) fn record(&self, entry: Entry, act: impl FnOnce() -> String) {
        if let Err(e) = self.audit.record(entry) {
            self.unaudited(act(), &e);
        }
    }

    /// Counts an act that has no line, and tells it.
    pub(crate) fn unaudited(&self, act: String, error: &dyn std::error::Error) {
        self.core.counters.unaudited();
        self.core.watched.warn(Warning::Unaudited { act, error: error.to_string() });
    }

    /// Stops the threads in the order of the way of a sample: worker, flusher, sync thread.
    ///
    /// Asked by a thread of the engine itself (a waker did), it closes in the background: nobody can wait for himself.
    fn close(self: &Arc<Self>) -> Result<(), CloseError> {
        self.core.gate.not_in_child()?;
        if !self.core.is_own_thread() {
            return self.close_here();
        }
        let life = Arc::clone(self);
        let spawned = thread::Builder::new().name("tidegauge-close".into()).spawn(move || life.close_and_tell());
        if spawned.is_err() {
            self.close_without_end();
        }
        Err(CloseError::InWaker)
    }

    /// In a child of the process that opened it. All of it is the parent's: no thread is here to be waited for, and to
    /// close properly would write to files that the parent writes to. So it is left as it is, but for the child's copy of
    /// the locked file, which would keep the lock when the parent is gone.
    fn leave_to_parent(self: &Arc<Self>) {
        std::mem::forget(Arc::clone(self));
        // A thread that is not here may hold it for ever.
        let copy = self.held.try_lock().ok().and_then(|mut held| held.lock.take());
        drop(copy);
    }

    /// Where nobody can wait for the threads: nothing is let in any more, and the worker brings what it has to segments.
    /// Meanwhile the threads write, so the directory stays this process's until that ends, whatever handles go.
    fn close_without_end(self: &Arc<Self>) {
        self.begin_closing();
        std::mem::forget(Arc::clone(self));
    }

    /// For a handle that goes. Whoever closed it before was told.
    fn close_and_tell(self: &Arc<Self>) {
        if self.core.has_ended() {
            return;
        }
        match self.close() {
            Ok(()) | Err(CloseError::InWaker) => {}
            Err(e) => eprintln!("tidegauge: closing: {e}"),
        }
    }

    pub(crate) fn begin_closing(&self) {
        self.core.gate.shut(Shut::Closed);
        self.core.rings.close();
        self.core.stop.store(true, Ordering::Release);
        self.core.wake_worker();
        self.core.compactions.stop();
    }

    fn close_here(&self) -> Result<(), CloseError> {
        let core = &self.core;
        let read_only = core.gate.why_shut() == Some(Shut::ReadOnly);
        self.begin_closing();
        self.give_back();
        // Not before: no lock is held.
        core.tell_end();
        if let Some(poisoned) = core.gate.poisoned() {
            return Err(poisoned.into());
        }
        let undrained = core.rings.stats().lanes.iter().map(|lane| lane.depth).sum::<u64>();
        if undrained > 0 && !read_only {
            return Err(CloseError::NotTaken { samples: undrained, short_of: core.gate.waits_for() });
        }
        if read_only {
            return Ok(());
        }
        // Whoever closes it after others is told the same: it is no better by then. What is lost comes first.
        let undone = lock(&self.held).not_noted.filter(|_| self.outlives);
        match (self.unflushed(), undone) {
            (Some((samples, logged)), undone) if !logged || undone.is_none() => {
                Err(CloseError::NotFlushed { samples, logged, short_of: core.gate.flush_waits() })
            }
            (_, Some((deletes, short_of))) => Err(CloseError::NotNoted { deletes, short_of }),
            _ => Ok(()),
        }
    }

    /// How many samples are in no segment, and whether a log has them; of those that none has, if there are any. Nothing of
    /// a store that goes with the engine.
    fn unflushed(&self) -> Option<(u64, bool)> {
        let version = self.core.versions.load();
        let lost = if self.core.durability.logs() { 0 } else { version.unflushed_samples(self.replayed_below) };
        let samples = if lost > 0 { lost } else { version.unflushed_samples(0) };
        (self.outlives && samples > 0).then_some((samples, lost == 0))
    }

    /// Ends the threads and lets go of the directory. Wakes nobody: it holds a lock, and wakers are other people's code.
    fn give_back(&self) {
        let core = &self.core;
        // One at a time: a second close waits for the first and finds nothing to do.
        let mut held = lock(&self.held);
        if let Some(sync) = &self.sync {
            sync.will_be_joined();
        }
        join(held.worker.take());
        // It asks the worker, who has answered or is gone.
        held.stop_evictor();
        self.flushes.stop();
        join(held.flusher.take());
        if let Some(sync) = &self.sync {
            sync.stop();
        }
        join(held.syncer.take());
        if let Some(compactor) = held.compactor.take() {
            join(Some(compactor));
            held.not_noted = self.note_rest();
        }
        // Nobody commits any more (E4).
        if let Err(cause) = try_witness(core, &self.manifest) {
            core.note_poison(cause);
        }
        // The store of an engine in memory has no lock, and no other owner.
        let is_held = held.lock.as_ref().map_or(self.dir.is_none(), DirLock::is_held);
        if is_held && !core.is_poisoned() && !core.has_ended() {
            self.note_told();
            lock(&self.manifest).note_closed();
        }
        core.end();
        if let Some((watchdog, thread)) = held.watchdog.take() {
            watchdog.stop();
            join(Some(thread));
        }
        // Of a directory that may be somebody else's nothing is removed.
        if held.lock.is_some() && is_held {
            self.reads.graveyard.clear(self.is_copied());
            self.remove_released_log();
        }
        held.lock = None;
    }

    /// Notes that the report of a salvage was told. Where that cannot be written, it is told once more.
    fn note_told(&self) {
        if !self.told.load(Ordering::Relaxed) {
            return;
        }
        let (store_id, opening) = {
            let manifest = lock(&self.manifest);
            (manifest.state().store_id, manifest.state().open_number)
        };
        if let Some(entry) = self.report.told_entry(opening, store_id) {
            let _ = self.audit.record(entry);
        }
    }

    /// A closed store holds no disk for a log that nobody needs, but for what an opening on a full disk needs (X9). What
    /// cannot be removed now is removed at the next opening.
    fn remove_released_log(&self) {
        let Some((fs, dir)) = &self.log_files else { return };
        // A panic under it leaves what its last commit says, and the close is to end all the same.
        let manifest = lock(&self.manifest);
        let oldest = manifest.state().wal.oldest_epoch;
        for name in fs.list(dir).unwrap_or_default() {
            if Epoch::from_file_name(&name).is_some_and(|epoch| epoch < oldest) {
                let _ = fs.remove(&dir.join(name));
            }
        }
        leave_reserve(&**fs, dir, manifest.state().open_number, manifest.bytes_to_open());
    }

    /// The manifest, for who changes it because somebody asks for that. Whether it may be changed is looked at with its
    /// lock held: a close takes that behind the gate, before it says where the manifest ends and lets go of the directory.
    /// What was committed behind that nobody would read.
    pub(crate) fn manifest_to_change(&self) -> Result<MutexGuard<'_, Manifest>, Shut> {
        self.core.gate.not_in_child().map_err(Shut::Poisoned)?;
        let manifest = self.manifest.lock().expect("manifest lock");
        match self.core.gate.why_shut() {
            Some(shut @ (Shut::Closed | Shut::ReadOnly | Shut::Poisoned(_))) => Err(shut),
            Some(Shut::Short(_)) | None => Ok(manifest),
        }
    }

    pub(crate) fn set_metadata(&self, all: impl IntoIterator<Item = (String, Metadata)>) -> Result<(), MetadataError> {
        // Before the lock: the iterator is other people's code.
        let all: Vec<(String, Metadata)> = all.into_iter().collect();
        let mut manifest = self.manifest_to_change().map_err(|shut| match shut {
            Shut::Poisoned(poisoned) => poisoned.into(),
            _ => MetadataError::ReadOnly,
        })?;
        let mut edits = Vec::new();
        for (metric, Metadata { kind, help, unit }) in all {
            let metadata = tidegauge_storage::manifest::Metadata { kind, help, unit };
            if manifest.state().metadata().get(&metric) != Some(&metadata) {
                edits.push(Edit::Metadata { metric, metadata });
            }
        }
        if !edits.is_empty() {
            let committed = manifest.commit(&edits);
            drop(manifest);
            if let Err(e) = committed {
                // Nobody knows what the file holds, or it is somebody else's: nothing more is written (P4).
                if !e.changes_nothing() {
                    self.core.poison(format!("the manifest cannot be written: {e}"));
                }
                return Err(e.into());
            }
        }
        Ok(())
    }

    pub(crate) fn metadata(&self) -> BTreeMap<String, Metadata> {
        let manifest = self.manifest.lock().expect("manifest lock");
        let known = manifest.state().metadata().iter();
        known
            .map(|(metric, m)| {
                (metric.clone(), Metadata { kind: m.kind.clone(), help: m.help.clone(), unit: m.unit.clone() })
            })
            .collect()
    }
}

fn join(thread: Option<thread::JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic was caught inside the thread and has poisoned the engine.
        let _ = thread.join();
    }
}

/// Starts a thread of the engine. A panic in it poisons: reads go on, writes end.
pub(crate) fn spawn(
    core: &Arc<Core>,
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    let core = Arc::clone(core);
    let guarded = move || {
        core.this_is_own_thread();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            core.poison(format!("the {name} thread panicked: {}", message(&*panic)));
        }
    };
    let spawned = thread::Builder::new().name(format!("tidegauge-{name}")).spawn(guarded);
    spawned.map_err(|source| OpenError::Thread { source })
}

/// For the heartbeat, whose thread a close waits for, too.
pub(crate) fn lock_is_lost(core: &Core, why: String) {
    // Poison wakes those who wait.
    core.this_is_own_thread();
    core.poison(why);
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The threads that write. They start once everything they use is in place; if one does not start, none runs on.
pub(crate) fn start(
    core: &Arc<Core>,
    (worker, flusher, compactor): (Worker, Flusher, Compactor),
    flushes: &Arc<FlushQueue>,
    sync: Option<&Arc<SyncThread>>,
    lock: Option<DirLock>,
    (watch, idle): (WatchLimits, Option<IdleLimits>),
) -> Result<Held, OpenError> {
    let mut held = Held { lock, ..Held::default() };
    let started = start_in(&mut held, core, worker, flusher, compactor, sync, watch, idle);
    if started.is_err() {
        core.stop.store(true, Ordering::Release);
        sync.inspect(|sync| sync.will_be_joined());
        core.compactions.stop();
        join(held.worker.take());
        held.stop_evictor();
        join(held.compactor.take());
        flushes.stop();
        join(held.flusher.take());
        sync.inspect(|sync| sync.stop());
        join(held.syncer.take());
        if let Some((watchdog, thread)) = held.watchdog.take() {
            watchdog.stop();
            join(Some(thread));
        }
    }
    started.map(|()| held)
}

#[allow(clippy::too_many_arguments)] // one place to call it from
fn start_in(
    held: &mut Held,
    core: &Arc<Core>,
    mut worker: Worker,
    flusher: Flusher,
    mut compactor: Compactor,
    sync: Option<&Arc<SyncThread>>,
    watch: WatchLimits,
    idle: Option<IdleLimits>,
) -> Result<(), OpenError> {
    let watchdog = Arc::new(Watchdog::default());
    let (watching, watched) = (Arc::clone(&watchdog), Arc::clone(core));
    held.watchdog = Some((watchdog, spawn(core, "watch", move || watching.run(&watched, &watch))?));
    held.flusher = Some(spawn(core, "flush", move || flusher.run())?);
    if let Some(sync) = sync {
        let (sync, syncing) = (Arc::clone(sync), Arc::clone(core));
        held.syncer = Some(spawn(core, "sync", move || sync.run(&syncing))?);
    }
    held.compactor = Some(spawn(core, "compact", move || compactor.run())?);
    held.worker = Some(spawn(core, "ingest", move || worker.run())?);
    if let Some(limits) = idle {
        let evictor = Arc::new(Evictor::default());
        let (evicting, seen) = (Arc::clone(&evictor), Arc::clone(core));
        held.evictor = Some((evictor, spawn(core, "evict", move || evicting.run(&seen, limits))?));
    }
    if let Some(lock) = &mut held.lock {
        let (works, core) = (Arc::clone(&core.watched.works), Arc::clone(core));
        lock.beat(works, move |why| lock_is_lost(&core, why)).map_err(|source| OpenError::Thread { source })?;
    }
    Ok(())
}
