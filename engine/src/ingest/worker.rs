//! The one thread that orders everything: drain, log, apply, publish; then what the memtable
//! and the log ask for.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Tombstone};
use tidegauge_storage::wal::{WalError, WalRelease};

use super::behind::Behind;
use super::pressure::Pressure;
use super::{Applier, Log, SyncThread};
use crate::commit::{PinView, Visible};
use crate::core::{Core, SeriesSample};
use crate::delete::TOMBSTONES_MAX;
use crate::error::DeleteError;
use crate::evict::{Epitaph, Graves};
use crate::flush::{FlushJob, FlushQueue};
use crate::gate::{Full, Shortage, Shut};
use crate::memtable::{Added, Memtable, PACK_SLOTS};
use crate::registry::Registry;
use crate::ring::Drain;
use crate::subscribe::Feeds;
use crate::sync::atomic::Ordering;
use crate::sync::{hint, run_soon, thread};
use crate::watch::Sketch;

/// A sample is visible at most this long after its push, unasked, with a margin for the wake-up below 2 ms. A nap costs
/// what the system takes for a wake-up and little more, so the longest one is the cheapest.
const NAP: Duration = Duration::from_micros(1_800);
/// Rounds without a sample before the worker naps; others run in between.
const ROUNDS_BEFORE_NAP: u32 = 32;
/// Between them it sleeps for so long where a yield would take longer.
const SHORT_NAP: Duration = Duration::from_micros(50);
/// An appender whose lane is full goes on after so many samples of it are applied: both work at once then. A small
/// part of a lane, and many times what it costs to hand a cache line over.
const RELEASED_AT_ONCE: usize = 2_048;
/// A round of so few samples, and not of single ones that somebody may wait for: they come one by one, faster than
/// they are taken, and for each of them a cache line goes to the worker and back. So it lets some gather.
const FEW_SAMPLES: std::ops::Range<usize> = 8..512;
/// For about a microsecond.
const GATHER_SPINS: u32 = 64;
/// Samples of a round, unless one lane has more (R17). What is done once a round is never further away than taking so
/// many takes, two milliseconds or so; such a commit has room in a subscription's ring, and nearly so has a second. What a round costs besides
/// is a hundredth of that.
pub(super) const ROUND_SAMPLES_MAX: usize = 1 << 16;
/// Idle tails are sealed in slices of this length between commits; of one step in tests, so that a seal goes on for rounds.
const CLOSE_SLICE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_micros(300) };
/// A full disk is asked again after this.
const SPACE_RETRY: Duration = Duration::from_millis(50);

/// What the worker is given.
pub(crate) struct WorkerParts {
    pub(crate) core: Arc<Core>,
    pub(crate) drain: Drain<SeriesSample>,
    pub(crate) applier: Applier,
    pub(crate) log: Option<(Log, Arc<SyncThread>)>,
    pub(crate) flushes: Arc<FlushQueue>,
    pub(crate) visible: Visible,
    pub(crate) flush_bytes: u64,
    pub(crate) wal_bytes: u64,
}

/// The ingest worker.
pub(crate) struct Worker {
    pub(super) core: Arc<Core>,
    pub(super) drain: Drain<SeriesSample>,
    pub(super) applier: Applier,
    pub(super) log: Option<(Log, Arc<SyncThread>)>,
    flushes: Arc<FlushQueue>,
    pub(super) feeds: Feeds,
    /// Which requests may be served.
    pub(super) behind: Behind,
    /// Which series there are: that of the version.
    pub(super) registry: Arc<Registry>,
    /// Evicted ones of which samples may still come out of a lane.
    pub(super) graves: Graves<Epitaph>,
    pub(super) graves_looked_at: Instant,
    /// The last commit, and the next sequence number.
    pub(super) visible: Visible,
    pub(super) pins: PinView,
    pub(super) closing: Option<Closing>,
    /// Samples of the last round.
    last_round: usize,
    pub(super) flush_bytes: u64,
    pub(super) wal_bytes: u64,
    pub(super) released: u32,
    refreshed_at: Instant,
    pressure: Pressure,
    /// The log found no space for the last round: when it is tried again.
    pub(super) no_space_until: Option<Instant>,
    /// The next push would find no space: when that is tried again.
    pub(super) ask_space_at: Option<Instant>,
    /// The engine closes, and a part of a commit is in the log: nothing else has a place behind it.
    pub(super) gave_up: bool,
}

/// A commit on its way.
pub(super) struct Commit {
    pub(super) number: u64,
    pub(super) added: Added,
}

/// How far the tails of the last sealed memtable are sealed.
pub(super) struct Closing {
    next: u32,
    end: u32,
    release: Option<WalRelease>,
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts) -> Self {
        Self {
            registry: parts.core.registry(),
            graves: Graves::default(),
            graves_looked_at: Instant::now(),
            core: parts.core,
            drain: parts.drain,
            applier: parts.applier,
            log: parts.log,
            flushes: parts.flushes,
            feeds: Feeds::default(),
            behind: Behind::default(),
            visible: parts.visible,
            pins: PinView::default(),
            closing: None,
            last_round: 0,
            flush_bytes: parts.flush_bytes,
            wal_bytes: parts.wal_bytes,
            released: 0,
            refreshed_at: Instant::now(),
            pressure: Pressure::default(),
            no_space_until: None,
            ask_space_at: None,
            gave_up: false,
        }
    }

    /// The thread's life. Returns when the engine closes and everything pushed is visible.
    pub(crate) fn run(&mut self) {
        run_soon();
        self.core.worker_is_here();
        let mut idle = 0;
        loop {
            // Before the round: what was pushed before the stop is in that round or an earlier one.
            let stopping = self.core.is_stopping();
            if self.core.is_poisoned() {
                self.park_poisoned();
                return;
            }
            self.core.heartbeat();
            let busy = self.round() | self.serve() | self.housekeeping();
            if self.gave_up && !self.core.is_poisoned() {
                break;
            }
            if busy {
                idle = 0;
            } else if stopping && self.has_taken_all() {
                break;
            } else if idle < ROUNDS_BEFORE_NAP {
                self.give_way(idle);
                idle += 1;
            } else {
                if let Some((log, sync)) = &mut self.log {
                    match log.rest() {
                        Ok(true) => sync.log_rests(),
                        Ok(false) => {}
                        Err(e) => self.core.poison(format!("the log cannot be written: {e}")),
                    }
                }
                thread::park_timeout(NAP);
            }
        }
        self.finish();
    }

    /// Lets others run after `idle` rounds without a sample.
    fn give_way(&self, idle: u32) {
        let yields = &self.core.yields;
        // Where somebody waits for each round, a clock read here is a tenth of all the time there is; he times his own.
        if idle == 0 && !yields.are_long() {
            thread::yield_now();
        } else if !yields.try_yield() {
            thread::park_timeout(SHORT_NAP);
        }
    }

    /// Gives way before a round if the one before it served fewer than wait, and those share processors with the worker:
    /// who was served pushes again first, so that a round serves many for one change of threads.
    fn let_others_push(&self) {
        if (1..self.core.looks.crowd()).contains(&self.last_round) && !self.core.yields.are_long() {
            thread::yield_now();
        }
    }

    /// One commit, if there is something to commit. Answers whether there was.
    fn round(&mut self) -> bool {
        let held_back = self.is_held_back();
        self.core.set_held_back(held_back);
        if held_back || self.waits_for_space() {
            return false;
        }
        self.look_at_graves();
        self.let_others_push();
        self.note_requests();
        let ready = self.drain.observe(ROUND_SAMPLES_MAX);
        self.last_round = ready;
        if ready == 0 {
            self.behind.settle(&self.drain);
            self.forget_graves();
            return false;
        }
        if !self.readdress() {
            return false;
        }
        if self.log().is_err() {
            return false;
        }
        // Who waits for the device waits no longer than he must: what is logged is synced while it is applied.
        if self.core.durable_waiters.is_waiting()
            && let Some((log, sync)) = &mut self.log
        {
            tend(&self.core, log, sync, &mut self.released, self.visible.seq + ready as u64);
        }
        let mut commit = self.begin_commit();
        let (feeds, slots) = (&mut self.feeds, self.registry.slots());
        if !feeds.is_empty() {
            self.drain.for_each_slice(|samples| feeds.stage(samples, slots));
        }
        self.look_for_hot_series(ready);
        let (applier, pins, first_seq) = (&mut self.applier, &self.pins, self.visible.seq);
        let Commit { number, added } = &mut commit;
        let apply = |samples: &[SeriesSample]| applier.apply(samples, first_seq + added.samples, *number, pins, added);
        self.drain.take(RELEASED_AT_ONCE, apply);
        self.publish(commit);
        self.drain.publish(self.visible.seq);
        self.behind.settle(&self.drain);
        self.forget_graves();
        self.core.tell_visible();
        self.deliver(first_seq);
        if FEW_SAMPLES.contains(&ready) {
            (0..GATHER_SPINS).for_each(|_| hint::spin_loop());
        }
        true
    }

    /// Delivers the last commit, whose first sample has number `first`. A subscription may hold the worker up for that:
    /// meanwhile the log is synced when it is due, and lets go of what is in segments (P3).
    pub(super) fn deliver(&mut self, first: u64) {
        let Self { core, feeds, log, released, visible, .. } = self;
        feeds.deliver(first, visible.seq, core, || {
            if let Some((log, sync)) = log {
                tend(core, log, sync, released, visible.seq);
            }
        });
    }

    /// Feeds the sketch of hot series; not if somebody reads it just now.
    fn look_for_hot_series(&self, ready: usize) {
        let Ok(mut sketch) = self.core.hot.try_lock() else { return };
        let every = Sketch::every(ready);
        let sketch = RefCell::new(&mut *sketch);
        self.drain
            .look(|| sketch.borrow_mut().skip(every), |lane, sample| sketch.borrow_mut().add(lane, sample, every));
    }

    /// The next commit. Its samples are in the log.
    pub(super) fn begin_commit(&mut self) -> Commit {
        self.core.pins.look(&mut self.pins);
        let added = Added::nothing(0, self.core.kept.from().nanos());
        Commit { number: self.visible.commit + 1, added }
    }

    /// Makes a commit visible whose samples are applied. Who waits is told by the caller.
    pub(super) fn publish(&mut self, commit: Commit) {
        let Commit { number, mut added } = commit;
        added.end_seq = self.visible.seq + added.samples;
        self.applier.active().note(&added);
        self.visible = Visible { commit: number, seq: added.end_seq };
        self.core.watermark.publish(self.visible);
        let written = self.log.as_ref().map_or(0, |(log, _)| log.written);
        self.core.counters.commit(added.samples, written);
        self.core.counters.over_age(added.over_age);
    }

    /// Writes the round to the log; on return all of it has left the process. Where the disk is full, nothing is
    /// written, and the round comes again: what is asked meanwhile is served (a delete empties the disk). Only in the
    /// middle of a commit of several frames it waits here. An error other than "no space" poisons.
    fn log(&mut self) -> Result<(), WalError> {
        let Self {
            core,
            drain,
            applier,
            log,
            flushes,
            visible,
            pins,
            closing,
            released,
            no_space_until,
            gave_up,
            registry,
            ..
        } = self;
        let Some((log, sync)) = log else { return Ok(()) };
        let generation = applier.active().generation;
        let mut was_full = no_space_until.is_some();
        // What had run out before the stop may be back: it is tried once more (X13).
        let mut is_last = core.is_stopping();
        let mut patience = |log: &mut Log, short: Shortage| {
            was_full = true;
            core.disk_is_full(Full::Log, short);
            if !log.is_begun() || is_last {
                return false;
            }
            core.heartbeat();
            super::serve::refuse(core, short);
            // What may free space or is owed to earlier commits goes on meanwhile.
            tend(core, log, sync, released, visible.seq);
            if !close_slice(closing, applier, pins, flushes, visible.commit, Instant::now()) {
                thread::park_timeout(SPACE_RETRY);
            }
            is_last = core.is_stopping();
            !core.is_poisoned()
        };
        log.begin(visible.seq);
        let mut result = Ok(());
        drain.for_each_slice(|samples| {
            if result.is_ok() {
                result = log.add(samples, generation, registry.slots(), &mut patience);
            }
        });
        let result = result.and_then(|()| log.finish(registry.slots(), &mut patience));
        match &result {
            Ok(()) if was_full => {
                *no_space_until = None;
                core.gate.space_is_back(Full::Log);
                self.space_is_there();
            }
            Ok(()) => {}
            Err(WalError::NoSpace { .. }) if log.is_begun() => *gave_up = true,
            Err(WalError::NoSpace { .. }) => *no_space_until = Some(Instant::now() + SPACE_RETRY),
            Err(e) => core.poison(format!("the log cannot be written: {e}")),
        }
        result
    }

    /// What is due besides commits. Answers whether there is more of it to do at once.
    fn housekeeping(&mut self) -> bool {
        let now = Instant::now();
        self.pressure.note(self.is_crowded(), now);
        self.core.ledger.press(self.pressure.is_on());
        if now.duration_since(self.refreshed_at) >= Duration::from_millis(1) {
            self.refreshed_at = now;
            self.core.gate.refresh();
            if let Ok(mut sketch) = self.core.hot.try_lock() {
                sketch.fade(now);
            }
            self.feeds.tend(&self.core, now);
        }
        self.tend_log();
        self.ask_for_space(now);
        if self.wants_rotation() {
            self.rotate(None);
        }
        close_slice(&mut self.closing, &mut self.applier, &self.pins, &self.flushes, self.visible.commit, now)
    }

    /// What is due to be synced is handed over, and what is in segments is let go of.
    pub(super) fn tend_log(&mut self) {
        if let Some((log, sync)) = &mut self.log {
            tend(&self.core, log, sync, &mut self.released, self.visible.seq);
        }
    }

    /// Whether appenders wait for the worker, or soon will. On a full disk nobody else can help that.
    fn is_crowded(&self) -> bool {
        (self.drain.is_crowded() || self.core.is_held_back())
            && !matches!(self.core.gate.why_shut(), Some(Shut::Short(_)))
    }

    /// Whether the tails of a sealed memtable are still being sealed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// A delete, with a commit and a number of its own: logged, in the version together with the rotation that
    /// puts everything accepted so far below it, then published. Only while nothing is closing.
    pub(super) fn delete(
        &mut self,
        matchers: Vec<Matcher>,
        range: TimeRange,
        created: i64,
    ) -> Result<SeqNo, DeleteError> {
        if self.core.versions.peek().tombstones.len() >= TOMBSTONES_MAX {
            return Err(DeleteError::TooMany { limit: TOMBSTONES_MAX });
        }
        let seq = SeqNo(self.visible.seq);
        let tombstone = Arc::new(Tombstone { seq, matchers, range, created });
        if let Err(e) = self.log_delete(&tombstone) {
            if let WalError::NoSpace { source, .. } = &e {
                return Err(Shortage::of(source).into());
            }
            self.core.poison(format!("the log cannot be written: {e}"));
            return Err(self.core.gate.poisoned().map_or(DeleteError::Closed, DeleteError::Poisoned));
        }
        if self.applier.active().samples() > 0 {
            self.rotate(Some(tombstone));
        } else {
            self.core.versions.delete(tombstone);
        }
        self.visible = Visible { commit: self.visible.commit + 1, seq: seq.0 + 1 };
        self.core.watermark.publish(self.visible);
        Ok(seq)
    }

    /// Whether or not the reserve takes what finds no space, that samples have none is told before the delete is (X11).
    fn log_delete(&mut self, tombstone: &Tombstone) -> Result<(), WalError> {
        let Some((log, _)) = &mut self.log else { return Ok(()) };
        let mut logged = log.delete(tombstone);
        if matches!(logged, Err(WalError::NoSpace { .. })) {
            if log.has_reserve(tombstone) {
                logged = self.log_delete_in_reserve(tombstone);
            }
            self.look_for_space();
        }
        logged
    }

    /// What was accepted before is sealed first, so that nothing but samples ever ends the file that the reserve
    /// becomes (X2).
    fn log_delete_in_reserve(&mut self, tombstone: &Tombstone) -> Result<(), WalError> {
        if self.applier.active().samples() > 0 {
            self.rotate(None);
        }
        let Some((log, _)) = &mut self.log else { return Ok(()) };
        log.delete_in_reserve(tombstone)
    }

    /// O(1): the tails follow in slices. What comes is above the delete, if it is for one.
    fn rotate(&mut self, tombstone: Option<Arc<Tombstone>>) {
        let generation = self.applier.active().generation + 1;
        let first_seq = self.visible.seq + u64::from(tombstone.is_some());
        let active = Arc::new(Memtable::beginning(generation, first_seq, self.visible.commit + 1));
        let release = self.log.as_mut().map(|(log, _)| log.rotate(generation));
        self.core.versions.rotate(Arc::clone(&active), tombstone);
        self.applier.rotate(active);
        // What is sealed from here on keeps the lengths that these pins need, and no others (T5).
        self.core.pins.look(&mut self.pins);
        self.closing = Some(Closing { next: 0, end: self.registry.slots().len(), release });
    }

    /// The engine closes: what is in memory goes to segments.
    fn finish(&mut self) {
        self.core.requests.close();
        self.feeds.close(&self.core);
        self.core.flush_wanted.store(u32::MAX, Ordering::Release);
        while self.closing.is_some() || self.applier.active().samples() > 0 {
            self.core.heartbeat();
            if self.core.is_poisoned() {
                return;
            }
            self.housekeeping();
        }
        self.last_sync();
    }

    /// Waits for the job at hand and makes the rest durable.
    fn last_sync(&mut self) {
        let Some((log, sync)) = &mut self.log else { return };
        let mut last = None;
        sync.end();
        while !self.core.is_poisoned() && !sync.has_given_up() {
            self.core.heartbeat();
            if !sync.is_free() {
                thread::park_timeout(NAP);
                continue;
            }
            if last.is_some() {
                return;
            }
            last = log.sync_point(Instant::now()).map(|job| sync.hand_over(job, self.visible.seq));
            if last.is_none() {
                return;
            }
        }
    }

    /// Nothing is written any more; only the end of the engine is waited for.
    fn park_poisoned(&mut self) {
        self.feeds.close(&self.core);
        if let Some((log, _)) = &mut self.log {
            log.poison();
        }
        while !self.core.is_stopping() {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// Seals idle tails of the last sealed memtable for a moment; hands it to the flusher when
/// none is left. Answers whether there is more to do.
fn close_slice(
    closing: &mut Option<Closing>,
    applier: &mut Applier,
    pins: &PinView,
    flushes: &FlushQueue,
    commit: u64,
    began: Instant,
) -> bool {
    let Some(open) = closing else { return false };
    while open.next < open.end {
        let step = open.next..open.end.min(open.next + PACK_SLOTS);
        open.next = step.end;
        applier.close_some(step, pins);
        if began.elapsed() >= CLOSE_SLICE {
            return true;
        }
    }
    let release = open.release.take();
    *closing = None;
    let memtable = applier.closed().expect("closing until now");
    // All that the log may let go of: there are deletes behind the last sample where only those came.
    let deletes_through = applier.active().first_seq.saturating_sub(1).max(memtable.end_seq());
    flushes.hand_over(FlushJob { memtable, commit, release, deletes_through });
    true
}

/// Tells the log what was synced and what is in segments by now, and has it synced when that is
/// due. Everything below `seq` is logged.
pub(super) fn tend(core: &Core, log: &mut Log, sync: &SyncThread, released: &mut u32, seq: u64) {
    if let Some(through) = sync.take_done() {
        log.note_synced(through);
    }
    let needed = core.log_needed_from.load(Ordering::Acquire);
    if needed > *released {
        *released = needed;
        log.release_before(needed);
    }
    let now = Instant::now();
    if (core.durable_waiters.is_waiting() || log.is_sync_due(now))
        && sync.is_free()
        && let Some(job) = log.sync_point(now)
    {
        sync.hand_over(job, seq);
    }
}
