//! One thread that carries out what the plan says, a job at a time.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentInfo, WriteError, file_name, id_of};
use tidegauge_storage::source::ReadError;

use super::desk::Next;
use super::plan::{Job, Piece, Rules, plan};
use super::run::{RunError, Target, discard, run};
use super::{CompactError, Graveyard};
use crate::clock;
use crate::core::Core;
use crate::flush::reference;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Looks for something to do at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// A full disk is asked again after this.
const SPACE_RETRY: Duration = Duration::from_secs(5);
/// While a flush is behind, this is how long compaction leaves it the machine.
const YIELD: Duration = Duration::from_millis(5);
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
        Self { parts, frozen: HashSet::new() }
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
            let result = if all || self.parts.options.in_background { self.work(all) } else { Ok(()) };
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
            let segments = core.versions.load().segments.clone();
            let pieces: Vec<Piece> = segments.iter().map(|s| self.piece(s)).collect();
            let Some(job) = plan(&pieces, &self.rules(all)) else {
                return damaged.map_or(Ok(()), Err);
            };
            let by_id = |id: &u64| segments.iter().find(|s| s.info().id == *id).cloned();
            let inputs: Vec<Arc<Segment>> = job.inputs.iter().filter_map(by_id).collect();
            // Nobody but the version and snapshots shall hold them when they are buried.
            drop(segments);
            core.counters.compacting(true);
            let result = self.carry_out(&job, inputs);
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

    fn rules(&self, all: bool) -> Rules {
        let options = &self.parts.options;
        let span = i64::try_from(options.segment_span.as_nanos()).unwrap_or(i64::MAX).max(1);
        Rules { segment_bytes: options.segment_bytes, span, fan: FAN, now: clock::now().nanos(), all }
    }

    fn piece(&self, segment: &Segment) -> Piece {
        let info = segment.info();
        Piece {
            id: info.id,
            seq: info.seq_range,
            time: info.time_range.unwrap_or(TimeRange::new(Timestamp::MIN, Timestamp::MIN)),
            late: info.late,
            bytes: info.file_bytes,
            created: info.created,
            samples: info.samples,
            hidden: 0,
            urgent: false,
            frozen: self.frozen.contains(&info.id),
        }
    }

    /// New segments durable, then the manifest, then the version, then the old files (C4).
    fn carry_out(&self, job: &Job, inputs: Vec<Arc<Segment>>) -> Result<(), Failure> {
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
        let mut result = run(&inputs, &job.cuts, &target, &mut made).map_err(Failure::from);
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
        let edits: Vec<Edit> = added.chain(job.inputs.iter().map(|id| Edit::SegmentRemove(*id))).collect();
        {
            let mut manifest = manifest.lock().expect("manifest lock");
            if let Err(e) = manifest.commit(&edits) {
                if matches!(e, ManifestError::NoSpace { .. } | ManifestError::BadEdit { .. }) {
                    discard(&made, &target);
                }
                return Err(e.into());
            }
            core.versions.compacted(&job.inputs, &opened);
        }
        let bytes_in: u64 = inputs.iter().map(|s| s.info().file_bytes).sum();
        let bytes_out: u64 = made.iter().map(|info| info.file_bytes).sum();
        graveyard.bury(inputs);
        core.counters.compaction(bytes_in, bytes_out, started.elapsed());
        Ok(())
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
