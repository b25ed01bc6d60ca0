//! What pushing loses to questions that are asked all the while: pairs of runs, one alone and one beside them.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegauge::Engine;

use super::asker::{Asker, Known};
use super::load::{Load, Phase, Source};
use crate::cli::Beside as Options;
use crate::error::Error;
use crate::measure::{Machine, Preempted, Quantiles, TickClock};
use crate::progress::Progress;
use crate::roofs::median;
use crate::run::folder::Folder;
use crate::run::readback::read_back;
use crate::run::recount::{Pushed, Recount};

/// Samples that are prepared, and there before the first pair: seven hours.
const PREPARED: u64 = 4_000 * 2_520;

/// One reader has each question of so many be everything, which takes some ten times as long as another: of its time a
/// good part.
const SCANNED_ONE_IN: u64 = 8;

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    /// `beside`.
    pub verb: &'static str,
    /// The workload's name.
    pub workload: String,
    /// `memory`, `interval:…` or `sync`.
    pub durability: String,
    /// Samples of one push call.
    pub batch: u32,
    /// What everything random followed from.
    pub seed: u64,
    /// Samples a second that were due; `None`: as fast as the engine takes them.
    pub rate: Option<u64>,
    /// How long each of the two of a pair was to last.
    pub for_s: f64,
    /// Samples pushed, those that were there before the first pair included.
    pub samples: u64,
    /// Threads that asked.
    pub readers: u32,
    /// Each with pushes alone and pushes beside questions.
    pub pairs: Vec<Pair>,
    /// Samples a second beside questions over samples a second alone: the median of all pairs.
    pub ratio: f64,
    /// The 99.9 % of push calls beside questions over that alone: the median of all pairs.
    pub push_p999_ratio: f64,
    /// Questions a second: the median of all pairs.
    pub questions_per_s: f64,
    /// Whether every answer was right, and all that was pushed is there, count and checksum.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
}

/// One pair of runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// Nobody asked.
    pub alone: Half,
    /// Questions all the while.
    pub beside: Half,
}

/// One of the two.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Half {
    /// Until visible; at a rate no more than that, for each batch has its time until the next one is due.
    pub samples_per_s: f64,
    /// Push calls of `batch` samples; from when they were due, at a rate.
    pub push_ns: Quantiles,
    /// What was taken from the thread that pushes: its share of the longest times.
    pub push_preempted: Preempted,
    /// Questions answered a second.
    pub questions_per_s: f64,
}

/// Measures the pairs.
///
/// # Errors
/// [`Error`]; a wrong answer is [`Error::Wrong`].
pub fn measure(options: &Options, progress: &Progress) -> Result<Beside, Error> {
    if options.pairs == 0 || options.batch == 0 || options.readers == 0 {
        return Err(Error::Usage("--pairs, --batch and --readers must be at least 1".into()));
    }
    let folder = Folder::new(options.data_dir.as_deref())?;
    let machine = Machine::with(folder.path());
    let builder = Engine::builder(folder.path().join("data")).durability(options.durability);
    let lane = (1 << 16).max(options.batch as usize * 2);
    let engine = builder.lane_samples(lane).open().map_err(Error::engine("opening the engine"))?;
    progress.step("generating samples");
    let samples = options.samples.unwrap_or(PREPARED);
    let source = Source::new(&engine, options.workload, options.seed, samples, options.batch)?;
    let known = Known::new(&source.workload, &source.part, &source.ids);
    let clock = TickClock::new();
    let mut load = Load::new(&engine, &clock, &source, options.batch)?;
    // Something to ask about.
    load.flat_out(|pushed| pushed >= source.part.cells_per_pass())?;
    let questions = AtomicU64::new(0);
    let mut pairs = Vec::new();
    for n in 0..options.pairs {
        progress.step(format!("pair {} of {}", n + 1, options.pairs));
        let mut alone = || half(&mut load, options, &questions, 0, |_| Ok(()));
        let is_scanned = AtomicBool::new(false);
        let asking = |over: &AtomicBool| {
            let mut asker = Asker::new(&engine, &source.workload, &known);
            // Relaxed, here and below: nothing is read on the strength of these. Whoever comes first scans.
            let scans = !is_scanned.swap(true, Ordering::Relaxed);
            for n in 0u64.. {
                // Even the shortest half has a scan.
                if n > 0 && over.load(Ordering::Relaxed) {
                    break;
                }
                if scans && n.is_multiple_of(SCANNED_ONE_IN) {
                    asker.everything()?
                } else {
                    asker.ask()?
                }
                questions.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        // Which comes first alternates: what the machine does in the meantime meets both.
        let (alone, beside) = if n.is_multiple_of(2) {
            let alone = alone()?;
            (alone, half(&mut load, options, &questions, options.readers, asking)?)
        } else {
            let beside = half(&mut load, options, &questions, options.readers, asking)?;
            (half(&mut load, options, &questions, 0, |_| Ok(()))?, beside)
        };
        pairs.push(Pair { alone, beside });
    }
    progress.step("counting apart");
    let pushed = Pushed { part: source.part.clone(), samples: load.pushed };
    let recount = Recount::of(&source.workload, std::slice::from_ref(&pushed));
    drop(load);
    progress.step("reading everything back");
    let (found, series) = read_back(&engine)?;
    engine.close().map_err(Error::engine("closing the engine"))?;
    let of = |figure: fn(&Pair) -> f64| median(pairs.iter().map(figure).collect());
    Ok(Beside {
        verb: "beside",
        workload: options.workload.to_string(),
        durability: options.durability.to_string(),
        batch: options.batch,
        seed: options.seed,
        rate: options.rate,
        for_s: options.lasting.as_secs_f64(),
        samples: pushed.samples,
        readers: options.readers,
        ratio: of(|pair| pair.beside.samples_per_s / pair.alone.samples_per_s),
        push_p999_ratio: of(|pair| pair.beside.push_ns.p999 / pair.alone.push_ns.p999),
        questions_per_s: of(|pair| pair.beside.questions_per_s),
        pairs,
        verified: found == recount.checksum && series == recount.series,
        machine,
    })
}

/// Pushes for a while, with `readers` threads that ask.
fn half(
    load: &mut Load<'_>,
    options: &Options,
    questions: &AtomicU64,
    readers: u32,
    ask: impl Fn(&AtomicBool) -> Result<(), Error> + Sync,
) -> Result<Half, Error> {
    let over = AtomicBool::new(false);
    let before = questions.load(Ordering::Relaxed);
    let (phase, pushed_in, lasted) = thread::scope(|scope| {
        let running: Vec<_> = (0..readers).map(|_| scope.spawn(|| ask(&over))).collect();
        let start = Instant::now();
        let phase = match options.rate {
            // By what was due: what an engine that stood still has not taken by the end is late, and not left out.
            Some(rate) => {
                let since = (start, load.pushed);
                let phase = load.at_a_rate(rate, since, |due| due >= start + options.lasting);
                // The last batch is pushed when it is due, and what was asked for lasts longer: until the next one is.
                thread::sleep((start + options.lasting).saturating_duration_since(Instant::now()));
                phase.map(|phase| (phase.elapsed.max(load.next_due(rate, since) - start), phase))
            }
            None => load.flat_out(|_| start.elapsed() >= options.lasting).map(|phase| (phase.elapsed, phase)),
        };
        let lasted = start.elapsed();
        over.store(true, Ordering::Relaxed);
        for reader in running {
            reader.join().expect("a reader panicked")?;
        }
        phase.map(|(pushed_in, phase)| (phase, pushed_in, lasted))
    })?;
    let Phase { samples, push, preempted: push_preempted, .. } = phase;
    let push_ns = push.quantiles().ok_or_else(|| Error::Usage("--for is too short for a single push".into()))?;
    let per_s = |n: u64, time: Duration| n as f64 / time.as_secs_f64();
    let answered = questions.load(Ordering::Relaxed) - before;
    let (samples_per_s, questions_per_s) = (per_s(samples, pushed_in), per_s(answered, lasted));
    Ok(Half { samples_per_s, push_ns, push_preempted, questions_per_s })
}

impl Beside {
    /// All figures as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and their names always make JSON")
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (workload, durability, batch, readers) = (&self.workload, &self.durability, self.batch, self.readers);
        writeln!(f, "{workload}, {durability}, batches of {batch}, {readers} reader(s); {}", self.machine)?;
        for Pair { alone, beside } in &self.pairs {
            writeln!(
                f,
                "  alone {:>6.2} M/s, p99.9 {:>9.1} µs    beside {:>6.2} M/s, p99.9 {:>9.1} µs, {:>7.0} questions/s",
                alone.samples_per_s / 1e6,
                alone.push_ns.p999 / 1e3,
                beside.samples_per_s / 1e6,
                beside.push_ns.p999 / 1e3,
                beside.questions_per_s
            )?;
        }
        let taken = |of: fn(&Pair) -> Preempted| {
            self.pairs.iter().map(of).fold(Preempted::default(), |mut all, one| {
                all.add(one);
                all
            })
        };
        for (what, taken) in
            [("alone", taken(|p| p.alone.push_preempted)), ("beside", taken(|p| p.beside.push_preempted))]
        {
            let Preempted { times, queued_s } = taken;
            writeln!(f, "  processor taken from the pushes {what}: {times} times, {:.1} ms queued", queued_s * 1e3)?;
        }
        writeln!(f, "  medians: throughput × {:.2}, p99.9 × {:.2}", self.ratio, self.push_p999_ratio)?;
        write!(f, "  verified {}", if self.verified { "yes" } else { "NO" })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn at_a_low_rate_a_half_lasts_as_long_as_it_is_told_and_no_more_comes_in_than_is_due() {
        // Two batches and one: the last of them is pushed long before the end, or is all that is due in a quarter of an hour.
        for (rate, batch, lasting) in [(1_000, 10, 15), (1, 1_000, 20), (100, 1, 25)] {
            let line = format!("b beside --samples 8000 --rate {rate} --batch {batch} --for {lasting}ms");
            let Command::Beside(options) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
            let engine = Engine::in_memory().unwrap();
            let source = Source::new(&engine, options.workload, 1, 8_000, batch).unwrap();
            let clock = TickClock::new();
            let mut load = Load::new(&engine, &clock, &source, batch).unwrap();
            let start = Instant::now();
            let half = half(&mut load, &options, &AtomicU64::new(0), 0, |_| Ok(())).unwrap();
            assert!(start.elapsed() >= options.lasting, "{line}: {half:?}");
            assert!(half.samples_per_s <= rate as f64 * (1.0 + 1e-9), "{line}: {half:?}");
        }
    }
}
