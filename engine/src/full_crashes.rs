//! P4 on a simulated disk: deletes on a full one, with a crash or with even less space at each of their steps.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, Random, SimFs, Timeline};
use tidegauge_storage::model::{TimeRange, Timestamp};

use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::{DeleteError, OpenError, PushError};
use crate::faults::{SOON, reached, series};
use crate::options::{Builder, Durability, Level};

/// Of the series that is deleted from, in a segment.
const SAMPLES: u64 = 500;
/// Of them, with each delete.
const EACH: u64 = 5;

fn try_open(fs: &SimFs) -> Result<Engine, OpenError> {
    let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1).background_compaction(false);
    builder.wal_file_bytes = Some(16 << 10);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open()
}

fn open(fs: &SimFs) -> Engine {
    try_open(fs).unwrap_or_else(|e| panic!("on a full disk: {e}"))
}

fn push(engine: &Engine, host: usize, times: std::ops::Range<i64>) -> Result<crate::Ack, PushError> {
    let id = series(engine, host);
    let samples: Vec<_> = times.map(|t| SeriesSample::new(id, Timestamp::from_nanos(t), (t as f64).sqrt())).collect();
    engine.push_batch(&samples)
}

fn used(fs: &SimFs) -> u64 {
    fs.files().iter().map(|(_, len)| len).sum()
}

/// A segment, files of the log that are full, samples in memory, a push that waits, and not a byte left.
fn full() -> (SimFs, Engine) {
    let fs = SimFs::new();
    let engine = open(&fs);
    push(&engine, 1, 0..SAMPLES as i64).unwrap();
    engine.flush().unwrap();
    let ack = push(&engine, 2, 0..1).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    fs.set_capacity(Some(used(&fs)));
    push_until_full(&engine);
    (fs, engine)
}

fn push_until_full(engine: &Engine) {
    let refused = (1..10_000).find_map(|t| match push(engine, 2, t..t + 1) {
        Ok(ack) => {
            let _ = engine.wait(ack, Level::Durable, Duration::from_millis(5));
            None
        }
        Err(e) => Some(e),
    });
    assert_eq!(refused, Some(PushError::DiskFull));
}

/// The delete number `n`.
fn delete(engine: &Engine, n: u64) -> Result<(), DeleteError> {
    let at = |k: u64| Timestamp::from_nanos((k * EACH) as i64);
    engine.delete("cpu{host=\"1\"}", at(n)..at(n + 1)).map(drop)
}

/// How many deletes there are: they must be the first so many.
fn deletes(engine: &Engine) -> u64 {
    let count = |range: TimeRange| engine.count_matching("cpu{host=\"1\"}", range).unwrap().samples;
    let gone = (SAMPLES - count(TimeRange::ALL)) / EACH;
    let rest = TimeRange::new(Timestamp::from_nanos((gone * EACH) as i64), Timestamp::MAX);
    assert_eq!(count(rest), SAMPLES - gone * EACH, "the first {gone}");
    gone
}

/// The disk as a process finds it that comes next, or after a power loss: of the same size as it was, unless a file is there
/// again whose removal was not durable, and whose space was taken: no device gives that away so early.
fn crashes(timeline: &Timeline, capacity: u64) -> [SimFs; 3] {
    let disks = [0, 1, 2].map(|n| match n {
        0 => timeline.kill(),
        n => timeline.power_loss(&mut Random::new(timeline.at() * 2 + n)),
    });
    disks.iter().for_each(|disk| disk.set_capacity(Some(capacity.max(used(disk)))));
    disks
}

#[test]
fn p4_p5_deletes_on_a_full_disk_survive_a_crash_anywhere_and_the_store_opens() {
    let (fs, engine) = full();
    let capacity = used(&fs);
    fs.record();
    let mut acknowledged = Vec::new();
    for n in 0..8 {
        delete(&engine, n).unwrap_or_else(|e| panic!("delete {n}: {e}"));
        acknowledged.push(fs.steps());
    }
    let mut timeline = fs.timeline();
    loop {
        let least = acknowledged.iter().filter(|step| **step <= timeline.at()).count() as u64;
        let disks = crashes(&timeline, capacity);
        // What was free when it was killed, somebody else has taken.
        disks[0].set_capacity(Some(used(&disks[0])));
        for disk in disks {
            let engine = open(&disk);
            let found = deletes(&engine);
            assert!((least..=least + 1).contains(&found), "{found} of {least} at step {}", timeline.at());
        }
        if timeline.is_over() {
            break;
        }
        timeline.advance();
    }
    assert!(timeline.at() - acknowledged[0] >= 14, "a write and a sync each");
}

#[test]
fn p4_an_opening_on_a_full_disk_may_crash_anywhere_and_the_next_one_finds_the_same() {
    let (fs, engine) = full();
    (0..8).for_each(|n| delete(&engine, n).unwrap());
    let disk = fs.kill();
    let capacity = used(&disk);
    disk.set_capacity(Some(capacity));
    disk.record();
    let opened = open(&disk);
    assert_eq!(deletes(&opened), 8);
    let mut timeline = disk.timeline();
    let mut steps = 0;
    loop {
        for disk in crashes(&timeline, capacity) {
            let engine = open(&disk);
            assert_eq!(deletes(&engine), 8, "step {steps}");
        }
        if timeline.is_over() {
            break;
        }
        timeline.advance();
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
}

/// Again and again: killed, whatever was free then taken by somebody else, opened, and deleted from.
#[test]
fn p4_a_full_store_is_killed_and_opened_again_and_again_and_takes_deletes_each_time() {
    let (fs, engine) = full();
    let (mut disk, mut engine, mut done) = (fs, engine, 0);
    for life in 0..4 {
        push_until_full(&engine);
        // The reserve lasts for some thirty of four lives: an opening takes of it, how much depends on what was flushed.
        for _ in 0..6 {
            delete(&engine, done).unwrap_or_else(|e| panic!("life {life}, delete {done}: {e}"));
            done += 1;
        }
        disk = disk.kill();
        disk.set_capacity(Some(used(&disk)));
        engine = open(&disk);
        assert_eq!(deletes(&engine), done);
    }
    // There is space again: everything goes on by itself, and the reserve is back.
    disk.set_capacity(None);
    let end = std::time::Instant::now() + SOON;
    let ack = loop {
        match push(&engine, 4, 0..1) {
            Ok(ack) => break ack,
            Err(e) => assert!(std::time::Instant::now() < end, "pushes go on: {e}"),
        }
        std::thread::yield_now();
    };
    reached(&engine, ack, Level::Durable);
    // A try that found none may end only now.
    let end = std::time::Instant::now() + SOON;
    while let Err(e) = engine.flush() {
        assert!(std::time::Instant::now() < end, "the flush goes on: {e}");
        std::thread::yield_now();
    }
    let reserves: Vec<_> =
        disk.files().into_iter().filter(|(path, _)| path.to_string_lossy().contains("reserve")).collect();
    assert!(matches!(&reserves[..], [(_, len)] if *len == 384 << 10), "{reserves:?}");
    engine.close().unwrap();
    assert_eq!(deletes(&open(&disk)), done);
}

/// Each operation of some deletes finds no space in turn. A delete that is refused hides nothing, one that is taken
/// survives, and the store opens.
#[test]
fn p4_every_operation_of_deletes_on_a_full_disk_may_find_no_space() {
    let (mut refused, mut poisoned) = (0, 0);
    // Which operation it is that finds none depends on what other threads do meanwhile.
    for at in (1..40).cycle().take(39 * 20) {
        if at == 1 && refused > 0 && poisoned > 0 {
            break;
        }
        let (fs, engine) = full();
        fs.fail_at(fs.operations() + at, Fault::Full);
        let (mut taken, mut unknown) = (0, false);
        for _ in 0..8 {
            match delete(&engine, taken) {
                Ok(()) => taken += 1,
                Err(DeleteError::DiskFull) => refused += 1,
                Err(DeleteError::Poisoned(_)) => {
                    poisoned += 1;
                    unknown = true;
                    break;
                }
                Err(e) => panic!("operation {at}: {e}"),
            }
        }
        let shown = deletes(&engine);
        let disk = fs.kill();
        drop(engine);
        disk.set_capacity(Some(used(&disk)));
        let found = deletes(&open(&disk));
        // One of which nobody knows whether it is durable may be either.
        assert!(shown == taken || unknown, "operation {at}: {shown} of {taken}");
        assert!((taken..=taken + 1).contains(&found), "operation {at}: {found} of {taken}");
    }
    assert!(refused > 0 && poisoned > 0, "{refused} and {poisoned}");
}
