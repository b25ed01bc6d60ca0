//! Subscriptions: whole commits, in order, once visible; gaps are told.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{LANE, SOON, at, full_lanes, hold_up, series};
use tidegauge::{
    BackPressure, Batch, Delivery, Engine, Lag, RecvError, SeriesSample, SubscribeError, SubscribeOptions, Subscription,
};

/// Everything until `samples` of them came, or the subscription ends.
fn receive(live: &mut Subscription, samples: usize) -> Vec<SeriesSample> {
    let mut all = Vec::new();
    let mut behind = live.start();
    while all.len() < samples {
        match live.recv(SOON) {
            Ok(Delivery::Commit { first, end, samples }) => {
                assert!(first >= behind && end > first, "in order");
                assert!(!samples.is_empty());
                behind = end;
                all.extend(samples);
            }
            Err(RecvError::Closed) => break,
            other => panic!("{other:?}"),
        }
    }
    all
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "never");
        std::thread::yield_now();
    }
}

#[test]
fn a_subscription_delivers_what_it_selects_in_order_and_series_that_come_later() {
    let engine = Engine::in_memory().unwrap();
    let api = engine.series(&[("__name__", "up"), ("job", "api")]).unwrap();
    let db = engine.series(&[("__name__", "up"), ("job", "db")]).unwrap();
    let before = engine.push(api, at(0), 0.0).unwrap();
    engine.wait(before, tidegauge::Level::Visible, SOON).unwrap();
    let mut live = engine.subscribe(r#"{job="api"}"#).unwrap();
    assert!(live.start() >= engine.snapshot().watermark());
    let mut appender = engine.appender().unwrap();
    let mut expected = Vec::new();
    for t in 1..=3000_i64 {
        // Late ones too: a subscription has the order of acceptance, not of time.
        let when = if t % 5 == 0 { t - 4 } else { t };
        let new = engine.series(&[("__name__", "down"), ("job", "api"), ("n", &(t / 100).to_string())]).unwrap();
        let batch = [
            SeriesSample::new(api, at(when), t as f64),
            SeriesSample::new(db, at(t), 0.0),
            SeriesSample::new(new, at(t), 1.0),
        ];
        appender.push_batch(&batch).unwrap();
        expected.extend([batch[0], batch[2]]);
    }
    let got = receive(&mut live, expected.len());
    assert_eq!(got, expected);
    assert_eq!(live.labels(got[0].series()).unwrap().get("job"), Some("api"));
    assert_eq!(live.try_recv(), Ok(None));
    let timeout = Duration::from_millis(1);
    assert_eq!(live.recv(timeout), Err(RecvError::Timeout { waited: timeout }));
}

/// Snapshot and subscription fit together without a gap or a repeat: the number says where the one ends.
#[test]
fn a_snapshot_and_a_subscription_make_a_whole() {
    let engine = Engine::in_memory_builder().flush_bytes(1 << 16).open().unwrap();
    let id = series(&engine, 1);
    const ALL: i64 = 40_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
            for t in 0..ALL {
                appender.push(id, at(t), t as f64).unwrap();
            }
        });
        let mut live = engine.subscribe(r#"{__name__="cpu"}"#).unwrap();
        until(|| engine.stats().samples > ALL as u64 / 4);
        let snapshot = engine.snapshot();
        let old = support::contents(&snapshot).remove(&support::name(1)).unwrap();
        engine.flush().unwrap();
        let mut all: Vec<i64> = old.keys().copied().collect();
        while all.len() < ALL as usize {
            let Ok(Delivery::Commit { first, end, samples }) = live.recv(SOON) else { panic!("missed") };
            assert!(first >= snapshot.watermark() || end <= snapshot.watermark(), "a commit is in a snapshot or not");
            if first >= snapshot.watermark() {
                all.extend(samples.iter().map(|s| s.timestamp().nanos()));
            }
        }
        assert!(all.iter().copied().eq(0..ALL));
    });
    assert!(engine.stats().flushes > 0, "it lived through flushes");
}

/// Flushes, compactions and deletes change where samples lie and what is shown, and nothing of what is delivered.
#[test]
fn a_subscription_survives_flush_compaction_and_deletes() {
    let engine = Engine::in_memory_builder().open().unwrap();
    let (id, other) = (series(&engine, 1), series(&engine, 2));
    let mut live = engine.subscribe(r#"{host="1"}"#).unwrap();
    for round in 0..12 {
        // Each third one is late, and each round overlaps with the one before.
        let when = |i: i64| round * 200 + if i % 3 == 2 { i - 2 } else { i };
        let of = |id| (0..300).map(move |i| SeriesSample::new(id, at(when(i)), (round * 300 + i) as f64));
        let pushed: Vec<_> = of(id).collect();
        let all: Vec<_> = of(other).chain(pushed.iter().copied()).collect();
        let ack = engine.push_batch(&all).unwrap();
        engine.wait(ack, tidegauge::Level::Visible, SOON).unwrap();
        engine.flush().unwrap();
        if round % 3 == 2 {
            engine.compact().unwrap();
        }
        if round % 5 == 4 {
            engine.delete(r#"{host="1"}"#, tidegauge::TimeRange::ALL).unwrap();
        }
        assert_eq!(receive(&mut live, 300), pushed, "round {round}");
    }
    assert_eq!(live.try_recv(), Ok(None), "nothing twice");
    let stats = engine.stats();
    assert!(stats.compactions > 0 && stats.flushes >= 12, "{} compactions", stats.compactions);
    drop(live);
    until(|| engine.stats().subscriptions == 0);
}

#[test]
fn what_is_delivered_is_visible() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut appender = engine.appender().unwrap();
            for t in 0..300 {
                appender.push(id, at(t), 0.0).unwrap();
                std::thread::yield_now();
            }
        });
        let mut got = 0;
        while got < 300 {
            let Ok(Delivery::Commit { end, samples, .. }) = live.recv(SOON) else { panic!("missed") };
            let snapshot = engine.snapshot();
            got += samples.len();
            assert!(snapshot.watermark() >= end);
            assert!(support::contents(&snapshot)[&support::name(1)].len() >= got);
        }
    });
}

/// A ring of 64 against 20,000 samples: what came and what is told as missed add up, gap by gap.
#[test]
fn a_slow_reader_is_told_exactly_how_much_he_missed() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let options = SubscribeOptions { samples: 64, lag: Lag::Miss };
    let mut live = engine.subscribe_with("cpu", options).unwrap();
    let mut appender = engine.appender().unwrap();
    const ALL: u64 = 20_000;
    for t in 0..ALL as i64 {
        appender.push(id, at(t), t as f64).unwrap();
        if t % 50 == 0 {
            std::thread::yield_now();
        }
    }
    until(|| engine.stats().samples == ALL);
    let (mut next, mut missed_in_all) = (0, 0);
    while next < ALL {
        match live.recv(SOON).unwrap() {
            Delivery::Commit { samples, .. } => {
                for sample in samples {
                    assert_eq!(sample.timestamp(), at(next as i64), "nothing is missing here");
                    next += 1;
                }
            }
            Delivery::Missed { commits, samples } => {
                assert!(commits >= 1 && samples >= commits);
                next += samples;
                missed_in_all += samples;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, ALL);
    assert!(missed_in_all > 0, "20,000 samples do not fit into 64");
    assert_eq!(engine.stats().subscription_missed_samples, missed_in_all);
}

/// By choice the worker is held up instead, for a time; then the reader misses after all.
#[test]
fn a_reader_that_is_held_for_misses_nothing_until_the_time_is_out() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let options = SubscribeOptions { samples: 64, lag: Lag::Hold(SOON) };
    let mut live = engine.subscribe_with("cpu", options).unwrap();
    let mut appender = engine.appender().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for t in 0..2000 {
                // One at a time, so that every commit fits into the ring.
                let ack = appender.push(id, at(t), 0.0).unwrap();
                engine.wait(ack, tidegauge::Level::Visible, SOON).unwrap();
            }
        });
        let got = receive(&mut live, 2000);
        assert!(got.iter().map(|s| s.timestamp().nanos()).eq(0..2000));
    });
    drop(live);

    let options = SubscribeOptions { samples: 4, lag: Lag::Hold(Duration::from_millis(5)) };
    let mut idle = engine.subscribe_with("cpu", options).unwrap();
    for t in 0..50 {
        let ack = engine.push(id, at(3000 + t), 0.0).unwrap();
        engine.wait(ack, tidegauge::Level::Visible, SOON).unwrap();
    }
    let (mut got, mut missed) = (0, 0);
    while got + missed < 50 {
        match idle.recv(SOON).unwrap() {
            Delivery::Commit { samples, .. } => got += samples.len() as u64,
            Delivery::Missed { samples, .. } => missed += samples,
            other => panic!("{other:?}"),
        }
    }
    // Two fit; the last one may have come while this reader was already taking.
    assert!(got + missed == 50 && (2..=3).contains(&got), "{got} came, {missed} were missed");
}

/// A commit that never fits is missed, and no reason not to wait for the reader with the next one.
#[test]
fn a_reader_who_missed_what_never_fits_is_held_for_as_before() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let options = SubscribeOptions { samples: 8, lag: Lag::Hold(SOON) };
    let mut live = engine.subscribe_with("cpu", options).unwrap();
    for (first, samples) in [(0, 6), (100, 20), (200, 6)] {
        let mut batch = engine.batch();
        (first..first + samples).for_each(|t| batch.push(id, at(t), 0.0).unwrap());
        batch.commit().unwrap();
    }
    until(|| engine.stats().subscription_holds == 1);
    assert!(matches!(live.recv(SOON), Ok(Delivery::Commit { samples, .. }) if samples.len() == 6));
    assert_eq!(live.recv(SOON), Ok(Delivery::Missed { commits: 1, samples: 20 }));
    assert!(matches!(live.recv(SOON), Ok(Delivery::Commit { samples, .. }) if samples.len() == 6));
}

/// A round took all that lay in the lanes, however many: half a second of log and memtable before anything was synced,
/// and a commit that no subscription had room for.
#[test]
fn a_commit_is_bounded_however_many_lanes_are_full() {
    let engine = Engine::in_memory().unwrap();
    const LANES: usize = 6;
    let options = SubscribeOptions { samples: 1 << 20, lag: Lag::Hold(SOON) };
    let mut live = engine.subscribe_with("cpu", options).unwrap();
    let held_up = hold_up(&engine);
    let _appenders = full_lanes(&engine, LANES);
    drop(held_up);
    let mut left = LANES * LANE;
    while left > 0 {
        let Ok(Delivery::Commit { first, end, samples }) = live.recv(SOON) else { panic!("{left} are missing") };
        assert!(end.0 - first.0 <= LANE as u64, "{} in a commit", end.0 - first.0);
        left -= samples.len();
    }
}

/// Three appenders filled their lanes while the worker was busy: their samples came as one commit, which never fits, and
/// were missed by a reader who takes all that there is, and is waited for.
#[test]
fn a_reader_who_takes_all_there_is_misses_nothing_of_lanes_that_filled_up() {
    let engine = Engine::in_memory().unwrap();
    let options = SubscribeOptions { lag: Lag::Hold(SOON), ..SubscribeOptions::default() };
    let mut live = engine.subscribe_with("cpu", options).unwrap();
    let held_up = hold_up(&engine);
    let _appenders = full_lanes(&engine, 3);
    drop(held_up);
    // Told of anything missed, it fails.
    assert_eq!(receive(&mut live, 3 * LANE).len(), 3 * LANE);
}

#[test]
fn the_largest_batch_fits_into_a_subscription_as_it_is_by_default() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    let mut batch = engine.batch();
    let all: Vec<_> = (0..Batch::SAMPLES_MAX as i64).map(|t| SeriesSample::new(id, at(t), 0.0)).collect();
    batch.push_batch(&all).unwrap();
    batch.commit().unwrap();
    let Ok(Delivery::Commit { samples, .. }) = live.recv(SOON) else { panic!("missed") };
    assert_eq!(samples, all);
}

#[test]
fn a_batch_is_delivered_whole_as_one_commit() {
    let engine = Engine::in_memory().unwrap();
    let ids: Vec<_> = (0..20).map(|host| series(&engine, host)).collect();
    let mut live = engine.subscribe(r#"{host=~"1.*"}"#).unwrap();
    for t in 0..10 {
        let mut batch = engine.batch();
        ids.iter().for_each(|&id| batch.push(id, at(t), 0.0).unwrap());
        let committed = batch.commit().unwrap();
        let Ok(Delivery::Commit { first, end, samples }) = live.recv(SOON) else { panic!() };
        assert_eq!((first, end.0), (committed.first(), committed.last().unwrap().0 + 1));
        assert_eq!(samples.len(), 11);
    }
}

#[test]
fn unsubscribing_leaves_nothing_and_the_number_is_bounded() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    for _ in 0..3 {
        let mut all = Vec::new();
        let refused = loop {
            match engine.subscribe("cpu") {
                Ok(live) => all.push(live),
                Err(e) => break e,
            }
        };
        assert!(matches!(refused, SubscribeError::TooMany { limit: 64 }), "{refused}");
        assert_eq!(engine.stats().subscriptions, 64);
        let ack = engine.push(id, at(1), 0.0).unwrap();
        engine.wait(ack, tidegauge::Level::Visible, SOON).unwrap();
        assert!(all.iter_mut().all(|live| matches!(live.recv(SOON), Ok(Delivery::Commit { .. }))));
        // Without a commit in between: the worker notices by itself.
        drop(all);
        until(|| engine.stats().subscriptions == 0);
    }
}

#[test]
fn a_subscription_ends_with_its_engine_after_what_was_accepted() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    let mut appender = engine.appender().unwrap();
    for t in 0..100 {
        appender.push(id, at(t), 0.0).unwrap();
    }
    let kept = engine.clone();
    let reader = std::thread::spawn(move || receive(&mut live, usize::MAX).len());
    engine.close().unwrap();
    assert_eq!(reader.join().unwrap(), 100);
    assert!(matches!(kept.subscribe("cpu"), Err(SubscribeError::Closed)));
    assert!(matches!(kept.subscribe("cpu{"), Err(SubscribeError::Parse(_))));
}

/// A task that polls is woken.
#[test]
fn a_polled_subscription_wakes_its_task() {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::{Context, Poll, Wake, Waker};
    struct Tell(std::sync::Mutex<Sender<()>>);
    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().send(());
        }
    }
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    let (tell, told) = channel();
    let waker = Waker::from(Arc::new(Tell(std::sync::Mutex::new(tell))));
    let mut context = Context::from_waker(&waker);
    assert!(live.poll_recv(&mut context).is_pending());
    engine.push(id, at(1), 4.0).unwrap();
    told.recv_timeout(SOON).unwrap();
    let Poll::Ready(Ok(Delivery::Commit { samples, .. })) = live.poll_recv(&mut context) else { panic!() };
    assert_eq!(samples, [SeriesSample::new(id, at(1), 4.0)]);
}

/// Many subscriptions with their own selectors each get theirs, and no others.
#[test]
fn each_of_many_subscriptions_gets_its_own() {
    let engine = Engine::in_memory().unwrap();
    let ids: Vec<_> = (0..30).map(|host| series(&engine, host)).collect();
    let mut live: Vec<_> = (0..30).map(|host| engine.subscribe(&format!(r#"{{host="{host}"}}"#)).unwrap()).collect();
    // One leaves: the others' places move.
    drop(live.remove(7));
    until(|| engine.stats().subscriptions == 29);
    let mut appender = engine.appender().unwrap();
    for t in 0..100 {
        let batch: Vec<_> = ids.iter().map(|&id| SeriesSample::new(id, at(t), 0.0)).collect();
        appender.push_batch(&batch).unwrap();
    }
    let mut counts = BTreeMap::new();
    for (i, live) in live.iter_mut().enumerate() {
        let got = receive(live, 100);
        let host = if i < 7 { i } else { i + 1 };
        assert!(got.iter().all(|s| s.series() == ids[host]));
        counts.insert(host, got.len());
    }
    assert!(counts.values().all(|&n| n == 100));
}
