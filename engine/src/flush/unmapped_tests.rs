//! A segment that is written, and cannot be mapped for want of memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::error::{CloseError, FlushError, PushError};
use crate::faults::{SOON, contents, series};
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;

fn open(fs: &SimFs, durability: Durability) -> Engine {
    let mut builder = Builder::new(None).durability(durability).background_compaction(false).wal_bytes(1 << 20);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

fn push(engine: &Engine, at: i64) {
    let ack = engine.push(series(engine, 1), Timestamp::from_nanos(at), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let names = fs.files().into_iter().map(|(path, _)| path);
    names.filter(|path| path.parent().is_some_and(|dir| dir.ends_with("segments"))).collect()
}

/// ENOMEM at the map of a new segment (`ulimit -v`, `vm.max_map_count`) poisoned the engine, although the segment was durable
/// and nothing lost.
#[test]
fn p4_a_flush_whose_segment_cannot_be_mapped_waits_and_goes_on_by_itself() {
    let hour = Duration::from_secs(3600);
    for durability in [Durability::Memory, Durability::Interval(hour)] {
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        push(&engine, 0);
        fs.refuse_maps(true);
        let refused = engine.flush().unwrap_err();
        assert_eq!(refused, FlushError::OutOfMemory);
        assert!(refused.to_string().contains("ulimit -v"), "{refused}");
        assert_eq!(engine.stats().short_of, Some(Shortage::Memory));
        assert_eq!(contents(&engine).len(), 1, "reads go on");
        let written = segments(&fs);
        assert_eq!(written.len(), 1);
        // Each waits for two tries more.
        assert_eq!(engine.flush().unwrap_err(), FlushError::OutOfMemory);
        assert_eq!(segments(&fs), written, "it is not written again");
        if durability.logs() {
            push(&engine, 1);
        } else {
            let pushed = engine.push(series(&engine, 1), Timestamp::from_nanos(1), 1.0);
            assert_eq!(pushed.unwrap_err(), PushError::OutOfMemory, "there is nowhere else to go");
        }
        fs.refuse_maps(false);
        let began = Instant::now();
        while engine.flush().is_err() {
            assert!(began.elapsed() < SOON, "it does not go on");
        }
        assert_eq!((engine.stats().short_of, contents(&engine).len()), (None, if durability.logs() { 2 } else { 1 }));
        assert_eq!(segments(&fs)[0], written[0]);
        push(&engine, 2);
        engine.close().unwrap();
    }
}

/// Who closes meanwhile is told, nobody finds a file that counts for nothing, and what is logged comes back.
#[test]
fn p4_a_close_beside_a_segment_that_cannot_be_mapped_tells_it_and_loses_nothing() {
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Sync);
    push(&engine, 0);
    fs.refuse_maps(true);
    assert_eq!(engine.flush().unwrap_err(), FlushError::OutOfMemory);
    let closed = engine.close().unwrap_err();
    let expected = CloseError::NotFlushed { samples: 1, logged: true, short_of: Some(Shortage::Memory) };
    assert_eq!(closed, expected);
    assert!(closed.to_string().contains("ulimit -v"), "{closed}");
    assert_eq!(segments(&fs), Vec::<PathBuf>::new());
    fs.refuse_maps(false);
    assert_eq!(contents(&open(&fs, Durability::Sync)).len(), 1);
}
