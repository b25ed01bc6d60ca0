//! Short workloads, each about one thing, crashed at every one of their steps with every choice of what was not synced,
//! page by page, as far as there are crash points for that; and with some where writes tear within pages.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegauge_storage::fs::sim::{Choose, Every, Random};

use crate::amid::lose_manifest;
use crate::campaign::{Failure, Plan, Recorded, anyone, record, side_by_side};
use crate::deleted::forget_deletes;
use crate::examine::{Counts, Depth, Violation, die, examine, lose_power};
use crate::oracle::Death;
use crate::script::{Name, Rng, Script};

/// Choices of one step that are tried at most, however many points there are.
const EVERY_MAX: u64 = 3_000;
/// Choices with tears at sectors, of each step at which every one by pages is tried.
const TORN: u64 = 2;
/// One workload's steps are gone through so many times, by different threads.
const STRIPES: usize = 8;
/// Crashes of recovered engines: about so many points for each.
const DEEP_POINTS: u64 = 10;

/// What was gone through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Covered {
    /// Steps, all of them.
    pub steps: u64,
    /// Those at which every choice by pages was tried.
    pub whole: u64,
}

/// About how many choices there are.
struct Product(u64);

impl Choose for Product {
    fn begin(&mut self) -> u64 {
        Every::default().begin()
    }

    fn pick(&mut self, n: u64) -> u64 {
        self.0 = self.0.saturating_mul(n);
        n - 1
    }
}

fn failure(script: &Script, step: u64, violation: Option<Box<Violation>>, what: String) -> Box<Failure> {
    Box::new(Failure { name: Name::Short(script.seed), script: script.clone(), step, violation, what })
}

/// One workload that was run, and about how many choices there are at each of its steps.
struct Ran {
    script: Script,
    recorded: Recorded,
    choices: Vec<u64>,
}

impl Ran {
    fn new(script: Script) -> Result<Self, Box<Failure>> {
        let recorded = record(&script, anyone).map_err(|e| failure(&script, 0, None, e.0))?;
        let (mut timeline, mut choices) = (recorded.timeline.clone(), Vec::new());
        loop {
            let mut product = Product(1);
            drop(timeline.power_loss(&mut product));
            choices.push(product.0);
            if timeline.is_over() {
                return Ok(Self { script, recorded, choices });
            }
            timeline.advance();
        }
    }
}

/// Choices with tears of a step with so many by pages: where there is nothing to choose, nothing tears.
fn torn(choices: u64) -> u64 {
    if choices > 1 { TORN } else { 0 }
}

/// How many points go where.
#[derive(Clone, Copy, Debug)]
struct Shares {
    /// Of one step, all choices if there are no more, so many otherwise.
    choices: u64,
    /// Steps for each that is gone on from.
    deep_one_in: u64,
}

impl Shares {
    fn of(points: u64, ran: &[Ran]) -> Self {
        let steps: u64 = ran.iter().map(|ran| ran.choices.len() as u64).sum();
        let deep_one_in = (3 * DEEP_POINTS * steps).div_ceil(points.max(1)).max(1);
        let left = points.saturating_sub(steps + DEEP_POINTS * steps / deep_one_in);
        let needs = |most: u64| {
            ran.iter().flat_map(|ran| &ran.choices).map(|n| if *n <= most { n + torn(*n) } else { most }).sum::<u64>()
        };
        // The most that the points allow.
        let (mut least, mut most) = (1, EVERY_MAX);
        while least < most {
            let middle = (least + most).div_ceil(2);
            if needs(middle) <= left { least = middle } else { most = middle - 1 }
        }
        Self { choices: least, deep_one_in }
    }
}

/// Crashes all of `scripts` at each of their steps, with about so many points together.
///
/// # Errors
/// The first [`Failure`].
pub fn crash_short(
    scripts: Vec<Script>,
    points: u64,
    plan: &Plan,
    counts: &Counts,
    progress: impl Fn() + Sync,
) -> Result<Covered, Box<Failure>> {
    let ran = scripts.into_iter().map(Ran::new).collect::<Result<Vec<_>, _>>()?;
    let shares = Shares::of(points, &ran);
    let next = AtomicUsize::new(0);
    let covered = side_by_side(plan.threads, |stop| {
        let mut covered = Covered::default();
        while !stop() {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            let Some(ran) = ran.get(unit / STRIPES) else { break };
            let mut rng = Rng(plan.seed ^ (unit as u64) << 32);
            let stripe = crash_stripe(ran, unit % STRIPES, shares, plan.twice_one_in, &mut rng, counts)?;
            covered = covered.and(stripe);
            progress();
        }
        Ok(covered)
    })?;
    Ok(covered.into_iter().fold(Covered::default(), Covered::and))
}

impl Covered {
    fn and(self, other: Self) -> Self {
        Self { steps: self.steps + other.steps, whole: self.whole + other.whole }
    }
}

fn crash_stripe(
    ran: &Ran,
    stripe: usize,
    shares: Shares,
    twice_one_in: u64,
    rng: &mut Rng,
    counts: &Counts,
) -> Result<Covered, Box<Failure>> {
    let Recorded { history, .. } = &ran.recorded;
    let (durability, shallow) = (ran.script.durability, Depth::shallow(twice_one_in));
    let deep = Depth { levels: 2, one_in: 1, points: 2, twice_one_in, audit: true };
    let (mut timeline, mut covered) = (ran.recorded.timeline.clone(), Covered::default());
    for (nth, choices) in ran.choices.iter().enumerate() {
        if nth > 0 {
            timeline.advance();
        }
        if nth % STRIPES != stripe {
            continue;
        }
        let at = timeline.at();
        let failed = |v: Box<Violation>| {
            let what = format!("{} ({})", v.what, v.trail);
            failure(&ran.script, at, Some(v), what)
        };
        examine(timeline.kill(), (history, at, Death::Kill), durability, rng, shallow, counts).map_err(failed)?;
        lose_manifest(&ran.recorded, &ran.script, &timeline, rng, counts).map_err(failed)?;
        forget_deletes(&ran.recorded, &ran.script, &timeline, rng, counts).map_err(failed)?;
        let mut seeds = Rng(rng.draw());
        let mut lose =
            |choose: &mut dyn Choose| lose_power(&timeline, history, choose, durability, rng, shallow, counts);
        let whole = if *choices <= shares.choices {
            (0..torn(*choices)).try_for_each(|_| lose(&mut Random::by_sector(seeds.draw()))).map_err(failed)?;
            every_choice(shares.choices, &mut lose).map_err(failed)?
        } else {
            (0..shares.choices).try_for_each(|_| lose(&mut Random::new(seeds.draw()))).map_err(failed)?;
            false
        };
        if rng.below(shares.deep_one_in) == 0 {
            let choice = rng.draw();
            die(&timeline, history, choice, durability, rng, deep, counts).map_err(failed)?;
        }
        covered = covered.and(Covered { steps: 1, whole: whole.into() });
    }
    Ok(covered)
}

/// Every choice, one after the other. Answers whether these were all: how many there are depends on the first ones.
fn every_choice<E>(most: u64, lose: &mut impl FnMut(&mut dyn Choose) -> Result<(), E>) -> Result<bool, E> {
    let (mut every, mut tried) = (Every::default(), 0);
    loop {
        lose(&mut every)?;
        tried += 1;
        if !every.more() {
            return Ok(true);
        }
        if tried == most {
            return Ok(false);
        }
    }
}
