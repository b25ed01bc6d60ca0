//! A segment as compaction sees it: without what is deleted or over age.

use std::sync::Arc;

use tidegauge_storage::model::{Labels, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{ChunkSpan, Segment};
use tidegauge_storage::source::{AgeMask, Mask, Masked, SampleSource};

/// One segment of a job, and what of it is left out.
pub(super) struct Input {
    pub(super) segment: Arc<Segment>,
    mask: Mask,
    masked: Option<Masked>,
}

impl Input {
    /// `tombstones` has every delete that reaches the segment and lies below another one of the job, and horizons as deletes.
    /// What `ages` hide of some series only is left out, unless the job `keeps` it.
    pub(super) fn new(
        segment: Arc<Segment>,
        tombstones: &[Arc<Tombstone>],
        ages: &Arc<[AgeMask]>,
        keeps: bool,
    ) -> Self {
        let of_all = || [AgeMask { matchers: Arc::default(), horizon: horizon_of_all(ages) }].into();
        let mask = if keeps { mask_of(&segment, tombstones, &of_all()) } else { mask_of(&segment, tombstones, ages) };
        let masked = mask.clone().map(|mask| Masked::by_labels(Arc::clone(&segment) as Arc<dyn SampleSource>, mask));
        Self { segment, mask: mask.unwrap_or_default(), masked }
    }

    /// What is left.
    pub(super) fn source(&self) -> &dyn SampleSource {
        match &self.masked {
            Some(masked) => masked,
            None => &*self.segment,
        }
    }

    /// Whether anything may be left out of it for its age.
    pub(super) fn has_aged(&self) -> bool {
        !self.mask.ages.is_empty()
    }

    /// What of every series lies before this is left out.
    pub(super) fn left_out_before(&self) -> Timestamp {
        let of_all = |t: &&Arc<Tombstone>| t.matchers.is_empty() && t.range.start == Timestamp::MIN;
        let tombstones = self.mask.tombstones.iter().filter(of_all).map(|t| t.range.end);
        tombstones.max().unwrap_or(Timestamp::MIN).max(horizon_of_all(&self.mask.ages))
    }

    /// The ranges left out of a series with these labels.
    pub(super) fn hidden(&self, labels: &Labels) -> Vec<TimeRange> {
        if self.masked.is_some() { self.mask.hidden(labels) } else { Vec::new() }
    }
}

/// What lies before this is over age, whatever series it is of.
pub(super) fn horizon_of_all(ages: &[AgeMask]) -> Timestamp {
    ages.iter().map(|age| age.horizon).min().unwrap_or(Timestamp::MIN)
}

pub(super) fn mask_of(segment: &Segment, tombstones: &[Arc<Tombstone>], ages: &Arc<[AgeMask]>) -> Option<Mask> {
    Mask::reaching(tombstones, ages, segment.info().seq_range, segment.info().time_range)
}

/// How a chunk relates to the ranges left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    None,
    Part,
    All,
}

pub(super) fn touch(span: &ChunkSpan, hidden: &[TimeRange]) -> Touch {
    let (first, last) = (Timestamp::from_nanos(span.first), Timestamp::from_nanos(span.last));
    let own = TimeRange::covering(first, last);
    match hidden.iter().find(|range| range.overlaps(&own)) {
        None => Touch::None,
        Some(range) if range.contains(first) && range.contains(last) => Touch::All,
        Some(_) => Touch::Part,
    }
}
