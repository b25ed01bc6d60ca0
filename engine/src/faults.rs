//! P4 on a simulated disk: full and free again, and failing for good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

use crate::appender::Ack;
use crate::engine::Engine;
use crate::error::{CloseError, CompactError, FlushError, ProbeError, PushError, WaitError};
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::registry::SeriesId;
use crate::ring::BackPressure;
use crate::subscribe::RecvError;
use crate::watch::Warning;

pub(crate) const SOON: Duration = Duration::from_secs(30);

fn open(fs: &SimFs) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5))).wal_bytes(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

pub(crate) fn series(engine: &Engine, host: usize) -> SeriesId {
    engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap()
}

/// Samples by (series, timestamp).
pub(crate) fn contents(engine: &Engine) -> BTreeMap<(String, i64), f64> {
    let mut all = BTreeMap::new();
    for source in engine.snapshot().sources() {
        for hit in source.select(&[]).unwrap() {
            let mut columns = Columns::default();
            let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
            while cursor.next(&mut columns).unwrap() {}
            let labels = source.labels(hit.ordinal).unwrap().to_string();
            all.extend(columns.timestamps.iter().zip(&columns.values).map(|(t, v)| ((labels.clone(), *t), *v)));
        }
    }
    all
}

/// Every push brings a new series and a value that does not pack, until one is refused.
/// Answers the samples taken, and the refusal.
fn push_until_refused(engine: &Engine, from: usize) -> (usize, PushError) {
    let mut appender = engine.appender_with(BackPressure::Reject).unwrap();
    let deadline = Instant::now() + SOON;
    for i in from.. {
        assert!(Instant::now() < deadline, "never refused");
        match appender.push(series(engine, i), Timestamp::from_nanos(i as i64), (i as f64).sqrt()) {
            Ok(ack) if i % 64 == 0 => {
                // Not reached while the disk is full; what was taken stays in the lane.
                let _ = engine.wait(ack, Level::Visible, Duration::from_millis(20));
            }
            Ok(_) => {}
            Err(e) => return (i, e),
        }
    }
    unreachable!("the loop has no end");
}

/// Waits on while the disk is full: what is freed comes a moment later.
pub(crate) fn reached(engine: &Engine, ack: Ack, level: Level) {
    let deadline = Instant::now() + SOON;
    while let Err(e) = engine.wait(ack, level, SOON) {
        assert!(e == WaitError::DiskFull && Instant::now() < deadline, "{e}");
        std::thread::yield_now();
    }
}

/// P4: a full disk refuses with its own error, keeps reads, and resumes by itself; what was
/// taken meanwhile becomes visible and comes back.
#[test]
fn p4_a_full_disk_refuses_and_resumes_by_itself() {
    let fs = SimFs::new();
    let engine = open(&fs);
    let (some, _) = (series(&engine, 0), ());
    let ack = engine.push(some, Timestamp::from_nanos(0), 0.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    fs.set_capacity(Some(6 << 20));
    let (taken, refusal) = push_until_refused(&engine, 1);
    assert_eq!(refusal, PushError::DiskFull);
    assert!(contents(&engine).contains_key(&("cpu{host=\"0\"}".to_owned(), 0)), "reads go on");
    fs.set_capacity(None);
    let deadline = Instant::now() + SOON;
    let ack = loop {
        match engine.push(some, Timestamp::from_nanos(1), 1.0) {
            Ok(ack) => break ack,
            Err(PushError::DiskFull) if Instant::now() < deadline => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    };
    reached(&engine, ack, Level::Durable);
    let all = contents(&engine);
    assert_eq!(all.len(), taken + 1, "everything taken is there");
    let killed = fs.kill();
    drop(engine);
    for disk in [&fs, &killed] {
        assert_eq!(contents(&open(disk)), all);
    }
}

/// A store that is closed while its disk is full opens again, and says truly what was lost:
/// definitions of a frame that was never written must not count as written.
#[test]
fn p4_closing_on_a_full_disk_tells_what_is_lost_and_the_store_opens_again() {
    let fs = SimFs::new();
    let engine = open(&fs);
    fs.set_capacity(Some(6 << 20));
    let (taken, refusal) = push_until_refused(&engine, 0);
    assert_eq!(refusal, PushError::DiskFull);
    let visible = contents(&engine);
    let kept = engine.clone();
    let closed = engine.close();
    let lost = match closed {
        Err(CloseError::NotTaken { samples, .. }) => samples as usize,
        // In segments, or in the log.
        Ok(()) | Err(CloseError::NotFlushed { .. }) => 0,
        other => panic!("{other:?}"),
    };
    drop(kept);
    fs.set_capacity(None);
    let engine = open(&fs);
    let back = contents(&engine);
    assert!(visible.iter().all(|(k, v)| back.get(k) == Some(v)), "what was visible comes back");
    assert!(back.len() >= taken - lost, "{} of {taken} come back, {lost} were said to be lost", back.len());
    let ack = engine.push(series(&engine, 1 << 20), Timestamp::from_nanos(7), 7.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
}

/// Of two handles that were closed the second one was told that all was well, for the lock was gone by then; and on a
/// disk without a lock, the first one was, too.
#[test]
fn p4_whoever_closes_on_a_full_disk_is_told_what_is_in_no_segment_also_after_others() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Memory);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open().unwrap();
    let ack = engine.push(series(&engine, 0), Timestamp::from_nanos(0), 0.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    fs.set_capacity(Some(0));
    for handle in [engine.clone(), engine.clone()] {
        let closed = handle.close();
        let short_of = Some(Shortage::Space);
        assert_eq!(closed, Err(CloseError::NotFlushed { samples: 1, logged: false, short_of }));
    }
    drop(engine);
    fs.set_capacity(None);
    assert!(contents(&open(&fs)).is_empty());
}

/// P4: a failed fdatasync or write poisons; a push learns it, a blocked one too; reads go on,
/// and reopening recovers every durable acknowledgement.
#[test]
fn p4_a_failed_disk_poisons_and_reopening_recovers() {
    let fs = SimFs::new();
    let engine = open(&fs);
    let some = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    let ack = engine.push(some, Timestamp::from_nanos(1), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    (0..64).for_each(|i| fs.fail_at(fs.operations() + i, Fault::Io));
    let deadline = Instant::now() + SOON;
    let poisoned = loop {
        assert!(Instant::now() < deadline, "never poisoned");
        match engine.push(some, Timestamp::from_nanos(2), 2.0) {
            Ok(ack) => drop(engine.wait(ack, Level::Durable, Duration::from_millis(20))),
            Err(PushError::Poisoned(poisoned)) => break poisoned,
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(engine.is_healthy(), Err(poisoned.clone()));
    // Everything that became visible is received first.
    let received: Vec<_> = std::iter::repeat_with(|| live.recv(SOON)).take_while(Result::is_ok).collect();
    assert!(!received.is_empty());
    assert_eq!(live.recv(SOON), Err(RecvError::Poisoned(poisoned.clone())));
    assert_eq!(engine.flush(), Err(FlushError::Poisoned(poisoned.clone())));
    assert_eq!(contents(&engine).get(&("cpu{host=\"1\"}".to_owned(), 1)), Some(&1.0), "reads go on");
    assert_eq!(engine.close(), Err(CloseError::Poisoned(poisoned)));
    fs.restart();
    for seed in 0..8 {
        let after = fs.crash(seed);
        assert_eq!(contents(&open(&after)).get(&("cpu{host=\"1\"}".to_owned(), 1)), Some(&1.0));
    }
}

/// P5: one sync fails, of a file or of a folder, at the opening or later; the process goes and the next one opens what it
/// finds. Names that the failed sync had lost stayed so, since no later one brings them back: the log was made durable anew
/// and its file was gone, or the folder of all of it.
#[test]
fn p5_what_the_next_opening_calls_durable_survives_names_that_a_failed_sync_has_lost() {
    let (id, at) = (|engine: &Engine| series(engine, 1), Timestamp::from_nanos);
    let durable = |engine: &Engine, n: i64| {
        let ack = engine.push(id(engine), at(n), n as f64).ok()?;
        engine.wait(ack, Level::Durable, SOON).ok()
    };
    let builder = |fs: &SimFs| {
        let mut builder = Builder::new(None).durability(Durability::Sync).background_compaction(false);
        builder.pace = Pace::NEVER;
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder
    };
    let mut poisoned = 0;
    for (sync, flushes) in (1..).flat_map(|sync| [(sync, false), (sync, true)]) {
        let fs = SimFs::new();
        fs.fail_sync_at(fs.syncs() + sync);
        let failing_at = fs.syncs() + sync;
        if let Ok(engine) = builder(&fs).open() {
            durable(&engine, 1);
            let _ = engine.flush();
            durable(&engine, 2);
            poisoned += u32::from(engine.is_healthy().is_err());
            let next = fs.next_process();
            drop(engine);
            drop(next);
        }
        if fs.syncs() < failing_at {
            break;
        }
        let fs = fs.next_process();
        let engine = builder(&fs).open().unwrap();
        let back = contents(&engine);
        durable(&engine, 3).unwrap();
        // The segment's folder may have lost its name as well.
        if flushes {
            engine.flush().unwrap();
        }
        for seed in 0..24 {
            let after = builder(&fs.crash(seed)).open().unwrap_or_else(|e| panic!("sync {sync}, {seed}: {e}"));
            let found = contents(&after);
            assert!(found.len() == back.len() + 1, "sync {sync}, {seed}: {found:?}, of {back:?}");
        }
        let next = fs.next_process();
        drop((engine, next));
    }
    assert!(poisoned > 3, "{poisoned}");
}

/// Too few files that may be open were told as "no space".
#[test]
fn p4_an_opening_that_may_open_no_more_files_names_their_limit() {
    let open = |fs: &SimFs| {
        let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder.open()
    };
    for fault in [Fault::Files, Fault::Full] {
        let (mut told, mut operation) = (0, 1);
        loop {
            let fs = SimFs::new();
            fs.fail_at(operation, fault);
            let refused = open(&fs).map(drop);
            if fs.operations() < operation {
                break;
            }
            if let Err(e) = refused {
                let text = e.to_string();
                // What a full disk broke off is told as that.
                let names = (text.contains("ulimit -n"), text.contains("space"));
                assert_eq!(names, (fault == Fault::Files, fault == Fault::Full), "{fault:?} at {operation}: {text}");
                told += 1;
                fs.restart();
                open(&fs).unwrap_or_else(|e| panic!("{fault:?} at {operation}, and then none: {e}"));
            }
            operation += 1;
        }
        assert!(told > 3, "{fault:?}: {told} openings were refused");
    }
}

/// As above, of a store that has a reserve: too few files behind the renaming of the manifest were taken for too little
/// space, the reserve was given up, and who tried again was told that another process had taken the store over.
#[test]
fn p4_an_opening_that_may_open_no_more_files_names_no_other_process() {
    let builder = |fs: &SimFs| {
        let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder
    };
    let base = SimFs::new();
    builder(&base).open().unwrap().close().unwrap();
    let (mut told, mut operation) = (0, 1);
    loop {
        let fs = base.kill();
        fs.fail_at(operation, Fault::Files);
        let refused = builder(&fs).open().map(drop);
        if fs.operations() < operation {
            break;
        }
        if let Err(e) = refused {
            assert!(e.to_string().contains("ulimit -n"), "operation {operation}: {e}");
            told += 1;
        }
        operation += 1;
    }
    assert!(told > 3, "{told} openings were refused");
}

/// P4: both were told in one sentence, "no space on the disk, or no more files may be opened", so that who read it did
/// not know which to mend.
#[test]
fn p4_a_shut_gate_says_whether_space_or_files_have_run_out() {
    let cases = [
        (Shortage::Space, PushError::DiskFull, WaitError::DiskFull, ProbeError::DiskFull, "space on the disk"),
        (Shortage::Files, PushError::OutOfFiles, WaitError::OutOfFiles, ProbeError::OutOfFiles, "ulimit -n"),
    ];
    for (short, push, wait, probe, names) in cases {
        let fs = SimFs::new();
        let engine = open(&fs);
        let some = series(&engine, 1);
        match short {
            Shortage::Space => fs.set_capacity(Some(0)),
            Shortage::Files => (1..100_000).for_each(|i| fs.fail_at(fs.operations() + i, Fault::Files)),
            // Only a flush maps: `flush/unmapped_tests.rs`.
            Shortage::Memory => unreachable!("no case"),
        }
        let ack = engine.push(some, Timestamp::from_nanos(1), 1.0).unwrap();
        let waited = engine.wait(ack, Level::Visible, SOON);
        assert_eq!(waited, Err(wait));
        assert_eq!(engine.push(some, Timestamp::from_nanos(2), 2.0), Err(push.clone()));
        assert_eq!(engine.probe(SOON), Err(probe.clone()));
        let mut batch = engine.batch();
        let pushed = batch.push(some, Timestamp::from_nanos(3), 3.0).unwrap_err();
        let committed = batch.commit().unwrap_err();
        let flushed = engine.flush().unwrap_err();
        let told = [push.to_string(), waited.unwrap_err().to_string(), probe.to_string(), pushed.to_string()];
        for text in told.into_iter().chain([committed.to_string(), flushed.to_string()]) {
            let other = if short == Shortage::Space { "ulimit" } else { "space on the disk" };
            assert!(text.contains(names) && !text.contains(other), "{short:?}: {text}");
        }
        assert_eq!(engine.stats().short_of, Some(short));
        fs.set_capacity(None);
        fs.restart();
        let began = Instant::now();
        while engine.wait(ack, Level::Durable, SOON).is_err() {
            assert!(began.elapsed() < SOON, "it does not resume");
            std::thread::yield_now();
        }
        assert_eq!(engine.stats().short_of, None);
    }
}

/// Of an engine that writes nothing but what it is asked for: each operation of a compaction has the same number.
fn memory_builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

/// A compaction that could open no file for a moment ended all compaction until the next opening, as if the disk had
/// failed.
#[test]
fn p4_a_compaction_that_may_open_no_more_files_goes_on_later() {
    let (mut refused, mut operation) = (0, 1);
    loop {
        let fs = SimFs::new();
        let engine = memory_builder(&fs).open().unwrap();
        for t in 0..2 {
            let ack = engine.push(series(&engine, 1), Timestamp::from_nanos(t), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
            engine.flush().unwrap();
        }
        let at = fs.operations() + operation;
        fs.fail_at(at, Fault::Files);
        match engine.compact() {
            Ok(()) => assert_eq!(engine.stats().segments, 1),
            Err(e) => {
                assert_eq!(e, CompactError::OutOfFiles, "at {operation}");
                refused += 1;
                if refused == 1 {
                    // It is tried again after some seconds.
                    engine.compact().unwrap();
                    assert_eq!(engine.stats().segments, 1);
                }
            }
        }
        if fs.operations() < at {
            break;
        }
        operation += 1;
    }
    assert!(refused >= 2, "{refused} were refused: a file to be made, and a folder to be synced");
}

/// One failed write of a compaction ended all compaction until the next opening, and retention and the return of deleted
/// space with it, while pushes went on and nobody was told.
#[test]
fn p4_a_compaction_that_fails_is_told_and_ends_neither_retention_nor_compaction() {
    let (mut failed, mut poisoned, mut operation) = (0, Vec::new(), 1);
    loop {
        let fs = SimFs::new();
        let (tell, told) = std::sync::mpsc::channel();
        let engine = memory_builder(&fs).on_warning(move |warning| drop(tell.send(warning.clone()))).open().unwrap();
        let flush = |t: i64| {
            let ack = engine.push(series(&engine, 1), Timestamp::from_nanos(t), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
            engine.flush().unwrap();
        };
        (0..2).for_each(flush);
        let at = fs.operations() + operation;
        fs.fail_at(at, Fault::Io);
        match engine.compact() {
            Ok(()) => assert!(!engine.stats().compaction_failing),
            Err(CompactError::Poisoned(why)) => poisoned.push(why.cause),
            Err(why @ CompactError::Failed { .. }) => {
                failed += 1;
                assert!(engine.stats().compaction_failing && engine.is_healthy().is_ok());
                // Everything here is of 1970. It goes though no segment may be written now.
                if failed == 1 {
                    assert_eq!(told.recv_timeout(SOON), Ok(Warning::Compaction(why)));
                    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
                    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
                    let deadline = Instant::now() + SOON;
                    while engine.stats().segments > 0 {
                        assert!(Instant::now() < deadline, "retention gives nothing back");
                        std::thread::yield_now();
                    }
                    let now = crate::clock::now().nanos();
                    (now..now + 2).for_each(flush);
                }
                engine.compact().unwrap();
                assert!(engine.stats().segments == 1 && !engine.stats().compaction_failing);
                assert_eq!(told.try_iter().count(), 0, "once");
            }
            Err(e) => panic!("at {operation}: {e}"),
        }
        if fs.operations() < at {
            break;
        }
        operation += 1;
    }
    assert!(failed >= 3, "{failed} failed: a file to be made, to be written, to be synced");
    let folder = poisoned.iter().filter(|why| why.contains("the folder of the segments cannot be synced")).count();
    assert!(folder == 1 && poisoned.len() > 1, "what flushes need, too, poisons: {poisoned:?}");
}
