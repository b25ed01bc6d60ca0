//! P3, P5, P10: what comes back after a close, after a death, and who may write.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Contents, SOON, at, contents, name, series};
use tidegauge::{Durability, Engine, Level, OpenError, PushError, SeriesSample, WaitError};

const SETTINGS: [Durability; 3] =
    [Durability::Memory, Durability::Interval(Duration::from_millis(20)), Durability::Sync];

/// Pushes `rounds` rounds of ten series, a third of them late, and answers what must come back.
fn fill(engine: &Engine, rounds: std::ops::Range<i64>) -> Contents {
    let ids: Vec<_> = (0..10).map(|host| series(engine, host)).collect();
    let mut appender = engine.appender().unwrap();
    let mut twin = Contents::new();
    let mut ack = None;
    for t in rounds {
        let when = if t % 3 == 2 { t - 2 } else { t };
        let batch: Vec<_> = ids.iter().map(|&id| SeriesSample::new(id, at(when * 1_000_000), t as f64 / 4.0)).collect();
        ack = Some(appender.push_batch(&batch).unwrap());
        for host in 0..10 {
            twin.entry(name(host)).or_default().insert(when * 1_000_000, (t as f64 / 4.0).to_bits());
        }
    }
    engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
    twin
}

fn merged(mut a: Contents, b: Contents) -> Contents {
    for (series, samples) in b {
        a.entry(series).or_default().extend(samples);
    }
    a
}

#[test]
fn a_closed_store_comes_back_whole_under_every_durability() {
    for durability in SETTINGS {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Contents::new();
        for life in 0..3 {
            let engine = Engine::builder(dir.path()).durability(durability).open().unwrap();
            assert_eq!(contents(&engine.snapshot()), twin, "{durability}, life {life}");
            twin = merged(twin, fill(&engine, life * 500 - 100..life * 500 + 1500));
            assert_eq!(contents(&engine.snapshot()), twin, "{durability}, life {life}");
            engine.flush().unwrap();
            assert_eq!(contents(&engine.snapshot()), twin, "{durability}, flushed, life {life}");
            twin = merged(twin, fill(&engine, life * 500..life * 500 + 700));
            engine.close().unwrap();
            let left = std::fs::read_dir(dir.path().join("wal")).unwrap().map(|entry| entry.unwrap());
            let left: Vec<_> = left.map(|file| (file.file_name(), file.metadata().unwrap().len())).collect();
            let reserve = format!(".reserve.{:08x}", life + 1);
            assert_eq!(left, [(reserve.into(), 256 << 10)], "a closed store needs no log");
        }
    }
}

/// P3: with a log, what is visible has left the process. A copy of the directory taken while
/// the engine runs is what a `kill -9` at that moment would leave.
#[test]
fn p3_what_is_visible_survives_the_process() {
    for durability in [SETTINGS[1], SETTINGS[2]] {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let engine = Engine::builder(dir.path()).durability(durability).open().unwrap();
        let mut twin = fill(&engine, 0..2000);
        engine.flush().unwrap();
        twin = merged(twin, fill(&engine, 1000..3000));
        copy_store(dir.path(), copy.path());
        let _ = fill(&engine, 5000..5100);
        drop(engine);
        for opening in 0..2 {
            let engine = Engine::builder(copy.path()).durability(durability).open().unwrap();
            assert_eq!(contents(&engine.snapshot()), twin, "{durability}, opening {opening}");
            drop(engine);
        }
    }
}

fn copy_store(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_store(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// P2, P3: a durable acknowledgement comes to each that waits. (That they share a sync: `losses.rs`.)
#[test]
fn p3_durable_is_reached_by_each_that_waits() {
    for durability in [SETTINGS[1], SETTINGS[2]] {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::builder(dir.path()).durability(durability).open().unwrap();
        std::thread::scope(|scope| {
            for host in 0..4 {
                let engine = &engine;
                scope.spawn(move || {
                    let id = series(engine, host);
                    let mut appender = engine.appender().unwrap();
                    for t in 0..50 {
                        let ack = appender.push(id, at(t), 1.0).unwrap();
                        let seq = engine.wait(ack, Level::Durable, SOON).unwrap();
                        assert!(engine.stats().durable_seq >= seq.0);
                    }
                });
            }
        });
    }
}

#[test]
fn p3_one_fdatasync_serves_all_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    let mut appender = engine.appender().unwrap();
    let id = series(&engine, 0);
    let acks: Vec<_> = (0..200).map(|t| appender.push(id, at(t), 1.0).unwrap()).collect();
    engine.wait(acks[199], Level::Visible, SOON).unwrap();
    let before = engine.stats().fdatasync.count;
    std::thread::scope(|scope| {
        for some in acks.chunks(50) {
            let engine = &engine;
            scope.spawn(move || {
                for &ack in some {
                    engine.wait(ack, Level::Durable, SOON).unwrap();
                }
            });
        }
    });
    // One that was under way, one that covers all, and what is due unasked ten times a second.
    let during = engine.stats().fdatasync.count - before;
    assert!(during <= 10, "{during} fdatasyncs for 200 waits");
}

#[test]
fn p10_a_directory_has_one_writer_and_readers_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let mut twin = fill(&engine, 0..500);
    engine.flush().unwrap();
    twin = merged(twin, fill(&engine, 400..900));
    let Err(OpenError::InUse { owner: Some(owner), .. }) = Engine::open(dir.path()) else { panic!("two writers") };
    assert_eq!(owner.pid, std::process::id());
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    assert_eq!(contents(&reader.snapshot()), twin);
    assert!(reader.appender().is_err() && reader.flush().is_err());
    reader.close().unwrap();
    engine.close().unwrap();
    assert_eq!(contents(&Engine::open(dir.path()).unwrap().snapshot()), twin);
}

/// LK6 of the directory's lock: somebody removes the lock file of a living owner. What he calls durable until he learns
/// of it, the next owner has.
#[test]
fn p10_an_owner_without_a_lock_file_calls_nothing_durable_that_the_next_owner_has_not() {
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("LOCK");
        let old = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
        let id = series(&old, 0);
        let (told, opened) = (AtomicU64::new(0), AtomicBool::new(false));
        let (next, kept, why) = std::thread::scope(|scope| {
            let pushes = scope.spawn(|| {
                let mut late = 0;
                for t in 0.. {
                    if round % 4 == 1 && t % 8 == 7 && old.flush().is_err() {
                        return None;
                    }
                    let ack = match old.push(id, at(t), t as f64) {
                        Ok(ack) => ack,
                        Err(PushError::Poisoned(why)) => return Some(why),
                        Err(e) => panic!("{e}"),
                    };
                    match old.wait(ack, Level::Durable, SOON) {
                        Ok(_) => told.store(t as u64 + 1, Ordering::Release),
                        Err(WaitError::Poisoned(why)) => return Some(why),
                        Err(e) => panic!("{e}"),
                    }
                    late += u64::from(opened.load(Ordering::Acquire));
                    assert!(late < 2, "told of {t} while another owns the directory");
                }
                unreachable!("it does not end")
            });
            while told.load(Ordering::Acquire) < 10 + round {
                std::thread::yield_now();
            }
            std::fs::remove_file(&lock).unwrap();
            let next = (round % 2 == 0).then(|| Engine::open(dir.path()).unwrap());
            let kept = next.as_ref().map(|next| contents(&next.snapshot()));
            opened.store(next.is_some(), Ordering::Release);
            (next, kept, pushes.join().unwrap())
        });
        assert!(why.is_none_or(|why| why.cause.contains("LOCK") || why.cause.contains("MANIFEST")));
        assert!(old.close().is_err(), "it has stopped writing");
        let next = next.unwrap_or_else(|| Engine::open(dir.path()).unwrap());
        let kept = kept.unwrap_or_else(|| contents(&next.snapshot()));
        let has = |t: u64| kept.values().any(|samples| samples.contains_key(&(t as i64)));
        let told = told.into_inner();
        assert!((0..told).all(has), "round {round}: {told} were told of, {kept:?} are there");
        // What the old one did last is nothing that the next one stumbles over.
        let twin = merged(kept, fill(&next, 500..900));
        next.flush().unwrap();
        assert_eq!(contents(&next.snapshot()), twin);
        next.close().unwrap();
        assert_eq!(contents(&Engine::open(dir.path()).unwrap().snapshot()), twin);
    }
}

#[test]
fn a_small_memtable_is_flushed_again_and_again_while_pushes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path()).flush_bytes(1 << 16).wal_bytes(1 << 20);
    let engine = builder.open().unwrap();
    let twin = fill(&engine, 0..30_000);
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.flush().unwrap();
    let stats = engine.stats();
    assert!(stats.flushes > 3, "{} flushes", stats.flushes);
    assert_eq!((stats.memtable_samples, stats.sealed_memtables), (0, 0));
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.close().unwrap();
    assert_eq!(contents(&Engine::open(dir.path()).unwrap().snapshot()), twin);
}

#[test]
fn a_path_that_is_a_file_and_one_without_a_store_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let e = Engine::open(&file).unwrap_err().to_string();
    assert!(e.contains("directory"), "{e}");
    let e = Engine::builder(dir.path().join("none")).read_only(true).open().unwrap_err().to_string();
    assert!(e.contains("no store"), "{e}");
    assert!(!dir.path().join("none").exists(), "looking creates nothing");
}

/// LK7 of the directory's lock: an owner who does not know yet that his lock file is gone flushes and compacts beside the
/// next one. Both used to give their segments the same numbers.
#[test]
fn p10_an_owner_without_a_lock_file_overwrites_nothing_of_the_next_owner() {
    // Whoever of the two writes first.
    for (log, old_first) in [(false, false), (true, false), (false, true), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        // Without a log he learns of it at his next commit alone.
        let old =
            Engine::builder(dir.path()).durability(Durability::Memory).background_compaction(false).open().unwrap();
        let shared = fill(&old, 0..300);
        old.flush().unwrap();
        let mut lost = old.appender().unwrap();
        let id = series(&old, 0);
        let ack = lost.push(id, at(5_000), 5.0).unwrap();
        old.wait(ack, Level::Visible, SOON).unwrap();
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        let durability = if log { Durability::Sync } else { Durability::Memory };
        let builder = || Engine::builder(dir.path()).durability(durability).background_compaction(false);
        let next = builder().open().unwrap();
        let mut twin = merged(shared, fill(&next, 300..600));
        let before = files(dir.path());
        if old_first {
            assert!(old.flush().is_err(), "what he wrote nobody has");
        }
        next.flush().unwrap();
        let there = files(dir.path());
        let opening = |file: &std::path::Path| file.file_name().unwrap().to_str().unwrap()[..8].to_owned();
        let newer = |(file, _): &(std::path::PathBuf, _)| before.iter().all(|(old, _)| opening(file) > opening(old));
        assert_eq!(there.iter().filter(|file| newer(file)).count(), 1, "the number of an opening is in those it gives");
        if !old_first {
            assert!(old.flush().is_err(), "what he wrote nobody has");
        }
        assert!(old.close().is_err());
        assert!(there.iter().all(|file| files(dir.path()).contains(file)), "all of it is as it was");
        assert_eq!(contents(&next.snapshot()), twin);
        twin = merged(twin, fill(&next, 600..900));
        next.flush().unwrap();
        next.compact().unwrap();
        next.close().unwrap();
        let again = builder().open().unwrap();
        assert_eq!(contents(&again.snapshot()), twin);
    }
}

/// The segments, each with what is in it.
fn files(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let names = std::fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let segments = names.filter(|path| path.extension().is_some_and(|e| e == "seg"));
    segments.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
