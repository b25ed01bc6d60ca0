//! What a program should hear of without asking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Stalled;
use crate::error::CompactError;

/// Something that a person should look at. Each is told once, when it begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The ingest worker does not come round: pushes fill the lanes, and nothing becomes visible. A device that does
    /// not answer, a waker or a subscriber that blocks, or a machine that is overloaded.
    #[error(
        "the ingest worker has not come round for {for_at_least:?}, nothing becomes visible: see whether the disk answers, whether a waker or a subscriber blocks it, or whether the machine is overloaded"
    )]
    WorkerStalled {
        /// Since when at least.
        for_at_least: Duration,
    },
    /// Another worker does not get on with what it has begun: a device that does not answer, mostly. Pushes and reads may
    /// go on for a while; what waits for that worker does not.
    #[error("{0}: see whether the disk answers, or whether the machine is overloaded")]
    Stalled(Stalled),
    /// A delete, or a change of retention, happened, and its line is missing from `audit.log`. Such acts are how a full
    /// disk is emptied, so they do not hang on the line; it has to be noted by hand. Told within a second.
    #[error(
        "{act} happened, and audit.log has no line of it ({error}): note it elsewhere, and see whether the disk is full or fails"
    )]
    Unaudited {
        /// What was done.
        act: String,
        /// Why there is no line.
        error: String,
    },
    /// A snapshot is older than `Builder::snapshot_warn_after`: memory and files that it reads stay as long as it.
    #[error("a snapshot has been held for {age:?}, and what it reads is kept as long: see that it is dropped")]
    SnapshotHeld {
        /// How old it is.
        age: Duration,
    },
    /// Compaction cannot go on as it should: a segment cannot be read, or what it writes fails. What is kept too long
    /// meanwhile, and what is done about it, is in the error; `Stats::compaction_failing` tells how long it lasts.
    #[error("{0}")]
    Compaction(CompactError),
    /// The manifest was to be written anew, as it is now and then, and could not be. Nothing is lost: commits go on in the
    /// file that there is, which grows meanwhile: some 60 bytes a second under load, some 140 for each flush, and what
    /// compactions, descriptions, deletes and rules take. It is tried again by itself, after 256 KiB or, where space is
    /// wanted, with each commit; `Stats::manifest_rewrite_failing` tells how long it lasts.
    #[error(
        "the manifest cannot be written anew ({cause}), and grows beyond {bytes} bytes until it can be: see that the data directory takes new files; it is tried again by itself"
    )]
    ManifestGrows {
        /// What it has by now.
        bytes: u64,
        /// What the operating system says.
        cause: String,
    },
}

/// Where warnings go.
#[derive(Clone)]
pub(crate) struct OnWarning(pub(crate) Arc<dyn Fn(&Warning) + Send + Sync>);

impl Default for OnWarning {
    /// To nobody: they are counted in the statistics.
    fn default() -> Self {
        Self(Arc::new(|_| {}))
    }
}

impl fmt::Debug for OnWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWarning")
    }
}
