//! A source of which some samples are hidden: deleted, or over age.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{ColumnCursor, Columns, Named, Naming, ReadCounts, ReadError, SampleSource, SeriesHit};
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

impl AgeMask {
    /// Whether a series of these labels passes all matchers.
    pub(super) fn passes(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches_labels(labels))
    }
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
        self.hidden_by(&Naming::of(self, labels))
    }

    /// The ranges that hide a series that is named so: ascending, apart from each other.
    #[must_use]
    pub fn hidden_by(&self, naming: &Naming) -> Vec<TimeRange> {
        let mut hidden: Vec<TimeRange> = naming.tombstones.iter().map(|&i| self.tombstones[i as usize].range).collect();
        hidden.push(TimeRange::new(Timestamp::MIN, self.horizon_by(naming)));
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
        let age = self.ages.iter().find(|age| age.passes(labels));
        age.map_or(Timestamp::MIN, |age| age.horizon)
    }

    /// The same of a series that is named so.
    #[must_use]
    pub fn horizon_by(&self, naming: &Naming) -> Timestamp {
        naming.age.map_or(Timestamp::MIN, |i| self.ages[i as usize].horizon)
    }
}

/// What of a range can be seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Ascending, none of them empty.
    ranges: VecDeque<TimeRange>,
    /// Of the last of them, the last timestamp of all cannot be seen. No range says so: an end of `MAX` is none.
    but_last: bool,
}

/// What of `range` is not `hidden`.
fn visible(hidden: &[TimeRange], range: TimeRange) -> Seen {
    let (mut ranges, mut start, mut but_last) = (VecDeque::new(), range.start, false);
    let mut see = |start: Timestamp, end: Timestamp| {
        if start < end {
            ranges.push_back(TimeRange::new(start, end));
        }
    };
    for gap in hidden {
        if gap.start == Timestamp::MAX {
            // It begins where nothing but the last timestamp is left.
            but_last = range.end == Timestamp::MAX;
            break;
        }
        see(start, gap.start.min(range.end));
        // An end of `MAX` is none: nothing is left behind it.
        if gap.end == Timestamp::MAX {
            return Seen { ranges, but_last };
        }
        start = start.max(gap.end);
    }
    see(start, range.end);
    if start == Timestamp::MAX && range.end == Timestamp::MAX && !but_last {
        ranges.push_back(TimeRange::new(start, range.end));
    }
    Seen { ranges, but_last }
}

/// Whether these samples or this chunk end with the last timestamp of all.
fn is_last(at: Option<i64>) -> bool {
    at == Some(i64::MAX)
}

/// Series of which the matchers are tried before anybody asks whether the index would be cheaper: asking costs about what
/// trying them on one series does.
const TRIES_MIN: u64 = 16;

/// A source seen through a mask.
pub struct Masked {
    inner: Arc<dyn SampleSource>,
    mask: Mask,
    /// Found once the matchers were tried on so many series that it would have been the cheaper way: a question about a
    /// few of a million series does not pay for all of them. `None` inside if they are tried on all series whatever comes.
    named: OnceLock<Option<Named>>,
    tried: Mutex<Tried>,
}

#[derive(Clone, Copy, Default)]
struct Tried {
    series: u64,
    /// How many of them make it pay to ask the index.
    pays_from: Option<u64>,
    /// Somebody does. Others try on meanwhile.
    asked: bool,
}

impl Masked {
    /// Hides what `mask` says of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn SampleSource>, mask: Mask) -> Self {
        Self { inner, mask, named: OnceLock::new(), tried: Mutex::default() }
    }

    /// The same for those who leave out for good what is hidden: the labels of each series say what is, and not an index
    /// that may be wrong beneath right checksums.
    #[must_use]
    pub fn by_labels(inner: Arc<dyn SampleSource>, mask: Mask) -> Self {
        Self { named: OnceLock::from(None), ..Self::new(inner, mask) }
    }

    /// What of `range` can be seen of a series.
    fn visible(&self, ordinal: u32, range: TimeRange) -> Result<Seen, ReadError> {
        let hidden = match self.named() {
            Some(named) => self.mask.hidden_by(named.naming(ordinal)),
            None => self.mask.hidden(&self.inner.labels(ordinal)?),
        };
        Ok(visible(&hidden, range))
    }

    /// What names each series, if enough are asked for; else this one more is to be tried.
    fn named(&self) -> Option<&Named> {
        if let Some(named) = self.named.get() {
            return named.as_ref();
        }
        let lock = || self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = {
            let mut tried = lock();
            tried.series += 1;
            *tried
        };
        if tried.asked {
            return None;
        }
        if tried.series == TRIES_MIN {
            match Named::pays_from(&*self.inner, &self.mask) {
                None => drop(self.named.set(None)),
                pays_from => lock().pays_from = pays_from,
            }
        }
        tried.pays_from.filter(|pays_from| tried.series >= *pays_from)?;
        if std::mem::replace(&mut lock().asked, true) {
            return None;
        }
        // An index that cannot be read is told by who selects.
        let named = Named::find(&*self.inner, &self.mask).ok().flatten();
        self.named.get_or_init(|| named).as_ref()
    }

    fn cursor(&self, ordinal: u32, seen: Seen) -> MaskedCursor<'_> {
        MaskedCursor { source: &*self.inner, ordinal, seen, current: None, counts: ReadCounts::default() }
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
        let seen = self.visible(ordinal, range)?;
        if seen.ranges == [range] && !seen.but_last {
            return self.inner.read(ordinal, range);
        }
        Ok(Box::new(self.cursor(ordinal, seen)))
    }

    fn statistics(
        &self,
        ordinals: Range<u32>,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(u32, &ChunkStats) -> bool,
    ) -> Result<u32, ReadError> {
        for ordinal in ordinals.clone() {
            let mut told = ReadCounts::default();
            let Seen { ranges, but_last } = self.visible(ordinal, range)?;
            // A chunk of which only the last sample is hidden does not tell of the others.
            let see = &mut |ordinal: u32, chunk: &ChunkStats| {
                !(but_last && is_last(Some(chunk.last_timestamp))) && see(ordinal, chunk)
            };
            for part in ranges {
                if self.inner.statistics(ordinal..ordinal + 1, part, wanted, &mut told, see)? == 0 {
                    return Ok(ordinal - ordinals.start);
                }
            }
            *counts += told;
        }
        Ok(ordinals.end - ordinals.start)
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
        let Seen { ranges, but_last } = self.visible(ordinal, range)?;
        for part in ranges.into_iter().rev() {
            match self.inner.last(ordinal, part, scratch, counts)? {
                // The one before is asked for sample by sample: nobody has many such series.
                Some(last) if but_last && last.timestamp == Timestamp::MAX => {
                    let mut cursor = self.cursor(ordinal, Seen { ranges: [part].into(), but_last });
                    let mut before = None;
                    scratch.clear();
                    while cursor.next(scratch)? {
                        before = scratch.last();
                        scratch.clear();
                    }
                    *counts += cursor.counts();
                    if before.is_some() {
                        return Ok(before);
                    }
                }
                Some(last) => return Ok(Some(last)),
                None => {}
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
    /// What is left of it.
    seen: Seen,
    current: Option<Box<dyn ColumnCursor + 'a>>,
    /// What the cursors before the current one have read.
    counts: ReadCounts,
}

impl<'a> MaskedCursor<'a> {
    fn current(&mut self) -> Result<Option<&mut Box<dyn ColumnCursor + 'a>>, ReadError> {
        if self.current.is_none()
            && let Some(range) = self.seen.ranges.pop_front()
        {
            self.current = Some(self.source.read(self.ordinal, range)?);
        }
        Ok(self.current.as_mut())
    }
}

impl ColumnCursor for MaskedCursor<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let (held, but_last) = (out.len(), self.seen.but_last);
        while let Some(cursor) = self.current()? {
            if cursor.next(out)? {
                if but_last && is_last(out.timestamps.last().copied()) {
                    out.timestamps.pop();
                    out.values.pop();
                }
                if out.len() > held {
                    return Ok(true);
                }
                continue;
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
                Some(self.seen.ranges.front().map_or(bound, |next| bound.min(next.start.nanos())))
            }
            None => self.seen.ranges.front().map(|range| range.start.nanos()),
        }
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        let but_last = self.seen.but_last;
        let whole = self.current()?.map_or(Ok(None), |cursor| cursor.whole())?;
        Ok(whole.filter(|chunk| !(but_last && is_last(Some(chunk.last_timestamp)))))
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

    /// Now and then the last timestamp of all: what is left before it is a range that no range says.
    fn start() -> impl Strategy<Value = i64> {
        prop_oneof![6 => 0i64..60, 1 => Just(i64::MAX)]
    }

    proptest! {
        /// A masked source holds what its twin, a filtered list, holds, in every range.
        #[test]
        fn hidden_samples_are_gone_and_no_others(
            deletes in prop::collection::vec((start(), 0i64..40, any::<bool>(), any::<bool>()), 0..6),
            horizon in prop_oneof![Just(i64::MIN), 0i64..50],
            from in -5i64..60,
            len in 0i64..70,
        ) {
            let labels = |job: &str| Labels::new([("job", job)], &LabelLimits::DEFAULT).unwrap();
            let sample = |at| Sample { timestamp: Timestamp::from_nanos(at), value: at as f64 };
            let mut source = VecSource::new();
            for job in ["a", "b"] {
                source.insert(&labels(job), (0..50).chain([i64::MAX - 1, i64::MAX]).map(sample));
            }
            let tombstone = |&(start, len, of_a, endless): &(i64, i64, bool, bool)| Arc::new(Tombstone {
                seq: SeqNo(1_000),
                matchers: vec![Matcher::equal("job", if of_a { "a" } else { "b" })],
                range: if endless { nanos(start, i64::MAX) } else { nanos(start, start.saturating_add(len)) },
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
                for range in [range, TimeRange::ALL, nanos(from, i64::MAX), nanos(i64::MAX, i64::MAX)] {
                    let inside = |at: &i64| range.contains(Timestamp::from_nanos(*at));
                    let expected: Vec<i64> = (0..50).chain([i64::MAX - 1, i64::MAX]).filter(|at| inside(at) && !gone(at)).collect();
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
