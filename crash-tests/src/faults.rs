//! P4: a disk that fails or runs full once, at each operation of a workload; and one that ages.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use tidegauge::{Durability, Lost, Recovery, Retention, TimeRange, Timestamp};
use tidegauge_storage::fs::sim::{Fault, SimFs};

use crate::examine::{Counts, Depth, examine};
use crate::oracle::{Contents, Death, Expected, Key};
use crate::run::{Run, Stopped};
use crate::script::{Rng, Script};
use crate::store;
use crate::unsound::no_panic;

/// Longer than a retry of the engine's: who waits for longer learns what has run out.
const PATIENCE: Duration = Duration::from_millis(300);
/// What is gone on with after a fault.
const DEPTH: Depth = Depth { levels: 1, one_in: 2, points: 1, twice_one_in: 2, audit: false };

/// How a run ended in which one operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The store was not opened, and says why.
    NotOpened,
    /// Nobody needed what failed.
    Finished,
    /// The engine stopped writing for good.
    Poisoned,
    /// The engine refused something and lives on.
    Refused,
}

/// Runs `script` on a disk whose operation number `at` fails, then opens what is left after a
/// kill and after power losses. Answers how the run ended, and how many operations it had.
///
/// # Errors
/// Says which promise was broken.
pub fn fail_one(script: &Script, at: u64, fault: Fault, counts: &Counts) -> Result<(Ending, u64), String> {
    let fs = SimFs::new();
    fs.record();
    fs.fail_at(at, fault);
    // A device that fails poisons, and who waits is told at once: what is merely slow is not refused.
    let patience = if fault == Fault::Io { store::SOON } else { PATIENCE };
    let mut run = match Run::begin_patient(fs.clone(), script, patience) {
        Ok(run) => run,
        Err(e) => {
            // Nothing was stored yet: it must open now.
            fs.restart();
            let again =
                store::open(&fs.next_process(), script.durability).map_err(|e| format!("never opens again: {e}"))?;
            let _ = again.close();
            return if e.0.is_empty() { Err("no reason".to_owned()) } else { Ok((Ending::NotOpened, fs.operations())) };
        }
    };
    let result = run.go(script);
    let ending = judge(&mut run, &result)?;
    let operations = run.fs.operations();
    let end = run.fs.steps();
    let timeline = {
        let mut timeline = run.fs.timeline();
        while timeline.at() < end {
            timeline.advance();
        }
        timeline
    };
    run.fs.restart();
    let mut history = std::mem::take(&mut run.history);
    history.forget_audit();
    let _next = run.fs.next_process();
    if let Some(engine) = run.take_engine() {
        let _ = engine.close();
    }
    let mut rng = Rng(script.seed ^ at);
    for death in 0..3 {
        let choice = rng.draw();
        let (disk, death) = match death {
            0 => (timeline.kill(), Death::Kill),
            _ => (timeline.kill().crash(choice), Death::PowerLoss),
        };
        examine(disk, (&history, timeline.at(), death), script.durability, &mut rng, DEPTH, counts)
            .map_err(|v| format!("{death:?} after {ending:?} ({:?}): {} {}", result, v.what, v.trail))?;
    }
    Ok((ending, operations))
}

/// Reads go on whatever happened, and a refusal has its reason.
fn judge(run: &mut Run, result: &Result<(), Stopped>) -> Result<Ending, String> {
    let Some(engine) = run.try_engine() else {
        // It failed to open again.
        return Ok(Ending::NotOpened);
    };
    let expected = run.history.expected(run.fs.steps(), Death::Kill);
    let read = store::read(engine, run.lanes()).map_err(|e| format!("reads do not go on: {e}"))?;
    expected.check(&read.found).map_err(|e| format!("reads are wrong after a fault: {e}"))?;
    if let Err(Stopped(why)) = result {
        no_panic(why)?;
    }
    match (engine.is_healthy(), result) {
        (Err(why), _) => no_panic(&why.to_string()).map(|()| Ending::Poisoned),
        (Ok(()), Ok(())) => Ok(Ending::Finished),
        (Ok(()), Err(_)) => Ok(Ending::Refused),
    }
}

/// What a flipped bit led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// The store did not open, and names the damage.
    Refused,
    /// A read names the damage.
    NotRead,
    /// What comes back is right all the same.
    Right,
    /// The end of the log, or of the manifest, was cut: nobody could know that it had been durable.
    Cut,
}

/// What a failed read led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The store did not open, and says why.
    NotOpened,
    /// It opened, and something could not be read or done.
    Told,
    /// Nobody needed it.
    Right,
}

/// Opens a disk whose read number `at` fails once, and works on it. Whatever was answered meanwhile: afterwards
/// everything is there. Answers what happened, and how many reads there were.
///
/// # Errors
/// Says which promise was broken.
pub fn unread(disk: &SimFs, at: u64, expected: &Expected, script: &Script) -> Result<(Unread, u64), String> {
    let disk = disk.kill();
    disk.fail_read_at(at);
    let lanes = usize::from(script.lanes);
    let outcome = match store::open(&disk, script.durability) {
        Err(e) if e.to_string().is_empty() => return Err("no reason".to_owned()),
        Err(_) => Unread::NotOpened,
        Ok(engine) => {
            let read = store::read(&engine, lanes);
            // A flush of what was replayed, a compaction and a copy read what is there.
            let worked = engine.flush().map_err(|e| e.to_string());
            let worked = worked.and_then(|()| engine.compact().map_err(|e| e.to_string()));
            let again = store::read(&engine, lanes);
            let _next = disk.next_process();
            let _ = engine.close();
            for read in [&read, &again].into_iter().flatten() {
                expected.check(&read.found).map_err(|e| format!("read {at} failed, and others are wrong: {e}"))?;
            }
            if read.is_ok() && worked.is_ok() && again.is_ok() { Unread::Right } else { Unread::Told }
        }
    };
    let reads = disk.reads();
    disk.restart();
    let disk = disk.next_process();
    let engine = store::open(&disk, script.durability).map_err(|e| format!("read {at} failed, never opens: {e}"))?;
    let read = store::read(&engine, lanes).map_err(|e| format!("after read {at} failed: {e}"))?;
    expected.check(&read.found).map_err(|e| format!("after read {at} failed once: {e}"))?;
    let _next = disk.next_process();
    let _ = engine.close();
    Ok((outcome, reads))
}

/// What a disk held before a bit of it was turned over.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// What came back of it, and nothing else.
    pub expected: &'a Expected,
    /// What may come back where the bit lies in an end that nobody called durable; `None` where it does not.
    pub cut: Option<&'a Expected>,
    /// By lane.
    pub was: &'a [Contents],
    /// Everything that was ever pushed.
    pub pushed: &'a HashSet<(Key, u64)>,
    /// How it is opened.
    pub durability: Durability,
    /// Of the power loss behind a salvage.
    pub seed: u64,
    /// What a salvage may make of it.
    pub rule: Rule,
}

/// What a salvage may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All that was there, but what it tells.
    Told,
    /// The manifest alone is damaged, and the log has all that segments may lack: nothing may be missing, whatever is told.
    Logged,
    /// As that, and nothing but what was there: what was deleted stays hidden, whoever has forgotten the delete.
    Exact,
}

/// Whether a hole in a segment holds this sample.
fn holds(lost: &Lost, (lane, series, at): &Key) -> bool {
    let of = |labels: &String| {
        [("lane", lane), ("n", series)].iter().all(|(name, value)| labels.contains(&format!("{name}=\"{value}\"")))
    };
    let in_time = |range: TimeRange| range.contains(Timestamp::from_nanos(*at));
    lost.series.as_ref().is_none_or(of) && lost.time_range.is_none_or(in_time)
}

/// Salvages a damaged store. What is not in a reported hole is as it was; nothing comes from nowhere; and the store is
/// whole from then on.
///
/// # Errors
/// Says what came back that should not have, or did not.
pub fn salvage(disk: &SimFs, whole: &Whole<'_>) -> Result<(), String> {
    let (disk, was) = (disk.kill(), whole.was);
    let opened = store::builder(&disk, whole.durability).recovery(Recovery::Salvage).open();
    let engine = opened.map_err(|e| format!("salvage does not open: {e}"))?;
    let report = engine.recovery_report().clone();
    let read = store::read(&engine, was.len()).map_err(|e| format!("what salvage left cannot be read: {e}"))?;
    let (segments, log): (Vec<&Lost>, Vec<&Lost>) =
        report.lost.iter().partition(|lost| lost.file.to_string_lossy().ends_with(".seg"));
    // A manifest made anew takes a segment in that was not committed yet: what came at the same time later is in it.
    let is_later = |key: &Key, bits: u64| report.manifest_made_anew && whole.pushed.contains(&(*key, bits));
    // Of a flush that was being written the report tells how many at most, and no times. A hole of the log has the times at its edges, and late samples lie outside. It counts them, if it has an end.
    let most = |lost: &&Lost| lost.samples.unwrap_or(u64::MAX);
    let told = log.iter().map(most).fold(report.unfinished_flush_samples, u64::saturating_add);
    let mut left = if whole.rule == Rule::Told { told } else { 0 };
    for (was, is) in was.iter().zip(&read.lanes) {
        for (key, bits) in &was.samples {
            let is_there = is.samples.get(key).is_some_and(|is| is == bits || is_later(key, *is));
            if is_there || segments.iter().any(|lost| holds(lost, key)) {
                continue;
            }
            left = left
                .checked_sub(1)
                .ok_or_else(|| format!("{key:?} and others are lost, of more than holes tell of: {:?}", report.lost))?;
        }
        if let Some(new) = is.samples.iter().find(|(key, bits)| !whole.pushed.contains(&(**key, **bits))) {
            return Err(format!("{new:?} was never pushed"));
        }
        if let Some(new) =
            is.samples.iter().find(|(key, _)| whole.rule == Rule::Exact && !was.samples.contains_key(key))
        {
            return Err(format!("{new:?} was deleted, and is shown"));
        }
    }
    let damaged: Vec<_> = report.lost.iter().filter(|lost| lost.samples != Some(0)).collect();
    if !damaged.is_empty() && report.quarantined.is_empty() {
        return Err(format!("nothing is kept of {damaged:?}"));
    }
    let kept = report.quarantined.iter().all(|path| disk.files().iter().any(|(file, _)| file == path));
    let _next = disk.next_process();
    let _ = engine.close();
    if !kept {
        return Err(format!("{:?} are not there", report.quarantined));
    }
    let disk = disk.crash(whole.seed);
    let again = store::open(&disk, whole.durability).map_err(|e| format!("not whole after a salvage: {e}"))?;
    let reread = store::read(&again, was.len()).map_err(|e| format!("not whole after a salvage: {e}"))?;
    let _next = disk.next_process();
    let _ = again.close();
    if reread.found == read.found { Ok(()) } else { Err("the next opening finds something else".to_owned()) }
}

/// A disk of which a bit is turned over.
#[derive(Debug)]
pub struct Turned {
    /// With it.
    pub disk: SimFs,
    /// In which file.
    pub path: PathBuf,
    /// Which.
    pub bit: u64,
}

/// Turns any bit over of any file.
///
/// # Panics
/// If there is no byte.
#[must_use]
pub fn turn_over(disk: &SimFs, rng: &mut Rng) -> Turned {
    let mut files: Vec<_> = disk.files().into_iter().filter(|(_, len)| *len > 0).collect();
    let (path, len) = files.swap_remove(rng.below(files.len() as u64) as usize);
    // Where there is something: the rest of a file is zeros.
    let bit = rng.below(len.min(24 << 10) * 8);
    let disk = disk.kill();
    disk.flip(&path, bit).expect("it is there");
    Turned { disk, path, bit }
}

/// Opens a disk with one bit turned over: everything is right or refused, never wrong.
///
/// # Errors
/// Says what came back that was never there, or which refusal or salvage is not as it should be.
pub fn flip_one(turned: &Turned, whole: &Whole<'_>) -> Result<Rot, String> {
    let (disk, path, bit) = (turned.disk.kill(), &turned.path, turned.bit);
    let place = || format!("bit {bit} of {}", path.display());
    let engine = match store::open(&disk, whole.durability) {
        Ok(engine) => engine,
        Err(e) => {
            let said = e.to_string();
            // Where the manifest lost its end, it names files that are gone.
            let known = ["WAL", "MANIFEST", ".seg"];
            let named = known.iter().any(|name| said.contains(name));
            if !named {
                return Err(format!("{}: refused without a name: {said}", place()));
            }
            salvage(&disk, whole).map_err(|e| format!("{}, {said}: {e}", place()))?;
            return Ok(Rot::Refused);
        }
    };
    let mut read = store::read(&engine, whole.was.len());
    let is_wrong = |expected: &Expected| read.as_ref().is_ok_and(|read| expected.check(&read.found).is_err());
    if is_wrong(whole.expected) && whole.cut.is_some_and(is_wrong) && !engine.retention().rules.is_empty() {
        // A rule has no place in the log's order, and is in force whatever end of that was cut. What it hid is there.
        engine
            .set_retention(Retention { rules: Vec::new(), max_bytes: None })
            .map_err(|e| format!("{}: {e}", place()))?;
        read = store::read(&engine, whole.was.len());
    }
    let _next = disk.next_process();
    let _ = engine.close();
    let read = match read {
        Ok(read) => read,
        Err(said) => {
            salvage(&disk, whole).map_err(|e| format!("{}, {said}: {e}", place()))?;
            return Ok(Rot::NotRead);
        }
    };
    match (whole.expected.check(&read.found), whole.cut) {
        (Ok(_), _) => Ok(Rot::Right),
        (Err(_), Some(cut)) => cut.check(&read.found).map(|_| Rot::Cut).map_err(|e| format!("{}: {e}", place())),
        (Err(e), None) => Err(format!("{}: {e}", place())),
    }
}

/// Steps of a run on a disk that has little space left, then enough again. Answers how often
/// something was refused.
///
/// # Errors
/// Says which promise was broken.
pub fn run_full(script: &Script, spare: u64) -> Result<u64, String> {
    let fs = SimFs::new();
    fs.record();
    let mut run = Run::begin_patient(fs.clone(), script, Duration::from_millis(20)).map_err(|e| e.0)?;
    let used: u64 = fs.files().iter().map(|(_, len)| len).sum();
    fs.set_capacity(Some(used + spare));
    let mut refused = 0;
    for step in &script.steps {
        refused += u64::from(run.step(*step).is_err());
        let engine = run.try_engine().ok_or("closed")?;
        engine.is_healthy().map_err(|e| format!("a full disk poisoned: {e}"))?;
        let read = store::read(engine, run.lanes()).map_err(|e| format!("reads do not go on: {e}"))?;
        run.check_visible(&read.found)?;
    }
    fs.set_capacity(None);
    run.patience(store::SOON);
    run.recover_from_full().map_err(|e| format!("does not resume: {}", e.0))?;
    let read = store::read(run.engine(), run.lanes())?;
    run.check_all(&read.found)?;
    let engine = run.take_engine().ok_or("closed")?;
    engine.close().map_err(|e| format!("does not close: {e}"))?;
    let engine = store::open(&fs, script.durability).map_err(|e| format!("does not open again: {e}"))?;
    let read = store::read(&engine, run.lanes())?;
    run.check_all(&read.found).map_err(|e| format!("after closing and opening: {e}"))?;
    Ok(refused)
}
