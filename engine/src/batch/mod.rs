//! Atomic batches: all or nothing, if everything is as expected.
//!
//! Protocol and invariants C1–C7: `docs/concurrency.md`, "Atomic batches".

mod expect;
mod increment;
mod last;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use expect::Check;
use expect::Condition;
pub use expect::{Expect, Found};
pub(crate) use increment::increment;
pub use increment::{IncrementError, Incremented};
pub use last::{Last, LastError};
pub(crate) use last::{last, last_of};
pub use retry::{Retry, RetryError};
use tidegauge_storage::model::{SeqNo, Timestamp};

use crate::appender::{Ack, check_all};
use crate::core::{Core, SeriesSample};
use crate::error::{CommitError, PushError};
use crate::gate::{Shortage, Shut};
use crate::ingest::{Request, settle};
use crate::registry::SeriesId;
use crate::requests::{NoReply, NotAsked, Replier, reply};
use crate::ring::LaneId;
use crate::snapshot::Snapshot;

/// Samples of many series that become visible together or not at all, in every snapshot and across a crash.
///
/// Collects without touching the engine: dropping it is the rollback. [`Self::commit`] asks the ingest worker, which
/// judges the conditions against everything ordered before and answers. Slower than an appender: a commit of its own
/// for each batch, some 20 µs with a log.
#[must_use = "a batch that is not committed leaves nothing"]
pub struct Batch {
    core: Arc<Core>,
    samples: Vec<SeriesSample>,
    conditions: Vec<Condition>,
    /// A condition names a snapshot of another engine.
    is_foreign: bool,
    /// Series met so far, and what their labels take in the log.
    series: HashSet<SeriesId>,
    label_bytes: usize,
    scratch: Vec<u8>,
}

/// How often a condition that is judged by who asks is looked at. If each time something of the series was accepted
/// between the look and the verdict, that is the conflict: who tries again may meet a quieter moment.
const LOOKS_MAX: u32 = 16;

/// Where a committed batch lies in the engine's one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    first: u64,
    end: u64,
    /// Of the engine that took it.
    tag: u32,
}

/// What the worker is asked.
pub(crate) struct BatchRequest {
    pub(crate) samples: Vec<SeriesSample>,
    pub(crate) checks: Vec<Check>,
    pub(crate) replier: Replier<Verdict>,
}

/// What it answers. Without an answer the engine has ended or is poisoned.
pub(crate) enum Verdict {
    /// Applied and visible, with these numbers.
    Committed(Committed),
    /// The check at this place failed; the number of the series' last sample.
    Failed { at: usize, found: u64 },
    /// A series was evicted meanwhile.
    Stale,
    /// The log has no room: nothing was written.
    Short(Shortage),
    /// The frame has no room for all of it: nothing was written.
    TooLarge,
}

impl Batch {
    /// Samples in a batch at most: it is one frame of the log.
    pub const SAMPLES_MAX: usize = 1 << 16;
    /// Conditions of a batch at most: the worker judges all of them between two commits.
    pub const CONDITIONS_MAX: usize = 1 << 12;
    /// Label bytes of its series at most: each may have to be defined in that frame.
    const LABEL_BYTES_MAX: usize = 8 << 20;
    /// What a definition takes beside its labels.
    const DEFINITION_BYTES: usize = 8;

    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            samples: Vec::new(),
            conditions: Vec::new(),
            is_foreign: false,
            series: HashSet::new(),
            label_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Adds one sample.
    ///
    /// # Errors
    /// [`PushError`]; the batch is as before. [`PushError::BatchTooLarge`] names how many samples fit.
    pub fn push(&mut self, series: SeriesId, timestamp: Timestamp, value: f64) -> Result<(), PushError> {
        self.push_batch(&[SeriesSample::new(series, timestamp, value)])
    }

    /// Adds samples, all or none.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_batch(&mut self, samples: &[SeriesSample]) -> Result<(), PushError> {
        check_all(&self.core, self.core.heads.tags.turn_seen(), samples)?;
        let registry = self.core.registry();
        if self.samples.len() + samples.len() > Self::SAMPLES_MAX {
            return Err(PushError::BatchTooLarge { limit: Self::SAMPLES_MAX });
        }
        // Aside, until it is known that all of them fit.
        let (mut fresh, mut label_bytes) = (HashSet::new(), self.label_bytes);
        for (i, sample) in samples.iter().enumerate() {
            let series = sample.series();
            if self.series.contains(&series) || !fresh.insert(series) {
                continue;
            }
            if !registry.slots().encoded(series.slot, &mut self.scratch) {
                return Err(PushError::StaleSeries);
            }
            let bytes = self.scratch.len() + Self::DEFINITION_BYTES;
            if label_bytes + bytes > Self::LABEL_BYTES_MAX {
                return Err(PushError::BatchTooLarge { limit: self.samples.len() + i });
            }
            label_bytes += bytes;
        }
        self.label_bytes = label_bytes;
        self.series.extend(fresh);
        self.samples.extend_from_slice(samples);
        Ok(())
    }

    /// The batch is committed only if the last sample of `series` is as expected when the worker orders it: a
    /// [`SeqNo`], a [`Timestamp`], [`Expect::Nothing`], or [`Expect::UnchangedSince`]. With more than
    /// [`Self::CONDITIONS_MAX`] of them it is refused ([`CommitError::TooManyConditions`]). Each costs the commit a look
    /// at the deletes since what is expected, of the 2,000 that may be remembered.
    pub fn expect_last(&mut self, series: SeriesId, expected: impl Into<Expect>) -> &mut Self {
        // One beyond, by which the commit knows.
        if self.conditions.len() <= Self::CONDITIONS_MAX {
            self.conditions.push(Condition { series, expected: expected.into() });
        }
        self
    }

    /// The batch is committed only if no sample of `series` was accepted after `snapshot` was taken. With this for
    /// each series that was read, read and write are one step: serializable. A snapshot of another engine, or of another
    /// opening of the same store, is refused at the commit ([`CommitError::OtherEngine`]).
    pub fn expect_unchanged(&mut self, series: SeriesId, snapshot: &Snapshot) -> &mut Self {
        self.is_foreign |= !snapshot.is_of(&self.core);
        self.expect_last(series, Expect::UnchangedSince(snapshot.watermark()))
    }

    /// Samples so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no sample yet. Such a batch may be committed too: it only judges.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Commits, and waits for the verdict as long as it takes: 2 ms of an idle engine, longer while lanes are held
    /// back. It comes behind whatever the calling thread has pushed before. On `Ok` the batch is visible; wait with
    /// [`Committed::ack`] for it to be durable.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was applied. Only after [`CommitError::Poisoned`] the batch may come back at the next
    /// opening, and then whole.
    pub fn commit(self) -> Result<Committed, CommitError> {
        self.commit_for(None, LOOKS_MAX)
    }

    /// As [`Self::commit`], but gives up if the worker has not taken the batch, or told what its conditions are worth,
    /// within `timeout` in all; then nothing was applied.
    ///
    /// # Errors
    /// As [`Self::commit`], and [`CommitError::Timeout`].
    pub fn commit_within(self, timeout: Duration) -> Result<Committed, CommitError> {
        self.commit_for(Some(timeout), LOOKS_MAX)
    }

    pub(crate) fn commit_for(mut self, timeout: Option<Duration>, looks: u32) -> Result<Committed, CommitError> {
        match self.core.gate.why_shut() {
            Some(Shut::Short(short)) => return Err(short.into()),
            Some(Shut::Closed) => return Err(CommitError::Closed),
            Some(Shut::ReadOnly) => return Err(CommitError::ReadOnly),
            Some(Shut::Poisoned(poisoned)) => return Err(poisoned.into()),
            None => {}
        }
        if self.core.is_own_thread() {
            return Err(CommitError::InWaker);
        }
        if self.conditions.len() > Self::CONDITIONS_MAX {
            return Err(CommitError::TooManyConditions { limit: Self::CONDITIONS_MAX });
        }
        if self.is_foreign {
            return Err(CommitError::OtherEngine);
        }
        let patience = Patience { began: Instant::now(), timeout };
        for look in 1.. {
            let checks = match Condition::all_checks(&self.conditions, &self.core) {
                // What is judged here is judged by what is visible, and what this thread has pushed may not be so yet.
                Err(CommitError::Conflict { .. }) if look == 1 => {
                    let settled = settle(&self.core, || patience.left());
                    Condition::all_checks(&self.conditions, &self.core).map_err(|conflict| {
                        match (settled, self.core.gate.why_shut()) {
                            (_, Some(Shut::Short(short))) => short.into(),
                            (Ok(()), _) => conflict,
                            (Err(NoReply::Timeout), _) => self.timed_out(patience),
                            (Err(NoReply::Gone), Some(Shut::Poisoned(poisoned))) => poisoned.into(),
                            (Err(NoReply::Gone), _) => CommitError::Closed,
                        }
                    })?
                }
                checks => checks?,
            };
            // What is newest, or hidden, is judged here, as of a snapshot; the worker only says whether that still holds.
            let may_repeat = look < looks && self.conditions.iter().any(Condition::is_judged_here);
            let samples = if may_repeat { self.samples.clone() } else { std::mem::take(&mut self.samples) };
            match self.ask(samples, checks, patience)? {
                Verdict::Committed(committed) => return Ok(committed),
                Verdict::Stale => return Err(CommitError::StaleSeries),
                Verdict::Short(short) => return Err(short.into()),
                Verdict::TooLarge => return Err(CommitError::BatchTooLarge),
                Verdict::Failed { at, .. } if may_repeat && self.conditions[at].is_judged_here() => {
                    if patience.is_over() {
                        return Err(self.timed_out(patience));
                    }
                }
                Verdict::Failed { at, found } => {
                    return Err(self.conditions[at].failed_with(&self.core, found));
                }
            }
        }
        unreachable!("the last look does not repeat")
    }

    fn ask(&self, samples: Vec<SeriesSample>, checks: Vec<Check>, patience: Patience) -> Result<Verdict, CommitError> {
        let core = &self.core;
        let gone = || core.gate.poisoned().map_or(CommitError::Closed, CommitError::Poisoned);
        let (replier, mut verdict) = reply();
        let weight = samples.len() + checks.len() + 1;
        let request = Request::Batch(BatchRequest { samples, checks, replier });
        let asked = core.ask(request, weight, patience.left().unwrap_or(Duration::MAX)).map_err(|e| match e {
            NotAsked::Full => patience.error(),
            NotAsked::Closed => gone(),
        })?;
        match verdict.wait(patience.left()) {
            Ok(verdict) => Ok(verdict),
            Err(NoReply::Gone) => Err(gone()),
            Err(NoReply::Timeout) if core.requests.withdraw(asked).is_some() => Err(self.timed_out(patience)),
            // Taken: the verdict is on its way, and nothing else would be true.
            Err(NoReply::Timeout) => verdict.wait(None).map_err(|_| gone()),
        }
    }

    fn timed_out(&self, patience: Patience) -> CommitError {
        self.core.counters.wait_timed_out();
        patience.error()
    }
}

/// One bound for all that a commit waits for, however often it asks.
#[derive(Clone, Copy)]
struct Patience {
    began: Instant,
    /// `None`: none.
    timeout: Option<Duration>,
}

impl Patience {
    fn left(self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.saturating_sub(self.began.elapsed()))
    }

    fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    fn error(self) -> CommitError {
        CommitError::Timeout { waited: self.timeout.unwrap_or(Duration::MAX) }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("samples", &self.samples.len())
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

impl Committed {
    pub(crate) fn new(first: u64, end: u64, tag: u32) -> Self {
        Self { first, end, tag }
    }

    /// Number of the batch's first sample; the others count up. Of an empty batch: of the sample that comes next.
    #[must_use]
    pub fn first(&self) -> SeqNo {
        SeqNo(self.first)
    }

    /// Number of the batch's last sample, which [`Batch::expect_last`] of that sample's series takes; `None` if the
    /// batch was empty.
    #[must_use]
    pub fn last(&self) -> Option<SeqNo> {
        (self.end > self.first).then(|| SeqNo(self.end - 1))
    }

    /// For [`Engine::wait`](crate::Engine::wait), to learn when the batch is durable.
    #[must_use]
    pub fn ack(&self) -> Ack {
        Ack { lane: LaneId::NONE, position: self.end, tag: self.tag }
    }
}
