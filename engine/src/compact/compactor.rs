//! One thread that has the plan carried out, by the threads of a pool.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::{Fs, is_exhausted};
use tidegauge_storage::manifest::{Manifest, ManifestError};
use tidegauge_storage::segment::{WriteError, id_of};
use tidegauge_storage::source::ReadError;

use super::asked::Asked;
use super::beside::{AtWork, Due};
use super::crew::{Crew, Ended};
use super::desk::Next;
use super::look::{Look, Looked};
use super::plan::{Job, Rules, Turn, Why, segment_bytes};
use super::restraint::{Allowed, May, Restraint};
use super::run::RunError;
use super::{CompactError, Graveyard};
use crate::clock;
use crate::core::Core;
use crate::gate::Shortage;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::watch::{Warning, Worker};

/// Looks for something to do at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// What could not be committed for want of space is tried again after this.
const SPACE_RETRY: Duration = Duration::from_secs(5);
/// While jobs are at work, what goes without being written anew is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// This part of what a segment shall weigh is never too much to hold back: whoever has to wait for a job of it has a segment
/// to wait for anyway.
const HARMLESS_PART: u64 = 4;

/// What the compactor is given.
pub(crate) struct CompactorParts {
    pub(crate) core: Arc<Core>,
    pub(crate) fs: Arc<dyn Fs>,
    /// The folder of the segments.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Mutex<Manifest>>,
    pub(crate) store_id: u128,
    /// Which opening of the store this is.
    pub(crate) opening: u32,
    /// The number of the next segment, shared with the flusher.
    pub(crate) next_segment: Arc<AtomicU64>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) options: CompactOptions,
}

/// How eagerly segments are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactOptions {
    pub(crate) in_background: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_span: Duration,
    pub(crate) cold_after: Duration,
    /// 0: half of the processors.
    pub(crate) threads: usize,
}

/// As many segments of a kind are merged at once.
const FAN: usize = 4;

/// The compactor.
pub(crate) struct Compactor {
    pub(super) parts: CompactorParts,
    pub(super) looked: Looked,
    pub(super) restraint: Restraint,
    /// Made when there is something to do.
    crew: Option<Crew>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("what is kept has changed meanwhile")]
    Outdated,
    #[error("the engine has stopped writing")]
    Poisoned,
}

impl Failure {
    /// What has run out: that passes.
    fn short(&self) -> Option<Shortage> {
        match self {
            Self::Run(RunError::Write(WriteError::Io { source, .. })) => {
                is_exhausted(source).then(|| Shortage::of(source))
            }
            Self::Manifest(ManifestError::NoSpace { source, .. }) => Some(Shortage::of(source)),
            _ => None,
        }
    }
}

impl Compactor {
    pub(crate) fn new(parts: CompactorParts) -> Self {
        Self { parts, looked: Looked::default(), restraint: Restraint::default(), crew: None }
    }

    /// The thread's life. Only what ends the engine ends it: a failed job has written a file that nobody names, and its
    /// next try writes another one.
    pub(crate) fn run(&mut self) {
        let core = Arc::clone(&self.parts.core);
        let mut idle = IDLE;
        loop {
            let (mut asked, number) = match core.compactions.next(idle) {
                Next::Stop => return,
                Next::All(number) => (Some(Asked::new(&core)), number),
                Next::Due => (None, 0),
            };
            let all = asked.is_some();
            if all {
                // Who asks may have made room.
                self.restraint.forget_sizes();
            }
            let sweep = |parts: &CompactorParts| {
                let work = core.watched.begin(Worker::Compact, "removing segments that were replaced");
                parts.graveyard.sweep(&|| work.gets_on());
            };
            sweep(&self.parts);
            let result = self.turn(asked.as_mut());
            sweep(&self.parts);
            if all {
                core.compactions.ended(number, result.clone());
            }
            idle = self.restraint.left(Instant::now()).unwrap_or(IDLE).min(IDLE);
            if self.parts.graveyard.has_any() {
                // Whoever looked at the version for a moment kept the files, and nobody else removes them when he is done.
                idle = idle.min(SPACE_RETRY);
            }
            match result {
                Err(CompactError::Poisoned(cause)) => return core.compactions.gone(CompactError::Poisoned(cause)),
                Ok(()) | Err(CompactError::Damaged { .. } | CompactError::LacksFeature { .. }) => {}
                Err(_) => idle = idle.min(SPACE_RETRY),
            }
        }
    }

    /// What retention by size lets go, and then what is worth a job.
    pub(super) fn turn(&mut self, mut asked: Option<&mut Asked>) -> Result<(), CompactError> {
        let all = asked.is_some();
        // Each whether the other failed or not: what one of them frees the other may need.
        let dropped = self.drop_oldest(all);
        let result = self.work(asked.as_deref_mut()).and(dropped);
        if !all || result.is_err() {
            return result;
        }
        // What was one segment, which stays, may be several by now.
        self.drop_oldest(all).and_then(|()| self.work(asked))
    }

    /// What retention by size lets go while no job is at work. `all`: what can be written anew will be.
    pub(super) fn drop_oldest(&mut self, all: bool) -> Result<(), CompactError> {
        let rewrites = all || self.parts.options.in_background;
        self.parts.drop_oldest(&mut self.looked, &mut self.restraint, AtWork::NOTHING, rewrites)
    }

    /// Jobs as long as anything is worth one, as many at a time as there are threads. After one that failed, those that
    /// the [restraint](Restraint) leaves. Nothing is begun any more once somebody asks for all, unless this is for him: what
    /// comes in may be worth a job again and again.
    pub(super) fn work(&mut self, mut asked: Option<&mut Asked>) -> Result<(), CompactError> {
        let all = asked.is_some();
        let Self { parts, looked, restraint, crew } = self;
        if let Some(poisoned) = parts.core.gate.poisoned() {
            return Err(poisoned.into());
        }
        // Who asks for all of it may have mended what was wrong.
        let mut may = if all { May::Everything } else { restraint.may(Instant::now()) };
        // Most looks find nothing: an engine that has nothing to compact has no threads for it.
        if let Look::Nothing(found) =
            looked.look(parts, asked.as_deref_mut(), restraint.allows(may, Instant::now()), &[])
        {
            looked.found_nothing(&found, asked.as_deref(), may);
            if may == May::Everything {
                parts.is_well(restraint);
            }
            return parts.forget_deletes(&found);
        }
        if crew.is_none() {
            let made = Crew::new(parts.options.threads, &parts.core).map_err(|cause| CompactError::Failed { cause });
            *crew = Some(made.inspect_err(|error| parts.is_failing(error))?);
        }
        let crew = crew.as_ref().expect("made above");
        let (parts, ended) = (&*parts, Ended::default());
        crew.scope(|scope| {
            let (mut running, mut begun): (Vec<Due>, May) = (Vec::new(), may);
            let (mut result, mut damaged, mut over) = (Ok(()), Ok(()), false);
            loop {
                let most = if may == May::Everything { crew.threads() } else { 1 };
                // What is begun after a failure has the space that the others take for itself.
                while !over
                    && (all || !parts.core.compactions.is_asked())
                    && running.len() < most
                    && (running.is_empty() || begun == may)
                {
                    if let Some(poisoned) = parts.core.gate.poisoned() {
                        (result, over) = (Err(poisoned.into()), true);
                        break;
                    }
                    let allowed = restraint.allows(may, Instant::now());
                    let (due, inputs, ages) = match looked.look(parts, asked.as_deref_mut(), allowed, &running) {
                        Look::Due(due, inputs, ages) => (due, inputs, ages),
                        Look::Later => break,
                        Look::Nothing(found) if running.is_empty() => {
                            parts.core.counters.compacting(false);
                            looked.found_nothing(&found, asked.as_deref(), may);
                            if may == May::Everything {
                                parts.is_well(restraint);
                            }
                            return result.and(parts.forget_deletes(&found)).and(damaged);
                        }
                        Look::Nothing(_) => break,
                    };
                    begun = may;
                    looked.begun(&due);
                    running.push(due.clone());
                    let ended = &ended;
                    scope.spawn(move |_| ended.tell(due.job.clone(), || parts.carry_out(&due, inputs, &ages)));
                }
                parts.core.counters.compacting(!running.is_empty());
                if running.is_empty() {
                    return result;
                }
                let next = ended.next(LOOK_EVERY);
                let meanwhile = next.is_none();
                // A job may take as long as it likes: what nobody sees does not wait for its end (K12).
                let next = next.or_else(|| if over { None } else { parts.drop_hidden(looked, &running) });
                let (gave_back, how) = match next {
                    Some((job, how)) => {
                        let ended = running.iter().position(|due| due.job == job).map(|at| running.remove(at));
                        let least = parts.rules(None).segment_bytes / HARMLESS_PART;
                        note_size(restraint, ended.as_ref(), &running, &how, least);
                        let gave_back = restraint.freed_by(&job, how.is_ok());
                        let how = how.or_else(|e| judged(parts, looked, &job, e));
                        looked.ended(&job, &how, begun);
                        (gave_back, how)
                    }
                    None => (false, Ok(())),
                };
                match how {
                    Ok(()) if gave_back => may = may.min(May::Free),
                    Ok(()) => {}
                    Err(error @ (CompactError::Damaged { .. } | CompactError::LacksFeature { .. })) => {
                        damaged = Err(error)
                    }
                    Err(error @ CompactError::Closed) => (result, over) = (result.and(Err(error)), true),
                    Err(error) => {
                        match restraint.failed(begun, &error, Instant::now()) {
                            Some(left) => may = may.max(left),
                            None => over = true,
                        }
                        result = result.and(Err(error));
                    }
                }
                // While flushes go on there may be no end to what is worth a job.
                if !over {
                    let at_work = AtWork { running: &running, meanwhile };
                    result = result.and(parts.between(looked, restraint, at_work));
                }
            }
        })
    }
}

/// What took, or held, too much is not planned as large again, but for what is at most `least`. Of several jobs that is the
/// largest.
fn note_size(restraint: &mut Restraint, ended: Option<&Due>, running: &[Due], how: &Result<(), Failure>, least: u64) {
    // One that ended before it heard that it should has held nothing back. What is written anew needs what is left of it.
    let Some(due) = ended.filter(|due| how.is_err() && due.job.why != Why::Rewrite) else { return };
    let is_full = || how.as_ref().err().and_then(Failure::short) == Some(Shortage::Space);
    let is_largest = || running.iter().all(|other| other.bytes <= due.bytes);
    if due.held_back() {
        restraint.held_too_much(due.bytes, least, Instant::now());
    } else if is_full() && is_largest() {
        restraint.took_too_much(due.bytes, Instant::now());
    }
}

/// What a failure means for the rest of the work. What is no error here is found again at the next look.
fn judged(parts: &CompactorParts, looked: &mut Looked, job: &Job, failure: Failure) -> Result<(), CompactError> {
    if let Some(short) = failure.short() {
        return Err(short.into());
    }
    match failure {
        Failure::Run(RunError::Interrupted) => return Err(CompactError::Closed),
        // The next look tells why.
        Failure::Poisoned => return Ok(()),
        _ => {}
    }
    if !matches!(failure, Failure::Outdated) {
        parts.core.counters.compaction_failed();
    }
    match failure {
        Failure::Outdated | Failure::Poisoned => Ok(()),
        Failure::Run(RunError::Read(error)) => {
            // What cannot be read stays where it is, for queries to tell and for salvage.
            let file = file_of(&error).and_then(|file| id_of(file.file_name()?.to_str()?));
            let ids = job.inputs.iter().copied().filter(|&id| file.is_none_or(|file| file == id));
            looked.freeze(ids, &error);
            Err(parts.cannot_read(&error))
        }
        // Sound inputs give nothing that is out of order, and no chunk that cannot be taken over.
        Failure::Run(RunError::Write(
            error @ (WriteError::SeriesNotAscending { .. }
            | WriteError::SamplesNotAscending { .. }
            | WriteError::Chunk(_)),
        )) => {
            looked.freeze_damaged(job.inputs.iter().copied());
            Err(parts.told(CompactError::Damaged { cause: error.to_string() }))
        }
        // That has poisoned where it failed (SF1).
        Failure::Run(RunError::Write(WriteError::Folder { .. })) => Ok(()),
        // The file is ours, and the next try writes another one.
        Failure::Run(error) => {
            let error = match &error {
                RunError::Unmapped { .. } => CompactError::OutOfMemory,
                _ => CompactError::Failed { cause: error.to_string() },
            };
            parts.is_failing(&error);
            Err(error)
        }
        Failure::Manifest(error) => {
            // Of what has poisoned, the next look tells.
            match parts.not_committed("a compaction", error) {
                error @ CompactError::Failed { .. } => Err(error),
                _ => Ok(()),
            }
        }
    }
}

impl CompactorParts {
    /// Tells of a segment that cannot be read.
    pub(super) fn cannot_read(&self, error: &ReadError) -> CompactError {
        self.told(CompactError::of_segment(error))
    }

    fn told(&self, error: CompactError) -> CompactError {
        self.core.watched.warn(Warning::Compaction(error.clone()));
        error
    }

    /// Tells, once, that what is written fails.
    fn is_failing(&self, error: &CompactError) {
        if !self.core.counters.compaction_failing(true) {
            self.core.watched.warn(Warning::Compaction(error.clone()));
        }
    }

    /// All that was worth a job was done.
    fn is_well(&self, restraint: &mut Restraint) {
        restraint.lift();
        self.core.counters.compaction_failing(false);
    }

    /// What is worth it now.
    pub(super) fn rules(&self, asked: Option<&Asked>) -> Rules {
        let CompactOptions { segment_span, cold_after, .. } = self.options;
        let segment_bytes = segment_bytes(self.options.segment_bytes, self.core.kept.max_bytes());
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let (span, ages) = (nanos(segment_span).max(1), self.core.kept.rule_ages());
        let now = asked.map_or_else(|| clock::now().nanos(), |asked| asked.now);
        let (most, turn, all, cold_after) = (u64::MAX, Turn::default(), asked.is_some(), nanos(cold_after));
        Rules { segment_bytes, span, ages, fan: FAN, now, most, turn, all, cold_after }
    }

    /// What is not left waiting until nothing is worth a job: the oldest go where there is too much, and deletes are
    /// forgotten that are carried out.
    fn between(&self, looked: &mut Looked, restraint: &mut Restraint, at_work: AtWork<'_>) -> Result<(), CompactError> {
        if let Some(poisoned) = self.core.gate.poisoned() {
            return Err(poisoned.into());
        }
        self.drop_oldest(looked, restraint, at_work, self.options.in_background)?;
        let version = self.core.versions.load();
        if version.tombstones.is_empty() && version.horizons.is_empty() {
            return Ok(());
        }
        drop(version);
        self.forget_deletes(&looked.found(self, &self.core.kept.coarse_ages(), None))
    }

    /// The same, before anything that can be seen goes in its place.
    pub(super) fn drop_hidden_first(
        &self,
        looked: &mut Looked,
        restraint: &mut Restraint,
        running: &[Due],
    ) -> Result<(), CompactError> {
        let Some((job, how)) = self.drop_hidden(looked, running) else { return Ok(()) };
        restraint.freed_by(&job, how.is_ok());
        how.or_else(|failure| judged(self, looked, &job, failure))
    }

    /// Lets go what nobody sees and no job of those in `running` touches, on this thread: nothing is written but the
    /// manifest. Answers what went, and how; `None` if there is nothing.
    fn drop_hidden(&self, looked: &mut Looked, running: &[Due]) -> Option<(Job, Result<(), Failure>)> {
        if self.core.gate.poisoned().is_some() {
            return None;
        }
        match looked.look(self, None, Allowed::drop(), running) {
            Look::Due(due, inputs, ages) => {
                let how = self.carry_out(&due, inputs, &ages);
                Some((due.job, how))
            }
            Look::Later | Look::Nothing(_) => None,
        }
    }

    /// What it means that the manifest did not take what `what` would change. Where that changed nothing, the next look
    /// finds it again; else it poisons (P4), and wakes those who wait: for callers that hold no lock.
    pub(super) fn not_committed(&self, what: &str, error: ManifestError) -> CompactError {
        if let ManifestError::NoSpace { source, .. } = &error {
            return Shortage::of(source).into();
        }
        // A contradiction is a defect, and comes again.
        if error.changes_nothing() && !matches!(error, ManifestError::BadEdit { .. }) {
            let error = CompactError::Failed { cause: error.to_string() };
            self.is_failing(&error);
            return error;
        }
        self.core.poison(format!("{what} cannot be committed: {error}"));
        self.core.gate.poisoned().map_or(CompactError::Closed, CompactError::Poisoned)
    }
}

pub(super) fn file_of(error: &ReadError) -> Option<&std::path::Path> {
    match error {
        ReadError::Corrupt { file, .. }
        | ReadError::TooNew { file, .. }
        | ReadError::MissingFeature { file, .. }
        | ReadError::Io { file, .. } => Some(file),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tidegauge_storage::model::{TimeRange, Timestamp};

    use super::super::plan::plan;
    use super::super::plan_tests::{piece, rules};
    use super::*;

    /// A merge that found no space was tried again as large as it was, and no smaller one in its place.
    #[test]
    fn a_job_that_finds_no_space_is_smaller_the_next_time() {
        let due = |bytes| {
            let job = Job { inputs: vec![bytes], keeps: Vec::new(), cuts: Vec::new(), cold: false, why: Why::Join };
            Due::new(job, TimeRange::new(Timestamp::MIN, Timestamp::MAX), bytes)
        };
        let fails = |kind: io::ErrorKind| {
            let write = WriteError::Io { file: PathBuf::new(), source: kind.into() };
            Err(Failure::Run(RunError::Write(write)))
        };
        let most = |running: &[Due], how| {
            let (mut restraint, now) = (Restraint::default(), Instant::now());
            note_size(&mut restraint, Some(&due(100)), running, &how, 80);
            restraint.allows(May::Everything, now).most
        };
        assert_eq!(most(&[], fails(io::ErrorKind::StorageFull)), 50);
        assert_eq!(most(&[due(10)], fails(io::ErrorKind::StorageFull)), 50);
        assert_eq!(most(&[due(900)], fails(io::ErrorKind::StorageFull)), u64::MAX, "that one has the space");
        assert_eq!(most(&[], fails(io::ErrorKind::PermissionDenied)), u64::MAX);
        assert_eq!(most(&[], Ok(())), u64::MAX);
    }

    /// A small one that was ended at the old end kept everything else from being merged for an hour, and also where it had
    /// ended well before it heard of that.
    #[test]
    fn a_small_job_that_held_back_what_was_to_go_keeps_no_other_small_one_waiting() {
        const MIB: u64 = 1 << 20;
        let most = |why, bytes, how| {
            let job = Job { inputs: vec![1, 2], keeps: Vec::new(), cuts: Vec::new(), cold: false, why };
            let held = Due::new(job, TimeRange::new(Timestamp::MIN, Timestamp::MAX), bytes);
            AtWork { running: std::slice::from_ref(&held), meanwhile: false }.halt(&[(1, Timestamp::MAX)], true);
            assert!(held.held_back());
            let (mut restraint, now) = (Restraint::default(), Instant::now());
            note_size(&mut restraint, Some(&held), &[], &how, rules(false).segment_bytes / HARMLESS_PART);
            restraint.allows(May::Everything, now).most
        };
        assert_eq!(most(Why::Join, 10 * MIB, Ok(())), u64::MAX, "it held nothing back");
        assert_eq!(most(Why::Stack, 4_000 * MIB, Err(Failure::Outdated)), 2_000 * MIB);
        let most = most(Why::Join, 10 * MIB, Err(Failure::Outdated));
        let recent = |i: u64| piece(i, (i, i + 1), (i as i64, i as i64 + 1), false, 10 * MIB);
        let next = plan(&(0..4).map(recent).collect::<Vec<_>>(), &Rules { most, ..rules(false) });
        assert_eq!(next.map(|job| (job.why, job.inputs)), Some((Why::Join, vec![0, 1, 2, 3])));
    }
}
