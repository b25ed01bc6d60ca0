//! A source of small chunks with statistics, whatever they hold.

use std::collections::VecDeque;
use std::ops::Range;

use proptest::prelude::*;
use tidegauge_storage::chunk::{ChunkStats, StatsWanted};
use tidegauge_storage::model::{Labels, Matcher, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource, SeriesHit};

use super::promql::STALE;
use super::{OddSource, Pairs, labels};

/// Series cut into small chunks that have statistics, decoded in smaller pieces.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedSource {
    pub(crate) plain: OddSource,
    pub(crate) chunk: usize,
    pub(crate) piece: usize,
}

struct ChunkedCursor {
    chunks: VecDeque<Columns>,
    range: TimeRange,
    /// Samples of the first chunk that were passed on.
    at: usize,
    piece: usize,
    counts: ReadCounts,
}

impl ColumnCursor for ChunkedCursor {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        while out.len() == before {
            let Some(chunk) = self.chunks.front() else { return Ok(false) };
            self.counts.chunks_decoded += u64::from(self.at == 0);
            let end = (self.at + self.piece).min(chunk.len());
            for i in self.at..end {
                if self.range.contains(Timestamp::from_nanos(chunk.timestamps[i])) {
                    out.push(chunk.timestamps[i], chunk.values[i]);
                }
            }
            self.at = end;
            if end == chunk.len() {
                self.chunks.pop_front();
                self.at = 0;
            }
        }
        Ok(true)
    }

    fn bound(&self) -> Option<i64> {
        self.chunks.front().map(|chunk| chunk.timestamps[self.at])
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        let Some(chunk) = self.chunks.front().filter(|_| self.at == 0) else { return Ok(None) };
        let inside = chunk.timestamps.iter().all(|at| self.range.contains(Timestamp::from_nanos(*at)));
        Ok(inside.then(|| ChunkStats::of(&chunk.timestamps, &chunk.values)))
    }

    fn pass(&mut self) {
        assert_eq!(self.at, 0, "only a whole chunk is passed over");
        self.chunks.pop_front().expect("a chunk was told of");
        self.counts.chunks_by_statistics += 1;
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

impl ChunkedSource {
    /// Whether the statistics of a series' chunks tell all of it, and `see` takes them.
    fn tells(
        &self,
        ordinal: u32,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(&ChunkStats) -> bool,
    ) -> Result<bool, ReadError> {
        let mut cursor = self.read(ordinal, range)?;
        while let Some(mut stats) = cursor.whole()? {
            // Whoever does not ask for it must not look at it.
            if !wanted.sum {
                (stats.sum, stats.compensation) = (f64::NAN, f64::NAN);
            }
            if !wanted.extremes {
                (stats.min, stats.max) = (f64::NAN, f64::NAN);
            }
            if !wanted.ends {
                (stats.first_value, stats.last_value) = (f64::NAN, f64::NAN);
            }
            if !wanted.increase {
                stats.increase = f64::NAN;
            }
            if !see(&stats) {
                return Ok(false);
            }
            cursor.pass();
        }
        let told = !cursor.next(&mut Columns::default())?;
        if told {
            *counts += cursor.counts();
        }
        Ok(told)
    }
}

impl SampleSource for ChunkedSource {
    fn seq_range(&self) -> SeqRange {
        SeqRange::default()
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.plain.time_range()
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        self.plain.select(matchers)
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.plain.labels(ordinal)
    }

    fn statistics(
        &self,
        ordinals: Range<u32>,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(u32, &ChunkStats) -> bool,
    ) -> Result<u32, ReadError> {
        // Half of the sources leave it to their cursors.
        if self.piece.is_multiple_of(2) {
            return Ok(0);
        }
        for ordinal in ordinals.clone() {
            if !self.tells(ordinal, range, wanted, counts, &mut |stats| see(ordinal, stats))? {
                return Ok(ordinal - ordinals.start);
            }
        }
        Ok(ordinals.end - ordinals.start)
    }

    fn samples_about(&self, ordinal: u32, range: TimeRange) -> Option<u64> {
        self.plain.samples_about(ordinal, range)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let samples: Vec<(i64, f64)> = self.plain.series[ordinal as usize].1.iter().map(|(t, v)| (*t, *v)).collect();
        let chunks = samples.chunks(self.chunk).map(|chunk| Columns {
            timestamps: chunk.iter().map(|(at, _)| *at).collect(),
            values: chunk.iter().map(|(_, value)| *value).collect(),
        });
        let overlaps = |c: &Columns| {
            let nanos = Timestamp::from_nanos;
            TimeRange::covering(nanos(c.timestamps[0]), nanos(c.timestamps[c.len() - 1])).overlaps(&range)
        };
        let chunks = chunks.filter(overlaps).collect();
        let counts = ReadCounts::default();
        Ok(Box::new(ChunkedCursor { chunks, range, at: 0, piece: self.piece, counts }))
    }
}

pub(crate) fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        40 => -1e4..1e4f64,
        12 => (0..5u8).prop_map(f64::from),
        2 => Just(STALE),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(1e300)],
    ]
}

/// A counter, or anything.
pub(crate) fn samples() -> impl Strategy<Value = Pairs> {
    let timestamps = || prop_oneof![60 => -100..100i64, 1 => Just(i64::MIN), 1 => i64::MAX - 1..=i64::MAX];
    let counter = prop::collection::btree_map(timestamps(), 0..10u8, 0..60).prop_map(|steps| {
        let mut value = 0.0;
        let grow = |(at, step): (i64, u8)| {
            value = if step == 0 { 0.0 } else { value + f64::from(step) };
            (at, value)
        };
        steps.into_iter().map(grow).collect()
    });
    prop_oneof![prop::collection::btree_map(timestamps(), values(), 0..60), counter]
}

pub(crate) fn sources() -> impl Strategy<Value = Vec<ChunkedSource>> {
    let one = (0..2u8, 0..2u8, samples(), 1..9usize, 1..5usize);
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let source = |(host, zone, samples, chunk, piece): (u8, u8, Pairs, usize, usize)| {
            let labels = labels(&[("__name__", "x"), ("host", &host.to_string()), ("zone", &zone.to_string())]);
            let plain = OddSource { series: vec![(labels, samples)], batches: vec![7], key: None };
            ChunkedSource { plain, chunk, piece }
        };
        all.into_iter().map(source).collect()
    })
}
