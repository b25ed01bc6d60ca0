//! Killed amid a flush, and the manifest is lost.
//!
//! A kill leaves what was written, and the log keeps what a flush writes until its commit is there. So whatever of the
//! flush is there, and whatever becomes of the manifest, a salvage misses nothing.

use std::path::Path;
use std::sync::atomic::Ordering;

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{SimFs, Timeline};

use crate::acts::Act;
use crate::campaign::Recorded;
use crate::examine::{Counts, Must, Violation};
use crate::faults::{Rule, Turned, Whole, salvage};
use crate::flips::{Kept, found};
use crate::oracle::Death;
use crate::script::{Rng, Script};

pub(crate) const MANIFEST: &str = "memory/MANIFEST";
/// As `docs/format/manifest.md` has it: where the first commit lies.
const COMMITS: u64 = 64;
/// In which a manifest is lost.
pub(crate) const WAYS: u64 = 3;

/// Loses the manifest: it is removed; nothing can be read of it; or all but what it began with.
pub(crate) fn lose(disk: &SimFs, way: u64) {
    let path = Path::new(MANIFEST);
    let lost = match way {
        0 => disk.remove(path),
        1 => disk.open(path).and_then(|file| file.set_len(COMMITS)),
        _ => disk.open(path).and_then(|file| file.write_all_at(COMMITS, &[0; 48])),
    };
    lost.expect("it is there");
}

/// If a flush is under way at the present step of a workload: loses the manifest of what a kill leaves there, in one of
/// some ways, and salvages it.
///
/// # Errors
/// [`Violation`] where something is missing.
pub fn lose_manifest(
    recorded: &Recorded,
    script: &Script,
    timeline: &Timeline,
    rng: &mut Rng,
    counts: &Counts,
) -> Result<(), Box<Violation>> {
    let (history, step) = (&recorded.history, timeline.at());
    let is_amid = history.acts.at(step).any(|act| act == Act::Flush);
    // Without a log a flush that was not committed is lost.
    if !is_amid || script.durability == Durability::Memory {
        return Ok(());
    }
    let disk = timeline.kill();
    let (expected, durability) = (history.expected(step, Death::Kill), script.durability);
    let wrong = |disk: &SimFs, what, must| {
        let (disk, expected, trail) = (disk.kill(), expected.clone(), "the manifest is lost".to_owned());
        Box::new(Violation { what, trail, disk, must, again: None, expected, durability })
    };
    let read = found(&disk, script).map_err(|what| wrong(&disk, what, Must::Open))?;
    let Some(was) = read else { return Ok(()) };
    let damaged = disk.kill();
    let path = Path::new(MANIFEST);
    lose(&damaged, rng.below(WAYS));
    let (was, pushed) = (&*was.lanes, &recorded.pushed);
    let whole = Whole { expected: &expected, cut: None, was, pushed, durability, seed: rng.draw(), rule: Rule::Logged };
    salvage(&damaged, &whole).map_err(|what| {
        let turned = Turned { disk: damaged.kill(), path: path.to_owned(), bit: 0 };
        wrong(&damaged, what, Must::Turned(Box::new(Kept::of(&turned, &whole))))
    })?;
    counts.amid_flush.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
