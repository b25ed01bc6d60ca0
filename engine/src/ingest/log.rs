//! The worker's side of the WAL: frames out of a round, syncs when they are due.

use std::time::{Duration, Instant};

use bytemuck::TransparentWrapper;
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::wal::{FrameEncoder, FrameNo, GenerationId, WalError, WalRelease, WalSample, WalWriter};

use crate::core::SeriesSample;
use crate::gate::Shortage;
use crate::options::Durability;
use crate::registry::Slots;

/// With `sync` and nobody waiting, the log is still synced this often.
const SYNC_UNASKED: Duration = Duration::from_millis(100);

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
    /// For each slot the memtable generation in which it was defined last.
    defined: Vec<u32>,
    /// The log generation of each memtable generation that is not released.
    generations: Vec<(u32, GenerationId)>,
    interval: Duration,
    synced_at: Instant,
    /// Whether the worker has found nothing to do since it heard of the last sync.
    rests: bool,
    /// Whether a frame of the commit at hand is written.
    begun: bool,
    /// Bytes of frames since the last rotation.
    pub(crate) bytes: u64,
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
            generations,
            interval,
            synced_at: Instant::now(),
            rests: false,
            begun: false,
            bytes: 0,
            written: 0,
        }
    }

    /// Begins the frames of a commit.
    pub(crate) fn begin(&mut self, seq: u64) {
        self.begun = false;
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
                self.write(patience)?;
                self.frame.begin(SeqNo(next));
            }
        }
        Ok(())
    }

    /// Defines the series of `samples` that this log generation does not know, and answers
    /// how many of the samples may go into the frame.
    fn define(&mut self, samples: &[SeriesSample], generation: u32, slots: &Slots) -> usize {
        for (i, sample) in samples.iter().enumerate() {
            let slot = sample.0.series as usize;
            if self.defines(sample.0.series, generation) {
                continue;
            }
            if slot >= self.defined.len() {
                self.defined.resize((slot + 1).next_power_of_two(), 0);
            }
            let labels = slots.labels(sample.0.series).expect("resolved before it was pushed");
            if self.frame.define(sample.0.series, &labels).is_err() {
                return i;
            }
            self.defined[slot] = generation;
        }
        samples.len()
    }

    /// Whether the series in `slot` is defined in the log generation of memtable `generation`.
    pub(super) fn defines(&self, slot: u32, generation: u32) -> bool {
        self.defined.get(slot as usize) == Some(&generation)
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
            // Definitions that are never written must not count as written.
            self.defined.fill(0);
            return Err(WriteWholeError::TooLarge);
        }
        Ok(self.write(&mut |_, _| false)?)
    }

    /// Writes what is left of the commit.
    pub(crate) fn finish(&mut self, patience: &mut impl FnMut(&mut Self, Shortage) -> bool) -> Result<(), WalError> {
        if self.frame.is_empty() { Ok(()) } else { self.write(patience) }
    }

    fn write(&mut self, patience: &mut impl FnMut(&mut Self, Shortage) -> bool) -> Result<(), WalError> {
        self.write_with(WalWriter::append, patience)
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
                    self.bytes += bytes;
                    self.written += bytes;
                    return Ok(());
                }
                // Nothing was written: the same frame again.
                Err(WalError::NoSpace { ref source, .. }) if patience(self, Shortage::of(source)) => {}
                Err(e) => {
                    // The frame's definitions were not written: whatever comes next defines anew.
                    self.defined.fill(0);
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

    fn write_delete(
        &mut self,
        tombstone: &Tombstone,
        append: fn(&mut WalWriter, &mut FrameEncoder) -> Result<FrameNo, WalError>,
    ) -> Result<(), WalError> {
        self.frame.delete(tombstone);
        let written = self.write_with(append, &mut |_, _| false);
        self.frame.begin(tombstone.seq);
        written
    }

    /// Follows a rotation of the memtable: `generation` is the new one. Answers what may be
    /// released once everything before is in segments.
    pub(crate) fn rotate(&mut self, generation: u32) -> WalRelease {
        let begun = self.writer.rotate();
        self.generations.push((generation, begun));
        self.bytes = 0;
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

    use tidegauge_storage::fs::sim::SimFs;
    use tidegauge_storage::manifest::Manifest;
    use tidegauge_storage::model::{LabelLimits, TimeRange, Timestamp};
    use tidegauge_storage::wal::{Epoch, RecoverMode, WriterOptions};

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
            log.add(&sample, 2, registry.slots(), &mut |_, _| false).and_then(|()| log.finish(&mut |_, _| false))
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
