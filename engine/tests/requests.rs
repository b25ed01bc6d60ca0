//! What is asked of the worker: a sign of life.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{SOON, at, full_lanes, hold_up, series};
use tidegauge::{BackPressure, Engine, ProbeError, SeriesSample};

#[test]
fn a_probe_is_answered_by_a_living_engine_and_refused_by_a_closed_one() {
    let engine = Engine::in_memory().unwrap();
    engine.probe(SOON).unwrap();
    let kept = engine.clone();
    engine.close().unwrap();
    assert_eq!(kept.probe(SOON), Err(ProbeError::Closed));
}

#[test]
fn a_probe_of_a_read_only_engine_says_so() {
    let dir = tempfile::tempdir().unwrap();
    Engine::open(dir.path()).unwrap().close().unwrap();
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    assert_eq!(reader.probe(SOON), Err(ProbeError::ReadOnly));
}

#[test]
fn what_was_pushed_before_a_probe_is_visible_behind_it() {
    let engine = Engine::in_memory().unwrap();
    let (id, others) = (series(&engine, 1), series(&engine, 2));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Rounds that take a while: in one of them the next push and its probe arrive.
        scope.spawn(|| {
            let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
            for t in (0..).take_while(|_| !done.load(Ordering::Acquire)) {
                let batch: Vec<_> = (0..1000).map(|i| SeriesSample::new(others, at(t * 1000 + i), 1.0)).collect();
                appender.push_batch(&batch).unwrap();
            }
        });
        let hidden = (0..500).find(|&t| {
            let asked = engine.push(id, at(t), t as f64).is_ok() && engine.probe(SOON).is_ok();
            let last = engine.last(id).ok().flatten();
            !asked || last.is_none_or(|last| last.timestamp != at(t))
        });
        done.store(true, Ordering::Release);
        assert_eq!(hidden, None);
    });
}

/// A round has no room for all of them: the lane of who asks is taken in a later one.
#[test]
fn what_was_pushed_before_a_probe_is_visible_behind_it_however_many_lanes_are_full() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 9);
    let held_up = hold_up(&engine);
    let _appenders = full_lanes(&engine, 4);
    engine.push(id, at(1), 1.0).unwrap();
    std::thread::scope(|scope| {
        let last = scope.spawn(|| {
            engine.probe(SOON).unwrap();
            engine.last(id).unwrap()
        });
        drop(held_up);
        assert_eq!(last.join().unwrap().map(|last| last.timestamp), Some(at(1)));
    });
}

/// Many ask while others push: each is answered, and what is asked does not hold the lanes up.
#[test]
fn probes_from_many_threads_are_all_answered_under_load() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| engine.probe(SOON).unwrap()));
        }
        scope.spawn(|| {
            let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
            for t in 0..200 {
                let batch: Vec<_> = (0..1000).map(|i| SeriesSample::new(id, at(t * 1000 + i), 1.0)).collect();
                appender.push_batch(&batch).unwrap();
            }
        });
    });
    assert!(engine.stats().samples <= 200_000);
    // Who has no time to wait is told at once: that, or the answer of a worker who was quicker.
    let at_once = engine.probe(Duration::ZERO);
    assert!(matches!(at_once, Ok(()) | Err(ProbeError::Timeout { waited: Duration::ZERO })), "{at_once:?}");
}
