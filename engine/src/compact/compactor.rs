//! One thread that has the plan carried out, by the threads of a pool.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::{Fs, is_exhausted};
use tidegauge_storage::manifest::{Edit, Horizon, Manifest, ManifestError};
use tidegauge_storage::model::{SeqNo, Timestamp, Tombstone};
use tidegauge_storage::segment::{Segment, SegmentInfo, WriteError, file_name, id_of};
use tidegauge_storage::source::{AgeMask, ReadError, SampleSource};

use super::beside::{AtWork, Due};
use super::crew::{Crew, Ended};
use super::desk::Next;
use super::input::{Input, horizon_of_all};
use super::look::{Found, Look, Looked};
use super::plan::{Job, Piece, Rules, Turn, Why, segment_bytes};
use super::restraint::{May, Restraint};
use super::run::{RunError, Target, discard, run};
use super::{CompactError, Graveyard};
use crate::clock;
use crate::core::Core;
use crate::flush::reference;
use crate::gate::Shortage;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::{Version, hiding};
use crate::watch::{Warning, Worker, Working};

/// Looks for something to do at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// What could not be committed for want of space is tried again after this.
const SPACE_RETRY: Duration = Duration::from_secs(5);
/// While jobs are at work, what goes without being written anew is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a flush is behind, this is how long compaction leaves it the machine.
const YIELD: Duration = Duration::from_millis(5);
/// However far behind flushes stay, a job works for so long of each such time: so it ends, if late.
const TURN: Duration = Duration::from_millis(50);
const TURN_EVERY: Duration = Duration::from_secs(1);
/// Memtables waiting for their flush from which compaction stands back.
const SEALED_BEHIND: usize = 2;

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
            let (all, asked) = match core.compactions.next(idle) {
                Next::Stop => return,
                Next::All(asked) => (true, asked),
                Next::Due => (false, 0),
            };
            let sweep = |parts: &CompactorParts| {
                let work = core.watched.begin(Worker::Compact, "removing segments that were replaced");
                parts.graveyard.sweep(&|| work.gets_on());
            };
            sweep(&self.parts);
            // Those that were parted before: of what this look does first something else may fail.
            let may_write = all || self.restraint.may(Instant::now()) != May::Drop;
            let waiting = if may_write { self.looked.waiting() } else { Vec::new() };
            // Each whether the other failed or not: what one of them frees the other may need.
            let dropped = self.drop_oldest(all);
            let mut result = self.work(all).and(dropped);
            self.looked.had_a_turn(&waiting);
            if all && result.is_ok() {
                // What was one segment, which stays, may be several by now.
                result = self.drop_oldest(all).and_then(|()| self.work(all));
            }
            sweep(&self.parts);
            if all {
                core.compactions.ended(asked, result.clone());
            }
            idle = self.restraint.left(Instant::now()).unwrap_or(IDLE).min(IDLE);
            match result {
                Err(CompactError::Poisoned(cause)) => return core.compactions.gone(CompactError::Poisoned(cause)),
                Ok(()) | Err(CompactError::Damaged { .. }) => {}
                Err(_) => idle = idle.min(SPACE_RETRY),
            }
        }
    }

    /// What retention by size lets go while no job is at work. `all`: what can be written anew will be.
    fn drop_oldest(&mut self, all: bool) -> Result<(), CompactError> {
        let rewrites = all || self.parts.options.in_background;
        self.parts.drop_oldest(&mut self.looked, &mut self.restraint, AtWork::NOTHING, rewrites)
    }

    /// Jobs as long as anything is worth one, as many at a time as there are threads. After one that failed, those that
    /// the [restraint](Restraint) leaves.
    fn work(&mut self, all: bool) -> Result<(), CompactError> {
        let Self { parts, looked, restraint, crew } = self;
        if let Some(poisoned) = parts.core.gate.poisoned() {
            return Err(poisoned.into());
        }
        // Who asks for all of it may have mended what was wrong.
        let mut may = if all { May::Everything } else { restraint.may(Instant::now()) };
        // Most looks find nothing: an engine that has nothing to compact has no threads for it.
        if let Look::Nothing(found) = looked.look(parts, all, may, &[]) {
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
                while !over && running.len() < most && (running.is_empty() || begun == may) {
                    if let Some(poisoned) = parts.core.gate.poisoned() {
                        (result, over) = (Err(poisoned.into()), true);
                        break;
                    }
                    let (due, inputs, ages) = match looked.look(parts, all, may, &running) {
                        Look::Due(due, inputs, ages) => (due, inputs, ages),
                        Look::Later => break,
                        Look::Nothing(found) if running.is_empty() => {
                            parts.core.counters.compacting(false);
                            if may == May::Everything {
                                parts.is_well(restraint);
                            }
                            return result.and(parts.forget_deletes(&found)).and(damaged);
                        }
                        Look::Nothing(_) => break,
                    };
                    begun = may;
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
                        running.retain(|due| due.job != job);
                        (restraint.freed_by(&job, how.is_ok()), how.or_else(|e| judged(parts, looked, &job, e)))
                    }
                    None => (false, Ok(())),
                };
                match how {
                    Ok(()) if gave_back => may = may.min(May::Free),
                    Ok(()) => {}
                    Err(error @ CompactError::Damaged { .. }) => damaged = Err(error),
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
            looked.freeze(job.inputs.iter().copied().filter(|&id| file.is_none_or(|file| file == id)));
            Err(parts.is_damaged(&error))
        }
        // Sound inputs give nothing that is out of order, and no chunk that cannot be taken over.
        Failure::Run(RunError::Write(
            error @ (WriteError::SeriesNotAscending { .. }
            | WriteError::SamplesNotAscending { .. }
            | WriteError::Chunk(_)),
        )) => {
            looked.freeze(job.inputs.iter().copied());
            Err(parts.is_damaged(&error))
        }
        // That has poisoned where it failed (SF1).
        Failure::Run(RunError::Write(WriteError::Folder { .. })) => Ok(()),
        // The file is ours, and the next try writes another one.
        Failure::Run(error) => {
            let error = CompactError::Failed { cause: error.to_string() };
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
    fn is_damaged(&self, error: &dyn std::error::Error) -> CompactError {
        let error = CompactError::Damaged { cause: error.to_string() };
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
    pub(super) fn rules(&self, all: bool) -> Rules {
        let CompactOptions { segment_span, cold_after, .. } = self.options;
        let segment_bytes = segment_bytes(self.options.segment_bytes, self.core.kept.max_bytes());
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let (span, ages) = (nanos(segment_span).max(1), self.core.kept.rule_ages());
        let (now, cold_after) = (clock::now().nanos(), nanos(cold_after));
        let (most, turn) = (u64::MAX, Turn::default());
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
        self.forget_deletes(&looked.found(self, &self.core.kept.coarse_ages()))
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
        match looked.look(self, false, May::Drop, running) {
            Look::Due(due, inputs, ages) => {
                let how = self.carry_out(&due, inputs, &ages);
                Some((due.job, how))
            }
            Look::Later | Look::Nothing(_) => None,
        }
    }

    /// New segments durable, then the manifest, then the version, then the old files (K4).
    fn carry_out(&self, due: &Due, inputs: Vec<Input>, ages: &[AgeMask]) -> Result<(), Failure> {
        let (job, started) = (&due.job, Instant::now());
        let work = self.core.watched.begin(Worker::Compact, "a compaction");
        let Self { core, fs, dir, manifest, store_id, opening, next_segment, graveyard, options } = self;
        let target = Target {
            fs,
            dir,
            store_id: *store_id,
            opening: *opening,
            next_id: &|| next_segment.fetch_add(1, Ordering::Relaxed),
            sync_folder: &|| core.segment_folder.sync(core, &**fs, dir),
            segment_bytes: segment_bytes(options.segment_bytes, core.kept.max_bytes()),
            go_on: &|| self.go_on(due, started, &work),
            decoded: &AtomicU64::new(0),
        };
        let mut made: Vec<SegmentInfo> = Vec::new();
        let mut result = match job.why {
            Why::Drop => Ok(()),
            _ => run(&inputs, &job.cuts, job.cold, &target, &mut made).map_err(Failure::from),
        };
        let mut opened = Vec::new();
        if result.is_ok() {
            let open = |info: &SegmentInfo| Segment::open(&**fs, &dir.join(file_name(info.id))).map(Arc::new);
            match made.iter().map(open).collect::<Result<Vec<_>, _>>() {
                Ok(segments) => opened = segments,
                // Ours, not the inputs': they are sound.
                Err(e) => result = Err(RunError::Write(unreadable(e)).into()),
            }
        }
        if let Err(failure) = result {
            discard(&made, &target);
            let halted = due.is_halted() && matches!(failure, Failure::Run(RunError::Interrupted));
            return Err(if halted { Failure::Outdated } else { failure });
        }
        let added = made.iter().map(|info| Edit::SegmentAdd(reference(info)));
        let mut edits: Vec<Edit> = added.chain(job.inputs.iter().map(|id| Edit::SegmentRemove(*id))).collect();
        {
            let mut manifest = manifest.lock().expect("manifest lock");
            // Whatever ended the engine may have taken what is to be committed (SF1).
            if core.is_poisoned() {
                discard(&made, &target);
                return Err(Failure::Poisoned);
            }
            let version = core.versions.load();
            // Rules that keep what this job leaves out are in force since: whoever made them was told so. Or what it did not
            // leave out is hidden since, and would not be any more.
            let keeps_dropped = job.why != Why::Drop && inputs.iter().any(|input| lets_show(input, &inputs, &version));
            if keeps_dropped || (inputs.iter().any(Input::has_aged) && !core.kept.hides(ages)) {
                discard(&made, &target);
                return Err(Failure::Outdated);
            }
            // What was left out because everybody's age is over stays hidden below, whatever the rules become (K10).
            let dropped = dropped(&inputs, ages);
            let left = dropped.iter().filter(|horizon| is_reached(&version, &job.inputs, horizon));
            edits.extend(left.map(|horizon| Edit::Horizon(*horizon)));
            drop(version);
            if let Err(e) = manifest.commit(&edits) {
                if e.changes_nothing() {
                    discard(&made, &target);
                }
                return Err(e.into());
            }
            #[cfg(feature = "internals")]
            core.kept.note_dropped(&dropped);
            core.versions.compacted(&job.inputs, &opened, &hiding(&manifest.state().horizons));
        }
        let inputs: Vec<Arc<Segment>> = inputs.into_iter().map(|input| input.segment).collect();
        let bytes_in: u64 = inputs.iter().map(|s| s.info().file_bytes).sum();
        let bytes_out: u64 = made.iter().map(|info| info.file_bytes).sum();
        graveyard.bury(inputs, &|| work.gets_on());
        core.counters.compaction(bytes_in, bytes_out, started.elapsed());
        Ok(())
    }

    /// Forgets the deletes and horizons that hide nothing any more: not in a segment, and not in a memtable (K9).
    fn forget_deletes(&self, found: &Found) -> Result<(), CompactError> {
        let Found { version, hiding: waiting, hides: in_segments, pieces } = found;
        let core = &self.core;
        let work = core.watched.begin(Worker::Compact, "forgetting deletes that are carried out");
        // What a delete hides of a segment that cannot be read is not known. It hides nothing where it names no series.
        let may_name = |t: &Tombstone, id: u64| {
            work.gets_on();
            let segment = version.segments.iter().find(|s| s.info().id == id);
            segment.is_some_and(|s| s.select(&t.matchers).map_or(true, |named| !named.is_empty()))
        };
        let hides = |(t, in_segment): &(&Arc<Tombstone>, &bool)| {
            let damaged = |p: &&Piece| p.damaged && t.reaches(p.seq, Some(p.time));
            let in_memory = version.sealed.iter().any(|m| m.first_seq <= t.seq.0 && m.samples() > 0);
            **in_segment || in_memory || pieces.iter().filter(damaged).any(|p| may_name(t, p.id))
        };
        let deletes = waiting.len() - version.horizons.len();
        let over: Vec<(usize, &Arc<Tombstone>)> = waiting
            .iter()
            .zip(in_segments)
            .enumerate()
            .filter(|(_, waits)| !hides(waits))
            .map(|(i, (t, _))| (i, t))
            .collect();
        let done: Vec<SeqNo> = over.iter().filter(|(i, _)| *i < deletes).map(|(_, t)| t.seq).collect();
        let passed: Vec<&Arc<Tombstone>> = over.iter().filter(|(i, _)| *i >= deletes).map(|(_, t)| *t).collect();
        let mut manifest = self.manifest.lock().expect("manifest lock");
        if let Some(poisoned) = core.gate.poisoned() {
            return Err(poisoned.into());
        }
        let known = &manifest.state().tombstones;
        // One that only the log has comes back with it after a crash, finds nothing, and goes again.
        let noted = done.iter().filter(|seq| known.contains_key(seq));
        let mut edits: Vec<Edit> = noted.map(|seq| Edit::TombstoneRemove(*seq)).collect();
        // One that became another meanwhile stays.
        let state = manifest.state();
        let kept = state.horizons.iter().filter(|horizon| passed.iter().any(|t| ***t == horizon.tombstone()));
        edits.extend(kept.map(|h| Edit::HorizonRemove { before: h.before, through: h.through }));
        match manifest.commit(&edits) {
            Ok(()) if done.is_empty() && passed.is_empty() => Ok(()),
            Ok(()) => {
                core.versions.forget(&done, &hiding(&manifest.state().horizons));
                Ok(())
            }
            Err(error) => {
                drop(manifest);
                Err(self.not_committed("a compaction", error))
            }
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

    /// Asked between chunks. While flushes are behind, they have the machine, but for [a turn](has_turn) now and then; one
    /// that waits for space has no use for it, and what a job gives back may be what it waits for.
    fn go_on(&self, due: &Due, started: Instant, work: &Working) -> bool {
        let core = &self.core;
        loop {
            work.gets_on();
            if core.is_stopping() || core.is_poisoned() || due.is_halted() {
                return false;
            }
            let is_behind = core.versions.load().sealed.len() >= SEALED_BEHIND && core.gate.flush_waits().is_none();
            if !is_behind || has_turn(started.elapsed()) {
                return true;
            }
            if core.compactions.pause(YIELD) {
                return false;
            }
        }
    }
}

/// Whether a job that was begun this long ago works on although flushes are behind: where the disk is what they wait for,
/// they always are, and nothing would be merged, nor deleted for good, while as much comes in.
fn has_turn(since: Duration) -> bool {
    since.as_millis() % TURN_EVERY.as_millis() >= (TURN_EVERY - TURN).as_millis()
}

/// What a job drops of its inputs because everybody's age is over. Nothing newer than that: a clock that is ahead once must
/// not hide what comes until then.
fn dropped(inputs: &[Input], ages: &[AgeMask]) -> Vec<Horizon> {
    let (of_all, created) = (horizon_of_all(ages), clock::now().nanos());
    let of = |input: &Input| {
        let info = input.segment.info();
        let time = info.time_range.filter(|time| time.start < of_all)?;
        let through = SeqNo(info.seq_range.end.0.saturating_sub(1));
        Some(Horizon { before: time.end.min(of_all), through, created })
    };
    inputs.iter().filter_map(of).collect()
}

/// Whether a horizon hides anything of what is left where these segments are gone. If not, nobody needs it.
pub(super) fn is_reached(version: &Version, gone: &[u64], horizon: &Horizon) -> bool {
    let tombstone = horizon.tombstone();
    let below =
        |s: &Segment| !gone.contains(&s.info().id) && tombstone.reaches(s.info().seq_range, s.info().time_range);
    let in_memory = version.sealed.iter().any(|m| m.first_seq <= horizon.through.0 && m.samples() > 0);
    in_memory || version.segments.iter().any(|s| below(s))
}

/// Whether a horizon that came after the job was planned hides something of this input, and would not hide it of what the
/// job has made.
pub(super) fn lets_show(input: &Input, inputs: &[Input], version: &Version) -> bool {
    let info = input.segment.info();
    let end = inputs.iter().map(|input| input.segment.info().seq_range.end).max().unwrap_or_default();
    version.horizons.iter().any(|horizon| {
        let reaches = horizon.reaches(info.seq_range, info.time_range);
        let last = info.time_range.map_or(Timestamp::MIN, |time| time.end.min(horizon.range.end));
        reaches && end.0 > horizon.seq.0.saturating_add(1) && input.left_out_before() < last
    })
}

fn file_of(error: &ReadError) -> Option<&std::path::Path> {
    match error {
        ReadError::Corrupt { file, .. }
        | ReadError::TooNew { file, .. }
        | ReadError::MissingFeature { file, .. }
        | ReadError::Io { file, .. } => Some(file),
        _ => None,
    }
}

fn unreadable(error: ReadError) -> WriteError {
    let error = match error {
        // What the operating system refuses now it may grant later.
        ReadError::Io { file, source } if is_exhausted(&source) => return WriteError::Io { file, source },
        other => other,
    };
    let file = file_of(&error).map(std::path::Path::to_owned).unwrap_or_default();
    WriteError::Io { file, source: io::Error::other(format!("what was written cannot be read: {error}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_second_behind_flushes_a_job_has_its_turn() {
        let turns = |from: u64| (from..from + 1_000).filter(|&at| has_turn(Duration::from_millis(at))).count();
        assert_eq!([0, 1, 999, 12_345].map(turns), [50; 4]);
        assert!(!has_turn(Duration::ZERO), "it stands back first");
    }
}
