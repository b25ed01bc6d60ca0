//! The newest sample of one series, and the number of the last one that segments hold.

use std::sync::Arc;

use tidegauge_storage::model::{Sample, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::source::{AgeMask, Columns, ReadCounts, ReadError, SampleSource};

use crate::commit::{Pins, Visible};
use crate::core::Core;
use crate::memtable::MemtableSource;
use crate::registry::SeriesId;
use crate::version::Version;

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

/// The newest sample of `series` in a snapshot of its own.
pub(crate) fn last(core: &Core, series: SeriesId) -> Result<Option<Last>, ReadError> {
    if series.tag != core.tag {
        return Ok(None);
    }
    let choose = || core.watermark.cut(|| core.versions.load(), Arc::ptr_eq);
    let (pin, version) = Pins::pin(&core.pins, &core.watermark, choose);
    let visible = pin.visible();
    let ages = core.kept.ages();
    if !version.tombstones.is_empty() || !ages.is_empty() {
        return last_visible(core, &version, series.slot, visible, &ages);
    }
    let mut best: Option<(i64, f64)> = None;
    let sealed = version.sealed.iter().rev();
    // Later sources first: of equal timestamps the later source's sample counts.
    for memtable in [&version.active].into_iter().chain(sealed) {
        let source = MemtableSource::new(Arc::clone(memtable), Arc::clone(&core.registry), visible.commit);
        if let Some(pair) = source.last(series.slot)
            && best.is_none_or(|(at, _)| pair.timestamp > at)
        {
            best = Some((pair.timestamp, pair.value));
        }
    }
    let Some(labels) = core.registry.slots().labels(series.slot) else { return Ok(None) };
    for segment in version.segments.iter().rev() {
        let Some(after) = best.map_or(Some(i64::MIN), |(at, _)| at.checked_add(1)) else { break };
        let range = TimeRange::new(Timestamp::from_nanos(after), Timestamp::MAX);
        if !segment.time_range().is_some_and(|own| own.overlaps(&range)) {
            continue;
        }
        let Some(ordinal) = segment.find(&labels)? else { continue };
        let mut columns = Columns::default();
        let mut cursor = segment.read(ordinal, range)?;
        while cursor.next(&mut columns)? {
            if let (Some(&at), Some(&value)) = (columns.timestamps.last(), columns.values.last()) {
                best = Some((at, value));
            }
            columns.clear();
        }
    }
    let as_of = SeqNo(visible.seq);
    Ok(best.map(|(at, value)| Last { timestamp: Timestamp::from_nanos(at), value, as_of }))
}

/// The same where something is hidden: through the sources of a snapshot. Later sources first.
fn last_visible(
    core: &Core,
    version: &Version,
    slot: u32,
    visible: Visible,
    ages: &Arc<[AgeMask]>,
) -> Result<Option<Last>, ReadError> {
    let Some(labels) = core.registry.slots().labels(slot) else { return Ok(None) };
    let sources = version.sources(&core.registry, visible.commit, ages);
    let (mut scratch, mut counts) = (Columns::default(), ReadCounts::default());
    let mut best: Option<Sample> = None;
    for (i, source) in sources.iter().enumerate().rev() {
        let after = best.map_or(Some(i64::MIN), |best| best.timestamp.nanos().checked_add(1));
        let Some(after) = after else { break };
        let range = TimeRange::new(Timestamp::from_nanos(after), Timestamp::MAX);
        if !source.time_range().is_some_and(|own| own.overlaps(&range)) {
            continue;
        }
        let ordinal = match version.segments.get(i) {
            Some(segment) => segment.find(&labels)?,
            None => Some(slot),
        };
        if let Some(ordinal) = ordinal {
            best = source.last(ordinal, range, &mut scratch, &mut counts)?.or(best);
        }
    }
    Ok(best.map(|Sample { timestamp, value }| Last { timestamp, value, as_of: SeqNo(visible.seq) }))
}

/// The number of the last sample of a series that is in a segment; 0 if there is none.
pub(super) fn stored_seq(core: &Core, slot: u32) -> Result<u64, ReadError> {
    let version = core.versions.load();
    let Some(labels) = core.registry.slots().labels(slot) else { return Ok(0) };
    let mut last = 0;
    for segment in &version.segments {
        if let Some(ordinal) = segment.find(&labels)? {
            last = last.max(segment.max_seq(ordinal)?.0);
        }
    }
    Ok(last)
}
