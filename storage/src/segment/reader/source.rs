//! The segment behind the seam.

use std::collections::BTreeSet;

use super::Segment;
use super::cursor::SegmentCursor;
use crate::model::{Labels, Matcher, SeqRange, SeriesKey, TimeRange};
use crate::source::{ColumnCursor, ReadError, SampleSource, SeriesHit};

impl SampleSource for Segment {
    fn seq_range(&self) -> SeqRange {
        self.info.seq_range
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.info.time_range
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        let passing = self.matching(matchers)?;
        let series = self.all_series();
        let hit = |ordinal: u32| {
            let [low, high] = series[ordinal as usize].key;
            SeriesHit { ordinal, key: SeriesKey(u128::from(high) << 64 | u128::from(low)) }
        };
        Ok(passing.iter().map(hit).collect())
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.labels_of(ordinal)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        Ok(Box::new(SegmentCursor::new(self, ordinal, range)?))
    }

    fn label_names(&self, out: &mut BTreeSet<String>) -> Result<(), ReadError> {
        for name in 0..self.names().len() {
            out.insert(self.name_text(name)?.to_owned());
        }
        Ok(())
    }

    fn label_values(&self, name: &str, out: &mut BTreeSet<String>) -> Result<(), ReadError> {
        for number in self.values_of_name(name)? {
            out.insert(self.value_text(&self.values()[number])?.to_owned());
        }
        Ok(())
    }
}
