//! What is asked comes behind what its thread pushed (Q5), and before what has to wait (Q1).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{TimeRange, Timestamp};

use crate::batch::Expect;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::CommitError;
use crate::faults::{SOON, contents, series};
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;
use crate::timeouts::stand_still;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(SOON, what, done);
}

fn until_within(bound: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < bound, "{what}");
        thread::yield_now();
    }
}

/// In memory; nothing is brought to segments before `held` says so.
fn slow_flushes(held: &Arc<AtomicBool>) -> Engine {
    let held = Arc::clone(held);
    let hook = move |when: When, call: Call, path: &Path| {
        if (when, call) == (When::Before, Call::Create) && path.components().any(|part| part.as_os_str() == "segments")
        {
            // Longer than all that may wait meanwhile where a test fails.
            until_within(10 * SOON, "flushes go on", || !held.load(Ordering::Acquire));
        }
    };
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.fs = Some(Hooked::around(&SimFs::new(), hook));
    builder.flush_bytes(1 << 16).open().unwrap()
}

/// Until the worker takes nothing more.
fn fill_memory(engine: &Engine) {
    let (core, id, mut next) = (&engine.life().core, series(engine, 1), 0);
    until("memory is full", || {
        next += 100;
        let some: Vec<_> = (next - 100..next).map(|t| SeriesSample::new(id, at(t), (t as f64).sqrt())).collect();
        let ack = engine.push_batch(&some).unwrap();
        engine.wait(ack, Level::Visible, Duration::from_millis(1)).is_err() && core.is_held_back()
    });
}

/// Behind a claim of the common lane that was not finished lay what the thread had pushed; it was answered at the end of a
/// sweep all the same, which such a claim ends.
#[test]
fn what_was_pushed_through_the_common_lane_before_a_probe_is_visible_behind_it() {
    let engine = Engine::in_memory().unwrap();
    let (first, own) = (series(&engine, 1), series(&engine, 2));
    let core = &engine.life().core;
    std::thread::scope(|scope| {
        let mut asked = None;
        engine.life().common.push_slice_amid(&[SeriesSample::new(first, at(1), 1.0)], || {
            let ask = || {
                engine.push(own, at(1), 1.0).unwrap();
                engine.probe(SOON).unwrap();
                engine.last(own).unwrap()
            };
            let asking = scope.spawn(ask);
            until("it is asked", || core.requests.is_waiting() || asking.is_finished());
            let enough = core.rounds() + 50;
            until("the worker goes round", || core.rounds() >= enough);
            asked = Some(asking);
        });
        let last = asked.unwrap().join().unwrap();
        assert_eq!(last.map(|last| last.timestamp), Some(at(1)));
    });
}

/// The worker was amid a round, which had looked at the lane before: a delete took a number below what its thread had
/// pushed, a batch was judged without, and a flush left it in memory.
#[test]
fn what_was_pushed_before_a_request_is_ordered_before_it() {
    type Ask = fn(&Engine);
    let asks: [(&str, Ask); 4] = [
        ("a delete", |engine| {
            engine.delete("cpu{host=\"7\"}", TimeRange::ALL).unwrap();
            assert!(contents(engine).keys().all(|(labels, _)| !labels.contains('7')));
        }),
        ("a batch", |engine| {
            let mut batch = engine.batch();
            batch.expect_last(series(engine, 7), Expect::Nothing);
            assert!(matches!(batch.commit(), Err(CommitError::Conflict { .. })));
        }),
        ("a batch on the newest timestamp", |engine| {
            let mut batch = engine.batch();
            batch.expect_last(series(engine, 7), at(1));
            batch.commit().expect("that is what was pushed");
        }),
        ("a flush", |engine| {
            engine.flush().unwrap();
            let left = engine.life().core.versions.load().active.samples();
            assert_eq!(left, 0);
        }),
    ];
    for (what, ask) in asks {
        let builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
        let engine = builder.open().unwrap();
        let id = series(&engine, 7);
        let (_, standing) = stand_still(&engine);
        engine.push(id, at(1), 1.0).unwrap();
        let core = &engine.life().core;
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&engine));
            until(what, || {
                core.requests.is_waiting() || asking.is_finished() || core.flush_wanted.load(Ordering::Acquire) > 0
            });
            drop(standing);
            asking.join().expect(what);
        });
    }
}

/// A batch waited for memory, and behind it who only asked whether the worker goes round: a readiness probe failed while
/// a flush was slow.
#[test]
fn a_batch_that_waits_for_memory_holds_up_nobody_who_need_not_wait() {
    let held = Arc::new(AtomicBool::new(true));
    let engine = slow_flushes(&held);
    let (core, id) = (&engine.life().core, series(&engine, 1));
    fill_memory(&engine);
    std::thread::scope(|scope| {
        let mut batch = engine.batch();
        batch.push(id, at(-1), 1.0).unwrap();
        let committing = scope.spawn(|| batch.commit());
        until("it is asked", || core.requests.is_waiting());
        let probed = engine.probe(SOON);
        let subscribed = engine.subscribe("cpu").map(drop);
        let deleted = engine.delete("cpu{host=\"2\"}", TimeRange::ALL);
        let waits = core.is_held_back() && !committing.is_finished();
        held.store(false, Ordering::Release);
        committing.join().unwrap().unwrap();
        assert!(waits, "memory is full, and the batch waits");
        assert!(probed.is_ok() && subscribed.is_ok() && deleted.is_ok(), "{probed:?} {subscribed:?} {deleted:?}");
    });
}

/// What its thread had pushed was not visible within the bound, and passed for not being there: a conflict with nobody.
#[test]
fn a_condition_on_what_waits_for_memory_is_no_conflict() {
    let held = Arc::new(AtomicBool::new(true));
    let engine = slow_flushes(&held);
    let id = series(&engine, 3);
    fill_memory(&engine);
    engine.push(id, at(1), 1.0).unwrap();
    let batch = || {
        let mut batch = engine.batch();
        batch.expect_last(id, at(1));
        batch
    };
    let early = batch().commit_within(Duration::from_millis(20));
    held.store(false, Ordering::Release);
    assert!(matches!(early, Err(CommitError::Timeout { .. })), "{early:?}");
    batch().commit().unwrap();
}

/// At the close all that lay in lanes went to memory at once, however slow flushes were: as much again as lanes may take.
#[test]
fn a_close_waits_for_memory_as_pushes_do() {
    let held = Arc::new(AtomicBool::new(true));
    let engine = slow_flushes(&held);
    let (core, id) = (&engine.life().core, series(&engine, 2));
    fill_memory(&engine);
    let mut appender = engine.appender().unwrap();
    let all: Vec<_> =
        (0..appender.capacity() as i64).map(|t| SeriesSample::new(id, at(t), (t as f64).sqrt())).collect();
    appender.push_batch(&all).unwrap();
    let kept = engine.clone();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| engine.clone().close());
        until("it closes", || core.is_stopping());
        let in_lanes = || core.rings.stats().lanes.iter().map(|lane| lane.depth).sum::<u64>();
        let enough = core.rounds() + 50;
        until("the worker goes round, or took all", || core.rounds() >= enough || in_lanes() == 0);
        let in_lanes = in_lanes();
        held.store(false, Ordering::Release);
        closing.join().unwrap().unwrap();
        assert!(in_lanes >= all.len() as u64, "{in_lanes} are left");
    });
    let last = kept
        .snapshot()
        .select("cpu{host=\"2\"}")
        .unwrap()
        .iter()
        .map(|s| s.read().unwrap().timestamps.len())
        .sum::<usize>();
    assert_eq!(last, all.len());
}

/// What lay behind a claim that was not finished was left there by a close, and told as not taken.
#[test]
fn a_close_waits_for_who_is_amid_a_push_through_the_common_lane() {
    let engine = Engine::in_memory().unwrap();
    let (first, own) = (series(&engine, 1), series(&engine, 2));
    let core = &engine.life().core;
    std::thread::scope(|scope| {
        let mut closing = None;
        engine.life().common.push_slice_amid(&[SeriesSample::new(first, at(1), 1.0)], || {
            engine.push(own, at(1), 1.0).unwrap();
            let close = scope.spawn(|| engine.clone().close());
            until("it closes", || core.is_stopping());
            let enough = core.rounds() + 50;
            until("the worker goes round, or is done", || core.rounds() >= enough || close.is_finished());
            closing = Some(close);
        });
        closing.unwrap().join().unwrap().expect("all was taken");
    });
    assert_eq!(contents(&engine).len(), 2);
}
