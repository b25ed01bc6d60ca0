//! What the engine notices of itself: P7's pins, a stalled worker, hot series.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use support::{SOON, at, series};
use tidegauge::{BackPressure, Delivery, Engine, Level, ProbeError, SubscribeOptions, Warning};

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "never");
        std::thread::yield_now();
    }
}

/// A waker that blocks whoever wakes, which is the worker.
struct Blocks {
    entered: Mutex<Sender<()>>,
    released: Mutex<Receiver<()>>,
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        let _ = self.entered.lock().unwrap().send(());
        let _ = self.released.lock().unwrap().recv_timeout(SOON);
    }
}

#[test]
fn p7_a_stalled_worker_is_reported_while_it_lasts() {
    let (told, warnings) = channel();
    let told = Mutex::new(told);
    let engine = Engine::in_memory_builder()
        .stall_warn_after(Duration::from_millis(40))
        .on_warning(move |warning| drop(told.lock().unwrap().send(warning.clone())))
        .open()
        .unwrap();
    let id = series(&engine, 1);
    let (entered, has_entered) = channel();
    let (release, released) = channel();
    let waker = Waker::from(Arc::new(Blocks { entered: Mutex::new(entered), released: Mutex::new(released) }));
    let ack = engine.push(id, at(1), 1.0).unwrap();
    let mut waiting = Box::pin(engine.wait_async(ack, Level::Visible));
    while waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        // Visible already: the next one, before the worker comes round.
        let ack = engine.push(id, at(2), 1.0).unwrap();
        waiting = Box::pin(engine.wait_async(ack, Level::Visible));
    }
    has_entered.recv_timeout(SOON).unwrap();
    until(|| engine.stats().worker_stalled);
    assert!(matches!(warnings.recv_timeout(SOON), Ok(Warning::WorkerStalled { .. })));
    let timeout = Duration::from_millis(5);
    assert_eq!(engine.probe(timeout), Err(ProbeError::Timeout { waited: timeout }));
    release.send(()).unwrap();
    until(|| !engine.stats().worker_stalled);
    engine.probe(SOON).unwrap();
    let stats = engine.stats();
    assert!(stats.worker_stalls >= 1 && stats.warnings >= 1, "{stats:?}");
}

#[test]
fn p7_pins_are_in_the_statistics_and_an_old_one_brings_one_warning() {
    let (told, warnings) = channel();
    let told = Mutex::new(told);
    let engine = Engine::in_memory_builder()
        .snapshot_warn_after(Duration::from_millis(20))
        .on_warning(move |warning| drop(told.lock().unwrap().send(warning.clone())))
        .open()
        .unwrap();
    assert_eq!((engine.stats().snapshots, engine.stats().oldest_snapshot_nanos), (0, 0));
    let held = |warning| matches!(warning, Ok(Warning::SnapshotHeld { age }) if age >= Duration::from_millis(20));
    let first = engine.snapshot();
    assert!(held(warnings.recv_timeout(SOON)));
    let second = engine.snapshot();
    let stats = engine.stats();
    assert!(stats.snapshots == 2 && stats.oldest_snapshot_nanos >= 20_000_000, "{stats:?}");
    drop(first);
    assert!(held(warnings.recv_timeout(SOON)), "the second is the oldest now, and old");
    drop(second);
    assert_eq!(engine.stats().snapshots, 0);
    assert!(warnings.try_recv().is_err(), "each is told of once");
}

/// Many appenders on one series: each keeps its order, nothing is lost, and the statistics show who is hot and how
/// many share it.
#[test]
fn a_hot_series_keeps_the_order_of_each_appender_and_is_shown() {
    const APPENDERS: i64 = 8;
    const EACH: i64 = 30_000;
    let engine = Engine::in_memory().unwrap();
    let hot = series(&engine, 0);
    let cold: Vec<_> = (1..200).map(|host| series(&engine, host)).collect();
    let options = SubscribeOptions { samples: 1 << 20, ..SubscribeOptions::default() };
    let mut live = engine.subscribe_with(r#"{host="0"}"#, options).unwrap();
    std::thread::scope(|scope| {
        for k in 0..APPENDERS {
            let (engine, cold) = (&engine, &cold);
            scope.spawn(move || {
                let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
                for i in 0..EACH {
                    appender.push(hot, at(i * APPENDERS + k), k as f64).unwrap();
                    if i % 4 == 0 {
                        appender.push(cold[(i / 4) as usize % cold.len()], at(i), 0.0).unwrap();
                    }
                }
            });
        }
        let mut next = [0; APPENDERS as usize];
        while next.iter().any(|&n| n < EACH) {
            let Ok(Delivery::Commit { samples, .. }) = live.recv(SOON) else { panic!("missed") };
            for sample in samples {
                let k = sample.value() as usize;
                assert_eq!(sample.timestamp(), at(next[k] * APPENDERS + k as i64), "appender {k} keeps its order");
                next[k] += 1;
            }
        }
    });
    let all = support::contents(&engine.snapshot());
    assert_eq!(all[&support::name(0)].len() as i64, APPENDERS * EACH);
    let hottest = engine.stats().hottest_series;
    assert_eq!(hottest[0].labels.get("host"), Some("0"), "{hottest:?}");
    assert!(hottest[0].samples * 2 > hottest[0].of, "four fifths of all: {hottest:?}");
    assert!(hottest[0].lanes >= 2, "{hottest:?}");
    assert!(hottest.len() <= 10);
}

/// R5: what was pushed as one batch is never seen in part, however much is in the lane; here commits are looked at
/// themselves.
#[test]
fn a_pushed_batch_lies_in_one_commit() {
    let engine = Engine::in_memory().unwrap();
    let (id, other) = (series(&engine, 1), series(&engine, 2));
    let options = SubscribeOptions { samples: 1 << 20, ..SubscribeOptions::default() };
    let mut live = engine.subscribe_with(r#"{host="1"}"#, options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        // Others keep the worker busy, so that batches pile up.
        scope.spawn(|| {
            let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
            let many: Vec<_> = (0..5000).map(|t| tidegauge::SeriesSample::new(other, at(t), 0.0)).collect();
            while !done.load(Ordering::Acquire) {
                appender.push_batch(&many).unwrap();
            }
        });
        let mut appender = engine.appender_with(BackPressure::Block(SOON)).unwrap();
        let mut pushed = 0;
        for round in 0..40 {
            // 50,000 alone is more than half a lane; 1,000s do not divide it.
            let len = if round % 4 == 0 { 50_000 } else { 1000 };
            let batch: Vec<_> =
                (0..len).map(|i| tidegauge::SeriesSample::new(id, at(pushed + i), f64::from(round))).collect();
            appender.push_batch(&batch).unwrap();
            pushed += len;
        }
        let mut sizes = std::collections::BTreeMap::new();
        let mut got = 0;
        while got < pushed {
            let Ok(Delivery::Commit { samples, .. }) = live.recv(SOON) else { panic!("missed") };
            let mut rounds = std::collections::BTreeMap::new();
            samples.iter().for_each(|s| *rounds.entry(s.value() as i32).or_insert(0) += 1);
            for (round, n) in rounds {
                assert_eq!(n, if round % 4 == 0 { 50_000 } else { 1000 }, "a batch was cut");
                assert_eq!(sizes.insert(round, n), None);
            }
            got += samples.len() as i64;
        }
    });
}

/// Ends the others when the test does, however that is.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
