//! The handle that users hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::manifest::Retention;
use tidegauge_storage::model::{Labels, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::source::ReadError;

use crate::appender::{Ack, Appender, push_common};
use crate::backup::{BackupError, BackupReport, backup};
use crate::batch::{self, Batch, IncrementError, Incremented, Last, LastError, Retry, RetryError};
use crate::core::SeriesSample;
use crate::delete::{DeleteCount, count};
use crate::error::{
    AppenderError, CloseError, CompactError, DeleteError, FlushError, MetadataError, OpenError, Poisoned, ProbeError,
    PushError, RetentionError, SeriesError, WaitError,
};
use crate::gate::Shut;
use crate::ingest;
use crate::life::{Life, Owner};
use crate::options::{Builder, Level};
use crate::recovery::RecoveryReport;
use crate::registry::SeriesId;
use crate::ring::{BackPressure, JoinError};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::subscribe::{self, SubscribeError, SubscribeOptions, Subscription};
use crate::sync::atomic::Ordering;
use crate::wait::{AckFuture, block};

/// How long a push through the common lane, or by a default appender, waits for room.
const BLOCK_DEFAULT: Duration = Duration::from_secs(1);

/// HELP, TYPE and UNIT of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `counter`, `gauge`, `histogram`, `summary` …
    pub kind: String,
    /// What the metric says, in a sentence.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// A time-series engine: owns a data directory, or lives in memory.
///
/// Cheap to clone; every clone is the same engine, and the last one to go closes it.
/// All methods may be called from any thread. On a thread of the engine itself (in a waker that it wakes, or in
/// [`Builder::on_warning`]) what would wait for the engine answers at once that it cannot: `InWaker`, and a push into a full
/// lane [`PushError::Full`].
#[derive(Clone)]
pub struct Engine {
    life: Arc<Owner>,
}

impl Engine {
    pub(crate) fn from_life(life: Life) -> Self {
        Self { life: Arc::new(Owner::new(life)) }
    }

    pub(crate) fn life(&self) -> &Life {
        &self.life
    }

    /// Opens (or creates) the store in `dir` with the default options.
    ///
    /// # Errors
    /// [`OpenError`] says why and what to do; no sample, segment or log was changed.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(dir).open()
    }

    /// An engine that writes no file and is gone with the process.
    ///
    /// # Errors
    /// [`OpenError`] if threads cannot be started.
    pub fn in_memory() -> Result<Self, OpenError> {
        Builder::new(None).open()
    }

    /// Options first, then [`Builder::open`].
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder::new(Some(dir.as_ref()))
    }

    /// Options for an engine that writes no file.
    pub fn in_memory_builder() -> Builder {
        Builder::new(None)
    }

    /// The series of a label set, given as pairs in any order; registers it if it is new.
    ///
    /// Takes a lock: resolve once, push often. A series that has been idle for [`Builder::series_idle`] leaves memory, and
    /// its id is [`PushError::StaleSeries`] from then on, wherever it is used; resolving the labels again gives a new one.
    /// To resolve a series counts as using it: within that time its id is good.
    ///
    /// # Errors
    /// [`SeriesError`] if the labels are not acceptable or there are too many series.
    pub fn series(&self, labels: &[(&str, &str)]) -> Result<SeriesId, SeriesError> {
        let core = &self.life.core;
        let labels = core.registry().labels(labels).map_err(SeriesError::from);
        self.counted(labels.and_then(|labels| core.resolve(&labels)))
    }

    /// As [`Self::series`], for a label set that exists already.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn series_labels(&self, labels: &Labels) -> Result<SeriesId, SeriesError> {
        let core = &self.life.core;
        let checked = core.registry().check(labels).map_err(SeriesError::from);
        self.counted(checked.and_then(|()| core.resolve(labels)))
    }

    /// Whether an id is good: of this engine, and of a series that has not left memory. For who keeps ids for long. Takes no
    /// lock, and counts neither as using the series nor for what comes: a push may find the id stale all the same.
    #[must_use]
    pub fn knows(&self, series: SeriesId) -> bool {
        self.life.core.heads.is_live(series)
    }

    /// Counts what is refused.
    fn counted<T>(&self, found: Result<T, SeriesError>) -> Result<T, SeriesError> {
        found.inspect_err(|_| self.life.core.counters.refused_series())
    }

    /// A handle for one collector, with a lane of its own. When the lane is full, a push
    /// waits for up to a second.
    ///
    /// # Errors
    /// [`AppenderError`] at the limit, or if the engine is closed or read-only.
    pub fn appender(&self) -> Result<Appender, AppenderError> {
        self.appender_with(BackPressure::Block(BLOCK_DEFAULT))
    }

    /// As [`Self::appender`], with another policy for a full lane.
    ///
    /// # Errors
    /// As [`Self::appender`].
    pub fn appender_with(&self, pressure: BackPressure) -> Result<Appender, AppenderError> {
        let core = &self.life.core;
        match core.gate.why_shut() {
            Some(Shut::ReadOnly) => return Err(AppenderError::ReadOnly),
            Some(Shut::Poisoned(poisoned)) => return Err(poisoned.into()),
            Some(Shut::Closed | Shut::Short(_)) | None => {}
        }
        let lane = core.rings.join().map_err(|e| match e {
            JoinError::TooManyLanes { lanes_max } => AppenderError::TooMany { limit: lanes_max },
            JoinError::Closed => core.gate.poisoned().map_or(AppenderError::Closed, AppenderError::Poisoned),
            JoinError::TooManyBytes { lane_bytes_max, .. } => AppenderError::TooManyBytes { limit: lane_bytes_max },
        })?;
        Ok(Appender::new(Arc::clone(core), lane, pressure))
    }

    /// Pushes one sample from any thread, through the common lane: slower than an
    /// [`Appender`], and held back by a neighbour that is descheduled in the middle of a push.
    ///
    /// # Errors
    /// [`PushError`]; the sample was not taken.
    pub fn push(&self, series: SeriesId, timestamp: Timestamp, value: f64) -> Result<Ack, PushError> {
        self.push_batch(&[SeriesSample::new(series, timestamp, value)])
    }

    /// Pushes a batch from any thread, all or nothing: see [`Self::push`].
    ///
    /// # Errors
    /// [`PushError`]; nothing of the batch was taken.
    pub fn push_batch(&self, samples: &[SeriesSample]) -> Result<Ack, PushError> {
        push_common(&self.life.core, &self.life.common, samples, BackPressure::Block(BLOCK_DEFAULT))
    }

    /// Waits until a push has reached `level`, at most `timeout`. Answers a sequence number
    /// at or above those of its samples.
    ///
    /// # Errors
    /// [`WaitError`]; a timeout says nothing about the samples but that they are not there yet.
    pub fn wait(&self, ack: Ack, level: Level, timeout: Duration) -> Result<SeqNo, WaitError> {
        block(&self.life.core, ack, level, timeout)
    }

    /// As [`Self::wait`], as a future for any executor.
    pub fn wait_async(&self, ack: Ack, level: Level) -> AckFuture {
        AckFuture::new(Arc::clone(&self.life.core), ack, level)
    }

    /// A consistent view of everything visible now, in constant time, without a lock. See [`Snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.life.reads)
    }

    /// Brings everything visible now into segments, and what the calling thread has pushed before (unless that waits for
    /// the disk). Takes as long as writing them takes.
    ///
    /// # Errors
    /// [`FlushError`]: no space, closed, read-only, poisoned, or asked for by a waker. What was pushed stays readable.
    pub fn flush(&self) -> Result<(), FlushError> {
        let core = &self.life.core;
        core.gate.not_in_child()?;
        if core.is_own_thread() {
            return Err(FlushError::InWaker);
        }
        // Elsewhere there is no worker, or nothing comes any more.
        if matches!(core.gate.why_shut(), Some(Shut::Short(_)) | None) {
            // Where it has ended the flush tells.
            let _ = ingest::settle(core, || None);
        }
        let version = core.versions.load();
        // An empty memtable needs no flush, and must not be flushed as soon as a sample comes.
        let wanted = version.active.generation - u32::from(version.active.samples() == 0);
        drop(version);
        core.flush_wanted.fetch_max(wanted, Ordering::AcqRel);
        // One that is under way may have begun before there was space: only the next one tells how it is now.
        let told_by = core.gate.flushes_failed() + 2;
        core.wake_worker();
        core.flushes.wait_until(|| match core.gate.why_shut() {
            Some(Shut::Poisoned(poisoned)) => Some(Err(poisoned.into())),
            Some(Shut::Closed) => Some(Err(FlushError::Closed)),
            Some(Shut::ReadOnly) => Some(Err(FlushError::ReadOnly)),
            Some(Shut::Short(_)) | None => {
                if let Some(short) = core.gate.holds_up() {
                    return Some(Err(short.into()));
                }
                let version = core.versions.load();
                let sealed = version.sealed.iter().any(|m| m.generation <= wanted);
                let active = version.active.generation <= wanted && version.active.samples() > 0;
                match sealed || active {
                    false => Some(Ok(())),
                    true => {
                        let short = core.gate.flush_waits().filter(|_| core.gate.flushes_failed() >= told_by);
                        short.map(|short| Err(short.into()))
                    }
                }
            }
        })
    }

    /// An empty atomic batch: what it collects becomes visible together or not at all. Dropping it leaves nothing.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.life.core))
    }

    /// The newest visible sample of a series, and as of what; `None` if it holds none.
    ///
    /// Under 100 ns if the series had samples in order since the last flush and nothing stored is newer: no snapshot
    /// is pinned then, nothing is copied, no segment is touched. Otherwise about a microsecond for each source that
    /// may hold something newer. Two readings by one thread, of the same series or another, never go back in the order
    /// of acceptance.
    ///
    /// # Errors
    /// [`LastError`] if the id is stale, or a segment cannot be read.
    pub fn last(&self, series: SeriesId) -> Result<Option<Last>, LastError> {
        batch::last(&self.life.core, series)
    }

    /// As [`Self::last`], for the series that has exactly these labels, given in any order; `None` too if there is no
    /// such series. Under a microsecond where [`Self::last`] is quick.
    ///
    /// # Errors
    /// [`ReadError`] if a segment cannot be read.
    pub fn last_of(&self, labels: &[(&str, &str)]) -> Result<Option<Last>, ReadError> {
        batch::last_of(&self.life.core, labels)
    }

    /// Adds `delta` to the newest value of a series (0 if it has none) and stores the sum as a new sample, in one
    /// step: of many that increment at once none is lost. After conflicts it tries again as `retry` says.
    ///
    /// # Errors
    /// [`RetryError`]: conflicts to the end of `retry`, or what reading the newest value or committing refuses; nothing
    /// was added.
    pub fn increment(
        &self,
        series: SeriesId,
        delta: f64,
        retry: Retry,
    ) -> Result<Incremented, RetryError<IncrementError>> {
        batch::increment(self, &self.life.core, series, delta, retry)
    }

    /// Follows the samples that a selector such as `{job="api"}` selects, series that come later included: commit by
    /// commit, in order, once visible. Through a ring of 131,072 samples; a reader who is slower than that is told what
    /// he missed.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe(&self, selector: &str) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(selector, SubscribeOptions::default())
    }

    /// As [`Self::subscribe`], with another ring or another answer to a slow reader.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn subscribe_with(&self, selector: &str, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        subscribe::subscribe(&self.life.core, selector, options)
    }

    /// Deletes the samples of the series that `selector` names, whose timestamps lie in `range`,
    /// as far as they were accepted before: what the calling thread has pushed is, unless the worker waits for memory or
    /// the disk. What comes later stays, whatever its timestamp.
    ///
    /// On return it is visible: no later snapshot shows them, older ones still do. It is durable as
    /// a push is that was waited for; with `Durability::Memory` it stands in the manifest. Their space
    /// comes back with compaction. Costs a rotation of the memtable and one fdatasync, not the
    /// samples hidden. Count first ([`count_matching`](Self::count_matching)) what it would hide. A line goes to `audit.log`.
    ///
    /// # Errors
    /// [`DeleteError`]; nothing was deleted, but for `Poisoned`, `NotNoted` and `NotDurable`, and perhaps for `Closed` where
    /// the engine was closed meanwhile.
    pub fn delete(&self, selector: &str, range: impl Into<TimeRange>) -> Result<SeqNo, DeleteError> {
        self.life.delete(selector, range.into())
    }

    /// How many series and samples [`delete`](Self::delete) would hide now. Reads them.
    ///
    /// # Errors
    /// [`DeleteError::Select`].
    pub fn count_matching(&self, selector: &str, range: impl Into<TimeRange>) -> Result<DeleteCount, DeleteError> {
        count(&self.snapshot(), selector, range.into())
    }

    /// Sets how long and how much is kept, in place of what was set before; survives restarts.
    ///
    /// What is over age is hidden from every snapshot taken from then on, to the nanosecond by the clock of this
    /// machine. Its space comes back with compaction: whole segments go once all of it is over age, others are
    /// rewritten once a quarter of it is. Where all segments together are larger than allowed, the oldest ones go (or the
    /// older part of one that is larger than an eighth of the size), and nothing before their end that was accepted earlier
    /// is shown any more; a store keeps at least one segment. Without rules nothing is ever dropped. Loosening an age shows
    /// again what was not dropped yet, never what had been overwritten; and what is pushed then, of whatever age. A line goes
    /// to `audit.log`.
    ///
    /// # Errors
    /// [`RetentionError`]; the rules before stay in force.
    pub fn set_retention(&self, retention: Retention) -> Result<(), RetentionError> {
        self.life.set_retention(retention)
    }

    /// How long and how much is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.life.core.kept.retention()
    }

    /// Whether all samples that are pushed are kept, however old: there is neither a rule of
    /// [retention](Self::retention) nor a bound on bytes.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.life.core.kept.keeps_all()
    }

    /// Proves that the ingest worker goes round: answers once it has, or tells why pushes would not arrive. What the
    /// calling thread pushed before is visible then, unless the worker waits for memory or the disk. Takes a lock, and
    /// up to 2 ms of an idle engine.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn probe(&self, timeout: Duration) -> Result<(), ProbeError> {
        ingest::probe(&self.life.core, timeout)
    }

    /// Merges segments until there is nothing left to merge: overlapping ones, late data, small
    /// neighbours. What is still in memory is left out: [`flush`](Self::flush) first. Reads and
    /// rewrites up to everything stored; pushes and queries go on meanwhile.
    ///
    /// The engine compacts by itself what is worth it; this is for those who want the smallest
    /// files now. While a [backup](Self::backup) is made, what the copy still lacks of deletes is carried out once it is
    /// whole, behind this; files that were replaced go with the last snapshot, or copy, that reads them.
    ///
    /// # Errors
    /// [`CompactError`]; nothing is lost.
    pub fn compact(&self) -> Result<(), CompactError> {
        let core = &self.life.core;
        match core.gate.why_shut() {
            Some(Shut::ReadOnly) => Err(CompactError::ReadOnly),
            Some(Shut::Closed) => Err(CompactError::Closed),
            Some(Shut::Poisoned(poisoned)) => Err(poisoned.into()),
            Some(Shut::Short(_)) | None if core.is_own_thread() => Err(CompactError::InWaker),
            Some(Shut::Short(_)) | None => core.compactions.ask_and_wait().map_err(|e| match core.gate.poisoned() {
                Some(poisoned) if e == CompactError::Closed => poisoned.into(),
                _ => e,
            }),
        }
    }

    /// Copies everything visible now into `target`, a directory that is empty or does not exist: flushes, gives each
    /// segment a hard link there, and writes a manifest that needs no log. Takes as long as the flush; another file
    /// system costs a copy of all bytes. Pushes and queries go on. The copy is durable when this returns, opens by
    /// itself, and shares only what nobody ever writes to. [`admin::backup`](crate::admin::backup) tells how far it is.
    ///
    /// # Errors
    /// [`BackupError`]; an unfinished copy has no manifest, and is refused as a store. [`BackupError::Closed`] if the engine
    /// was closed meanwhile, and somebody has opened the store again before the copy had all of it.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<BackupReport, BackupError> {
        backup(self, target, |_, _| {})
    }

    /// What the engine measures of itself. Takes time by the number of lanes and segments, and holds up nobody who pushes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.life.core)
    }

    /// Stores what is known about a metric. One write to disk if it is news: for several, see
    /// [`Self::set_metadata_all`].
    ///
    /// # Errors
    /// [`MetadataError`]; what was known before stays.
    pub fn set_metadata(&self, metric: &str, metadata: Metadata) -> Result<(), MetadataError> {
        self.life.set_metadata([(metric.to_owned(), metadata)])
    }

    /// Stores what is known about many metrics: all of it or nothing, in one write to disk.
    ///
    /// # Errors
    /// [`MetadataError`]; what was known before stays.
    pub fn set_metadata_all(&self, all: impl IntoIterator<Item = (String, Metadata)>) -> Result<(), MetadataError> {
        self.life.set_metadata(all)
    }

    /// What is known about metrics, by name: a copy of all of it.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.life.metadata()
    }

    /// How the opening went: what came back from the log, and what salvage could not save.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.life.report
    }

    /// Brings an engine that was opened read-only up to what the owner has flushed or logged by now. Snapshots
    /// taken before stay as they are; one taken meanwhile shows the old state or the new one. Writes nothing,
    /// takes no lock. Costs what reading the log costs; segments that are open already stay open.
    ///
    /// Nothing is to be done where the engine itself writes.
    ///
    /// # Errors
    /// [`OpenError`]; the engine goes on showing what it showed before.
    pub fn refresh(&self) -> Result<(), OpenError> {
        self.life.refresh()
    }

    /// Whether the engine still writes.
    ///
    /// # Errors
    /// [`Poisoned`] with the cause, if it stopped, or if it can [not even be read](Self::can_read).
    pub fn is_healthy(&self) -> Result<(), Poisoned> {
        self.life.core.gate.poisoned().map_or_else(|| self.can_read(), Err)
    }

    /// Whether the engine can still be read: it can, whatever has stopped its writing, unless a defect (a panic) has left
    /// the table of series to nobody. Then only another opening helps.
    ///
    /// # Errors
    /// [`Poisoned`] with that cause.
    pub fn can_read(&self) -> Result<(), Poisoned> {
        match self.life.core.registry().is_broken() {
            true => Err(Poisoned { cause: "a panic has left the table of series unusable".to_owned() }),
            false => Ok(()),
        }
    }

    /// Refuses pushes, brings everything accepted into segments, and lets go of the directory. What waits for space, files or
    /// memory is tried once more, and not waited for.
    /// Snapshots and clones of the handle go on reading, and a [backup](Self::backup) that is being made goes on: the close
    /// does not wait for it. Closing twice is fine. Of an engine that was opened with
    /// [salvage](crate::Recovery::Salvage) it says as well that the [report](Self::recovery_report) was told; one that is
    /// only dropped does not.
    ///
    /// # Errors
    /// [`CloseError`]: what was durable comes back at the next opening.
    pub fn close(self) -> Result<(), CloseError> {
        self.life.close()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("dir", &self.life.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Nothing told: new series and all that selects failed, and the engine was healthy.
    #[test]
    fn an_engine_whose_table_of_series_met_a_panic_is_not_healthy() {
        let engine = Engine::in_memory().unwrap();
        let id = engine.series(&[("__name__", "cpu")]).unwrap();
        assert_eq!((engine.is_healthy(), engine.can_read()), (Ok(()), Ok(())));
        let registry = engine.life.core.registry();
        let defect = || registry.take(&[id.slot], |_| panic!("a defect"));
        assert!(catch_unwind(AssertUnwindSafe(defect)).is_err());
        let why = engine.is_healthy().unwrap_err();
        assert!(why.to_string().contains("table of series"), "{why}");
        assert_eq!(engine.can_read(), Err(why));
        // What shows it goes on showing.
        assert_eq!(engine.stats().series, 1);
    }
}
