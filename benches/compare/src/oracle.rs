//! What the questions must be answered with: counted from samples generated a second time, by the
//! shortest way there is.

use std::collections::BTreeMap;

use tidegauge_bench::checksum::{Checksum, LabelsHash};
use tidegauge_bench::workload::{METRICS, Part, Workload};

const NS_PER_S: i64 = 1_000_000_000;
pub(crate) const MINUTE_NS: i64 = 60 * NS_PER_S;
pub(crate) const HOUR_NS: i64 = 3_600 * NS_PER_S;

/// How far those look back for a last value that are asked in PromQL.
const LOOK_BACK_NS: i64 = 5 * MINUTE_NS;
/// Samples of a chunk of ours, at most.
const CHUNK_SAMPLES_MAX: u64 = 4_096;

/// The questions' subjects and answers.
pub(crate) struct Oracle {
    /// Q1 and Q2 ask for these, in turn.
    pub(crate) probed: Vec<u32>,
    /// Q3: the metrics of one host each.
    pub(crate) hosts: Vec<Vec<u32>>,
    /// Q4: one metric of all hosts.
    pub(crate) metric: Vec<u32>,
    /// Q1: the five minutes before the newest sample.
    pub(crate) recent: (i64, i64),
    pub(crate) hour: (i64, i64),
    pub(crate) minutes: (i64, i64),
    pub(crate) hours: (i64, i64),
    /// Where all samples lie.
    pub(crate) all: (i64, i64),
    /// Q6: all but the first tick and the last one, so that nobody's statistics of a whole series or chunk answer.
    /// `None` where series have many chunks, of which statistics would answer all but two, or too few samples.
    pub(crate) inner: Option<(i64, i64)>,
    pub(crate) inner_sum: f64,
    by_series: BTreeMap<u32, Vec<(i64, f64)>>,
    pub(crate) checksum: Checksum,
    pub(crate) sum: f64,
}

impl Oracle {
    pub(crate) fn new(workload: &Workload, part: &Part) -> Self {
        let slots = workload.slots();
        let hosts = (slots / METRICS).max(1);
        let host = |h: u32| (h * METRICS..slots.min((h + 1) * METRICS)).collect::<Vec<u32>>();
        let chosen: Vec<u32> = (0..8.min(hosts)).map(|i| hosts / 8.min(hosts) * i).collect();
        let hosts_chosen: Vec<Vec<u32>> = chosen.iter().map(|&h| host(h)).collect();
        let probed: Vec<u32> = chosen.iter().map(|&h| h * METRICS).collect();
        // As many as W1 has hosts; where there are more, or only one, the question is another one, and left out.
        let metric: Vec<u32> = (0..slots).step_by(METRICS as usize).collect();
        let metric = if (2..=400).contains(&metric.len()) { metric } else { Vec::new() };
        let hashes: Vec<LabelsHash> = (0..slots).map(|slot| workload.labels(u64::from(slot)).hash()).collect();
        let mut by_series = BTreeMap::<u32, Vec<(i64, f64)>>::new();
        let asked = |series: u32| {
            metric.binary_search(&series).is_ok() || hosts_chosen.iter().any(|host| host.contains(&series))
        };
        let (mut checksum, mut sum, mut first, mut last) = (Checksum::default(), 0.0, i64::MAX, i64::MIN);
        let inner = (3..=CHUNK_SAMPLES_MAX).contains(&workload.ticks());
        let inner = inner.then(|| (workload.timestamp_ns(0) + 1, workload.timestamp_ns(workload.ticks() - 1)));
        let mut inner_sum = 0.0;
        workload.generate(part, |cell| {
            let at = workload.timestamp_ns(u64::from(cell.tick));
            let value = workload.value(cell.scaled);
            checksum.add(hashes[cell.slot as usize], at, value);
            sum += value;
            if inner.is_some_and(|(start, end)| (start..end).contains(&at)) {
                inner_sum += value;
            }
            (first, last) = (first.min(at), last.max(at));
            if asked(cell.slot) {
                by_series.entry(cell.slot).or_default().push((at, value));
            }
        });
        by_series.values_mut().for_each(|samples| samples.sort_by_key(|sample| sample.0));
        let floor = |unit: i64| last.div_euclid(unit) * unit;
        Self {
            probed,
            hosts: hosts_chosen,
            metric,
            recent: (last + 1 - LOOK_BACK_NS, last + 1),
            hour: (last + 1 - HOUR_NS, last + 1),
            minutes: (floor(MINUTE_NS) - HOUR_NS, floor(MINUTE_NS)),
            hours: (floor(HOUR_NS) - 6 * HOUR_NS, floor(HOUR_NS)),
            all: (first, last + 1),
            inner,
            inner_sum,
            by_series,
            checksum,
            sum,
        }
    }

    pub(crate) fn samples(&self, series: u32, (start, end): (i64, i64)) -> Vec<(i64, f64)> {
        let all = self.by_series.get(&series).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|&(at, _)| at >= start && at < end).collect()
    }

    /// What `of` makes of each window that has samples: (series, start) → value.
    pub(crate) fn windows(
        &self,
        series: &[u32],
        range: (i64, i64),
        every: i64,
        of: fn(&[f64]) -> f64,
    ) -> BTreeMap<(u32, i64), f64> {
        let mut windows = BTreeMap::<(u32, i64), Vec<f64>>::new();
        for &one in series {
            for (at, value) in self.samples(one, range) {
                windows.entry((one, at.div_euclid(every) * every)).or_default().push(value);
            }
        }
        windows.into_iter().map(|(key, values)| (key, of(&values))).collect()
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_bench::workload::Kind;

    use super::*;

    #[test]
    fn the_sum_that_cuts_each_chunk_is_that_of_all_but_the_ends() {
        let workload = Workload::new(Kind::W1, 1, Some(40_000)).unwrap();
        let part = Part::split(&workload, 1, 1_000).unwrap().remove(0);
        let oracle = Oracle::new(&workload, &part);
        let (mut naive, mut ends) = (0.0, 0);
        workload.generate(&part, |cell| match cell.tick {
            0 | 9 => ends += 1,
            _ => naive += workload.value(cell.scaled),
        });
        assert_eq!((ends, oracle.inner_sum), (8_000, naive));
        let (start, end) = oracle.inner.unwrap();
        assert!(oracle.all.0 < start && start <= workload.timestamp_ns(1) && end == workload.timestamp_ns(9));
        // Of a long series statistics tell all but two chunks.
        let long = Workload::new(Kind::W3, 1, Some(5_000)).unwrap();
        let part = Part::split(&long, 1, 1_000).unwrap().remove(0);
        assert_eq!(Oracle::new(&long, &part).inner, None);
    }
}
