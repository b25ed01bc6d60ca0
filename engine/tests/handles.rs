//! What handles do in odd places: in wakers, at another engine, at limits.

mod support;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use std::future::Future;
use std::pin::Pin;

use support::{SOON, at, contents, name, series};
use tidegauge::{
    CloseError, Durability, Engine, FlushError, LabelLimits, Level, Metadata, OpenError, PushError, Retry, SeriesError,
    SeriesId, SeriesSample, Subscription, TimeRange, Timestamp, WaitError,
};

/// Does something once it is woken, on the thread that wakes.
struct Then<F: FnOnce() + Send>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Wake for Then<F> {
    fn wake(self: Arc<Self>) {
        if let Some(then) = self.0.lock().unwrap().take() {
            then();
        }
    }
}

fn then<F: FnOnce() + Send + 'static>(f: F) -> Waker {
    Waker::from(Arc::new(Then(Mutex::new(Some(f)))))
}

/// Registers `waker` for a push, so that a thread of the engine wakes it. What comes back is to be held until then: a
/// future that goes, or is polled again, withdraws what it registered.
fn wake_when_durable(
    engine: &Engine,
    timestamp: i64,
    make: impl FnOnce(Engine) -> Waker,
) -> Pin<Box<tidegauge::AckFuture>> {
    // Resolved before, or the push may be durable before it is waited for.
    let id = series(engine, 1);
    let waker = make(engine.clone());
    let mut timestamp = timestamp;
    loop {
        let ack = engine.push(id, at(timestamp), 1.0).unwrap();
        let mut future = Box::pin(engine.wait_async(ack, Level::Durable));
        if future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            return future;
        }
        timestamp += 1;
    }
}

/// The last handle goes inside a waker, on the worker or the sync thread: nobody waits for himself, and everything is
/// in its segment afterwards.
#[test]
fn the_last_handle_dropped_by_a_waker_closes_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    let id = series(&engine, 1);
    let ack = engine.push(id, at(1), 1.0).unwrap();
    let mut future = Box::pin(engine.wait_async(ack, Level::Durable));
    let (told, tell) = mpsc::channel();
    // The waker has the only handle left, and drops it when it is woken.
    let waker = then(move || {
        drop(engine);
        told.send(()).unwrap();
    });
    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        waker.wake_by_ref();
    }
    tell.recv_timeout(SOON).expect("the waker comes back");
    drop((future, waker));
    let deadline = std::time::Instant::now() + SOON;
    let engine = loop {
        match Engine::open(dir.path()) {
            Ok(engine) => break engine,
            Err(OpenError::InUse { .. }) if std::time::Instant::now() < deadline => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(contents(&engine.snapshot())[&name(1)].len(), 1);
}

/// N4: not once when the push is visible, and again when it is durable.
#[test]
fn who_waits_for_the_device_is_woken_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    let (told, tell) = mpsc::channel();
    for t in 0..50 {
        let told = told.clone();
        let mut future = wake_when_durable(&engine, 1_000 * t, |_| then(move || told.send(()).unwrap()));
        tell.recv_timeout(SOON).expect("woken");
        let answer = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(_))), "{answer:?}");
    }
}

/// A waker cannot wait for the thread that it runs on: it is told so, at once.
#[test]
fn a_waker_is_refused_what_its_own_thread_would_have_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    let (told, tell) = mpsc::channel();
    let told_flush = told.clone();
    let held = wake_when_durable(&engine, 1, |engine| {
        then(move || told_flush.send(engine.flush().err().map(|e| e.to_string())).unwrap())
    });
    assert_eq!(tell.recv_timeout(SOON).unwrap(), Some(FlushError::InWaker.to_string()));
    drop(held);
    let held = wake_when_durable(&engine, 100, |engine| {
        then(move || told.send(engine.close().err().map(|e| e.to_string())).unwrap())
    });
    assert_eq!(tell.recv_timeout(SOON).unwrap(), Some(CloseError::InWaker.to_string()));
    drop(held);
    engine.close().unwrap();
}

/// What asks the worker, or waits for what the thread of the waker may have to do, held the engine up: for ever, for the ten
/// seconds of a subscription or the minute of a delete.
#[test]
fn a_waker_that_would_wait_for_the_engine_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    type Ask = fn(&Engine, SeriesId, &mut Subscription) -> String;
    fn why<T, E: std::fmt::Display>(asked: Result<T, E>) -> String {
        asked.err().map_or_else(|| "done".to_owned(), |e| e.to_string())
    }
    let asks: [(&str, Ask); 10] = [
        ("a waker cannot commit", |e, id, _| {
            let mut batch = e.batch();
            batch.push(id, at(1), 1.0).unwrap();
            why(batch.commit())
        }),
        ("a waker cannot commit", |e, _, _| why(e.batch().commit_within(SOON))),
        ("a waker cannot commit", |e, id, _| why(e.increment(id, 1.0, Retry::default()))),
        ("a waker cannot delete", |e, _, _| why(e.delete("mem", TimeRange::ALL))),
        ("a waker cannot probe", |e, _, _| why(e.probe(SOON))),
        ("a waker cannot subscribe", |e, _, _| why(e.subscribe("cpu").map(drop))),
        ("a waker cannot compact", |e, _, _| why(e.compact())),
        ("a waker cannot flush", |e, _, _| why(e.flush())),
        ("a waker cannot wait", |e, id, _| {
            // By its own thread, or by the one that comes behind it.
            let ack = e.push(id, at(5), 1.0);
            why(ack
                .map_err(|e| e.to_string())
                .and_then(|ack| e.wait(ack, Level::Durable, SOON).map_err(|e| e.to_string())))
        }),
        ("nothing is there", |_, _, nothing| why(nothing.recv(SOON))),
    ];
    for (n, (told_is, ask)) in asks.into_iter().enumerate() {
        let (told, tell) = mpsc::channel();
        let id = series(&engine, 1);
        let mut nothing = engine.subscribe("nothing").unwrap();
        let held = wake_when_durable(&engine, 10_000 * n as i64, |engine| {
            then(move || told.send(ask(&engine, id, &mut nothing)).unwrap())
        });
        let answer = tell.recv_timeout(SOON / 2).unwrap();
        assert!(answer.starts_with(told_is), "{told_is}: {answer}");
        drop(held);
    }
    engine.close().unwrap();
}

#[test]
fn p2_an_ack_of_another_engine_is_a_mistake_that_is_told() {
    let (engine, other) = (Engine::in_memory().unwrap(), Engine::in_memory().unwrap());
    let ack = other.push(series(&other, 1), at(1), 1.0).unwrap();
    other.wait(ack, Level::Visible, SOON).unwrap();
    for level in [Level::Visible, Level::Durable] {
        assert_eq!(engine.wait(ack, level, SOON), Err(WaitError::OtherEngine));
    }
    let mut own = engine.appender().unwrap();
    let ack = own.push(series(&engine, 1), at(1), 1.0).unwrap();
    assert_eq!(other.wait(ack, Level::Visible, SOON), Err(WaitError::OtherEngine));
}

/// P11: what was accepted under a higher limit is taken; only what is new is refused.
#[test]
fn p11_a_log_of_more_series_than_the_limit_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    {
        let engine = Engine::open(dir.path()).unwrap();
        let batch: Vec<_> = (0..20).map(|host| SeriesSample::new(series(&engine, host), at(1), 1.0)).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Durable, SOON).unwrap();
        // As a crash would leave it: a close would bring it all into a segment.
        support::copy_dir(dir.path(), copy.path());
    }
    let low = Engine::builder(copy.path()).max_series(10).open().unwrap();
    assert_eq!(contents(&low.snapshot()).len(), 20);
    assert!(low.series(&[("__name__", "cpu"), ("host", "3")]).is_ok());
    let refused = low.series(&[("__name__", "new")]);
    assert!(matches!(refused, Err(SeriesError::TooManySeries { limit: 10, .. })), "{refused:?}");
}

/// P11: a set that the limits allow fits into a frame of the log.
#[test]
fn p11_label_limits_beyond_a_frame_of_the_log_are_refused_at_the_opening() {
    let limits = |labels_per_series, value_bytes| LabelLimits { labels_per_series, name_bytes: 1024, value_bytes };
    for bad in [limits(1 << 16, 16 << 10), limits(64, 64 << 20), limits(usize::MAX, usize::MAX), limits(0, 1)] {
        let refused = Engine::in_memory_builder().label_limits(bad).open();
        assert!(matches!(refused, Err(OpenError::BadOption { option: "label_limits", .. })), "{refused:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let open = || Engine::builder(dir.path()).label_limits(limits(3, 1 << 20)).open().unwrap();
    let engine = open();
    let value = "v".repeat(1 << 20);
    let heavy = engine.series(&[("a", &value), ("b", &value), ("c", &value)]).unwrap();
    let ack = engine.push(heavy, at(1), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    engine.close().unwrap();
    assert_eq!(contents(&open().snapshot()).len(), 1);
}

/// Many metrics at once: one write, all or nothing, and there after a restart.
#[test]
fn metadata_of_many_metrics_is_stored_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let of = |i: usize| (format!("metric_{i}"), Metadata { help: format!("help {i}"), ..Metadata::default() });
    engine.set_metadata_all((0..500).map(of)).unwrap();
    assert_eq!(engine.metadata().len(), 500);
    let too_much = Metadata { help: "x".repeat(17 << 20), ..Metadata::default() };
    let refused = engine.set_metadata_all([of(1000), ("large".to_owned(), too_much)]);
    assert!(refused.is_err() && engine.metadata().len() == 500, "nothing of it is stored");
    engine.close().unwrap();
    assert_eq!(Engine::open(dir.path()).unwrap().metadata(), (0..500).map(of).collect());
}

/// A sample is plain bytes to whoever pushes it: one of a series that was never resolved is refused, and poisons nothing.
#[test]
fn a_made_up_series_is_refused_at_the_push() {
    let engine = Engine::in_memory().unwrap();
    let known = engine.series(&[("__name__", "cpu")]).unwrap();
    let mut forged = [SeriesSample::new(known, Timestamp::from_nanos(1), 1.0)];
    // The slot lies in the first four bytes.
    bytemuck::cast_slice_mut::<_, u32>(&mut forged)[0] = 77;
    let mut appender = engine.appender().unwrap();
    assert_eq!(appender.push_batch(&forged), Err(PushError::StaleSeries));
    assert_eq!(appender.push(forged[0].series(), Timestamp::from_nanos(1), 1.0), Err(PushError::StaleSeries));
    let mut batch = engine.batch();
    assert_eq!(batch.push(forged[0].series(), Timestamp::from_nanos(1), 1.0), Err(PushError::StaleSeries));
    assert_eq!(engine.push_batch(&forged), Err(PushError::StaleSeries));
    let ack = appender.push(known, Timestamp::from_nanos(1), 1.0).unwrap();
    engine.wait(ack, Level::Visible, std::time::Duration::from_secs(30)).unwrap();
}

/// A debug build panicked where the thread's list of held locks went before the engine did.
#[test]
fn an_engine_that_a_thread_keeps_for_itself_is_closed_when_the_thread_ends() {
    thread_local!(static KEPT: std::cell::RefCell<Option<Engine>> = const { std::cell::RefCell::new(None) });
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let path = data.clone();
    let kept = std::thread::spawn(move || {
        // Its place first: what was made last in a thread is dropped first.
        KEPT.with_borrow_mut(|kept| {
            let engine = kept.insert(Engine::open(&path).unwrap());
            let id = engine.series(&[("__name__", "a")]).unwrap();
            engine.push(id, Timestamp::from_nanos(1), 1.0).unwrap();
        });
    });
    kept.join().unwrap();
    let again = Engine::open(&data).expect("it let go of the folder");
    assert_eq!(contents(&again.snapshot()).len(), 1, "and what was pushed is kept");
}
