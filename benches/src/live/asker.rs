//! Questions to a store that is being pushed into. W1's samples are known, so every answer can be checked.

use std::time::Duration;

use tidegauge::query::{Aggregate, QueryLimits, Table};
use tidegauge::{Engine, MatchOp, Matcher, SeriesId, TimeRange, Timestamp};

use crate::error::Error;
use crate::run::readback::{Cores, Scanned, scan, select};
use crate::workload::{METRICS, NS_PER_S, Part, Workload};

const MINUTE_NS: i64 = 60 * NS_PER_S;
const HOUR_NS: i64 = 3_600 * NS_PER_S;
/// Hours that the third question looks at.
const HOURS: i64 = 6;
/// Hosts that are asked about in turn.
const HOSTS: u32 = 16;

/// Asks one question after the other, each on a snapshot of its own, and checks each answer.
pub(super) struct Asker<'a> {
    engine: &'a Engine,
    workload: &'a Workload,
    known: &'a Known,
    asked: u64,
}

/// The samples of some hosts, one pass of them.
pub(super) struct Known {
    hosts: Vec<u32>,
    /// By host and metric: the values of the pass, tick by tick.
    values: Vec<Vec<f64>>,
    ids: Vec<SeriesId>,
    /// The sum of all series' values at each tick of the pass.
    of_tick: Vec<f64>,
}

impl Known {
    /// Generates the samples of a few hosts once more. `ids` has one for each slot.
    pub(super) fn new(workload: &Workload, part: &Part, ids: &[SeriesId]) -> Self {
        let all = (workload.slots() / METRICS).max(1);
        let count = all.min(HOSTS);
        let hosts: Vec<u32> = (0..count).map(|i| (u64::from(all) * u64::from(i) / u64::from(count)) as u32).collect();
        let mut values = vec![Vec::new(); hosts.len() * METRICS as usize];
        let mut of_tick = Vec::new();
        workload.generate(part, |cell| {
            // Tick by tick.
            of_tick.resize(cell.tick as usize + 1, 0.0);
            of_tick[cell.tick as usize] += workload.value(cell.scaled);
            if let Ok(host) = hosts.binary_search(&(cell.slot / METRICS)) {
                values[host * METRICS as usize + (cell.slot % METRICS) as usize].push(workload.value(cell.scaled));
            }
        });
        let ids = hosts.iter().map(|host| ids[(host * METRICS) as usize]).collect();
        Self { hosts, values, ids, of_tick }
    }

    /// Whether all that was seen are the first samples pushed: their number tells which timestamps they have, and between
    /// which bounds the sum of their values lies.
    fn begins_with(&self, workload: &Workload, seen: &Scanned) -> bool {
        let slots = u64::from(workload.slots());
        let (ticks, rest) = (seen.count / slots, seen.count % slots);
        let at = |tick: u64| workload.timestamp_ns(tick);
        let of_all = |sum: i64, tick: u64| sum.wrapping_add(at(tick).wrapping_mul(slots as i64));
        let timestamps = (0..ticks).fold(0, of_all).wrapping_add(at(ticks).wrapping_mul(rest as i64));
        let pass = self.of_tick.len() as u64;
        let (passes, into) = (ticks / pass, (ticks % pass) as usize);
        let whole = passes as f64 * self.of_tick.iter().sum::<f64>() + self.of_tick[..into].iter().sum::<f64>();
        let most = whole + if rest > 0 { self.of_tick[into] } else { 0.0 };
        let tolerance = 1e-9 * most;
        seen.timestamps == timestamps && seen.sum >= whole - tolerance && seen.sum <= most + tolerance
    }

    fn value(&self, host: usize, metric: usize, tick: i64) -> f64 {
        let values = &self.values[host * METRICS as usize + metric];
        values[tick as usize % values.len()]
    }
}

impl<'a> Asker<'a> {
    pub(super) fn new(engine: &'a Engine, workload: &'a Workload, known: &'a Known) -> Self {
        Self { engine, workload, known, asked: 0 }
    }

    /// One question: one series for an hour, a host's ten by the minute, or one metric of all hosts by the hour.
    ///
    /// # Errors
    /// [`Error::Wrong`] if the answer is not what was pushed.
    pub(super) fn ask(&mut self) -> Result<(), Error> {
        let (host, question) = ((self.asked / 3) as usize % self.known.hosts.len(), self.asked % 3);
        self.asked += 1;
        // All that is asked about lies at or before this, and is visible in any snapshot taken from now on.
        let last = self.engine.last(self.known.ids[host]).map_err(Error::engine("reading a last value"))?;
        let Some(last) = last else { return Err(Error::Wrong("a series has lost all its samples".into())) };
        let (right, what) = match question {
            0 => (self.hour(host, last.timestamp.nanos())?, "one series for an hour"),
            1 => (self.minutes(host, last.timestamp.nanos())?, "a host's metrics by the minute"),
            _ => (self.hours(last.timestamp.nanos())?, "a metric of all hosts by the hour"),
        };
        if right { Ok(()) } else { Err(Error::Wrong(format!("asked beside pushes: {what}"))) }
    }

    /// Everything that there is, decoded and summed.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn everything(&self) -> Result<(), Error> {
        let seen = scan(self.engine, Cores::All)?;
        let right = seen.count > 0 && self.known.begins_with(self.workload, &seen);
        if right { Ok(()) } else { Err(Error::Wrong("asked beside pushes: everything, summed".into())) }
    }

    fn hour(&self, host: usize, last_ns: i64) -> Result<bool, Error> {
        let labels = self.workload.labels(u64::from(self.known.hosts[host] * METRICS));
        let matchers: Vec<Matcher> = labels.borrowed().into_iter().map(|(name, value)| equal(name, value)).collect();
        let hour = range(last_ns - HOUR_NS + 1, last_ns + 1);
        let selection = select(&self.engine.snapshot(), &matchers)?.range(hour);
        if selection.len() != 1 {
            return Ok(false);
        }
        let found = selection.series(0).read().map_err(Error::engine("asking a question"))?;
        let ticks = self.ticks(last_ns - HOUR_NS + 1, last_ns + 1);
        let count = (ticks.end - ticks.start) as usize;
        let right = |(i, tick): (usize, i64)| {
            found.timestamps[i] == self.workload.timestamp_ns(tick as u64)
                && found.values[i] == self.known.value(host, 0, tick)
        };
        Ok(found.timestamps.len() == count && ticks.enumerate().all(right))
    }

    fn minutes(&self, host: usize, last_ns: i64) -> Result<bool, Error> {
        let end = last_ns.div_euclid(MINUTE_NS) * MINUTE_NS;
        let labels = self.workload.labels(u64::from(self.known.hosts[host] * METRICS));
        let host_is = equal("host", labels.get("host").unwrap_or_default());
        let table = self.table(host_is, Aggregate::Max, (end - HOUR_NS, end), MINUTE_NS)?;
        if table.series.len() != METRICS as usize {
            return Ok(self.ticks(end - HOUR_NS, end).is_empty() && table.series.is_empty());
        }
        Ok((0..METRICS as usize).all(|metric| {
            let labels = self.workload.labels(u64::from(self.known.hosts[host] * METRICS) + metric as u64);
            self.is_row(&table, labels.borrowed().as_slice(), (end - HOUR_NS, end), MINUTE_NS, |ticks| {
                ticks.map(|tick| self.known.value(host, metric, tick)).fold(f64::MIN, f64::max)
            })
        }))
    }

    fn hours(&self, last_ns: i64) -> Result<bool, Error> {
        let end = last_ns.div_euclid(HOUR_NS) * HOUR_NS;
        let (start, labels) = (end - HOURS * HOUR_NS, self.workload.labels(0));
        let metric = equal("__name__", labels.get("__name__").unwrap_or_default());
        let table = self.table(metric, Aggregate::Avg, (start, end), HOUR_NS)?;
        let all = if self.ticks(start, end).is_empty() { 0 } else { self.workload.slots() / METRICS };
        let right = |host: usize| {
            let labels = self.workload.labels(u64::from(self.known.hosts[host] * METRICS));
            self.is_row(&table, labels.borrowed().as_slice(), (start, end), HOUR_NS, |ticks| {
                let n = ticks.end - ticks.start;
                ticks.map(|tick| self.known.value(host, 0, tick)).sum::<f64>() / n as f64
            })
        };
        Ok(table.series.len() == all as usize && (all == 0 || (0..self.known.hosts.len()).all(right)))
    }

    fn table(&self, matcher: Matcher, of: Aggregate, ns: (i64, i64), every_ns: i64) -> Result<Table, Error> {
        let selection = select(&self.engine.snapshot(), &[matcher])?.limits(QueryLimits::NONE).range(range(ns.0, ns.1));
        let every = Duration::from_nanos(every_ns.unsigned_abs());
        selection.aggregate(of).every(every).run().map_err(Error::engine("asking a question"))
    }

    /// Whether the table has the row of these labels, with what `of_ticks` makes of each window.
    fn is_row(
        &self,
        table: &Table,
        labels: &[(&str, &str)],
        (start, end): (i64, i64),
        every: i64,
        of_ticks: impl Fn(std::ops::Range<i64>) -> f64,
    ) -> bool {
        let Some(row) = table.series.iter().find(|row| row.labels.iter().eq(labels.iter().copied())) else {
            return false;
        };
        let mut cells = row.timestamps.iter().zip(&row.values);
        let mut at = start;
        while at < end {
            let ticks = self.ticks(at, at + every);
            if !ticks.is_empty() {
                let expected = of_ticks(ticks);
                let close = |value: f64| (value - expected).abs() <= 1e-9 * expected.abs();
                if !cells.next().is_some_and(|(&found, &value)| found == at && close(value)) {
                    return false;
                }
            }
            at += every;
        }
        cells.next().is_none()
    }

    /// The ticks whose timestamps lie in `[start, end)`.
    fn ticks(&self, start: i64, end: i64) -> std::ops::Range<i64> {
        let from = self.workload.timestamp_ns(0);
        let every = self.workload.interval_ns();
        let tick_at_or_after = |ns: i64| ((ns - from).max(0) + every - 1) / every;
        tick_at_or_after(start)..tick_at_or_after(end)
    }
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher::new(name, MatchOp::Equal, value).expect("a matcher by equality is always legal")
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
}

#[cfg(test)]
mod tests {
    use tidegauge::{BackPressure, Level, SeriesSample};

    use super::*;
    use crate::workload::Kind;

    /// 400 hosts for two hours and a bit; `altered` says which value one sample has instead.
    fn store(altered: Option<f64>) -> (Engine, Workload, Known) {
        let workload = Workload::new(Kind::W1, 1, Some(4_000 * 750)).unwrap();
        let engine = Engine::in_memory().unwrap();
        let id = |slot: u32| engine.series(&workload.labels(u64::from(slot)).borrowed()).unwrap();
        let ids: Vec<SeriesId> = (0..workload.slots()).map(id).collect();
        let part = Part::split(&workload, 1, 1_000).unwrap().remove(0);
        let mut appender = engine.appender_with(BackPressure::Block(Duration::from_secs(60))).unwrap();
        let mut last = None;
        workload.generate(&part, |cell| {
            let mut value = workload.value(cell.scaled);
            if (cell.slot, cell.tick) == (0, 600) {
                value = altered.unwrap_or(value);
            }
            let sample = SeriesSample::new(
                ids[cell.slot as usize],
                Timestamp::from_nanos(workload.timestamp_ns(u64::from(cell.tick))),
                value,
            );
            last = Some(appender.push(sample.series(), sample.timestamp(), sample.value()).unwrap());
        });
        engine.wait(last.unwrap(), Level::Visible, Duration::from_secs(60)).unwrap();
        let known = Known::new(&workload, &part, &ids);
        (engine, workload, known)
    }

    #[test]
    fn right_answers_are_taken_and_a_single_wrong_value_is_noticed_by_each_question() {
        let (engine, workload, known) = store(None);
        let mut asker = Asker::new(&engine, &workload, &known);
        (0..3 * HOSTS).for_each(|_| asker.ask().unwrap());
        asker.everything().unwrap();

        let (engine, workload, known) = store(Some(1e6));
        let mut asker = Asker::new(&engine, &workload, &known);
        for question in 0..3 {
            let answer = asker.ask();
            assert!(matches!(answer, Err(Error::Wrong(_))), "{question}: {answer:?}");
        }
        let answer = asker.everything();
        assert!(matches!(answer, Err(Error::Wrong(_))), "{answer:?}");
    }
}
