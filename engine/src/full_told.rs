//! P4 on a simulated disk: what is full is told before a push finds it out (X11).

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{NameStep, SimFs};
use tidegauge_storage::model::TimeRange;

use crate::engine::Engine;
use crate::error::{CommitError, ProbeError, PushError};
use crate::faults::{SOON, reached, series};
use crate::full::{at, count, delete, fill, open, used, value, within};
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};

const LOGS: [Durability; 2] = [Durability::Sync, Durability::DEFAULT];
/// Of a segment that is larger than a file of the log and the reserve together.
const MANY: i64 = 200_000;

/// As a push that had found none would have it told.
fn says_so(engine: &Engine, when: &str) {
    assert_eq!(engine.stats().short_of, Some(Shortage::Space), "{when}");
    assert_eq!(engine.probe(SOON), Err(ProbeError::DiskFull), "{when}");
    assert_eq!(engine.push(series(engine, 9), at(1), 1.0), Err(PushError::DiskFull), "{when}");
    engine.is_healthy().unwrap();
}

/// By itself: nobody asks for anything but whether it is.
fn gets_ready(engine: &Engine) {
    within("it is ready again", || engine.stats().short_of.is_none().then_some(()));
    engine.probe(SOON).unwrap();
    let ack = engine.push(series(engine, 9), at(1), 1.0).unwrap();
    reached(engine, ack, Level::Visible);
}

/// How often it was tried whether there is space, since [`SimFs::record`] was called.
fn trials(fs: &SimFs) -> usize {
    let timeline = fs.timeline();
    let made = |step| matches!(step, NameStep::Made(path) if path.extension() == Some(OsStr::new("trial")));
    timeline.name_steps().filter(|(_, step)| made(*step)).count()
}

/// Two segments, and nothing in memory.
fn flushed(durability: Durability) -> (SimFs, Engine) {
    let fs = SimFs::new();
    let engine = open(&fs, durability);
    fill_and_flush(&engine);
    (fs, engine)
}

fn fill_and_flush(engine: &Engine) {
    for (host, samples) in [(0, MANY), (1, 1000)] {
        fill(engine, host, samples);
        engine.flush().unwrap();
    }
}

/// The lock is a file of the operating system's, in `dir`; all others are on the simulated disk.
fn builder_at(fs: &SimFs, dir: &Path, durability: Durability) -> Builder {
    let builder = Builder::new(Some(dir)).durability(durability).wal_bytes(64 << 20).query_threads(1);
    let mut builder = builder.background_compaction(false);
    builder.wal_file_bytes = Some(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

/// A store that was closed, with two segments and without a log.
fn closed(dir: &Path, durability: Durability) -> SimFs {
    let fs = SimFs::new();
    let engine = builder_at(&fs, dir, durability).open().unwrap();
    fill_and_flush(&engine);
    engine.close().unwrap();
    fs
}

/// It was ready until the first push, which was taken and waited.
#[test]
fn p4_an_engine_that_opens_on_a_full_disk_says_so_before_a_push() {
    let dir = tempfile::tempdir().unwrap();
    for durability in LOGS {
        let disk = closed(dir.path(), durability);
        // Room for what an opening writes, and for no file of the log.
        for free in [0, 600 << 10] {
            let disk = disk.kill();
            disk.set_capacity(Some(used(&disk) + free));
            let engine = builder_at(&disk, dir.path(), durability).open().unwrap();
            says_so(&engine, &format!("{durability}, {free} free"));
            assert_eq!(count(&engine, 0), MANY as u64, "reads go on");
            engine.flush().expect("there is nothing that wants space");
            delete(&engine, 1, at(0)..at(5)).unwrap();
            if free == 0 {
                says_so(&engine, "a delete was taken");
            } else {
                // There is another reserve, and room in what was the first.
                gets_ready(&engine);
            }
            engine.close().expect("all that is there is safe");
        }
        disk.set_capacity(Some(used(&disk) + (8 << 20)));
        let engine = builder_at(&disk, dir.path(), durability).open().unwrap();
        assert_eq!(engine.stats().short_of, None, "there is space for the first file");
        gets_ready(&engine);
    }
}

/// What was replayed waits for its flush, which wants more than there is, and keeps the log.
#[test]
fn p4_an_engine_that_replays_its_log_on_a_full_disk_says_so_before_a_push() {
    for durability in LOGS {
        let (fs, engine) = flushed(durability);
        fill(&engine, 2, MANY * 3);
        let disk = fs.kill();
        drop(engine);
        disk.set_capacity(Some(used(&disk)));
        let engine = open(&disk, durability);
        says_so(&engine, &format!("{durability}"));
        within("the flush finds none", || engine.flush().is_err().then_some(()));
        says_so(&engine, "nor has the flush any");
        disk.set_capacity(None);
        gets_ready(&engine);
    }
}

#[test]
fn who_writes_no_log_asks_for_no_space_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let fs = closed(dir.path(), Durability::Memory);
    fs.set_capacity(Some(used(&fs)));
    let reader = builder_at(&fs, dir.path(), Durability::DEFAULT).read_only(true).open().unwrap();
    assert_eq!((reader.stats().short_of, count(&reader, 1)), (None, 1000));
    assert_eq!(reader.probe(SOON), Err(ProbeError::ReadOnly));
    drop(reader);
    fs.record();
    let engine = builder_at(&fs, dir.path(), Durability::Memory).open().unwrap();
    assert_eq!(engine.stats().short_of, None, "memory has room");
    gets_ready(&engine);
    assert!(engine.flush().is_err(), "and segments have none");
    says_so(&engine, "there is nowhere for samples to go");
    fs.set_capacity(None);
    within("the flush is done", || engine.flush().ok());
    gets_ready(&engine);
    assert_eq!(trials(&fs), 0);
}

/// Deletes had filled the log's file up, and then gone to the reserve, behind which no sample is taken: a push found that
/// out. What a delete gave back was too little for a push, and so it was with the next one.
#[test]
fn p4_a_delete_that_frees_too_little_leaves_the_engine_not_ready() {
    let (fs, engine) = flushed(Durability::Sync);
    let long: String = (0..30_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    fs.set_capacity(Some(used(&fs)));
    let told = (0..1000).find(|n| {
        let selector = format!("cpu{{host=\"1\",x!=\"{n}{long}\"}}");
        engine.delete(&selector, at(*n)..at(n + 1)).unwrap_or_else(|e| panic!("delete {n}, not told before: {e}"));
        engine.stats().short_of.is_some()
    });
    assert!(told.is_some_and(|n| n > 10), "{told:?}");
    says_so(&engine, "a delete went to the reserve");
    // Not by what is used: whatever keeps room for later takes it back at once.
    let files = || fs.files().iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "seg")).count();
    let (before, small) = (files(), engine.stats().segment_bytes);
    delete(&engine, 1, TimeRange::ALL).unwrap();
    within("a small segment goes", || (engine.stats().segment_bytes < small && files() < before).then_some(()));
    fs.record();
    // The second one begins when the first is over.
    within("it is tried again", || (trials(&fs) >= 2).then_some(()));
    says_so(&engine, "that is too little");
    delete(&engine, 0, TimeRange::ALL).unwrap();
    gets_ready(&engine);
    assert_eq!((count(&engine, 0), count(&engine, 1), count(&engine, 9)), (0, 0, 1));
}

/// A batch alone was refused, and whoever looked was told that all is well.
#[test]
fn p4_a_batch_that_finds_no_space_says_so_for_the_pushes_to_come() {
    let (fs, engine) = flushed(Durability::Sync);
    let commit = |samples: i64| {
        let mut batch = engine.batch();
        let id = series(&engine, 8);
        (0..samples).for_each(|t| batch.push(id, at(t), value(t)).unwrap());
        batch.commit().map(drop)
    };
    fs.set_capacity(Some(used(&fs)));
    let refused = (0..10_000).find_map(|_| commit(500).err());
    assert!(matches!(refused, Some(CommitError::DiskFull)), "{refused:?}");
    says_so(&engine, "a batch found none");
    fs.set_capacity(None);
    gets_ready(&engine);
    commit(500).unwrap();
}

#[test]
fn p4_an_engine_that_was_not_ready_for_want_of_space_gets_ready_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fs = closed(dir.path(), Durability::Sync);
    fs.set_capacity(Some(used(&fs)));
    fs.record();
    let began = Instant::now();
    let engine = builder_at(&fs, dir.path(), Durability::Sync).open().unwrap();
    says_so(&engine, "it opened on a full disk");
    within("it is tried", || (trials(&fs) >= 3).then_some(()));
    // At the opening, and then seldom: however slow the machine is, it is not more.
    assert!(trials(&fs) as u64 <= 1 + began.elapsed().as_secs(), "{} trials", trials(&fs));
    says_so(&engine, "there is none yet");
    fs.set_capacity(None);
    gets_ready(&engine);
    // Who is ready asks no more.
    let tried = trials(&fs);
    let ack = engine.push(series(&engine, 9), at(2), 2.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    assert!(engine.wait(ack, Level::Durable, Duration::ZERO).is_ok() && trials(&fs) == tried);
    assert!(fs.list(&dir.path().join("wal")).unwrap().iter().all(|name| !name.ends_with("trial")), "nothing is left");
}
