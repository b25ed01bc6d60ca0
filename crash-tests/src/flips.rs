//! One bit of what a crash left turns over.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegauge::Durability;
use tidegauge_storage::fs::sim::SimFs;

use crate::campaign::Recorded;
use crate::end;
use crate::examine::{Must, Violation};
use crate::faults::{Rot, Rule, Turned, Whole, flip_one, turn_over};
use crate::oracle::{Contents, Death, Expected, Key};
use crate::script::{Rng, Script};
use crate::store::{self, Read};

/// How many of what they led to.
#[derive(Debug, Default)]
pub struct Flips {
    /// The store was refused, or a read was, and what a salvage saved was right.
    pub refused: AtomicU64,
    /// Nothing was lost.
    pub right: AtomicU64,
    /// The end of a log or manifest was cut that nobody had called durable.
    pub cut: AtomicU64,
}

impl Flips {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        [&self.refused, &self.right, &self.cut].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// What was turned over on a disk that is kept, and what was there before.
#[derive(Debug)]
pub struct Kept {
    pub(crate) path: PathBuf,
    pub(crate) bit: u64,
    pub(crate) seed: u64,
    /// If it may be cut: what may come back then.
    pub(crate) cut: Option<Expected>,
    /// By lane.
    pub(crate) was: Vec<Contents>,
    pub(crate) pushed: HashSet<(Key, u64)>,
    pub(crate) rule: Rule,
}

impl Kept {
    pub(crate) fn of(Turned { path, bit, .. }: &Turned, whole: &Whole<'_>) -> Self {
        let (was, pushed) = (whole.was.to_vec(), whole.pushed.clone());
        let (seed, cut, rule) = (whole.seed, whole.cut.cloned(), whole.rule);
        Self { path: path.clone(), bit: *bit, seed, cut, was, pushed, rule }
    }

    /// Turns nothing over any more: opens the disk, and judges as it was judged then.
    pub(crate) fn again(&self, disk: &SimFs, expected: &Expected, durability: Durability) -> Result<Rot, String> {
        let Self { path, bit, seed, cut, was, pushed, rule } = self;
        let turned = Turned { disk: disk.kill(), path: path.clone(), bit: *bit };
        let (cut, seed, rule) = (cut.as_ref(), *seed, *rule);
        flip_one(&turned, &Whole { expected, cut, was, pushed, durability, seed, rule })
    }
}

/// Turns a bit over of the disk that a death leaves at a step of a workload, and opens it.
///
/// # Errors
/// [`Violation`] where something came back that was not allowed, or a refusal or a salvage is not as it should be.
pub fn flip(
    recorded: &Recorded,
    script: &Script,
    (disk, step, death): (SimFs, u64, Death),
    rng: &mut Rng,
    flips: &Flips,
) -> Result<(), Box<Violation>> {
    // Between two renames the last file of the log has another name: whether its end may be cut is asked by its own.
    let disk = disk.kill();
    tidegauge_storage::wal::finish_renaming(&disk, Path::new("memory/wal")).expect("nothing fails here");
    let (expected, any) = (recorded.history.expected(step, death), recorded.history.any_prefix(step));
    let wrong = |what: String| {
        let (disk, expected, trail) = (disk.kill(), expected.clone(), "a bit turned over".to_owned());
        let (must, again, durability) = (Must::Open, None, script.durability);
        Box::new(Violation { what, trail, disk, must, again, expected, durability })
    };
    if disk.files().iter().all(|(_, len)| *len == 0) {
        return Ok(());
    }
    let Some(was) = found(&disk, script).map_err(wrong)? else { return Ok(()) };
    let prefix = expected.check(&was.found).map_err(wrong)?;
    let exactly = expected.exactly(&prefix);
    let turned = turn_over(&disk, rng);
    let cut = end::may_be_cut(&disk, &turned.path, turned.bit).then_some(&any);
    let (was, pushed, seed) = (&*was.lanes, &recorded.pushed, script.seed);
    let (durability, rule) = (script.durability, Rule::Told);
    let whole = Whole { expected: &exactly, cut, was, pushed, durability, seed, rule };
    let rot = flip_one(&turned, &whole).map_err(|what| {
        // Kept as it was opened.
        let (disk, must) = (turned.disk.kill(), Must::Turned(Box::new(Kept::of(&turned, &whole))));
        Box::new(Violation { disk, expected: exactly.clone(), must, ..*wrong(what) })
    })?;
    let count = match rot {
        Rot::Refused | Rot::NotRead => &flips.refused,
        Rot::Right => &flips.right,
        Rot::Cut => &flips.cut,
    };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// What is there without the damage. `None` if a rule by size is in force, which drops more while others look.
pub(crate) fn found(disk: &SimFs, script: &Script) -> Result<Option<Read>, String> {
    let disk = disk.kill();
    let engine = store::open(&disk, script.durability).map_err(|e| format!("it does not open: {e}"))?;
    let settled = engine.retention().max_bytes.is_none();
    let read = store::read(&engine, usize::from(script.lanes));
    let _next = disk.next_process();
    let _ = engine.close();
    Ok(settled.then_some(read?))
}
