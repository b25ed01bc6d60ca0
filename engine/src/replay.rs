//! The log, read back into a memtable.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytemuck::TransparentWrapper;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::State;
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::wal::{GenerationId, RecoverMode, Recovered, Refused, Replay, WalSample, WalState, recover};

use crate::commit::PinView;
use crate::core::SeriesSample;
use crate::error::OpenError;
use crate::ingest::Applier;
use crate::memtable::{Added, Memtable};
use crate::recovery::Step;
use crate::registry::Registry;

/// Everything below this number is in segments, or was: memtables are flushed in the order of their numbers.
///
/// Not the manifest's next number: a delete that recovery noted raises that above what lies in the log below it. And not
/// what was ever flushed: of a segment that is lost, and that salvage lets go of, the log may hold the samples still.
pub(crate) fn flushed_before(state: &State) -> u64 {
    state.segments.values().map(|segment| segment.seq_range.end.0).max().unwrap_or(0).max(1)
}

/// The commit under which everything replayed appears.
const COMMIT: u64 = 1;

/// Series numbers below this are found by index. What an engine writes are its slots, which are dense.
const DENSE: u32 = 1 << 22;
/// No slot.
const NONE: u32 = u32::MAX;

/// From the series numbers of one log generation to slots.
#[derive(Default)]
struct Defined {
    dense: Vec<u32>,
    /// The others.
    sparse: HashMap<u32, u32>,
}

impl Defined {
    fn insert(&mut self, series: u32, slot: u32) {
        if series >= DENSE {
            self.sparse.insert(series, slot);
            return;
        }
        let at = series as usize;
        if at >= self.dense.len() {
            self.dense.resize((at + 1).next_power_of_two(), NONE);
        }
        self.dense[at] = slot;
    }

    /// [`NONE`] if nobody defined it.
    #[inline]
    fn slot_of(&self, series: u32) -> u32 {
        match self.dense.get(series as usize) {
            Some(&slot) => slot,
            None => self.sparse.get(&series).copied().unwrap_or(NONE),
        }
    }

    fn clear(&mut self) {
        self.dense.clear();
        self.sparse.clear();
    }
}

/// Applies what the log holds, in its order, before any thread of the engine runs.
pub(crate) struct Replayer<'a> {
    registry: &'a Registry,
    applier: Applier,
    added: Added,
    /// What has a lower number is in segments: an opening was interrupted before the log let go of it.
    flushed_before: u64,
    /// Whether samples of series that nobody defined are left out rather than refused.
    salvage: bool,
    undefined: Option<Undefined>,
    /// What lies below a delete, each a memtable of its own (P9).
    sealed: Vec<Arc<Memtable>>,
    tombstones: Vec<Arc<Tombstone>>,
    /// Numbers of deletes that are known without the log, and not passed yet.
    known_deletes: BTreeSet<u64>,
    generation: Option<GenerationId>,
    defined: Defined,
    /// The log is fine, but the registry may not take all of its series.
    too_many_series: bool,
}

/// Samples that were read, but whose series nobody knows: its definition is lost.
pub(crate) struct Undefined {
    pub(crate) samples: u64,
    pub(crate) seqs: Range<u64>,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl<'a> Replayer<'a> {
    /// What the log has below the number [`flushed_before`] answers is left out.
    pub(crate) fn new(registry: &'a Registry, flushed_before: u64) -> Self {
        let applier = Applier::new(Arc::clone(registry.slots().heads()), Arc::new(Memtable::new(1, flushed_before)));
        Self::on(registry, applier, flushed_before)
    }

    /// The log once more, into a memtable of its own: what the applier had before stays with those who read it.
    pub(crate) fn again(registry: &'a Registry, mut applier: Applier, flushed_before: u64) -> Self {
        let generation = applier.active().generation + 1;
        applier.rotate(Arc::new(Memtable::new(generation, flushed_before)));
        applier.close_some(0..registry.slots().len(), &PinView::default());
        // What an attempt before left half-way.
        drop(applier.closed());
        Self::on(registry, applier, flushed_before)
    }

    fn on(registry: &'a Registry, applier: Applier, flushed_before: u64) -> Self {
        Self {
            registry,
            applier,
            added: Added::nothing(flushed_before, i64::MIN),
            flushed_before,
            salvage: false,
            undefined: None,
            sealed: Vec::new(),
            tombstones: Vec::new(),
            known_deletes: BTreeSet::new(),
            generation: None,
            defined: Defined::default(),
            too_many_series: false,
        }
    }

    /// Seals what lies below these deletes, too, whether or not the log still has them: a delete hides nothing of a
    /// memtable that goes on above its number.
    pub(crate) fn seal_at(&mut self, deletes: impl IntoIterator<Item = SeqNo>) {
        self.known_deletes.extend(deletes.into_iter().map(|seq| seq.0));
    }

    pub(crate) fn recover(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        store_id: u128,
        state: &WalState,
        mode: RecoverMode,
        progress: &Step<'_>,
    ) -> Result<Recovered, OpenError> {
        self.salvage = mode == RecoverMode::Salvage;
        let recovered = recover(fs, dir, store_id, state, mode, &mut |piece| match piece {
            Replay::Progress { read, total } => {
                progress.tell(read, total);
                Ok(())
            }
            piece => self.take(piece),
        });
        if self.too_many_series {
            return Err(OpenError::TooManySeries { limit: self.registry.slots_max() });
        }
        Ok(recovered?)
    }

    /// What salvage had to leave out although its frames are sound.
    pub(crate) fn undefined(&mut self) -> Option<Undefined> {
        self.undefined.take()
    }

    /// Those that the log had.
    pub(crate) fn deletes(&self) -> &[Arc<Tombstone>] {
        &self.tombstones
    }

    /// As if the log had had these, too. They were known to [`Self::seal_at`].
    pub(crate) fn add_deletes(&mut self, deletes: Vec<Tombstone>) {
        self.tombstones.extend(deletes.into_iter().map(Arc::new));
    }

    fn take(&mut self, piece: Replay<'_>) -> Result<(), Refused> {
        match piece {
            Replay::Define { generation, series, labels } => {
                self.enter(generation);
                let slot = self.registry.resolve_logged(labels).map_err(|_| {
                    self.too_many_series = true;
                    Refused("the log defines more series than there is room for")
                })?;
                self.defined.insert(series, slot);
                Ok(())
            }
            Replay::Samples { generation, first_seq, samples } => {
                self.enter(generation);
                self.seal_below(first_seq.0);
                self.begin_at(first_seq.0);
                let flushed = self.flushed_before.saturating_sub(first_seq.0).min(samples.len() as u64);
                let (samples, first_seq) = (&mut samples[flushed as usize..], first_seq.0 + flushed);
                if samples.is_empty() {
                    return Ok(());
                }
                self.begin_no_lower(first_seq);
                if self.address(samples) {
                    self.apply(samples, first_seq);
                } else if self.salvage {
                    self.leave_out_undefined(samples, first_seq);
                } else {
                    return Err(Refused("a sample of an undefined series"));
                }
                self.added.end_seq = first_seq + samples.len() as u64;
                Ok(())
            }
            Replay::Delete(tombstone) => {
                self.begin_at(tombstone.seq.0);
                self.seal(tombstone.seq.0 + 1);
                self.tombstones.push(Arc::new(tombstone.clone()));
                Ok(())
            }
            // Origins are noted for exactly-once delivery between nodes, which is not there yet.
            _ => Ok(()),
        }
    }

    /// Puts slots in the place of the log's numbers, where they lie: a frame may be larger than the cache. Answers whether
    /// all of them are defined.
    fn address(&self, samples: &mut [WalSample]) -> bool {
        let mut all = true;
        for sample in samples {
            sample.series = self.defined.slot_of(sample.series);
            all &= sample.series != NONE;
        }
        all
    }

    fn apply(&mut self, samples: &[WalSample], first_seq: u64) {
        let samples = SeriesSample::wrap_slice(samples);
        self.applier.apply(samples, first_seq, COMMIT, &PinView::default(), &mut self.added);
    }

    /// Notes the samples that are nobody's. Each of the others keeps its number: conditions are judged by it.
    fn leave_out_undefined(&mut self, samples: &[WalSample], mut seq: u64) {
        for alike in samples.chunk_by(|a, b| (a.series == NONE) == (b.series == NONE)) {
            if alike[0].series == NONE {
                alike.iter().zip(seq..).for_each(|(s, seq)| Undefined::note(&mut self.undefined, seq, s.timestamp));
            } else {
                self.apply(alike, seq);
            }
            seq += alike.len() as u64;
        }
    }

    /// What is replayed may begin below the numbers that segments have: where a manifest was made anew, the last flush
    /// is replayed over itself.
    fn begin_at(&mut self, seq: u64) {
        if self.added.samples == 0 && seq < self.applier.active().first_seq {
            self.begin_anew(seq);
        }
    }

    /// A memtable begins with its first sample: numbers below that are of deletes, and a segment that claims them looks as
    /// if the log had not all of it (SV5 of the WAL's survey).
    fn begin_no_lower(&mut self, seq: u64) {
        if self.added.samples == 0 && self.applier.active().first_seq < seq {
            self.begin_anew(seq);
        }
    }

    fn begin_anew(&mut self, seq: u64) {
        let next = Memtable::new(self.applier.active().generation + 1, seq);
        self.applier.rotate(Arc::new(next));
        drop(self.applier.closed());
        self.added.end_seq = seq;
    }

    fn enter(&mut self, generation: GenerationId) {
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.defined.clear();
        }
    }

    /// Where known deletes lie between what was replayed so far and `seq`, the former is sealed.
    fn seal_below(&mut self, seq: u64) {
        let Some(&last) = self.known_deletes.range(..seq).next_back() else { return };
        self.known_deletes = self.known_deletes.split_off(&seq);
        if self.added.samples > 0 {
            self.seal(last + 1);
        }
    }

    /// Seals what was replayed so far, if it is anything; goes on with a memtable that begins at `next_seq`.
    fn seal(&mut self, next_seq: u64) {
        let active = self.applier.active();
        let next = Memtable::new(active.generation + 1, next_seq);
        let empty = Added::nothing(next_seq, i64::MIN);
        let added = std::mem::replace(&mut self.added, empty);
        if added.samples == 0 {
            return;
        }
        active.note(&added);
        self.applier.rotate(Arc::new(next));
        self.applier.close_some(0..self.registry.slots().len(), &PinView::default());
        self.sealed.extend(self.applier.closed());
    }

    /// Seals what was replayed. The applier goes on with an active memtable that begins at `next_seq`.
    pub(crate) fn finish(mut self, next_seq: u64) -> Replayed {
        self.seal(next_seq);
        if self.applier.active().first_seq != next_seq {
            // Nothing came behind the last delete, or nothing came at all.
            let next = Memtable::new(self.applier.active().generation + 1, next_seq);
            self.applier.rotate(Arc::new(next));
            drop(self.applier.closed());
        }
        Replayed { applier: self.applier, sealed: self.sealed, tombstones: self.tombstones }
    }
}

impl Undefined {
    fn note(all: &mut Option<Self>, seq: u64, timestamp: i64) {
        let none = || Self { samples: 0, seqs: seq..seq, first: timestamp, last: timestamp };
        let all = all.get_or_insert_with(none);
        all.samples += 1;
        all.seqs.end = seq + 1;
        all.first = all.first.min(timestamp);
        all.last = all.last.max(timestamp);
    }
}

/// What the log held.
pub(crate) struct Replayed {
    /// Goes on with an empty memtable.
    pub(crate) applier: Applier,
    /// Oldest first; none is empty.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
}
