//! What every handle and every thread of one engine shares.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use bytemuck::{Pod, TransparentWrapper, Zeroable};
use tidegauge_query::Ledger;
use tidegauge_storage::fs::what_to_mend;
use tidegauge_storage::manifest::Grows;
use tidegauge_storage::model::{Labels, Timestamp};
use tidegauge_storage::wal::WalSample;

use crate::commit::{Durable, Pins, Watermark};
use crate::compact::Desk;
use crate::error::Poisoned;
use crate::flush::SegmentFolder;
use crate::gate::{Full, Gate, Shortage, Shut};
use crate::ingest::Request;
use crate::options::Durability;
use crate::registry::{Heads, Moved, Registry, SeriesError, SeriesId};
use crate::requests::{NotAsked, RequestNo, Requests};
use crate::retention::Kept;
use crate::ring::Rings;
use crate::stats::Counters;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, Yields, thread};
use crate::version::Versions;
use crate::wait::{DurableWaiters, Ended, Looks, Pushed, WaitList};
use crate::watch::{Sketch, Warning, Watched};

/// A sample and the series it belongs to, as it lies in a lane and goes into the log.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, TransparentWrapper)]
#[repr(transparent)]
pub struct SeriesSample(pub(crate) WalSample);

impl SeriesSample {
    /// One sample of one series.
    #[inline]
    #[must_use]
    pub fn new(series: SeriesId, timestamp: Timestamp, value: f64) -> Self {
        Self(WalSample { series: series.slot, tag: series.tag, timestamp: timestamp.nanos(), value })
    }

    /// Whose sample it is.
    #[inline]
    #[must_use]
    pub fn series(&self) -> SeriesId {
        SeriesId { slot: self.0.series, tag: self.0.tag }
    }

    /// When, in nanoseconds since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.timestamp)
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.value
    }
}

thread_local! {
    /// The tag of the engine that the thread is one of; 0 for anybody else's.
    static OWN_THREAD_OF: Cell<u32> = const { Cell::new(0) };
}

/// Shared by the handles, the worker, the sync thread and the flusher.
pub(crate) struct Core {
    /// Marks what this engine gives out.
    pub(crate) tag: u32,
    pub(crate) gate: Gate,
    /// Heads by slot, and whose they are: the same for all registries.
    pub(crate) heads: Arc<Heads>,
    pub(crate) rings: Rings<SeriesSample>,
    /// What is asked of the worker between two commits.
    pub(crate) requests: Requests<Request>,
    pub(crate) watermark: Watermark,
    pub(crate) durable: Durable,
    pub(crate) pins: Arc<Pins>,
    pub(crate) versions: Versions,
    /// How long and how much is kept.
    pub(crate) kept: Kept,
    pub(crate) durability: Durability,
    /// Those who look before they wait.
    pub(crate) looks: Looks,
    /// Whether those who wait for each other, worker and waiters, may yield.
    pub(crate) yields: Yields,
    pub(crate) visible_waiters: WaitList<Pushed>,
    pub(crate) durable_waiters: DurableWaiters<Pushed>,
    pub(crate) counters: Counters,
    /// What all queries hold together.
    pub(crate) ledger: Ledger,
    /// Memtables up to this generation shall be flushed.
    pub(crate) flush_wanted: AtomicU32,
    /// Told when a memtable was flushed, or never will be.
    pub(crate) flushes: FlushNews,
    /// Where compaction is asked for.
    pub(crate) compactions: Desk,
    /// What a flush and compactions write to at once.
    pub(crate) segment_folder: SegmentFolder,
    /// Copies of the store that are being made: meanwhile compaction carries no delete out that they may not have (BK5).
    /// Counted up, and looked at, under the manifest's lock.
    pub(crate) copies: AtomicU32,
    /// The log is not needed below this generation of memtables.
    pub(crate) log_needed_from: AtomicU32,
    pub(crate) stop: AtomicBool,
    pub(crate) watched: Watched,
    /// Which series are hot. The worker feeds it where nobody else looks at it.
    pub(crate) hot: Mutex<Sketch>,
    /// Counts the worker's rounds.
    rounds: AtomicU64,
    /// The worker takes nothing before a flush.
    held_back: AtomicBool,
    /// Held by who evicts: one at a time, with the request that he waits for.
    pub(crate) evicting: Mutex<()>,
    poisoned: AtomicBool,
    ended: Ended,
    worker: OnceLock<thread::Thread>,
}

/// What the core is made of.
pub(crate) struct CoreParts {
    pub(crate) rings: Rings<SeriesSample>,
    pub(crate) watermark: Watermark,
    pub(crate) durable: Durable,
    pub(crate) versions: Versions,
    pub(crate) kept: Kept,
    pub(crate) durability: Durability,
    pub(crate) max_ahead: Duration,
    pub(crate) query_memory_bytes: u64,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Self {
        static NEXT_TAG: AtomicU32 = AtomicU32::new(1);
        let counters = Counters::default();
        let answers = Arc::clone(&counters.query);
        Self {
            tag: NEXT_TAG.fetch_add(1, Ordering::Relaxed),
            gate: Gate::new(parts.max_ahead),
            heads: Arc::clone(parts.versions.load().registry.slots().heads()),
            rings: parts.rings,
            requests: Requests::new(Request::WEIGHT_MAX).with_room_for(Request::LIGHT_MAX),
            watermark: parts.watermark,
            durable: parts.durable,
            pins: Arc::new(Pins::new()),
            versions: parts.versions,
            kept: parts.kept,
            durability: parts.durability,
            looks: Looks::new(),
            yields: Yields::new(),
            visible_waiters: WaitList::new(),
            durable_waiters: DurableWaiters::new(),
            counters,
            ledger: Ledger::heard_by(parts.query_memory_bytes, move |took| answers.record(took)),
            flush_wanted: AtomicU32::new(0),
            flushes: FlushNews::default(),
            compactions: Desk::default(),
            segment_folder: SegmentFolder::default(),
            copies: AtomicU32::new(0),
            log_needed_from: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            watched: Watched::default(),
            hot: Mutex::new(Sketch::default()),
            rounds: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
            evicting: Mutex::new(()),
            poisoned: AtomicBool::new(false),
            ended: Ended::new(),
            worker: OnceLock::new(),
        }
    }

    /// Whether the manifest could be written anew where that was due for a commit that is made; told by who commits, under
    /// the manifest's lock.
    pub(crate) fn manifest_grows(&self, grows: Option<&Grows>) {
        let failed_before = self.counters.manifest_rewrite_failing(grows.is_some());
        if let (Some(Grows { bytes, cause }), false) = (grows, failed_before) {
            let (bytes, cause) = (*bytes, format!("{cause}; {}", what_to_mend(cause)));
            self.watched.warn(Warning::ManifestGrows { bytes, cause });
        }
    }

    /// Which series there are now. Another one follows when series are evicted.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.versions.load().registry)
    }

    /// The series of a label set; registers it if it is new.
    pub(crate) fn resolve(&self, labels: &Labels) -> Result<SeriesId, SeriesError> {
        self.gate.not_in_child()?;
        loop {
            match self.registry().resolve(labels) {
                Ok(resolved) => return resolved,
                // Closed a moment ago: the next one comes as soon as the worker has it in the version.
                // It does not come where the worker met a panic on its way there.
                Err(Moved) => match self.gate.poisoned() {
                    Some(poisoned) => return Err(poisoned.into()),
                    _ => thread::yield_now(),
                },
            }
        }
    }

    /// Tells whom [`Self::wake_worker`] wakes. Called once, by the worker itself.
    pub(crate) fn worker_is_here(&self) {
        let first = self.worker.set(thread::current());
        debug_assert!(first.is_ok(), "one worker");
    }

    /// The worker says that it goes round, or waits for something it may wait for. It alone.
    pub(crate) fn heartbeat(&self) {
        // Relaxed, a load and a store: one writer, and nothing is read on the strength of it.
        self.rounds.store(self.rounds.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The worker says whether it takes nothing before a flush. It alone.
    pub(crate) fn set_held_back(&self, held_back: bool) {
        // Relaxed, and written only if it changes: whoever reads it may be late.
        if self.held_back.load(Ordering::Relaxed) != held_back {
            self.held_back.store(held_back, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Moves while the worker goes round.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    pub(crate) fn wake_worker(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Asks the worker for something, and wakes it. Who finds no room in time is counted.
    pub(crate) fn ask(&self, request: Request, weight: usize, patience: Duration) -> Result<RequestNo, NotAsked> {
        let asked = self.requests.ask(request, weight, patience);
        match asked {
            Ok(_) => self.wake_worker(),
            Err(NotAsked::Full) => self.counters.wait_timed_out(),
            Err(NotAsked::Closed) => {}
        }
        asked
    }

    /// Tells those who wait that a commit is visible; lanes and watermark say so already.
    pub(crate) fn tell_visible(&self) {
        self.visible_waiters.wake(|pushed| pushed.visible_seq().is_some());
        self.durable_waiters.visible(Pushed::visible_seq, || self.durable.seq());
    }

    /// Shuts the gate until there is space, and tells those who wait for a flush, and for a push that has to wait for
    /// it, too (N5).
    pub(crate) fn disk_is_full(&self, whose: Full, short: Shortage) {
        self.gate.disk_is_full(whose, short);
        self.flushes.tell();
        self.visible_waiters.wake_all();
        self.durable_waiters.wake_pushed();
    }

    /// What pushes that are not visible have to wait for.
    pub(crate) fn keeps_waiting(&self) -> Option<Shortage> {
        self.gate.keeps_waiting(self.is_held_back())
    }

    /// Stops writing for good: the first cause stays. Reads go on.
    pub(crate) fn poison(&self, cause: impl Into<String>) {
        self.note_poison(cause);
        // Whoever waits for room in a lane learns it now.
        self.rings.close();
        self.requests.close();
        self.visible_waiters.wake_all();
        self.durable_waiters.wake_all();
        self.flushes.tell();
        self.compactions.stop();
        self.wake_worker();
    }

    /// The same, but wakes nobody: for who holds a lock, and tells them behind it.
    pub(crate) fn note_poison(&self, cause: impl Into<String>) {
        self.gate.shut(Shut::Poisoned(Poisoned { cause: cause.into() }));
        self.poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The last commit and the last sync are over: what is not reached now never will be. Wakers hear of it by
    /// [`Self::tell_end`].
    pub(crate) fn end(&self) {
        self.ended.tell();
        self.flushes.tell();
    }

    /// Wakes those who wait for what will not come any more. To be called without a lock.
    pub(crate) fn tell_end(&self) {
        self.visible_waiters.wake_all();
        self.durable_waiters.wake_all();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_told()
    }

    /// The calling thread is one of this engine.
    pub(crate) fn this_is_own_thread(&self) {
        OWN_THREAD_OF.set(self.tag);
    }

    /// Whether a thread of this engine asks: a waker that it woke, say. What the engine would have to do meanwhile it
    /// must not wait for.
    pub(crate) fn is_own_thread(&self) -> bool {
        OWN_THREAD_OF.get() == self.tag
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// "Something about the flushes changed": for those who wait for one.
#[derive(Default)]
pub(crate) struct FlushNews {
    changes: Mutex<u64>,
    changed: Condvar,
}

impl FlushNews {
    pub(crate) fn tell(&self) {
        *self.changes.lock().expect("flush news lock") += 1;
        self.changed.notify_all();
    }

    /// Waits until `done` answers something, trying again after every change.
    pub(crate) fn wait_until<R>(&self, mut done: impl FnMut() -> Option<R>) -> R {
        loop {
            let seen = *self.changes.lock().expect("flush news lock");
            if let Some(answer) = done() {
                return answer;
            }
            let changes = self.changes.lock().expect("flush news lock");
            let unchanged = |changes: &mut u64| *changes == seen;
            drop(self.changed.wait_while(changes, unchanged).expect("flush news lock"));
        }
    }
}
