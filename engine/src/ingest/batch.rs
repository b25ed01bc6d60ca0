//! An atomic batch: judged, logged in one frame, applied and published as one commit.

use std::sync::Arc;

use tidegauge_storage::wal::WalError;

use super::{Worker, WriteWholeError};
use crate::batch::{BatchRequest, Committed, Verdict};
use crate::core::SeriesSample;
use crate::gate::Shortage;
use crate::memtable::HeadTable;
use crate::ring::LaneId;

impl Worker {
    /// Everything ordered before is applied: this runs between two commits (C1). Without a verdict the replier is
    /// dropped, which says that the engine is poisoned.
    pub(super) fn commit_batch(&mut self, request: BatchRequest) {
        let BatchRequest { samples, checks, replier } = request;
        let (registry, heads) = (Arc::clone(&self.registry), &self.core.heads);
        let slots = registry.slots();
        let mut series = samples.iter().map(SeriesSample::series).chain(checks.iter().map(|check| check.series));
        if !series.all(|series| heads.is_live(series)) {
            return replier.tell(Verdict::Stale);
        }
        let version = (!checks.is_empty()).then(|| self.core.versions.load());
        for (at, check) in checks.iter().enumerate() {
            let Some(version) = &version else { break };
            if let Err(found) = check.judge(heads.head(check.series.slot), self.visible.commit, version, slots) {
                return replier.tell(Verdict::Failed { at, found });
            }
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
}
