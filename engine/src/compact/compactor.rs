//! One thread that carries out what the plan says, a job at a time.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError};
use tidegauge_storage::model::{SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{Segment, SegmentInfo, WriteError, file_name, id_of};
use tidegauge_storage::source::{AgeMask, ReadError};

use super::desk::Next;
use super::input::{Hidden, Input};
use super::plan::{Job, Piece, Rules, Why, plan, plan_drop};
use super::run::{RunError, Target, discard, run};
use super::{CompactError, Graveyard};
use crate::clock;
use crate::core::Core;
use crate::flush::reference;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::Version;

/// Looks for something to do at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// A full disk is asked again after this.
const SPACE_RETRY: Duration = Duration::from_secs(5);
/// While a flush is behind, this is how long compaction leaves it the machine.
const YIELD: Duration = Duration::from_millis(5);
/// Memtables waiting for their flush from which compaction stands back.
const SEALED_BEHIND: usize = 2;

/// Samples deleted this long ago are removed even if they are few, nanoseconds.
const URGENT: i64 = 3_600_000_000_000;

/// What the compactor is given.
pub(crate) struct CompactorParts {
    pub(crate) core: Arc<Core>,
    pub(crate) fs: Arc<dyn Fs>,
    /// The folder of the segments.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Mutex<Manifest>>,
    pub(crate) store_id: u128,
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
}

/// As many segments of a kind are merged at once.
const FAN: usize = 4;

/// The compactor.
pub(crate) struct Compactor {
    parts: CompactorParts,
    /// Segments that could not be read: left alone until the next opening.
    frozen: HashSet<u64>,
    /// What was found hidden of segments.
    hidden: HashMap<u64, Hidden>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Failure {
    fn is_full(&self) -> bool {
        match self {
            Self::Run(RunError::Write(WriteError::Io { source, .. })) => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Manifest(ManifestError::NoSpace { .. }) => true,
            _ => false,
        }
    }
}

impl Compactor {
    pub(crate) fn new(parts: CompactorParts) -> Self {
        Self { parts, frozen: HashSet::new(), hidden: HashMap::new() }
    }

    /// The thread's life.
    pub(crate) fn run(&mut self) {
        let core = Arc::clone(&self.parts.core);
        loop {
            let (all, asked) = match core.compactions.next(IDLE) {
                Next::Stop => return,
                Next::All(asked) => (true, asked),
                Next::Due => (false, 0),
            };
            self.parts.graveyard.sweep();
            let result = self.drop_oldest().and_then(|()| self.work(all));
            self.parts.graveyard.sweep();
            if all {
                core.compactions.ended(asked, result.clone());
            }
            match result {
                Err(CompactError::DiskFull) if core.compactions.pause(SPACE_RETRY) => return,
                Err(CompactError::Poisoned(cause)) => return core.compactions.gone(CompactError::Poisoned(cause)),
                Err(CompactError::Failed { cause }) => {
                    // Nothing stored was changed; but this disk does not take what we write.
                    return core.compactions.gone(CompactError::Failed { cause });
                }
                _ => {}
            }
        }
    }

    /// Job after job, until nothing is worth one.
    fn work(&mut self, all: bool) -> Result<(), CompactError> {
        let core = Arc::clone(&self.parts.core);
        let mut damaged = None;
        loop {
            if let Some(poisoned) = core.gate.poisoned() {
                return Err(poisoned.into());
            }
            let version = core.versions.load();
            let ages = core.kept.coarse_ages();
            let settled = self.settled(&version);
            let pieces: Vec<Piece> = version.segments.iter().map(|s| self.piece(s, &settled, &ages)).collect();
            self.hidden.retain(|id, _| pieces.iter().any(|p| p.id == *id));
            let job = if all || self.parts.options.in_background {
                plan(&pieces, &self.rules(all))
            } else {
                // Retention and deletes hold in any case.
                plan_drop(&pieces, &self.rules(false))
            };
            let Some(job) = job else {
                return self.forget_deletes(&version, &settled, &pieces).and(damaged.map_or(Ok(()), Err));
            };
            let by_id = |id: &u64| version.segments.iter().find(|s| s.info().id == *id).cloned();
            let segments = job.inputs.iter().filter_map(by_id);
            let inputs: Vec<Input> = segments.map(|segment| Input::new(segment, &settled, &ages)).collect();
            // Nobody but the version and snapshots shall hold them when they are buried.
            drop(version);
            core.counters.compacting(true);
            let result = self.carry_out(&job, inputs, &ages);
            core.counters.compacting(false);
            match result {
                Ok(()) => {}
                Err(Failure::Run(RunError::Interrupted)) => return Err(CompactError::Closed),
                Err(failure) if failure.is_full() => return Err(CompactError::DiskFull),
                Err(Failure::Run(RunError::Read(error))) => {
                    // What cannot be read stays where it is, for queries to tell and for salvage.
                    let file = file_of(&error).and_then(|file| id_of(file.file_name()?.to_str()?));
                    self.frozen.extend(job.inputs.iter().filter(|&&id| file.is_none_or(|file| file == id)));
                    core.counters.compaction_failed();
                    damaged = Some(CompactError::Damaged { cause: error.to_string() });
                }
                Err(Failure::Run(error)) => {
                    core.counters.compaction_failed();
                    return Err(CompactError::Failed { cause: error.to_string() });
                }
                Err(Failure::Manifest(error)) => {
                    core.poison(format!("a compaction cannot be committed: {error}"));
                    core.counters.compaction_failed();
                }
            }
        }
    }

    /// Where all segments together are more than retention allows, the oldest ones go, in one commit with the
    /// horizon that hides what is left of their time elsewhere: what they had overwritten must not come back (C10).
    fn drop_oldest(&mut self) -> Result<(), CompactError> {
        let CompactorParts { core, manifest, graveyard, .. } = &self.parts;
        let Some(max_bytes) = core.kept.max_bytes() else { return Ok(()) };
        let version = core.versions.load();
        let mut by_end: Vec<&Arc<Segment>> = version.segments.iter().collect();
        let end = |s: &Segment| s.info().time_range.map_or(Timestamp::MIN, |range| range.end);
        by_end.sort_by_key(|s| end(s));
        let mut bytes: u64 = by_end.iter().map(|s| s.info().file_bytes).sum();
        let mut gone = 0;
        while bytes > max_bytes && gone + 1 < by_end.len() {
            bytes -= by_end[gone].info().file_bytes;
            gone += 1;
        }
        let Some(horizon) = by_end[..gone].last().map(|s| end(s)) else { return Ok(()) };
        let dropped: Vec<Arc<Segment>> = by_end[..gone].iter().map(|s| Arc::clone(s)).collect();
        drop(version);
        let ids: Vec<u64> = dropped.iter().map(|s| s.info().id).collect();
        let removals = ids.iter().map(|id| Edit::SegmentRemove(*id));
        let edits: Vec<Edit> = [Edit::Horizon(horizon)].into_iter().chain(removals).collect();
        {
            let mut manifest = manifest.lock().expect("manifest lock");
            match manifest.commit(&edits) {
                Ok(()) => {}
                Err(ManifestError::NoSpace { .. }) => return Err(CompactError::DiskFull),
                Err(error) => {
                    core.poison(format!("retention cannot be committed: {error}"));
                    return Err(core.gate.poisoned().map_or(CompactError::Closed, CompactError::Poisoned));
                }
            }
            // Hidden first: a snapshot in between sees less of that time, never what was overwritten in it.
            core.kept.changed(None, Some(horizon));
            core.versions.compacted(&ids, &[]);
        }
        graveyard.bury(dropped);
        Ok(())
    }

    fn rules(&self, all: bool) -> Rules {
        let options = &self.parts.options;
        let span = self.parts.core.kept.span().map_or(options.segment_span, |span| span.min(options.segment_span));
        let span = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX).max(1);
        Rules { segment_bytes: options.segment_bytes, span, fan: FAN, now: clock::now().nanos(), all }
    }

    /// Deletes that survive a power loss: what an earlier one would leave behind must not be gone already (P5).
    fn settled(&self, version: &Version) -> Vec<Arc<Tombstone>> {
        let core = &self.parts.core;
        let durable = if core.durability.logs() { core.durable.seq() } else { 0 };
        let manifest = self.parts.manifest.lock().expect("manifest lock");
        let known = &manifest.state().tombstones;
        let is_settled = |t: &&Arc<Tombstone>| t.seq.0 < durable || known.contains_key(&t.seq);
        version.tombstones.iter().filter(is_settled).cloned().collect()
    }

    fn piece(&mut self, segment: &Segment, settled: &[Arc<Tombstone>], ages: &Arc<[AgeMask]>) -> Piece {
        let info = segment.info();
        let hidden = match Hidden::count(segment, settled, ages, self.hidden.get(&info.id)) {
            Ok(hidden) => hidden,
            Err(_) => {
                // Whoever reads it is told; here it only is in the way.
                self.frozen.insert(info.id);
                None
            }
        };
        let (samples, since) = hidden.as_ref().map_or((0, i64::MAX), |h| (h.samples, h.since));
        match hidden {
            Some(hidden) => drop(self.hidden.insert(info.id, hidden)),
            None => drop(self.hidden.remove(&info.id)),
        }
        Piece {
            id: info.id,
            seq: info.seq_range,
            time: info.time_range.unwrap_or(TimeRange::new(Timestamp::MIN, Timestamp::MIN)),
            late: info.late,
            bytes: info.file_bytes,
            created: info.created,
            samples: info.samples,
            hidden: samples,
            urgent: since.saturating_add(URGENT) <= clock::now().nanos(),
            frozen: self.frozen.contains(&info.id),
        }
    }

    /// New segments durable, then the manifest, then the version, then the old files (C4).
    fn carry_out(&self, job: &Job, inputs: Vec<Input>, ages: &[AgeMask]) -> Result<(), Failure> {
        let started = Instant::now();
        let CompactorParts { core, fs, dir, manifest, store_id, next_segment, graveyard, options } = &self.parts;
        let target = Target {
            fs,
            dir,
            store_id: *store_id,
            next_id: &|| next_segment.fetch_add(1, Ordering::Relaxed),
            segment_bytes: options.segment_bytes,
            go_on: &|| self.go_on(),
        };
        let mut made: Vec<SegmentInfo> = Vec::new();
        let mut result = match job.why {
            Why::Drop => Ok(()),
            _ => run(&inputs, &job.cuts, &target, &mut made).map_err(Failure::from),
        };
        let mut opened = Vec::new();
        if result.is_ok() {
            let open = |info: &SegmentInfo| Segment::open(&**fs, &dir.join(file_name(info.id))).map(Arc::new);
            match made.iter().map(open).collect::<Result<Vec<_>, _>>() {
                Ok(segments) => opened = segments,
                // Ours, not the inputs': they are sound.
                Err(e) => result = Err(RunError::Write(unreadable(&e)).into()),
            }
        }
        if let Err(failure) = result {
            discard(&made, &target);
            return Err(failure);
        }
        let added = made.iter().map(|info| Edit::SegmentAdd(reference(info)));
        let mut edits: Vec<Edit> = added.chain(job.inputs.iter().map(|id| Edit::SegmentRemove(*id))).collect();
        // What was left out because everybody's age is over stays hidden, whatever the rules become (C10).
        let horizon = ages.iter().map(|age| age.horizon).min().filter(|at| *at != Timestamp::MIN);
        edits.extend(horizon.map(Edit::Horizon));
        {
            let mut manifest = manifest.lock().expect("manifest lock");
            if let Err(e) = manifest.commit(&edits) {
                if matches!(e, ManifestError::NoSpace { .. } | ManifestError::BadEdit { .. }) {
                    discard(&made, &target);
                }
                return Err(e.into());
            }
            core.kept.changed(None, horizon);
            core.versions.compacted(&job.inputs, &opened);
        }
        let inputs: Vec<Arc<Segment>> = inputs.into_iter().map(|input| input.segment).collect();
        let bytes_in: u64 = inputs.iter().map(|s| s.info().file_bytes).sum();
        let bytes_out: u64 = made.iter().map(|info| info.file_bytes).sum();
        graveyard.bury(inputs);
        core.counters.compaction(bytes_in, bytes_out, started.elapsed());
        Ok(())
    }

    /// Forgets the deletes that hide nothing any more: not in a segment, and not in a memtable (C9).
    fn forget_deletes(
        &self,
        version: &Version,
        settled: &[Arc<Tombstone>],
        pieces: &[Piece],
    ) -> Result<(), CompactError> {
        let hides = |t: &Tombstone| {
            let below = |p: &&Piece| t.reaches(p.seq, Some(p.time));
            let in_memory = version.sealed.iter().any(|m| m.first_seq <= t.seq.0 && m.samples() > 0);
            in_memory || pieces.iter().filter(below).any(|p| p.hidden > 0 || p.frozen)
        };
        let core = &self.parts.core;
        let mut manifest = self.parts.manifest.lock().expect("manifest lock");
        let known = &manifest.state().tombstones;
        let done: Vec<SeqNo> = settled.iter().filter(|t| !hides(t)).map(|t| t.seq).collect();
        // One that only the log has comes back with it after a crash, finds nothing, and goes again.
        let noted = done.iter().filter(|seq| known.contains_key(seq));
        let edits: Vec<Edit> = noted.map(|seq| Edit::TombstoneRemove(*seq)).collect();
        match manifest.commit(&edits) {
            Ok(()) if done.is_empty() => Ok(()),
            Ok(()) => {
                core.versions.forget(&done);
                Ok(())
            }
            Err(ManifestError::NoSpace { .. }) => Err(CompactError::DiskFull),
            Err(error) => {
                core.poison(format!("a compaction cannot be committed: {error}"));
                Err(core.gate.poisoned().map_or(CompactError::Closed, CompactError::Poisoned))
            }
        }
    }

    /// Asked between chunks. While flushes are behind, they have the machine.
    fn go_on(&self) -> bool {
        let core = &self.parts.core;
        loop {
            if core.is_stopping() || core.is_poisoned() {
                return false;
            }
            if core.versions.load().sealed.len() < SEALED_BEHIND {
                return true;
            }
            if core.compactions.pause(YIELD) {
                return false;
            }
        }
    }
}

fn file_of(error: &ReadError) -> Option<&std::path::Path> {
    match error {
        ReadError::Corrupt { file, .. } | ReadError::TooNew { file, .. } | ReadError::Io { file, .. } => Some(file),
        _ => None,
    }
}

fn unreadable(error: &ReadError) -> WriteError {
    let file = file_of(error).map(std::path::Path::to_owned).unwrap_or_default();
    WriteError::Io { file, source: io::Error::other(format!("what was written cannot be read: {error}")) }
}
