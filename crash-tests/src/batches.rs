//! Atomic batches, with conditions and without, and increments (P8).

use tidegauge::{CommitError, Expect, Level, Retry, RetryError, SeqNo, SeriesId};

use crate::acts::Act;
use crate::lane::Lane;
use crate::oracle::{Before, Op, Sample};
use crate::run::{COUNTED, COUNTER, Run, Stopped, stopped};

impl Run {
    /// One batch of samples of all lanes: all of it in each, or nothing in any.
    pub(crate) fn batch(&mut self, n: u64) -> Result<(), Stopped> {
        self.batch_if(n, None).map(drop)
    }

    /// As above, if the last sample of the last lane's series is as expected. Answers its number, and the series.
    fn batch_if(&mut self, n: u64, expected: Option<(SeriesId, Expect)>) -> Result<(SeqNo, SeriesId), Stopped> {
        // Behind what was pushed before.
        self.wait(Level::Visible)?;
        let engine = self.engine().clone();
        let mut batch = engine.batch();
        let samples: Vec<Vec<Sample>> =
            self.lanes.iter_mut().map(|lane| (0..n).map(|_| lane.sample()).collect()).collect();
        for (lane, samples) in self.lanes.iter_mut().zip(&samples) {
            batch.push_batch(&lane.batch_of(samples)).map_err(|e| stopped("a batch", e))?;
        }
        let last = self
            .lanes
            .iter()
            .zip(&samples)
            .next_back()
            .and_then(|(lane, samples)| samples.last().map(|s| lane.series[usize::from(s.series)]));
        if let Some((series, expected)) = expected {
            batch.expect_last(series, expected);
        }
        let mut before: Vec<Vec<Before>> = Vec::new();
        for (lane, samples) in self.lanes.iter_mut().zip(&samples) {
            before.push(samples.iter().map(|sample| lane.contents.apply(&Op::Sample(*sample))).collect());
        }
        let accepted: Vec<usize> = self.lanes.iter().map(|lane| lane.track.len()).collect();
        let step = self.fs.steps();
        for (lane, samples) in self.lanes.iter_mut().zip(&samples) {
            lane.track.push(lane.contents.hash());
            lane.track.begin(step);
            samples.iter().for_each(|s| lane.track.numbers.forget(lane.track.len(), Some(s.series)));
        }
        self.atomics.push(accepted.clone());
        let committed = batch.commit();
        self.note_over(Act::Batch, step);
        match committed {
            Ok(committed) => {
                let (step, logs) = (self.fs.steps(), self.logs());
                let mut numbers = committed.first().0..;
                for (lane, samples) in self.lanes.iter_mut().zip(&samples) {
                    lane.acked(committed.ack());
                    samples.iter().zip(&mut numbers).for_each(|(sample, seq)| note_number(lane, sample, seq));
                    let count = lane.track.len();
                    if logs {
                        lane.track.note_visible(step, count);
                    }
                }
                self.note_barrier();
                committed.last().zip(last).ok_or_else(|| Stopped("an empty batch".to_owned()))
            }
            // Nobody knows; what came before it is known.
            Err(e @ CommitError::Poisoned(_)) => Err(stopped("a batch", e)),
            Err(e) => {
                self.atomics.pop();
                for ((lane, before), accepted) in self.lanes.iter_mut().zip(before).zip(accepted) {
                    lane.track.take_back(accepted);
                    lane.contents.take_back(before);
                }
                Err(stopped("a batch", e))
            }
        }
    }

    /// One more in a series that counts, which begins with a sample like any other.
    pub(crate) fn increment(&mut self) -> Result<(), Stopped> {
        self.wait(Level::Visible)?;
        let (engine, fs, logs) = (self.engine().clone(), self.fs.clone(), self.logs());
        let nth = self.rng.below(self.lanes.len() as u64) as usize;
        let lane = &mut self.lanes[nth];
        let Some((at, was)) = lane.counted() else {
            let first = Sample { series: COUNTER, timestamp: COUNTED, ..lane.sample() };
            lane.push_these(vec![first], &fs, None)?;
            return self.wait(Level::Visible);
        };
        let sample = Sample { lane: lane.id, series: COUNTER, timestamp: at + 1, value: was + 1.0 };
        let series = lane.batch_of(&[sample])[0].series();
        let (before, accepted) = (lane.contents.apply(&Op::Sample(sample)), lane.track.len());
        lane.track.push(lane.contents.hash());
        lane.track.begin(fs.steps());
        lane.track.numbers.forget(lane.track.len(), Some(COUNTER));
        match engine.increment(series, 1.0, Retry::ONCE) {
            Ok(done) => {
                lane.acked(done.committed.ack());
                note_number(lane, &sample, done.committed.first().0);
                if logs {
                    lane.track.note_visible(fs.steps(), accepted + 1);
                }
                self.note_barrier();
                let written = (done.timestamp.nanos(), done.value);
                let should = (sample.timestamp, sample.value);
                if written == should { Ok(()) } else { Err(Stopped(format!("{written:?} is counted, not {should:?}"))) }
            }
            Err(e @ RetryError::Commit(CommitError::Poisoned(_))) => Err(stopped("an increment", e)),
            Err(e) => {
                lane.track.take_back(accepted);
                lane.contents.take_back(vec![before]);
                Err(stopped("an increment", e))
            }
        }
    }

    /// A batch that expects nothing where there is something, after one that made sure of it.
    pub(crate) fn conflict(&mut self, n: u64) -> Result<(), Stopped> {
        let (_, series) = self.batch_if(1, None)?;
        let engine = self.engine().clone();
        // What a rule of retention hides is nothing, however lately it was written: a recovered engine's times begin anew.
        // And while there is a limit of bytes, what was there may go at any moment.
        let last = engine.last(series).map_err(|e| stopped("the last sample", e))?;
        if last.is_none() || engine.retention().max_bytes.is_some() {
            return Ok(());
        }
        let lane = &mut self.lanes[0];
        let samples: Vec<Sample> = (0..n).map(|_| lane.sample()).collect();
        let mut batch = engine.batch();
        batch.push_batch(&lane.batch_of(&samples)).map_err(|e| stopped("a batch", e))?;
        batch.expect_last(series, Expect::Nothing);
        match batch.commit() {
            Err(CommitError::Conflict { .. }) => Ok(()),
            Err(e) => Err(stopped("a batch", e)),
            Ok(_) => Err(Stopped("a batch was committed although its condition does not hold".to_owned())),
        }
    }

    /// A batch on the condition of the last one's number, which holds; then one more, whose condition does not hold
    /// any more.
    pub(crate) fn conditional(&mut self) -> Result<(), Stopped> {
        let (seq, series) = self.batch_if(1, None)?;
        let expected = Some((series, Expect::Seq(seq)));
        self.batch_if(1, expected)?;
        // The batch between pushed to this very series only by chance.
        let engine = self.engine().clone();
        let lane = self.lanes.last_mut().ok_or_else(|| Stopped("no lane".to_owned()))?;
        let sample = Sample { series: 0, ..lane.sample() };
        let mut batch = engine.batch();
        batch.push_batch(&lane.batch_of(&[sample])).map_err(|e| stopped("a batch", e))?;
        batch.expect_last(series, Expect::UnchangedSince(seq));
        match batch.commit() {
            Err(CommitError::Conflict { .. }) => Ok(()),
            Err(e) => Err(stopped("a batch", e)),
            Ok(_) => Err(Stopped("a batch was committed although its condition does not hold".to_owned())),
        }
    }
}

/// The last operation of a lane has this sample, whose number is known now.
fn note_number(lane: &mut Lane, sample: &Sample, seq: u64) {
    let (count, key) = (lane.track.len(), (sample.lane, sample.series, sample.timestamp));
    lane.track.numbers.forget(count, Some(sample.series));
    // What is hidden at once, or written over within the batch, is no last sample.
    if lane.contents.samples.get(&key) == Some(&sample.value.to_bits()) {
        lane.track.numbers.note(count, sample.series, seq);
    }
}
