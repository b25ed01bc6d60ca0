//! A whole engine in memory, all of its threads at once: for AddressSanitizer (`ci/asan.sh`) and as an ordinary test.
//!
//! Samples come by appenders, the common lane and batches, while snapshots are taken and held, memtables are flushed,
//! segments compacted, series evicted and deleted, and a subscriber receives it all.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use support::{Contents, SOON, at, contents, name, series};
use tidegauge::internals::evict_idle;
use tidegauge::{CommitError, Delivery, Engine, PushError, RecvError, SeriesId, TimeRange};

/// Who appends: each has two series at a time that get the same samples, and goes on to others now and then.
const PUSHERS: usize = 3;
/// Samples of each series.
const EACH: i64 = 400;
/// Pairs of series that each appender fills one after the other.
const PAIRS: usize = 12;
/// Its series is deleted again and again.
const JUNK: usize = 9_999;

fn host(pusher: usize, pair: usize, side: usize) -> usize {
    pusher * 1_000 + pair * 2 + side
}

/// Sample `n` of a series: each tenth comes late.
fn sample(n: i64) -> (i64, f64) {
    (if n % 10 == 9 { n * 10 - 55 } else { n * 10 }, n as f64)
}

/// Also when its thread panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `push` with a series that is known, however often it is evicted.
fn push_alive<T>(
    engine: &Engine,
    host: usize,
    id: &mut SeriesId,
    mut push: impl FnMut(SeriesId) -> Result<T, PushError>,
) {
    loop {
        match push(*id) {
            Ok(_) => return,
            Err(PushError::StaleSeries) => *id = series(engine, host),
            Err(e) => panic!("{e}"),
        }
    }
}

fn pusher(engine: &Engine, who: usize, done: &AtomicBool, evicted: &AtomicU64) {
    let mut appender = engine.appender().unwrap();
    for pair in 0..PAIRS {
        let hosts = [host(who, pair, 0), host(who, pair, 1)];
        let mut ids = hosts.map(|host| series(engine, host));
        for n in 0..EACH {
            let (time, value) = sample(n);
            for (side, id) in ids.iter_mut().enumerate() {
                push_alive(engine, hosts[side], id, |id| match who {
                    0 => engine.push(id, at(time), value),
                    _ => appender.push(id, at(time), value),
                });
            }
            if n % 50 == 0 {
                let mut junk = series(engine, JUNK);
                push_alive(engine, JUNK, &mut junk, |id| appender.push(id, at(n), 0.0));
            }
            if n % 8 == 0 {
                thread::yield_now();
            }
        }
        // What it leaves behind goes idle, and something goes before the last pair, however fast the pushes are.
        while pair + 2 == PAIRS && evicted.load(Ordering::Relaxed) == 0 && !done.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }
}

/// Both series of a pair get the same samples by one push each, a batch gives both at once: a beginning of what comes.
fn assert_beginning(all: &Contents, host: usize) -> usize {
    let Some(found) = all.get(&name(host)) else { return 0 };
    let mut expected: Vec<_> = (0..found.len() as i64).map(sample).map(|(t, value)| (t, value.to_bits())).collect();
    expected.sort_unstable();
    assert!(found.iter().map(|(&t, &bits)| (t, bits)).eq(expected), "{}: no beginning: {found:?}", name(host));
    found.len()
}

fn reader(engine: &Engine, done: &AtomicBool) {
    let mut least = vec![0; PUSHERS * PAIRS * 2];
    let mut held = (engine.snapshot(), Contents::new());
    held.1 = contents(&held.0);
    let mut look = 0;
    while !done.load(Ordering::Relaxed) {
        let snapshot = engine.snapshot();
        let all = contents(&snapshot);
        for (i, least) in least.iter_mut().enumerate() {
            let host = host(i / (PAIRS * 2), i / 2 % PAIRS, i % 2);
            let found = assert_beginning(&all, host);
            assert!(found >= *least, "{}: something went away", name(host));
            *least = found;
        }
        assert_eq!(contents(&held.0), held.1, "a snapshot does not change");
        look += 1;
        if look % 5 == 0 {
            held = (snapshot, all);
        }
    }
}

fn batches(engine: &Engine, done: &AtomicBool) {
    let mut n = 0;
    while !done.load(Ordering::Relaxed) {
        let (time, value) = sample(n);
        let mut batch = engine.batch();
        let mut push = |side| batch.push(series(engine, host(PUSHERS, 0, side)), at(time), value);
        match push(0).and_then(|()| push(1)).map(|()| batch.commit()) {
            Ok(Ok(_)) => n += 1,
            // Evicted meanwhile: once more, with the next id.
            Ok(Err(CommitError::StaleSeries)) | Err(PushError::StaleSeries) => {}
            other => panic!("{other:?}"),
        }
        let all = contents(&engine.snapshot());
        let found = [0, 1].map(|side| assert_beginning(&all, host(PUSHERS, 0, side)) as i64);
        assert_eq!(found, [n, n], "part of a batch");
    }
}

fn upkeep(engine: &Engine, done: &AtomicBool, evicted: &AtomicU64) {
    let _over = SetOnDrop(done);
    while !done.load(Ordering::Relaxed) {
        engine.flush().unwrap();
        evicted.fetch_add(evict_idle(engine) as u64, Ordering::Relaxed);
        engine.delete(&name(JUNK), TimeRange::ALL).unwrap();
        engine.compact().unwrap();
    }
}

#[test]
fn all_of_an_engines_threads_at_once_lose_nothing_and_tear_nothing() {
    let engine = Engine::in_memory_builder().series_idle(None).flush_bytes(1 << 18).open().unwrap();
    let (done, evicted) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut live = engine.subscribe(r#"cpu{host!="9999"}"#).unwrap();
    thread::scope(|scope| {
        let (engine, done, evicted) = (&engine, &done, &evicted);
        let _over = SetOnDrop(done);
        for _ in 0..2 {
            scope.spawn(|| reader(engine, done));
        }
        scope.spawn(|| batches(engine, done));
        scope.spawn(|| upkeep(engine, done, evicted));
        let pushers: Vec<_> = (0..PUSHERS).map(|who| scope.spawn(move || pusher(engine, who, done, evicted))).collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
    engine.probe(SOON).unwrap();
    let all = contents(&engine.snapshot());
    let of_pushers = (0..PUSHERS * PAIRS * 2).map(|i| host(i / (PAIRS * 2), i / 2 % PAIRS, i % 2));
    of_pushers.for_each(|host| assert_eq!(assert_beginning(&all, host), EACH as usize, "{}", name(host)));
    let stored: usize = all.iter().filter(|(series, _)| **series != name(JUNK)).map(|(_, samples)| samples.len()).sum();
    assert!(engine.stats().series_evicted > 0 && engine.stats().flushes > 0);
    engine.close().unwrap();
    let mut told = 0;
    loop {
        match live.recv(SOON) {
            Ok(Delivery::Commit { samples, .. }) => told += samples.len(),
            Ok(Delivery::Missed { samples, .. }) => told += samples as usize,
            Err(RecvError::Closed) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, stored, "what was delivered and what was told as missed add up");
}
