//! A random workload on a disk that fails once, or runs full and is freed: whatever the engine answers then, reads go
//! on and are right, and what was acknowledged is there after a crash anywhere (P4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegauge::Durability;
use tidegauge_storage::fs::sim::{Fault, SimFs};

use crate::campaign::{Recorded, anyone, slow_syncs};
use crate::run::{Run, Stopped};
use crate::script::{Rng, Script, Step};
use crate::store::{self, SOON};

/// Who waits for longer learns that there is no space.
const PATIENCE: Duration = Duration::from_millis(20);
/// Of as many operations, and syncs, as most workloads have, one fails.
const OPERATIONS: u64 = 150;
const SYNCS: u64 = 40;
/// Bytes that are free when the disk begins to be full, at most.
const SPARE: u64 = 30_000;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// One operation fails.
    Operation(u64),
    /// One sync fails.
    Sync(u64),
    /// Before one step of the workload it has so many bytes left, before another one enough again.
    Full {
        /// The first step.
        from: usize,
        /// The first one behind.
        until: usize,
        /// What is left.
        spare: u64,
    },
}

impl Trouble {
    /// That of a workload with this seed; some have none. Seeds count up, so that each kind has its turn.
    #[must_use]
    pub fn of(script: &Script) -> Option<Self> {
        let mut rng = Rng(script.seed ^ 0xdead_d15c);
        let steps = script.steps.len() as u64;
        match script.seed % 8 {
            0..2 => Some(Self::Operation(1 + rng.below(OPERATIONS))),
            2..4 => Some(Self::Sync(1 + rng.below(SYNCS))),
            4..6 => {
                let from = rng.below(steps / 2 + 1) as usize;
                let until = from + 1 + (steps / 8 + rng.below(steps / 2 + 1)) as usize;
                Some(Self::Full { from, until, spare: rng.below(SPARE) })
            }
            _ => None,
        }
    }
}

/// Workloads whose disk failed, each where it did.
#[derive(Debug, Default)]
pub struct Met {
    /// One operation failed.
    pub operations: AtomicU64,
    /// A sync failed.
    pub syncs: AtomicU64,
    /// The disk was full, and something was refused.
    pub full: AtomicU64,
    /// The engine stopped writing for good.
    pub poisoned: AtomicU64,
    /// There was space again, and it went on by itself.
    pub resumed: AtomicU64,
}

impl Met {
    fn note(&self, trouble: Trouble, fs: &SimFs, refused: bool) {
        let met = match trouble {
            Trouble::Operation(at) if fs.operations() >= at => &self.operations,
            Trouble::Sync(at) if fs.syncs() >= at => &self.syncs,
            Trouble::Full { .. } if refused => &self.full,
            _ => return,
        };
        met.fetch_add(1, Ordering::Relaxed);
    }

    /// The first kind of which there are fewer than `least`.
    #[must_use]
    pub fn short_of(&self, least: u64) -> Option<&'static str> {
        let kinds = [
            ("operations that failed", &self.operations),
            ("syncs that failed", &self.syncs),
            ("disks that were full", &self.full),
            ("engines that stopped writing", &self.poisoned),
            ("engines that went on when there was space", &self.resumed),
        ];
        kinds.into_iter().find(|(_, count)| count.load(Ordering::Relaxed) < least).map(|(name, _)| name)
    }
}

/// Whether the twin knows what became of a step that was refused while the engine lives on. What is neither known to
/// be there nor not to be is the last thing that a workload does.
fn is_known(step: Step, durability: Durability) -> bool {
    match step {
        // Without a log it is visible, and not noted.
        Step::Delete(_) => durability != Durability::Memory,
        Step::RetainBytes(_) | Step::Metadata(_) | Step::Kill | Step::Close => false,
        _ => true,
    }
}

/// Runs a script on a disk in trouble. `None` if the store was not opened in the first place.
///
/// # Errors
/// Says which promise was broken meanwhile.
pub fn record_in(script: &Script, trouble: Trouble, met: &Met) -> Result<Option<Recorded>, String> {
    let fs = SimFs::new();
    fs.record();
    slow_syncs(&fs, script.seed, anyone);
    match trouble {
        Trouble::Operation(at) => fs.fail_at(at, Fault::Io),
        Trouble::Sync(at) => fs.fail_sync_at(at),
        Trouble::Full { .. } => {}
    }
    let mut run = match Run::begin_patient(fs.clone(), script, PATIENCE) {
        Ok(run) => run,
        Err(e) => {
            no_panic(&e.0)?;
            met.note(trouble, &fs, false);
            // Nothing was stored yet: it must open now.
            fs.restart();
            let disk = fs.next_process();
            let engine = store::open(&disk, script.durability).map_err(|e| format!("never opens again: {e}"))?;
            return engine.close().map(|()| None).map_err(|e| format!("does not close: {e}"));
        }
    };
    let refused = go_on(&mut run, script, trouble, met)?;
    met.note(trouble, &fs, refused);
    run.keep_era();
    if let Some(why) = run.try_engine().and_then(|engine| engine.is_healthy().err()) {
        no_panic(&why.to_string())?;
        met.poisoned.fetch_add(1, Ordering::Relaxed);
        if matches!(trouble, Trouble::Full { .. }) {
            return Err("a full disk poisoned".to_owned());
        }
    }
    let mut history = std::mem::take(&mut run.history);
    let timeline = run.fs.timeline();
    history.acts.note_log(&timeline);
    // What an act notes there may fail, and the act stands.
    history.forget_audit();
    let recorded = Recorded { timeline, history, pushed: run.pushed() };
    let _next = run.fs.next_process();
    if let Some(engine) = run.take_engine() {
        let _ = engine.close();
    }
    Ok(Some(recorded))
}

/// A refusal has a reason, and it is not that a thread panicked: that poisons, too.
pub(crate) fn no_panic(why: &str) -> Result<(), String> {
    if why.is_empty() || why.contains("panicked") { Err(format!("it is refused with {why:?}")) } else { Ok(()) }
}

/// Goes on after what was refused, as long as the engine writes. Answers whether something was.
fn go_on(run: &mut Run, script: &Script, trouble: Trouble, met: &Met) -> Result<bool, String> {
    let (mut refused, mut known) = (false, true);
    for (nth, step) in script.steps.iter().enumerate() {
        if let Trouble::Full { from, until, spare } = trouble {
            if nth == from {
                let used: u64 = run.fs.files().iter().map(|(_, len)| len).sum();
                run.fs.set_capacity(Some(used + spare));
            } else if nth == until {
                run.fs.set_capacity(None);
            }
        }
        let Err(Stopped(why)) = run.step(*step) else { continue };
        refused = true;
        no_panic(&why)?;
        let Some(engine) = run.try_engine() else {
            known = false;
            break;
        };
        let read = store::read(engine, run.lanes()).map_err(|e| format!("{why}, and reads do not go on: {e}"))?;
        run.check_visible(&read.found).map_err(|e| format!("{why}, and reads are wrong: {e}"))?;
        known = is_known(*step, script.durability) && engine.is_healthy().is_ok();
        if !known {
            break;
        }
    }
    if let Some(wrong) = run.broken.take() {
        return Err(wrong);
    }
    run.fs.set_capacity(None);
    if refused && known && matches!(trouble, Trouble::Full { .. }) {
        run.patience(SOON);
        run.recover_from_full().map_err(|e| format!("there is space, and it does not go on: {}", e.0))?;
        let read = store::read(run.engine(), run.lanes())?;
        run.check_all(&read.found).map_err(|e| format!("there was no space for a while, and {e}"))?;
        met.resumed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(refused)
}
