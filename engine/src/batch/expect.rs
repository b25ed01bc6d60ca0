//! What a batch expects of a series, and how that is judged.

use std::fmt;

use tidegauge_storage::model::{SeqNo, Timestamp};

use super::last;
use crate::core::Core;
use crate::error::CommitError;
use crate::memtable::{HeadTable, Kind, SeriesHead};
use crate::registry::{SeriesId, Slots};
use crate::sync::epoch;
use crate::version::Version;

/// What the last sample of a series must be for a batch to be committed. *Last* is the one accepted last, but for
/// [`Expect::Timestamp`], where it is the newest.
///
/// A delete whose matchers name the series is a change of it, whatever its range hides: it takes the place of the last
/// sample, with its own number. That is exact for the last 1,000 deletes; across a reopening, for those that still
/// hide something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// The series holds no sample: none was accepted yet, or none is visible any more. Where samples that retention hides
    /// at once come so fast that sixteen looks in a row are outrun, the last of them is the conflict.
    Nothing,
    /// The one with this number: exact. [`Committed::last`](super::Committed::last) and [`Found::Seq`] give it.
    ///
    /// An engine that has had a sample of the series since it was opened, and has not evicted it as idle, knows the number
    /// even if retention has dropped that sample. Otherwise segments tell it: where retention has dropped the sample with the
    /// greatest number, the greatest that is left (or a delete behind that) is found, which is smaller, or nothing. That is a
    /// conflict although nothing was accepted since; who goes on from what is found loses nothing.
    Seq(SeqNo),
    /// One at this timestamp. A sample that was written over at the same timestamp does not count as a change, nor does
    /// one that comes late.
    Timestamp(Timestamp),
    /// One that a snapshot with this number holds (its `watermark`): none was accepted or deleted since.
    UnchangedSince(SeqNo),
}

/// What was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// The series holds no sample.
    Nothing,
    /// Its last sample has this number, or the delete that named it later.
    Seq(SeqNo),
    /// Its newest sample has this timestamp.
    Timestamp(Timestamp),
}

impl From<SeqNo> for Expect {
    fn from(seq: SeqNo) -> Self {
        Self::Seq(seq)
    }
}

impl From<Timestamp> for Expect {
    fn from(timestamp: Timestamp) -> Self {
        Self::Timestamp(timestamp)
    }
}

impl Expect {
    /// Behind what was found: numbers count up, so a smaller one than expected says more than that it is another one.
    pub(crate) fn what_went(&self, found: &Found) -> &'static str {
        match (self, found) {
            (Self::Seq(expected), Found::Seq(found)) if found > expected => "",
            (Self::Seq(_), Found::Seq(_) | Found::Nothing) => {
                " (the sample with that number is gone, by retention, a delete or a power loss, and nothing newer is there)"
            }
            _ => "",
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no sample"),
            Self::Seq(seq) => write!(f, "sample number {}", seq.0),
            Self::Timestamp(at) => write!(f, "a newest sample at {} ns", at.nanos()),
            Self::UnchangedSince(seq) => write!(f, "no sample since number {}", seq.0),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no sample"),
            Self::Seq(seq) => write!(f, "sample number {}", seq.0),
            Self::Timestamp(at) => write!(f, "a newest sample at {} ns", at.nanos()),
        }
    }
}

impl Found {
    /// 0 is no sample's number.
    pub(super) fn of_seq(seq: u64) -> Self {
        if seq == 0 { Self::Nothing } else { Self::Seq(SeqNo(seq)) }
    }
}

/// One thing that a batch expects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) series: SeriesId,
    pub(super) expected: Expect,
}

/// A condition as the worker judges it: on the number of the series' last sample, 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) series: SeriesId,
    /// That number as segments have it, for a series that has brought nothing since it was made known (C2).
    stored: u64,
    want: Want,
    /// Who asks has looked at the deletes below this number, so that the worker need not.
    seen: u64,
    /// The last of those that names the series; 0 if there is none.
    deleted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// No sample, ever.
    Nothing,
    Exactly(u64),
    Below(u64),
    /// No delete with a number from `below` on, and no sample newer than `at`: what was accepted from there on is in
    /// memtable `generation` or later ones.
    NoneNewer {
        at: i64,
        below: u64,
        generation: u32,
    },
}

impl Want {
    /// From which number on deletes count, and whether only those that are known to name the series do.
    fn deletes(self) -> Option<(u64, bool)> {
        match self {
            Self::Nothing => None,
            Self::Exactly(seq) => Some((seq, true)),
            Self::Below(seq) | Self::NoneNewer { below: seq, .. } => Some((seq, false)),
        }
    }
}

/// Deletes that are matched before the worker does what is due besides: a millisecond's.
pub(super) const LOOKS_AT_ONCE: u64 = 1 << 13;

impl Check {
    /// Judges them in order. Answers the place of the first that does not hold, and the number found. `looks` is raised
    /// by the deletes that were matched; `tend` is called each so many.
    pub(crate) fn judge_all<'a>(
        checks: &[Self],
        head: impl Fn(u32) -> &'a SeriesHead,
        (commit, version, slots): (u64, &Version, &Slots),
        looks: &mut u64,
        mut tend: impl FnMut(),
    ) -> Result<(), (usize, u64)> {
        let mut tend_at = *looks + LOOKS_AT_ONCE;
        for (at, check) in checks.iter().enumerate() {
            check.judge(head(check.series.slot), (commit, version, slots), looks).map_err(|found| (at, found))?;
            if *looks >= tend_at {
                tend_at = *looks + LOOKS_AT_ONCE;
                tend();
            }
        }
        Ok(())
    }

    /// The number found, if it is not as wanted. `head` is that of the series, all of it visible as of `commit`; deletes
    /// are those of `version`.
    pub(super) fn judge(
        &self,
        head: &SeriesHead,
        (commit, version, slots): (u64, &Version, &Slots),
        looks: &mut u64,
    ) -> Result<(), u64> {
        let last = head.last_seq().unwrap_or(self.stored);
        let since = self.want.deletes().map(|(since, exact)| (since.max(self.seen), exact));
        let labels = || slots.labels_of(self.series);
        let later = since.map_or(0, |(since, exact)| version.last_delete(since, exact, looks, labels));
        let deleted = self.deleted.max(later);
        let (found, holds) = match self.want {
            Want::Nothing => (last, last == 0),
            Want::Exactly(seq) => {
                let found = last.max(deleted);
                (found, found == seq)
            }
            Want::Below(seq) => {
                let found = last.max(deleted);
                (found, found < seq)
            }
            Want::NoneNewer { at, below, generation } => {
                // Of one memtable the late samples of a series are not newer than those in order.
                let none_newer = || {
                    let of = version.active.origin();
                    let mut in_order = Vec::new();
                    head.view(&epoch::pin(), Kind::InOrder, of, commit, &mut in_order);
                    let newest = in_order.last().filter(|_| generation == of.generation);
                    newest.is_some_and(|newest| newest.timestamp <= at)
                };
                (last.max(deleted), deleted < below && (last < below || none_newer()))
            }
        };
        if holds { Ok(()) } else { Err(found) }
    }
}

impl Condition {
    /// What the worker shall judge. Reads segments for series that have been idle for long, and a snapshot for
    /// timestamps, whose failure is known here.
    pub(super) fn all_checks(conditions: &[Self], core: &Core) -> Result<Vec<Check>, CommitError> {
        // In this order: the version has every delete below the number.
        let seen = core.watermark.seq();
        let version = core.versions.load();
        conditions.iter().map(|condition| condition.check(core, seen, &version)).collect()
    }

    fn check(&self, core: &Core, seen: u64, version: &Version) -> Result<Check, CommitError> {
        if !core.heads.is_live(self.series) {
            return Err(CommitError::StaleSeries);
        }
        // The head first: if it knows of nothing then, all there is was in segments before (C2). What is evicted
        // meanwhile is found stale by the worker.
        let stored = match core.heads.head(self.series.slot).last_seq() {
            Some(_) => 0,
            None => last::stored_seq(core, self.series)?,
        };
        let want = match self.expected {
            Expect::Nothing => self.nothing(core, stored)?,
            Expect::Seq(seq) => Want::Exactly(seq.0),
            Expect::UnchangedSince(seq) => Want::Below(seq.0),
            Expect::Timestamp(expected) => {
                // Before the look: what the look does not see comes into this memtable, or a later one.
                let generation = core.versions.load().active.generation;
                match last::last(core, self.series)? {
                    Some(last) if last.timestamp == expected => {
                        Want::NoneNewer { at: expected.nanos(), below: last.as_of.0, generation }
                    }
                    Some(last) => return Err(self.failed(core, Found::Timestamp(last.timestamp))),
                    None => return Err(self.failed(core, Found::Nothing)),
                }
            }
        };
        let labels = || core.registry().slots().labels_of(self.series);
        let deletes = want.deletes();
        let deleted = deletes.map_or(0, |(since, exact)| version.last_delete(since, exact, &mut 0, labels));
        Ok(Check { series: self.series, stored, want, seen, deleted })
    }

    /// No sample was ever accepted; or all are hidden by now, which a snapshot tells.
    fn nothing(&self, core: &Core, stored: u64) -> Result<Want, CommitError> {
        let as_of = core.watermark.seq();
        let last = core.heads.head(self.series.slot).last_seq().unwrap_or(stored);
        if last == 0 {
            return Ok(Want::Nothing);
        }
        match last::last(core, self.series)? {
            None => Ok(Want::Below(as_of)),
            Some(_) => Err(self.failed_with(core, last)),
        }
    }

    /// Whether a failure at the worker only means: look again.
    pub(super) fn is_judged_here(&self) -> bool {
        matches!(self.expected, Expect::Timestamp(_) | Expect::Nothing)
    }

    /// The conflict with the number that was found. Deletes were looked at from the number on that is expected: where the
    /// sample with that one is gone, or none was expected, an earlier delete may have named the series behind what is left.
    pub(super) fn failed_with(&self, core: &Core, found: u64) -> CommitError {
        let mut last = found;
        let may_be_passed_over = match self.expected {
            Expect::Seq(expected) => found < expected.0,
            Expect::Nothing => true,
            Expect::Timestamp(_) | Expect::UnchangedSince(_) => false,
        };
        if may_be_passed_over {
            let labels = || core.registry().slots().labels_of(self.series);
            last = last.max(core.versions.load().last_delete(found, true, &mut 0, labels));
        }
        self.failed(core, Found::of_seq(last))
    }

    /// The conflict, told by labels; they are only put together here.
    pub(super) fn failed(&self, core: &Core, found: Found) -> CommitError {
        let Self { series, expected } = *self;
        match core.registry().slots().labels_of(series) {
            Some(labels) => CommitError::Conflict { series, labels, expected, found },
            None => CommitError::StaleSeries,
        }
    }
}
