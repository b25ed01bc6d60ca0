//! Evictions amid pushes, step by step: what the threads of an engine do only now and then.

#[path = "../../tests/support/files.rs"]
mod files;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::request::{GRAVE_BYTES_MAX, NotEvicted, take_only};
use super::{IdleSince, evict};
use crate::batch::LastError;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::{PushError, SeriesError};
use crate::options::Level;
use crate::registry::{Rebuild, SeriesId};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::{Durability, Timestamp};

const SOON: Duration = Duration::from_secs(30);

fn now(engine: &Engine) -> IdleSince {
    IdleSince { seq: u64::MAX, look: engine.life().core.heads.next_look() }
}

fn evict_all(engine: &Engine) -> usize {
    evict(&engine.life().core, now(engine), 1, SOON).unwrap_or(0)
}

fn series(engine: &Engine, host: &str) -> SeriesId {
    engine.series(&[("__name__", "up"), ("host", host)]).unwrap()
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Timestamps of what is stored of a host.
fn stored(engine: &Engine, host: &str) -> Vec<i64> {
    let found = engine.snapshot().select(&format!("up{{host=\"{host}\"}}")).unwrap();
    found.iter().flat_map(|series| series.read().unwrap().timestamps).collect()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}

/// An engine with one series that was evicted, its id, and another series that has its slot by now.
fn with_an_evicted_one(engine: &Engine, push: impl FnMut(SeriesId)) -> (SeriesId, SeriesId) {
    let old = flushed(engine, push);
    (old, in_the_place_of(engine, old))
}

fn flushed(engine: &Engine, mut push: impl FnMut(SeriesId)) -> SeriesId {
    let old = series(engine, "old");
    push(old);
    engine.flush().unwrap();
    old
}

fn in_the_place_of(engine: &Engine, old: SeriesId) -> SeriesId {
    assert_eq!(evict_all(engine), 1);
    let new = series(engine, "new");
    assert_eq!((new.slot, new == old), (old.slot, false), "the slot is given again");
    new
}

fn engines() -> [(Engine, Option<tempfile::TempDir>); 2] {
    let dir = tempfile::tempdir().unwrap();
    let logged = Engine::builder(dir.path()).durability(Durability::DEFAULT).series_idle(None).open().unwrap();
    [(Engine::in_memory_builder().series_idle(None).open().unwrap(), None), (logged, Some(dir))]
}

/// V3, V5: the appender has checked the id before the eviction, and pushes after another series got the slot.
#[test]
fn what_an_appender_pushes_late_is_stored_under_the_labels_that_its_id_had() {
    for (engine, _dir) in engines() {
        let mut appender = engine.appender().unwrap();
        let (old, new) = with_an_evicted_one(&engine, |old| {
            appender.push(old, at(1), 1.0).unwrap();
        });
        let ack = appender.push_unchecked(&[
            SeriesSample::new(old, at(2), 2.0),
            SeriesSample::new(new, at(7), 7.0),
            SeriesSample::new(old, at(3), 3.0),
        ]);
        engine.wait(ack, Level::Visible, SOON).unwrap();
        assert_eq!((stored(&engine, "old"), stored(&engine, "new")), (vec![1, 2, 3], vec![7]));
        assert_eq!(engine.stats().series_in_lanes, 1, "it has not pushed since");
        assert_eq!(appender.push(old, at(4), 4.0), Err(PushError::StaleSeries));
        until("nobody can have it any more", || engine.stats().series_in_lanes == 0);
        engine.flush().unwrap();
        assert_eq!((stored(&engine, "old"), stored(&engine, "new")), (vec![1, 2, 3], vec![7]));
        engine.close().unwrap();
    }
}

/// V4, V5: the same through the common lane.
#[test]
fn what_comes_late_through_the_common_lane_is_stored_under_the_labels_that_its_id_had() {
    for (engine, _dir) in engines() {
        let mut appender = engine.appender().unwrap();
        let old = flushed(&engine, |old| {
            appender.push(old, at(1), 1.0).unwrap();
        });
        engine.life().common.push_slice_amid(&[SeriesSample::new(old, at(2), 2.0)], || {
            let new = in_the_place_of(&engine, old);
            assert_eq!(engine.push(old, at(4), 4.0), Err(PushError::StaleSeries));
            assert!(!engine.knows(old) && engine.knows(new));
            engine.push(new, at(7), 7.0).unwrap();
            drop(appender);
            let rounds = || engine.life().core.rounds();
            let enough = rounds() + 50;
            until("it goes round", || rounds() >= enough);
            assert_eq!(engine.stats().series_in_lanes, 1, "somebody is on his way");
        });
        until("nobody can have it any more", || engine.stats().series_in_lanes == 0);
        engine.probe(SOON).unwrap();
        assert_eq!((stored(&engine, "old"), stored(&engine, "new")), (vec![1, 2], vec![7]));
        engine.close().unwrap();
    }
}

/// The worker met a panic between the close of a registry and the next one: who asked for a series asked again for ever.
#[test]
fn who_asks_a_poisoned_engine_for_a_series_is_told() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    series(&engine, "old");
    let core = &engine.life().core;
    drop(Rebuild::without(&core.registry(), &[]).follow());
    core.poison("a panic");
    let (told, asked) = std::sync::mpsc::channel();
    let asking = engine.clone();
    std::thread::spawn(move || told.send(asking.series(&[("__name__", "up"), ("host", "new")])));
    let answer = asked.recv_timeout(SOON).expect("an answer");
    assert!(matches!(answer, Err(SeriesError::Poisoned(_))), "{answer:?}");
}

/// P11, P5: accepted before the limit was reached again, and after a crash it still is.
#[test]
fn a_late_sample_brings_its_series_back_though_there_are_as_many_as_may_be_and_the_store_reopens() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let builder = |dir: &Path| Engine::builder(dir).durability(Durability::Sync).max_series(1).series_idle(None);
    let engine = builder(dir.path()).open().unwrap();
    let mut appender = engine.appender().unwrap();
    let (old, new) = with_an_evicted_one(&engine, |old| {
        appender.push(old, at(1), 1.0).unwrap();
    });
    let ack = appender.push_unchecked(&[SeriesSample::new(old, at(2), 2.0), SeriesSample::new(new, at(7), 7.0)]);
    engine.wait(ack, Level::Durable, SOON).unwrap();
    assert!(engine.series(&[("__name__", "third")]).is_err());
    // As a crash would leave it.
    files::copy_dir(dir.path(), copy.path());
    let beside = builder(copy.path()).read_only(true).open().unwrap();
    let reopened = builder(copy.path()).open().unwrap();
    for engine in [&engine, &beside, &reopened] {
        assert_eq!((stored(engine, "old"), stored(engine, "new"), engine.stats().series), (vec![1, 2], vec![7], 2));
    }
    assert!(reopened.series(&[("__name__", "third")]).is_err());
    reopened.flush().unwrap();
    assert_eq!(evict_all(&reopened), 2);
    reopened.series(&[("__name__", "third")]).unwrap();
}

/// V6: amid an eviction, between two slices: its slot is nobody's, and its labels are still known.
#[test]
fn a_series_that_was_taken_comes_back_before_its_slot_is_given_again() {
    for (engine, _dir) in engines() {
        let mut appender = engine.appender().unwrap();
        let ids = ["late", "resolved", "gone"].map(|host| series(&engine, host));
        for id in ids {
            appender.push(id, at(1), 1.0).unwrap();
        }
        engine.probe(SOON).unwrap();
        let before = engine.snapshot();
        engine.flush().unwrap();
        assert_eq!(take_only(&engine.life().core, now(&engine)), Ok(3));
        assert_eq!(engine.stats().series, 0);
        assert_eq!(engine.last_of(&[("__name__", "up"), ("host", "gone")]).unwrap().map(|last| last.value), Some(1.0));
        // Accepted before: it is its labels' still.
        let ack = appender.push_unchecked(&[SeriesSample::new(ids[0], at(2), 2.0)]);
        engine.wait(ack, Level::Visible, SOON).unwrap();
        for (id, host) in ids.into_iter().zip(["late", "resolved"]) {
            let again = series(&engine, host);
            assert_eq!((again.slot, again == id), (id.slot, false), "the same slot, and another id");
            assert_eq!(engine.push(id, at(3), 3.0), Err(PushError::StaleSeries));
            appender.push(again, at(4), 4.0).unwrap();
        }
        engine.probe(SOON).unwrap();
        // What was taken before goes with the next eviction; it is not counted twice.
        assert_eq!(evict(&engine.life().core, now(&engine), 1, SOON), Ok(0));
        assert_eq!((engine.stats().series, engine.stats().series_evicted), (2, 3));
        assert_eq!(series(&engine, "other").slot, ids[2].slot);
        let found = |host| stored(&engine, host);
        assert_eq!((found("late"), found("resolved"), found("gone")), (vec![1, 2, 4], vec![1, 4], vec![1]));
        assert_eq!(before.select("up").unwrap().iter().count(), 3, "a snapshot knows what it knew");
        engine.close().unwrap();
    }
}

/// V5: what an appender that does not push holds back is bounded, by what it takes; it goes on as soon as it pushes.
#[test]
fn an_appender_that_does_not_push_holds_back_a_bounded_number_of_evicted_series() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let mut idle = engine.appender().unwrap();
    let core = &engine.life().core;
    let generation = |n: usize| {
        for host in 0..10 {
            let id = series(&engine, &format!("{n}-{host}"));
            engine.wait(engine.push(id, at(1), 1.0).unwrap(), Level::Visible, SOON).unwrap();
        }
        engine.flush().unwrap();
        evict(core, now(&engine), 1, SOON)
    };
    let held = (0..1_000).find(|n| generation(*n) == Err(NotEvicted::HeldBack)).expect("there is a bound");
    assert!(held > 3 && core.counters.graves_now().1 <= GRAVE_BYTES_MAX);
    assert_eq!(generation(1_000), Err(NotEvicted::HeldBack));
    let clock = series(&engine, "clock");
    idle.push(clock, at(1), 1.0).unwrap();
    until("it has seen all of them", || engine.stats().series_in_lanes == 0);
    assert_eq!(core.counters.graves_now(), (0, 0));
    assert!(evict_all(&engine) >= 20, "what was held back goes");
    // Dropped, it holds nothing back either.
    assert!((0..1_000).any(|n| generation(n) == Err(NotEvicted::HeldBack)));
    drop(idle);
    until("it is gone", || engine.stats().series_in_lanes == 0);
}

/// V6: asked for after it was found idle, it stays.
#[test]
fn a_series_that_is_resolved_while_an_eviction_is_prepared_stays() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let id = series(&engine, "old");
    let core = &engine.life().core;
    let since = IdleSince { seq: u64::MAX, look: core.heads.next_look() };
    assert_eq!(series(&engine, "old"), id);
    assert!(evict(core, since, 1, SOON).is_err());
    assert_eq!(evict_all(&engine), 1);
    assert_ne!(series(&engine, "old"), id);
}

/// Threads push series that go idle and are evicted all the while: what was accepted is stored, under its own labels.
#[test]
fn what_is_accepted_while_series_come_and_go_is_stored_under_its_labels() {
    const EACH: i64 = 3_000;
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let (done, evicted) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..3usize)
            .map(|thread| {
                let (engine, evicted) = (&engine, &evicted);
                scope.spawn(move || {
                    let mut appender = engine.appender().unwrap();
                    let mut ids = vec![None; 40];
                    for n in 0..EACH {
                        let i = (n * 7 % 40) as usize;
                        let host = thread * 100 + i;
                        loop {
                            let id = *ids[i].get_or_insert_with(|| series(engine, &host.to_string()));
                            let pushed = match n % 3 {
                                0 => engine.push(id, at(n), host as f64),
                                _ => appender.push(id, at(n), host as f64),
                            };
                            match pushed {
                                Ok(_) => break,
                                Err(PushError::StaleSeries) => ids[i] = None,
                                Err(e) => panic!("{e}"),
                            }
                        }
                        if n % 16 == 0 {
                            std::thread::yield_now();
                        }
                        // Amid it all some have left, however fast the pushes are.
                        while n == EACH / 2 && evicted.load(Ordering::Acquire) == 0 {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                engine.flush().unwrap();
                evicted.fetch_add(evict_all(&engine), Ordering::Release);
            }
        });
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        done.store(true, Ordering::Release);
    });
    engine.probe(SOON).unwrap();
    engine.flush().unwrap();
    let mut found = BTreeMap::new();
    for series in engine.snapshot().select("up").unwrap().iter() {
        let host = series.labels().get("host").unwrap().to_owned();
        let columns = series.read().unwrap();
        assert!(columns.values.iter().all(|value| value.to_string() == host), "{host}");
        assert!(found.insert(host, columns.timestamps.len()).is_none(), "one series for each set of labels");
    }
    assert_eq!((found.len(), found.values().sum::<usize>() as i64), (3 * 40, 3 * EACH));
    assert!(engine.stats().series_evicted >= evicted.into_inner() as u64);
}

/// A slot that was somebody else's when the snapshot was taken: by the slot alone it would answer with his samples.
#[test]
fn a_snapshot_that_is_older_than_an_id_does_not_answer_with_who_had_its_slot() {
    for (engine, _dir) in engines() {
        let mut before = None;
        let (old, new) = with_an_evicted_one(&engine, |old| {
            engine.push(old, at(1), 1.0).unwrap();
            engine.probe(SOON).unwrap();
            before = Some(engine.snapshot());
            assert_eq!(before.as_ref().unwrap().last(old).unwrap().map(|last| last.value), Some(1.0));
        });
        let before = before.unwrap();
        assert_eq!(before.last(new).unwrap(), None, "it had no sample then");
        assert!(matches!(before.last(old), Err(LastError::StaleSeries)));
        let known = before.last_of(&[("__name__", "up"), ("host", "old")]).unwrap();
        assert_eq!(known.map(|last| last.value), Some(1.0), "by its labels it is there still");
    }
}

/// V10: each eviction left a whole registry, with all labels, to whoever held a snapshot over it.
#[test]
fn snapshots_held_over_evictions_keep_no_more_than_there_may_be_twice() {
    // Much to say of each series, or little: then it is the table that counts.
    for (long, most) in [(400, 1_000 + 8 * 64), (0, 1_000 + 8 * 64)] {
        let engine = Engine::in_memory_builder().series_idle(None).max_series(8).max_label_bytes(1_000).open().unwrap();
        let host = |n: usize| format!("{n}{}", "x".repeat(long));
        let bring = |n: usize| {
            let ack = engine.push(series(&engine, &host(n)), at(1), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
            engine.flush().unwrap();
            engine.snapshot()
        };
        let evicted = || evict(&engine.life().core, now(&engine), 1, SOON);
        let pinned = || engine.stats().pinned_label_bytes;
        let mut held = vec![];
        loop {
            held.push(bring(held.len()));
            match evicted() {
                Ok(1) => {
                    assert!(pinned() >= held.len() as u64 * 64 && held.len() < 40, "{} of {}", pinned(), held.len())
                }
                no => break assert_eq!(no, Err(NotEvicted::HeldBack)),
            }
        }
        assert!((most..most * 2).contains(&pinned()) && held.len() > 3, "{} of {}", pinned(), held.len());
        assert!(engine.knows(series(&engine, &host(held.len() - 1))));
        for (n, snapshot) in held.iter().enumerate() {
            assert_eq!(snapshot.select(&format!("up{{host=\"{}\"}}", host(n))).unwrap().count().unwrap(), [1]);
        }
        held.truncate(1);
        assert_eq!(evicted(), Ok(1), "there is room for another one");
        drop(held);
        until("nobody keeps one", || pinned() == 0);
        engine.close().unwrap();
    }
}
