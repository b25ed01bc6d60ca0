//! Why the engine refuses: each error tells what to do next.

mod opening;

use std::path::PathBuf;
use std::time::Duration;

use tidegauge_storage::manifest::ManifestError;
use tidegauge_storage::model::Labels;
use tidegauge_storage::source::ReadError;

pub use self::opening::OpenError;
use crate::batch::{Expect, Found};
use crate::gate::Shortage;
pub use crate::registry::SeriesError;
use crate::registry::SeriesId;

/// Errors tell apart what has run out.
macro_rules! tells_shortage {
    ($($error:ident)*) => {
        $(impl From<Shortage> for $error {
            fn from(short: Shortage) -> Self {
                match short {
                    Shortage::Space => Self::DiskFull,
                    Shortage::Files => Self::OutOfFiles,
                    Shortage::Memory => Self::OutOfMemory,
                }
            }
        })*
    };
}

tells_shortage!(PushError CommitError WaitError ProbeError FlushError CompactError DeleteError RetentionError);

/// What had run out, behind `how`.
fn because(how: &str, short: Option<Shortage>) -> String {
    match short {
        None => String::new(),
        Some(Shortage::Space) => format!("{how}no space on the disk (make space)"),
        Some(Shortage::Files) => format!("{how}too many open files (raise `ulimit -n`)"),
        Some(Shortage::Memory) => {
            format!("{how}no memory to map a segment (free some, or raise `ulimit -v`, `vm.max_map_count`)")
        }
    }
}

/// Of a delete that is hidden and not noted.
fn not_noted(short: Shortage) -> &'static str {
    match short {
        Shortage::Space => {
            "no space on the disk: the delete is lost if the process ends before it is noted; make space"
        }
        Shortage::Files => {
            "too many open files: the delete is lost if the process ends before it is noted; raise the limit (`ulimit -n`)"
        }
        Shortage::Memory => {
            "no memory to map a segment: the delete is lost if the process ends before it is noted; free some, or raise the limits (`ulimit -v`, `vm.max_map_count`)"
        }
    }
}

/// Why the engine stopped accepting samples for good. Reads go on; close and reopen: what
/// was acknowledged as durable comes back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine is poisoned ({cause}): reads go on; close and reopen it to write again")]
pub struct Poisoned {
    /// The failure that was seen first.
    pub cause: String,
}

impl Poisoned {
    /// In a child of the process that opened the engine.
    #[cold]
    pub(crate) fn by_fork() -> Self {
        let cause = "this process was forked from the one that opened it, and has none of its threads: \
                     open an engine behind the fork, in the process that uses it";
        Self { cause: cause.to_owned() }
    }
}

/// Why a push was refused. Nothing of the batch was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The series id is not (or no longer) one of this engine. Resolve the series again.
    #[error("stale series id: resolve the series again")]
    StaleSeries,
    /// A timestamp lies too far ahead of this machine's clock. Mend the clock it came from,
    /// or raise [`Builder::max_ahead`](crate::Builder::max_ahead).
    #[error(
        "timestamp {timestamp} of {series} is more than {max_ahead:?} ahead of the clock: mend the clock it came from"
    )]
    TooFarAhead {
        /// Whose sample it is.
        series: Labels,
        /// The timestamp, in nanoseconds since the Unix epoch.
        timestamp: i64,
        /// How far ahead is allowed.
        max_ahead: Duration,
    },
    /// The lane is full and the appender is told not to wait. Push again later.
    #[error("the lane is full: push again later")]
    Full,
    /// The lane stayed full for as long as the appender may block. Push again later.
    #[error("the lane stayed full for {waited:?}: push again later")]
    Timeout {
        /// How long the push waited.
        waited: Duration,
    },
    /// The lane is full and the appender is told to drop. The batch was counted as dropped.
    #[error("the lane is full: the batch was dropped and counted, as this appender asks for")]
    Dropped,
    /// More samples than a lane, or an atomic batch, holds. Split the batch.
    #[error("a batch holds at most {limit} samples: split it")]
    BatchTooLarge {
        /// Samples that fit.
        limit: usize,
    },
    /// The disk is full. Make space; writing resumes by itself.
    #[error("no space on the disk: make some; writing resumes by itself")]
    DiskFull,
    /// No more files may be opened. Raise the limit; writing resumes by itself.
    #[error("too many open files: raise the limit (`ulimit -n`); writing resumes by itself")]
    OutOfFiles,
    /// No segment can be mapped, and nothing is taken before a flush. Free memory, or raise the limits; writing resumes by itself.
    #[error(
        "no memory to map a segment: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`); writing resumes by itself"
    )]
    OutOfMemory,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a batch was not committed. Nothing of it was applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A condition does not hold. Read again what the batch depends on, and make it anew ([`Retry`](crate::Retry)). Where a
    /// number is expected ([`Expect::Seq`](crate::Expect::Seq)) and a smaller one, or nothing, is found, nobody wrote since:
    /// the sample with that number is gone.
    #[error(
        "conflict: the batch expects {expected} of {labels}, and there is {found}{}: read again, and make it anew",
        expected.what_went(found)
    )]
    Conflict {
        /// Whose condition.
        series: SeriesId,
        /// Its labels.
        labels: Labels,
        /// What the batch expects.
        expected: Expect,
        /// What there is.
        found: Found,
    },
    /// A series id is not (or no longer) one of this engine. Resolve the series again.
    #[error("stale series id: resolve the series again")]
    StaleSeries,
    /// One frame of the log does not hold it. Split the batch.
    #[error("the batch does not fit into one frame of the log: split it")]
    BatchTooLarge,
    /// More conditions than the worker judges between two commits. Expect less of the batch, or of fewer series: where
    /// much must stay as it was read, a series that each such batch writes to can stand for it.
    #[error("a batch may have at most {limit} conditions: make it depend on fewer series")]
    TooManyConditions {
        /// How many there may be.
        limit: usize,
    },
    /// A snapshot that a condition names ([`Batch::expect_unchanged`](crate::Batch::expect_unchanged)) is of another engine,
    /// or of another opening of the store: its numbers tell nothing here. Read what the batch depends on in a snapshot of
    /// this engine.
    #[error("a condition names a snapshot of another engine: take one of this engine, and read again")]
    OtherEngine,
    /// The worker did not take the batch in time. Commit it again later.
    #[error("the batch was not taken within {waited:?}: commit it again later")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// A segment that had to be looked at for a condition cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk is full. Make space; writing resumes by itself.
    #[error("no space on the disk: make some; writing resumes by itself")]
    DiskFull,
    /// No more files may be opened. Raise the limit; writing resumes by itself.
    #[error("too many open files: raise the limit (`ulimit -n`); writing resumes by itself")]
    OutOfFiles,
    /// No segment can be mapped, and nothing is taken before a flush. Free memory, or raise the limits; writing resumes by itself.
    #[error(
        "no memory to map a segment: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`); writing resumes by itself"
    )]
    OutOfMemory,
    /// A waker asked, on a thread of the engine, which would have to take it. Commit from another thread.
    #[error("a waker cannot commit: commit from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing. The batch is not visible; at the next opening it may be there, and then whole.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why an appender could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppenderError {
    /// As many appenders as are allowed. Drop one, or raise `max_appenders`.
    #[error("{limit} appenders exist already: drop one, or raise the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The lanes would take more memory than allowed. Drop an appender, or give shorter lanes.
    #[error("another lane would bring all lanes above {limit} bytes: drop an appender, or give shorter lanes")]
    TooManyBytes {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a level was not reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The acknowledgement is not one of this engine. Ask the engine that gave it.
    #[error("the acknowledgement is of another engine: ask the one that gave it")]
    OtherEngine,
    /// Not reached in time. The samples are still on their way: wait again.
    #[error("not reached within {waited:?}: the samples are still on their way, wait again")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// No space on the disk: the samples were taken, and are not (or not all) in the log. They go there, and become
    /// visible, by themselves once there is space; if the engine ends before, they are lost: one that is closing tries once
    /// more. Make space, then wait again; or push them again then, which changes nothing if they are there by then.
    #[error(
        "no space on the disk: the samples are taken, but not in the log before there is space, and lost if the engine ends before; make space, then wait, or push them, again"
    )]
    DiskFull,
    /// No more files may be opened: as [`Self::DiskFull`] in all else. Raise the limit, then wait again.
    #[error(
        "too many open files: the samples are taken, but not in the log before more may be opened, and lost if the engine ends before; raise the limit (`ulimit -n`), then wait, or push them, again"
    )]
    OutOfFiles,
    /// No segment can be mapped, and nothing is taken before a flush: as [`Self::DiskFull`] in all else. Free memory, or raise the
    /// limits, then wait again.
    #[error(
        "no memory to map a segment: the samples are taken, but not in the log before a flush, and lost if the engine ends before; free some, or raise the limits (`ulimit -v`, `vm.max_map_count`), then wait, or push them, again"
    )]
    OutOfMemory,
    /// `Durability::Memory` makes nothing durable before it is flushed.
    #[error("durability is `memory`: nothing is durable before a flush; flush, or open with `interval` or `sync`")]
    NotDurable,
    /// A waker asked, on a thread of the engine, which it would hold up, and it is not reached yet. Wait for it
    /// [as a future](crate::Engine::wait_async), or on another thread.
    #[error("a waker cannot wait: poll a future of it, or wait on another thread")]
    InWaker,
    /// The engine was closed before. Open it again, and look what is there.
    #[error("the engine was closed before: open it again, and look what is there")]
    Closed,
    /// The engine stopped writing: whether these samples are durable is not known.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a probe found the engine not ready for pushes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The ingest worker did not come round in time: it is stalled, or the machine is overloaded.
    #[error("the ingest worker did not come round within {waited:?}: see what holds up the machine, then probe again")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The disk is full. Make space; writing resumes by itself.
    #[error("no space on the disk: make some; writing resumes by itself")]
    DiskFull,
    /// No more files may be opened. Raise the limit; writing resumes by itself.
    #[error("too many open files: raise the limit (`ulimit -n`); writing resumes by itself")]
    OutOfFiles,
    /// No segment can be mapped, and nothing is taken before a flush. Free memory, or raise the limits; writing resumes by itself.
    #[error(
        "no memory to map a segment: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`); writing resumes by itself"
    )]
    OutOfMemory,
    /// A waker asked, on a thread of the engine, which goes round only when it returns. Probe from another thread.
    #[error("a waker cannot probe: probe from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a flush did not finish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The disk is full. Make space: the flush goes on by itself. The samples stay readable.
    #[error("no space on the disk: make some; the flush goes on by itself")]
    DiskFull,
    /// No more files may be opened. Raise the limit: the flush goes on by itself. The samples stay readable.
    #[error("too many open files: raise the limit (`ulimit -n`); the flush goes on by itself")]
    OutOfFiles,
    /// The new segment cannot be mapped. Free memory, or raise the limits: the flush goes on by itself. The samples stay readable.
    #[error(
        "no memory to map a segment: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`); the flush goes on by itself"
    )]
    OutOfMemory,
    /// A waker asked, on the very thread that would have to do it. Ask from another thread.
    #[error("a waker cannot flush: ask from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a compaction did not finish. What is stored is as it was, or compacted in part: both are whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The disk is full. What needs less space, and gives some back, was done. Make space: compaction goes on by itself,
    /// within five minutes.
    #[error("no space on the disk: make some; compaction goes on by itself")]
    DiskFull,
    /// No more files may be opened. Raise the limit: compaction goes on by itself.
    #[error("too many open files: raise the limit (`ulimit -n`); compaction goes on by itself")]
    OutOfFiles,
    /// The new segment cannot be mapped. Free memory, or raise the limits: compaction goes on by itself.
    #[error(
        "no memory to map a segment: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`); compaction goes on by itself"
    )]
    OutOfMemory,
    /// A segment cannot be read; it stays as it is, everything else was compacted. Open with salvage to save the rest of it.
    #[error("{cause}; the segment stays as it is, the others were compacted: open with salvage to save the rest of it")]
    Damaged {
        /// What is wrong, and in which file.
        cause: String,
    },
    /// A segment is sound, and this program was built without what reads it; it stays as it is, everything else was
    /// compacted. Build the program with the feature.
    #[error("this build lacks `{feature}`, which {} needs; it stays as it is, the others were compacted: build the program with the feature `{feature}`", file.display())]
    LacksFeature {
        /// The file.
        file: PathBuf,
        /// The feature of the crate `tidegauge`.
        feature: &'static str,
    },
    /// A new segment could not be written, or the manifest not be looked at. Nothing stored was changed. Check the disk: compaction is tried again by itself,
    /// after pauses of up to five minutes; what is over age, or too much, goes meanwhile where that takes no new segment.
    #[error("a compaction failed, nothing stored was changed: {cause}; check the disk; it is tried again by itself")]
    Failed {
        /// What the operating system says.
        cause: String,
    },
    /// A waker asked, on a thread of the engine, which may be what would have to do it. Ask from another thread.
    #[error("a waker cannot compact: ask from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl CompactError {
    /// Of a segment that cannot be read.
    pub(crate) fn of_segment(why: &ReadError) -> Self {
        match why {
            ReadError::MissingFeature { file, feature } => Self::LacksFeature { file: file.clone(), feature },
            other => Self::Damaged { cause: other.to_string() },
        }
    }
}

/// Why nothing was deleted, or what was is not known to stay so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The selector does not parse, or an index is damaged.
    #[error(transparent)]
    Select(#[from] crate::snapshot::SelectError),
    /// The range holds no timestamp.
    #[error("the range is empty: give an end behind its start")]
    EmptyRange,
    /// More than 64 matchers, or 64 KiB of them.
    #[error("a delete holds up to 64 matchers and 64 KiB: delete in several steps")]
    TooLarge,
    /// Too many deletes wait for compaction to remove what they hide. Compact, then delete again.
    #[error("{limit} deletes wait for compaction: compact, then delete again")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The worker did not take it in a minute. Try again.
    #[error("the engine is too busy to take a delete: try again")]
    Busy,
    /// The log has no space for the delete, and its reserve is used up. Make some, then delete again.
    #[error("no space on the disk, so that the delete cannot be noted: make some, then delete again")]
    DiskFull,
    /// No more files may be opened, so that the log has no room for the delete. Raise the limit, then delete again.
    #[error(
        "too many open files, so that the delete cannot be noted: raise the limit (`ulimit -n`), then delete again"
    )]
    OutOfFiles,
    /// No segment can be mapped, and nothing is taken before a flush. Free memory, or raise the limits, then delete again.
    #[error(
        "no memory to map a segment, so that the delete cannot be noted: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`), then delete again"
    )]
    OutOfMemory,
    /// Without a log: the delete is visible, but could not be noted. It survives the process only if something is
    /// flushed before, another one is noted, or a [close](crate::Engine::close) finds what had run out. Mend that, then
    /// delete again.
    #[error("{}, then delete again", not_noted(*short_of))]
    NotNoted {
        /// What had run out.
        short_of: Shortage,
    },
    /// With a log: the delete is visible and logged, and survives the process. A power loss may undo it before the log could
    /// be synced, for which a file must be opened. Raise the limit; it becomes durable by itself then, or with the next
    /// opening, and before any push that comes behind it. `audit.log` has no line of it ([`Stats::unaudited_acts`](crate::Stats::unaudited_acts)).
    #[error(
        "the delete is done and logged, and a power loss may undo it before the log could be synced{}; it becomes durable by itself then, or with the next opening",
        because(": ", Some(*short_of))
    )]
    NotDurable {
        /// What had run out.
        short_of: Shortage,
    },
    /// A waker asked, on a thread of the engine, which would have to take it. Nothing was deleted; delete from another thread.
    #[error("a waker cannot delete: delete from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing: whether the delete is durable is not known.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why the rules of retention were not changed. Those before stay in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// A rule makes no sense.
    #[error("{what} would hide everything: give more")]
    Senseless {
        /// What it says.
        what: &'static str,
    },
    /// More than 256 rules, or too large ones.
    #[error("a store has up to 256 retention rules of up to 64 matchers: give fewer")]
    TooLarge,
    /// The manifest has no space for the rules. Make some, then set them again.
    #[error("no space on the disk, so that the rules cannot be noted: make some, then set them again")]
    DiskFull,
    /// No more files may be opened, so that the manifest cannot be written. Raise the limit, then set them again.
    #[error(
        "too many open files, so that the rules cannot be noted: raise the limit (`ulimit -n`), then set them again"
    )]
    OutOfFiles,
    /// No segment can be mapped. Free memory, or raise the limits, then set them again.
    #[error(
        "no memory to map a segment, so that the rules cannot be noted: free some, or raise the limits (`ulimit -v`, `vm.max_map_count`), then set them again"
    )]
    OutOfMemory,
    /// The manifest could not be looked at, and nothing was written. Mend what is named, then set them again.
    #[error("the rules were not noted, those before stay in force ({cause}): mend that, then set them again")]
    NotNoted {
        /// What is wrong.
        cause: String,
    },
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only. Open it to write.
    #[error("the engine was opened read-only: open it to write")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a close did not bring everything into segments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A waker asked, on a thread of the engine: it closes in the background, and what goes wrong is told on stderr.
    /// Close it from another thread to know.
    #[error(
        "a waker closed the engine, which goes on in the background: close it from another thread to know how it ends"
    )]
    InWaker,
    /// Samples are in no segment: the last try, which began behind the close, did not bring them there.
    #[error(
        "{samples} samples are in no segment{}; {}",
        because(": ", *short_of),
        if *logged { "they are in the log: open it again to have them" } else { "without a log they are lost: push them again" }
    )]
    NotFlushed {
        /// How many; if some are in no log, those alone.
        samples: u64,
        /// Whether they are in the log, be it that of an earlier opening.
        logged: bool,
        /// What had run out, if that was the cause.
        short_of: Option<Shortage>,
    },
    /// Samples were pushed and never became visible: they are lost, but for a part of a commit of several frames that the log
    /// may have. What was visible is in segments, or in the log.
    #[error(
        "{samples} samples that were pushed never became visible and are lost{}: push them again after the next opening",
        because(", because of ", *short_of)
    )]
    NotTaken {
        /// How many.
        samples: u64,
        /// What had run out, if that was the cause.
        short_of: Option<Shortage>,
    },
    /// Without a log: deletes that could not be noted ([`DeleteError::NotNoted`]) could not be noted by the close either. What
    /// they hid is shown again. Where samples are lost, too, those alone are told.
    #[error(
        "{deletes} {} could not be noted{}: what was hidden is shown again, delete again after the next opening",
        if *deletes == 1 { "delete" } else { "deletes" },
        because(", because of ", *short_of)
    )]
    NotNoted {
        /// How many.
        deletes: u64,
        /// What had run out, if that was the cause.
        short_of: Option<Shortage>,
    },
    /// The engine had stopped writing before: what was durable comes back at the next opening.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why metadata was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The manifest refused it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The engine was opened read-only, or was closed. Open it to write.
    #[error("the engine is closed or read-only: open it to write")]
    ReadOnly,
    /// The engine has stopped writing, or is that of the process that forked this one.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}
