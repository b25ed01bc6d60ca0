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
