//! Asks the questions, takes the time, compares the answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegauge_bench::measure::Latency;

use crate::oracle::{HOUR_NS, MINUTE_NS, Oracle};
use crate::store::{Error, Store};

/// One question, asked some times.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) p50_us: f64,
    pub(crate) right: bool,
}

const TIMES_MIN: usize = 5;
const TIMES_MAX: usize = 1_000;
const TIME_MAX: Duration = Duration::from_secs(2);

pub(crate) fn all(store: &mut dyn Store, oracle: &Oracle) -> Result<Vec<Asked>, Error> {
    let probed = |i: usize| oracle.probed[i % oracle.probed.len()];
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    let same = |found: Vec<(u32, i64, f64)>, right: &BTreeMap<(u32, i64), f64>| {
        found.len() == right.len()
            && found.iter().all(|(series, at, value)| right.get(&(*series, *at)).is_some_and(|r| close(*value, *r)))
    };
    let mut asked = Vec::new();
    if store.nothing()? {
        asked.push(timed(store, "an empty request", |store, _| store.nothing(), |_, answered| answered)?);
    }
    asked.push(timed(
        store,
        "Q1 last value",
        |store, i| store.last(probed(i), oracle.recent),
        |i, last| last == oracle.samples(probed(i), oracle.recent).last().copied(),
    )?);
    let (start, end) = oracle.hour;
    asked.push(timed(
        store,
        "Q2 one series, 1 h",
        |store, i| store.range(probed(i), start, end),
        |i, found| found == oracle.samples(probed(i), oracle.hour),
    )?);
    let host = |i: usize| &oracle.hosts[i % oracle.hosts.len()];
    let maxima: Vec<_> = oracle
        .hosts
        .iter()
        .map(|host| oracle.windows(host, oracle.minutes, MINUTE_NS, |all| all.iter().copied().fold(f64::MIN, f64::max)))
        .collect();
    asked.push(timed(
        store,
        "Q3 10 series, 1 h by minute",
        |store, i| store.max_by(host(i), oracle.minutes, MINUTE_NS),
        |i, found| same(found, &maxima[i % maxima.len()]),
    )?);
    let means = oracle.windows(&oracle.metric, oracle.hours, HOUR_NS, |all| all.iter().sum::<f64>() / all.len() as f64);
    // Of less than an hour there is nothing to ask.
    if !means.is_empty() {
        asked.push(timed(
            store,
            "Q4 400 series, 6 h by hour",
            |store, _| store.mean_by(&oracle.metric, oracle.hours, HOUR_NS),
            |_, found| same(found, &means),
        )?);
    }
    asked.push(timed(
        store,
        "Q5 count and sum",
        |store, _| store.count_and_sum(),
        |_, (count, sum)| count == oracle.checksum.count && close(sum, oracle.sum),
    )?);
    if let Some((start, end)) = oracle.inner {
        asked.push(timed(
            store,
            "Q6 sum of all but the ends",
            |store, _| store.sum_between(start, end),
            |_, sum| close(sum, oracle.inner_sum),
        )?);
    }
    Ok(asked)
}

fn timed<A>(
    store: &mut dyn Store,
    name: &'static str,
    mut ask: impl FnMut(&mut dyn Store, usize) -> Result<A, Error>,
    right: impl Fn(usize, A) -> bool,
) -> Result<Asked, Error> {
    let (mut latency, start, mut all_right) = (Latency::new(), Instant::now(), true);
    for i in 0..TIMES_MAX {
        if i >= TIMES_MIN && start.elapsed() > TIME_MAX {
            break;
        }
        store.waited();
        let asked = Instant::now();
        let answer = ask(store, i)?;
        let took = asked.elapsed();
        latency.record_ns(store.waited().unwrap_or(took).as_nanos() as u64);
        all_right &= right(i, answer);
    }
    Ok(Asked { name: name.to_owned(), p50_us: latency.quantile_ns(0.5) / 1e3, right: all_right })
}
