//! Many workloads, each with a crash at every one of its steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tidegauge_storage::fs::sim::{SimFs, Timeline};

use crate::amid::lose_manifest;
use crate::deleted::forget_deletes;
use crate::examine::{Counts, Depth, Violation, after, die};
use crate::flips::flip;
use crate::oracle::{History, Key};
use crate::run::{Run, Stopped};
use crate::script::{Name, Rng, Script};
use crate::unsound::{Trouble, record_in};

/// What a campaign does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first workload's seed; the others count up.
    pub seed: u64,
    /// Crash points after which no new workload begins.
    pub points: u64,
    /// Workloads at a time.
    pub threads: usize,
    /// Steps of a workload.
    pub len: usize,
    /// Choices at each step.
    pub choices: u64,
    /// One crash point in so many is opened twice.
    pub twice_one_in: u64,
}

/// Crashes of recovered engines: one in so many is gone on with, and so many points are taken of each life.
const LEVELS: u32 = 2;
const ONE_IN: u64 = 12;
const POINTS: u64 = 2;
/// One crash point in so many has a bit turned over.
const FLIP_ONE_IN: u64 = 16;
/// Of the steps amid a flush, and of those behind a delete, at one in so many the manifest is lost behind a kill.
const LOST_ONE_IN: u64 = 8;
/// Where the disk was in trouble, one step in so many is a crash point: more workloads, each with another trouble, tell
/// more.
const TROUBLED_ONE_IN: u64 = 3;

/// A recorded run and what may come back from it.
pub struct Recorded {
    /// Its disk, at the beginning.
    pub timeline: Timeline,
    /// What may come back.
    pub history: History,
    /// Everything that was ever pushed.
    pub pushed: HashSet<(Key, u64)>,
}

/// Runs a script to its end on a disk that takes its time to sync.
///
/// # Errors
/// [`Stopped`]: on a sound disk nothing is refused.
pub fn record(script: &Script, site: fn() -> Arc<str>) -> Result<Recorded, Stopped> {
    let fs = SimFs::new();
    fs.record();
    slow_syncs(&fs, script.seed, site);
    let mut run = Run::begin(fs, script)?;
    let result = run.go(script);
    let mut recorded =
        Recorded { timeline: run.fs.timeline(), history: std::mem::take(&mut run.history), pushed: run.pushed() };
    recorded.history.acts.note_log(&recorded.timeline);
    let _next = run.fs.next_process();
    if let Some(engine) = run.take_engine() {
        let _ = engine.close();
    }
    result.map(|()| recorded)
}

/// Each sync takes its time, and others write meanwhile, as beside a real device.
pub(crate) fn slow_syncs(fs: &SimFs, seed: u64, site: fn() -> Arc<str>) {
    let delays = AtomicU64::new(seed);
    fs.on_sync(Arc::new(move || {
        let delay = Rng(delays.fetch_add(1, Ordering::Relaxed)).below(300);
        thread::sleep(Duration::from_micros(delay));
        site()
    }));
}

/// The name of no site.
#[must_use]
pub fn anyone() -> Arc<str> {
    "".into()
}

/// A violation, and how it came about.
#[derive(Debug)]
pub struct Failure {
    /// The workload.
    pub script: Script,
    /// Which it is.
    pub name: Name,
    /// Its step.
    pub step: u64,
    /// What was wrong; `None` if the run itself was.
    pub violation: Option<Box<Violation>>,
    /// In words.
    pub what: String,
}

/// A thread that panicked ends the others, too: they might go on for ever.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Relaxed);
    }
}

/// Does `work` on so many threads. The first failure has the others stop, which ask for that now and then.
///
/// # Errors
/// That [`Failure`].
///
/// # Panics
/// If one of them does.
pub fn side_by_side<T: Send>(
    threads: usize,
    work: impl Fn(&dyn Fn() -> bool) -> Result<T, Box<Failure>> + Sync,
) -> Result<Vec<T>, Box<Failure>> {
    let failed = AtomicBool::new(false);
    let one = || {
        let _ended = Ended(&failed);
        let result = work(&|| failed.load(Ordering::Relaxed));
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().expect("a campaign panicked")).collect()
    });
    results.into_iter().collect()
}

fn failure(script: &Script, step: u64, violation: Option<Box<Violation>>, what: String) -> Box<Failure> {
    Box::new(Failure { name: Name::Random(script.seed), script: script.clone(), step, violation, what })
}

/// Crashes a random workload on a sound disk at each of its steps.
///
/// # Errors
/// The first [`Failure`].
pub fn crash_everywhere(script: &Script, choices: u64, depth: Depth, counts: &Counts) -> Result<(), Box<Failure>> {
    let recorded = record(script, anyone).map_err(|e| failure(script, 0, None, e.0))?;
    crash_recorded(script, &recorded, |_| choices, depth, counts)?;
    let (mut timeline, mut rng) = (recorded.timeline.clone(), Rng(script.seed ^ 0xa1d));
    while !timeline.is_over() {
        timeline.advance();
        if rng.below(LOST_ONE_IN) == 0 {
            let lost = lose_manifest(&recorded, script, &timeline, &mut rng, counts)
                .and_then(|()| forget_deletes(&recorded, script, &timeline, &mut rng, counts));
            lost.map_err(|v| {
                let what = format!("{} ({})", v.what, v.trail);
                failure(script, timeline.at(), Some(v), what)
            })?;
        }
    }
    Ok(())
}

/// Crashes what was recorded at its steps, with so many choices at each.
fn crash_recorded(
    script: &Script,
    recorded: &Recorded,
    choices: impl Fn(&mut Rng) -> u64,
    depth: Depth,
    counts: &Counts,
) -> Result<(), Box<Failure>> {
    let (mut timeline, history) = (recorded.timeline.clone(), &recorded.history);
    let mut rng = Rng(script.seed ^ 0xd1e);
    loop {
        let failed = |v: Box<Violation>| {
            let what = format!("{} ({})", v.what, v.trail);
            failure(script, timeline.at(), Some(v), what)
        };
        for _ in 0..choices(&mut rng) {
            let choice = rng.draw();
            die(&timeline, history, choice, script.durability, &mut rng, depth, counts).map_err(failed)?;
            if rng.below(FLIP_ONE_IN) == 0 {
                let died = after(&timeline, choice);
                flip(recorded, script, died, &mut rng, &counts.flips).map_err(failed)?;
            }
        }
        if timeline.is_over() {
            return Ok(());
        }
        timeline.advance();
    }
}

/// Runs the workload of one seed, on a sound disk or on one that fails, and crashes it at each of its steps.
///
/// # Errors
/// The first [`Failure`].
pub fn crash_random(seed: u64, plan: &Plan, counts: &Counts) -> Result<(), Box<Failure>> {
    // In some workloads a sync fails.
    let depth = Depth { levels: LEVELS, one_in: ONE_IN, points: POINTS, twice_one_in: plan.twice_one_in, audit: false };
    let script = Script::random(seed, plan.len);
    let Some(trouble) = Trouble::of(&script) else {
        return crash_everywhere(&script, plan.choices, depth, counts);
    };
    let told = |mut failure: Box<Failure>| {
        failure.what = format!("{trouble:?}: {}", failure.what);
        failure
    };
    match record_in(&script, trouble, &counts.met).map_err(|what| told(failure(&script, 0, None, what)))? {
        Some(recorded) => {
            let choices = |rng: &mut Rng| (rng.below(TROUBLED_ONE_IN) == 0).into();
            crash_recorded(&script, &recorded, choices, depth, counts).map_err(told)
        }
        None => Ok(()),
    }
}

/// Runs workload after workload until there were enough crash points. Answers how many.
///
/// # Errors
/// The first [`Failure`].
pub fn campaign(plan: &Plan, counts: &Counts, progress: impl Fn() + Sync) -> Result<u64, Box<Failure>> {
    let next = AtomicU64::new(plan.seed);
    let workloads = side_by_side(plan.threads, |stop| {
        let mut workloads = 0;
        while !stop() && counts.points.load(Ordering::Relaxed) < plan.points {
            crash_random(next.fetch_add(1, Ordering::Relaxed), plan, counts)?;
            workloads += 1;
            progress();
        }
        Ok(workloads)
    })?;
    Ok(workloads.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The others went on, for ever with `--soak`, and nobody was told.
    #[test]
    #[should_panic(expected = "a campaign panicked")]
    fn a_thread_that_panics_ends_the_others() {
        let first = AtomicBool::new(true);
        let result = side_by_side(2, |stop| {
            assert!(!first.fetch_and(false, Ordering::Relaxed), "one of them panics");
            while !stop() {
                thread::yield_now();
            }
            Ok(())
        });
        drop(result);
    }
}
