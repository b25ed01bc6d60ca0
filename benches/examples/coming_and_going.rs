//! What series that come and go leave in memory, with and without evictions, and who waits meanwhile.
//!
//! ```console
//! $ cargo run --release -p tidegauge-bench --example coming_and_going [-- SERIES GENERATIONS]
//! ```
//!
//! Each generation is so many new series of ten samples, flushed; then nothing but one series is pushed to for some
//! seconds. Its samples are waited for one at a time, so that a worker that is busy with something else shows. Memory is
//! read at the end of that, in both ways at the same moments: a process of its own for each way, no compaction.
//! `anonymous` is without what is mapped of segments, which the system may take back. At the end everything is counted.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tempfile::tempdir;
use tidegauge::{Appender, BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp};
use tidegauge_bench::measure::Memory;

const SAMPLES: i64 = 10;
const TICK_NS: i64 = 10_000_000_000;
const START_NS: i64 = 946_684_800_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// After how long a series leaves, at least.
const IDLE: Duration = Duration::from_secs(1);
/// Between two samples of the one series that goes on.
const PAUSE: Duration = Duration::from_millis(1);

/// Longer than it takes to make a generation and push it.
fn idle(series: u64) -> Duration {
    IDLE.max(Duration::from_micros(10 * series))
}

/// How long a generation is left alone: long enough to be found idle and let go.
fn rest(series: u64) -> Duration {
    3 * idle(series) + Duration::from_micros(5 * series)
}

fn at(generation: u64, tick: i64) -> Timestamp {
    Timestamp::from_nanos(START_NS + (generation as i64 * SAMPLES + tick) * TICK_NS)
}

struct Store {
    engine: Engine,
    appender: Appender,
    clock: SeriesId,
    ticks: i64,
}

/// What a generation left.
struct Left {
    in_memory: u64,
    rss: u64,
    anonymous: u64,
    /// Of the samples that were waited for meanwhile: the median and the longest.
    waited: [Duration; 2],
}

impl Store {
    fn fill(&mut self, generation: u64, series: u64) -> Result<(), Box<dyn Error>> {
        let mut ids = Vec::with_capacity(series as usize);
        let release = generation.to_string();
        for n in 0..series {
            let (pod, namespace) = (format!("{generation}-{}", n / 10), format!("team-{}", n % 1_000 / 10));
            let container = (n % 10).to_string();
            let name = ("__name__", "container_memory_bytes");
            let release = ("release", &*release);
            let labels = [name, release, ("namespace", &namespace), ("pod", &pod), ("container", &container)];
            ids.push(self.engine.series(&labels)?);
        }
        let mut last = None;
        for tick in 0..SAMPLES {
            for some in ids.chunks(1_000) {
                let sample = |id: &SeriesId| SeriesSample::new(*id, at(generation, tick), tick as f64);
                last = Some(self.appender.push_batch(&some.iter().map(sample).collect::<Vec<_>>())?);
            }
        }
        self.engine.wait(last.ok_or("nothing to push")?, Level::Visible, PATIENCE)?;
        Ok(self.engine.flush()?)
    }

    /// Lets everything but the clock rest.
    fn rest(&mut self, time: Duration) -> Result<Left, Box<dyn Error>> {
        let (until, mut waited) = (Instant::now() + time, Vec::new());
        while Instant::now() < until {
            self.ticks += 1;
            let began = Instant::now();
            let ack = self.appender.push(self.clock, at(0, self.ticks), 0.0)?;
            self.engine.wait(ack, Level::Visible, PATIENCE)?;
            waited.push(began.elapsed());
            std::thread::sleep(PAUSE);
        }
        waited.sort_unstable();
        let waited = [waited[waited.len() / 2], waited[waited.len() - 1]];
        let Memory { rss, anonymous, .. } = Memory::now();
        Ok(Left { in_memory: self.engine.stats().series, rss, anonymous, waited })
    }
}

/// One way, in this process.
fn run(series: u64, generations: u64, idle: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let dir = tempdir()?;
    let engine = Engine::builder(dir.path()).background_compaction(false).series_idle(idle).open()?;
    let appender = engine.appender_with(BackPressure::Block(PATIENCE))?;
    let clock = engine.series(&[("__name__", "clock")])?;
    let mut store = Store { engine, appender, clock, ticks: 0 };
    store.rest(IDLE / 4)?;
    for generation in 0..generations {
        store.fill(generation, series)?;
        let Left { in_memory, rss, anonymous, waited: [median, longest] } = store.rest(rest(series))?;
        println!("{in_memory} {rss} {anonymous} {} {}", median.as_micros(), longest.as_micros());
    }
    let stats = store.engine.stats();
    let evicted_at_least = if idle.is_some() { series * generations } else { 0 };
    if stats.series_evicted < evicted_at_least || (idle.is_none() && stats.series_evicted > 0) {
        return Err(format!("{} series were evicted, not {evicted_at_least}", stats.series_evicted).into());
    }
    eprintln!("{} evicted in {:.2} s", stats.series_evicted, stats.eviction_nanos as f64 / 1e9);
    let (mut found, mut samples) = (0, 0);
    for generation in 0..generations {
        let selector = format!("container_memory_bytes{{release=\"{generation}\"}}");
        for series in store.engine.snapshot().select(&selector)?.iter() {
            found += 1;
            samples += series.read()?.timestamps.len() as u64;
        }
    }
    if (found, samples) != (series * generations, series * generations * SAMPLES as u64) {
        return Err(format!("{found} series of {samples} samples are stored").into());
    }
    Ok(store.engine.close()?)
}

/// One way, in a process of its own: the lines that it printed.
fn run_apart(series: u64, generations: u64, way: &str) -> Result<Vec<Vec<u64>>, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([&series.to_string(), &generations.to_string(), way]).output()?;
    eprint!("{way}: {}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("the run with evictions {way} failed").into());
    }
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(|line| line.split(' ').map(str::parse).collect()).collect::<Result<_, _>>()?)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (series, generations) = (number(0, 100_000)?, number(1, 20)?);
    match args.get(2).map(String::as_str) {
        None => {}
        Some(way) => {
            run(series, generations, (way == "on").then_some(idle(series)))?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (off, on) = (run_apart(series, generations, "off")?, run_apart(series, generations, "on")?);
    println!(
        "| series so far | in memory, off | RSS | anonymous | in memory, on | RSS | anonymous | waited, off: median, longest | on |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / 1024.0 / 1024.0);
    let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
    for (n, (off, on)) in off.iter().zip(&on).enumerate() {
        let way = |of: &[u64]| format!("{} | {} | {}", of[0], mib(of[1]), mib(of[2]));
        let waited = |of: &[u64]| format!("{}, {} ms", ms(of[3]), ms(of[4]));
        println!("| {} | {} | {} | {} | {} |", (n as u64 + 1) * series, way(off), way(on), waited(off), waited(on));
    }
    Ok(ExitCode::SUCCESS)
}
