//! One job, from its inputs to the commit: new segments durable, then the manifest, then the version (K4).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::{is_exhausted, is_out_of_memory};
use tidegauge_storage::manifest::{Edit, Horizon};
use tidegauge_storage::model::{SeqNo, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentInfo, WriteError, file_name};
use tidegauge_storage::source::{AgeMask, ReadError};

use super::beside::Due;
use super::compactor::{CompactorParts, Failure, file_of};
use super::input::{Input, horizon_of_all};
use super::plan::{Why, segment_bytes};
use super::run::{RunError, Target, discard, run};
use crate::clock;
use crate::flush::reference;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::{Version, hiding};
use crate::watch::{Worker, Working};

/// While a flush is behind, this is how long compaction leaves it the machine.
const YIELD: Duration = Duration::from_millis(5);
/// However far behind flushes stay, a job works for so long of each such time: so it ends, if late.
const TURN: Duration = Duration::from_millis(50);
const TURN_EVERY: Duration = Duration::from_secs(1);
/// Memtables waiting for their flush from which compaction stands back.
const SEALED_BEHIND: usize = 2;

impl CompactorParts {
    /// New segments durable, then the manifest, then the version, then the old files (K4).
    pub(super) fn carry_out(&self, due: &Due, inputs: Vec<Input>, ages: &[AgeMask]) -> Result<(), Failure> {
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
                Err(e) => result = Err(unreadable(e).into()),
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

fn unreadable(error: ReadError) -> RunError {
    let error = match error {
        // What the operating system refuses now it may grant later.
        ReadError::Io { file, source } if is_out_of_memory(&source) => return RunError::Unmapped { file, source },
        ReadError::Io { file, source } if is_exhausted(&source) => return WriteError::Io { file, source }.into(),
        other => other,
    };
    let file = file_of(&error).map(std::path::Path::to_owned).unwrap_or_default();
    WriteError::Io { file, source: io::Error::other(format!("what was written cannot be read: {error}")) }.into()
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
