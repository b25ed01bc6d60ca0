//! Workers that hang on a simulated disk, one after the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};

use super::{OnWarning, Stalled, Warning, WatchLimits, Watchdog, Worker};
use crate::clock;
use crate::engine::Engine;
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};

const SOON: Duration = Duration::from_secs(30);

/// A disk on which a sync of one worker hangs when that is asked for, until it is let go.
struct Hanging {
    fs: SimFs,
    armed: Arc<AtomicBool>,
    hangs: Receiver<()>,
    let_go: Sender<()>,
}

impl Hanging {
    fn new(worker: Worker) -> Self {
        let thread = format!("tidegauge-{}", worker.name());
        let (fs, armed) = (SimFs::new(), Arc::new(AtomicBool::new(false)));
        let (tell, hangs) = channel();
        let (let_go, released) = channel::<()>();
        let (is_armed, released) = (Arc::clone(&armed), Mutex::new(released));
        fs.on_sync(Arc::new(move || {
            let own = std::thread::current().name().is_some_and(|name| name.starts_with(&thread));
            if own && is_armed.swap(false, Ordering::AcqRel) {
                let _ = tell.send(());
                let _ = lock(&released).recv_timeout(SOON);
            }
            "any".into()
        }));
        Self { fs, armed, hangs, let_go }
    }

    fn open(&self, stall_warn_after: Duration) -> (Engine, Receiver<Warning>) {
        let (told, warnings) = channel();
        let told = Mutex::new(told);
        let mut builder = Builder::new(None)
            .durability(Durability::Sync)
            .background_compaction(false)
            .stall_warn_after(stall_warn_after)
            .on_warning(move |warning| drop(lock(&told).send(warning.clone())));
        // Nothing of the flusher's is synced but what is asked for: what the manifest is told in between holds its lock.
        builder.pace = Pace::NEVER;
        builder.fs = Some(Arc::new(self.fs.clone()) as Arc<dyn Fs>);
        (builder.open().unwrap(), warnings)
    }

    /// Has the next sync hang.
    fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    fn hangs(&self) {
        self.hangs.recv_timeout(SOON).expect("nobody hangs");
    }

    fn let_go(&self) {
        self.let_go.send(()).unwrap();
    }
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < SOON, "never");
        std::thread::yield_now();
    }
}

fn push(engine: &Engine, level: Level) {
    let id = engine.series(&[("__name__", "cpu")]).unwrap();
    let ack = engine.push(id, clock::now(), 1.0).unwrap();
    engine.wait(ack, level, SOON).unwrap();
}

/// How `worker` is stalled, if it is.
fn stalled(engine: &Engine, worker: Worker) -> Option<Stalled> {
    engine.stats().stalled.into_iter().find(|stalled| stalled.worker == worker)
}

#[test]
fn a_worker_whose_sync_hangs_is_named_while_it_lasts() {
    const STALL: Duration = Duration::from_millis(40);
    for (worker, work) in [
        (Worker::Sync, "an fdatasync of the log"),
        (Worker::Flush, "the segments of a memtable"),
        (Worker::Compact, "a compaction"),
    ] {
        let disk = Hanging::new(worker);
        let (engine, warnings) = disk.open(STALL);
        let act = || {
            push(&engine, Level::Visible);
            match worker {
                Worker::Sync => push(&engine, Level::Durable),
                Worker::Flush => engine.flush().unwrap(),
                _ => engine.compact().unwrap(),
            }
        };
        for _ in 0..2 {
            push(&engine, Level::Visible);
            engine.flush().unwrap();
        }
        std::thread::scope(|scope| {
            disk.arm();
            let act = scope.spawn(act);
            let found = loop {
                disk.hangs();
                let found = until(|| stalled(&engine, worker));
                if found.work == work {
                    break found;
                }
                // What the manifest is told in between is not what was asked for.
                disk.arm();
                disk.let_go();
                until(|| stalled(&engine, worker).is_none().then_some(()));
            };
            assert!(found.for_at_least >= STALL, "{found:?}");
            engine.probe(SOON).expect("the ingest worker waits for none of them");
            let told = until(|| match warnings.recv_timeout(SOON).expect("no warning") {
                Warning::Stalled(stalled) if (stalled.worker, stalled.work) == (worker, work) => Some(stalled),
                _ => None,
            });
            assert!(told.to_string().contains(worker.name()), "{told}");
            disk.let_go();
            act.join().unwrap();
        });
        until(|| stalled(&engine, worker).is_none().then_some(()));
        assert!(engine.stats().stalls >= 1);
    }
}

/// A sync that was tried again and again, because its folder could not be opened, began anew each time: nobody was told
/// that nothing becomes durable.
#[test]
fn a_sync_that_may_open_no_file_is_named_while_it_lasts() {
    const STALL: Duration = Duration::from_millis(100);
    let disk = Hanging::new(Worker::Sync);
    let (engine, warnings) = disk.open(STALL);
    std::thread::scope(|scope| {
        let armed = Instant::now();
        disk.arm();
        let push = scope.spawn(|| push(&engine, Level::Durable));
        // The file is synced; its folder is next.
        disk.hangs();
        let from = disk.fs.operations();
        (1..100_000).for_each(|i| disk.fs.fail_at(from + i, Fault::Files));
        disk.let_go();
        until(|| (engine.stats().short_of == Some(Shortage::Files)).then_some(()));
        // What is stalled for longer than that has gone on since it was short.
        let short_after = armed.elapsed();
        let is_still = |found: &Stalled| found.for_at_least >= short_after + STALL;
        let found = until(|| stalled(&engine, Worker::Sync).filter(is_still));
        assert_eq!(found.work, "an fdatasync of the log");
        let told = until(|| Some(warnings.recv_timeout(SOON).expect("no warning")));
        assert!(matches!(&told, Warning::Stalled(stalled) if stalled.worker == Worker::Sync), "{told}");
        engine.probe(SOON).expect("samples are taken, visible and logged");
        disk.fs.restart();
        push.join().unwrap();
    });
    until(|| stalled(&engine, Worker::Sync).is_none().then_some(()));
    assert_eq!(engine.stats().short_of, None);
}

/// What comes before a job was watched by nobody: it waits for who holds the manifest, and reads segments.
#[test]
fn a_look_for_what_to_compact_that_hangs_is_named() {
    let (engine, _warnings) = Hanging::new(Worker::Compact).open(Duration::from_millis(40));
    std::thread::scope(|scope| {
        let manifest = engine.life().manifest.lock().unwrap();
        let compaction = scope.spawn(|| engine.compact().unwrap());
        let found = until(|| stalled(&engine, Worker::Compact));
        assert_eq!(found.work, "looking for what to compact");
        drop(manifest);
        compaction.join().unwrap();
    });
    until(|| stalled(&engine, Worker::Compact).is_none().then_some(()));
}

/// What was stalled when the watchdog ended stayed so for ever.
#[test]
fn nothing_is_stalled_once_nobody_watches() {
    let (engine, _warnings) = Hanging::new(Worker::Sync).open(Duration::from_secs(600));
    let limits = WatchLimits {
        stall_warn_after: Duration::from_secs(600),
        snapshot_warn_after: Duration::MAX,
        on_warning: OnWarning::default(),
    };
    let core = &engine.life().core;
    let watchdog = Watchdog::default();
    let hangs = Stalled { worker: Worker::Ingest, work: "its rounds", for_at_least: SOON };
    lock(&core.watched.stalled).push(hangs);
    core.watched.worker_stalled.store(true, crate::sync::atomic::Ordering::Relaxed);
    watchdog.stop();
    watchdog.run(core, &limits);
    let stats = engine.stats();
    assert!(stats.stalled.is_empty() && !stats.worker_stalled, "{:?}", stats.stalled);
}

/// While flushes are behind, compaction stands back: that is no stall, however long it lasts.
#[test]
fn a_compaction_that_stands_back_is_not_stalled() {
    const STALL: Duration = Duration::from_millis(400);
    let disk = Hanging::new(Worker::Flush);
    let (engine, _warnings) = disk.open(STALL);
    for _ in 0..2 {
        push(&engine, Level::Visible);
        engine.flush().unwrap();
    }
    std::thread::scope(|scope| {
        disk.arm();
        for sealed in 1..3 {
            push(&engine, Level::Visible);
            scope.spawn(|| engine.flush().unwrap());
            until(|| (engine.stats().sealed_memtables == sealed).then_some(()));
        }
        disk.hangs();
        let compaction = scope.spawn(|| engine.compact().unwrap());
        until(|| engine.stats().compacting.then_some(()));
        until(|| stalled(&engine, Worker::Flush).filter(|stalled| stalled.for_at_least >= 2 * STALL));
        assert_eq!(stalled(&engine, Worker::Compact), None);
        disk.let_go();
        compaction.join().unwrap();
    });
}
