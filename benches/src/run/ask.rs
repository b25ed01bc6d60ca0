//! Asks the questions, takes the time, and compares every answer.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tidegauge::query::{Aggregate, QueryError, QueryLimits, Selection, Table};
use tidegauge::{Engine, TimeRange, Timestamp};

use super::effort::Effort;
use super::questions::{Answers, HOUR_NS, MINUTE_NS, Probe};
use super::readback::{equal, select};
use crate::checksum::{Checksum, LabelsHash, hash_labels};
use crate::error::Error;
use crate::measure::{Latency, TickClock};
use crate::report::{Queries, QuestionCurves, Times};
use crate::workload::{METRICS, Pairs, Workload};

/// A question is asked until so much time is spent, but at least [`TIMES_MIN`] times.
const TIMES_MIN: u32 = 5;
const TIME_MAX: Duration = Duration::from_secs(2);

/// The figures, and whether every answer was right. What a short run pushed no samples of, nothing is asked about.
pub(super) fn ask(
    engine: &Engine,
    workload: &Workload,
    probe: &Probe,
    expected: &Answers,
    effort: Effort,
    clock: &TickClock,
) -> Result<(Queries, QuestionCurves, bool), Error> {
    let asked = Asked { engine, workload, probe, expected, times: effort.questions, clock };
    let (q1, right1) = asked.q1()?;
    let (q1_hot, right1_hot) = asked.q1_hot()?;
    let (q2, right2) = asked.q2()?;
    let (q3, right3) = asked.q3()?;
    let (q4, right4) = asked.q4()?;
    let (q5, right5) = asked.q5()?;
    let (q5_selected, right5_selected) = asked.q5_selected()?;
    let right = [right1, right1_hot, right2, right3, right4, right5, right5_selected].iter().all(|&right| right);
    let curves = QuestionCurves {
        q1: q1.curve(),
        q1_hot: q1_hot.curve(),
        q2: q2.curve(),
        q3: q3.curve(),
        q4: q4.curve(),
        q5: q5.curve(),
        q5_selected: q5_selected.curve(),
    };
    let [q1, q1_hot, q2, q3, q4, q5, q5_selected] =
        [q1, q1_hot, q2, q3, q4, q5, q5_selected].map(|latency| Times::of(&latency));
    Ok((Queries { q1, q1_hot, q2, q3, q4, q5, q5_selected }, curves, right))
}

struct Asked<'a> {
    engine: &'a Engine,
    workload: &'a Workload,
    probe: &'a Probe,
    expected: &'a Answers,
    times: u32,
    clock: &'a TickClock,
}

impl Asked<'_> {
    /// Of series drawn from all: where there are many, each finds what it reads in no cache.
    fn q1(&self) -> Result<(Latency, bool), Error> {
        let drawn = self.probe.drawn.iter().zip(&self.expected.drawn);
        // A slot whose appender was stopped before its first sample has nothing to ask for.
        let newest = drawn.filter_map(|(&slot, last)| last.map(|(tick, value)| (slot, tick, value)));
        let newest: Vec<(u32, u64, f64)> = newest.take(self.times as usize).collect();
        let series: Vec<u64> = newest.iter().map(|&(slot, tick, _)| self.workload.series(slot, tick)).collect();
        let right = newest.iter().map(|&(_, tick, value)| (self.workload.timestamp_ns(tick), value)).collect();
        self.last(&series, right)
    }

    /// Of the same few again and again.
    fn q1_hot(&self) -> Result<(Latency, bool), Error> {
        let (series, right): (Vec<u64>, Vec<_>) = self.expected.last.iter().map(|(&s, &last)| (s, last)).unzip();
        self.last(&series, right)
    }

    fn last(&self, series: &[u64], right: Vec<(i64, f64)>) -> Result<(Latency, bool), Error> {
        let selections = self.one_series_each(series)?;
        self.timed(
            selections.len(),
            |i| selections[i].last(),
            |i, last| match last.as_slice() {
                [Some(last)] => (last.timestamp.nanos(), last.value) == right[i],
                _ => false,
            },
        )
    }

    fn q2(&self) -> Result<(Latency, bool), Error> {
        let hour = range(self.probe.hour);
        let (series, right): (Vec<u64>, Vec<_>) = self.expected.hour.iter().map(|(&s, &sum)| (s, sum)).unzip();
        let selections: Vec<Selection> = self.one_series_each(&series)?.into_iter().map(|s| s.range(hour)).collect();
        self.timed(
            selections.len(),
            |i| selections[i].series(0).read(),
            |i, columns| {
                let mut sum = Checksum::default();
                sum.add_columns(self.workload.labels(series[i]).hash(), &columns.timestamps, &columns.values);
                sum == right[i]
            },
        )
    }

    fn q3(&self) -> Result<(Latency, bool), Error> {
        let snapshot = self.engine.snapshot();
        let of = |series: u64| series % u64::from(self.workload.slots()) / u64::from(METRICS);
        let about = |(&host, &series): (&u32, &u64)| {
            let here = self.expected.minutes.iter().filter(|((s, _), _)| of(*s) == u64::from(host));
            let right = self.grid(here.map(|(key, max)| (*key, *max)));
            (!right.is_empty()).then(|| (self.workload.labels(series), right))
        };
        let hosts: Vec<(Pairs, Grid)> = self.probe.hosts.iter().zip(&self.probe.series).filter_map(about).collect();
        let ask = |i: usize| {
            let host = equal("host", hosts[i].0.get("host").unwrap_or_default());
            let hour = snapshot.select_matching(&[host])?.range(range(self.probe.minutes));
            hour.aggregate(Aggregate::Max).every(nanos(MINUTE_NS)).run()
        };
        self.timed(hosts.len(), ask, |i, table| same(&table, &hosts[i].1, 0.0))
    }

    fn q4(&self) -> Result<(Latency, bool), Error> {
        let snapshot = self.engine.snapshot();
        let metric = self.workload.labels(self.probe.series[0]);
        let metric = equal("__name__", metric.get("__name__").unwrap_or_default());
        let ask = |_| {
            let selection = snapshot.select_matching(std::slice::from_ref(&metric))?;
            let hours = selection.limits(QueryLimits::NONE).range(range(self.probe.hours));
            hours.aggregate(Aggregate::Avg).every(nanos(HOUR_NS)).run()
        };
        let means = self.expected.hours.iter().map(|(key, (sum, n))| (*key, sum.total() / *n as f64));
        let right = self.grid(means);
        self.timed(usize::from(!right.is_empty()), ask, |_, table| same(&table, &right, 1e-9))
    }

    fn q5(&self) -> Result<(Latency, bool), Error> {
        let snapshot = self.engine.snapshot();
        self.count_and_sum(|| Ok(snapshot.select_matching(&[])?.limits(QueryLimits::NONE)))
    }

    /// The same of what was selected before.
    fn q5_selected(&self) -> Result<(Latency, bool), Error> {
        let all = select(&self.engine.snapshot(), &[])?;
        self.count_and_sum(|| Ok(all.clone()))
    }

    /// In one pass. `selected` is called while the clock runs.
    fn count_and_sum(&self, selected: impl Fn() -> Result<Selection, QueryError>) -> Result<(Latency, bool), Error> {
        let ask = |_| selected()?.aggregate(Aggregate::Count).and(Aggregate::Sum).group_all().run_each();
        let one = |table: &Table| match table.series.as_slice() {
            [all] if all.values.len() == 1 => Some(all.values[0]),
            _ => None,
        };
        self.timed(1, ask, |_, tables| {
            let [count, sum] = tables.as_slice() else { return false };
            let right = |sum: f64| close(sum, self.expected.sum.total(), 1e-9);
            one(count) == Some(self.expected.count as f64) && one(sum).is_some_and(right)
        })
    }

    /// Each of these series, selected before the clock starts.
    fn one_series_each(&self, series: &[u64]) -> Result<Vec<Selection>, Error> {
        let snapshot = self.engine.snapshot();
        let one = |&series: &u64| {
            let labels = self.workload.labels(series);
            let matchers: Vec<_> = labels.borrowed().into_iter().map(|(name, value)| equal(name, value)).collect();
            let selection = select(&snapshot, &matchers)?;
            match selection.len() {
                1 => Ok(selection),
                n => Err(Error::Wrong(format!("{n} series have the labels {}", labels.selector()))),
            }
        };
        series.iter().map(one).collect()
    }

    /// Asks again and again, of so many things one after the other; answers the times and whether all answers were right.
    fn timed<A>(
        &self,
        of: usize,
        ask: impl Fn(usize) -> Result<A, QueryError>,
        right: impl Fn(usize, A) -> bool,
    ) -> Result<(Latency, bool), Error> {
        let (mut latency, start, mut all_right) = (Latency::new(), Instant::now(), true);
        let times = if of == 0 { 0 } else { self.times };
        for n in 0..times {
            if n >= TIMES_MIN && start.elapsed() > TIME_MAX {
                break;
            }
            let i = n as usize % of;
            let asked = self.clock.ticks();
            let answer = ask(i);
            latency.record_ns(self.clock.between_ns(asked, self.clock.ticks()));
            let answer = answer.map_err(Error::engine("asking a question"))?;
            all_right &= right(i, answer);
        }
        Ok((latency, all_right))
    }

    fn grid(&self, values: impl Iterator<Item = ((u64, i64), f64)>) -> Grid {
        let mut hashes: HashMap<u64, LabelsHash> = HashMap::new();
        let mut hash = |series| *hashes.entry(series).or_insert_with(|| self.workload.labels(series).hash());
        values.map(|((series, at), value)| ((hash(series), at), value)).collect()
    }
}

/// Labels and start of the window → value.
type Grid = BTreeMap<(LabelsHash, i64), f64>;

fn same(table: &Table, right: &Grid, tolerance: f64) -> bool {
    let mut cells = 0;
    let fine =
        table.series.iter().all(|series| {
            let labels = hash_labels(series.labels.iter());
            cells += series.timestamps.len();
            series.timestamps.iter().zip(&series.values).all(|(&at, &value)| {
                right.get(&(labels, at)).is_some_and(|&expected| close(value, expected, tolerance))
            })
        });
    fine && cells == right.len()
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs()
}

fn range((start, end): (i64, i64)) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
}

fn nanos(ns: i64) -> Duration {
    Duration::from_nanos(ns.unsigned_abs())
}
