//! Logged samples into tails, full tails into the skiplist.

use std::sync::Arc;

use crate::commit::PinView;
use crate::core::SeriesSample;
use crate::memtable::{Added, ChunkKey, Full, HeadWriter, Memtable, Moment, PACK_SLOTS, Packer, Pair, Seal, Sealer};
use crate::registry::Heads;

/// How far ahead heads and tails are brought towards the cache: a head costs one miss, and
/// its tail another once the head is there.
const HEADS_AHEAD: usize = 16;
const TAILS_AHEAD: usize = 8;

/// Owns the right to append, and the memtables that appends and seals go to.
pub(crate) struct Applier {
    writer: HeadWriter<Arc<Heads>>,
    sink: Sink,
}

/// Where sealed tails go: the memtable of their generation.
struct Sink {
    active: Arc<Memtable>,
    /// The last sealed memtable, while some of its tails are still open.
    closing: Option<Arc<Memtable>>,
    sealer: Sealer,
    packer: Packer,
}

impl Sink {
    fn of(&self, generation: u32) -> &Memtable {
        match &self.closing {
            Some(closing) if closing.generation == generation => closing,
            _ => {
                debug_assert_eq!(self.active.generation, generation, "older tails are sealed before a rotation");
                &self.active
            }
        }
    }
}

impl Seal for Sink {
    fn seal(&mut self, full: Full<'_>) {
        let (generation, key) = (full.generation, ChunkKey::new(full.slot, full.kind, full.ordinal));
        let chunk = Arc::new(self.sealer.seal(full));
        let memtable = self.of(generation);
        memtable.weigh(chunk.bytes() as isize);
        memtable.table.insert(key, chunk);
    }

    fn pack(&mut self, full: Full<'_>) {
        self.packer.push(full);
    }

    fn finish_pack(&mut self, generation: u32, slot: u32) {
        if let Some(pack) = self.packer.finish() {
            let memtable = self.of(generation);
            memtable.weigh(pack.bytes() as isize);
            memtable.table.insert_pack(slot, Arc::new(pack));
        }
    }

    fn weigh(&mut self, generation: u32, bytes: isize) {
        self.of(generation).weigh(bytes);
    }
}

impl Applier {
    /// # Panics
    /// If the right to append was given away before.
    pub(crate) fn new(heads: Arc<Heads>, active: Arc<Memtable>) -> Self {
        let writer = HeadWriter::new(heads).expect("one applier an engine");
        Self { writer, sink: Sink { active, closing: None, sealer: Sealer::default(), packer: Packer::default() } }
    }

    pub(crate) fn active(&self) -> &Arc<Memtable> {
        &self.sink.active
    }

    /// Applies samples of one commit, numbered from `first_seq`. `first` and `last` of `added` are widened.
    pub(crate) fn apply(
        &mut self,
        samples: &[SeriesSample],
        first_seq: u64,
        commit: u64,
        pins: &PinView,
        added: &mut Added,
    ) {
        let at = Moment { commit, origin: self.sink.active.origin(), pins };
        let pair = |sample: &SeriesSample| Pair { timestamp: sample.0.timestamp, value: sample.0.value };
        let mut i = 0;
        while let Some(sample) = samples.get(i) {
            if let Some(ahead) = samples.get(i + HEADS_AHEAD) {
                self.writer.prefetch_head(ahead.0.series);
            }
            if let Some(ahead) = samples.get(i + TAILS_AHEAD) {
                self.writer.prefetch_tail(ahead.0.series);
            }
            let series = sample.0.series;
            let more = samples[i + 1..].iter().take_while(|next| next.0.series == series).map(pair);
            let taken = self.writer.append_run(series, &at, first_seq + i as u64, pair(sample), more, &mut self.sink);
            for taken in &samples[i..i + taken] {
                added.first = added.first.min(taken.0.timestamp);
                added.last = added.last.max(taken.0.timestamp);
            }
            i += taken;
        }
        if added.first < added.kept_from {
            let is_over = |sample: &&SeriesSample| sample.0.timestamp < added.kept_from;
            added.over_age += samples.iter().filter(is_over).count() as u64;
        }
        added.samples += samples.len() as u64;
    }

    /// The series in `slot`, which has no open tail, is evicted: its head is as new for the next one.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.writer.forget(slot);
    }

    /// A new active memtable. The tails of the old one are sealed by [`Self::close_some`], or
    /// when their series gets its next sample.
    pub(crate) fn rotate(&mut self, active: Arc<Memtable>) {
        debug_assert!(self.sink.closing.is_none(), "one memtable closes at a time");
        self.sink.closing = Some(std::mem::replace(&mut self.sink.active, active));
    }

    /// Seals what is open of the closing memtable in `slots`, which begin where a pack does. `pins` were looked at
    /// after the rotation.
    pub(crate) fn close_some(&mut self, slots: std::ops::Range<u32>, pins: &PinView) {
        let generation = self.sink.active.generation;
        for first in slots.clone().step_by(PACK_SLOTS as usize) {
            let pack = first..slots.end.min(first.saturating_add(PACK_SLOTS));
            self.writer.close(pack, generation, pins, &mut self.sink);
        }
    }

    /// All tails of the closing memtable are sealed.
    pub(crate) fn closed(&mut self) -> Option<Arc<Memtable>> {
        self.sink.closing.take()
    }
}
