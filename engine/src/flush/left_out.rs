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
use crate::registry::Registry;

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

/// What a flush leaves out of each series.
///
/// The deletes' matchers are tried on one series after the other, until that has cost what asking the registry for all of
/// them does: it tries a regex on each value, not on each series. So a try that finds no space for the first series, four
/// times a second, asks nothing, and neither does a memtable of few of the series that there are.
pub(super) struct Deletes<'a> {
    mask: Option<&'a Mask>,
    source: &'a MemtableSource,
    registry: &'a Registry,
    tried: u64,
    /// By slot, once the registry was asked. `None` inside: it cannot be.
    named: Option<Option<Named>>,
}

impl<'a> Deletes<'a> {
    pub(super) fn new(mask: Option<&'a Mask>, source: &'a MemtableSource, registry: &'a Registry) -> Self {
        Self { mask, source, registry, tried: 0, named: None }
    }

    /// Of one series after the other. `gets_on` is called for each delete that the registry is asked for.
    pub(super) fn left_out(&mut self, slot: u32, labels: &Labels, gets_on: &dyn Fn()) -> LeftOut {
        let Some(mask) = self.mask else { return LeftOut::default() };
        // Of the slots, which no lock guards: a registry that a panic has left to nobody keeps no flush from its end.
        if self.named.is_none() && self.tried > u64::from(self.registry.slots().len()) / Named::PART_THAT_PAYS {
            self.named = Some(self.find(mask, gets_on));
        }
        LeftOut(match &self.named {
            Some(Some(named)) => mask.hidden_by(named.naming(slot)),
            _ => {
                self.tried += 1;
                mask.hidden(labels)
            }
        })
    }

    fn find(&self, mask: &Mask, gets_on: &dyn Fn()) -> Option<Named> {
        let go_on = || {
            gets_on();
            !self.registry.is_broken()
        };
        Named::find_while(self.source, mask, &go_on).ok().flatten()
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
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tidegauge_storage::model::{MatchOp, Matcher, Tombstone};

    use super::*;
    use crate::core::SeriesSample;
    use crate::faults::{SOON, series};
    use crate::options::{Builder, Durability, Level};
    use crate::registry::SeriesId;

    /// Asked at once, or by their labels one by one: the same is left out of each series. The deletes of a flush were asked
    /// for at each try, before anything else and without a step.
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
        let mut deletes = Deletes::new(Some(&mask), &source, &registry);
        let (steps, mut hidden) = (Cell::new(0), 0);
        let slots = registry.slots();
        for slot in 0..slots.len() {
            let labels = slots.labels(slot).unwrap();
            let ranges = deletes.left_out(slot, &labels, &|| steps.set(steps.get() + 1)).0;
            hidden += ranges.len();
            assert_eq!(ranges, mask.hidden(&labels), "{labels}");
            // Not before an eighth was tried, and then for all of the rest; nobody takes it for stalled meanwhile.
            assert_eq!(steps.get(), if slot > slots.len() / 8 { mask.tombstones.len() } else { 0 }, "{slot}");
        }
        assert!(hidden > 1_000, "{hidden}");
    }

    /// A registry that a panic had left to nobody made the next flush panic, though no delete was to be left out. Where one
    /// is, its matchers are tried.
    #[test]
    fn a_flush_needs_no_registry_that_can_be_locked() {
        let engine = Builder::new(None).durability(Durability::Memory).background_compaction(false).open().unwrap();
        let ids: Vec<_> = (0..40).map(|host| series(&engine, host)).collect();
        let sample = |id: &SeriesId| SeriesSample::new(*id, Timestamp::from_nanos(1), 1.0);
        let ack = engine.push_batch(&ids.iter().map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
        let core = &engine.life().core;
        let (registry, memtable) = (core.registry(), Arc::clone(&core.versions.load().active));
        let source = MemtableSource::new(memtable, Arc::clone(&registry), core.watermark.commit());
        let defect = || registry.take(&[ids[0].slot], |_| panic!("a defect"));
        assert!(catch_unwind(AssertUnwindSafe(defect)).is_err() && registry.is_broken());
        let matchers = vec![Matcher::new("host", MatchOp::Regex, "1.*").unwrap()];
        let tombstone = Tombstone { seq: SeqNo(1_000), matchers, range: TimeRange::ALL, created: 0 };
        let mask = Mask { tombstones: vec![Arc::new(tombstone)], ..Mask::default() };
        let mut deletes = Deletes::new(Some(&mask), &source, &registry);
        let mut hidden = |id: &SeriesId| {
            let labels = registry.slots().labels(id.slot).unwrap();
            deletes.left_out(id.slot, &labels, &|| {}).has(1)
        };
        assert_eq!(ids.iter().filter(|id| hidden(id)).count(), 11);
        engine.flush().unwrap();
        // What the statistics ask needs the registry.
        assert_eq!(core.versions.load().segments.len(), 1);
    }
}
