//! What retention by size asks of a segment: its bytes, and where in time they lie.

use tidegauge_storage::model::Timestamp;
use tidegauge_storage::segment::Segment;
use tidegauge_storage::source::ReadError;

/// Series of which it is looked where their samples lie; of more of them every other one, or fewer.
const SERIES_MAX: u32 = 4_096;

/// A segment, to retention by size.
#[derive(Clone, Debug)]
pub(crate) struct Weighed {
    pub(crate) bytes: u64,
    /// Its last timestamp.
    pub(crate) end: i64,
    /// The number that the horizon has if it goes.
    pub(crate) through: u64,
    /// Samples from one timestamp to another, both included: some of its chunks, or all of it in one.
    pub(crate) spans: Vec<(i64, i64, u64)>,
}

impl Weighed {
    /// Of a segment of which more than `part_bytes` are so many that a part of it may go, it is looked where its samples lie:
    /// one that lies far from the others says nothing of them. O(series) then, a few thousand at most, of the directory alone.
    pub(super) fn of(segment: &Segment, part_bytes: u64) -> Self {
        let info = segment.info();
        let (start, end) = info.time_range.map_or((i64::MIN, i64::MIN), |time| (time.start.nanos(), time.end.nanos()));
        let looked_at = if info.file_bytes > part_bytes { spans(segment).unwrap_or_default() } else { Vec::new() };
        // What is damaged is told where it is read.
        let spans = if looked_at.is_empty() { vec![(start, end, 1)] } else { looked_at };
        Self { bytes: info.file_bytes, end, through: info.seq_range.end.0.saturating_sub(1), spans }
    }

    /// About how many bytes lie before `at`: within a span its samples are spread evenly.
    pub(super) fn before(&self, at: i64) -> u64 {
        let (mut before, mut all) = (0_i128, 0_i128);
        for &(first, last, samples) in &self.spans {
            let (length, samples) = (i128::from(last) - i128::from(first) + 1, i128::from(samples));
            all += samples;
            before += samples * (i128::from(at) - i128::from(first)).clamp(0, length) / length;
        }
        u64::try_from(i128::from(self.bytes) * before / all.max(1)).unwrap_or(0)
    }

    /// The first timestamp before which at least `bytes` lie, about.
    pub(super) fn behind(&self, bytes: u64) -> Timestamp {
        let (mut low, mut high) = (self.spans.iter().map(|span| span.0).min().unwrap_or(i64::MIN), self.end);
        while low < high {
            let middle = i64::midpoint(low, high);
            if self.before(middle) < bytes {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Timestamp::from_nanos(high)
    }
}

fn spans(segment: &Segment) -> Result<Vec<(i64, i64, u64)>, ReadError> {
    let (mut all, series) = (Vec::new(), segment.series_count());
    for ordinal in (0..series).step_by(series.div_ceil(SERIES_MAX).max(1) as usize) {
        for span in segment.spans(ordinal)? {
            let span = span?;
            all.push((span.first, span.last, u64::from(span.count)));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_that_lies_ahead_says_nothing_of_the_others() {
        let (bytes, end, through) = (1_000, 99_999, 1);
        let spread = Weighed { bytes, end, through, spans: vec![(0, 999, 999), (99_999, 99_999, 1)] };
        assert_eq!([0, 500, 1_000, 99_999, 100_000].map(|at| spread.before(at)), [0, 499, 999, 999, 1_000]);
        assert_eq!([0, 300, 999, 1_000].map(|bytes| spread.behind(bytes).nanos()), [0, 301, 1_000, 99_999]);
        let even = Weighed { spans: vec![(0, end, 1)], bytes: 100_000, ..spread };
        assert_eq!((even.before(500), even.behind(500).nanos()), (0, 99_999), "of one sample nothing lies between");
        let all = Weighed { bytes, end: i64::MAX, through, spans: vec![(i64::MIN, i64::MAX, 1 << 40)] };
        assert_eq!((all.before(0), all.behind(500).nanos()), (500, 0));
    }
}
