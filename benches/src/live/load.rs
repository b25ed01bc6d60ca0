//! One appender that pushes a workload without end, as fast as it can or at a rate.

use std::time::{Duration, Instant};

use tidegauge::{Ack, Appender, BackPressure, Engine, Level, SeriesId};

use crate::error::Error;
use crate::measure::{Latency, Preempted, TickClock};
use crate::run::arrivals::{Schedule, wait_until};
use crate::workload::{Feed, Input, Kind, Part, Workload};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);

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
        Ok(Phase { samples: self.pushed - before, elapsed, push, preempted })
    }

    /// Pushes what is due until `over` says so, and waits until all of it is visible. Sample number `first` was due at
    /// `origin`: what was late before is still late.
    pub(super) fn at_a_rate(
        &mut self,
        samples_per_s: u64,
        (origin, first): (Instant, u64),
        over: impl Fn() -> bool,
    ) -> Result<Phase, Error> {
        let schedule = Schedule { samples_per_s, batch: self.batch as u64, appenders: 1, index: 0 };
        let (before, mut push, taken_before) = (self.pushed, Latency::new(), Preempted::so_far());
        let start = Instant::now();
        while let Some(block) = self.feed.next_block()? {
            for samples in block.chunks(self.batch) {
                let due = origin + schedule.due_after(self.pushed - first);
                wait_until(due);
                let ack = self.appender.push_batch(samples).map_err(Error::engine("pushing"))?;
                push.record_ns(due.elapsed().as_nanos() as u64);
                self.pushed += samples.len() as u64;
                self.last = Some(ack);
            }
            // Between blocks only: each is pushed whole, so that what was pushed can be counted.
            if over() {
                break;
            }
        }
        self.until_visible()?;
        let elapsed = start.elapsed();
        let preempted = Preempted::so_far().since(taken_before);
        Ok(Phase { samples: self.pushed - before, elapsed, push, preempted })
    }

    fn until_visible(&self) -> Result<(), Error> {
        let Some(ack) = self.last else { return Ok(()) };
        let waited = self.engine.wait(ack, Level::Visible, PATIENCE);
        waited.map(drop).map_err(Error::engine("waiting for samples"))
    }
}
