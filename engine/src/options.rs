//! Options of an engine: what each trades, and its default.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::model::LabelLimits;

use crate::error::OpenError;
use crate::evict::IdleLimits;
use crate::pace::Pace;
use crate::recovery::{OnProgress, OpenProgress, Recovery};
use crate::watch::{OnWarning, Warning, WatchLimits};

/// What an acknowledgement is worth.
///
/// | setting | survives `kill -9` | survives power loss |
/// |---|---|---|
/// | `Memory` | what was flushed | what was flushed |
/// | `Interval(d)` | everything visible | all but the last `d` plus one fdatasync |
/// | `Sync` | everything visible | everything acknowledged as durable |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// No log. What is not flushed is lost with the process.
    Memory,
    /// Logged before it is visible; fdatasync at least this often.
    Interval(Duration),
    /// Logged before it is visible; fdatasync as soon as somebody waits for a durable
    /// acknowledgement, one for all that wait.
    Sync,
}

impl Durability {
    /// `interval:100ms`, the default of library and agent.
    pub const DEFAULT: Self = Self::Interval(Duration::from_millis(100));

    pub(crate) fn logs(self) -> bool {
        self != Self::Memory
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Of intervals as they are read, in nanoseconds. They are written in the first one from seconds on in which one is
/// whole.
const UNITS: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];
const SECONDS: usize = 2;

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Interval(d) => {
                let whole = |(_, unit): &&(&str, u64)| d.as_nanos() % u128::from(*unit) == 0;
                let (name, unit) = UNITS[SECONDS..].iter().find(whole).unwrap_or(&("ns", 1));
                write!(f, "interval:{}{name}", d.as_nanos() / u128::from(*unit))
            }
            Self::Sync => f.write_str("sync"),
        }
    }
}

/// A durability that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "durability {0:?}: give memory, sync, or interval:TIME above zero, in ns, us, ms, s, m or h, such as interval:100ms"
)]
pub struct BadDurability(String);

impl FromStr for Durability {
    type Err = BadDurability;

    fn from_str(text: &str) -> Result<Self, BadDurability> {
        let bad = || BadDurability(text.to_owned());
        match text {
            "memory" => Ok(Self::Memory),
            "sync" => Ok(Self::Sync),
            _ => {
                let time = text.strip_prefix("interval:").ok_or_else(bad)?;
                let digits = time.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
                let number: u64 = time[..digits].parse().map_err(|_| bad())?;
                let (_, unit) = UNITS.iter().find(|(name, _)| *name == &time[digits..]).ok_or_else(bad)?;
                // Nothing at all is what `sync` is for.
                let nanos = number.checked_mul(*unit).filter(|nanos| *nanos > 0).ok_or_else(bad)?;
                Ok(Self::Interval(Duration::from_nanos(nanos)))
            }
        }
    }
}

/// How far a sample must have come before a wait answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A snapshot taken now holds it.
    Visible,
    /// It survives a power loss.
    Durable,
}

/// Collects options, then opens the engine.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) durability: Durability,
    pub(crate) flush_bytes: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_span: Duration,
    pub(crate) cold_after: Duration,
    pub(crate) compact_threads: usize,
    pub(crate) background_compaction: bool,
    pub(crate) lane_samples: usize,
    pub(crate) max_appenders: usize,
    pub(crate) max_series: usize,
    pub(crate) max_label_bytes: u64,
    pub(crate) series_idle: Option<Duration>,
    pub(crate) max_ahead: Duration,
    pub(crate) label_limits: LabelLimits,
    pub(crate) query_threads: usize,
    pub(crate) query_memory_bytes: u64,
    pub(crate) read_only: bool,
    pub(crate) address: Option<String>,
    pub(crate) heartbeat: Duration,
    pub(crate) recovery: Recovery,
    pub(crate) watch: WatchLimits,
    pub(crate) progress: OnProgress,
    /// Another file system than that of the machine, for tests.
    pub(crate) fs: Option<Arc<dyn Fs>>,
    /// Log files of another size than follows from `wal_bytes`, for tests.
    pub(crate) wal_file_bytes: Option<u64>,
    /// When the manifest is told what is durable; another one for tests.
    pub(crate) pace: Pace,
}

/// How often an owner lets itself be heard, at most and at least.
pub(crate) const HEARTBEATS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(120);

/// The heaviest label set that label limits may allow.
const LABEL_SET_BYTES_MAX: usize = 4 << 20;

impl Builder {
    /// Default of [`Self::flush_bytes`]: 128 MiB.
    pub const FLUSH_BYTES: u64 = 128 << 20;
    /// Default of [`Self::wal_bytes`]: 512 MiB.
    pub const WAL_BYTES: u64 = 512 << 20;
    /// Default of [`Self::segment_bytes`]: 1 GiB.
    pub const SEGMENT_BYTES: u64 = 1 << 30;
    /// Default of [`Self::segment_span`]: 32 days.
    pub const SEGMENT_SPAN: Duration = Duration::from_secs(32 * 86_400);
    /// Default of [`Self::cold_after`]: 7 days.
    pub const COLD_AFTER: Duration = Duration::from_secs(7 * 86_400);
    /// Default of [`Self::lane_samples`]: 65,536, which is 1.5 MiB a lane.
    pub const LANE_SAMPLES: usize = 1 << 16;
    /// Default of [`Self::max_appenders`].
    pub const MAX_APPENDERS: usize = 256;
    /// Default of [`Self::max_series`].
    pub const MAX_SERIES: usize = 10_000_000;
    /// Default of [`Self::max_label_bytes`]: 1 GiB, a hundred bytes of new labels for each of [`Self::MAX_SERIES`].
    pub const MAX_LABEL_BYTES: u64 = 1 << 30;
    /// Default of [`Self::series_idle`]: 1 hour.
    pub const SERIES_IDLE: Duration = Duration::from_secs(3_600);
    /// Default of [`Self::stall_warn_after`]: 5 seconds.
    pub const STALL_WARN_AFTER: Duration = Duration::from_secs(5);
    /// Default of [`Self::snapshot_warn_after`]: 10 minutes.
    pub const SNAPSHOT_WARN_AFTER: Duration = Duration::from_secs(600);
    /// Default of [`Self::max_ahead`]: 10 minutes.
    pub const MAX_AHEAD: Duration = Duration::from_secs(600);
    /// Default of [`Self::query_memory_bytes`]: 2 GiB.
    pub const QUERY_MEMORY_BYTES: u64 = 2 << 30;
    /// Default of [`Self::heartbeat`]: 30 seconds.
    pub const HEARTBEAT: Duration = Duration::from_secs(30);

    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self {
            dir: dir.map(Path::to_owned),
            durability: if dir.is_some() { Durability::DEFAULT } else { Durability::Memory },
            flush_bytes: Self::FLUSH_BYTES,
            wal_bytes: Self::WAL_BYTES,
            segment_bytes: Self::SEGMENT_BYTES,
            segment_span: Self::SEGMENT_SPAN,
            cold_after: Self::COLD_AFTER,
            compact_threads: 0,
            background_compaction: true,
            lane_samples: Self::LANE_SAMPLES,
            max_appenders: Self::MAX_APPENDERS,
            max_series: Self::MAX_SERIES,
            max_label_bytes: Self::MAX_LABEL_BYTES,
            series_idle: Some(Self::SERIES_IDLE),
            max_ahead: Self::MAX_AHEAD,
            label_limits: LabelLimits::DEFAULT,
            query_threads: 0,
            query_memory_bytes: Self::QUERY_MEMORY_BYTES,
            read_only: false,
            address: None,
            watch: WatchLimits {
                stall_warn_after: Self::STALL_WARN_AFTER,
                snapshot_warn_after: Self::SNAPSHOT_WARN_AFTER,
                on_warning: OnWarning::default(),
            },
            progress: OnProgress::default(),
            heartbeat: Self::HEARTBEAT,
            recovery: Recovery::Strict,
            fs: None,
            wal_file_bytes: None,
            pace: Pace::DEFAULT,
        }
    }

    /// What an acknowledgement is worth. Default: [`Durability::DEFAULT`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Memtable size, in bytes, at which it is sealed and flushed.
    ///
    /// Larger: fewer segments, faster scans. Smaller: less memory, faster recovery. The engine has
    /// at most three memtables of this size: one active, two on their way to a segment. A snapshot keeps
    /// those that it was taken with, also when they are flushed: `Stats::pinned_memtable_bytes`. One is
    /// also full at 10.5 million samples, so that opening after a crash takes about a second at most.
    pub fn flush_bytes(mut self, bytes: u64) -> Self {
        self.flush_bytes = bytes;
        self
    }

    /// Log size, in bytes, at which the memtable is sealed and flushed even if it is small.
    ///
    /// Bounds the time that recovery takes. What it takes to define each series once does not count, for each memtable
    /// has to begin with that: with a million series of 600 bytes the log grows by 600 MB more. Pages that are half empty
    /// do: where every push is synced, each takes 4 KiB.
    pub fn wal_bytes(mut self, bytes: u64) -> Self {
        self.wal_bytes = bytes;
        self
    }

    /// Segments are merged until they weigh about this much, in bytes; with a retention by size at most an eighth of that.
    ///
    /// Larger: fewer segments, faster queries over long times. Smaller: late data, deletes and
    /// retention rewrite less at a time. Compaction takes up to four times this in extra disk, or two
    /// segments if those are larger: flushes may weigh more than this says.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Segments are merged until they cover about this time, unless they would be tiny.
    ///
    /// Longer: fewer segments where samples are few. Shorter: retention by age drops whole
    /// segments earlier.
    pub fn segment_span(mut self, span: Duration) -> Self {
        self.segment_span = span;
        self
    }

    /// Segments whose newest sample, and which themselves, are this old are encoded anew, as small as it gets, once.
    /// [`Engine::compact`](crate::Engine::compact) does so whatever their age. [`Duration::MAX`]: never, not then either.
    ///
    /// Sooner: less disk. Later: what is often read decodes faster. With the feature `cold` such segments take some
    /// 10 to 20 % less and decode ten times slower, without it a little less and as fast. Stores written with it cannot
    /// be read without.
    pub fn cold_after(mut self, age: Duration) -> Self {
        self.cold_after = age;
        self
    }

    /// Threads that compact. Default, and with 0: half of the processors, at least one.
    ///
    /// More: segments are merged and made small sooner. Fewer: pushes and queries keep the processors. The extra disk is
    /// the same.
    pub fn compact_threads(mut self, threads: usize) -> Self {
        self.compact_threads = threads;
        self
    }

    /// Whether segments are merged as they come; [`Engine::compact`](crate::Engine::compact) works
    /// in any case. Default: yes.
    ///
    /// Without it, late and small segments pile up, and queries have to merge them.
    pub fn background_compaction(mut self, on: bool) -> Self {
        self.background_compaction = on;
        self
    }

    /// Samples that a lane holds, rounded up to a power of two; each takes 24 bytes.
    ///
    /// Larger: bursts are absorbed. Smaller: back-pressure comes sooner. Also the longest batch; and above 65,536 the
    /// largest commit, since a lane is taken whole: what is due meanwhile, such as an fdatasync, waits for it.
    pub fn lane_samples(mut self, samples: usize) -> Self {
        self.lane_samples = samples;
        self
    }

    /// Appenders that may exist at a time.
    pub fn max_appenders(mut self, appenders: usize) -> Self {
        self.max_appenders = appenders;
        self
    }

    /// After how long without a new sample, and without being resolved, a series leaves memory once all its samples are
    /// in segments. `None`: never.
    ///
    /// What is stored of it stays, and is found as before. Only its [`SeriesId`](crate::SeriesId) is stale from then on,
    /// and refused wherever it is used ([`PushError::StaleSeries`](crate::PushError::StaleSeries)): resolve its labels
    /// again. What was pushed before is stored. Shorter: less memory where series come and go. Longer: fewer ids go stale.
    /// It is no promise to the second: a sixteenth of the series must be idle to be worth it, unless three quarters of
    /// [`Self::max_series`] or [`Self::max_label_bytes`] are there; then a flush is also asked for. An [`Appender`](crate::Appender) that does not push
    /// for long holds the labels of what is evicted meanwhile back, and at half a million series, or 64 MiB of them,
    /// further evictions.
    pub fn series_idle(mut self, after: Option<Duration>) -> Self {
        self.series_idle = after;
        self
    }

    /// Series that may be in memory; the next new one is refused. Those that are idle do not count for long:
    /// [`Self::series_idle`]. What was accepted is kept whatever the limit says: a store that is opened with a lower one
    /// comes back whole, if its log holds no more than a million series beyond it.
    pub fn max_series(mut self, series: usize) -> Self {
        self.max_series = series;
        self
    }

    /// Bytes that the labels of the series in memory may take, each name with a value once; the next series that would
    /// bring more is refused. A flush needs up to as much again for a moment. Otherwise as [`Self::max_series`].
    pub fn max_label_bytes(mut self, bytes: u64) -> Self {
        self.max_label_bytes = bytes;
        self
    }

    /// When series leave memory, if they do.
    pub(crate) fn idle_limits(&self) -> Option<IdleLimits> {
        let (series_max, label_bytes_max) = (self.max_series, self.max_label_bytes);
        self.series_idle.map(|after| IdleLimits { after, series_max, label_bytes_max })
    }

    /// How far a timestamp may lie ahead of this machine's clock.
    pub fn max_ahead(mut self, ahead: Duration) -> Self {
        self.max_ahead = ahead;
        self
    }

    /// What a label set may weigh.
    pub fn label_limits(mut self, limits: LabelLimits) -> Self {
        self.label_limits = limits;
        self
    }

    /// Threads that a query runs on while it is alone, the one that asks among them; 0 (the default) means one for each
    /// processor.
    pub fn query_threads(mut self, threads: usize) -> Self {
        self.query_threads = threads;
        self
    }

    /// Bytes that all queries running at a time may hold together, beside what
    /// [`QueryLimits`](crate::query::QueryLimits) allow each of them. The query that would go beyond is refused
    /// ([`Limit::SharedMemory`](crate::query::Limit::SharedMemory)), and the others go on.
    ///
    /// Larger: more and heavier queries at a time. Smaller: less memory when many come at once.
    pub fn query_memory_bytes(mut self, bytes: u64) -> Self {
        self.query_memory_bytes = bytes;
        self
    }

    /// Opens without lock and without writing anything: for looking at a store that another
    /// process owns. What that process has flushed or logged is seen, as of the opening.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// An address that the lock file tells to those who find the directory in use.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// What to do about data that was durable and cannot be read. Default: [`Recovery::Strict`].
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// How often the lock file says that this process lives, 5 to 120 seconds. Who forces the lock of another machine
    /// ([`unlock`](crate::admin::unlock)) watches it for three times as long before.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }

    /// After how long the ingest worker that does not come round, or another worker that does not get on with what it
    /// has begun, is called stalled: in the statistics, and by a warning. Longer than the slowest fdatasync of the device.
    pub fn stall_warn_after(mut self, time: Duration) -> Self {
        self.watch.stall_warn_after = time;
        self
    }

    /// After how long a snapshot that is held brings a warning. It may live longer; what it reads stays as long.
    pub fn snapshot_warn_after(mut self, time: Duration) -> Self {
        self.watch.snapshot_warn_after = time;
        self
    }

    /// Who hears of a [`Warning`]. Called by a thread of the engine that waits meanwhile for nothing else; without
    /// it warnings are only counted. What would wait for the engine is refused there, as in a waker (`InWaker`). If it
    /// panics, that goes to the panic hook, and the next warning is told all the same.
    pub fn on_warning(mut self, hear: impl Fn(&Warning) + Send + Sync + 'static) -> Self {
        self.watch.on_warning = OnWarning(Arc::new(hear));
        self
    }

    /// Who hears how far the opening is: called after every mebibyte or so of the log, and of segments where
    /// [`Recovery::Salvage`] reads them, by the thread that opens and by those that help it. An opening that reads
    /// nothing tells nothing. If it panics, so does the opening; the store is as if it had not been opened, but that a
    /// salvage keeps what it has done by then: the next one goes on from there.
    pub fn on_progress(mut self, hear: impl Fn(&OpenProgress) + Send + Sync + 'static) -> Self {
        self.progress = OnProgress(Some(Arc::new(hear)));
        self
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let bad = |option, why: &str| Err(OpenError::BadOption { option, why: why.to_owned() });
        if self.lane_samples == 0 || self.lane_samples > 1 << 22 {
            return bad("lane_samples", "give 1 to 4,194,304");
        }
        if self.max_appenders == 0 {
            return bad("max_appenders", "give at least 1");
        }
        if self.max_series == 0 || self.max_series > 1 << 30 {
            return bad("max_series", "give 1 to 1,073,741,824");
        }
        if self.max_label_bytes == 0 {
            return bad("max_label_bytes", "give at least 1");
        }
        if self.series_idle.is_some_and(|after| after < Duration::from_millis(1)) {
            return bad("series_idle", "give at least a millisecond, or none");
        }
        if self.flush_bytes < 1 << 16 {
            return bad("flush_bytes", "give at least 64 KiB");
        }
        if self.wal_bytes < 1 << 20 {
            return bad("wal_bytes", "give at least 1 MiB");
        }
        if self.query_memory_bytes < 1 << 20 {
            return bad("query_memory_bytes", "give at least 1 MiB");
        }
        if !HEARTBEATS.contains(&self.heartbeat) {
            return bad("heartbeat", "give 5 to 120 seconds");
        }
        if self.segment_bytes < 1 << 16 {
            return bad("segment_bytes", "give at least 64 KiB");
        }
        if self.segment_span < Duration::from_secs(1) {
            return bad("segment_span", "give at least a second");
        }
        // A set must fit into a frame of the log, and leave room for samples.
        let LabelLimits { labels_per_series, name_bytes, value_bytes } = self.label_limits;
        let set = name_bytes.saturating_add(value_bytes).saturating_add(8).saturating_mul(labels_per_series);
        if labels_per_series == 0 || name_bytes == 0 || value_bytes == 0 || set > LABEL_SET_BYTES_MAX {
            return bad("label_limits", "give at least 1 each, and labels x (name + value) of 4 MiB at most");
        }
        if self.durability == Durability::Interval(Duration::ZERO) {
            return bad("durability", "an interval of zero: give `sync`, or a longer interval");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_reads_what_it_prints() {
        for d in [Durability::Memory, Durability::Sync, Durability::DEFAULT] {
            assert_eq!(d.to_string().parse(), Ok(d));
        }
        for (nanos, text) in
            [(2_000_000_000, "2s"), (1_500_000_000, "1500ms"), (1_500_000, "1500us"), (1_001, "1001ns")]
        {
            let d = Durability::Interval(Duration::from_nanos(nanos));
            assert_eq!(d.to_string(), format!("interval:{text}"));
            assert_eq!(d.to_string().parse(), Ok(d));
        }
        let longer =
            [("7µs", Duration::from_micros(7)), ("1m", Duration::from_secs(60)), ("2h", Duration::from_secs(7200))];
        for (text, interval) in longer {
            assert_eq!(format!("interval:{text}").parse(), Ok(Durability::Interval(interval)));
        }
        assert_eq!(Durability::Interval(Duration::from_secs(60)).to_string(), "interval:60s");
        for bad in [
            "",
            "intervall:1s",
            "interval:",
            "interval:10",
            "interval:99999999999s",
            "interval:9999999h",
            "interval:1M",
            "interval:-1s",
            "interval:0ms",
            "Sync",
        ] {
            assert!(bad.parse::<Durability>().unwrap_err().to_string().contains("interval:100ms"), "{bad}");
        }
    }
}
