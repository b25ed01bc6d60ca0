//! The concurrency table: what so many workers read and write a second, and how long each operation takes.
//!
//! All cells of the table work on one engine, one after the other. What they wrote is read back at the end and
//! compared with what the same choices come to when they are made a second time.

mod cell;
mod mode;
mod operations;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tidegauge::{BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp};

use crate::checksum::Checksum;
use crate::cli::{APPENDERS_MAX, Concurrency as Options};
use crate::error::Error;
use crate::measure::{Machine, TickClock};
use crate::progress::Progress;
use crate::report::OperationTimes;
use crate::run::folder::Folder;
use crate::run::readback::read_back;
use crate::workload::{Kind, Workload};

use cell::{Cell, Place};
use operations::{Operations, value_of};

pub use mode::Mode;

/// Series that there are before the first cell, each with one sample.
pub const SERIES: u32 = crate::workload::mixed::SERIES;

const PATIENCE: Duration = Duration::from_secs(120);

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Concurrency {
    /// `concurrency`.
    pub verb: &'static str,
    /// `memory`, `interval:…` or `sync`.
    pub durability: String,
    /// What everything random followed from.
    pub seed: u64,
    /// How long each cell lasted.
    pub for_s: f64,
    /// Series there were.
    pub series: u32,
    /// The cells, mode by mode.
    pub cells: Vec<Figures>,
    /// Whether every read was right, and all that was written is there, count and checksum.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
}

/// One cell: so many workers in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What the workers did.
    pub mode: Mode,
    /// Threads.
    pub workers: u32,
    /// Reads and writes a second of all workers. A batch is as many writes as it has samples.
    pub ops_per_s: f64,
    /// Times of a read, in microseconds.
    pub read_us: Option<OperationTimes>,
    /// Times of a write (or of a batch) until it was visible, in microseconds.
    pub write_us: Option<OperationTimes>,
    /// The whole distribution of a read, as (share of all, nanoseconds), rising; empty where nothing was read.
    pub read_curve_ns: Vec<[f64; 2]>,
    /// The same of a write.
    pub write_curve_ns: Vec<[f64; 2]>,
    /// The published figure to beat.
    pub published_ops_per_s: Option<f64>,
    /// Ours over it.
    pub ratio: Option<f64>,
}

/// Runs the table.
///
/// # Errors
/// [`Error`]; a wrong answer of a read is [`Error::Wrong`], wrong sums are told in [`Concurrency::verified`].
pub fn measure(options: &Options, progress: &Progress) -> Result<Concurrency, Error> {
    if options.workers.is_empty() || options.workers.iter().any(|&n| !(1..=APPENDERS_MAX).contains(&i64::from(n))) {
        return Err(Error::Usage(format!("--workers needs numbers from 1 to {APPENDERS_MAX}, such as 1,5,10,20")));
    }
    let folder = Folder::new(options.data_dir.as_deref())?;
    let machine = Machine::with(folder.path());
    let workload = Workload::new(Kind::Mixed, options.seed, None)?;
    let most = options.workers.iter().copied().max().unwrap_or(1) as usize;
    let builder = Engine::builder(folder.path().join("data")).durability(options.durability);
    let engine = builder.max_appenders(most + 16).open().map_err(Error::engine("opening the engine"))?;
    progress.step("registering series");
    let ids = preload(&engine, &workload)?;
    let modes = if options.mode.is_empty() { Mode::ALL.to_vec() } else { options.mode.clone() };
    let (mut cells, mut done) = (Vec::new(), Vec::new());
    let clock = TickClock::new();
    let mut next_tick = 1;
    for mode in modes {
        if mode == Mode::ReadFlushed {
            engine.flush().map_err(Error::engine("flushing"))?;
        }
        for &workers in &options.workers {
            progress.step(format!("{mode}, {workers} workers"));
            let place = Place { mode, workers, number: cells.len() as u64, first_tick: next_tick, seed: options.seed };
            let cell = Cell { engine: &engine, workload: &workload, ids: &ids, clock: &clock, place };
            let result = cell.run(options.lasting)?;
            cells.push(result.figures(mode, workers));
            next_tick = place.end_tick(&result.written);
            done.push((place, result.written));
        }
    }
    progress.step("counting apart");
    let mut expected = Checksum::default();
    let hashes: Vec<_> = (0..SERIES).map(|series| workload.labels(u64::from(series)).hash()).collect();
    let mut see = |series: u32, tick: u64| {
        expected.add(hashes[series as usize], workload.timestamp_ns(tick), value_of(series, tick));
    };
    (0..SERIES).for_each(|series| see(series, 0));
    for (place, written) in &done {
        (0u32..).zip(written).for_each(|(k, &n)| Operations::new(*place, k).replay(n, &mut see));
    }
    progress.step("reading everything back");
    let (found, series) = read_back(&engine)?;
    engine.close().map_err(Error::engine("closing the engine"))?;
    Ok(Concurrency {
        verb: "concurrency",
        durability: options.durability.to_string(),
        seed: options.seed,
        for_s: options.lasting.as_secs_f64(),
        series: SERIES,
        cells,
        verified: found == expected && series == u64::from(SERIES),
        machine,
    })
}

/// Registers all series and gives each its sample at tick 0.
fn preload(engine: &Engine, workload: &Workload) -> Result<Vec<SeriesId>, Error> {
    let id = |series: u32| {
        let labels = workload.labels(u64::from(series));
        engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))
    };
    let ids: Vec<SeriesId> = (0..SERIES).map(id).collect::<Result<_, _>>()?;
    let at = Timestamp::from_nanos(workload.timestamp_ns(0));
    let sample = |(series, &id)| SeriesSample::new(id, at, value_of(series, 0));
    let samples: Vec<SeriesSample> = (0u32..).zip(&ids).map(sample).collect();
    let pressure = BackPressure::Block(PATIENCE);
    let mut appender = engine.appender_with(pressure).map_err(Error::engine("making an appender"))?;
    for batch in samples.chunks(1_000) {
        let ack = appender.push_batch(batch).map_err(Error::engine("pushing"))?;
        engine.wait(ack, Level::Visible, PATIENCE).map_err(Error::engine("waiting for samples"))?;
    }
    Ok(ids)
}

impl Concurrency {
    /// All figures as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and their names always make JSON")
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} series, {}, {:.1} s each; {}", self.series, self.durability, self.for_s, self.machine)?;
        writeln!(
            f,
            "{:<20} {:>7} {:>12}  {:<30} {:<30} {:>10} {:>7}",
            "mode", "workers", "ops/s", "read p50/p95/p99 µs", "write p50/p95/p99 µs", "published", "ratio"
        )?;
        let times = |times: &Option<OperationTimes>| {
            times.map_or(String::new(), |t| format!("{:.2} / {:.2} / {:.2}", t.p50, t.p95, t.p99))
        };
        for cell in &self.cells {
            let published = cell.published_ops_per_s.map_or(String::new(), |n| format!("{n:.0}"));
            let ratio = cell.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "{:<20} {:>7} {:>12.0}  {:<30} {:<30} {published:>10} {ratio:>7}",
                cell.mode.to_string(),
                cell.workers,
                cell.ops_per_s,
                times(&cell.read_us),
                times(&cell.write_us)
            )?;
        }
        write!(f, "verified       {}", if self.verified { "yes" } else { "NO" })
    }
}
