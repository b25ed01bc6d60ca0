//! How far an opening is.

use std::fmt;
use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};

/// What an opening is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenStep {
    /// Reads every segment whole: only with [`Recovery::Salvage`](super::Recovery::Salvage).
    CheckSegments,
    /// Replays the log.
    ReplayLog,
}

/// How far an opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProgress {
    /// With what.
    pub step: OpenStep,
    /// Bytes read.
    pub done: u64,
    /// Bytes there are. Files of the log that are not full are counted as long as they are: the end comes with a jump.
    pub total: u64,
}

/// People say it in a line: `replaying the log`.
impl fmt::Display for OpenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckSegments => "checking segments",
            Self::ReplayLog => "replaying the log",
        })
    }
}

type Hear = Arc<dyn Fn(&OpenProgress) + Send + Sync>;

/// Who hears of it.
#[derive(Clone, Default)]
pub(crate) struct OnProgress(pub(crate) Option<Hear>);

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// One step, told of at every mebibyte and at its end.
pub(crate) struct Step<'a> {
    hear: &'a OnProgress,
    step: OpenStep,
    done: AtomicU64,
    told: AtomicU64,
}

impl<'a> Step<'a> {
    const EVERY: u64 = 1 << 20;

    pub(crate) fn new(hear: &'a OnProgress, step: OpenStep) -> Self {
        Self { hear, step, done: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// So many more bytes of `total`.
    pub(crate) fn add(&self, bytes: u64, total: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.tell(done, total);
    }

    /// So many bytes of `total` in all.
    pub(crate) fn tell(&self, done: u64, total: u64) {
        let Some(hear) = &self.hear.0 else { return };
        let told = self.told.load(Ordering::Relaxed);
        if (done >= told + Self::EVERY || done == total) && done > told {
            // Relaxed: of two that tell at once, one may tell a little late.
            self.told.store(done, Ordering::Relaxed);
            hear(&OpenProgress { step: self.step, done, total });
        }
    }
}
