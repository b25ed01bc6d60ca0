//! The measured part of the mixed workload: workers that read and write.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::query::Selection;
use tidegauge::{Appender, BackPressure, Engine, Level, Sample, SeriesId, SeriesSample, Timestamp};

use super::ingest::{Behind, PATIENCE, Pushing};
use super::readback::equal;
use crate::error::Error;
use crate::measure::{Latency, cpu_s};
use crate::progress::Progress;
use crate::report::{Mixed, OperationTimes};
use crate::workload::Workload;
use crate::workload::mixed::{Operation, Worker, first};

/// What came of it.
pub(super) struct Interleaved {
    /// Samples written by each worker.
    pub(super) written: Vec<u64>,
    pub(super) visible_s: f64,
    pub(super) durable_s: Option<f64>,
    pub(super) cpu_s: f64,
    pub(super) cpu_before_s: f64,
    pub(super) mixed: Mixed,
    /// What was left to do when the last worker was done.
    pub(super) behind: Behind,
}

/// What one worker did.
struct Done {
    written: u64,
    reads: Latency,
    writes: Latency,
    visible: Instant,
    durable: Option<Instant>,
    cpu_s: f64,
    behind: (Instant, Behind),
}

/// Gives every series its first sample, before any clock starts.
pub(super) fn preload(engine: &Engine, workload: &Workload, ids: &[SeriesId]) -> Result<(), Error> {
    let at = Timestamp::from_nanos(workload.timestamp_ns(0));
    let samples: Vec<SeriesSample> =
        (0u32..).zip(ids).map(|(series, &id)| SeriesSample::new(id, at, first(series))).collect();
    let mut appender =
        engine.appender_with(BackPressure::Block(PATIENCE)).map_err(Error::engine("making an appender"))?;
    let mut last = None;
    for batch in samples.chunks(1_000) {
        last = Some(appender.push_batch(batch).map_err(Error::engine("pushing"))?);
    }
    let Some(ack) = last else { return Ok(()) };
    engine.wait(ack, Level::Visible, PATIENCE).map(drop).map_err(Error::engine("waiting for samples"))
}

pub(super) fn interleave(
    engine: &Engine,
    workload: &Workload,
    ids: &[SeriesId],
    workers: u32,
    samples: u64,
    pushing: Pushing,
    progress: &Progress,
) -> Result<Interleaved, Error> {
    match pushing.lasting {
        Some(time) => progress.lasting("reading and writing", time),
        None => progress.samples("reading and writing", samples),
    }
    let counts: Vec<AtomicU64> = (0..workers).map(|_| AtomicU64::new(0)).collect();
    let (ready, go) = (Barrier::new(workers as usize + 1), Barrier::new(workers as usize + 1));
    let (mut cpu_before_s, mut start) = (0.0, Instant::now());
    let share = |k: u32| samples * u64::from(k) / u64::from(workers);
    let done = thread::scope(|scope| {
        let run = |k: u32, count| {
            let appender = engine.appender_with(BackPressure::Block(PATIENCE));
            let worker = Worker::new(workload, k, workers);
            let last = worker.own().map(|series| (0, first(series))).collect();
            ready.wait();
            go.wait();
            let appender = appender.map_err(Error::engine("making an appender"))?;
            Run { engine, workload, ids, appender, worker, last, pushing, samples: share(k + 1) - share(k) }.run(count)
        };
        let running: Vec<_> = (0..workers).zip(&counts).map(|(k, c)| scope.spawn(move || run(k, c))).collect();
        ready.wait();
        (cpu_before_s, start) = (cpu_s(), Instant::now());
        go.wait();
        while running.iter().any(|thread| !thread.is_finished()) {
            // Relaxed: only shown.
            let written = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            progress.at(if pushing.lasting.is_some() { start.elapsed().as_millis() as u64 } else { written });
            thread::sleep(Duration::from_millis(20));
        }
        running.into_iter().map(|t| t.join().expect("a worker panicked")).collect::<Result<Vec<_>, _>>()
    })?;
    let (mut reads, mut writes) = (Latency::new(), Latency::new());
    done.iter().for_each(|one| (reads.merge(&one.reads), writes.merge(&one.writes)).1);
    let after = |at: Instant| (at - start).as_secs_f64();
    let visible_s = done.iter().map(|one| after(one.visible)).fold(0.0, f64::max);
    let durable = done.iter().map(|one| one.durable.map(after)).try_fold(0.0, |most, at| Some(f64::max(most, at?)));
    Ok(Interleaved {
        visible_s,
        durable_s: durable,
        cpu_s: done.iter().map(|one| one.cpu_s - cpu_before_s).fold(0.0, f64::max),
        cpu_before_s,
        behind: Behind::at_the_end(done.iter().map(|one| one.behind)),
        mixed: Mixed {
            ops_per_s: (reads.len() + writes.len()) as f64 / visible_s,
            reads_per_s: reads.len() as f64 / visible_s,
            writes_per_s: writes.len() as f64 / visible_s,
            read_us: OperationTimes::of(&reads),
            write_us: OperationTimes::of(&writes),
        },
        written: done.into_iter().map(|one| one.written).collect(),
    })
}

/// One worker at work.
struct Run<'a> {
    engine: &'a Engine,
    workload: &'a Workload,
    ids: &'a [SeriesId],
    appender: Appender,
    worker: Worker,
    /// Tick and value of the last sample of each own series.
    last: Vec<(u64, f64)>,
    pushing: Pushing,
    /// To be written, unless the run ends by time.
    samples: u64,
}

impl Run<'_> {
    fn run(mut self, count: &AtomicU64) -> Result<Done, Error> {
        let Pushing { batch, wait, lasting, durable, .. } = self.pushing;
        let level = if wait { Level::Durable } else { Level::Visible };
        let (mut reads, mut writes) = (Latency::new(), Latency::new());
        let (mut written, mut last) = (0, None);
        let mut samples = Vec::with_capacity(batch);
        let start = Instant::now();
        loop {
            match lasting {
                Some(time) if start.elapsed() >= time => break,
                None if written >= self.samples => break,
                _ => {}
            }
            match self.worker.operation() {
                Operation::Read { series } => reads.record_ns(self.read(series)?),
                Operation::Write => {
                    let left = if lasting.is_some() { u64::MAX } else { self.samples - written };
                    self.make(&mut samples, left.min(batch as u64));
                    let at = Instant::now();
                    let ack = self.appender.push_batch(&samples).map_err(Error::engine("pushing"))?;
                    self.engine.wait(ack, level, PATIENCE).map_err(Error::engine("waiting for samples"))?;
                    writes.record_ns(at.elapsed().as_nanos() as u64);
                    written += samples.len() as u64;
                    last = Some(ack);
                    // Relaxed: only shown.
                    count.store(written, Ordering::Relaxed);
                }
            }
        }
        let (visible, cpu_s) = (Instant::now(), cpu_s());
        let durable = match last {
            Some(ack) if durable => {
                self.engine.wait(ack, Level::Durable, PATIENCE).map_err(Error::engine("waiting for samples"))?;
                Some(Instant::now())
            }
            _ => durable.then_some(visible),
        };
        let behind = (Instant::now(), Behind::of(self.engine));
        Ok(Done { written, reads, writes, visible, durable, cpu_s, behind })
    }

    fn make(&mut self, samples: &mut Vec<SeriesSample>, n: u64) {
        samples.clear();
        for _ in 0..n {
            let (series, tick, value) = self.worker.sample();
            let at = Timestamp::from_nanos(self.workload.timestamp_ns(tick));
            samples.push(SeriesSample::new(self.ids[series as usize], at, value));
            self.last[(series - self.worker.own().start) as usize] = (tick, value);
        }
    }

    /// Reads the last value of a series from a fresh snapshot; answers how long it took.
    fn read(&mut self, series: u32) -> Result<u64, Error> {
        let labels = self.workload.labels(u64::from(series));
        let matchers = ["__name__", "host"].map(|name| equal(name, labels.get(name).unwrap_or_default()));
        let start = Instant::now();
        let selection = Selection::new(&self.engine.snapshot(), &matchers);
        let last = selection.and_then(|s| s.last()).map_err(Error::engine("reading a last value"))?;
        let took = start.elapsed().as_nanos() as u64;
        let [Some(last)] = last.as_slice() else {
            return Err(Error::Wrong(format!("{} has no last value", labels.selector())));
        };
        self.check(series, *last)?;
        Ok(took)
    }

    /// What this worker wrote it must read; of the others' series it knows only that they are there.
    fn check(&self, series: u32, found: Sample) -> Result<(), Error> {
        if !self.worker.own().contains(&series) {
            return Ok(());
        }
        let (tick, value) = self.last[(series - self.worker.own().start) as usize];
        if (found.timestamp.nanos(), found.value) == (self.workload.timestamp_ns(tick), value) {
            return Ok(());
        }
        let labels = self.workload.labels(u64::from(series)).selector();
        Err(Error::Wrong(format!("the last value of {labels} is {}, but {value} was written and visible", found.value)))
    }
}
