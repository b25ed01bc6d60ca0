//! What of a segment nobody sees any more, and which deletes and ages hide it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegauge_storage::model::{SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{ChunkSpan, Segment};
use tidegauge_storage::source::{AgeMask, Columns, Mask, ReadError, SampleSource};

use super::input::{Touch, horizon_of_all, mask_of, touch};

/// What of a segment is hidden: by which deletes and ages, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Those that reach the segment, in their order.
    tombstones: Vec<Reaching>,
    /// Horizons before or behind all of the segment stand at its beginning or end: what they hide of it does not change.
    ages: Vec<AgeMask>,
    pub(super) found: Count,
}

/// A delete, or a horizon, that reaches a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reaching {
    /// By number, range and how many matchers: a horizon may have the number of a delete.
    is: (SeqNo, TimeRange, usize),
    /// The segment has a sample that it hides. A job leaves those out and keeps the segment's numbers, so that it is
    /// reached still, and nothing is hidden of it any more.
    hides: bool,
}

impl Reaching {
    fn of(tombstone: &Tombstone) -> Self {
        Self { is: (tombstone.seq, tombstone.range, tombstone.matchers.len()), hides: false }
    }
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
    /// Some are hidden for their age.
    pub(super) by_age: bool,
}

impl Count {
    /// What is counted where nothing hides anything.
    pub(super) const NOTHING: Self = Self { samples: 0, since: i64::MAX, aged: 0, over_age: false, by_age: false };
}

impl Hidden {
    /// Counts what is hidden, unless `known` says it already. O(series that deletes name); with ages O(series); where
    /// `known` lacks some deletes alone, O(series that these name). `gets_on` is called between chunks.
    pub(super) fn count(
        segment: &Segment,
        tombstones: &[Arc<Tombstone>],
        ages: &Arc<[AgeMask]>,
        known: Option<&Self>,
        gets_on: &dyn Fn(),
    ) -> Result<Option<Self>, ReadError> {
        let Some(mask) = mask_of(segment, tombstones, ages) else { return Ok(None) };
        let range = segment.info().time_range.unwrap_or(TimeRange::ALL);
        let within = |at: Timestamp| if at <= range.start { Timestamp::MIN } else { at.min(range.end) };
        let aged = |age: &AgeMask| AgeMask { horizon: within(age.horizon), ..age.clone() };
        let ages: Vec<AgeMask> = mask.ages.iter().map(aged).collect();
        let mut tombstones: Vec<Reaching> = mask.tombstones.iter().map(|t| Reaching::of(t)).collect();
        let known = known.filter(|known| known.ages == ages);
        if let Some(known) =
            known.filter(|known| known.tombstones.iter().map(|t| t.is).eq(tombstones.iter().map(|t| t.is)))
        {
            return Ok(Some(known.clone()));
        }
        if let Some(found) = unread(segment, &mask) {
            // It goes as it is, and whoever hides it stays as long.
            tombstones.iter_mut().for_each(|t| t.hides = true);
            return Ok(Some(Self { tombstones, ages, found }));
        }
        let counting = Counting { segment, mask: &mask, gets_on };
        let more = match known {
            Some(known) => counting.more(known, &mut tombstones)?,
            None => None,
        };
        let mut found = match more {
            Some(found) => found,
            None => {
                tombstones.iter_mut().for_each(|t| t.hides = false);
                counting.count(&mask, counting.named(&mask.tombstones)?, &mut tombstones)?
            }
        };
        let hide = mask.tombstones.iter().zip(&tombstones).filter(|(_, reaching)| reaching.hides);
        found.since = hide.map(|(t, _)| t.created).min().unwrap_or(i64::MAX);
        Ok(Some(Self { tombstones, ages, found }))
    }

    /// Whether something is hidden for its age, or by a delete or horizon up to this number.
    pub(super) fn is_hidden_by(&self, through: SeqNo) -> bool {
        self.found.by_age || self.tombstones.iter().any(|t| t.hides && t.is.0 <= through)
    }

    /// Notes which of these it is that hide something: `hides` has a place for each of `tombstones`, with which this was
    /// counted.
    pub(super) fn note(&self, tombstones: &[Arc<Tombstone>], hides: &mut [bool]) {
        let mut own = self.tombstones.iter().peekable();
        for (tombstone, hides) in tombstones.iter().zip(hides) {
            if let Some(reaching) = own.next_if(|own| own.is == Reaching::of(tombstone).is) {
                *hides |= reaching.hides;
            }
        }
    }
}

/// Where all of it is hidden by its time alone. That is told unread: it may be damaged.
fn unread(segment: &Segment, mask: &Mask) -> Option<Count> {
    let info = segment.info();
    let end = info.time_range.map_or(Timestamp::MIN, |range| range.end);
    if !mask.ages.is_empty() && end <= horizon_of_all(&mask.ages) {
        return Some(Count { samples: info.samples, over_age: true, by_age: true, ..Count::NOTHING });
    }
    let whole = |t: &&Arc<Tombstone>| {
        t.matchers.is_empty()
            && info.time_range.is_some_and(|time| t.range.start <= time.start && time.end <= t.range.end)
    };
    let gone = mask.tombstones.iter().find(whole)?;
    Some(Count { samples: info.samples, since: gone.created, ..Count::NOTHING })
}

struct Counting<'a> {
    segment: &'a Segment,
    mask: &'a Mask,
    gets_on: &'a dyn Fn(),
}

impl Counting<'_> {
    /// The series that these name; with ages all.
    fn named(&self, tombstones: &[Arc<Tombstone>]) -> Result<BTreeSet<u32>, ReadError> {
        if self.mask.ages.is_empty() { self.select(tombstones) } else { Ok((0..self.segment.series_count()).collect()) }
    }

    fn select<'t>(&self, tombstones: impl IntoIterator<Item = &'t Arc<Tombstone>>) -> Result<BTreeSet<u32>, ReadError> {
        let mut named = BTreeSet::new();
        for tombstone in tombstones {
            named.extend(self.segment.select(&tombstone.matchers)?.iter().map(|hit| hit.ordinal));
        }
        Ok(named)
    }

    /// What is hidden where there are more tombstones than were `known`: of the series that the new ones name it is counted
    /// with them and without. `None` where all is to be counted.
    fn more(&self, known: &Hidden, tombstones: &mut [Reaching]) -> Result<Option<Count>, ReadError> {
        let mut old = known.tombstones.iter().peekable();
        let (mut before, mut new) = (Vec::new(), Vec::new());
        for (tombstone, reaching) in self.mask.tombstones.iter().zip(&mut *tombstones) {
            // What has hidden nothing, and is not there any more, changes nothing.
            while old.next_if(|old| old.is != reaching.is && !old.hides).is_some() {}
            match old.next_if(|old| old.is == reaching.is) {
                Some(old) => {
                    reaching.hides = old.hides;
                    before.push(Arc::clone(tombstone));
                }
                None => new.push(tombstone),
            }
        }
        if old.any(|old| old.hides) || new.iter().any(|t| t.matchers.is_empty()) {
            return Ok(None);
        }
        let named = self.select(new)?;
        if named.len() > self.segment.series_count() as usize / 2 {
            return Ok(None);
        }
        let before = Mask { tombstones: before, ages: Arc::clone(&self.mask.ages) };
        let without = self.count(&before, named.iter().copied(), &mut [])?;
        let with = self.count(self.mask, named, tombstones)?;
        let samples = known.found.samples.saturating_sub(without.samples) + with.samples;
        // That nothing is left is told by one count of all, which finds out whether series claim the same chunks.
        Ok((samples < self.segment.info().samples).then_some(Count { samples, ..known.found }))
    }

    /// What `mask` hides of these series, and which of its `tombstones` do, beside those that are known to.
    fn count(
        &self,
        mask: &Mask,
        named: impl IntoIterator<Item = u32>,
        tombstones: &mut [Reaching],
    ) -> Result<Count, ReadError> {
        let end = self.segment.info().time_range.map_or(Timestamp::MIN, |range| range.end);
        let of_all = horizon_of_all(&mask.ages);
        let (mut found, mut columns, mut walk) = (Count::NOTHING, Columns::default(), self.segment.walk());
        for ordinal in named {
            let labels = walk.labels(ordinal)?;
            let hidden = mask.hidden(&labels);
            let horizon = mask.horizon(&labels);
            let aged = Some(TimeRange::new(of_all, horizon)).filter(|range| !range.is_empty());
            let is_open = |i: &usize| !tombstones[*i].hides && mask.tombstones[*i].matches(&labels);
            let mut open: Vec<usize> = (0..tombstones.len()).filter(is_open).collect();
            let before = found.samples;
            for span in walk.spans(ordinal)? {
                let span = span?;
                (self.gets_on)();
                let touched = touch(&span, &hidden);
                found.by_age |= Timestamp::from_nanos(span.first) < horizon;
                match touched {
                    Touch::None => continue,
                    Touch::All => found.samples += u64::from(span.count),
                    Touch::Part => found.samples += self.read(ordinal, &span, &hidden, &mut columns)?,
                }
                // In part, all that anything hides of it has been read.
                let mut is_read = touched == Touch::Part;
                let mut hides = |i: usize| {
                    let range = mask.tombstones[i].range;
                    match touch(&span, &[range]) {
                        Touch::None => return Ok(false),
                        Touch::All => return Ok(true),
                        Touch::Part => {}
                    }
                    if [span.first, span.last].iter().any(|&at| range.contains(Timestamp::from_nanos(at))) {
                        return Ok(true);
                    }
                    if !is_read {
                        self.read(ordinal, &span, &[TimeRange::ALL], &mut columns)?;
                        is_read = true;
                    }
                    let next = columns.timestamps.partition_point(|&at| at < range.start.nanos());
                    let next = columns.timestamps.get(next);
                    Ok::<bool, ReadError>(next.is_some_and(|&at| range.contains(Timestamp::from_nanos(at))))
                };
                let mut left = Vec::new();
                for i in open {
                    if hides(i)? {
                        tombstones[i].hides = true;
                    } else {
                        left.push(i);
                    }
                }
                open = left;
                found.aged += match touch(&span, aged.as_slice()) {
                    Touch::None => 0,
                    Touch::All => u64::from(span.count),
                    Touch::Part => self.read(ordinal, &span, aged.as_slice(), &mut columns)?,
                };
            }
            found.over_age |= found.samples > before && end <= horizon;
        }
        Ok(found)
    }

    /// What lies in these ranges of a chunk, which are ascending and apart.
    fn read(
        &self,
        ordinal: u32,
        span: &ChunkSpan,
        ranges: &[TimeRange],
        columns: &mut Columns,
    ) -> Result<u64, ReadError> {
        let own = TimeRange::covering(Timestamp::from_nanos(span.first), Timestamp::from_nanos(span.last));
        columns.clear();
        for range in ranges {
            let mut cursor = self.segment.read(ordinal, range.intersect(&own))?;
            while cursor.next(columns)? {}
        }
        // An end of `MAX` is none: just before it, the last sample of the next chunk is read as well.
        let own = columns.timestamps.partition_point(|&at| at <= span.last);
        columns.timestamps.truncate(own);
        columns.values.truncate(own);
        Ok(own as u64)
    }
}
