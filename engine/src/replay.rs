//! The log, read back into a memtable.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::wal::{
    GenerationId, RecoverMode, Recovered, Refused, Replay, WalError, WalSample, WalState, recover,
};

use crate::commit::PinView;
use crate::core::SeriesSample;
use crate::ingest::Applier;
use crate::memtable::{Added, Memtable};
use crate::registry::Registry;

/// The commit under which everything replayed appears.
const COMMIT: u64 = 1;

/// Applies what the log holds, in its order, before any thread of the engine runs.
pub(crate) struct Replayer<'a> {
    registry: &'a Registry,
    applier: Applier,
    added: Added,
    generation: Option<GenerationId>,
    /// From the series numbers of one log generation to slots.
    slots: HashMap<u32, u32>,
    batch: Vec<SeriesSample>,
}

impl<'a> Replayer<'a> {
    /// `first_seq`: nothing replayed has a lower number.
    pub(crate) fn new(registry: &'a Registry, first_seq: u64) -> Self {
        let memtable = Arc::new(Memtable::new(1, first_seq));
        Self {
            registry,
            applier: Applier::new(Arc::clone(registry.slots()), memtable),
            added: Added { samples: 0, first: i64::MAX, last: i64::MIN, end_seq: first_seq },
            generation: None,
            slots: HashMap::new(),
            batch: Vec::new(),
        }
    }

    pub(crate) fn recover(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        store_id: u128,
        state: &WalState,
        mode: RecoverMode,
    ) -> Result<Recovered, WalError> {
        recover(fs, dir, store_id, state, mode, &mut |piece| self.take(piece))
    }

    fn take(&mut self, piece: Replay<'_>) -> Result<(), Refused> {
        match piece {
            Replay::Define { generation, series, labels } => {
                self.enter(generation);
                let slot = self
                    .registry
                    .resolve_labels(labels)
                    .map_err(|_| Refused("the log defines more series than `max_series` allows: raise it"))?;
                self.slots.insert(series, slot);
                Ok(())
            }
            Replay::Samples { generation, first_seq, samples } => {
                self.enter(generation);
                self.batch.clear();
                for sample in samples {
                    let slot = *self.slots.get(&sample.series).ok_or(Refused("a sample of an undefined series"))?;
                    self.batch.push(SeriesSample(WalSample { series: slot, ..*sample }));
                }
                self.applier.apply(&self.batch, COMMIT, &PinView::default(), &mut self.added);
                self.added.end_seq = first_seq.0 + samples.len() as u64;
                Ok(())
            }
            // Origins are noted for exactly-once delivery between nodes, which is not there yet.
            _ => Ok(()),
        }
    }

    fn enter(&mut self, generation: GenerationId) {
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.slots.clear();
        }
    }

    /// Seals what was replayed. The applier goes on with an active memtable that begins at
    /// `next_seq`; what was replayed comes as a sealed one, if it is anything.
    pub(crate) fn finish(mut self, next_seq: u64) -> (Applier, Option<Arc<Memtable>>) {
        self.applier.active().note(&self.added);
        self.applier.rotate(Arc::new(Memtable::new(2, next_seq)));
        self.applier.close_some(0..self.registry.slots().len(), COMMIT, &PinView::default());
        let replayed = self.applier.closed().filter(|memtable| memtable.samples() > 0);
        (self.applier, replayed)
    }
}
