//! Each wait that has a bound is counted when it comes to it (`docs/concurrency.md`, "Waits with a bound").

use std::time::{Duration, Instant};

use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{TimeRange, Timestamp};

use crate::batch::{Expect, Found};
use crate::engine::Engine;
use crate::error::{CommitError, DeleteError, ProbeError, PushError, WaitError};
use crate::evict::{IdleSince, evict};
use crate::ingest::Request;
use crate::options::Level;
use crate::registry::SeriesId;
use crate::requests::{Replier, reply};
use crate::ring::BackPressure;
use crate::subscribe::{Lag, SubscribeError, SubscribeOptions, Subscription, subscribe_within};

const SOON: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(1);

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// An engine whose worker stands still until the subscription is dropped.
fn standing_still() -> (Engine, SeriesId, Subscription) {
    let engine = Engine::in_memory_builder().lane_samples(8).open().unwrap();
    let (id, live) = stand_still(&engine);
    (engine, id, live)
}

/// The worker stands still until the subscription is dropped: its reader takes nothing, and is waited for.
pub(crate) fn stand_still(engine: &Engine) -> (SeriesId, Subscription) {
    let id = engine.series(&[("__name__", "cpu")]).unwrap();
    let options = SubscribeOptions { samples: 2, lag: Lag::Hold(SOON) };
    let live = engine.subscribe_with("cpu", options).unwrap();
    for t in 0..2 {
        let ack = engine.push(id, at(t), 0.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    let began = Instant::now();
    while engine.stats().subscription_holds == 0 {
        assert!(began.elapsed() < SOON, "it goes on");
        std::thread::yield_now();
    }
    (id, live)
}

fn probe_of(replier: Replier<()>) -> Request {
    Request::Probe { settles: false, replier }
}

/// What timed out is counted, once.
fn counted<T>(engine: &Engine, what: &str, wait: impl FnOnce() -> T) -> T {
    let before = engine.stats().wait_timeouts;
    let answer = wait();
    assert_eq!(engine.stats().wait_timeouts - before, 1, "{what}");
    answer
}

#[test]
fn every_wait_that_reaches_its_bound_is_counted() {
    let (engine, id, live) = standing_still();
    let core = &engine.life().core;

    let mut appender = engine.appender_with(BackPressure::Block(SHORT)).unwrap();
    let acks: Vec<_> = (0..8).map(|t| appender.push(id, at(t), 0.0).unwrap()).collect();
    let pushed = counted(&engine, "a push", || appender.push(id, at(9), 0.0));
    assert_eq!(pushed, Err(PushError::Timeout { waited: SHORT }));
    let waited = counted(&engine, "for a push", || engine.wait(acks[0], Level::Visible, SHORT));
    assert_eq!(waited, Err(WaitError::Timeout { waited: SHORT }));
    let probe = || assert_eq!(engine.probe(SHORT), Err(ProbeError::Timeout { waited: SHORT }));
    let commit = || {
        let mut batch = engine.batch();
        batch.push(id, at(10), 0.0).unwrap();
        assert!(matches!(batch.commit_within(SHORT), Err(CommitError::Timeout { waited: SHORT })));
    };
    let delete = || {
        let deleted = engine.life().delete_within("cpu", TimeRange::ALL, SHORT);
        assert!(matches!(deleted, Err(DeleteError::Busy)), "{deleted:?}");
    };
    engine.series(&[("__name__", "idle")]).unwrap();
    let idle = IdleSince { seq: u64::MAX, look: core.heads.next_look() };
    let leave = || assert!(evict(core, idle, 1, SHORT).is_err());
    // Taken too late.
    counted(&engine, "a probe", probe);
    counted(&engine, "a batch", commit);
    counted(&engine, "a delete", delete);
    counted(&engine, "an eviction", leave);
    let subscribe = || {
        let subscribed = subscribe_within(core, "cpu", SubscribeOptions::default(), SHORT);
        assert!(matches!(subscribed, Err(SubscribeError::Timeout)));
    };
    counted(&engine, "a subscription", subscribe);
    // No room to ask.
    let (replier, _answer) = reply();
    let filling = core.requests.ask(probe_of(replier), Request::WEIGHT_MAX + Request::LIGHT_MAX, SHORT).unwrap();
    counted(&engine, "a probe that finds no room", probe);
    counted(&engine, "a batch that finds no room", commit);
    counted(&engine, "a delete that finds no room", delete);
    counted(&engine, "an eviction that finds no room", leave);
    counted(&engine, "a subscription that finds no room", subscribe);
    assert!(core.requests.withdraw(filling).is_some());

    // Who left is not waited for, and what was given up has left nothing behind.
    let before = engine.stats();
    drop(live);
    engine.wait(acks[7], Level::Visible, SOON).unwrap();
    engine.probe(SOON).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.wait_timeouts, stats.samples), (before.wait_timeouts, 10));
    assert_eq!((stats.subscription_holds, stats.subscription_hold_timeouts), (1, 0));
}

/// The bound of a commit is one for all it waits for: room to ask, then the answer.
#[test]
fn a_commit_with_a_bound_takes_no_longer_in_all() {
    const BOUND: Duration = Duration::from_secs(2);
    let (engine, id, live) = standing_still();
    let core = &engine.life().core;
    let (replier, _answer) = reply();
    let filling = core.requests.ask(probe_of(replier), Request::WEIGHT_MAX + Request::LIGHT_MAX, SHORT).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        // Most of the time it finds no room.
        scope.spawn(|| {
            while began.elapsed() < BOUND.mul_f32(0.8) {
                std::thread::yield_now();
            }
            assert!(core.requests.withdraw(filling).is_some());
        });
        let mut batch = engine.batch();
        batch.push(id, at(10), 0.0).unwrap();
        let committed = counted(&engine, "a batch", || batch.commit_within(BOUND));
        assert!(matches!(committed, Err(CommitError::Timeout { waited: BOUND })), "{committed:?}");
    });
    // A bound for each of both would end 1.8 of it after the beginning.
    assert!((BOUND..BOUND.mul_f32(1.75)).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(live);
}

/// A sample that retention hides as it comes is accepted between the look and the verdict: nothing is changed, and the
/// next look tells. The last one does not repeat.
#[test]
fn a_condition_is_looked_at_again_up_to_a_bound() {
    for looks in [1, 2] {
        let (engine, id, live) = standing_still();
        let core = &engine.life().core;
        let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
        engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
        // For a probe the worker goes round, and takes this.
        engine.push(id, at(2), 0.0).unwrap();
        let (replier, mut sign) = reply();
        core.ask(probe_of(replier), Request::WEIGHT_MAX / 2, SOON).unwrap();
        let committed = std::thread::scope(|scope| {
            let commit = scope.spawn(|| {
                let mut batch = engine.batch();
                batch.expect_last(id, Expect::Nothing);
                batch.commit_for(Some(SOON), looks)
            });
            // Until there is no room for as much again: the batch is asked, too.
            let as_much = || core.requests.ask(probe_of(reply().0), Request::WEIGHT_MAX / 2, Duration::ZERO);
            while let Ok(asked) = as_much() {
                drop(core.requests.withdraw(asked));
            }
            drop(live);
            commit.join().unwrap()
        });
        sign.wait(Some(SOON)).unwrap();
        match committed {
            Ok(_) => assert_eq!(looks, 2),
            Err(CommitError::Conflict { found: Found::Seq(seq), .. }) => assert_eq!((looks, seq.0), (1, 3)),
            Err(e) => panic!("{e}"),
        }
    }
}

/// The time that a subscriber asks for is over: counted, and he is not waited for again.
#[test]
fn a_hold_for_a_subscriber_that_ends_in_vain_is_counted() {
    let engine = Engine::in_memory().unwrap();
    let id = engine.series(&[("__name__", "cpu")]).unwrap();
    for (lag, holds) in [(Lag::Hold(SHORT), 1), (Lag::Hold(Duration::ZERO), 1), (Lag::Miss, 1)] {
        let live = engine.subscribe_with("cpu", SubscribeOptions { samples: 2, lag }).unwrap();
        for t in 0..4 {
            let ack = engine.push(id, at(t), 0.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
        }
        engine.probe(SOON).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.subscription_holds, stats.subscription_hold_timeouts), (holds, holds), "{lag:?}");
        let missed = stats.subscription_missed_samples;
        drop(live);
        assert!(missed >= 2, "{missed}");
    }
    assert_eq!(engine.stats().wait_timeouts, 0, "nobody else waited in vain");
}
