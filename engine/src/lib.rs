//! Tidegauge: a lock-free time-series ingestion engine to link into a program.
//!
//! [`Engine`] opens a directory (or lives in memory); [`Appender`]s push samples into it
//! without taking a lock; [`Snapshot`]s answer queries at one consistent commit.
//!
//! Stored samples are read from mapped files. A page of one that the disk refuses to read, or that another program cut
//! off, raises SIGBUS, which ends the process, unless the program has called [`survive_unreadable_pages`] before, once:
//! then whoever needs what lies there gets [`ReadError::Corrupt`], and all else goes on. It is for the program to say,
//! since a process has one handler of that signal.
//!
//! An engine is of the process that opened it. A child that `fork` made, and that goes on without an `exec`, has its memory
//! and none of its threads. There each push is refused as [`Poisoned`], of an appender the 1,024th at the latest and each
//! behind it, and so is at once all else that would wait for the engine or write; to close or drop the engine there harms
//! nothing and waits for nobody, and its memory stays. What a snapshot shows can be read, on one thread that the child
//! starts for it, as long as no other thread of the parent was at a lock when it forked: what was locked then stays so. So
//! it is with [`Engine::metadata`], [`Engine::stats`] and whatever else only tells something. (Of what a question is put
//! together from by hand, [`Snapshot::install`] and [`Snapshot::threads`] go on such a thread; rayon's global pool has none
//! there.) What becomes a daemon, or forks workers, opens engines behind that, one process a store. A child that was forked
//! in spite of it keeps a store locked only where its parent ended without closing, until it drops the engine or ends; until
//! it ends, if it was forked amid a heartbeat. (A process made by a bare `clone` runs none of what tells a child; it is not
//! noticed.)

// collectors push into
// (the models, benches and stress tests use more of it than the engine does)
#[cfg_attr(not(any(loom, feature = "internals")), allow(dead_code, unused_imports))]
mod ring;
// drained by
#[cfg(not(loom))]
mod ingest;
// into
mod memtable;
// and made visible, commit by commit
mod commit;
// to those who wait
#[allow(unreachable_pub)]
mod wait;
// what is asked of the worker between two commits
mod requests;
// and to those who follow along
#[cfg_attr(loom, allow(unreachable_pub))]
mod subscribe;
// sealed memtables become segments
#[cfg(not(loom))]
mod flush;
// chunk by chunk
#[cfg(not(loom))]
mod chunker;
// that become fewer and smaller
#[cfg(not(loom))]
mod compact;
// all of them together are a version
#[cfg(not(loom))]
mod version;
// less what was deleted
#[cfg(not(loom))]
mod delete;
#[cfg(not(loom))]
mod retention;
// that a query pins
#[cfg(not(loom))]
mod snapshot;

// which series there are
#[cfg(not(loom))]
mod registry;
// and which leave memory
mod evict;
// what it notices of itself
#[cfg(not(loom))]
mod watch;
// what is let in
#[cfg(not(loom))]
mod gate;
// what the threads share
#[cfg(not(loom))]
mod core;
// how they begin and end
#[cfg(not(loom))]
mod life;
#[cfg(not(loom))]
mod lock;
// what administrators did
#[cfg(not(loom))]
mod audit;
#[cfg(not(loom))]
mod follow;
// copies of it
#[cfg(not(loom))]
mod backup;
// what it weighs
#[cfg(not(loom))]
mod inspect;
// is all of it sound
#[cfg(not(loom))]
mod open;
#[cfg(not(loom))]
mod recovery;
#[cfg(not(loom))]
mod replay;
#[cfg(not(loom))]
mod verify;

// what users hold
#[cfg(not(loom))]
mod appender;
#[cfg(not(loom))]
mod batch;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod stats;

#[cfg(all(test, not(loom)))]
#[path = "../../storage/tests/checksums/mod.rs"]
mod checksums;
#[cfg(all(test, not(loom)))]
mod faults;
#[cfg(all(test, not(loom)))]
mod full;
#[cfg(all(test, not(loom)))]
mod full_closed;
#[cfg(all(test, not(loom)))]
mod full_crashes;
#[cfg(all(test, not(loom)))]
mod full_files;
#[cfg(all(test, not(loom)))]
mod full_logged;
#[cfg(test)]
mod full_told;
#[cfg(all(test, not(loom)))]
mod hooked;
#[cfg(all(test, not(loom)))]
mod losses;
#[cfg(all(test, not(loom)))]
mod prefixes;
#[cfg(all(test, not(loom)))]
mod timeouts;
#[cfg(all(test, not(loom)))]
mod wakers;

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod pace;
// what threads and atomics all of it is built from
mod sync;

#[cfg(not(loom))]
pub use api::*;

#[cfg(not(loom))]
mod api {
    pub use tidegauge_storage::manifest::{Retention, RetentionRule};
    pub use tidegauge_storage::model::{
        LabelError, LabelLimits, Labels, METRIC_NAME, MatchOp, Matcher, Sample, SeqNo, TimeRange, Timestamp,
    };
    pub use tidegauge_storage::source::{ColumnCursor, Columns, ReadError, SampleSource};

    pub use crate::appender::{Ack, Appender};
    pub use crate::backup::{BackupError, BackupReport};
    pub use crate::batch::{
        Batch, Committed, Expect, Found, IncrementError, Incremented, Last, LastError, Retry, RetryError,
    };
    pub use crate::clock::now;
    pub use crate::core::SeriesSample;
    pub use crate::delete::DeleteCount;
    pub use crate::engine::{Engine, Metadata};
    pub use crate::error::{
        AppenderError, CloseError, CommitError, FlushError, MetadataError, OpenError, Poisoned, ProbeError, PushError,
        SeriesError, WaitError,
    };
    pub use crate::error::{CompactError, DeleteError, RetentionError};
    pub use crate::gate::Shortage;
    pub use crate::options::{BadDurability, Builder, Durability, Level};
    pub use crate::recovery::{Lost, Mended, OpenProgress, OpenStep, Recovery, RecoveryReport};
    pub use crate::registry::SeriesId;
    pub use crate::ring::BackPressure;
    pub use crate::snapshot::{SelectError, Snapshot};
    pub use crate::stats::{Quantiles, Stats};
    pub use crate::subscribe::{Delivery, Lag, RecvError, SubscribeError, SubscribeOptions, Subscription};
    pub use crate::wait::AckFuture;
    pub use crate::watch::{HotSeries, Stalled, Warning, Worker};
    pub use tidegauge_storage::fs::survive_unreadable_pages;

    /// Work on a data directory from outside of an engine.
    pub mod admin {
        pub use crate::backup::{backup, backup_for, bring, discard, restore};
        pub use crate::inspect::{EncodingUse, Inspection, MetricUse, SegmentUse, inspect};
        pub use crate::lock::{Owner, UnlockError, Unlocked, owner_of, unlock};
        pub use crate::verify::{Damage, StoreReport, verify};
        pub use tidegauge_storage::segment::SegmentInfo;
    }

    /// Selection, aggregates and PromQL over a [`Snapshot`].
    pub mod query {
        pub use tidegauge_query::*;
    }
}

/// What the models in `loom-tests/` run. Not there in an ordinary build.
#[cfg(loom)]
pub mod loom_only {
    /// Where a version is found.
    pub use crate::sync::{ArcCell, Peeked};

    /// Commits: the watermark and the pins.
    pub mod commit {
        pub use crate::commit::*;
    }

    /// Tails and chunks.
    pub mod memtable {
        pub use tidegauge_storage::model::TimeRange;
        pub use tidegauge_storage::source::Columns;

        pub use crate::memtable::*;
    }

    /// The guards under which tails are read.
    pub mod epoch {
        pub use crate::sync::epoch::{Guard, pin};
    }

    /// Waiting for a number.
    pub mod wait {
        pub use crate::wait::*;
    }

    /// The ring.
    pub mod ring {
        pub use crate::ring::*;
    }

    /// Whose a slot is, and what is remembered of those whose it was.
    pub mod evict {
        pub use crate::evict::*;
    }

    /// Requests to the worker.
    pub mod requests {
        pub use crate::requests::*;
    }

    /// Subscriptions.
    pub mod subscribe {
        pub use crate::subscribe::*;
    }
}

/// What the benches and stress tests of this repository reach. Not there without the feature `internals`.
#[cfg(feature = "internals")]
pub mod internals {
    /// An engine on another disk than the machine's, in a folder `memory` and without a lock,
    /// whose log files have `wal_file_bytes`, and whose manifest hears at once what is durable. For simulations.
    pub fn builder_on(fs: std::sync::Arc<dyn tidegauge_storage::fs::Fs>, wal_file_bytes: u64) -> crate::Builder {
        let mut builder = crate::Builder::new(None);
        (builder.fs, builder.wal_file_bytes) = (Some(fs), Some(wal_file_bytes));
        builder.pace = crate::pace::Pace::AT_ONCE;
        builder
    }

    /// Has the manifest hear after each sync where a log ends that never rests (L12).
    pub fn told_under_load(mut builder: crate::Builder) -> crate::Builder {
        builder.pace.under_load = std::time::Duration::ZERO;
        builder
    }

    /// A rule as the audit log has it.
    pub fn rule_text(rule: &crate::RetentionRule) -> String {
        crate::retention::rule_text(rule)
    }

    /// As [`Builder::open`](crate::Builder::open), in another folder of the same disk.
    pub fn open_at(builder: crate::Builder, dir: &std::path::Path) -> Result<crate::Engine, crate::OpenError> {
        builder.open_at(dir.to_owned())
    }

    /// As [`Engine::backup`](crate::Engine::backup), to a folder of the disk that the engine is on.
    pub fn backup_on(engine: &crate::Engine, target: &std::path::Path) -> Result<(), crate::BackupError> {
        crate::backup::backup_to(engine, target, &|_, _| {}).map(drop)
    }

    /// As [`admin::restore`](crate::admin::restore), from one folder of a disk to another one of it.
    pub fn restore_on(
        fs: &std::sync::Arc<dyn tidegauge_storage::fs::Fs>,
        backup: &std::path::Path,
        dir: &std::path::Path,
    ) -> Result<(), crate::BackupError> {
        crate::backup::restore_on(fs, backup, dir, &|_, _| {}, &|| Ok(())).map(drop)
    }

    /// As [`admin::bring`](crate::admin::bring), from one folder of a disk to another one of it.
    pub fn bring_on(
        fs: &std::sync::Arc<dyn tidegauge_storage::fs::Fs>,
        made: &std::path::Path,
        target: &std::path::Path,
    ) -> Result<Option<crate::BackupReport>, crate::BackupError> {
        crate::backup::bring_on(fs, made, target, &|_, _| {})
    }

    /// Sets a lock file aside as a forced [`admin::unlock`](crate::admin::unlock) does, whoever holds the lock; answers
    /// where it lies now.
    pub fn set_lock_aside_on(
        fs: &dyn tidegauge_storage::fs::Fs,
        dir: &std::path::Path,
    ) -> std::io::Result<std::path::PathBuf> {
        crate::lock::set_aside(fs, dir)
    }

    /// Notes that, as it does.
    pub fn note_unlock_on(
        fs: std::sync::Arc<dyn tidegauge_storage::fs::Fs>,
        dir: &std::path::Path,
        aside: &std::path::Path,
    ) -> std::io::Result<()> {
        crate::lock::note(&crate::audit::AuditLog::new(fs, dir), "another process", aside)
    }

    /// Evicts every series that is idle and flushed right now; answers how many.
    pub fn evict_idle(engine: &crate::Engine) -> usize {
        let core = &engine.life().core;
        let since = crate::evict::IdleSince { seq: u64::MAX, look: core.heads.next_look() };
        crate::evict::evict(core, since, 1, std::time::Duration::from_secs(60)).unwrap_or(0)
    }

    /// Places for series in memory, those that are free included.
    pub fn slots(engine: &crate::Engine) -> u32 {
        engine.life().core.heads.tags.len()
    }

    /// Retention has dropped nothing that lies at or behind this, for good, since the engine was opened.
    pub fn dropped_before(engine: &crate::Engine) -> crate::Timestamp {
        engine.life().core.kept.dropped_before()
    }

    /// The ring.
    pub mod ring {
        pub use crate::ring::*;
    }

    /// Commits: the watermark and the pins.
    pub mod commit {
        pub use crate::commit::{Pin, PinView, Pins, Visible, Watermark};
    }

    /// The guards under which tails are read.
    pub mod epoch {
        pub use crate::sync::epoch::{Guard, pin};
    }

    /// Tails and sealed chunks.
    pub mod memtable {
        pub use crate::commit::PinView;
        pub use crate::memtable::{
            ChunkKey, Full, HeadTable, HeadWriter, Kind, Memtable, Moment, Origin, Packer, Pair, Seal, Sealer,
            SeriesHead,
        };

        /// What the open tail of a head holds of a memtable.
        pub fn open_tail(head: &SeriesHead, of: Origin) -> Vec<Pair> {
            let mut pairs = Vec::new();
            head.view(&crate::sync::epoch::pin(), Kind::InOrder, of, u64::MAX, &mut pairs);
            pairs
        }
    }
}

/// The example of the README is compiled and run.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../../README.md")]
struct Readme;
