//! The simplest source there is: samples in a `Vec`. The oracle of the others' tests.

use std::collections::BTreeMap;

use super::{ColumnCursor, Columns, ReadError, SampleSource, SeriesHit};
use crate::model::{Labels, Matcher, Sample, SeqNo, SeqRange, TimeRange, Timestamp};

/// Samples of a few series, sorted, the last of each timestamp kept.
#[derive(Debug, Default)]
pub struct VecSource {
    series: Vec<(Labels, BTreeMap<i64, f64>)>,
    seq_range: SeqRange,
}

impl VecSource {
    /// An empty source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples in order of acceptance: the later one of a timestamp wins.
    pub fn insert(&mut self, labels: &Labels, samples: impl IntoIterator<Item = Sample>) {
        let at = self.series.iter().position(|(l, _)| l == labels).unwrap_or_else(|| {
            self.series.push((labels.clone(), BTreeMap::new()));
            self.series.len() - 1
        });
        for sample in samples {
            self.series[at].1.insert(sample.timestamp.nanos(), sample.value);
            self.seq_range.end = SeqNo(self.seq_range.end.0 + 1);
        }
    }
}

impl SampleSource for VecSource {
    fn seq_range(&self) -> SeqRange {
        self.seq_range
    }

    fn time_range(&self) -> Option<TimeRange> {
        let first = self.series.iter().filter_map(|(_, s)| s.keys().next()).min()?;
        let last = self.series.iter().filter_map(|(_, s)| s.keys().next_back()).max()?;
        Some(TimeRange::covering(Timestamp::from_nanos(*first), Timestamp::from_nanos(*last)))
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        let passes = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        Ok((0u32..)
            .zip(&self.series)
            .filter(|(_, (labels, _))| passes(labels))
            .map(|(ordinal, (labels, _))| SeriesHit { ordinal, key: labels.key() })
            .collect())
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        Ok(self.series[ordinal as usize].0.clone())
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let samples = &self.series[ordinal as usize].1;
        let inside = samples.iter().filter(move |(at, _)| range.contains(Timestamp::from_nanos(**at)));
        Ok(Box::new(VecCursor(inside.map(|(at, value)| (*at, *value)))))
    }
}

struct VecCursor<I>(I);

impl<I: Iterator<Item = (i64, f64)> + Send> ColumnCursor for VecCursor<I> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        // Small on purpose: whoever reads it must cope with many calls.
        let before = out.len();
        self.0.by_ref().take(7).for_each(|(at, value)| out.push(at, value));
        Ok(out.len() > before)
    }
}
