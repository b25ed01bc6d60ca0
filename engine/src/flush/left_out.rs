//! What a flush leaves out where it finds no space (X10 of `docs/concurrency.md`).
//!
//! Where there is space all is written, and compaction leaves it out in its time: most deletes come just behind what they
//! hide, and a flush that had to know which of them survive a power loss would wait for the device.

use std::sync::Arc;

use tidegauge_storage::chunk::ChunkView;
use tidegauge_storage::model::{Labels, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::source::Mask;

use super::{FlushJob, FlusherParts};
use crate::delete::settled;
use crate::memtable::Pair;

/// The deletes that hide something of a memtable, and survive a power loss (K9); `None` if nothing does. Nothing is
/// accepted below them any more, so what they hide stays hidden.
pub(super) fn deleted(parts: &FlusherParts, job: &FlushJob) -> Option<Mask> {
    let version = parts.core.versions.load();
    if version.tombstones.is_empty() {
        return None;
    }
    let deletes = settled(&parts.core, &parts.manifest, &version);
    let memtable = &job.memtable;
    let seq = SeqRange { start: SeqNo(memtable.first_seq), end: SeqNo(memtable.end_seq()) };
    let time = memtable.bounds().map(|(first, last)| covering(first, last));
    Mask::reaching(&deletes, &Arc::default(), seq, time)
}

/// The ranges of one series that are left out: ascending, apart from each other.
#[derive(Default)]
pub(super) struct LeftOut(Vec<TimeRange>);

impl LeftOut {
    pub(super) fn of(mask: Option<&Mask>, labels: &Labels) -> Self {
        Self(mask.map(|mask| mask.hidden(labels)).unwrap_or_default())
    }

    pub(super) fn has(&self, at: i64) -> bool {
        let at = Timestamp::from_nanos(at);
        let begun = self.0.partition_point(|range| range.start <= at);
        begun > 0 && self.0[begun - 1].contains(at)
    }

    /// Whether nothing of a chunk stays.
    pub(super) fn has_all(&self, chunk: &ChunkView<'_>) -> bool {
        let (first, last) = (chunk.first_timestamp(), chunk.last_timestamp());
        self.0
            .iter()
            .any(|range| range.contains(Timestamp::from_nanos(first)) && range.contains(Timestamp::from_nanos(last)))
    }

    /// Whether something of one of these chunks may not stay.
    pub(super) fn touches(&self, chunks: &[ChunkView<'_>]) -> bool {
        let own = |chunk: &ChunkView<'_>| covering(chunk.first_timestamp(), chunk.last_timestamp());
        !self.0.is_empty() && chunks.iter().any(|chunk| self.0.iter().any(|range| range.overlaps(&own(chunk))))
    }

    /// Takes what does not stay out of `pairs`.
    pub(super) fn leave_out(&self, pairs: &mut Vec<Pair>) {
        if !self.0.is_empty() {
            pairs.retain(|pair| !self.has(pair.timestamp));
        }
    }
}

fn covering(first: i64, last: i64) -> TimeRange {
    TimeRange::covering(Timestamp::from_nanos(first), Timestamp::from_nanos(last))
}
