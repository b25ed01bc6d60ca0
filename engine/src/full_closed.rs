//! P4 on a simulated disk: a store that was closed in order, and a disk that somebody else has filled since.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, Random, SimFs};
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::segment::{file_name, first_id};

use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::{CompactError, OpenError};
use crate::faults::series;
use crate::options::{Builder, Durability};

const LOGS: [Durability; 2] = [Durability::Sync, Durability::Memory];
/// Of each series.
const SAMPLES: u64 = 500;
const RESERVE: u64 = 256 << 10;

/// The lock is a file of the operating system's, in `dir`; all others are on the simulated disk.
fn try_open(fs: &SimFs, dir: &Path, durability: Durability) -> Result<Engine, OpenError> {
    let mut builder = Builder::new(Some(dir)).durability(durability).query_threads(1).background_compaction(false);
    builder.wal_file_bytes = Some(16 << 10);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open()
}

fn open(fs: &SimFs, dir: &Path, durability: Durability) -> Engine {
    try_open(fs, dir, durability).unwrap_or_else(|e| panic!("{durability}, on a full disk: {e}"))
}

fn used(fs: &SimFs) -> u64 {
    fs.files().iter().map(|(_, len)| len).sum()
}

fn fill_up(fs: &SimFs) {
    fs.set_capacity(Some(used(fs)));
}

fn count(engine: &Engine, host: usize) -> u64 {
    engine.count_matching(&format!("cpu{{host=\"{host}\"}}"), TimeRange::ALL).unwrap().samples
}

/// The reserves there are, and their bytes.
fn reserves(fs: &SimFs) -> Vec<(String, u64)> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let all = fs.files().into_iter().map(|(path, len)| (name(&path), len));
    all.filter(|(name, _)| name.starts_with(".reserve")).collect()
}

/// Segments of three series, and closed.
fn closed(dir: &Path, durability: Durability) -> SimFs {
    let fs = SimFs::new();
    let engine = open(&fs, dir, durability);
    for host in 0..3 {
        let id = series(&engine, host);
        let sample = |t: u64| SeriesSample::new(id, Timestamp::from_nanos(t as i64), (t as f64).sqrt());
        engine.push_batch(&(0..SAMPLES).map(sample).collect::<Vec<_>>()).unwrap();
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    fs
}

/// It did not: "MANIFEST cannot be written: No space left on device".
#[test]
fn p4_a_store_that_was_closed_opens_on_a_disk_that_was_filled_since_and_takes_deletes() {
    let dir = tempfile::tempdir().unwrap();
    for durability in LOGS {
        let fs = closed(dir.path(), durability);
        assert_eq!(reserves(&fs), [(".reserve.00000001".to_owned(), RESERVE)], "{durability}");
        fill_up(&fs);
        // Again and again: what is free at the close, somebody else takes.
        for n in 0..6 {
            let engine = open(&fs, dir.path(), durability);
            let range = TimeRange::new(Timestamp::from_nanos(n * 5), Timestamp::from_nanos(n * 5 + 5));
            engine.delete("cpu{host=\"1\"}", range).unwrap();
            assert_eq!([0, 1, 2].map(|host| count(&engine, host)), [SAMPLES, SAMPLES - (n as u64 + 1) * 5, SAMPLES]);
            engine.close().unwrap();
            fill_up(&fs);
        }
        let engine = open(&fs, dir.path(), durability);
        engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
        let compacted = engine.compact();
        assert!(matches!(compacted, Ok(()) | Err(CompactError::DiskFull)), "{durability}: {compacted:?}");
        assert!(engine.stats().segments < 3, "{durability}: what is hidden whole is given back");
        let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
        engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
        assert_eq!([0, 1, 2].map(|host| count(&engine, host)), [0; 3], "all of it is of 1970");
        engine.close().unwrap();
        fs.set_capacity(None);
        open(&fs, dir.path(), durability).close().unwrap();
        assert!(matches!(&reserves(&fs)[..], [(_, RESERVE)]), "{durability}: {:?}", reserves(&fs));
    }
}

/// Whatever step of the opening, the delete or the close a crash comes at, the next opening has what it needs: where the
/// process was killed, and nobody took what was free just then.
#[test]
fn p4_a_crash_anywhere_between_two_closes_on_a_full_disk_leaves_a_store_that_opens() {
    for durability in LOGS {
        let dir = tempfile::tempdir().unwrap();
        let fs = closed(dir.path(), durability);
        fill_up(&fs);
        let capacity = used(&fs);
        fs.record();
        let engine = open(&fs, dir.path(), durability);
        engine.delete("cpu{host=\"1\"}", TimeRange::ALL).unwrap();
        engine.close().unwrap();
        let mut timeline = fs.timeline();
        loop {
            let killed = timeline.kill();
            killed.set_capacity(Some(capacity));
            let engine = open(&killed, dir.path(), durability);
            assert_eq!([0, 2].map(|host| count(&engine, host)), [SAMPLES; 2], "step {}", timeline.at());
            engine.close().unwrap();
            let lost = timeline.power_loss(&mut Random::new(timeline.at()));
            let engine = open(&lost, dir.path(), durability);
            assert_eq!([0, 2].map(|host| count(&engine, host)), [SAMPLES; 2], "step {}", timeline.at());
            engine.close().unwrap();
            if timeline.is_over() {
                break;
            }
            timeline.advance();
        }
    }
}

/// A close that cannot leave one closes all the same, and a store without one opens as before.
#[test]
fn p4_a_close_without_space_for_the_reserve_is_a_close() {
    for durability in LOGS {
        let dir = tempfile::tempdir().unwrap();
        for at in 1..12 {
            for fault in [Fault::Full, Fault::Io] {
                let fs = closed(dir.path(), durability);
                for (path, _) in fs.files() {
                    // As earlier builds closed.
                    if path.to_string_lossy().contains(".reserve") {
                        fs.remove(&path).unwrap();
                    }
                }
                let engine = open(&fs, dir.path(), durability);
                engine.flush().unwrap();
                fs.fail_at(fs.operations() + at, fault);
                // It is of the witness, or the like, that a fault is told.
                let _ = engine.close();
                fs.restart();
                let engine = open(&fs, dir.path(), durability);
                assert_eq!([0, 1, 2].map(|host| count(&engine, host)), [SAMPLES; 3], "{durability}, {at}");
                engine.close().unwrap();
            }
        }
    }
}

/// A flush may have taken what the reserve was given up for, and a crash have ended it: its segment is all that there is to
/// begin with. An opening removed what nobody names behind its first commit, and was refused before.
#[test]
fn p4_an_opening_on_a_full_disk_begins_with_the_space_of_what_nobody_names() {
    for durability in LOGS {
        let dir = tempfile::tempdir().unwrap();
        let fs = closed(dir.path(), durability);
        let reserve = fs.files().into_iter().find(|(path, _)| path.to_string_lossy().contains(".reserve")).unwrap().0;
        fs.remove(&reserve).unwrap();
        let unnamed = reserve.parent().unwrap().with_file_name("segments").join(file_name(first_id(1) + 9));
        fs.create(&unnamed).unwrap().allocate(RESERVE).unwrap();
        fill_up(&fs);
        let engine = open(&fs, dir.path(), durability);
        assert_eq!([0, 1, 2].map(|host| count(&engine, host)), [SAMPLES; 3], "{durability}");
        assert!(fs.files().iter().all(|(path, _)| *path != unnamed));
        engine.close().unwrap();
    }
}
