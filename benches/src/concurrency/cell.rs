//! One cell of the table: workers that do the same at the same time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Appender, BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp};

use super::PATIENCE;
use super::mode::Mode;
use super::operations::{Operation, Operations, value_of};
use crate::error::Error;
use crate::measure::{Latency, TickClock};
use crate::workload::Workload;

/// Of reads, some of which take less than two readings of a clock, one in this many is timed. Odd: what is met at each
/// 2ⁿ-th read is met by those that are timed as often as by the others.
const TIMED_ONE_IN: u64 = 7;
/// Ticks that a worker has room for from the start, so that hardly a write finds none.
const WRITES_AT_FIRST: usize = 1 << 20;

/// Which cell of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) mode: Mode,
    pub(super) workers: u32,
    /// Cells before it, each round's counted.
    pub(super) number: u64,
    pub(super) seed: u64,
}

/// What the workers work on.
pub(super) struct Cell<'a> {
    pub(super) engine: &'a Engine,
    pub(super) workload: &'a Workload,
    pub(super) ids: &'a [SeriesId],
    pub(super) clock: &'a TickClock,
    /// The tick of the next sample. All workers take theirs from here: with counters of their own, whoever the scheduler
    /// holds up would write samples that are late behind those of the others.
    pub(super) ticks: &'a Ticks,
    pub(super) place: Place,
}

/// Hands out ticks, each once. Alone on its cache lines.
#[repr(align(128))]
pub(super) struct Ticks(AtomicU64);

impl Ticks {
    pub(super) fn from(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// The first of `n` ticks that nobody else gets. Relaxed: nothing else is handed over.
    pub(super) fn take(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed)
    }
}

/// What came of it.
pub(super) struct CellResult {
    pub(super) reads: Latency,
    pub(super) writes: Latency,
    pub(super) ops_per_s: f64,
    /// The ticks at which each worker wrote, by the first of each write.
    pub(super) written: Vec<Vec<u64>>,
}

impl Cell<'_> {
    /// Lets all workers work for so long.
    pub(super) fn run(&self, time: Duration) -> Result<CellResult, Error> {
        let workers = self.place.workers;
        let stop = AtomicBool::new(false);
        let everyone = workers as usize + 1;
        let (ready, go) = (Barrier::new(everyone), Barrier::new(everyone));
        let (done, start) = thread::scope(|scope| {
            let (stop, ready, go) = (&stop, &ready, &go);
            let run = move |k: u32| {
                let worker = Worker::new(self, k);
                ready.wait();
                go.wait();
                worker?.run(stop)
            };
            let running: Vec<_> = (0..workers).map(|k| scope.spawn(move || run(k))).collect();
            ready.wait();
            // Read before anybody is let go: workers that wake before this thread would work in no time at all.
            let start = Instant::now();
            go.wait();
            thread::sleep(time);
            // Relaxed: a worker that sees it later does an operation more.
            stop.store(true, Ordering::Relaxed);
            let done = running.into_iter().map(|t| t.join().expect("a worker panicked"));
            done.collect::<Result<Vec<_>, Error>>().map(|done| (done, start))
        })?;
        let elapsed = start.elapsed();
        let (mut reads, mut writes) = (Latency::new(), Latency::new());
        for one in &done {
            reads.merge(&one.reads);
            writes.merge(&one.writes);
        }
        let operations: u64 = done.iter().map(|one| one.operations).sum();
        let ops_per_s = operations as f64 / elapsed.as_secs_f64();
        Ok(CellResult { reads, writes, ops_per_s, written: done.into_iter().map(|one| one.written).collect() })
    }
}

/// One thread at work, and what it did.
struct Worker<'a> {
    cell: &'a Cell<'a>,
    operations: Operations,
    appender: Appender,
    /// Tick of the last sample of each series that this worker alone writes; empty where others write too.
    last: Vec<u64>,
    batch: Vec<SeriesSample>,
}

struct Done {
    reads: Latency,
    writes: Latency,
    operations: u64,
    written: Vec<u64>,
}

impl<'a> Worker<'a> {
    fn new(cell: &'a Cell<'a>, index: u32) -> Result<Self, Error> {
        let operations = Operations::new(cell.place, index);
        let appender = cell.engine.appender_with(BackPressure::Block(PATIENCE));
        let last = if operations.is_alone() { vec![0; cell.ids.len()] } else { Vec::new() };
        let appender = appender.map_err(Error::engine("making an appender"))?;
        Ok(Self { cell, operations, appender, last, batch: Vec::new() })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Done, Error> {
        let mode = self.cell.place.mode;
        let clock = self.cell.clock;
        let mut done = Done {
            reads: Latency::new(),
            writes: Latency::new(),
            operations: 0,
            written: Vec::with_capacity(WRITES_AT_FIRST),
        };
        let mut reads = 0u64;
        // Relaxed: nothing is read on the strength of it.
        while !stop.load(Ordering::Relaxed) {
            match self.operations.next() {
                Operation::Read(series) => {
                    reads += 1;
                    if reads.is_multiple_of(TIMED_ONE_IN) {
                        let start = clock.ticks();
                        self.read(series)?;
                        done.reads.record_ns(clock.between_ns(start, clock.ticks()));
                    } else {
                        self.read(series)?;
                    }
                    done.operations += 1;
                }
                Operation::Write => {
                    let samples = mode.samples_of_a_write();
                    done.written.push(self.make(samples));
                    let start = clock.ticks();
                    self.write()?;
                    done.writes.record_ns(clock.between_ns(start, clock.ticks()));
                    done.operations += samples;
                }
            }
        }
        Ok(done)
    }

    /// Makes the next batch, and gives the first of its ticks.
    fn make(&mut self, samples: u64) -> u64 {
        self.batch.clear();
        let first = self.cell.ticks.take(samples);
        for tick in first..first + samples {
            let series = self.operations.target();
            let at = Timestamp::from_nanos(self.cell.workload.timestamp_ns(tick));
            self.batch.push(SeriesSample::new(self.cell.ids[series as usize], at, value_of(series, tick)));
            if let Some(last) = self.last.get_mut(series as usize) {
                *last = tick;
            }
        }
        first
    }

    fn write(&mut self) -> Result<(), Error> {
        let pushed = match self.batch.as_slice() {
            [one] => self.appender.push(one.series(), one.timestamp(), one.value()),
            many => self.appender.push_batch(many),
        };
        let ack = pushed.map_err(Error::engine("pushing"))?;
        let waited = self.cell.engine.wait(ack, Level::Visible, PATIENCE);
        waited.map(drop).map_err(Error::engine("waiting for samples"))
    }

    #[inline]
    fn read(&self, series: u32) -> Result<(), Error> {
        let (at, value) = match self.cell.place.mode {
            Mode::ReadSnapshotLabels => self.by_labels(series)?,
            Mode::ReadSnapshot | Mode::MixedSnapshot => {
                let last = self.cell.engine.snapshot().last(self.cell.ids[series as usize]);
                let last = last.map_err(Error::engine("reading a last value"))?;
                last.map_or((i64::MIN, f64::NAN), |last| (last.timestamp.nanos(), last.value))
            }
            _ => {
                let last = self.cell.engine.last(self.cell.ids[series as usize]);
                let last = last.map_err(Error::engine("reading a last value"))?;
                last.map_or((i64::MIN, f64::NAN), |last| (last.timestamp.nanos(), last.value))
            }
        };
        let tick = (at - self.cell.workload.timestamp_ns(0)) / self.cell.workload.interval_ns();
        let right = at >= self.cell.workload.timestamp_ns(0)
            && value == value_of(series, tick as u64)
            // What this worker wrote, it must read.
            && self.own_tick(series).is_none_or(|own| own == 0 || own == tick as u64);
        if right { Ok(()) } else { Err(self.wrong(series, at, value)) }
    }

    /// The tick that this worker wrote last, where nobody else writes; 0: not in this cell.
    fn own_tick(&self, series: u32) -> Option<u64> {
        self.last.get(series as usize).copied()
    }

    fn by_labels(&self, series: u32) -> Result<(i64, f64), Error> {
        let labels = self.cell.workload.labels(u64::from(series));
        let last =
            self.cell.engine.snapshot().last_of(&labels.borrowed()).map_err(Error::engine("reading a last value"))?;
        match last {
            Some(last) => Ok((last.timestamp.nanos(), last.value)),
            None => Err(self.wrong(series, i64::MIN, f64::NAN)),
        }
    }

    #[cold]
    fn wrong(&self, series: u32, at: i64, value: f64) -> Error {
        let labels = self.cell.workload.labels(u64::from(series)).selector();
        Error::Wrong(format!("the last value of {labels} is said to be {value} at {at} ns"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_are_timed_meet_each_place_of_what_comes_at_a_power_of_two_of_reads() {
        let places: std::collections::HashSet<u64> = (1..=64).map(|n| n * TIMED_ONE_IN % 64).collect();
        assert_eq!(places.len(), 64);
    }
}
