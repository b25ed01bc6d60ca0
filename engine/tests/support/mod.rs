//! What the engine's tests share: a naive twin, and reading everything back.
#![allow(dead_code, unused_imports)]

mod files;
mod kept;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use files::copy_dir;
pub(crate) use kept::opens_reads_and_compacts;
use tidegauge::{
    Appender, Columns, Engine, Lag, Level, SeriesId, SeriesSample, Snapshot, SubscribeOptions, Subscription, TimeRange,
    Timestamp,
};

/// Long enough for a loaded machine; a test that needs it has failed anyway.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Series by display form, samples by timestamp; values as bits, so that NaNs compare.
pub(crate) type Contents = BTreeMap<String, BTreeMap<i64, u64>>;

/// Everything a snapshot holds. Later sources win.
pub(crate) fn contents(snapshot: &Snapshot) -> Contents {
    let mut all = Contents::new();
    for source in snapshot.sources() {
        for hit in source.select(&[]).unwrap() {
            let labels = source.labels(hit.ordinal).unwrap().to_string();
            let mut columns = Columns::default();
            let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
            while cursor.next(&mut columns).unwrap() {}
            assert!(columns.timestamps.windows(2).all(|w| w[0] < w[1]), "{labels}: timestamps ascend");
            if !columns.is_empty() {
                let samples = columns.timestamps.iter().copied().zip(columns.values.iter().map(|v| v.to_bits()));
                all.entry(labels).or_default().extend(samples);
            }
        }
    }
    all
}

pub(crate) fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

pub(crate) fn series(engine: &Engine, host: usize) -> SeriesId {
    engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap()
}

pub(crate) fn name(host: usize) -> String {
    format!("cpu{{host=\"{host}\"}}")
}

/// Holds the ingest worker up, by a subscription that wants every commit of a series of its own and takes none.
pub(crate) fn hold_up(engine: &Engine) -> Subscription {
    let own = engine.series(&[("__name__", "held_up")]).unwrap();
    let live = engine.subscribe_with("held_up", SubscribeOptions { samples: 2, lag: Lag::Hold(SOON) }).unwrap();
    let holds = engine.stats().subscription_holds;
    // Two have no room: the second is waited for.
    for t in 0..2 {
        let ack = engine.push(own, at(t), 0.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    let deadline = Instant::now() + SOON;
    while engine.stats().subscription_holds == holds {
        assert!(Instant::now() < deadline, "held up by nobody");
        std::thread::yield_now();
    }
    live
}

/// So many appenders whose lanes are full, each with samples of a series of its own from time 0 on.
pub(crate) fn full_lanes(engine: &Engine, lanes: usize) -> Vec<Appender> {
    let fill = |lane| {
        let mut appender = engine.appender().unwrap();
        let id = series(engine, lane);
        let all: Vec<_> = (0..LANE).map(|t| SeriesSample::new(id, at(t as i64), 0.0)).collect();
        appender.push_batch(&all).unwrap();
        appender
    };
    (0..lanes).map(fill).collect()
}

/// Samples of a lane, as it is by default.
pub(crate) const LANE: usize = 1 << 16;
