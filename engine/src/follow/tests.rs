use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::error::OpenError;
use crate::faults::{SOON, contents, series};
use crate::options::{Builder, Durability, Level};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

fn builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

fn push(engine: &Engine, at: i64) {
    let ack = engine.push(series(engine, 0), Timestamp::from_nanos(at), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
}

/// Put back from before the last opening, the manifest let a reader show what there was then as if it were all.
#[test]
fn p10_a_reader_tells_an_older_copy_of_the_manifest() {
    let (fs, manifest) = (SimFs::new(), Path::new("memory/MANIFEST"));
    let engine = builder(&fs).open().unwrap();
    push(&engine, 1);
    engine.close().unwrap();
    let older = fs.map(manifest).unwrap().to_vec();
    let engine = builder(&fs).open().unwrap();
    push(&engine, 2);
    let reader = builder(&fs).read_only(true).open().unwrap();
    assert_eq!(contents(&reader).len(), 2);
    let disk = fs.kill();
    disk.remove(manifest).unwrap();
    disk.create(manifest).unwrap().write_all_at(0, &older).unwrap();
    match builder(&disk).read_only(true).open() {
        Err(OpenError::LaterFile { path }) => assert!(path.starts_with("memory/wal"), "{path:?}"),
        other => panic!("{:?}", other.map(drop)),
    }
    // Under a reader's eyes: what was shown stays.
    fs.remove(manifest).unwrap();
    fs.create(manifest).unwrap().write_all_at(0, &older).unwrap();
    assert!(matches!(reader.refresh(), Err(OpenError::LaterFile { .. })));
    assert_eq!(contents(&reader).len(), 2);
}

/// Between the reader's look at the manifest and those at the log's folder the store gets another owner, who makes a
/// file of the log: no older copy, so the reader begins anew.
#[test]
fn p10_an_opening_behind_the_readers_back_is_no_older_manifest() {
    for late in 0..2 {
        let fs = SimFs::new();
        let engine = builder(&fs).open().unwrap();
        push(&engine, 1);
        let disk = fs.kill();
        let (listed, next) = (AtomicU64::new(0), disk.clone());
        let owner = Arc::new(Mutex::new(None));
        let opened = Arc::clone(&owner);
        // The first listing is for the replay, the second asks for later files.
        disk.on_list(Arc::new(move |folder: &Path| {
            if folder.ends_with("wal") && listed.fetch_add(1, Ordering::Relaxed) == late {
                let engine = builder(&next).open().unwrap();
                push(&engine, 2);
                *opened.lock().unwrap() = Some(engine);
            }
        }));
        let reader = builder(&disk).read_only(true).open().unwrap();
        assert_eq!(contents(&reader).len(), 2, "{late}");
        assert!(owner.lock().unwrap().take().is_some(), "{late}: there was another owner");
    }
}
