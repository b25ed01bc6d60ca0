//! Opening what a crash left, and going on from there.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegauge::{Durability, Engine};
use tidegauge_storage::fs::sim::{Choose, Random, SimFs, Timeline};

use crate::acts::PerAct;
use crate::flips::{Flips, Kept};
use crate::numbers;
use crate::oracle::{Death, Era, Expected, History};
use crate::run::{Run, Stopped};
use crate::script::{Rng, Script};
use crate::store::{self, Read};
use crate::unsound::Met;
use crate::{end, manifest, twice};

/// A promise that was broken, and the disk on which it was.
#[derive(Debug)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// Where it came from.
    pub trail: String,
    /// The disk before it was opened, with what was damaged on it.
    pub disk: SimFs,
    /// What an opening should do with it.
    pub must: Must,
    /// Where it was opened and went wrong later: what the recovered engine did, and its end, follow from this number.
    pub again: Option<u64>,
    /// What was allowed.
    pub expected: Expected,
    /// How it is to be opened.
    pub durability: Durability,
}

/// What becomes of a disk when it is opened.
#[derive(Debug)]
pub enum Must {
    /// It opens, and holds what is expected.
    Open,
    /// Part of it is damaged: it is refused, and the refusal says where.
    Refuse(&'static str),
    /// A bit is turned over: it is refused and can be salvaged, or it is right.
    Turned(Box<Kept>),
}

/// How many of what there were.
#[derive(Debug, Default)]
pub struct Counts {
    /// Disks after a power loss or a kill, each opened and compared.
    pub points: AtomicU64,
    /// The same by what the workload was about.
    pub per_act: PerAct,
    /// Those on which a recovered engine wrote, and died again or was closed.
    pub continued: AtomicU64,
    /// Those that were opened twice, and held the same both times.
    pub twice: AtomicU64,
    /// Those that a crash of a recovery, or of a life after one, left.
    pub deeper: AtomicU64,
    /// Those on which something at the end of the log was damaged that was known to be durable, and that refused.
    pub damaged: AtomicU64,
    /// Times that the end of the manifest was damaged that it knew to be durable, and that this was refused.
    pub manifests: AtomicU64,
    /// Workloads on disks that failed.
    pub met: Met,
    /// Openings that judged conditions on numbers that came back.
    pub conditions: AtomicU64,
    /// Disks of which a bit was turned over.
    pub flips: Flips,
    /// Kills amid a flush behind which the manifest was lost, and nothing with it.
    pub amid_flush: AtomicU64,
    /// Kills behind a delete that was carried out and forgotten, behind which the manifest was lost, and nothing came back.
    pub forgotten: AtomicU64,
}

/// How far to go from one crash point.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Crashes of recovered engines, one within the other.
    pub levels: u32,
    /// One in so many is gone on with.
    pub one_in: u64,
    /// Crash points taken of each recovered life.
    pub points: u64,
    /// One in so many of the others is opened a second time.
    pub twice_one_in: u64,
    /// Whether recovered engines owe lines of the audit log. Not where a sync of its folder may have failed: no later one
    /// brings its name back, and each act stands without its line.
    pub audit: bool,
}

impl Depth {
    /// Only opened and compared; one in so many twice.
    #[must_use]
    pub fn shallow(twice_one_in: u64) -> Self {
        Self { levels: 0, one_in: 0, points: 0, twice_one_in, audit: true }
    }
}

/// Of so many disks one is damaged at the end of its log, too, and at that of its manifest.
const DAMAGED_ONE_IN: u64 = 16;

/// Of so many disks on which numbers of samples came back, one is asked for conditions on them.
const JUDGED_ONE_IN: u64 = 4;

/// Whether a disk holds what is expected of it beside samples: lines of the audit log, a witness of the manifest, copies.
///
/// # Errors
/// Says what is missing.
pub fn is_kept(image: &SimFs, expected: &Expected) -> Result<(), String> {
    let acts = store::audited(image);
    if acts < expected.acts {
        return Err(format!("the audit log has {acts} lines of {} acts", expected.acts));
    }
    manifest::check(image, expected.witnessed)?;
    expected.copies.iter().try_for_each(|(finished, copy)| store::check_copy(&image.kill(), copy, *finished))
}

/// Opens `disk`, compares, and goes on as far as `depth` says.
///
/// # Errors
/// [`Violation`] where something came back that was not allowed, or not what was promised.
pub fn examine(
    disk: SimFs,
    (history, step, death): (&History, u64, Death),
    durability: Durability,
    rng: &mut Rng,
    depth: Depth,
    counts: &Counts,
) -> Result<(), Box<Violation>> {
    counts.points.fetch_add(1, Ordering::Relaxed);
    counts.per_act.count(&history.acts, step);
    let expected = history.expected(step, death);
    let goes_on = depth.levels > 0 && rng.below(depth.one_in) == 0;
    let twice = !goes_on && rng.below(depth.twice_one_in) == 0;
    // The image as it was, for a report: its pages are shared.
    let image = disk.kill();
    let wrong = |what: String| {
        let (disk, expected, trail) = (image.kill(), expected.clone(), String::new());
        Box::new(Violation { what, trail, disk, must: Must::Open, again: None, expected, durability })
    };
    let passed = |end::Passed { what, disk, must }| Box::new(Violation { disk, must, ..*wrong(what) });
    is_kept(&image, &expected).map_err(wrong)?;
    if rng.below(DAMAGED_ONE_IN) == 0 {
        let refused = end::damage(&image, durability, rng).map_err(passed)?;
        counts.damaged.fetch_add(refused, Ordering::Relaxed);
        let refused = manifest::damage(&image, durability, rng).map_err(passed)?;
        counts.manifests.fetch_add(refused, Ordering::Relaxed);
    }
    if goes_on {
        disk.record();
    }
    let engine = store::open(&disk, durability).map_err(|e| wrong(format!("it does not open: {e}")))?;
    let lanes = expected.lanes.len();
    if goes_on {
        store::settle(&engine).map_err(wrong)?;
    }
    let read = store::read(&engine, lanes).map_err(|e| wrong(format!("it cannot be read: {e}")))?;
    let prefix = expected.check(&read.found).map_err(|e| wrong(format!("{e}; there are {}", read.summary())))?;
    let mut known = expected.known(&prefix);
    if !goes_on && rng.below(JUDGED_ONE_IN) > 0 {
        known.clear();
    }
    if numbers::judge(&engine, &known, rng).map_err(wrong)? {
        counts.conditions.fetch_add(1, Ordering::Relaxed);
    }
    if twice {
        counts.twice.fetch_add(1, Ordering::Relaxed);
        return twice::open_again(&disk, engine, (read, &known), durability, rng).map_err(wrong);
    }
    if !goes_on {
        let _next = disk.next_process();
        let _ = engine.close();
        return Ok(());
    }

    counts.continued.fetch_add(1, Ordering::Relaxed);
    // After a power loss all that is there is durable; after a kill some of it is in the page cache only.
    let left = match death {
        Death::PowerLoss => expected.exactly(&prefix),
        Death::Kill => history.expected(step, Death::PowerLoss),
    };
    let again = rng.0;
    go_on((disk, engine, read), left.left(&prefix), durability, rng, depth, counts).map_err(|later| match later {
        Later::Here(what) => Box::new(Violation { again: Some(again), ..*wrong(what) }),
        Later::Then(violation) => violation,
    })
}

/// Where something went wrong with a recovered engine.
pub(crate) enum Later {
    /// While it went on.
    Here(String),
    /// Behind its end: on another disk.
    Then(Box<Violation>),
}

/// Has a recovered engine go on writing and end, and looks at what that leaves, and what crashes before it leave. The
/// disk was recording when the engine was opened.
pub(crate) fn go_on(
    (disk, engine, read): (SimFs, Engine, Read),
    left: Era,
    durability: Durability,
    rng: &mut Rng,
    depth: Depth,
    counts: &Counts,
) -> Result<(), Later> {
    let script = Script::again(rng, durability);
    let refused = |e: Stopped| Later::Here(format!("a recovered engine refused: {}", e.0));
    let mut run = Run::resume(disk, engine, read, left, &script).map_err(refused)?;
    run.go(&script).map_err(refused)?;
    let end = run.fs.steps();
    let (timeline, mut history) = (run.fs.timeline(), std::mem::take(&mut run.history));
    history.acts.note_log(&timeline);
    if !depth.audit {
        history.forget_audit();
    }
    let engine = run.take_engine().expect("a run keeps its engine");
    let closes = rng.below(2) == 0;
    if closes {
        engine.close().map_err(|e| Later::Here(format!("a recovered engine does not close: {e}")))?;
    } else {
        let _next = run.fs.next_process();
        let _ = engine.close();
    }
    let next = run.fs.next_process();
    let shallow = Depth::shallow(depth.twice_one_in);
    let shallower = Depth { levels: depth.levels - 1, ..depth };
    let trail = |mut v: Box<Violation>, at: String| {
        v.trail = format!("{at}, then {}", v.trail);
        Later::Then(v)
    };
    let way = if closes { "closed" } else { "killed" };
    // A closed store holds everything; a killed one everything visible.
    examine(next.kill(), (&history, end, Death::Kill), durability, rng, shallow, counts)
        .map_err(|v| trail(v, format!("recovered, wrote {:?} and was {way}", script.steps)))?;
    for _ in 0..depth.points {
        counts.deeper.fetch_add(1, Ordering::Relaxed);
        let mut timeline = timeline.clone();
        for _ in 0..rng.below(end + 1) {
            timeline.advance();
        }
        let choice = rng.draw();
        die(&timeline, &history, choice, durability, rng, shallower, counts)
            .map_err(|v| trail(v, format!("recovered, wrote {:?} and died at step {}", script.steps, timeline.at())))?;
    }
    Ok(())
}

/// A death at the timeline's present step: by a kill, one time in eight, or a power loss.
///
/// # Errors
/// [`Violation`].
pub fn die(
    timeline: &Timeline,
    history: &History,
    choice: u64,
    durability: Durability,
    rng: &mut Rng,
    depth: Depth,
    counts: &Counts,
) -> Result<(), Box<Violation>> {
    let (disk, step, death) = after(timeline, choice);
    examine(disk, (history, step, death), durability, rng, depth, counts)
}

/// What such a death leaves, at which step, and which it was.
#[must_use]
pub fn after(timeline: &Timeline, choice: u64) -> (SimFs, u64, Death) {
    if choice.is_multiple_of(8) {
        (timeline.kill(), timeline.at(), Death::Kill)
    } else {
        (timeline.power_loss(&mut Random::new(choice)), timeline.at(), Death::PowerLoss)
    }
}

/// A power loss at the timeline's present step.
///
/// # Errors
/// [`Violation`].
pub fn lose_power(
    timeline: &Timeline,
    history: &History,
    choose: &mut dyn Choose,
    durability: Durability,
    rng: &mut Rng,
    depth: Depth,
    counts: &Counts,
) -> Result<(), Box<Violation>> {
    examine(timeline.power_loss(choose), (history, timeline.at(), Death::PowerLoss), durability, rng, depth, counts)
}
