//! The concurrency table: what so many workers read and write a second, and how long each operation takes.
//!
//! All cells of the table work on one engine, one after the other, each mode in some rounds. Before each cell what was
//! written lies in segments, and nothing is flushed or compacted. All of it is read back at the end and compared with what
//! the same choices come to when they are made a second time.

mod cell;
mod mode;
mod operations;
mod rounds;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tidegauge::{Engine, SeriesId};

use crate::checksum::Checksum;
use crate::cli::{APPENDERS_MAX, Concurrency as Options};
use crate::error::Error;
use crate::measure::{Machine, TickClock};
use crate::progress::Progress;
use crate::report::OperationTimes;
use crate::run::folder::Folder;
use crate::run::readback::read_back;
use crate::workload::{Kind, Workload};

use cell::{Cell, CellResult, Place, Ticks};
use operations::{Operations, value_of};

pub use mode::Mode;
pub use rounds::Figures;

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
    /// How long each cell lasted, in each round.
    pub for_s: f64,
    /// How often each cell was measured: what is told are medians.
    pub rounds: u32,
    /// Series there were.
    pub series: u32,
    /// The cells, mode by mode.
    pub cells: Vec<Figures>,
    /// Whether every read was right, and all that was written is there, count and checksum.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
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
    // As in a run: nothing becomes an archive while workers work.
    let builder = Engine::builder(folder.path().join("data")).durability(options.durability).cold_after(Duration::MAX);
    let engine = builder.max_appenders(most + 16).open().map_err(Error::engine("opening the engine"))?;
    progress.step("registering series");
    let ids = register(&engine, &workload)?;
    rounds::push_each(&engine, &workload, &ids, 0)?;
    let modes = if options.mode.is_empty() { Mode::ALL.to_vec() } else { options.mode.clone() };
    let hashes: Vec<_> = (0..SERIES).map(|series| workload.labels(u64::from(series)).hash()).collect();
    let mut expected = Checksum::default();
    let mut see = |series: u32, tick: u64| {
        expected.add(hashes[series as usize], workload.timestamp_ns(tick), value_of(series, tick));
    };
    (0..SERIES).for_each(|series| see(series, 0));
    let (mut cells, mut number) = (Vec::new(), 0);
    let clock = TickClock::new();
    let ticks = Ticks::from(1);
    for mode in modes {
        let mut results: Vec<Vec<CellResult>> = options.workers.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for nth in rounds::order(round, options.workers.len()) {
                let workers = options.workers[nth];
                progress.step(format!("{mode}, {workers} workers, round {} of {}", round + 1, options.rounds));
                // What is read lies in memory, but where the mode says otherwise.
                let tick = (mode != Mode::ReadFlushed).then(|| ticks.take(1));
                rounds::begin_alike(&engine, &workload, &ids, tick)?;
                if let Some(tick) = tick {
                    (0..SERIES).for_each(|series| see(series, tick));
                }
                let place = Place { mode, workers, number, seed: options.seed };
                number += 1;
                let cell =
                    Cell { engine: &engine, workload: &workload, ids: &ids, clock: &clock, ticks: &ticks, place };
                let mut result = cell.run(options.lasting)?;
                for (k, firsts) in (0u32..).zip(std::mem::take(&mut result.written)) {
                    let all = firsts.into_iter().flat_map(|first| first..first + mode.samples_of_a_write());
                    Operations::new(place, k).replay(all, &mut see);
                }
                results[nth].push(result);
            }
        }
        let told = options.workers.iter().zip(&results).map(|(&workers, of)| Figures::of(mode, workers, of));
        cells.extend(told);
    }
    progress.step("reading everything back");
    let (found, series) = read_back(&engine)?;
    engine.close().map_err(Error::engine("closing the engine"))?;
    Ok(Concurrency {
        verb: "concurrency",
        durability: options.durability.to_string(),
        seed: options.seed,
        for_s: options.lasting.as_secs_f64(),
        rounds: options.rounds,
        series: SERIES,
        cells,
        verified: found == expected && series == u64::from(SERIES),
        machine,
    })
}

/// Registers all series.
fn register(engine: &Engine, workload: &Workload) -> Result<Vec<SeriesId>, Error> {
    let id = |series: u32| {
        let labels = workload.labels(u64::from(series));
        engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))
    };
    (0..SERIES).map(id).collect()
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
        writeln!(
            f,
            "{} series, {}, medians of {} rounds of {:.1} s; {}",
            self.series, self.durability, self.rounds, self.for_s, self.machine
        )?;
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
