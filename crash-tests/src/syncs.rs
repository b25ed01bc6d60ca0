//! A disk that lies to one caller: each sync that the engine asks for must be missed when it
//! does nothing, or it is superfluous, or the workloads are too weak.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegauge_storage::fs::sim::SyncSite;

use crate::campaign::{Recorded, record};
use crate::examine::{Counts, SHALLOW, lose_power};
use crate::run::Stopped;
use crate::script::{Rng, Script, Step};
use tidegauge::Durability;
use tidegauge_storage::fs::sim::Random;

/// Random workloads besides the short ones.
const WORKLOADS: u64 = 8;
/// Choices at each step.
const CHOICES: u64 = 4;

/// Which function asks for the sync at hand, and which kind it is.
///
/// Where there is debug information, functions that were inlined are told apart, but named without their path: the
/// files they are in say whose they are.
///
/// # Panics
/// If the backtrace tells nothing, as without symbols.
#[must_use]
pub fn caller() -> SyncSite {
    let trace = Backtrace::force_capture().to_string();
    let mut lines = trace.lines().map(str::trim).peekable();
    let mut kind = None;
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once(": ") else { continue };
        let place = lines.next_if(|next| next.starts_with("at "));
        let simulated = name.contains("fs::sim::") || place.is_some_and(|at| at.contains("/fs/sim"));
        let ours = match place {
            Some(at) => ["storage/src/", "engine/src/"].iter().any(|folder| at.contains(folder)),
            None => name.contains("tidegauge"),
        };
        if simulated && name.contains("sync_dir") {
            kind = Some("the folder's names");
        } else if simulated && name.contains("sync_data") {
            kind = Some("the file's content");
        } else if let Some(kind) = kind
            && !simulated
            && ours
        {
            let end = name.rfind("::h").filter(|at| name.len() - at == 19).unwrap_or(name.len());
            let file = place.and_then(|at| at.split(':').next()).map_or(String::new(), |file| format!(" {file}"));
            return format!("{}{file}: {kind}", &name[..end]).into();
        }
    }
    panic!("no caller in {trace}");
}

/// A crash point at which a missing sync was noticed.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The workload's seed.
    pub workload: u64,
    /// The step of its disk.
    pub step: u64,
    /// What was wrong.
    pub what: String,
}

/// A sync that was left out.
#[derive(Clone, Debug)]
pub struct Missed {
    /// Who asks for it.
    pub site: SyncSite,
    /// How often it was asked for in all workloads.
    pub times: usize,
    /// Where it was noticed, if it was.
    pub noticed: Option<Noticed>,
}

/// Workloads in which every sync that there is should matter.
fn workloads(seed: u64) -> Vec<Script> {
    let memory = vec![Step::Push(1), Step::Flush, Step::Push(1), Step::Flush, Step::Visible];
    // So much that the manifest is written anew.
    let mut rewritten = vec![Step::Metadata(200_000); 3];
    rewritten.extend([Step::Push(1), Step::Flush, Step::Push(1), Step::Flush]);
    let mut scripts = Script::short();
    let copied = [Step::Push(1), Step::Backup].repeat(6);
    scripts.push(Script { seed: 102, lanes: 1, durability: Durability::Sync, steps: copied });
    scripts.push(Script { seed: 100, lanes: 1, durability: Durability::Memory, steps: memory });
    scripts.push(Script { seed: 101, lanes: 1, durability: Durability::Sync, steps: rewritten });
    scripts.extend((seed..seed + WORKLOADS).map(|seed| Script::random(seed, 40)));
    scripts
}

/// Leaves out every sync of one site after the other.
///
/// # Errors
/// If a workload does not run on a sound disk.
pub fn miss_each_sync(seed: u64) -> Result<Vec<Missed>, Stopped> {
    let scripts = workloads(seed);
    let recorded = scripts.iter().map(|s| record(s, caller)).collect::<Result<Vec<_>, _>>()?;
    let mut sites = BTreeMap::<SyncSite, usize>::new();
    for site in recorded.iter().flat_map(|r| r.timeline.sync_sites()) {
        *sites.entry(site).or_default() += 1;
    }
    let miss = |(site, times): (SyncSite, usize)| {
        let noticed = scripts.iter().zip(&recorded).find_map(|(s, r)| notice(s, r, |asking| asking == &*site));
        Missed { site, times, noticed }
    };
    Ok(sites.into_iter().map(miss).collect())
}

/// Whether anything is wrong on a disk that ignores some syncs of a workload.
#[must_use]
pub fn notice(script: &Script, recorded: &Recorded, ignored: impl Fn(&str) -> bool) -> Option<Noticed> {
    let (mut timeline, history) = (recorded.timeline.clone(), &recorded.history);
    let (mut rng, counts) = (Rng(script.seed), Counts::default());
    while !timeline.is_over() {
        timeline.advance_ignoring(&ignored);
        for _ in 0..CHOICES {
            let mut choose = Random::new(rng.draw());
            let found = lose_power(&timeline, history, &mut choose, script.durability, &mut rng, SHALLOW, &counts);
            if let Err(v) = found {
                return Some(Noticed { workload: script.seed, step: timeline.at(), what: v.what });
            }
        }
    }
    None
}

/// The name of every site, for a disk that lies to all.
#[must_use]
pub fn anyone() -> Arc<str> {
    "anyone".into()
}
