//! P5, P9: a delete that was acknowledged hides what it hid, whatever becomes of the log and the manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::TimeRange;

use super::manifest_tests::check_made_anew;
use super::tests::{Contents, contents, push};
use crate::options::{Builder, Durability};

const WAL: &str = "memory/wal";

/// The log's first files are there still, as spares or because a power loss took their removal back, and those behind
/// them that had the delete are not. No segment was left that the delete would have reached.
#[test]
fn p5_a_manifest_made_anew_hides_what_was_deleted_of_files_that_the_log_had_let_go() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.wal_file_bytes = Some(64 << 10);
    let engine = builder.open().unwrap();
    let files =
        || fs.list(Path::new(WAL)).unwrap().into_iter().filter(|name| !name.starts_with('.')).collect::<Vec<_>>();
    let mut round = 0;
    while files().len() < 3 {
        push(&engine, round);
        round += 1;
    }
    let first: Vec<(PathBuf, Vec<u8>)> = files()[..2]
        .iter()
        .map(|name| Path::new(WAL).join(name))
        .map(|path| (path.clone(), fs.map(&path).unwrap().to_vec()))
        .collect();
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.flush().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.stats().tombstones > 0 || !fs.list(Path::new("memory/segments")).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        engine.compact().unwrap();
    }
    assert_eq!(contents(&engine), Contents::new());
    let disk = fs.kill();
    drop(engine);
    for name in disk.list(Path::new(WAL)).unwrap() {
        disk.remove(&Path::new(WAL).join(name)).unwrap();
    }
    for (path, bytes) in first {
        disk.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
    }
    disk.remove(Path::new("memory/MANIFEST")).unwrap();
    check_made_anew(&disk, &Contents::new(), "the delete is in the audit log alone");
}
