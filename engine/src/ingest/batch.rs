//! An atomic batch: judged, logged in one frame, applied and published as one commit.

use std::sync::Arc;

use tidegauge_storage::wal::WalError;

use super::worker::tend;
use super::{Worker, WriteWholeError};
use crate::batch::{BatchRequest, Check, Committed, Verdict};
use crate::core::SeriesSample;
use crate::gate::Shortage;
use crate::memtable::HeadTable;
use crate::registry::Slots;
use crate::ring::LaneId;

impl Worker {
    /// Everything ordered before is applied: this runs between two commits (C1). Without a verdict the replier is
    /// dropped, which says that the engine is poisoned. `looks` is raised by the deletes that were matched for it.
    pub(super) fn commit_batch(&mut self, request: BatchRequest, looks: &mut u64) {
        let BatchRequest { samples, checks, replier } = request;
        let registry = Arc::clone(&self.registry);
        let slots = registry.slots();
        let mut series = samples.iter().map(SeriesSample::series).chain(checks.iter().map(|check| check.series));
        if !series.all(|series| self.core.heads.is_live(series)) {
            return replier.tell(Verdict::Stale);
        }
        if let Err((at, found)) = self.judge(&checks, slots, looks) {
            return replier.tell(Verdict::Failed { at, found });
        }
        let first = self.visible.seq;
        if samples.is_empty() {
            return replier.tell(Verdict::Committed(Committed::new(first, first, self.core.tag)));
        }
        if let Some((log, _)) = &mut self.log {
            let generation = self.applier.active().generation;
            match log.write_whole(first, &samples, generation, slots) {
                Ok(()) => {}
                Err(WriteWholeError::TooLarge) => return replier.tell(Verdict::TooLarge),
                Err(WriteWholeError::Wal(WalError::NoSpace { source, .. })) => {
                    self.look_for_space();
                    return replier.tell(Verdict::Short(Shortage::of(&source)));
                }
                Err(WriteWholeError::Wal(e)) => return self.core.poison(format!("the log cannot be written: {e}")),
            }
        }
        let mut commit = self.begin_commit();
        self.applier.apply(&samples, first, commit.number, &self.pins, &mut commit.added);
        if let (Ok(mut sketch), Some(sample)) = (self.core.hot.try_lock(), samples.first()) {
            let at = sketch.skip(samples.len()) % samples.len();
            sketch.add(LaneId::NONE, samples.get(at).unwrap_or(sample), samples.len());
        }
        if !self.feeds.is_empty() {
            self.feeds.stage(&samples, slots);
        }
        self.publish(commit);
        self.core.tell_visible();
        // Before it is delivered: a subscription may hold the worker up for longer than who committed waits.
        replier.tell(Verdict::Committed(Committed::new(first, self.visible.seq, self.core.tag)));
        self.deliver(first);
    }

    /// That takes long where many deletes have come since these were asked: meanwhile the log is synced when it is due,
    /// and nobody takes it for a stall.
    fn judge(&mut self, checks: &[Check], slots: &Slots, looks: &mut u64) -> Result<(), (usize, u64)> {
        if checks.is_empty() {
            return Ok(());
        }
        let Self { core, log, released, visible, .. } = self;
        let version = core.versions.load();
        let head = |slot| core.heads.head(slot);
        Check::judge_all(checks, head, (visible.commit, &version, slots), looks, || {
            core.heartbeat();
            if let Some((log, sync)) = log {
                tend(core, log, sync, released, visible.seq);
            }
        })
    }
}
