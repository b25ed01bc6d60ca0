//! The worker's side of evictions: between two commits, and what lanes still hold of evicted series.

use std::time::{Duration, Instant};

use tidegauge_storage::model::Labels;

use super::Worker;
use crate::core::SeriesSample;
use crate::evict::{Following, Taking, grave_bytes};
use crate::registry::SeriesId;

/// Whether everybody is past an eviction is asked this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Worker {
    /// Takes what is idle still (V6).
    pub(super) fn take(&mut self, taking: Taking) {
        let (applier, log) = (&mut self.applier, &self.log);
        let generation = applier.active().generation;
        let (went, replier) = taking.carry_out(&self.core, &self.registry, |slot| {
            let is_defined = log.as_ref().is_some_and(|(log, _)| log.defines(slot, generation));
            debug_assert!(!is_defined, "a number of the log has one meaning in a generation (V8)");
            applier.forget(slot);
        });
        let mut gone = 0;
        if let Some((turn, buried)) = went {
            gone = buried.len();
            let bytes = grave_bytes(&buried);
            self.graves.bury(turn, buried, bytes, self.drain.bar());
            self.core.counters.graves(self.graves.len(), self.graves.bytes());
            self.core.counters.evicted(gone as u64);
        }
        replier.tell(gone);
    }

    /// Goes on with the registry without what went; its slots are given to others.
    pub(super) fn follow(&mut self, following: Following) {
        let replier = following.carry_out(&self.core);
        let old = std::mem::replace(&mut self.registry, self.core.registry());
        replier.tell(old);
    }

    /// Before a round is observed.
    pub(super) fn look_at_graves(&mut self) {
        if self.graves.is_empty() {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.graves_looked_at) >= LOOK_EVERY {
            self.graves_looked_at = now;
            self.graves.before_round(&self.core.rings, &self.drain);
        }
    }

    /// After a round was taken, or was found empty.
    pub(super) fn forget_graves(&mut self) {
        if !self.graves.is_empty() {
            self.graves.after_round(&self.drain);
            self.core.counters.graves(self.graves.len(), self.graves.bytes());
        }
    }

    /// Samples of the round whose series was evicted after their push was accepted go to the series that has the
    /// labels now (V5). Answers whether the round can go on.
    pub(super) fn readdress(&mut self) -> bool {
        if self.graves.is_empty() {
            return true;
        }
        let (graves, registry, tags) = (&self.graves, &self.registry, &self.core.heads.tags);
        let series_now = |old: SeriesId| {
            let labels = Labels::from_encoded(graves.get(old.slot, old.tag)?.labels()).ok()?;
            registry.resolve_accepted(&labels).ok()?.ok()
        };
        let mut lost = None;
        self.drain.for_each_slice_mut(|samples| {
            for sample in samples {
                let old = sample.series();
                if tags.of(old.slot) == old.tag {
                    continue;
                }
                match series_now(old) {
                    Some(now) => *sample = SeriesSample::new(now, sample.timestamp(), sample.value()),
                    None => lost = Some(old),
                }
            }
        });
        if let Some(series) = lost {
            self.core.poison(format!("a sample of {series:?} came after its series was forgotten"));
        }
        lost.is_none()
    }
}
