//! Many workloads, each with a crash at every one of its steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tidegauge_storage::fs::sim::{Every, SimFs, Timeline};

use crate::examine::{Counts, Depth, Violation, die, examine, lose_power};
use crate::oracle::{Death, History, Key};
use crate::run::{Run, Stopped};
use crate::script::{Rng, Script};

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
    /// Choices at each crash point.
    pub choices: u64,
}

/// Crashes of recovered engines.
const DEPTH: Depth = Depth { levels: 2, one_in: 12, points: 2 };
/// Choices of one step that are all tried; of more, this many.
pub const EVERY_MAX: u64 = 3_000;

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
    let delays = AtomicU64::new(script.seed);
    fs.on_sync(Arc::new(move || {
        // Others write meanwhile, as beside a real device.
        let delay = Rng(delays.fetch_add(1, Ordering::Relaxed)).below(300);
        thread::sleep(Duration::from_micros(delay));
        site()
    }));
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
    /// Its step.
    pub step: u64,
    /// What was wrong; `None` if the run itself was.
    pub violation: Option<Box<Violation>>,
    /// In words.
    pub what: String,
}

/// Crashes one workload at each of its steps.
///
/// # Errors
/// The first [`Failure`].
pub fn crash_everywhere(script: &Script, choices: u64, depth: Depth, counts: &Counts) -> Result<(), Box<Failure>> {
    let fail = |step, violation: Option<Box<Violation>>, what| {
        Box::new(Failure { script: script.clone(), step, violation, what })
    };
    let recorded = record(script, anyone).map_err(|e| fail(0, None, e.0))?;
    let (mut timeline, history) = (recorded.timeline, recorded.history);
    let mut rng = Rng(script.seed ^ 0xd1e);
    loop {
        for _ in 0..choices {
            let choice = rng.draw();
            die(&timeline, &history, choice, script.durability, &mut rng, depth, counts).map_err(|v| {
                let what = format!("{} ({})", v.what, v.trail);
                fail(timeline.at(), Some(v), what)
            })?;
        }
        if timeline.is_over() {
            return Ok(());
        }
        timeline.advance();
    }
}

/// Crashes a short workload at each of its steps with every choice there is, up to
/// [`EVERY_MAX`] a step. Answers steps, and those where there were more choices.
///
/// # Errors
/// The first [`Failure`].
pub fn crash_every_way(script: &Script, counts: &Counts) -> Result<(u64, u64), Box<Failure>> {
    let fail = |step, violation: Option<Box<Violation>>, what| {
        Box::new(Failure { script: script.clone(), step, violation, what })
    };
    let recorded = record(script, anyone).map_err(|e| fail(0, None, e.0))?;
    let (mut timeline, history) = (recorded.timeline, recorded.history);
    let mut rng = Rng(script.seed);
    let shallow = crate::examine::SHALLOW;
    let (mut steps, mut cut) = (0, 0);
    loop {
        let failed = |v: Box<Violation>| {
            let what = v.what.clone();
            fail(timeline.at(), Some(v), what)
        };
        let killed = (&history, timeline.at(), Death::Kill);
        examine(timeline.kill(), killed, script.durability, &mut rng, shallow, counts).map_err(failed)?;
        let (mut every, mut tried) = (Every::default(), 0);
        loop {
            lose_power(&timeline, &history, &mut every, script.durability, &mut rng, shallow, counts)
                .map_err(failed)?;
            tried += 1;
            if !every.more() {
                break;
            }
            if tried == EVERY_MAX {
                cut += 1;
                break;
            }
        }
        steps += 1;
        if timeline.is_over() {
            return Ok((steps, cut));
        }
        timeline.advance();
    }
}

/// Runs workload after workload until there were enough crash points.
///
/// # Errors
/// The first [`Failure`].
pub fn campaign(plan: &Plan, counts: &Counts, progress: impl Fn(u64, u64) + Sync) -> Result<u64, Box<Failure>> {
    let next = AtomicU64::new(plan.seed);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if counts.points.load(Ordering::Relaxed) >= plan.points {
            next.fetch_sub(1, Ordering::Relaxed);
            return Ok(());
        }
        let script = Script::random(seed, plan.len);
        let result = crash_everywhere(&script, plan.choices, DEPTH, counts);
        if result.is_err() {
            // The others stop at their next workload.
            counts.points.fetch_add(plan.points, Ordering::Relaxed);
            return result;
        }
        progress(seed, counts.points.load(Ordering::Relaxed));
    };
    let results: Vec<Result<(), Box<Failure>>> = thread::scope(|scope| {
        let running: Vec<_> = (0..plan.threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("a campaign panicked")).collect()
    });
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(next.load(Ordering::Relaxed) - plan.seed)
}
