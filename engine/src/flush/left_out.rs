//! What a flush leaves out where it finds no space (X10 of `docs/concurrency.md`).
//!
//! Where there is space all is written, and compaction leaves it out in its time: most deletes come just behind what they
//! hide, and a flush that had to know which of them survive a power loss would wait for the device.

use std::sync::Arc;

use tidegauge_storage::chunk::ChunkView;
use tidegauge_storage::model::{Labels, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::source::{Mask, Named};

use super::{FlushJob, FlusherParts};
use crate::delete::settled;
use crate::memtable::{MemtableSource, Pair};

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

/// A registry of so many times the series of a memtable is not asked which of them a delete names.
const PART_THAT_PAYS: usize = 8;

/// What a flush leaves out of each series.
pub(super) struct Deletes<'a> {
    mask: Option<&'a Mask>,
    /// By slot, where the registry was asked for all of them at once: it tries a regex on each value, not on each series.
    named: Option<Named>,
}

impl<'a> Deletes<'a> {
    /// Of a memtable of so many `series`, whose registry has `registered`.
    pub(super) fn new(mask: Option<&'a Mask>, source: &MemtableSource, series: usize, registered: usize) -> Self {
        let pays = registered / PART_THAT_PAYS <= series;
        let named = mask.filter(|_| pays).and_then(|mask| Named::find(source, mask).ok().flatten());
        Self { mask, named }
    }

    pub(super) fn left_out(&self, slot: u32, labels: &Labels) -> LeftOut {
        LeftOut(match (self.mask, &self.named) {
            (None, _) => Vec::new(),
            (Some(mask), None) => mask.hidden(labels),
            (Some(mask), Some(named)) => mask.hidden_by(named.naming(slot)),
        })
    }
}

/// The ranges of one series that are left out: ascending, apart from each other.
#[derive(Default)]
pub(super) struct LeftOut(Vec<TimeRange>);

impl LeftOut {
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

#[cfg(test)]
mod tests {
    use tidegauge_storage::model::{MatchOp, Matcher, Tombstone};

    use super::*;
    use crate::core::SeriesSample;
    use crate::faults::SOON;
    use crate::options::{Builder, Durability, Level};

    /// Asked at once, or by their labels one by one: the same is left out of each series.
    #[test]
    fn what_the_registry_names_is_what_matchers_pass() {
        let engine = Builder::new(None).durability(Durability::Memory).background_compaction(false).open().unwrap();
        let sample = |i: i64| {
            let (name, host) = (format!("metric_{}", i % 7), format!("host-{}", i / 7));
            let labels = [("__name__", &*name), ("host", &*host)];
            let id = engine.series(&labels[..if i % 5 == 0 { 1 } else { 2 }]).unwrap();
            SeriesSample::new(id, Timestamp::from_nanos(i), 1.0)
        };
        let ack = engine.push_batch(&(0..200).map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
        let core = &engine.life().core;
        let registry = core.registry();
        let memtable = Arc::clone(&core.versions.load().active);
        let source = MemtableSource::new(memtable, Arc::clone(&registry), core.watermark.commit());
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let delete = |n: i64| {
            let op = ops[n as usize % 4];
            let host =
                Matcher::new("host", op, format!("host-{}", ["1", "1.", "1?2", ""][n as usize / 4 % 4])).unwrap();
            let name = Matcher::new("__name__", MatchOp::Regex, format!("metric_[{}-6]", n % 7)).unwrap();
            let matchers = if n % 3 == 0 { vec![host] } else { vec![host, name] };
            let range = TimeRange::new(Timestamp::from_nanos(n * 4), Timestamp::from_nanos(n * 4 + 3));
            Arc::new(Tombstone { seq: SeqNo(1_000 + n as u64), matchers, range, created: 0 })
        };
        let mask = Mask { tombstones: (0..48).map(delete).collect(), ..Mask::default() };
        let [at_once, one_by_one] = [registry.len(), 0].map(|n| Deletes::new(Some(&mask), &source, n, registry.len()));
        assert!(at_once.named.is_some() && one_by_one.named.is_none());
        let mut hidden = 0;
        for slot in 0..registry.len() as u32 {
            let labels = registry.slots().labels(slot).unwrap();
            let ranges = at_once.left_out(slot, &labels).0;
            hidden += ranges.len();
            assert_eq!(ranges, one_by_one.left_out(slot, &labels).0, "{labels}");
        }
        assert!(hidden > 1_000, "{hidden}");
    }
}
