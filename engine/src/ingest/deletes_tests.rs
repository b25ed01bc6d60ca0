//! A log that holds nothing but deletes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{TimeRange, Timestamp};

use crate::delete::TOMBSTONES_MAX;
use crate::faults::{SOON, contents, reached, series};
use crate::options::{Builder, Durability, Level};

const FILE: u64 = 64 << 10;

fn builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
    builder.wal_file_bytes = Some(FILE);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

/// Each page of the log had one delete, all of it stayed, and the next opening took all of them into the manifest: nothing
/// but a flush lets go of the log, and nothing is flushed where no sample comes.
#[test]
fn the_log_of_deletes_alone_is_let_go_of() {
    let fs = SimFs::new();
    let engine = builder(&fs).open().unwrap();
    for host in 0..2 {
        let ack = engine.push(series(&engine, host), Timestamp::from_nanos(1), 1.0).unwrap();
        reached(&engine, ack, Level::Durable);
    }
    engine.flush().unwrap();
    engine.delete("cpu{host=\"1\"}", TimeRange::ALL).unwrap();
    for _ in 0..2 * TOMBSTONES_MAX + 100 {
        engine.delete("cpu{host=\"nobody\"}", TimeRange::ALL).unwrap();
    }
    let files = || fs.files().iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "wal")).count();
    // A page each, and what is kept to be written again.
    let most = TOMBSTONES_MAX * 4096 / FILE as usize * 5 / 4;
    let deadline = Instant::now() + SOON;
    while files() > most {
        assert!(Instant::now() < deadline, "{} files, not {most}", files());
        std::thread::yield_now();
    }
    assert_eq!(contents(&engine).len(), 1);
    let disk = fs.crash(1);
    assert!(disk.list(Path::new("memory/wal")).unwrap().len() <= most + 2);
    let engine = builder(&disk).open().unwrap();
    assert_eq!(contents(&engine).len(), 1, "the delete is known");
}
