//! When the log is full, by what it takes.

use std::sync::Arc;
use std::time::Instant;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::faults::{SOON, reached, series};
use crate::options::{Builder, Durability, Level};

const WAL_BYTES: u64 = 1 << 20;

fn open(durability: Durability) -> Engine {
    let mut builder = Builder::new(None).durability(durability).query_threads(1).wal_bytes(WAL_BYTES);
    builder.fs = Some(Arc::new(SimFs::new()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

/// Each sync begins a page, so what a push takes of the log is 4 KiB: thirty times what its frame has.
#[test]
fn a_log_of_small_pushes_that_are_synced_is_full_by_the_pages_they_take() {
    let engine = open(Durability::Sync);
    let id = series(&engine, 0);
    for t in 0..600 {
        let ack = engine.push(id, Timestamp::from_nanos(t), 1.0).unwrap();
        reached(&engine, ack, Level::Durable);
    }
    let deadline = Instant::now() + SOON;
    while engine.stats().flushes < 1 {
        assert!(Instant::now() < deadline, "2.4 MiB of log, and no flush");
        std::thread::yield_now();
    }
}

/// Definitions alone were more than the log may have: a flush a scrape, with a segment of one sample a series each.
#[test]
fn a_log_is_not_full_of_what_each_memtable_has_to_begin_with() {
    let engine = open(Durability::DEFAULT);
    let long = "x".repeat(4 << 10);
    let series = |host: i32| {
        let host = format!("{host}{long}");
        engine.series(&[("__name__", "cpu"), ("host", &host)]).unwrap()
    };
    let ids: Vec<_> = (0..600).map(series).collect();
    for scrape in 0..20 {
        let mut last = None;
        for id in &ids {
            last = Some(engine.push(*id, Timestamp::from_nanos(scrape), 1.0).unwrap());
        }
        reached(&engine, last.unwrap(), Level::Visible);
    }
    assert!(engine.stats().flushes < 5, "{} flushes", engine.stats().flushes);
    assert!(engine.stats().wal_bytes >= 600 * (4 << 10));
}
