//! One appender that pushes a workload without end, as fast as it can or at a rate.

use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Ack, Appender, BackPressure, Engine, Level, PushError, SeriesId, SeriesSample};

use crate::error::Error;
use crate::measure::{Latency, Preempted, TickClock};
use crate::run::arrivals::{Schedule, wait_until};
use crate::workload::{Feed, Input, Kind, Part, Workload};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked, at least, whether all is over, while nothing is due.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// ... and while samples are due, so often a second.
const LOOKS_PER_S: u64 = 10;

/// What is pushed, ready to push.
pub(super) struct Source {
    pub(super) workload: Workload,
    pub(super) part: Part,
    pub(super) ids: Vec<SeriesId>,
    input: Input,
}

impl Source {
    /// Makes the samples and registers the series. Only W1 and W1 with integers: of these, answers are known.
    pub(super) fn new(engine: &Engine, kind: Kind, seed: u64, samples: u64, batch: u32) -> Result<Self, Error> {
        if !matches!(kind, Kind::W1 | Kind::W1int) {
            return Err(Error::Usage("questions beside pushes are checked on the workloads w1 and w1int".into()));
        }
        let workload = Workload::new(kind, seed, Some(samples))?;
        let part = Part::split(&workload, 1, batch)?.remove(0);
        let mut input = Input::generate(&workload, &part);
        let id = |slot: u32| {
            let labels = workload.labels(u64::from(slot));
            engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))
        };
        let ids: Vec<SeriesId> = part.slots().map(id).collect::<Result<_, _>>()?;
        input.make_ready(&workload, &part, &ids);
        Ok(Self { workload, part, ids, input })
    }
}

/// The appender at work.
pub(super) struct Load<'a> {
    engine: &'a Engine,
    clock: &'a TickClock,
    appender: Appender,
    feed: Feed<'a>,
    batch: usize,
    /// Samples pushed since the beginning.
    pub(super) pushed: u64,
    last: Option<Ack>,
}

/// What was pushed for a while.
pub(super) struct Phase {
    pub(super) samples: u64,
    pub(super) elapsed: Duration,
    /// Push calls; from when they were due, at a rate.
    pub(super) push: Latency,
    /// What was taken from the thread that pushes.
    pub(super) preempted: Preempted,
    /// Processor time of waiting until batches were due.
    pub(super) waited: Duration,
}

impl<'a> Load<'a> {
    pub(super) fn new(engine: &'a Engine, clock: &'a TickClock, source: &'a Source, batch: u32) -> Result<Self, Error> {
        let Source { workload, part, ids, input } = source;
        let pressure = BackPressure::Block(PATIENCE);
        let appender = engine.appender_with(pressure).map_err(Error::engine("making an appender"))?;
        let feed = Feed::new(workload, part, input, engine, ids, batch as usize, true);
        Ok(Self { engine, clock, appender, feed, batch: batch as usize, pushed: 0, last: None })
    }

    /// Pushes until `over` says so, and waits until all of it is visible.
    /// `over` is told how many samples were pushed since the beginning.
    pub(super) fn flat_out(&mut self, over: impl Fn(u64) -> bool) -> Result<Phase, Error> {
        let (before, mut push, taken_before) = (self.pushed, Latency::new(), Preempted::so_far());
        let start = Instant::now();
        while !over(self.pushed) {
            let Some(block) = self.feed.next_block()? else { break };
            for samples in block.chunks(self.batch) {
                let began = self.clock.ticks();
                let ack = self.appender.push_batch(samples).map_err(Error::engine("pushing"))?;
                push.record_ns(self.clock.between_ns(began, self.clock.ticks()));
                self.pushed += samples.len() as u64;
                self.last = Some(ack);
            }
        }
        self.until_visible()?;
        let elapsed = start.elapsed();
        let preempted = Preempted::so_far().since(taken_before);
        Ok(Phase { samples: self.pushed - before, elapsed, push, preempted, waited: Duration::ZERO })
    }

    /// Pushes what is due, each batch at its time or as soon as those before it are pushed, until `over` is told of the
    /// time of a batch and says so; then waits until all of it is visible. Sample number `first` was due at `origin`: what
    /// was late before is still late.
    ///
    /// Whoever ends at a time compares it with that of the batch, and not with the clock: what was due by then and not
    /// pushed, since the engine stood still, is pushed first and late. Left out, it would be missing where times are longest.
    pub(super) fn at_a_rate(
        &mut self,
        samples_per_s: u64,
        since: (Instant, u64),
        over: impl FnMut(Instant) -> bool,
    ) -> Result<Phase, Error> {
        let push = |appender: &mut Appender, samples: &[SeriesSample]| appender.push_batch(samples);
        self.at_a_rate_by(push, samples_per_s, since, over)
    }

    fn at_a_rate_by(
        &mut self,
        mut push_batch: impl FnMut(&mut Appender, &[SeriesSample]) -> Result<Ack, PushError>,
        samples_per_s: u64,
        since: (Instant, u64),
        mut over: impl FnMut(Instant) -> bool,
    ) -> Result<Phase, Error> {
        let (before, mut push, taken_before) = (self.pushed, Latency::new(), Preempted::so_far());
        let mut waited = Duration::ZERO;
        let start = Instant::now();
        let at_once = at_once(samples_per_s, self.batch);
        // Between blocks only: each is pushed whole, so that what was pushed can be counted.
        while self.until_soon(samples_per_s, since, &mut over) {
            let Some(block) = self.feed.next_block_of(at_once)? else { break };
            for samples in block.chunks(self.batch) {
                let due = due(samples_per_s, since, self.pushed);
                waited += wait_until(due);
                let ack = push_batch(&mut self.appender, samples).map_err(Error::engine("pushing"))?;
                push.record_ns(due.elapsed().as_nanos() as u64);
                self.pushed += samples.len() as u64;
                self.last = Some(ack);
            }
        }
        self.until_visible()?;
        let elapsed = start.elapsed();
        let preempted = Preempted::so_far().since(taken_before);
        Ok(Phase { samples: self.pushed - before, elapsed, push, preempted, waited })
    }

    /// Sleeps until shortly before the next batch is due; `false` once `over` says so.
    fn until_soon(&self, samples_per_s: u64, since: (Instant, u64), mut over: impl FnMut(Instant) -> bool) -> bool {
        let due = self.next_due(samples_per_s, since);
        while !over(due) {
            let left = due.saturating_duration_since(Instant::now());
            if left <= LOOK_EVERY {
                return true;
            }
            thread::sleep((left - LOOK_EVERY).min(LOOK_EVERY));
        }
        false
    }

    /// When the next batch is due.
    pub(super) fn next_due(&self, samples_per_s: u64, since: (Instant, u64)) -> Instant {
        due(samples_per_s, since, self.pushed)
    }

    fn until_visible(&self) -> Result<(), Error> {
        let Some(ack) = self.last else { return Ok(()) };
        let waited = self.engine.wait(ack, Level::Visible, PATIENCE);
        waited.map(drop).map_err(Error::engine("waiting for samples"))
    }
}

/// Samples that are pushed without a look at whether all is over: whole batches.
fn at_once(samples_per_s: u64, batch: usize) -> usize {
    batch * (samples_per_s / LOOKS_PER_S / batch as u64).max(1) as usize
}

/// When the batch is due that follows the first `pushed` samples.
fn due(samples_per_s: u64, (origin, first): (Instant, u64), pushed: u64) -> Instant {
    // Of one appender: what the batches are does not matter.
    let schedule = Schedule { samples_per_s, batch: 1, appenders: 1, index: 0 };
    origin + schedule.due_after(pushed - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes at a rate from now on until `over` says so; answers how many samples.
    fn pushed(rate: u64, batch: u32, over: impl FnMut(Instant) -> bool) -> u64 {
        let engine = Engine::in_memory().unwrap();
        let source = Source::new(&engine, Kind::W1, 1, 8_000, batch).unwrap();
        let clock = TickClock::new();
        let mut load = Load::new(&engine, &clock, &source, batch).unwrap();
        let phase = load.at_a_rate(rate, (Instant::now(), 0), over).unwrap();
        assert_eq!(phase.samples, load.pushed);
        phase.samples
    }

    #[test]
    fn at_a_low_rate_what_is_over_ends_within_a_tenth_of_a_second() {
        for (rate, batch, most) in [(1_000, 1, 100), (1_000, 30, 90), (50, 1, 5), (5, 2, 2), (1, 1_000, 1_000)] {
            let mut looks = 0;
            let once = |_| {
                looks += 1;
                looks > 1
            };
            assert_eq!(pushed(rate, batch, once), most, "{rate} samples/s in batches of {batch}");
        }
        assert_eq!(
            [(10_000_000, 1_000), (100, 7), (1, 1)].map(|(rate, batch)| at_once(rate, batch)),
            [1_000_000, 7, 1]
        );
    }

    #[test]
    fn nobody_waits_for_a_batch_that_is_due_in_a_quarter_of_an_hour_to_see_that_all_is_over() {
        // The first batch is due at once, the second after 1,000 s.
        let mut dues = Vec::new();
        let stopped = |due: Instant| {
            dues.push(due);
            dues.len() == 4
        };
        assert_eq!(pushed(1, 1_000, stopped), 1_000);
        assert!(dues[1] == dues[3] && dues[1] - dues[0] == Duration::from_secs(1_000), "{dues:?}");
    }

    #[test]
    fn what_was_due_while_the_engine_stood_still_at_the_end_is_pushed_late_and_not_left_out() {
        let (rate, batch, lasting) = (100_000, 10, Duration::from_millis(60));
        let engine = Engine::in_memory().unwrap();
        let source = Source::new(&engine, Kind::W1, 1, 8_000, batch).unwrap();
        let clock = TickClock::new();
        let mut load = Load::new(&engine, &clock, &source, batch).unwrap();
        let start = Instant::now();
        let end = start + lasting;
        // The first push returns when all is over, and all others were due by then.
        let stands_still = |appender: &mut Appender, samples: &[SeriesSample]| {
            let ack = appender.push_batch(samples);
            wait_until(end + lasting);
            ack
        };
        let phase = load.at_a_rate_by(stands_still, rate, (start, 0), |due| due >= end).unwrap();
        // 6,000 samples were due, and blocks are of some 4,096.
        assert!(phase.push.len() >= 600, "{} of 600 batches that were due", phase.push.len());
        assert!(load.next_due(rate, (start, 0)) >= end);
        assert_eq!(phase.samples, load.pushed);
        // Those that were due before the end were late by a pause at least, which are most.
        let late_ns = phase.push.quantile_ns(0.3);
        assert!(late_ns >= lasting.as_nanos() as f64 * 0.99, "{late_ns} ns");
    }
}
