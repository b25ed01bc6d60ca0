//! What is compacted for whoever asks for all of it.

use std::sync::Arc;

use tidegauge_storage::model::{SeqNo, SeqRange};
use tidegauge_storage::source::AgeMask;

use crate::clock;
use crate::core::Core;
use crate::retention::Kept;

/// What there is when somebody asks: segments, deletes, and what is over age. What comes while that is compacted is not
/// waited for: there might be no end.
pub(super) struct Asked {
    /// The greatest number of a segment, a delete or a horizon: what left one may be gone.
    pub(super) through: SeqNo,
    pub(super) now: i64,
    ages: Arc<[AgeMask]>,
}

impl Asked {
    pub(super) fn new(core: &Core) -> Self {
        let version = core.versions.load();
        let segments = version.segments.iter().map(|s| s.info().seq_range.end.0.saturating_sub(1));
        let hiding = version.tombstones.iter().chain(&version.horizons).map(|t| t.seq.0);
        let through = SeqNo(segments.chain(hiding).max().unwrap_or(0));
        Self { through, now: clock::now().nanos(), ages: core.kept.coarse_ages() }
    }

    /// Before which times rules hide what, when it was asked; anew where rules in force do not hide all of that.
    pub(super) fn ages(&mut self, kept: &Kept) -> Arc<[AgeMask]> {
        if !kept.hides(&self.ages) {
            self.ages = kept.coarse_ages();
        }
        Arc::clone(&self.ages)
    }

    /// Whether a segment was there, or is made of what was. What came later has greater numbers.
    pub(super) fn covers(&self, seq: SeqRange) -> bool {
        seq.start <= self.through
    }
}
