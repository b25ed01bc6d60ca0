//! What the engine's tests share: a naive twin, and reading everything back.
#![allow(dead_code, unused_imports)]

mod files;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use files::copy_dir;
use tidegauge::{Columns, Engine, SeriesId, Snapshot, TimeRange, Timestamp};

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
