//! The newest sample of one series, and the number of the last one that segments hold.

use tidegauge_storage::model::{LabelLimits, Labels, Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{ReadError, Snapshot as Sources};

use crate::commit::Pins;
use crate::core::Core;
use crate::error::CommitError;
use crate::memtable::HeadTable;
use crate::registry::SeriesId;
use crate::sync::{Peeked, epoch};

/// The newest sample of a series, as of one commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Last {
    /// When.
    pub timestamp: Timestamp,
    /// The value.
    pub value: f64,
    /// Everything below this number was looked at: [`Expect::UnchangedSince`](super::Expect::UnchangedSince) takes it.
    pub as_of: SeqNo,
}

/// Why the newest sample of a series is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LastError {
    /// The series id is not (or no longer) one of this engine. Resolve the series again, or ask by its labels
    /// ([`Engine::last_of`](crate::Engine::last_of)).
    #[error("stale series id: resolve the series again, or ask by its labels")]
    StaleSeries,
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<LastError> for CommitError {
    fn from(error: LastError) -> Self {
        match error {
            LastError::StaleSeries => Self::StaleSeries,
            LastError::Read(error) => Self::Read(error),
        }
    }
}

/// The newest sample of `series`: from its head where that tells, else from the sources.
pub(crate) fn last(core: &Core, series: SeriesId) -> Result<Option<Last>, LastError> {
    if !core.heads.is_live(series) {
        return Err(LastError::StaleSeries);
    }
    if let Some(last) = newest(core, series) {
        return Ok(Some(last));
    }
    // None if it was evicted this moment.
    let labels = core.registry().slots().labels_of(series).ok_or(LastError::StaleSeries)?;
    Ok(last_stored(core, &labels)?)
}

/// As [`last`], of the series that has exactly these labels.
pub(crate) fn last_of(core: &Core, pairs: &[(&str, &str)]) -> Result<Option<Last>, ReadError> {
    let version = core.versions.peek();
    // Labels that are not acceptable are nobody's.
    let Ok(labels) = Labels::new(pairs.iter().copied(), &LabelLimits::NONE) else { return Ok(None) };
    match version.registry.find_series(&labels).and_then(|series| newest(core, series)) {
        Some(last) => Ok(Some(last)),
        None => last_stored(core, &labels),
    }
}

/// The newest visible sample of a live series, if its open tail alone tells (T9); `None` says nothing.
fn newest(core: &Core, series: SeriesId) -> Option<Last> {
    // What hides samples by their age may hide this one. Deletes do not: each begins a new memtable.
    if core.kept.ages().is_some() {
        return None;
    }
    // Before the tail is looked at: whatever is below this number is seen there.
    let as_of = SeqNo(core.watermark.seq());
    let version = core.versions.peek();
    // Nor do horizons, but those of all that there is, which a reader beside the owner may meet.
    if version.horizons.iter().any(|horizon| horizon.seq.0 >= version.active.first_seq) {
        return None;
    }
    let head = core.heads.head(series.slot);
    let pair = head.newest(&epoch::pin(), version.active.origin(), || core.watermark.commit())?;
    // After the sample: a series that has the slot by now got it before it brought anything (V7).
    if !core.heads.is_live(series) {
        return None;
    }
    let last = Last { timestamp: Timestamp::from_nanos(pair.timestamp), value: pair.value, as_of };
    // Of equal timestamps the active memtable's sample was accepted later.
    (pair.timestamp >= version.last_of_older()).then_some(last)
}

/// The newest sample in a snapshot of its own, with what is hidden from every reader hidden.
fn last_stored(core: &Core, labels: &Labels) -> Result<Option<Last>, ReadError> {
    let choose = || core.watermark.cut(|| core.versions.peek(), Peeked::is_same);
    let (pin, version) = Pins::pin(&core.pins, &core.watermark, choose);
    let visible = pin.visible();
    let sources = Sources::new(version.sources(visible.commit, core.kept.ages()), SeqNo(visible.seq));
    let last = sources.last_of(labels)?;
    Ok(last.map(|Sample { timestamp, value }| Last { timestamp, value, as_of: sources.watermark() }))
}

/// The number of the last sample of a series that is in a segment; 0 if there is none.
pub(super) fn stored_seq(core: &Core, series: SeriesId) -> Result<u64, ReadError> {
    let version = core.versions.load();
    let Some(labels) = version.registry.slots().labels_of(series) else { return Ok(0) };
    let mut last = 0;
    for segment in &version.segments {
        if let Some(ordinal) = segment.find(&labels)? {
            last = last.max(segment.max_seq(ordinal)?.0);
        }
    }
    Ok(last)
}
