//! A source of which some samples are hidden: deleted, or over age.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource, SeriesHit};
use crate::chunk::{ChunkStats, StatsWanted};
use crate::model::{Labels, Matcher, Sample, SeqRange, TimeRange, Timestamp, Tombstone};

/// How long samples of some series are kept: those before `horizon` are hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgeMask {
    /// Which series: those that pass all of these; all series if there is none.
    pub matchers: Arc<[Matcher]>,
    /// The first timestamp that is kept; `Timestamp::MIN` keeps all.
    pub horizon: Timestamp,
}

/// What is hidden of a source: for each series the ranges of its tombstones, and what lies
/// before the horizon of the first age that it passes.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Deletes that reach the source, and what else hides as they do.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// Ages, of which the first that a series passes counts.
    pub ages: Arc<[AgeMask]>,
}

impl Mask {
    /// The part of these deletes and ages that may hide something in a source; `None` if nothing does.
    #[must_use]
    pub fn reaching<'a>(
        tombstones: impl IntoIterator<Item = &'a Arc<Tombstone>>,
        ages: &Arc<[AgeMask]>,
        seq: SeqRange,
        time: Option<TimeRange>,
    ) -> Option<Self> {
        let start = time?.start;
        let tombstones: Vec<_> = tombstones.into_iter().filter(|t| t.reaches(seq, time)).cloned().collect();
        let ages = if ages.iter().any(|age| start < age.horizon) { Arc::clone(ages) } else { Arc::default() };
        (!tombstones.is_empty() || !ages.is_empty()).then_some(Self { tombstones, ages })
    }

    /// The ranges hidden of a series with these labels: ascending, apart from each other.
    #[must_use]
    pub fn hidden(&self, labels: &Labels) -> Vec<TimeRange> {
        let mut hidden: Vec<TimeRange> =
            self.tombstones.iter().filter(|t| t.matches(labels)).map(|t| t.range).collect();
        hidden.push(TimeRange::new(Timestamp::MIN, self.horizon(labels)));
        hidden.retain(|range| !range.is_empty());
        hidden.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<TimeRange> = Vec::new();
        for range in hidden {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    /// What a series with these labels has before this is over age.
    #[must_use]
    pub fn horizon(&self, labels: &Labels) -> Timestamp {
        let age = self.ages.iter().find(|age| age.matchers.iter().all(|m| m.matches_labels(labels)));
        age.map_or(Timestamp::MIN, |age| age.horizon)
    }
}

/// What of `range` is not `hidden`: ascending.
#[must_use]
pub fn visible(hidden: &[TimeRange], range: TimeRange) -> Vec<TimeRange> {
    let mut visible = Vec::new();
    let mut start = range.start;
    for gap in hidden {
        visible.push(TimeRange::new(start, gap.start.min(range.end)));
        // An end of `MAX` is none: nothing is left behind it.
        if gap.end == Timestamp::MAX {
            visible.retain(|range| range.start < range.end);
            return visible;
        }
        start = start.max(gap.end);
    }
    visible.push(TimeRange::new(start, range.end));
    visible.retain(|part| part.start < part.end || (part.end == Timestamp::MAX && part.start <= part.end));
    visible
}

/// A source seen through a mask.
pub struct Masked {
    inner: Arc<dyn SampleSource>,
    mask: Mask,
}

impl Masked {
    /// Hides what `mask` says of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn SampleSource>, mask: Mask) -> Self {
        Self { inner, mask }
    }

    /// What of `range` can be seen of a series.
    fn visible(&self, ordinal: u32, range: TimeRange) -> Result<Vec<TimeRange>, ReadError> {
        Ok(visible(&self.mask.hidden(&self.inner.labels(ordinal)?), range))
    }
}

impl SampleSource for Masked {
    fn seq_range(&self) -> SeqRange {
        self.inner.seq_range()
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.inner.time_range()
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        self.inner.select(matchers)
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.inner.labels(ordinal)
    }

    fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        self.inner.find(labels)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let ranges = self.visible(ordinal, range)?;
        if ranges == [range] {
            return self.inner.read(ordinal, range);
        }
        let (ranges, counts) = (ranges.into(), ReadCounts::default());
        Ok(Box::new(MaskedCursor { source: &*self.inner, ordinal, ranges, current: None, counts }))
    }

    fn statistics(
        &self,
        ordinal: u32,
        range: TimeRange,
        wanted: StatsWanted,
        see: &mut dyn FnMut(&ChunkStats) -> bool,
    ) -> Result<Option<ReadCounts>, ReadError> {
        let mut counts = ReadCounts::default();
        for part in self.visible(ordinal, range)? {
            let Some(told) = self.inner.statistics(ordinal, part, wanted, see)? else { return Ok(None) };
            counts += told;
        }
        Ok(Some(counts))
    }

    fn samples_about(&self, ordinal: u32, range: TimeRange) -> Option<u64> {
        self.inner.samples_about(ordinal, range)
    }

    fn last(
        &self,
        ordinal: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<Option<Sample>, ReadError> {
        for part in self.visible(ordinal, range)?.into_iter().rev() {
            if let Some(last) = self.inner.last(ordinal, part, scratch, counts)? {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    fn label_names(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        self.inner.label_names(each)
    }

    fn label_values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        self.inner.label_values(name, each)
    }
}

/// Reads the visible ranges one after the other. Statistics answer for chunks that lie wholly
/// in one of them: the cursors of the source see to that.
struct MaskedCursor<'a> {
    source: &'a dyn SampleSource,
    ordinal: u32,
    ranges: VecDeque<TimeRange>,
    current: Option<Box<dyn ColumnCursor + 'a>>,
    /// What the cursors before the current one have read.
    counts: ReadCounts,
}

impl<'a> MaskedCursor<'a> {
    fn current(&mut self) -> Result<Option<&mut Box<dyn ColumnCursor + 'a>>, ReadError> {
        if self.current.is_none()
            && let Some(range) = self.ranges.pop_front()
        {
            self.current = Some(self.source.read(self.ordinal, range)?);
        }
        Ok(self.current.as_mut())
    }
}

impl ColumnCursor for MaskedCursor<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        while let Some(cursor) = self.current()? {
            if cursor.next(out)? {
                return Ok(true);
            }
            let counts = cursor.counts();
            self.counts += counts;
            self.current = None;
        }
        Ok(false)
    }

    fn bound(&self) -> Option<i64> {
        match &self.current {
            // At the end of its range a cursor may know of samples far behind it: those of the next range come first.
            Some(cursor) => {
                let bound = cursor.bound()?;
                Some(self.ranges.front().map_or(bound, |next| bound.min(next.start.nanos())))
            }
            None => self.ranges.front().map(|range| range.start.nanos()),
        }
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        self.current()?.map_or(Ok(None), |cursor| cursor.whole())
    }

    fn pass(&mut self) {
        if let Some(cursor) = &mut self.current {
            cursor.pass();
        }
    }

    fn counts(&self) -> ReadCounts {
        let mut counts = self.counts;
        if let Some(cursor) = &self.current {
            counts += cursor.counts();
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{LabelLimits, SeqNo};
    use crate::source::VecSource;

    fn nanos(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
    }

    proptest! {
        /// A masked source holds what its twin, a filtered list, holds, in every range.
        #[test]
        fn hidden_samples_are_gone_and_no_others(
            deletes in prop::collection::vec((0i64..60, 0i64..40, any::<bool>(), any::<bool>()), 0..6),
            horizon in prop_oneof![Just(i64::MIN), 0i64..50],
            from in -5i64..60,
            len in 0i64..70,
        ) {
            let labels = |job: &str| Labels::new([("job", job)], &LabelLimits::DEFAULT).unwrap();
            let sample = |at| Sample { timestamp: Timestamp::from_nanos(at), value: at as f64 };
            let mut source = VecSource::new();
            for job in ["a", "b"] {
                source.insert(&labels(job), (0..50).map(sample).chain([sample(i64::MAX)]));
            }
            let tombstone = |&(start, len, of_a, endless): &(i64, i64, bool, bool)| Arc::new(Tombstone {
                seq: SeqNo(1_000),
                matchers: vec![Matcher::equal("job", if of_a { "a" } else { "b" })],
                range: if endless { nanos(start, i64::MAX) } else { nanos(start, start + len) },
                created: 0,
            });
            let tombstones: Vec<_> = deletes.iter().map(tombstone).collect();
            let keep_b = AgeMask { matchers: [Matcher::equal("job", "b")].into(), horizon: Timestamp::MIN };
            let ages = [keep_b, AgeMask { matchers: Arc::default(), horizon: Timestamp::from_nanos(horizon) }];
            let mask = Mask { tombstones: tombstones.clone(), ages: ages.into() };
            let masked = Masked::new(Arc::new(source), mask);
            let range = nanos(from, from + len);
            for hit in masked.select(&[]).unwrap() {
                let own = masked.labels(hit.ordinal).unwrap();
                let gone = |at: &i64| {
                    let at = Timestamp::from_nanos(*at);
                    tombstones.iter().any(|t| t.matches(&own) && t.range.contains(at))
                        || (own.get("job") == Some("a") && at.nanos() < horizon)
                };
                for range in [range, TimeRange::ALL] {
                    let inside = |at: &i64| range.contains(Timestamp::from_nanos(*at));
                    let expected: Vec<i64> = (0..50).chain([i64::MAX]).filter(|at| inside(at) && !gone(at)).collect();
                    let mut columns = Columns::default();
                    let mut cursor = masked.read(hit.ordinal, range).unwrap();
                    while cursor.next(&mut columns).unwrap() {}
                    prop_assert_eq!(&columns.timestamps, &expected);
                    let (mut scratch, mut counts) = (Columns::default(), ReadCounts::default());
                    let last = masked.last(hit.ordinal, range, &mut scratch, &mut counts).unwrap();
                    prop_assert_eq!(last.map(|s| s.timestamp.nanos()), expected.last().copied());
                }
            }
        }
    }
}
