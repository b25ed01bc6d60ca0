//! Retention by size: what is oldest goes.

use std::sync::Arc;

use tidegauge_storage::manifest::{Edit, Horizon};
use tidegauge_storage::model::{SeqNo, Timestamp};
use tidegauge_storage::segment::Segment;

use super::CompactError;
use super::beside::AtWork;
use super::carry::is_reached;
use super::compactor::CompactorParts;
use super::look::Looked;
use super::plan::excess;
use super::restraint::Restraint;
use super::weighed::Weighed;
use crate::clock;
use crate::version::{Version, hiding};
use crate::watch::Worker;

/// Jobs may hold back this part of what is allowed; where they hold more, they are ended for it.
const HELD_SHARE: u64 = 8;

impl CompactorParts {
    /// Where all segments together are more than retention allows, the oldest ones go, in one commit with the
    /// horizons that hide what is left of their time below them: what they had overwritten must not come back (K10). Of one
    /// that is larger than they should be, a horizon hides as much as is too much, and the next job leaves that out.
    /// What nobody sees any more goes before: it may be enough.
    /// What jobs hold that are `at_work` goes once they have ended; some are ended for it (K12). Where nothing `rewrites`
    /// segments they go as a whole.
    pub(super) fn drop_oldest(
        &self,
        looked: &mut Looked,
        restraint: &mut Restraint,
        at_work: AtWork<'_>,
        rewrites: bool,
    ) -> Result<(), CompactError> {
        let Self { core, manifest, graveyard, .. } = self;
        let Some(max_bytes) = core.kept.max_bytes() else { return Ok(()) };
        let bytes = |version: &Version| version.segments.iter().map(|s| s.info().file_bytes).sum::<u64>();
        if bytes(&core.versions.load()) <= max_bytes {
            return Ok(());
        }
        self.drop_hidden_first(looked, restraint, at_work.running)?;
        let version = core.versions.load();
        if bytes(&version) <= max_bytes {
            return Ok(());
        }
        let mut by_end: Vec<&Arc<Segment>> = version.segments.iter().collect();
        let end = |s: &Segment| s.info().time_range.map_or(Timestamp::MIN, |range| range.end);
        by_end.sort_by_key(|s| end(s));
        let through = |s: &Segment| SeqNo(s.info().seq_range.end.0.saturating_sub(1));
        let part_bytes = self.rules(None).part_bytes();
        let weighed: Vec<Weighed> = by_end.iter().map(|s| Weighed::of(s, part_bytes)).collect();
        let (gone, part) = excess(&weighed, max_bytes, part_bytes);
        let is_held = |s: &Segment| at_work.hold(s.info().id, end(s));
        let held: u64 = by_end[..gone].iter().filter(|s| is_held(s)).map(|s| s.info().file_bytes).sum();
        if held > 0 {
            let goes: Vec<(u64, Timestamp)> = by_end[..gone].iter().map(|s| (s.info().id, end(s))).collect();
            at_work.halt(&goes, held > max_bytes / HELD_SHARE);
        }
        let mut dropped: Vec<Arc<Segment>> =
            by_end[..gone].iter().filter(|s| !is_held(s)).map(|s| Arc::clone(s)).collect();
        let created = clock::now().nanos();
        let mut part_of = None;
        let mut parted = None;
        if let Some((at, part)) = part.filter(|(at, _)| !is_held(by_end[*at])) {
            let info = by_end[at].info();
            parted = Some(info.id).filter(|id| rewrites && looked.may_part(*id));
            if parted.is_some() {
                let before = weighed[at].behind(part);
                part_of = Some(Horizon { before, through: through(by_end[at]), created });
            } else if !looked.waits(info.id) {
                dropped.push(Arc::clone(by_end[at]));
            }
        }
        if dropped.is_empty() && part_of.is_none() {
            return Ok(());
        }
        drop(version);
        let ids: Vec<u64> = dropped.iter().map(|s| s.info().id).collect();
        let whole = dropped.iter().map(|s| Horizon { before: end(s), through: through(s), created });
        let horizons: Vec<Horizon> = whole.chain(part_of).collect();
        let work = core.watched.begin(Worker::Compact, "letting the oldest segments go");
        {
            let mut manifest = manifest.lock().expect("manifest lock");
            if let Some(poisoned) = core.gate.poisoned() {
                return Err(poisoned.into());
            }
            // By what was allowed before, nothing goes any more.
            if core.kept.max_bytes() != Some(max_bytes) {
                return Ok(());
            }
            let removals = ids.iter().map(|id| Edit::SegmentRemove(*id));
            let version = core.versions.load();
            let left = horizons.iter().filter(|horizon| is_reached(&version, &ids, horizon));
            let edits: Vec<Edit> = left.map(|horizon| Edit::Horizon(*horizon)).chain(removals).collect();
            drop(version);
            if let Err(error) = manifest.commit(&edits) {
                drop(manifest);
                return Err(self.not_committed("retention", error));
            }
            #[cfg(feature = "internals")]
            core.kept.note_dropped(&horizons);
            core.versions.compacted(&ids, &[], &hiding(&manifest.state().horizons));
        }
        graveyard.bury(dropped, &|| work.gets_on());
        looked.parts(parted);
        restraint.freed();
        Ok(())
    }
}
