//! One thread that makes segments of sealed memtables, tells the manifest, and has it say what is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::{Fs, is_exhausted, is_out_of_memory, what_to_mend};
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError, SegmentRef};
use tidegauge_storage::model::{SeqNo, TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentInfo, WriteError, file_name};
use tidegauge_storage::source::{Mask, ReadError};

use super::left_out::deleted;
use super::queue::Next;
use super::write::write_segments;
use super::{FlushJob, FlushQueue, witness};
use crate::core::Core;
use crate::delete::unsaved;
use crate::gate::{Full, Shortage};
use crate::pace::Pace;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, epoch, trim_memory};
use crate::watch::{Worker, Working};

/// What has run out, space, files or memory for a map, is asked for again after this.
const SPACE_RETRY: Duration = Duration::from_millis(250);

/// Without a flush for so long, memory is given back.
const IDLE: Duration = Duration::from_millis(100);
/// Of at least so many freed bytes.
const WORTH_TRIMMING: usize = 16 << 20;

/// What the flusher is given.
pub(crate) struct FlusherParts {
    pub(crate) core: Arc<Core>,
    pub(crate) queue: Arc<FlushQueue>,
    pub(crate) fs: Arc<dyn Fs>,
    /// The folder of the segments.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Mutex<Manifest>>,
    pub(crate) store_id: u128,
    /// Which opening of the store this is.
    pub(crate) opening: u32,
    /// The number of the next segment. One that was taken and not used stays unused.
    pub(crate) next_segment: Arc<AtomicU64>,
    /// When the manifest says which commit is durable.
    pub(crate) pace: Pace,
}

/// The flusher.
pub(crate) struct Flusher(FlusherParts);

/// Why a memtable could not be flushed.
#[derive(Debug, thiserror::Error)]
enum FlushFailure {
    #[error(transparent)]
    Segment(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the engine has stopped writing")]
    Poisoned,
}

impl FlushFailure {
    /// What has run out: that passes; anything else does not.
    fn short(&self) -> Option<Shortage> {
        match self {
            Self::Segment(WriteError::Io { source, .. }) => is_exhausted(source).then(|| Shortage::of(source)),
            // Nothing is written any more: what was, is durable.
            Self::Read(ReadError::Io { source, .. }) => {
                (is_exhausted(source) || is_out_of_memory(source)).then(|| Shortage::of(source))
            }
            Self::Manifest(ManifestError::NoSpace { source, .. }) => Some(Shortage::of(source)),
            _ => None,
        }
    }
}

impl Flusher {
    pub(crate) fn new(parts: FlusherParts) -> Self {
        Self(parts)
    }

    /// The thread's life. Memtables stay readable until their segments are in the version.
    pub(crate) fn run(&self) {
        let (mut freed, mut tidy_at, mut witnessed_at) = (0, None, None);
        loop {
            match self.0.queue.next(tidy_at, |since| self.0.pace.due(since, witnessed_at)) {
                Next::Flush(job) => {
                    freed += job.memtable.bytes();
                    if !self.flush_until_done(&job) {
                        return;
                    }
                    tidy_at = Some(Instant::now() + IDLE);
                }
                Next::Witness => {
                    let _work = self.0.core.watched.begin(Worker::Flush, "saying what of the manifest is durable");
                    witness(&self.0.core, &self.0.manifest);
                    witnessed_at = Some(Instant::now());
                }
                Next::Tidy => {
                    self.tidy(std::mem::take(&mut freed));
                    tidy_at = None;
                }
                Next::Stop => return,
            }
        }
    }

    /// A moment after the last flush, when nothing follows it: a memtable's memory would stay with the allocator.
    fn tidy(&self, freed: usize) {
        if freed >= WORTH_TRIMMING && self.0.core.versions.load().active.bytes() < freed / 8 {
            epoch::settle();
            trim_memory();
        }
    }

    /// Answers whether to go on with the next job: behind one that is given up at a close none is, however small. What comes
    /// back is a prefix of what was accepted, and what a job lets go of the log may hold those before it.
    fn flush_until_done(&self, job: &FlushJob) -> bool {
        let (core, mut is_short, mut made) = (&self.0.core, false, Vec::new());
        // What is newer than a memtable that stays would lie below it as a segment.
        let mut is_mapped = core.versions.load().unmapped_below == 0;
        loop {
            if core.is_poisoned() {
                return false;
            }
            // No try is given up that began before the stop: what had run out then may be back (X13).
            let is_last = self.0.queue.is_stopped();
            // Asked anew with each try: a delete may have come.
            let left_out = if is_short { deleted(&self.0, job) } else { None };
            let error = match self.flush(job, left_out.as_ref(), &mut made, is_mapped) {
                Ok(()) => {
                    core.gate.space_is_back(Full::Segments { refuses: false });
                    core.flushes.tell();
                    core.compactions.tell();
                    core.wake_worker();
                    return true;
                }
                Err(e) => e,
            };
            let Some(short) = error.short() else {
                let cause = match &error {
                    FlushFailure::Segment(WriteError::Io { source, .. }) => {
                        format!("{error}; {}", what_to_mend(source))
                    }
                    _ => error.to_string(),
                };
                core.poison(format!("a memtable cannot be flushed: {cause}"));
                return false;
            };
            // Less is tried at once: the engine may be about to close.
            if made.is_empty() && !std::mem::replace(&mut is_short, true) && deleted(&self.0, job).is_some() {
                continue;
            }
            core.disk_is_full(Full::Segments { refuses: self.is_crowded() }, short);
            if !is_last {
                self.0.queue.pause(SPACE_RETRY);
                continue;
            }
            // All of it is written, and nobody asks this process for it but who has the memtable (X12).
            if matches!(error, FlushFailure::Read(_)) && std::mem::replace(&mut is_mapped, false) {
                continue;
            }
            // What is logged comes back at the next opening.
            self.remove(&mut made);
            return false;
        }
    }

    /// Whether samples have nowhere to go before a flush: there is no log that holds them, or memory is full. Else what
    /// the log finds room for is taken: a flush wants all of its space at once.
    fn is_crowded(&self) -> bool {
        !self.0.core.durability.logs() || self.0.core.is_held_back()
    }

    /// What an earlier try has `made` is not written again.
    fn flush(
        &self,
        job: &FlushJob,
        left_out: Option<&Mask>,
        made: &mut Vec<SegmentInfo>,
        is_mapped: bool,
    ) -> Result<(), FlushFailure> {
        let work = self.0.core.watched.begin(Worker::Flush, "the segments of a memtable");
        let result = self.flush_into(job, left_out, made, is_mapped, &work);
        match &result {
            // All is written, and only to be mapped.
            Err(FlushFailure::Read(_)) => {}
            // The next try takes new numbers: what this one finished must not eat the space.
            Err(e) if e.short().is_some() => self.remove(made),
            _ => {}
        }
        result
    }

    fn remove(&self, made: &mut Vec<SegmentInfo>) {
        for info in made.drain(..) {
            let _ = self.0.fs.remove(&self.0.dir.join(file_name(info.id)));
        }
    }

    fn flush_into(
        &self,
        job: &FlushJob,
        left_out: Option<&Mask>,
        made: &mut Vec<SegmentInfo>,
        is_mapped: bool,
        work: &Working,
    ) -> Result<(), FlushFailure> {
        let started = Instant::now();
        if made.is_empty() {
            write_segments(&self.0, job, left_out, made, work)?;
        }
        let segments = is_mapped.then(|| made.iter().map(|info| self.open(info)).collect::<Result<Vec<_>, _>>());
        let segments = segments.transpose()?;
        let mut edits: Vec<Edit> = made.iter().map(|info| Edit::SegmentAdd(reference(info))).collect();
        // Where all is left out, no segment tells that the log lets go of it.
        let into_nothing = made.is_empty() && job.release.is_some();
        edits.extend(into_nothing.then(|| Edit::Flushed(SeqNo(job.memtable.end_seq()))));
        edits.extend(job.release.map(Edit::WalRelease));
        let core = &self.0.core;
        {
            // Held over both: nobody commits between a change of the manifest and that of the version (K4).
            let mut manifest = self.0.manifest.lock().expect("manifest lock");
            // Whatever ended the engine may have taken what is to be committed (SF1).
            if core.is_poisoned() {
                return Err(FlushFailure::Poisoned);
            }
            // Where nothing is written, and the log stays, its deletes stay there with what they hide.
            if !edits.is_empty() {
                edits.extend(unsaved(&core.versions.load(), manifest.state(), job.deletes_through));
            }
            manifest.commit(&edits)?;
            // Before who waits for the flush can see that it is done: his next push finds the log let go of it.
            if job.release.is_some() {
                core.log_needed_from.fetch_max(job.memtable.generation + 1, Ordering::AcqRel);
            }
            match &segments {
                Some(segments) => core.versions.flushed(job.memtable.generation, segments),
                None => core.versions.flushed_unmapped(job.memtable.generation),
            }
        }
        core.durable_waiters.reached(core.durable.synced(job.memtable.end_seq()));
        let bytes = made.iter().map(|info| info.file_bytes).sum();
        core.counters.flush(job.memtable.samples(), bytes, started.elapsed());
        Ok(())
    }

    fn open(&self, info: &SegmentInfo) -> Result<Arc<Segment>, ReadError> {
        Segment::open(&*self.0.fs, &self.0.dir.join(file_name(info.id))).map(Arc::new)
    }
}

/// What the manifest says of a segment.
pub(crate) fn reference(info: &SegmentInfo) -> SegmentRef {
    SegmentRef {
        id: info.id,
        seq_range: info.seq_range,
        time_range: info.time_range.unwrap_or(TimeRange::new(Timestamp::MIN, Timestamp::MIN)),
        late: info.late,
        bytes: info.file_bytes,
        samples: info.samples,
        series: info.series,
        level: info.level.into(),
    }
}
