//! Crashes the engine again and again, and says what broke.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tidegauge_crash_tests::campaign::{Failure, Plan, campaign, crash_random};
use tidegauge_crash_tests::case::{self, Replayed};
use tidegauge_crash_tests::examine::Counts;
use tidegauge_crash_tests::script::{Name, Script};
use tidegauge_crash_tests::short::crash_short;
use tidegauge_crash_tests::syncs::miss_each_sync;

/// Crash points that fall while each kind of act is under way, at least.
const LEAST_OF_EACH: u64 = 1_000;
/// Disks of each kind of trouble, at least.
const LEAST_TROUBLES: u64 = 1;
/// Openings that judge conditions on numbers that came back, at least.
const LEAST_CONDITIONS: u64 = 1_000;
/// Bits that turn over and are refused, at least.
const LEAST_FLIPS: u64 = 300;
/// Manifests that are lost behind a kill amid a flush, at least.
const LEAST_AMID_FLUSH: u64 = 100;
/// Manifests that are lost behind deletes that were carried out, at least.
const LEAST_FORGOTTEN: u64 = 100;
/// From so many crash points on.
const ENOUGH_FOR_EACH: u64 = 100_000;
/// Times that one workload is tried that broke a promise.
const AGAIN: u64 = 16;
/// Between two lines that say how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(20);

/// Power losses, kills and failing disks at every step of many workloads.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Crash points, about: half of short workloads, at each of their steps, and half of random ones.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    points: u64,
    /// Go on for ever: every choice at every step of short workloads, then random ones.
    #[arg(long)]
    soak: bool,
    /// The first workload's seed; the others count up [default: by the clock].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Workloads at a time, most of which wait [default: four for each processor].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Steps of a workload.
    #[arg(long, default_value_t = 40, value_name = "N")]
    len: usize,
    /// Choices of what was not synced, at each step of a workload.
    #[arg(long, default_value_t = 4, value_name = "N")]
    choices: u64,
    /// Where to keep a disk on which a promise was broken.
    #[arg(long, default_value = "target/crash", value_name = "DIR")]
    keep: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a disk that was kept, and compare again.
    Replay {
        /// Its folder.
        dir: PathBuf,
    },
    /// Crash one workload at each of its steps, again and again.
    Workload {
        /// The seed of a random one, or `short-3`: a failing run tells it.
        name: Name,
    },
    /// Leave out each sync that the engine asks for, one site at a time: each must be missed.
    Syncs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Replay { dir }) => return replay(dir),
        Some(Command::Syncs) => return miss_syncs(cli.seed.unwrap_or(1)),
        Some(Command::Workload { name: Name::Short(nth) }) if Script::short().iter().all(|one| one.seed != *nth) => {
            eprintln!("there is no workload short-{nth}, there are {}", Script::short().len());
            return ExitCode::from(2);
        }
        Some(Command::Workload { .. }) | None => {}
    }
    let started = Instant::now();
    let by_clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs());
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let plan = Plan {
        seed: cli.seed.unwrap_or_else(by_clock),
        points: if cli.soak { u64::MAX / 2 } else { cli.points },
        threads: cli.threads.unwrap_or(4 * processors),
        len: cli.len,
        choices: cli.choices,
        twice_one_in: 1,
    };
    let counts = Counts::default();
    let result = match cli.command {
        Some(Command::Workload { name }) => again(&plan, name, &counts),
        _ => {
            println!("seed {} (--seed {} gives the same workloads)", plan.seed, plan.seed);
            run(&plan, &counts, started)
        }
    };
    let points = counts.points.load(Ordering::Relaxed);
    match result {
        Ok(workloads) => {
            println!(
                "{points} crash points of {workloads} workloads: nothing lost, nothing invented, nothing reordered ({:.0} s; {} opened twice, {} judged conditions on what came back, {} went on writing, {} died again, {} refused damage to the end of the log, {} to that of the manifest)",
                started.elapsed().as_secs_f64(),
                counts.twice.load(Ordering::Relaxed),
                counts.conditions.load(Ordering::Relaxed),
                counts.continued.load(Ordering::Relaxed),
                counts.deeper.load(Ordering::Relaxed),
                counts.damaged.load(Ordering::Relaxed),
                counts.manifests.load(Ordering::Relaxed),
            );
            println!("{}\n{}", troubles(&counts), counts.per_act);
            match too_few(&counts) {
                Some(what) if points >= ENOUGH_FOR_EACH && cli.command.is_none() => {
                    println!("TOO FEW: {what}; workloads that are more about it are needed");
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(failure) => {
            report(&failure, &plan, &cli.keep);
            ExitCode::FAILURE
        }
    }
}

fn troubles(counts: &Counts) -> String {
    let (Counts { met, flips, .. }, of) = (counts, |count: &AtomicU64| count.load(Ordering::Relaxed));
    format!(
        "disks in trouble: {} failed an operation and {} a sync ({} engines stopped writing), {} were full for a while ({} engines went on behind it); {} bits turned over: {} refused and salvaged, {} harmless, {} in an end that nobody had called durable; {} manifests were lost behind a kill amid a flush, and {} behind deletes that were carried out",
        of(&met.operations),
        of(&met.syncs),
        of(&met.poisoned),
        of(&met.full),
        of(&met.resumed),
        flips.all(),
        of(&flips.refused),
        of(&flips.right),
        of(&flips.cut),
        of(&counts.amid_flush),
        of(&counts.forgotten),
    )
}

/// Of what there was not enough for a long run.
fn too_few(counts: &Counts) -> Option<String> {
    let few = |what: &str, least: u64| format!("{what}, of which there should be {least}");
    let act = counts.per_act.short_of(LEAST_OF_EACH).map(|act| few(&act.to_string(), LEAST_OF_EACH));
    let met = || counts.met.short_of(LEAST_TROUBLES).map(|what| few(what, LEAST_TROUBLES));
    let (refused, judged) = (&counts.flips.refused, &counts.conditions);
    let of = |count: &AtomicU64, what: &str, least| (count.load(Ordering::Relaxed) < least).then(|| few(what, least));
    let flips = || of(refused, "bits turned over and refused", LEAST_FLIPS);
    let amid = || of(&counts.amid_flush, "manifests lost behind a kill amid a flush", LEAST_AMID_FLUSH);
    let conditions = || of(judged, "conditions on what came back", LEAST_CONDITIONS);
    let forgotten = || of(&counts.forgotten, "manifests lost behind deletes that were carried out", LEAST_FORGOTTEN);
    act.or_else(met).or_else(flips).or_else(amid).or_else(forgotten).or_else(conditions)
}

fn replay(dir: &Path) -> ExitCode {
    match case::replay(dir) {
        Ok(Replayed { then, now }) => {
            let broken = now.is_err();
            let now = now.map_or_else(|e| format!("still broken: {e}"), |found| format!("right: {found}"));
            println!("then: {then}\nnow:  {now}");
            if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(e) => {
            eprintln!("{}: {e}", dir.display());
            ExitCode::from(2)
        }
    }
}

fn miss_syncs(seed: u64) -> ExitCode {
    let missed = match miss_each_sync(seed) {
        Ok(missed) => missed,
        Err(e) => {
            eprintln!("{}", e.0);
            return ExitCode::from(2);
        }
    };
    for one in &missed {
        let noticed = one
            .noticed
            .as_ref()
            .map_or("NOBODY MISSES IT".to_owned(), |n| format!("{}, step {}: {}", n.workload, n.step, n.what));
        println!("{} ({} times)\n    {noticed}", one.site, one.times);
    }
    if missed.iter().all(|one| one.noticed.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(plan: &Plan, counts: &Counts, started: Instant) -> Result<u64, Box<Failure>> {
    let told = Mutex::new(started);
    let progress = || {
        let mut told = told.lock().expect("a campaign panicked");
        if told.elapsed() > BETWEEN_LINES {
            *told = Instant::now();
            let points = counts.points.load(Ordering::Relaxed);
            println!("{points} crash points so far ({:.0} s)", started.elapsed().as_secs_f64());
        }
    };
    let covered = crash_short(Script::short(), plan.points / 2, plan, counts, progress)?;
    let points = counts.points.load(Ordering::Relaxed);
    println!(
        "{points} crash points: all choices by pages at {} of {} steps of short workloads, some at the others ({:.0} s)",
        covered.whole,
        covered.steps,
        started.elapsed().as_secs_f64()
    );
    // However many those were: random ones, too.
    campaign(&Plan { points: plan.points.max(points + plan.points / 2), ..*plan }, counts, progress)
}

/// One workload alone, again and again: threads race, so that it is not the same each time.
fn again(plan: &Plan, name: Name, counts: &Counts) -> Result<u64, Box<Failure>> {
    for _ in 0..AGAIN {
        match name {
            Name::Random(seed) => crash_random(seed, plan, counts)?,
            Name::Short(nth) => {
                let one = Script::short().into_iter().filter(|script| script.seed == nth).collect();
                crash_short(one, plan.points, plan, counts, || {}).map(drop)?;
            }
        }
    }
    Ok(AGAIN)
}

fn report(failure: &Failure, plan: &Plan, keep: &Path) {
    let Failure { script, name, .. } = failure;
    println!("BROKEN: {}", failure.what);
    println!(
        "at step {} of the disk, workload {name} ({}, {} lanes): {:?}",
        failure.step, script.durability, script.lanes, script.steps
    );
    println!(
        "the workload again: cargo run -p tidegauge-crash-tests -- --seed {} --len {} --choices {} workload {name}",
        plan.seed, plan.len, plan.choices
    );
    if let Some(violation) = &failure.violation {
        let dir = keep.join(format!("{name}-{}", failure.step));
        match case::save(violation, &dir) {
            Ok(()) => {
                println!("the disk is kept; look again: cargo run -p tidegauge-crash-tests -- replay {}", dir.display())
            }
            Err(e) => println!("the disk could not be kept: {e}"),
        }
    }
}
