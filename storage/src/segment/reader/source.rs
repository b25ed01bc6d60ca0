//! The segment behind the seam.

use std::ops::Range;

use super::Segment;
use super::cursor::SegmentCursor;
use super::sets::SetDecoder;
use super::unclaimed::{TextLeft, Unclaimed};
use crate::chunk::{ChunkStats, StatsWanted};
use crate::model::{Labels, Matcher, Sample, SeqRange, SeriesKey, TimeRange};
use crate::segment::format::Section;
use crate::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource, SeriesHit};

impl SampleSource for Segment {
    fn seq_range(&self) -> SeqRange {
        self.info.seq_range
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.info.time_range
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        self.whole(|| {
            let passing = self.matching(matchers)?;
            // Whoever selects series decodes the labels of each.
            let mut unclaimed = Unclaimed::default();
            let hit = |ordinal: u32| {
                self.own_label_range(ordinal, &mut unclaimed)?;
                let [low, high] = self.series(ordinal)?.key;
                Ok(SeriesHit { ordinal, key: SeriesKey(u128::from(high) << 64 | u128::from(low)) })
            };
            passing.iter().map(hit).collect()
        })
    }

    fn ordinals(&self, matchers: &[Matcher]) -> Result<Vec<u32>, ReadError> {
        self.whole(|| Ok(self.matching(matchers)?.iter().collect()))
    }

    fn looks_to_select(&self, matchers: &[Matcher]) -> Option<u64> {
        // Of each matcher a bitmap is made, and a few words of it take as long as a look.
        let bitmaps = matchers.len() as u64 * (u64::from(self.series_count()) >> 10);
        let looks = |matcher: &Matcher| self.whole(|| self.looks_of(matcher)).ok();
        matchers.iter().map(looks).sum::<Option<u64>>().map(|looks| looks + bitmaps)
    }

    fn series_about(&self) -> Option<u64> {
        Some(self.series_count().into())
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.whole(|| SetDecoder::default().decode(self, ordinal))
    }

    fn labels_of(&self, ordinals: &[u32]) -> Result<Vec<Labels>, ReadError> {
        self.whole(|| {
            let mut sets = SetDecoder::default();
            ordinals.iter().map(|&ordinal| sets.decode(self, ordinal)).collect()
        })
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        Ok(Box::new(SegmentCursor::new(self, ordinal, range)?))
    }

    fn statistics(
        &self,
        ordinals: Range<u32>,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(u32, &ChunkStats) -> bool,
    ) -> Result<u32, ReadError> {
        self.whole_once(|| self.statistics_of(ordinals, range, wanted, counts, see))
    }

    fn samples_about(&self, ordinal: u32, range: TimeRange) -> Option<u64> {
        let (chunks, _) = self.chunks_in(ordinal, range).ok()?;
        let all = self.index.records(Section::Chunks) as u64;
        Some((chunks.len() as u64).saturating_mul(self.info.samples / all.max(1)))
    }

    fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        Segment::find(self, labels)
    }

    fn last(
        &self,
        ordinal: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<Option<Sample>, ReadError> {
        let counted = *counts;
        self.whole(|| {
            *counts = counted;
            self.last_of(ordinal, range, scratch, counts)
        })
    }

    fn label_names(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        let _ = self.names()?.iter().all(|name| each(&name.text));
        Ok(())
    }

    fn label_values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        self.whole_once(|| {
            let mut left = TextLeft::new(self);
            for number in self.values_of_name(name)? {
                if !each(self.own_value(number, &mut left)?) {
                    break;
                }
            }
            Ok(())
        })
    }
}
