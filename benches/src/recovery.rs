//! How long an engine takes to come back after it was killed under load.
//!
//! A child process pushes as fast as it can and tells what it saw to be visible, until it is
//! killed. Then this process opens the store. What comes back must be the first so many
//! samples that were pushed, at least those that were visible, count and checksum.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegauge::{Ack, BackPressure, Durability, Engine, Level, SeriesId};

use crate::cli::Recovery as Options;
use crate::error::Error;
use crate::leftovers::{Victim, this_program};
use crate::measure::{Machine, Memory, cpu_s};
use crate::progress::Progress;
use crate::run::recount::{Pushed, Recount};
use crate::run::{folder::Folder, readback::read_back};
use crate::workload::{Feed, Input, Kind, Part, Workload};

/// How long the victim waits for room or visibility before something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);
/// It tells how far it is after so many blocks of some thousand samples.
const TELL_EVERY: u64 = 16;

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Recovery {
    /// `recovery`.
    pub verb: &'static str,
    /// The workload's name.
    pub workload: String,
    /// `interval:…` or `sync`.
    pub durability: String,
    /// Samples of one push.
    pub batch: u32,
    /// What everything random followed from.
    pub seed: u64,
    /// Samples that came back.
    pub samples: u64,
    /// Samples known to have been visible before the kill.
    pub visible_before: u64,
    /// Samples a second that became visible before the kill.
    pub load_samples_per_s: f64,
    /// Of those that came back, how many the log held.
    pub replayed_samples: u64,
    /// Bytes of the log's files at the kill, allocated space included.
    pub wal_file_bytes: u64,
    /// From the call of `open` until it returned: queries and pushes work from then on.
    pub recovery_s: f64,
    /// Processor seconds meanwhile, of all threads.
    pub recovery_cpu_s: f64,
    /// Samples replayed a second.
    pub replayed_per_s: f64,
    /// Samples replayed a second of processor time.
    pub replayed_per_cpu_s: f64,
    /// What the killed process's memory had grown by at most, its input not counted.
    pub peak_before_bytes: u64,
    /// What this one's grew by at most while it opened the store.
    pub peak_recovery_bytes: u64,
    /// Whether what came back is exactly the first samples pushed, none that was visible missing.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
}

fn prepare(options: &Options) -> Result<(Workload, Part), Error> {
    if options.durability == Durability::Memory {
        return Err(Error::Usage("recovery needs --durability interval:TIME or sync: memory keeps no log".into()));
    }
    let workload = Workload::new(options.workload, options.seed, None)?;
    if workload.kind() == Kind::Mixed || workload.churns() {
        return Err(Error::Usage("recovery takes the workloads w1, w1int, w2, w3 and late".into()));
    }
    let part = Part::split(&workload, 1, options.batch)?.remove(0);
    Ok((workload, part))
}

fn open(dir: &Path, options: &Options) -> Result<Engine, Error> {
    let builder = Engine::builder(dir).durability(options.durability);
    let builder = builder.lane_samples((1 << 16).max(options.batch as usize * 2));
    builder.open().map_err(Error::engine("opening the engine"))
}

/// Starts a process that pushes, kills it, opens what it left.
///
/// # Errors
/// [`Error`]; wrong data is no error, but says so in [`Recovery::verified`].
pub fn measure(options: &Options, progress: &Progress) -> Result<Recovery, Error> {
    let (workload, part) = prepare(options)?;
    let folder = Folder::new(options.data_dir.as_deref())?;
    let data = folder.path().join("data");
    let machine = Machine::with(folder.path());
    let victim = start(&data, options)?;
    progress.lasting("pushing, to be killed", options.lasting);
    let Told { visible, ready_bytes, elapsed, peak } = listen_and_kill(&victim, options, progress)?;

    let wal_file_bytes = bytes_in(&data.join("wal"))?;
    progress.step("recovering");
    let before = Memory::now();
    let peak_is_fresh = Memory::reset_peak();
    let (start, cpu) = (Instant::now(), cpu_s());
    let engine = open(&data, options)?;
    let (recovery_s, recovery_cpu_s) = (start.elapsed().as_secs_f64(), cpu_s() - cpu);
    let after = Memory::now();
    let replayed = engine.stats().recovered_samples;
    progress.step("reading everything back");
    let (found, _) = read_back(&engine)?;
    engine.close().map_err(Error::engine("closing the engine"))?;
    progress.step("counting apart");
    let recount = Recount::of(&workload, &[Pushed { part, samples: found.count }]);
    let peak_after = if peak_is_fresh { after.peak } else { after.rss };
    Ok(Recovery {
        verb: "recovery",
        workload: options.workload.to_string(),
        durability: options.durability.to_string(),
        batch: options.batch,
        seed: options.seed,
        samples: found.count,
        visible_before: visible,
        load_samples_per_s: visible as f64 / elapsed.as_secs_f64(),
        replayed_samples: replayed,
        wal_file_bytes,
        recovery_s,
        recovery_cpu_s,
        replayed_per_s: replayed as f64 / recovery_s,
        replayed_per_cpu_s: replayed as f64 / recovery_cpu_s,
        peak_before_bytes: peak.saturating_sub(ready_bytes),
        peak_recovery_bytes: peak_after.saturating_sub(before.rss),
        verified: found == recount.checksum && found.count >= visible,
        machine,
    })
}

fn start(data: &Path, options: &Options) -> Result<Victim, Error> {
    let this = "this program";
    let mut command = this_program().map_err(Error::io(this))?;
    command.args(["--parent", &std::process::id().to_string()]);
    command.args(["recovery", "--victim", "--workload", &options.workload.to_string()]);
    command.args(["--batch", &options.batch.to_string(), "--seed", &options.seed.to_string()]);
    command.args(["--durability", &options.durability.to_string()]).arg("--data-dir").arg(data);
    // A group of its own: the interrupt of a terminal is for this process, which ends the other.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    Victim::spawn(&mut command).map_err(Error::io(this))
}

/// What the victim said before it died.
struct Told {
    visible: u64,
    /// Its memory before the first push.
    ready_bytes: u64,
    elapsed: Duration,
    peak: u64,
}

fn listen_and_kill(victim: &Victim, options: &Options, progress: &Progress) -> Result<Told, Error> {
    let words = || Error::Wrong("the process that pushes ended by itself".into());
    let mut lines = BufReader::new(victim.take_stdout().ok_or_else(words)?).lines();
    let mut number = move || lines.next().and_then(|line| line.ok()?.parse::<u64>().ok());
    let ready_bytes = number().ok_or_else(words)?;
    let visible = AtomicU64::new(0);
    let start = Instant::now();
    let (elapsed, peak, ended) = thread::scope(|scope| {
        let visible = &visible;
        let listening = scope.spawn(move || {
            while let Some(n) = number() {
                // Relaxed: read after the thread has ended.
                visible.store(n, Ordering::Relaxed);
            }
        });
        let left = || options.lasting.saturating_sub(start.elapsed());
        while !left().is_zero() && !listening.is_finished() {
            progress.at(start.elapsed().as_millis() as u64);
            thread::sleep(left().min(Duration::from_millis(20)));
        }
        let (peak, ended) = (Memory::of(victim.id()).peak, listening.is_finished());
        victim.kill();
        (start.elapsed(), peak, ended)
    });
    let visible = visible.into_inner();
    match (visible, ended) {
        (_, true) => Err(words()),
        (0, false) => Err(Error::Usage(format!(
            "--for {:?} was over before a sample was seen to be visible: let it push for longer",
            options.lasting
        ))),
        _ => Ok(Told { visible, ready_bytes, elapsed, peak }),
    }
}

fn bytes_in(dir: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        bytes += entry.and_then(|e| e.metadata()).map_err(Error::io(dir))?.len();
    }
    Ok(bytes)
}

/// The other process: pushes and tells, until it is killed.
///
/// # Errors
/// [`Error`] if the engine refuses.
pub fn push_until_killed(options: &Options) -> Result<(), Error> {
    let (workload, part) = prepare(options)?;
    let data = options.data_dir.as_deref().ok_or_else(|| Error::Usage("--victim needs --data-dir".into()))?;
    let input = Input::generate(&workload, &part);
    let engine = open(data, options)?;
    let id = |slot: u32| {
        let labels = workload.labels(workload.series(slot, 0));
        engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))
    };
    let ids: Vec<SeriesId> = part.slots().map(id).collect::<Result<_, _>>()?;
    let pressure = BackPressure::Block(PATIENCE);
    let mut appender = engine.appender_with(pressure).map_err(Error::engine("making an appender"))?;
    let mut feed = Feed::new(&workload, &part, &input, &engine, &ids, options.batch as usize, true);
    let mut out = std::io::stdout().lock();
    let mut tell = |n: u64| writeln!(out, "{n}").and_then(|()| out.flush()).map_err(Error::output);
    // What making the input took at most is no growth. Where the system does not let it start again, the peak is no less.
    let _ = Memory::reset_peak();
    tell(Memory::now().rss)?;
    let (mut pushed, mut blocks) = (0, 0);
    let mut asked: Option<(Ack, u64)> = None;
    while let Some(block) = feed.next_block()? {
        let mut last = None;
        for samples in block.chunks(options.batch as usize) {
            last = Some(appender.push_batch(samples).map_err(Error::engine("pushing"))?);
        }
        pushed += block.len() as u64;
        blocks += 1;
        if blocks % TELL_EVERY == 0 {
            // Of the time before: the pipeline stays full.
            if let Some((ack, n)) = asked {
                engine.wait(ack, Level::Visible, PATIENCE).map_err(Error::engine("waiting for samples"))?;
                tell(n)?;
            }
            asked = last.map(|ack| (ack, pushed));
        }
    }
    Ok(())
}

impl Recovery {
    /// All figures as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and their names always make JSON")
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |n: f64| n / 1e6;
        writeln!(
            f,
            "{} under {}, killed at {:.1} M samples/s",
            self.workload,
            self.durability,
            mega(self.load_samples_per_s)
        )?;
        writeln!(f, "ready after        {:>9.3} s", self.recovery_s)?;
        writeln!(
            f,
            "replayed           {:>9.1} M samples, {:.1} M/s, {:.1} M/s of processor time",
            mega(self.replayed_samples as f64),
            mega(self.replayed_per_s),
            mega(self.replayed_per_cpu_s)
        )?;
        writeln!(
            f,
            "came back          {:>9.1} M samples, {:.1} M were visible",
            mega(self.samples as f64),
            mega(self.visible_before as f64)
        )?;
        writeln!(f, "log                {:>9.1} MB of files", mega(self.wal_file_bytes as f64))?;
        writeln!(
            f,
            "peak memory        {:>9.1} MB, {:.1} MB before the kill",
            mega(self.peak_recovery_bytes as f64),
            mega(self.peak_before_bytes as f64)
        )?;
        writeln!(f, "machine            {}", self.machine)?;
        write!(f, "verified           {:>9}", self.verified)
    }
}
