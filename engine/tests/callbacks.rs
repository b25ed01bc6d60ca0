//! P4: what a program gives the engine to call may panic. No thread of the engine ends for it, and nobody else is told
//! anything wrong.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use support::{SOON, at, contents, name, series};
use tidegauge::{Delivery, Durability, Engine, Level};

/// Counts, and panics.
#[derive(Default)]
struct Panics(AtomicU64);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a waker of the test panics, as it should");
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "never");
        std::thread::yield_now();
    }
}

#[test]
fn p4_a_warning_whose_hearer_panics_is_counted_and_the_next_one_is_told() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let engine = Engine::in_memory_builder()
        .snapshot_warn_after(Duration::from_millis(4))
        .on_warning(move |warning| {
            let _ = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send(warning.clone());
            panic!("a hearer of the test panics, as it should");
        })
        .open()
        .unwrap();
    for n in 1..3 {
        let snapshot = engine.snapshot();
        told.recv_timeout(SOON).expect("told, though the one before panicked");
        until(|| engine.stats().warnings >= n);
        drop(snapshot);
    }
    engine.is_healthy().unwrap();
    engine.close().unwrap();
}

#[test]
fn p4_a_waker_that_panics_ends_no_thread_that_wakes() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::builder(dir.path()).durability(Durability::Interval(Duration::from_millis(20))).open().unwrap();
    let id = series(&engine, 1);
    let mut live = engine.subscribe("cpu").unwrap();
    for level in [Level::Visible, Level::Durable] {
        let panics = Arc::new(Panics::default());
        let waker = Waker::from(Arc::clone(&panics));
        let mut at_nanos = 0;
        // Until somebody waits: it may have come before it is asked for.
        until(|| {
            at_nanos += 1;
            let ack = engine.push(id, at(at_nanos), 1.0).unwrap();
            let mut wait = pin!(engine.wait_async(ack, level));
            if wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return false;
            }
            until(|| panics.0.load(Ordering::Relaxed) > 0);
            true
        });
        // Another one, of the thread that delivers.
        while live.try_recv().unwrap().is_some() {}
        while live.poll_recv(&mut Context::from_waker(&waker)).is_ready() {}
        let ack = engine.push(id, at(0), 2.0).unwrap();
        engine.wait(ack, level, SOON).unwrap();
        until(|| panics.0.load(Ordering::Relaxed) > 1);
        assert!(matches!(live.recv(SOON), Ok(Delivery::Commit { .. })));
        engine.is_healthy().unwrap();
    }
    engine.close().unwrap();
}

#[test]
fn p4_an_opening_whose_hearer_panics_changes_nothing_and_lets_go_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let ack = engine.push(series(&engine, 1), at(1), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    let copy = tempfile::tempdir().unwrap();
    support::copy_dir(dir.path(), copy.path());
    for read_only in [true, false] {
        let builder = Engine::builder(copy.path()).read_only(read_only);
        let builder = builder.on_progress(|_| panic!("a hearer of the test panics, as it should"));
        assert!(catch_unwind(AssertUnwindSafe(|| builder.open())).is_err(), "who opens has its panic");
    }
    let opened = Engine::open(copy.path()).unwrap();
    assert_eq!(contents(&opened.snapshot())[&name(1)].len(), 1);
}
