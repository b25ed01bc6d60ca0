//! What queries charge is what they hold: else bounds of memory bound nothing.
#![allow(missing_docs)]

#[path = "support/allocations.rs"]
mod allocations;

use std::time::Duration;

use tidegauge::query::Ledger;
use tidegauge::{Engine, Level, SeriesSample, Snapshot, Timestamp};

const SECOND: i64 = 1_000_000_000;
/// `long`: two series of a million samples, one each 10 ms. `wide`: 200 series of a sample each second.
const LONG: i64 = 1_000_000;
const WIDE: i64 = 10_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * SECOND)
}

fn filled() -> Engine {
    let engine = Engine::in_memory().unwrap();
    let mut appender = engine.appender().unwrap();
    let mut ack = None;
    let mut fill = |name: &str, series: usize, samples: i64, step: i64| {
        for host in 0..series {
            let id = engine.series(&[("__name__", name), ("host", &host.to_string())]).unwrap();
            let all: Vec<_> = (0..samples)
                .map(|i| SeriesSample::new(id, Timestamp::from_nanos(i * step), ((i * 7919) % 1000) as f64))
                .collect();
            all.chunks(10_000).for_each(|batch| ack = Some(appender.push_batch(batch).unwrap()));
        }
    };
    fill("long", 2, LONG, SECOND / 100);
    fill("wide", 200, WIDE, SECOND);
    engine.wait(ack.unwrap(), Level::Visible, Duration::from_secs(60)).unwrap();
    engine.flush().unwrap();
    engine
}

/// What a query allocated at its peak, and what it charged.
fn weigh(snapshot: &Snapshot, text: &str, range: bool) -> (usize, usize) {
    let ledger = Ledger::new(u64::MAX);
    let query = snapshot.promql(text).charged_to(&ledger);
    let before = allocations::bytes_from_here();
    if range {
        query.range(at(0), at(WIDE - 1), Duration::from_secs(1)).map(drop).unwrap();
    } else {
        query.at(at(WIDE - 1)).map(drop).unwrap();
    }
    assert_eq!(ledger.bytes_held(), 0, "{text}: all of it is given back");
    (allocations::bytes_peak() - before, ledger.bytes_peak() as usize)
}

/// One test: others beside it would allocate too.
#[test]
fn what_queries_hold_is_charged() {
    /// Stacks of iterators, vectors that are decoded, the tree.
    const SLACK: usize = 1 << 20;
    let engine = filled();
    let snapshot = engine.snapshot();
    let instant = [
        "long[3h]",
        "wide[3h]",
        "quantile_over_time(0.5, long[3h])",
        "mad_over_time(long[3h])",
        "stddev_over_time(long[3h])",
        "changes(long[3h])",
        "max_over_time(long[3h:10ms])",
        "quantile_over_time(0.5, wide[3h:1s])",
        "long[3h:10ms]",
        "max_over_time(vector(time() * 2 + time() / 3)[3h:5ms])",
        "max_over_time(vector(scalar(long{host=\"0\"}) + 1)[3h:5ms])",
        "sum_over_time((sum(wide) + count(wide))[3h:100ms])",
    ];
    let ranges = [
        "wide",
        "wide * 2",
        "wide + wide",
        "rate(wide[1m])",
        "sum by (host) (wide)",
        "topk(3, wide)",
        "label_replace(wide, \"a\", \"$1\", \"host\", \"(.*)\")",
        "time() + time() * time()",
        "wide and wide",
        "wide @ 5000",
    ];
    let all = instant.iter().map(|text| (*text, false)).chain(ranges.iter().map(|text| (*text, true)));
    let mut wrong = Vec::new();
    for (text, range) in all {
        // Once before: pools and caches are filled by then. A thread that did nothing then may fill its own now, so that
        // what is held each time counts.
        weigh(&snapshot, text, range);
        let is_wrong = |(held, charged)| held > charged + charged / 8 + SLACK || charged > 3 * held + SLACK;
        let mut weighed = weigh(&snapshot, text, range);
        for _ in 0..3 {
            if is_wrong(weighed) {
                weighed = weigh(&snapshot, text, range);
            }
        }
        let (held, charged) = weighed;
        println!("{text}: {held} held, {charged} charged");
        if is_wrong(weighed) {
            wrong.push(format!("{text}: {held} held, {charged} charged"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
