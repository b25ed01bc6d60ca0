//! What the engine measures of itself.

use std::sync::TryLockError;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::gate::Shortage;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock, lock_waits, thread};
use crate::watch::{HotSeries, Stalled};

/// Series told of as the hottest.
const HOTTEST: usize = 10;

/// Counters that threads of the engine raise. Relaxed: each is right by itself.
pub(crate) struct Counters {
    commits: AtomicU64,
    samples: AtomicU64,
    wal_bytes: AtomicU64,
    flushes: AtomicU64,
    flushed_samples: AtomicU64,
    flushed_bytes: AtomicU64,
    flush_nanos: AtomicU64,
    /// Set once, by the opening.
    pub(crate) recovered: AtomicU64,
    compactions: AtomicU64,
    compacted_bytes_in: AtomicU64,
    compacted_bytes_out: AtomicU64,
    compact_nanos: AtomicU64,
    compactions_failed: AtomicU64,
    compacting: AtomicBool,
    compaction_failing: AtomicBool,
    damaged_segments: AtomicU64,
    manifest_rewrite_failing: AtomicBool,
    subscriptions: AtomicU64,
    missed_by_subscriptions: AtomicU64,
    holds: AtomicU64,
    holds_in_vain: AtomicU64,
    wait_timeouts: AtomicU64,
    unaudited: AtomicU64,
    over_age: AtomicU64,
    refused_ahead: AtomicU64,
    refused_series: AtomicU64,
    series_evicted: AtomicU64,
    eviction_nanos: AtomicU64,
    graves: AtomicU64,
    grave_bytes: AtomicU64,
    fdatasync: Latency,
    /// One push in [`Counters::PUSH_EVERY`] is timed, beginning with an appender's [`Counters::PUSH_FIRST`].
    pub(crate) push: Latency,
    /// Told by the ledger of the queries.
    pub(crate) query: Arc<Latency>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            wal_bytes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            flushed_samples: AtomicU64::new(0),
            flushed_bytes: AtomicU64::new(0),
            flush_nanos: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            compacted_bytes_in: AtomicU64::new(0),
            compacted_bytes_out: AtomicU64::new(0),
            compact_nanos: AtomicU64::new(0),
            compactions_failed: AtomicU64::new(0),
            compacting: AtomicBool::new(false),
            compaction_failing: AtomicBool::new(false),
            damaged_segments: AtomicU64::new(0),
            manifest_rewrite_failing: AtomicBool::new(false),
            subscriptions: AtomicU64::new(0),
            missed_by_subscriptions: AtomicU64::new(0),
            holds: AtomicU64::new(0),
            holds_in_vain: AtomicU64::new(0),
            wait_timeouts: AtomicU64::new(0),
            unaudited: AtomicU64::new(0),
            over_age: AtomicU64::new(0),
            refused_ahead: AtomicU64::new(0),
            refused_series: AtomicU64::new(0),
            series_evicted: AtomicU64::new(0),
            eviction_nanos: AtomicU64::new(0),
            graves: AtomicU64::new(0),
            grave_bytes: AtomicU64::new(0),
            fdatasync: Latency::new(),
            push: Latency::new(),
            query: Arc::new(Latency::new()),
        }
    }
}

impl Counters {
    /// A power of two.
    pub(crate) const PUSH_EVERY: u32 = 1024;
    /// An appender's first push that is timed: soon, so that one who pushes once a second is seen, but not the first
    /// ones, which find nothing in the caches.
    pub(crate) const PUSH_FIRST: u32 = 8;

    /// `wal_bytes` is the total so far.
    pub(crate) fn commit(&self, samples: u64, wal_bytes: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        self.wal_bytes.store(wal_bytes, Ordering::Relaxed);
    }

    pub(crate) fn subscriptions(&self, now: usize) {
        self.subscriptions.store(now as u64, Ordering::Relaxed);
    }

    pub(crate) fn missed_by_subscriptions(&self, samples: u64) {
        self.missed_by_subscriptions.fetch_add(samples, Ordering::Relaxed);
    }

    /// The worker begins to wait for a slow subscriber.
    pub(crate) fn holds(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// It has waited for as long as the subscriber asks for.
    pub(crate) fn held_in_vain(&self) {
        self.holds_in_vain.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody waited for the worker, or for room, as long as he may.
    pub(crate) fn wait_timed_out(&self) {
        self.wait_timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// An act happened, and the disk refused its line.
    pub(crate) fn unaudited(&self) {
        self.unaudited.fetch_add(1, Ordering::Relaxed);
    }

    /// So many samples of a commit were older than anybody is shown.
    pub(crate) fn over_age(&self, samples: u64) {
        if samples > 0 {
            self.over_age.fetch_add(samples, Ordering::Relaxed);
        }
    }

    pub(crate) fn refused_ahead(&self) {
        self.refused_ahead.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_series(&self) {
        self.refused_series.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn evicted(&self, series: u64) {
        self.series_evicted.fetch_add(series, Ordering::Relaxed);
    }

    /// What a look for idle series took.
    pub(crate) fn eviction(&self, took: Duration) {
        self.eviction_nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Evicted series whose labels the worker keeps, and what they take.
    pub(crate) fn graves(&self, series: usize, bytes: usize) {
        self.graves.store(series as u64, Ordering::Relaxed);
        self.grave_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn graves_now(&self) -> (usize, usize) {
        (self.graves.load(Ordering::Relaxed) as usize, self.grave_bytes.load(Ordering::Relaxed) as usize)
    }

    pub(crate) fn fdatasync(&self, took: Duration) {
        self.fdatasync.record(took);
    }

    pub(crate) fn flush(&self, samples: u64, bytes: u64, took: Duration) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushed_samples.fetch_add(samples, Ordering::Relaxed);
        self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.flush_nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// A job begins or ends.
    pub(crate) fn compacting(&self, running: bool) {
        self.compacting.store(running, Ordering::Relaxed);
    }

    pub(crate) fn compaction(&self, bytes_in: u64, bytes_out: u64, took: Duration) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.compacted_bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.compacted_bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        self.compact_nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn compaction_failed(&self) {
        self.compactions_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether what compaction writes fails, for something else than space or files. Answers whether it did before.
    pub(crate) fn compaction_failing(&self, failing: bool) -> bool {
        self.compaction_failing.swap(failing, Ordering::Relaxed)
    }

    /// Whether the manifest cannot be written anew. Answers whether it could not before.
    pub(crate) fn manifest_rewrite_failing(&self, failing: bool) -> bool {
        self.manifest_rewrite_failing.swap(failing, Ordering::Relaxed)
    }

    /// So many segments are left alone, for they cannot be read.
    pub(crate) fn damaged_segments(&self, count: u64) {
        self.damaged_segments.store(count, Ordering::Relaxed);
    }
}

/// A histogram of nanoseconds that several threads feed.
pub(crate) struct Latency(Mutex<Histogram<u64>>);

impl Latency {
    fn new() -> Self {
        // Up to an hour, two significant digits: some kilobytes.
        Self(Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000_000, 2).expect("constant bounds")))
    }

    /// Feeds one duration; a busy histogram is left alone rather than waited for.
    pub(crate) fn record(&self, took: Duration) {
        if let Ok(mut histogram) = self.0.try_lock() {
            histogram.saturating_record(took.as_nanos().clamp(1, u128::from(u64::MAX)) as u64);
        }
    }

    fn quantiles(&self) -> Quantiles {
        // Tries rather than waits: a push that feeds it then never has anybody to wake.
        let histogram = loop {
            match self.0.try_lock() {
                Ok(histogram) => break histogram,
                Err(TryLockError::WouldBlock) => thread::yield_now(),
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            }
        };
        let at = |q| histogram.value_at_quantile(q);
        Quantiles { count: histogram.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

/// A distribution of durations, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Durations measured.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 of 100 are at or below.
    pub p99: u64,
    /// 999 of 1,000 are at or below.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// What the engine knows of itself at one moment. Each number is right by itself; they are
/// not of one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Series in memory: those that `Builder::max_series` counts.
    pub series: u64,
    /// Bytes of their labels, each name with a value once: those that `Builder::max_label_bytes` limits.
    pub label_bytes: u64,
    /// Series that left memory because they were idle, since the engine was opened.
    pub series_evicted: u64,
    /// Time spent on that, in nanoseconds.
    pub eviction_nanos: u64,
    /// Evicted series of which only the labels are kept, until no appender can have a push on its way that is older.
    /// One that does not push for long holds them back, and evictions too if they are many.
    pub series_in_lanes: u64,
    /// Samples that became visible since the engine was opened.
    pub samples: u64,
    /// Commits since the engine was opened.
    pub commits: u64,
    /// Bytes of the log's frames written since the engine was opened; the space between them
    /// is not counted.
    pub wal_bytes: u64,
    /// First sequence number that is not visible.
    pub visible_seq: u64,
    /// First sequence number that may be lost; 0 until a replay is settled.
    pub durable_seq: u64,
    /// Open lanes, the common one included.
    pub lanes: u64,
    /// Bytes of all lanes.
    pub lane_bytes: u64,
    /// Samples in lanes now.
    pub lane_depth: u64,
    /// Pushes that found their lane full.
    pub lane_full_events: u64,
    /// Samples dropped because an appender asked for it.
    pub dropped_samples: u64,
    /// Bytes of the active memtable and of those waiting for their flush.
    pub memtable_bytes: u64,
    /// Bytes of memtables that are flushed, and that snapshots keep, those of queries too: a snapshot that is held through
    /// flushes keeps each memtable that it was taken with. On top of [`Self::memtable_bytes`].
    pub pinned_memtable_bytes: u64,
    /// Tables of series, with their labels, that evictions have replaced and that snapshots keep, those of queries too: about
    /// so many bytes, on top of [`Self::label_bytes`]. Once they take more than a table of `Builder::max_series` with
    /// `Builder::max_label_bytes` does, further evictions wait.
    pub pinned_label_bytes: u64,
    /// Samples in memtables.
    pub memtable_samples: u64,
    /// Memtables that wait for their flush.
    pub sealed_memtables: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// Deletes whose samples compaction has not removed yet.
    pub tombstones: u64,
    /// Samples in segments.
    pub segment_samples: u64,
    /// Sealed chunks, in segments and memtables. Open tails are none yet.
    pub chunks: u64,
    /// Memtables flushed since the engine was opened.
    pub flushes: u64,
    /// Samples flushed since the engine was opened.
    pub flushed_samples: u64,
    /// Bytes of the segments made of them.
    pub flushed_bytes: u64,
    /// Time the flusher worked, in nanoseconds.
    pub flush_nanos: u64,
    /// Compaction jobs done since the engine was opened.
    pub compactions: u64,
    /// Bytes of the segments that they replaced.
    pub compacted_bytes_in: u64,
    /// Bytes of the segments that they made. Write amplification is this and `flushed_bytes`
    /// together, over `flushed_bytes`.
    pub compacted_bytes_out: u64,
    /// Time the compactor worked, in nanoseconds.
    pub compact_nanos: u64,
    /// Compaction jobs that failed: what they would have replaced is as it was.
    pub compactions_failed: u64,
    /// Whether a compaction job runs now.
    pub compacting: bool,
    /// Whether what compaction writes fails, for another cause than space or files that have run out: it is tried again by
    /// itself, and [`Warning::Compaction`](crate::Warning::Compaction) has told why. Alert on it.
    pub compaction_failing: bool,
    /// Segments that compaction has found damaged and leaves alone, since the opening;
    /// [`Warning::Compaction`](crate::Warning::Compaction) has told of each, and [`verify`](crate::admin::verify()) tells all.
    pub damaged_segments: u64,
    /// Whether the last commit that should have written the manifest anew could not, and was made in a file that grows:
    /// [`Warning::ManifestGrows`](crate::Warning::ManifestGrows) has told why. Alert on it.
    pub manifest_rewrite_failing: bool,
    /// fdatasync of the log.
    pub fdatasync: Quantiles,
    /// One push in 1,024, by the wall clock: also what it waited for a full lane.
    pub push: Quantiles,
    /// Queries answered: expressions of PromQL and aggregations that began from a snapshot of this engine.
    pub query: Quantiles,
    /// Bytes that queries hold now.
    pub query_memory_bytes: u64,
    /// The most bytes that they held at one time.
    pub query_memory_bytes_peak: u64,
    /// Bytes that they may hold together: see `Builder::query_memory_bytes`.
    pub query_memory_bytes_max: u64,
    /// Queries refused because all of them together would have held more.
    pub refused_queries: u64,
    /// Whether queries stand back, since more comes in than the worker keeps up with beside them.
    pub queries_stand_back: bool,
    /// For how long queries have stood back, all together.
    pub query_paused_nanos: u64,
    /// Subscriptions alive.
    pub subscriptions: u64,
    /// Samples that subscriptions missed because their readers were slow.
    pub subscription_missed_samples: u64,
    /// How often the worker held everything up for a subscriber who asks for that (`Lag::Hold`).
    pub subscription_holds: u64,
    /// How many of these lasted as long as the subscriber asks for, in vain.
    pub subscription_hold_timeouts: u64,
    /// The series that bring most samples, up to ten, the hottest first: an estimate over the last ten to twenty
    /// seconds.
    pub hottest_series: Vec<HotSeries>,
    /// Whether the ingest worker does not come round. Noticed after `Builder::stall_warn_after`. The same is in
    /// [`Self::stalled`], with all other workers: alert on that.
    pub worker_stalled: bool,
    /// How often that began.
    pub worker_stalls: u64,
    /// What writing waits for: the log, one of its syncs, or a flush; or what the next push would wait for, as far as it was
    /// found out. `None` if for neither space nor files nor memory, and once the
    /// engine is closed or has stopped writing.
    pub short_of: Option<Shortage>,
    /// Workers that do not get on now, the ingest worker among them: each with what it is at and for how long, as of a
    /// second ago at most. Noticed after `Builder::stall_warn_after`. This is what to alert on; it is empty once the engine
    /// is closed.
    pub stalled: Vec<Stalled>,
    /// How often that began, of all workers.
    pub stalls: u64,
    /// Warnings told; see `Builder::on_warning`.
    pub warnings: u64,
    /// How often a thread of this process had to wait for a mutex of an engine; none is on the hot path. Of all engines
    /// of the process together.
    pub lock_waits: u64,
    /// Waits that ended without what was waited for: for a push to be visible or durable, for room in a lane (the push
    /// was told to block), and for the worker to take a batch, a probe, a delete, a subscription or an eviction.
    /// `Subscription::recv` is not counted: that nothing comes for a while is its ordinary way.
    pub wait_timeouts: u64,
    /// Deletes and changes of retention that happened, and whose line `audit.log` lacks because the disk refused it. Each
    /// is told of as well, of many at a time the first 64: `Warning::Unaudited`.
    pub unaudited_acts: u64,
    /// Pages of mapped segments that could not be read, of all engines of the process: the disk refuses them, or another
    /// program cut a file off. 0 unless the program [survives](crate::survive_unreadable_pages) the first.
    pub unreadable_pages: u64,
    /// Samples pushed that were older on arrival than retention keeps any series: they are acknowledged as all are, and not
    /// shown as long as its rules stay so. What is dropped for its age meanwhile is gone.
    pub pushed_over_age: u64,
    /// Pushes refused because a timestamp lay too far ahead of the clock; each names its series.
    pub refused_ahead: u64,
    /// Series refused at a limit, or for labels that make none; each is named.
    pub refused_series: u64,
    /// Snapshots alive.
    pub snapshots: u64,
    /// Commits since the oldest live snapshot was taken; of those beyond 256 at a time only the age is known.
    pub oldest_snapshot_commits: u64,
    /// Age of the oldest live snapshot, in nanoseconds.
    pub oldest_snapshot_nanos: u64,
    /// Samples that the opening found in the log.
    pub recovered_samples: u64,
}

impl Stats {
    pub(crate) fn of(core: &crate::core::Core) -> Self {
        let counters = &core.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rings = core.rings.stats();
        let version = core.versions.load();
        let memtables = || version.sealed.iter().chain([&version.active]);
        let (snapshots, oldest) = core.pins.count_and_oldest();
        Self {
            series: version.registry.len() as u64,
            label_bytes: version.registry.label_bytes(),
            series_evicted: read(&counters.series_evicted),
            eviction_nanos: read(&counters.eviction_nanos),
            series_in_lanes: read(&counters.graves),
            samples: read(&counters.samples),
            commits: read(&counters.commits),
            wal_bytes: read(&counters.wal_bytes),
            visible_seq: core.watermark.seq(),
            // The log may be synced before it is applied (N4).
            durable_seq: core.durable.seq().min(core.watermark.seq()),
            lanes: rings.lanes.len() as u64,
            lane_bytes: rings.bytes as u64,
            lane_depth: rings.lanes.iter().map(|lane| lane.depth).sum(),
            lane_full_events: rings.full_events,
            dropped_samples: rings.dropped_samples,
            memtable_bytes: memtables().map(|m| m.bytes() as u64).sum(),
            pinned_memtable_bytes: core.versions.left_alive().iter().map(|m| m.bytes() as u64).sum(),
            pinned_label_bytes: core.versions.pinned_registry_bytes(),
            memtable_samples: memtables().map(|m| m.samples()).sum(),
            sealed_memtables: version.sealed.len() as u64,
            segments: version.segments.len() as u64,
            segment_bytes: version.segments.iter().map(|s| s.info().file_bytes).sum(),
            segment_samples: version.segments.iter().map(|s| s.info().samples).sum(),
            chunks: version.segments.iter().map(|s| s.info().chunks).sum::<u64>()
                + memtables().map(|m| m.table.len() as u64).sum::<u64>(),
            tombstones: version.tombstones.len() as u64,
            flushes: read(&counters.flushes),
            flushed_samples: read(&counters.flushed_samples),
            flushed_bytes: read(&counters.flushed_bytes),
            flush_nanos: read(&counters.flush_nanos),
            compactions: read(&counters.compactions),
            compacted_bytes_in: read(&counters.compacted_bytes_in),
            compacted_bytes_out: read(&counters.compacted_bytes_out),
            compact_nanos: read(&counters.compact_nanos),
            compactions_failed: read(&counters.compactions_failed),
            compacting: counters.compacting.load(Ordering::Relaxed),
            compaction_failing: counters.compaction_failing.load(Ordering::Relaxed),
            damaged_segments: read(&counters.damaged_segments),
            manifest_rewrite_failing: counters.manifest_rewrite_failing.load(Ordering::Relaxed),
            fdatasync: counters.fdatasync.quantiles(),
            push: counters.push.quantiles(),
            query: counters.query.quantiles(),
            query_memory_bytes: core.ledger.bytes_held(),
            query_memory_bytes_peak: core.ledger.bytes_peak(),
            query_memory_bytes_max: core.ledger.bytes_max(),
            refused_queries: core.ledger.refused(),
            queries_stand_back: core.ledger.is_pressed(),
            query_paused_nanos: u64::try_from(core.ledger.time_paused().as_nanos()).unwrap_or(u64::MAX),
            subscriptions: read(&counters.subscriptions),
            subscription_missed_samples: read(&counters.missed_by_subscriptions),
            subscription_holds: read(&counters.holds),
            subscription_hold_timeouts: read(&counters.holds_in_vain),
            // The registry is loaded under the lock: the ids in the sketch are not younger (V7).
            hottest_series: lock(&core.hot).hottest(HOTTEST, &core.registry()),
            worker_stalled: core.watched.worker_stalled.load(Ordering::Relaxed),
            worker_stalls: read(&core.watched.worker_stalls),
            short_of: core.gate.short(),
            stalled: lock(&core.watched.stalled).clone(),
            stalls: read(&core.watched.stalls),
            warnings: read(&core.watched.warnings),
            lock_waits: lock_waits(),
            wait_timeouts: read(&counters.wait_timeouts),
            unaudited_acts: read(&counters.unaudited),
            unreadable_pages: tidegauge_storage::fs::unreadable_pages(),
            pushed_over_age: read(&counters.over_age),
            refused_ahead: read(&counters.refused_ahead),
            refused_series: read(&counters.refused_series),
            snapshots: snapshots as u64,
            oldest_snapshot_nanos: core.pins.oldest_age().map_or(0, |(_, age)| age.as_nanos() as u64),
            oldest_snapshot_commits: oldest.map_or(0, |c| core.watermark.commit().saturating_sub(c)),
            recovered_samples: read(&counters.recovered),
        }
    }
}
