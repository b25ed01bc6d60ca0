//! One bit of what a crash left turns over.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegauge_storage::fs::sim::SimFs;

use crate::campaign::Recorded;
use crate::end;
use crate::examine::{Must, Violation};
use crate::faults::{Rot, flip_one, turn_over};
use crate::oracle::{Death, Expected};
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
    let (expected, any) = (recorded.history.expected(step, death), recorded.history.any_prefix(step));
    let wrong = |what: String| {
        let (disk, expected, trail) = (disk.kill(), expected.clone(), "a bit turned over".to_owned());
        Box::new(Violation { what, trail, disk, must: Must::Open, expected, durability: script.durability })
    };
    if disk.files().iter().all(|(_, len)| *len == 0) {
        return Ok(());
    }
    let Some(was) = found(&disk, script).map_err(wrong)? else { return Ok(()) };
    let prefix = expected.check(&was.found).map_err(wrong)?;
    let exactly = expected.exactly(&prefix);
    let rests = end::is_at_rest(&disk);
    let turned = turn_over(&disk, rng);
    // Kept as it was opened.
    let wrong = |what: String, expected: &Expected| {
        let (disk, expected) = (turned.disk.kill(), expected.clone());
        Box::new(Violation { disk, expected, must: Must::Either, ..*wrong(what) })
    };
    let rot = flip_one(&turned, &exactly, &any, (script, &was.lanes, &recorded.pushed))
        .map_err(|what| wrong(what, if turned.may_be_cut() { &any } else { &exactly }))?;
    let count = match rot {
        Rot::Refused | Rot::NotRead => &flips.refused,
        Rot::Right => &flips.right,
        Rot::Cut if rests => {
            return Err(wrong("log and manifest rested, and their end was cut without a word".to_owned(), &exactly));
        }
        Rot::Cut => &flips.cut,
    };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// What is there without the damage. `None` if a rule by size is in force, which drops more while others look.
fn found(disk: &SimFs, script: &Script) -> Result<Option<Read>, String> {
    let disk = disk.kill();
    let engine = store::open(&disk, script.durability).map_err(|e| format!("it does not open: {e}"))?;
    let settled = engine.retention().max_bytes.is_none();
    let read = store::read(&engine, usize::from(script.lanes));
    let _next = disk.next_process();
    let _ = engine.close();
    Ok(settled.then_some(read?))
}
