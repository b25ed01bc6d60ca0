//! A segment as compaction sees it: without what is deleted or over age.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegauge_storage::model::{Labels, SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{ChunkSpan, Segment};
use tidegauge_storage::source::{AgeMask, Columns, Mask, Masked, ReadError, SampleSource};

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
        let masked = mask.clone().map(|mask| Masked::new(Arc::clone(&segment) as Arc<dyn SampleSource>, mask));
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

fn mask_of(segment: &Segment, tombstones: &[Arc<Tombstone>], ages: &Arc<[AgeMask]>) -> Option<Mask> {
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

/// What of a segment is hidden: by which deletes and ages, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    /// By number, range and how many matchers: a horizon may have the number of a delete.
    tombstones: Vec<(SeqNo, TimeRange, usize)>,
    /// Horizons before or behind all of the segment stand at its beginning or end: what they hide of it does not change.
    ages: Vec<AgeMask>,
    pub(super) found: Count,
}

/// How much is hidden, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) samples: u64,
    /// When the oldest of the deletes was made that hide some of them.
    pub(super) since: i64,
    /// Those that are over the age of some series only. A delete may hide them as well.
    pub(super) aged: u64,
    /// Some are of series of which the segment holds nothing that is not over age: it will not be more.
    pub(super) over_age: bool,
}

impl Count {
    /// What is counted where nothing hides anything.
    pub(super) const NOTHING: Self = Self { samples: 0, since: i64::MAX, aged: 0, over_age: false };
}

impl Hidden {
    /// Counts what is hidden, unless `known` says it already. O(series that deletes name); with ages O(series).
    /// `gets_on` is called between chunks.
    pub(super) fn count(
        segment: &Segment,
        tombstones: &[Arc<Tombstone>],
        ages: &Arc<[AgeMask]>,
        known: Option<&Self>,
        gets_on: &dyn Fn(),
    ) -> Result<Option<Self>, ReadError> {
        let Some(mask) = mask_of(segment, tombstones, ages) else { return Ok(None) };
        let tombstones: Vec<_> = mask.tombstones.iter().map(|t| (t.seq, t.range, t.matchers.len())).collect();
        let range = segment.info().time_range.unwrap_or(TimeRange::ALL);
        let within = |at: Timestamp| if at <= range.start { Timestamp::MIN } else { at.min(range.end) };
        let aged = |age: &AgeMask| AgeMask { horizon: within(age.horizon), ..age.clone() };
        let ages: Vec<AgeMask> = mask.ages.iter().map(aged).collect();
        if let Some(known) = known.filter(|known| known.tombstones == tombstones && known.ages == ages) {
            return Ok(Some(known.clone()));
        }
        Ok(Some(Self { tombstones, ages, found: count(segment, &mask, gets_on)? }))
    }
}

fn count(segment: &Segment, mask: &Mask, gets_on: &dyn Fn()) -> Result<Count, ReadError> {
    let info = segment.info();
    let end = info.time_range.map_or(Timestamp::MIN, |range| range.end);
    let of_all = horizon_of_all(&mask.ages);
    // Unread: it may be damaged.
    if !mask.ages.is_empty() && end <= of_all {
        return Ok(Count { samples: info.samples, over_age: true, ..Count::NOTHING });
    }
    let whole = |t: &&Arc<Tombstone>| {
        t.matchers.is_empty()
            && info.time_range.is_some_and(|time| t.range.start <= time.start && time.end <= t.range.end)
    };
    if let Some(gone) = mask.tombstones.iter().find(whole) {
        return Ok(Count { samples: info.samples, since: gone.created, ..Count::NOTHING });
    }
    let mut named: BTreeSet<u32> = BTreeSet::new();
    if mask.ages.is_empty() {
        for tombstone in &mask.tombstones {
            named.extend(segment.select(&tombstone.matchers)?.iter().map(|hit| hit.ordinal));
        }
    } else {
        named.extend(0..segment.series_count());
    }
    let (mut found, mut columns, mut walk) = (Count::NOTHING, Columns::default(), segment.walk());
    for ordinal in named {
        let labels = walk.labels(ordinal)?;
        let hidden = mask.hidden(&labels);
        let aged = Some(TimeRange::new(of_all, mask.horizon(&labels))).filter(|range| !range.is_empty());
        let before = found.samples;
        for span in walk.spans(ordinal)? {
            let span = span?;
            gets_on();
            let mut within = |ranges: &[TimeRange]| match touch(&span, ranges) {
                Touch::None => Ok(0),
                Touch::All => Ok(u64::from(span.count)),
                Touch::Part => {
                    let own = TimeRange::covering(Timestamp::from_nanos(span.first), Timestamp::from_nanos(span.last));
                    columns.clear();
                    for range in ranges {
                        let mut cursor = segment.read(ordinal, range.intersect(&own))?;
                        while cursor.next(&mut columns)? {}
                    }
                    Ok::<u64, ReadError>(columns.len() as u64)
                }
            };
            found.samples += within(&hidden)?;
            found.aged += within(aged.as_slice())?;
        }
        if found.samples > before {
            found.over_age = found.over_age || end <= mask.horizon(&labels);
            let older = mask.tombstones.iter().filter(|t| t.created < found.since && t.matches(&labels));
            found.since = older.map(|t| t.created).min().unwrap_or(found.since);
        }
    }
    Ok(found)
}
