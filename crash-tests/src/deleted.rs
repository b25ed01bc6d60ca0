//! Killed behind a delete, and the manifest is lost.
//!
//! What a delete hid is gone from segments, or is there still: compaction had not come to it, or had written what replaces
//! a segment and not removed that. The manifest alone knew which, and has forgotten the delete where it was carried out.
//! Whatever there is, a salvage shows what was there before, all of it and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{SimFs, Timeline};
use tidegauge_storage::manifest::Manifest;

use crate::acts::Act;
use crate::amid::{MANIFEST, WAYS, lose};
use crate::campaign::Recorded;
use crate::examine::{Counts, Must, Violation};
use crate::faults::{Rule, Turned, Whole, salvage};
use crate::flips::{Kept, found};
use crate::oracle::Death;
use crate::script::{Rng, Script};

/// If a delete was answered before the present step of a workload: loses the manifest of what a kill leaves there, in one
/// of some ways, and salvages it.
///
/// # Errors
/// [`Violation`] where something is missing, or something comes back.
pub fn forget_deletes(
    recorded: &Recorded,
    script: &Script,
    timeline: &Timeline,
    rng: &mut Rng,
    counts: &Counts,
) -> Result<(), Box<Violation>> {
    let (history, step) = (&recorded.history, timeline.at());
    let acts = &history.acts;
    // Nobody was answered what is under way. Rules of retention are not taken over, so what they hide is shown again.
    // Without a log a flush that was not committed shows more than there was.
    let is_sure = acts.is_behind(Act::Delete, step)
        && acts.at(step).all(|act| act != Act::Delete)
        && !acts.is_begun(Act::Retention, step)
        && script.durability != Durability::Memory;
    if !is_sure {
        return Ok(());
    }
    let disk = timeline.kill();
    let (expected, durability) = (history.expected(step, Death::Kill), script.durability);
    let wrong = |disk: &SimFs, what, must| {
        let (disk, expected, trail) =
            (disk.kill(), expected.clone(), "the manifest is lost behind a delete".to_owned());
        Box::new(Violation { what, trail, disk, must, again: None, expected, durability })
    };
    let read = found(&disk, script).map_err(|what| wrong(&disk, what, Must::Open))?;
    let Some(was) = read else { return Ok(()) };
    let damaged = disk.kill();
    lose(&damaged, rng.below(WAYS));
    let (was, pushed) = (&*was.lanes, &recorded.pushed);
    let whole = Whole { expected: &expected, cut: None, was, pushed, durability, seed: rng.draw(), rule: Rule::Exact };
    salvage(&damaged, &whole).map_err(|what| {
        let turned = Turned { disk: damaged.kill(), path: Path::new(MANIFEST).to_owned(), bit: 0 };
        wrong(&damaged, what, Must::Turned(Box::new(Kept::of(&turned, &whole))))
    })?;
    if waiting(&disk).is_some_and(|waiting| waiting < deleted(&disk)) {
        counts.forgotten.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Deletes that the manifest knows.
fn waiting(disk: &SimFs) -> Option<usize> {
    let manifest = Manifest::open_read_only(Arc::new(disk.clone()), "memory").ok()?;
    Some(manifest.state().tombstones.len())
}

/// Those that the audit log names.
fn deleted(disk: &SimFs) -> usize {
    let text = disk.map(Path::new("memory/audit.log")).map_or_else(|_| Vec::new(), |bytes| bytes.to_vec());
    String::from_utf8_lossy(&text).matches("\"act\":\"delete\"").count()
}
