//! The worker's side of the WAL: frames out of a round, syncs when they are due.

use std::time::{Duration, Instant};

use bytemuck::TransparentWrapper;
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::wal::{Epoch, FrameEncoder, FrameNo, GenerationId, WalError, WalRelease, WalSample, WalWriter};

use crate::core::SeriesSample;
use crate::gate::Shortage;
use crate::options::Durability;
use crate::registry::Slots;

/// With `sync` and nobody waiting, the log is still synced this often.
const SYNC_UNASKED: Duration = Duration::from_millis(100);

/// The part of a file of the log that may go to definitions which an earlier file of its generation has already.
const REPEATED: u64 = 16;

/// Why a commit was not written as one frame. Nothing of it was written, but for a failure of the device.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteWholeError {
    #[error("a frame has no room for it")]
    TooLarge,
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// Writes the log. Owned by the worker.
pub(crate) struct Log {
    writer: WalWriter,
    frame: FrameEncoder,
    /// For each slot the era in which it was defined last.
    defined: Vec<u32>,
    /// Those that the frame at hand defines.
    defined_here: Vec<u32>,
    /// Counts files that took samples. What is lost with one file is defined again in the next, and costs nothing there.
    era: u32,
    /// The first one of this memtable generation.
    first_era: u32,
    generation: u32,
    /// The file that took the last samples of this generation.
    file: Option<Epoch>,
    /// Bytes that may go to definitions again in this file.
    repeats: u64,
    /// The log generation of each memtable generation that is not released.
    generations: Vec<(u32, GenerationId)>,
    interval: Duration,
    synced_at: Instant,
    /// Whether the worker has found nothing to do since it heard of the last sync.
    rests: bool,
    /// Whether a frame of the commit at hand is written.
    begun: bool,
    /// Bytes of the last frame that found no space.
    refused: u64,
    /// What files had taken at the last rotation.
    taken_before: u64,
    /// Of that, labels of series that this generation had not defined before.
    labels: u64,
    /// Those of the frame at hand.
    labels_here: u64,
    /// Deletes since then.
    pub(crate) deletes: usize,
    /// Bytes of all frames written.
    pub(crate) written: u64,
}

impl Log {
    /// `generation` is that of the active memtable.
    pub(crate) fn new(writer: WalWriter, durability: Durability, generation: u32) -> Self {
        let interval = match durability {
            Durability::Interval(interval) => interval,
            Durability::Sync | Durability::Memory => SYNC_UNASKED,
        };
        let generations = vec![(generation, writer.generation())];
        let frame = FrameEncoder::new();
        Self {
            writer,
            frame,
            defined: Vec::new(),
            defined_here: Vec::new(),
            era: 0,
            first_era: 0,
            generation,
            file: None,
            repeats: 0,
            generations,
            interval,
            synced_at: Instant::now(),
            rests: false,
            begun: false,
            refused: 0,
            taken_before: 0,
            labels: 0,
            labels_here: 0,
            deletes: 0,
            written: 0,
        }
    }

    /// What the log has taken since the last rotation, pages that a sync left half empty included. Not what it takes to
    /// define each series once: the next generation takes as much again, so that no rotation would make it less.
    pub(super) fn bytes(&self) -> u64 {
        (self.writer.taken() - self.taken_before).saturating_sub(self.labels)
    }

    /// Begins the frames of a commit.
    pub(crate) fn begin(&mut self, seq: u64) {
        self.begun = false;
        self.begin_frame(seq);
    }

    fn begin_frame(&mut self, seq: u64) {
        self.defined_here.clear();
        self.labels_here = 0;
        self.frame.begin(SeqNo(seq));
    }

    /// Whether a part of the commit at hand is written, so that it must be finished before anything else is.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Adds samples to the commit; writes frames as they fill up. Where there is no space,
    /// `patience` waits a moment and says whether to try again.
    pub(crate) fn add(
        &mut self,
        mut samples: &[SeriesSample],
        generation: u32,
        slots: &Slots,
        patience: &mut impl FnMut(&mut Self, Shortage) -> bool,
    ) -> Result<(), WalError> {
        while !samples.is_empty() {
            let fit = self.define(samples, generation, slots);
            let taken = self.frame.samples(wal_samples(&samples[..fit]));
            samples = &samples[taken..];
            if !samples.is_empty() {
                let next = self.frame.first_seq().0 + self.frame.len() as u64;
                self.write(slots, patience)?;
                self.begin_frame(next);
            }
        }
        Ok(())
    }

    /// Defines the series of `samples` that this log generation, or this file of it, does not know, and answers
    /// how many of the samples may go into the frame.
    fn define(&mut self, samples: &[SeriesSample], generation: u32, slots: &Slots) -> usize {
        self.enter(generation);
        let all = samples.iter().position(|sample| !self.define_one(sample.0.series, slots));
        all.unwrap_or(samples.len())
    }

    /// Answers false if the frame has no room for it.
    #[inline]
    fn define_one(&mut self, slot: u32, slots: &Slots) -> bool {
        let known = self.defined.get(slot as usize).copied().unwrap_or(0);
        if known == self.era {
            return true;
        }
        let again = known >= self.first_era;
        if again && self.repeats == 0 {
            return true;
        }
        if slot as usize >= self.defined.len() {
            self.defined.resize((slot as usize + 1).next_power_of_two(), 0);
        }
        let labels = slots.labels(slot).expect("resolved before it was pushed");
        let len = labels.encoded().len() as u64;
        if again {
            // Where many series have few samples each, a file would be all definitions.
            let Some(left) = self.repeats.checked_sub(len) else {
                self.repeats = 0;
                return true;
            };
            self.repeats = left;
        }
        if self.frame.define(slot, &labels).is_err() {
            return false;
        }
        if !again {
            self.labels_here += len;
        }
        self.defined[slot as usize] = self.era;
        self.defined_here.push(slot);
        true
    }

    fn enter(&mut self, generation: u32) {
        if self.generation != generation || self.era == 0 {
            self.generation = generation;
            self.era += 1;
            self.first_era = self.era;
            self.file = None;
        }
    }

    /// The frame's definitions were not written, and must not count as written: whatever comes next defines anew. What
    /// was written before is there twice then.
    fn define_anew(&mut self) {
        self.defined.fill(0);
        (self.labels, self.labels_here) = (0, 0);
    }

    /// The frame goes to another file than the one before it: what that one defined is defined here again.
    fn define_again(&mut self, slots: &Slots) {
        self.era += 1;
        self.repeats = self.writer.file_bytes() / REPEATED;
        for slot in &self.defined_here {
            self.defined[*slot as usize] = self.era;
        }
        // What there is no room for is as well defined as it was.
        let _ = self.frame.series().into_iter().all(|slot| self.define_one(slot, slots));
    }

    /// Whether the series in `slot` is defined in the log generation of memtable `generation`.
    pub(super) fn defines(&self, slot: u32, generation: u32) -> bool {
        let since = self.defined.get(slot as usize);
        self.era > 0 && self.generation == generation && since.is_some_and(|era| *era >= self.first_era)
    }

    /// Writes one commit as one frame, or nothing.
    pub(super) fn write_whole(
        &mut self,
        seq: u64,
        samples: &[SeriesSample],
        generation: u32,
        slots: &Slots,
    ) -> Result<(), WriteWholeError> {
        self.begin(seq);
        let fit = self.define(samples, generation, slots);
        if fit < samples.len() || self.frame.samples(wal_samples(samples)) < samples.len() {
            self.define_anew();
            return Err(WriteWholeError::TooLarge);
        }
        Ok(self.write(slots, &mut |_, _| false)?)
    }

    /// Writes what is left of the commit.
    pub(crate) fn finish(
        &mut self,
        slots: &Slots,
        patience: &mut impl FnMut(&mut Self, Shortage) -> bool,
    ) -> Result<(), WalError> {
        if self.frame.is_empty() { Ok(()) } else { self.write(slots, patience) }
    }

    fn write(&mut self, slots: &Slots, patience: &mut impl FnMut(&mut Self, Shortage) -> bool) -> Result<(), WalError> {
        let len = self.frame.frame_len();
        if self.file.is_some() && self.writer.file_for(len) != self.file {
            self.define_again(slots);
        }
        self.write_with(WalWriter::append, patience)?;
        self.file = self.writer.file_for(0);
        Ok(())
    }

    fn write_with(
        &mut self,
        append: fn(&mut WalWriter, &mut FrameEncoder) -> Result<FrameNo, WalError>,
        patience: &mut impl FnMut(&mut Self, Shortage) -> bool,
    ) -> Result<(), WalError> {
        let bytes = self.frame.frame_len();
        loop {
            match append(&mut self.writer, &mut self.frame) {
                Ok(_) => {
                    self.begun = true;
                    self.labels += std::mem::take(&mut self.labels_here);
                    self.written += bytes;
                    return Ok(());
                }
                // Nothing was written: the same frame again.
                Err(WalError::NoSpace { ref source, .. }) if patience(self, Shortage::of(source)) => {}
                Err(e) => {
                    self.refused = bytes;
                    self.define_anew();
                    return Err(e);
                }
            }
        }
    }

    /// Writes a delete as a frame of its own. Tried once: where there is no space, nothing was written.
    pub(super) fn delete(&mut self, tombstone: &Tombstone) -> Result<(), WalError> {
        self.write_delete(tombstone, WalWriter::append_delete)
    }

    /// As [`delete`](Self::delete), where that found no space: into the reserve, which takes the place of the file.
    pub(super) fn delete_in_reserve(&mut self, tombstone: &Tombstone) -> Result<(), WalError> {
        self.write_delete(tombstone, WalWriter::append_reserved)
    }

    /// Whether there is a reserve with room for this delete.
    pub(super) fn has_reserve(&mut self, tombstone: &Tombstone) -> bool {
        self.frame.delete(tombstone);
        let has = self.writer.has_reserve(&mut self.frame);
        self.frame.begin(tombstone.seq);
        has
    }

    /// What a push would find none of now: one like the last frame that found none, or the first one (X11).
    pub(super) fn short(&self) -> Option<Shortage> {
        self.writer.try_space(self.refused).err().map(|e| Shortage::of(&e))
    }

    fn write_delete(
        &mut self,
        tombstone: &Tombstone,
        append: fn(&mut WalWriter, &mut FrameEncoder) -> Result<FrameNo, WalError>,
    ) -> Result<(), WalError> {
        self.frame.delete(tombstone);
        let written = self.write_with(append, &mut |_, _| false);
        self.frame.begin(tombstone.seq);
        self.deletes += usize::from(written.is_ok());
        written
    }

    /// Follows a rotation of the memtable: `generation` is the new one. Answers what may be
    /// released once everything before is in segments.
    pub(crate) fn rotate(&mut self, generation: u32) -> WalRelease {
        let begun = self.writer.rotate();
        self.generations.push((generation, begun));
        (self.taken_before, self.labels, self.deletes) = (self.writer.taken(), 0, 0);
        self.writer.release_edit(begun)
    }

    /// Lets files go that hold nothing of memtable `generation` and later ones. The manifest
    /// must say so already.
    pub(crate) fn release_before(&mut self, generation: u32) {
        if let Some(&(_, first_needed)) = self.generations.iter().find(|(g, _)| *g >= generation) {
            self.generations.retain(|(g, _)| *g >= generation);
            self.writer.release_before(first_needed);
        }
    }

    /// Whether the interval is over.
    pub(crate) fn is_sync_due(&self, now: Instant) -> bool {
        now.duration_since(self.synced_at) >= self.interval
    }

    pub(crate) fn sync_point(&mut self, now: Instant) -> Option<tidegauge_storage::wal::SyncJob> {
        self.synced_at = now;
        self.writer.sync_point()
    }

    pub(crate) fn note_synced(&mut self, through: FrameNo) {
        self.rests = false;
        self.writer.note_synced(through);
    }

    /// Called before each nap. If there was one already since the last sync, and nothing came, the log says itself
    /// what is durable (L1, L4). Answers whether it just did.
    pub(crate) fn rest(&mut self) -> Result<bool, WalError> {
        if !self.rests {
            self.rests = true;
            return Ok(false);
        }
        self.writer.witness()
    }

    pub(crate) fn poison(&mut self) {
        self.writer.poison();
    }
}

fn wal_samples(samples: &[SeriesSample]) -> &[WalSample] {
    SeriesSample::peel_slice(samples)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tidegauge_storage::fs::Fs;
    use tidegauge_storage::fs::sim::SimFs;
    use tidegauge_storage::manifest::Manifest;
    use tidegauge_storage::model::{LabelLimits, TimeRange, Timestamp};
    use tidegauge_storage::wal::{RecoverMode, Replay, WriterOptions, recover};

    use super::*;
    use crate::recovery::{OnProgress, OpenStep, Step};
    use crate::registry::{Registry, SeriesId};
    use crate::replay::Replayer;

    /// A frame that was given up on a full disk took its definitions with it: what comes after it, once there is
    /// space, must define its series again, or the store would not open.
    #[test]
    fn p4_definitions_of_a_frame_that_was_given_up_are_written_again() {
        let (fs, dir, wal) = (SimFs::new(), Path::new("d"), Path::new("d/wal"));
        let manifest = Manifest::open_or_create(Arc::new(fs.clone()), dir).unwrap();
        let state = manifest.state();
        let writer = |epoch| {
            let mut options = WriterOptions::new(state.store_id, state.open_number, FrameNo(1));
            options.file_bytes = 1 << 20;
            WalWriter::open(Arc::new(fs.clone()), wal.to_owned(), epoch, options).unwrap()
        };
        let mut log = Log::new(writer(state.wal.oldest_epoch), Durability::DEFAULT, 2);
        let registry = Registry::new(10, LabelLimits::DEFAULT);
        let slot = registry.resolve_labels(&registry.labels(&[("__name__", "cpu")]).unwrap()).unwrap();
        let sample = [SeriesSample::new(SeriesId { slot, tag: 1 }, Timestamp::from_nanos(7), 7.0)];
        let write = |log: &mut Log| {
            log.begin(1);
            log.add(&sample, 2, registry.slots(), &mut |_, _| false)
                .and_then(|()| log.finish(registry.slots(), &mut |_, _| false))
        };

        fs.set_capacity(Some(0));
        assert!(matches!(write(&mut log), Err(WalError::NoSpace { .. })));
        fs.set_capacity(None);
        write(&mut log).unwrap();
        drop(log);

        let registry = Registry::new(10, LabelLimits::DEFAULT);
        let mut replayer = Replayer::new(&registry, 1);
        let (nobody, mode) = (OnProgress::default(), RecoverMode::Strict);
        let step = Step::new(&nobody, OpenStep::ReplayLog);
        replayer.recover(&fs, wal, state.store_id, &state.wal, mode, &step).unwrap();
        let samples: u64 = replayer.finish(1).sealed.iter().map(|memtable| memtable.samples()).sum();
        assert_eq!((registry.len(), samples), (1, 1));
    }

    /// Each file defines again what it names, but where many series have few samples each, no file is all definitions.
    #[test]
    fn definitions_that_are_written_again_take_a_sixteenth_of_a_file_at_most() {
        const FILE: u64 = 64 << 10;
        let (fs, dir) = (SimFs::new(), Path::new("d/wal"));
        let mut options = WriterOptions::new(7, 1, FrameNo(1));
        options.file_bytes = FILE;
        let writer = WalWriter::open(Arc::new(fs.clone()), dir, Epoch::new(1, 0), options).unwrap();
        let mut log = Log::new(writer, Durability::DEFAULT, 1);
        let registry = Registry::new(1000, LabelLimits::DEFAULT);
        let series = |i: u32| registry.labels(&[("host", &format!("{i:0>200}"))]).unwrap();
        let slots: Vec<u32> = (0..500).map(|i| registry.resolve_labels(&series(i)).unwrap()).collect();
        let mut seq = 1u64;
        while fs.list(dir).unwrap().iter().filter(|name| !name.starts_with('.')).count() < 6 {
            for part in slots.chunks(50) {
                let sample = |slot: &u32| {
                    let value = f64::from_bits(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*slot));
                    SeriesSample::new(SeriesId { slot: *slot, tag: 1 }, Timestamp::from_nanos(seq as i64), value)
                };
                let samples: Vec<SeriesSample> = part.iter().map(sample).collect();
                log.begin(seq);
                log.add(&samples, 1, registry.slots(), &mut |_, _| false).unwrap();
                log.finish(registry.slots(), &mut |_, _| false).unwrap();
                seq += samples.len() as u64;
            }
        }
        let (mut definitions, mut samples) = (0, 0);
        let state = tidegauge_storage::wal::WalState::default();
        recover(&fs, dir, 7, &state, RecoverMode::Strict, &mut |piece| {
            match piece {
                Replay::Define { labels, .. } => definitions += labels.encoded().len() as u64,
                Replay::Samples { samples: some, .. } => samples += some.len() as u64,
                _ => {}
            }
            Ok(())
        })
        .unwrap();
        let once = slots.len() as u64 * series(0).encoded().len() as u64;
        assert_eq!(samples, seq - 1);
        assert!((once + 1..=once + 5 * FILE / REPEATED).contains(&definitions), "{definitions}, {once} once");
    }

    /// L4: what was synced is said at the second nap after it, once, and not while frames come.
    #[test]
    fn a_log_that_rests_says_what_is_durable_at_its_second_nap() {
        let fs = Arc::new(SimFs::new());
        let mut options = WriterOptions::new(7, 1, FrameNo(1));
        options.file_bytes = 1 << 20;
        let writer = WalWriter::open(fs, "d/wal", Epoch::new(1, 0), options).unwrap();
        let mut log = Log::new(writer, Durability::DEFAULT, 1);
        let delete = |log: &mut Log, seq| {
            let tombstone = Tombstone { seq: SeqNo(seq), matchers: vec![], range: TimeRange::ALL, created: 0 };
            log.delete(&tombstone).unwrap();
        };
        let sync = |log: &mut Log| {
            let job = log.sync_point(Instant::now()).unwrap();
            log.note_synced(job.run().unwrap());
        };
        for seq in 1..4 {
            delete(&mut log, seq);
            assert_eq!([log.rest().unwrap(), log.rest().unwrap()], [false, false], "it is not durable");
            sync(&mut log);
            // Between two naps comes a frame: it says the same.
            assert!(!log.rest().unwrap());
            delete(&mut log, seq + 10);
            assert!(!log.rest().unwrap());
            sync(&mut log);
            assert_eq!([0; 4].map(|_| log.rest().unwrap()), [false, true, false, false]);
        }
    }
}
