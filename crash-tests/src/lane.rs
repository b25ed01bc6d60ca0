//! One lane of a run: a collector, beside its twin.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Ack, Appender, BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp, WaitError};
use tidegauge_storage::fs::sim::SimFs;

use crate::oracle::{Before, Contents, Key, Op, Sample, Track};
use crate::run::{BASE, COUNTER, SERIES, Stopped, stopped};
use crate::script::Rng;
use crate::store;

/// One collector, its twin, and what it was promised.
pub(crate) struct Lane {
    pub(crate) id: u8,
    pub(crate) rng: Rng,
    pub(crate) contents: Contents,
    pub(crate) track: Track,
    pub(crate) appender: Option<Appender>,
    pub(crate) series: Vec<SeriesId>,
    /// What was pushed last, and how many operations that were.
    ack: Option<(Ack, usize)>,
    /// Counts up over all lives, so that no value comes twice.
    pub(crate) next_value: u64,
    /// Everything that was ever pushed, or would have been.
    pub(crate) pushed: HashSet<(Key, u64)>,
}

impl Lane {
    pub(crate) fn new(id: u8, seed: u64, step: u64) -> Self {
        let (contents, track) = (Contents::default(), Track::new(step, 0));
        let rng = Rng(seed.wrapping_mul(31).wrapping_add(id.into()));
        Self {
            id,
            rng,
            contents,
            track,
            appender: None,
            series: Vec::new(),
            ack: None,
            next_value: 1,
            pushed: HashSet::new(),
        }
    }

    pub(crate) fn enter(&mut self, engine: &Engine, patience: Duration) -> Result<(), Stopped> {
        self.contents.hidden = store::hidden(engine);
        self.series = (0..=COUNTER).map(|n| store::series(engine, self.id, n)).collect();
        let appender = engine.appender_with(BackPressure::Block(patience));
        self.appender = Some(appender.map_err(|e| stopped("an appender", e))?);
        self.ack = None;
        Ok(())
    }

    /// Mostly newer than all before, sometimes late, sometimes what is there already.
    pub(crate) fn sample(&mut self) -> Sample {
        let series = self.rng.below(SERIES) as u8;
        let now = BASE + self.next_value as i64 * 1000;
        let timestamp = match self.rng.below(10) {
            0 => now - self.rng.below(40_000) as i64 * 100,
            1 => now - 1000 * self.rng.below(5) as i64,
            _ => now,
        };
        let value = self.next_value as f64 + f64::from(self.id) / 4.0;
        self.next_value += 1;
        Sample { lane: self.id, series, timestamp, value }
    }

    pub(crate) fn push(&mut self, n: u64, fs: &SimFs, common: Option<&Engine>) -> Result<(), Stopped> {
        let samples = (0..n).map(|_| self.sample()).collect();
        self.push_these(samples, fs, common)
    }

    /// From before every age that is set sooner or later.
    pub(crate) fn push_old(&mut self, n: u64, fs: &SimFs) -> Result<(), Stopped> {
        let old = |lane: &mut Self| {
            let sample = lane.sample();
            Sample { timestamp: sample.timestamp - BASE, ..sample }
        };
        let samples = (0..n).map(|_| old(self)).collect();
        self.push_these(samples, fs, None)
    }

    /// The newest sample of the counter.
    pub(crate) fn counted(&self) -> Option<(i64, f64)> {
        let counted = self.contents.samples.iter().filter(|((_, series, _), _)| *series == COUNTER);
        counted.max_by_key(|(key, _)| key.2).map(|(key, bits)| (key.2, f64::from_bits(*bits)))
    }

    /// The twin takes the samples first: from then on they may be on the disk.
    pub(crate) fn push_these(
        &mut self,
        samples: Vec<Sample>,
        fs: &SimFs,
        common: Option<&Engine>,
    ) -> Result<(), Stopped> {
        let mut before: Vec<Before> = Vec::new();
        let accepted = self.track.len();
        for &sample in &samples {
            before.push(self.contents.apply(&Op::Sample(sample)));
            self.track.push(self.contents.hash());
            self.track.numbers.forget(self.track.len(), Some(sample.series));
        }
        self.track.begin(fs.steps());
        let batch = self.batch_of(&samples);
        let pushed = match (common, &mut self.appender) {
            (Some(engine), _) => engine.push_batch(&batch),
            (None, Some(appender)) => appender.push_batch(&batch),
            (None, None) => return Err(Stopped("no appender".to_owned())),
        };
        match pushed {
            Ok(ack) => {
                self.acked(ack);
                Ok(())
            }
            Err(e) => {
                // Nothing of it was taken.
                self.track.take_back(accepted);
                self.contents.take_back(before);
                Err(stopped("a push", e))
            }
        }
    }

    /// Everything so far was pushed, the last of it for this answer.
    pub(crate) fn acked(&mut self, ack: Ack) {
        self.ack = Some((ack, self.track.len()));
    }

    pub(crate) fn batch_of(&mut self, samples: &[Sample]) -> Vec<SeriesSample> {
        self.pushed.extend(samples.iter().map(|s| ((s.lane, s.series, s.timestamp), s.value.to_bits())));
        let id = |s: &Sample| self.series[usize::from(s.series)];
        samples.iter().map(|s| SeriesSample::new(id(s), Timestamp::from_nanos(s.timestamp), s.value)).collect()
    }

    /// Waits for what was pushed, and notes that it came so far.
    pub(crate) fn wait(
        &mut self,
        engine: &Engine,
        level: Level,
        fs: &SimFs,
        survives_kill: bool,
        patience: Duration,
    ) -> Result<(), Stopped> {
        let Some((ack, pushed)) = self.ack else { return Ok(()) };
        let end = Instant::now() + patience;
        // A full disk is told at once, and may pass.
        let seq = loop {
            match engine.wait(ack, level, patience) {
                Ok(seq) => break seq,
                Err(WaitError::DiskFull | WaitError::OutOfFiles) if Instant::now() <= end => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(stopped("a wait", e)),
            }
        };
        let (step, count) = (fs.steps(), self.track.len());
        // What else than a push came behind it has a number that nobody told.
        if count == pushed {
            self.track.numbers.mark(seq, count);
        }
        match level {
            Level::Durable => self.track.note_durable(step, count),
            Level::Visible if survives_kill => self.track.note_visible(step, count),
            Level::Visible => {}
        }
        Ok(())
    }
}
