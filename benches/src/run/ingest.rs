//! The measured part: appenders push until everything is visible, then until it is durable.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Ack, Appender, BackPressure, Engine, Level, SeriesId, SeriesSample};

use super::arrivals::{Arrivals, Schedule, wait_until, watch};
use super::recount::Pushed;
use crate::error::Error;
use crate::measure::{Latency, Preempted, TickClock, cpu_s};
use crate::progress::Progress;
use crate::workload::{Feed, Input, Part, Workload};

/// How long an appender waits for room, and for its last samples, before the run has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// One sample in some so many has its push timed while the figures are taken; where a batch is as
/// long as that, each push call.
const TIMED_ONE_IN: usize = 1_021;

/// One push call in this many is timed. Odd: chunks, rings and vectors have 2ⁿ samples, and a stride with a factor of
/// theirs would meet the same places of them again and again, and others never.
fn timed_one_in(batch: usize) -> u64 {
    (TIMED_ONE_IN / batch) as u64 | 1
}

/// How to push.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pushing {
    pub(super) batch: usize,
    /// Each appender waits until each batch is durable.
    pub(super) wait: bool,
    /// Push for so long, instead of the whole workload once.
    pub(super) lasting: Option<Duration>,
    /// Whether anything becomes durable at all.
    pub(super) durable: bool,
    /// Samples a second of all appenders that are due, whatever the engine does; `None`: as fast as it takes them.
    pub(super) rate: Option<u64>,
}

/// The share of one appender, ready to go.
pub(super) struct Share {
    pub(super) part: Part,
    pub(super) input: Input,
    pub(super) ids: Vec<SeriesId>,
}

/// What came of it.
pub(super) struct Ingested {
    pub(super) pushed: Vec<Pushed>,
    /// From before the first push until the last sample was visible.
    pub(super) visible_s: f64,
    /// Until the last sample was durable.
    pub(super) durable_s: Option<f64>,
    /// Processor time of all threads until the clock of the run stopped, [`waited_s`](Self::waited_s) left out.
    pub(super) cpu_s: f64,
    /// What the process had used before.
    pub(super) cpu_before_s: f64,
    /// Processor time in which appenders waited until samples were due.
    pub(super) waited_s: f64,
    /// Push calls under load.
    pub(super) loaded: Latency,
    /// What was taken from the threads that push, until the clocks stopped.
    pub(super) preempted: Preempted,
    /// From before a push until it was durable, where each was waited for.
    pub(super) acks: Latency,
    /// Where samples were due at a rate.
    pub(super) arrivals: Option<Arrivals>,
    /// Series that came up on the way.
    pub(super) registered: u64,
    /// What was left to do when the last appender was done.
    pub(super) behind: Behind,
}

/// What flushing and compaction are behind at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// Samples that are in no segment yet.
    pub(super) memory_samples: u64,
    pub(super) segments: u64,
    /// Compaction jobs done so far.
    pub(super) compactions: u64,
}

impl Behind {
    /// Now.
    pub(super) fn of(engine: &Engine) -> Self {
        let stats = engine.stats();
        Self { memory_samples: stats.memtable_samples, segments: stats.segments, compactions: stats.compactions }
    }

    /// As whoever was done last has seen it: what is flushed afterwards, until it is noticed that all are done, is none of
    /// the run's.
    pub(super) fn at_the_end(all: impl Iterator<Item = (Instant, Self)>) -> Self {
        all.max_by_key(|(done, _)| *done).map(|(_, behind)| behind).unwrap_or_default()
    }
}

/// When one appender was done.
struct Done {
    pushed: u64,
    visible: Instant,
    durable: Option<Instant>,
    cpu_s: f64,
    loaded: Latency,
    preempted: Preempted,
    acks: Latency,
    arrivals: Option<Arrivals>,
    registered: u64,
    /// Processor time of waiting until samples were due.
    waited: Duration,
    /// When its clocks had stopped, and what flushing and compaction were behind then.
    behind: (Instant, Behind),
}

pub(super) fn ingest(
    engine: &Engine,
    workload: &Workload,
    shares: &[Share],
    pushing: Pushing,
    clock: &TickClock,
    progress: &Progress,
) -> Result<Ingested, Error> {
    let total: u64 = shares.iter().map(|share| share.part.cells()).sum();
    match pushing.lasting {
        Some(time) => progress.lasting("pushing", time),
        None => progress.samples("pushing", total),
    }
    let counts: Vec<AtomicU64> = shares.iter().map(|_| AtomicU64::new(0)).collect();
    let (ready, go) = (Barrier::new(shares.len() + 1), Barrier::new(shares.len() + 1));
    let (mut cpu_before_s, mut start) = (0.0, Instant::now());
    let appenders = shares.len() as u64;
    let done = thread::scope(|scope| {
        let run = |share, count, index| {
            let appender = engine.appender_with(BackPressure::Block(PATIENCE));
            // Before the clock starts: two files are read for it.
            let began = Preempted::so_far();
            ready.wait();
            go.wait();
            let appender = appender.map_err(Error::engine("making an appender"))?;
            let timed_every = timed_one_in(pushing.batch);
            let (loaded, acks) = (Latency::new(), Latency::new());
            let waited = Duration::ZERO;
            let pusher =
                Pusher { engine, appender, pushing, clock, loaded, began, acks, calls: 0, timed_every, waited };
            match pushing.rate {
                None => pusher.run(workload, share, count),
                Some(samples_per_s) => {
                    let schedule = Schedule { samples_per_s, batch: pushing.batch as u64, appenders, index };
                    pusher.run_at_a_rate(workload, share, count, schedule)
                }
            }
        };
        let all = shares.iter().zip(&counts).zip(0u64..);
        let running: Vec<_> = all.map(|((s, c), i)| scope.spawn(move || run(s, c, i))).collect();
        ready.wait();
        (cpu_before_s, start) = (cpu_s(), Instant::now());
        go.wait();
        while running.iter().any(|thread| !thread.is_finished()) {
            // Relaxed: only shown.
            let pushed = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            progress.at(if pushing.lasting.is_some() { start.elapsed().as_millis() as u64 } else { pushed });
            thread::sleep(Duration::from_millis(20));
        }
        running.into_iter().map(|t| t.join().expect("an appender panicked")).collect::<Result<Vec<_>, _>>()
    })?;
    let mut ingested = Ingested {
        pushed: Vec::with_capacity(shares.len()),
        visible_s: 0.0,
        durable_s: pushing.durable.then_some(0.0),
        cpu_s: 0.0,
        cpu_before_s,
        loaded: Latency::new(),
        preempted: Preempted::default(),
        acks: Latency::new(),
        arrivals: pushing.rate.map(|_| Arrivals::new()),
        registered: 0,
        waited_s: done.iter().map(|one| one.waited.as_secs_f64()).sum(),
        behind: Behind::at_the_end(done.iter().map(|one| one.behind)),
    };
    for (share, done) in shares.iter().zip(done) {
        ingested.pushed.push(Pushed { part: share.part.clone(), samples: done.pushed });
        ingested.visible_s = ingested.visible_s.max((done.visible - start).as_secs_f64());
        let durable_s = done.durable.map(|at| (at - start).as_secs_f64());
        ingested.durable_s = ingested.durable_s.zip(durable_s).map(|(a, b)| a.max(b));
        ingested.cpu_s = ingested.cpu_s.max(done.cpu_s - cpu_before_s);
        ingested.loaded.merge(&done.loaded);
        ingested.preempted.add(done.preempted);
        ingested.acks.merge(&done.acks);
        ingested.arrivals.iter_mut().zip(&done.arrivals).for_each(|(all, one)| all.merge(one));
        ingested.registered += done.registered;
    }
    // The last appender's is the greatest: all have waited by then.
    ingested.cpu_s -= ingested.waited_s;
    Ok(ingested)
}

/// One appender at work.
struct Pusher<'a> {
    engine: &'a Engine,
    appender: Appender,
    pushing: Pushing,
    clock: &'a TickClock,
    loaded: Latency,
    /// Before the first push.
    began: Preempted,
    acks: Latency,
    calls: u64,
    timed_every: u64,
    /// Processor time of waiting until samples are due.
    waited: Duration,
}

impl Pusher<'_> {
    fn run(mut self, workload: &Workload, share: &Share, count: &AtomicU64) -> Result<Done, Error> {
        let Pushing { batch, wait, lasting, .. } = self.pushing;
        let start = Instant::now();
        let over = || lasting.is_some_and(|time| start.elapsed() >= time);
        let mut feed =
            Feed::new(workload, &share.part, &share.input, self.engine, &share.ids, batch, lasting.is_some());
        let (mut pushed, mut last) = (0, None);
        'blocks: while let Some(block) = feed.next_block()? {
            if wait {
                for samples in block.chunks(batch) {
                    let begun = self.clock.ticks();
                    let ack = self.push(samples)?;
                    self.reach(ack, Level::Durable)?;
                    self.acks.record_ns(self.clock.between_ns(begun, self.clock.ticks()));
                    (pushed, last) = (pushed + samples.len() as u64, Some(ack));
                    if over() {
                        break 'blocks;
                    }
                }
            } else {
                for samples in block.chunks(batch) {
                    last = Some(self.push(samples)?);
                }
                pushed += block.len() as u64;
            }
            // Relaxed: only shown.
            count.store(pushed, Ordering::Relaxed);
            if over() {
                break;
            }
        }
        self.finish(pushed, last, None, feed.registered())
    }

    /// Pushes each batch when it is due, or as soon as the ones before it are pushed.
    fn run_at_a_rate(
        mut self,
        workload: &Workload,
        share: &Share,
        count: &AtomicU64,
        schedule: Schedule,
    ) -> Result<Done, Error> {
        let Pushing { batch, wait, lasting, .. } = self.pushing;
        let level = if wait { Level::Durable } else { Level::Visible };
        let mut feed =
            Feed::new(workload, &share.part, &share.input, self.engine, &share.ids, batch, lasting.is_some());
        let (mut pushed, mut last, mut arrivals) = (0, None, Arrivals::new());
        let engine = self.engine;
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let watcher = scope.spawn(move || watch(engine, level, &told));
            let start = Instant::now();
            let one_in = schedule.watched_one_in();
            let mut batches = 0;
            'blocks: while let Some(block) = feed.next_block()? {
                for samples in block.chunks(batch) {
                    let due = start + schedule.due_after(pushed);
                    if lasting.is_some_and(|time| due >= start + time) {
                        break 'blocks;
                    }
                    self.waited += wait_until(due);
                    let ack = self.push(samples)?;
                    arrivals.pushed.record_ns(due.elapsed().as_nanos() as u64);
                    if wait {
                        self.reach(ack, Level::Durable)?;
                        arrivals.reached.record_ns(due.elapsed().as_nanos() as u64);
                    } else if batches % one_in == 0 {
                        // It hears of it until the sender is gone, or has failed, which its answer tells.
                        let _ = tell.send((due, ack));
                    }
                    batches += 1;
                    (pushed, last) = (pushed + samples.len() as u64, Some(ack));
                    // Relaxed: only shown.
                    count.store(pushed, Ordering::Relaxed);
                }
            }
            drop(tell);
            arrivals.reached.merge(&watcher.join().expect("the watcher panicked")?);
            Ok(())
        })?;
        self.finish(pushed, last, Some(arrivals), feed.registered())
    }

    fn finish(
        self,
        pushed: u64,
        last: Option<Ack>,
        arrivals: Option<Arrivals>,
        registered: u64,
    ) -> Result<Done, Error> {
        let reach = |level| last.map_or(Ok(()), |ack| self.reach(ack, level));
        reach(Level::Visible)?;
        let (visible, cpu_s) = (Instant::now(), cpu_s());
        let durable = if self.pushing.durable {
            reach(Level::Durable)?;
            Some(Instant::now())
        } else {
            None
        };
        let behind = (Instant::now(), Behind::of(self.engine));
        // After the clocks have stopped: two files are read for it.
        let preempted = Preempted::so_far().since(self.began);
        let Self { loaded, acks, waited, .. } = self;
        Ok(Done { pushed, visible, durable, cpu_s, loaded, preempted, acks, arrivals, registered, waited, behind })
    }

    #[inline]
    fn push(&mut self, samples: &[SeriesSample]) -> Result<Ack, Error> {
        self.calls += 1;
        if !self.calls.is_multiple_of(self.timed_every) {
            return self.push_once(samples);
        }
        let start = self.clock.ticks();
        let ack = self.push_once(samples);
        self.loaded.record_ns(self.clock.between_ns(start, self.clock.ticks()));
        ack
    }

    #[inline]
    fn push_once(&mut self, samples: &[SeriesSample]) -> Result<Ack, Error> {
        let pushed = match samples {
            [one] => self.appender.push(one.series(), one.timestamp(), one.value()),
            many => self.appender.push_batch(many),
        };
        pushed.map_err(Error::engine("pushing"))
    }

    fn reach(&self, ack: Ack, level: Level) -> Result<(), Error> {
        self.engine.wait(ack, level, PATIENCE).map(drop).map_err(Error::engine("waiting for samples"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_do_is_told_as_the_last_appender_saw_it() {
        let start = Instant::now();
        let at =
            |ms, segments| (start + Duration::from_millis(ms), Behind { memory_samples: ms, segments, compactions: 0 });
        let last = Behind::at_the_end([at(1, 7), at(9, 3), at(4, 5)].into_iter());
        assert_eq!(last, Behind { memory_samples: 9, segments: 3, compactions: 0 });
    }

    #[test]
    fn calls_that_are_timed_meet_each_place_of_what_has_a_power_of_two_of_samples() {
        for (batch, calls) in [(1, 1_021), (2, 511), (7, 145), (100, 11), (1_000, 1), (65_536, 1)] {
            assert_eq!(timed_one_in(batch), calls, "{batch}");
        }
        for batch in 1..2_000 {
            let places: std::collections::HashSet<u64> = (1..=64).map(|n| n * timed_one_in(batch) % 64).collect();
            assert_eq!(places.len(), 64, "batches of {batch}");
        }
    }
}
