//! A disk that lies to one caller: each sync that the engine asks for must be missed when it
//! does nothing, or it is superfluous, or the workloads are too weak.

use std::backtrace::Backtrace;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegauge::Durability;
use tidegauge_storage::fs::sim::{AllBut, Choose, Random, SyncSite, Timeline};

use crate::campaign::{Recorded, record};
use crate::examine::{Counts, Depth, lose_power};
use crate::mends;
use crate::run::Stopped;
use crate::script::{Rng, Script, Step};

/// Random workloads besides the short ones.
const WORKLOADS: u64 = 8;
/// Choices of each kind that lose, or leave, one thing alone: the names come first.
const ALONE: u64 = 8;
/// A site that nobody missed is gone through again with so many times the choices: which are drawn depends on how threads
/// raced, and some windows are narrow.
const AGAIN: u64 = 8;
/// Crash points for each that is opened twice.
const TWICE_ONE_IN: u64 = 8;

/// Syncs for several lines: each of those is a site.
const SHARED: [&str; 3] = ["sync_above", "make_dir", "sync_since"];

/// Which line asks for the sync at hand, and which kind it is. Where several lines share what asks, which of them.
///
/// # Panics
/// If the backtrace tells no line of ours: our packages are built with line tables, whatever a profile says
/// (`Cargo.toml`).
#[must_use]
pub fn caller() -> SyncSite {
    let trace = Backtrace::force_capture().to_string();
    let mut lines = trace.lines().map(str::trim).peekable();
    let (mut kind, mut by) = (None, String::new());
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once(": ") else { continue };
        let Some(place) = lines.next_if(|next| next.starts_with("at ")) else { continue };
        let simulated = name.contains("fs::sim::") || place.contains("/fs/sim");
        let ours = ["storage/src/", "engine/src/"].iter().any(|folder| place.contains(folder));
        if simulated && name.contains("sync_dir") {
            kind = Some("the folder's names");
        } else if simulated && name.contains("sync_data") {
            kind = Some("the file's content");
        } else if let Some(kind) = kind
            && !simulated
            && ours
        {
            match SHARED.iter().find(|shared| name.contains(**shared)) {
                Some(shared) => by = format!(", by {shared}"),
                None => return format!("{}: {kind}{by}", line_of(place)).into(),
            }
        }
    }
    panic!("no line of ours asks for a sync in {trace}");
}

/// Of a place of a backtrace, `at ./engine/src/open/begin.rs:62:60`.
fn line_of(place: &str) -> &str {
    let place = place.trim_start_matches("at ");
    place.rsplit_once(':').map_or(place, |(line, _column)| line)
}

/// Something that was done on a disk, and what must hold on each disk that a power loss leaves of it.
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// Its disk, at the beginning.
    pub timeline: Timeline,
    /// Choices of what was not synced by chance, at each step.
    pub choices: u64,
    /// Whether each of the first things that may be lost is also lost, and left, alone: no matter of chance, and many
    /// choices.
    pub alone: bool,
    /// Loses power at the timeline's present step, with a choice, and says what is wrong then. What else is drawn goes by
    /// a seed.
    pub judge: Judge,
}

/// See [`Workload::judge`].
pub type Judge = Box<dyn Fn(&Timeline, &mut dyn Choose, u64) -> Result<(), String>>;

impl Workload {
    /// A script that was run.
    #[must_use]
    pub fn of(script: &Script, recorded: Recorded) -> Self {
        let Recorded { timeline, history, .. } = recorded;
        let (durability, counts, shallow) = (script.durability, Counts::default(), Depth::shallow(TWICE_ONE_IN));
        let judge = move |timeline: &Timeline, choose: &mut dyn Choose, seed: u64| {
            let lost = lose_power(timeline, &history, choose, durability, &mut Rng(seed), shallow, &counts);
            lost.map_err(|violation| violation.what)
        };
        Self { name: format!("workload {}", script.seed), timeline, choices: 4, alone: false, judge: Box::new(judge) }
    }

    /// What is wrong at the timeline's present step, with any choice; `times` as many by chance.
    fn wrong_now(&self, timeline: &Timeline, times: u64, rng: &mut Rng) -> Option<Noticed> {
        let judged = |choose: &mut dyn Choose, seed| {
            let what = (self.judge)(timeline, choose, seed).err()?;
            Some(Noticed { workload: self.name.clone(), step: timeline.at(), what })
        };
        // Those are the same each time.
        let alone = 0..if self.alone && times == 1 { ALONE } else { 0 };
        let mut alone = alone.flat_map(|nth| [AllBut::lost(nth), AllBut::left(nth)]);
        let noticed = alone.find_map(|mut one| judged(&mut one, 0));
        noticed.or_else(|| {
            (0..times * self.choices).find_map(|_| {
                let seed = rng.draw();
                judged(&mut Random::new(seed), seed)
            })
        })
    }

    /// Whether anything is wrong on a disk that ignores some of its syncs. As long as none of these came, it is as any
    /// other disk.
    #[must_use]
    pub fn notice(&self, ignored: impl Fn(&str) -> bool) -> Option<Noticed> {
        self.notice_in(1, ignored)
    }

    fn notice_in(&self, times: u64, ignored: impl Fn(&str) -> bool) -> Option<Noticed> {
        let mut timeline = self.timeline.clone();
        let mut rng = Rng(timeline.end());
        let mut differs = false;
        while !timeline.is_over() {
            differs |= timeline.next_site().is_some_and(&ignored);
            timeline.advance_ignoring(&ignored);
            if differs && let Some(noticed) = self.wrong_now(&timeline, times, &mut rng) {
                return Some(noticed);
            }
        }
        None
    }

    /// What is wrong though no sync was ignored.
    #[must_use]
    pub fn is_wrong(&self) -> Option<Noticed> {
        let (mut timeline, mut rng) = (self.timeline.clone(), Rng(self.timeline.end()));
        while !timeline.is_over() {
            timeline.advance();
            if let Some(noticed) = self.wrong_now(&timeline, 1, &mut rng) {
                return Some(noticed);
            }
        }
        None
    }
}

/// A crash point at which a missing sync was noticed.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The workload.
    pub workload: String,
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
fn scripts(seed: u64) -> Vec<Script> {
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
    let run = |script: &Script| record(script, caller).map(|recorded| Workload::of(script, recorded));
    let mut workloads = scripts(seed).iter().map(run).collect::<Result<Vec<_>, _>>()?;
    workloads.extend(mends::workloads(caller)?);
    let mut sites = BTreeMap::<SyncSite, (usize, BTreeSet<usize>)>::new();
    for (nth, workload) in workloads.iter().enumerate() {
        for site in workload.timeline.sync_sites() {
            let (times, of) = sites.entry(site).or_default();
            *times += 1;
            of.insert(nth);
        }
    }
    let miss = |(site, (times, of)): (SyncSite, (usize, BTreeSet<usize>))| {
        let noticed = [1, AGAIN]
            .into_iter()
            .find_map(|more| of.iter().find_map(|nth| workloads[*nth].notice_in(more, |asking| asking == &*site)));
        Missed { site, times, noticed }
    };
    Ok(sites.into_iter().map(miss).collect())
}

/// The name of every site, for a disk that lies to all.
#[must_use]
pub fn anyone() -> Arc<str> {
    "anyone".into()
}
