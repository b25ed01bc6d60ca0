//! When the log is full, by what it takes; and how far a memtable grows.

use std::sync::Arc;
use std::time::Instant;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;

use super::worker::ROUND_SAMPLES_MAX;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::faults::{SOON, reached, series};
use crate::memtable::PACK_SLOTS;
use crate::options::{Builder, Durability, Level};
use crate::ring::BackPressure;

const WAL_BYTES: u64 = 1 << 20;

fn open(durability: Durability) -> Engine {
    let mut builder =
        Builder::new(None).durability(durability).query_threads(1).wal_bytes(WAL_BYTES).background_compaction(false);
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

/// While the tails of many series are sealed, slice by slice between rounds, the next memtable took whatever came, and the
/// log with it.
#[test]
fn a_memtable_is_bounded_while_the_one_before_it_is_being_sealed() {
    // A seal takes as many rounds, and a round what a lane holds.
    const SERIES: usize = 256 * PACK_SLOTS as usize;
    let engine = open(Durability::DEFAULT);
    let ids: Vec<_> = (0..SERIES).map(|host| series(&engine, host)).collect();
    let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
    let mut t = 0;
    for _ in 0..3 {
        let wide: Vec<_> = ids.iter().map(|id| SeriesSample::new(*id, Timestamp::from_nanos(t), 1.0)).collect();
        for part in wide.chunks(SERIES / 4) {
            appender.push_batch(part).unwrap();
        }
        for _ in 0..2_000 {
            let one = |n: i64| SeriesSample::new(ids[0], Timestamp::from_nanos(t + 1 + n), (n as f64).sqrt());
            let hot: Vec<_> = (0..1 << 10).map(one).collect();
            appender.push_batch(&hot).unwrap();
            t += 1 << 10;
        }
        t += 1;
    }
    engine.probe(SOON).unwrap();
    engine.flush().unwrap();
    // What the log was not yet full at, of samples that take more than two bytes, then a round, and another one where the
    // seal of the one before ends behind that: deletes are served before the next begins.
    let most = WAL_BYTES / 2 + 2 * ROUND_SAMPLES_MAX as u64;
    let snapshot = engine.snapshot();
    let sizes: Vec<u64> = snapshot.sources().iter().map(|s| s.seq_range().end.0 - s.seq_range().start.0).collect();
    assert!(sizes.len() > 4 && sizes.iter().all(|size| *size <= most), "at most {most}: {sizes:?}");
}
