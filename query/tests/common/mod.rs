//! A source that answers in batches of odd sizes and, if told to, with colliding keys.
#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod chunked;
pub(crate) mod promql;
pub(crate) mod segments;
pub(crate) mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegauge_storage::model::{LabelLimits, Labels, Matcher, SeqNo, SeqRange, SeriesKey, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadError, SampleSource, SeriesHit, Snapshot};

/// Samples of one series, ascending.
pub(crate) type Pairs = BTreeMap<i64, f64>;

/// Series of sorted samples, read in batches whose sizes repeat.
#[derive(Clone, Debug)]
pub(crate) struct OddSource {
    pub(crate) series: Vec<(Labels, Pairs)>,
    /// What a read passes on a call, over and over.
    pub(crate) batches: Vec<usize>,
    /// The key all series have instead of their own.
    pub(crate) key: Option<SeriesKey>,
}

impl SampleSource for OddSource {
    fn seq_range(&self) -> SeqRange {
        SeqRange::default()
    }

    fn time_range(&self) -> Option<TimeRange> {
        let first = self.series.iter().filter_map(|(_, s)| s.keys().next()).min()?;
        let last = self.series.iter().filter_map(|(_, s)| s.keys().next_back()).max()?;
        Some(TimeRange::covering(Timestamp::from_nanos(*first), Timestamp::from_nanos(*last)))
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        let numbered = (0u32..).zip(&self.series);
        let passing = numbered.filter(|(_, (labels, _))| matchers.iter().all(|m| m.matches_labels(labels)));
        Ok(passing
            .map(|(ordinal, (labels, _))| SeriesHit { ordinal, key: self.key.unwrap_or_else(|| labels.key()) })
            .collect())
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        Ok(self.series[ordinal as usize].0.clone())
    }

    /// So many that threads always help.
    fn samples_about(&self, _: u32, _: TimeRange) -> Option<u64> {
        Some(u64::MAX)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let inside = move |at: &i64| range.contains(Timestamp::from_nanos(*at));
        let samples = self.series[ordinal as usize].1.iter().filter(move |(at, _)| inside(at));
        let batches = self.batches.iter().copied().cycle();
        Ok(Box::new(OddCursor(samples.map(|(at, value)| (*at, *value)), batches)))
    }
}

struct OddCursor<I, B>(I, B);

impl<I: Iterator<Item = (i64, f64)> + Send, B: Iterator<Item = usize> + Send> ColumnCursor for OddCursor<I, B> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        let size = self.1.next().unwrap_or(1).max(1);
        self.0.by_ref().take(size).for_each(|(at, value)| out.push(at, value));
        Ok(out.len() > before)
    }
}

/// A label set out of `name="value"` pairs.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied(), &LabelLimits::DEFAULT).unwrap()
}

/// A snapshot of the sources, earliest accepted first.
pub(crate) fn snapshot(sources: impl IntoIterator<Item = impl SampleSource + 'static>) -> Snapshot {
    let sources = sources.into_iter().map(|source| Arc::new(source) as Arc<dyn SampleSource>).collect();
    Snapshot::new(sources, SeqNo(0))
}

/// `[start, end)` in nanoseconds.
pub(crate) fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
}

/// Bit for bit the same: NaN equals itself.
pub(crate) fn same(columns: &Columns, pairs: &[(i64, f64)]) -> bool {
    columns.len() == pairs.len()
        && columns.values.len() == pairs.len()
        && columns.timestamps.iter().eq(pairs.iter().map(|(at, _)| at))
        && columns.values.iter().map(|v| v.to_bits()).eq(pairs.iter().map(|(_, v)| v.to_bits()))
}
