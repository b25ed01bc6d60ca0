//! What a close still does of what waits for space or files (X13), and what it tells of the rest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};

use crate::appender::Ack;
use crate::core::{Core, SeriesSample};
use crate::engine::Engine;
use crate::error::{CloseError, DeleteError, FlushError, WaitError};
use crate::faults::{SOON, contents, reached, series};
use crate::full::{at, count, fill, used, value, within};
use crate::gate::Shortage;
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;

fn builder(fs: Arc<dyn Fs>, durability: Durability) -> Builder {
    let mut builder = Builder::new(None).durability(durability).background_compaction(false).wal_bytes(64 << 20);
    builder.pace = Pace::NEVER;
    builder.wal_file_bytes = Some(1 << 20);
    builder.fs = Some(fs);
    builder
}

fn open(fs: &SimFs, durability: Durability) -> Engine {
    builder(Arc::new(fs.clone()), durability).open().unwrap()
}

fn no_files(fs: &SimFs) {
    (1..100_000).for_each(|i| fs.fail_at(fs.operations() + i, Fault::Files));
}

fn push(engine: &Engine, nanos: i64) {
    let ack = engine.push(series(engine, 1), at(nanos), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

fn segments(fs: &SimFs) -> usize {
    fs.files().iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "seg")).count()
}

fn begins_segment(call: Call, path: &Path) -> bool {
    call == Call::Create && path.to_string_lossy().ends_with(".seg.tmp")
}

/// The close gave up what waited for its next try, in a quarter of a second: without a log it was lost, though what had run
/// out was there again.
#[test]
fn p4_a_close_tries_each_flush_again_that_had_found_no_space_or_file() {
    for (durability, short) in [Durability::Memory, Durability::Sync]
        .into_iter()
        .flat_map(|durability| [Shortage::Space, Shortage::Files].map(|short| (durability, short)))
    {
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        push(&engine, 0);
        // Its file is there.
        let ack = engine.push(series(&engine, 1), at(1), 1.0).unwrap();
        engine.wait(ack, if durability.logs() { Level::Durable } else { Level::Visible }, SOON).unwrap();
        let refused = match short {
            Shortage::Files => {
                no_files(&fs);
                FlushError::OutOfFiles
            }
            _ => {
                fs.set_capacity(Some(used(&fs)));
                FlushError::DiskFull
            }
        };
        assert_eq!(engine.flush(), Err(refused), "{durability}");
        let all = contents(&engine);
        fs.restart();
        fs.set_capacity(None);
        engine.close().unwrap_or_else(|e| panic!("{durability}, {short:?}: {e}"));
        assert_eq!(contents(&open(&fs, durability)), all, "{durability}, {short:?}");
    }
}

/// A try that was under way at the close had begun before it: no word on whether it can be done now.
#[test]
fn p4_a_close_tries_a_flush_again_whose_try_was_under_way() {
    let fs = SimFs::new();
    let engine_of = Arc::new(OnceLock::<Engine>::new());
    let (disk, closing, first) = (fs.clone(), Arc::clone(&engine_of), AtomicBool::new(true));
    let (tell, begun) = mpsc::channel();
    let hooked = Hooked::around(&fs, move |when, call, path: &Path| {
        let is_flush = std::thread::current().name() == Some("tidegauge-flush");
        if !is_flush || !begins_segment(call, path) {
            return;
        }
        match when {
            When::Before if first.swap(false, Ordering::AcqRel) => {
                tell.send(()).unwrap();
                let flushes = &closing.get().unwrap().life().flushes;
                within("the close waits for it", || flushes.is_stopped().then_some(()));
                no_files(&disk);
            }
            When::Before => {}
            When::After => disk.restart(),
        }
    });
    let engine = builder(hooked, Durability::Memory).open().unwrap();
    assert!(engine_of.set(engine.clone()).is_ok());
    push(&engine, 0);
    let all = contents(&engine);
    let asking = engine.clone();
    std::thread::scope(|scope| {
        // What it is answered depends on when it looks.
        scope.spawn(move || drop(asking.flush()));
        begun.recv_timeout(SOON).expect("a try is under way before the close");
        engine.close().unwrap();
    });
    assert_eq!(contents(&open(&fs, Durability::Memory)), all);
}

/// A memtable that fits is not flushed behind one that does not: it would be there without what was accepted before it. Those
/// behind one that fits by now are flushed, too.
#[test]
fn p5_no_flush_passes_one_that_a_close_gives_up() {
    for is_back in [false, true] {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Sync);
        fill(&engine, 0, 400_000);
        // Room for a file of the log, and for a small segment.
        fs.set_capacity(Some(used(&fs) + (3 << 19)));
        assert_eq!(engine.flush(), Err(FlushError::DiskFull));
        // A try takes, for a moment, what is free.
        let id = series(&engine, 1);
        let ack = within("there is room for the log", || engine.push(id, at(0), 1.0).ok());
        reached(&engine, ack, Level::Visible);
        assert_eq!(engine.flush(), Err(FlushError::DiskFull));
        let (all, short_of) = (contents(&engine), Some(Shortage::Space));
        if is_back {
            fs.set_capacity(None);
            engine.close().unwrap();
        } else {
            let samples = 400_001;
            assert_eq!(engine.close(), Err(CloseError::NotFlushed { samples, logged: true, short_of }));
        }
        assert_eq!(segments(&fs), if is_back { 2 } else { 0 });
        fs.set_capacity(None);
        assert_eq!(contents(&open(&fs, Durability::Sync)), all);
    }
}

/// Where no sync had failed, for the folder of the log could not even be opened, a close was told that one had, and not what
/// it loses.
#[test]
fn p4_a_close_without_a_file_to_open_tells_what_is_lost_and_what_is_in_the_log() {
    for takes_all in [true, false] {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Sync);
        let (disk, first) = (fs.clone(), AtomicBool::new(true));
        fs.on_sync(Arc::new(move || {
            if std::thread::current().name() == Some("tidegauge-sync") && first.swap(false, Ordering::AcqRel) {
                no_files(&disk);
            }
            "any".into()
        }));
        push(&engine, 0);
        within("the sync waits", || (engine.stats().short_of == Some(Shortage::Files)).then_some(()));
        let id = series(&engine, 2);
        let not_taken = (0..1_000).find(|n| {
            let batch: Vec<_> = (n * 2000..(n + 1) * 2000).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
            let ack = engine.push_batch(&batch).unwrap();
            match engine.wait(ack, Level::Visible, SOON) {
                Ok(_) => takes_all,
                Err(e) => {
                    assert_eq!(e, WaitError::OutOfFiles);
                    true
                }
            }
        });
        assert!(not_taken.is_some(), "the log goes on without a file");
        let (all, short_of) = (contents(&engine), Some(Shortage::Files));
        let told = if takes_all {
            CloseError::NotFlushed { samples: 2001, logged: true, short_of }
        } else {
            CloseError::NotTaken { samples: 2000, short_of }
        };
        for handle in [engine.clone(), engine] {
            assert_eq!(handle.close(), Err(told.clone()));
        }
        fs.restart();
        assert_eq!(contents(&open(&fs, Durability::Sync)), all);
    }
}

/// Polls once for it to be durable, which is what has the log synced, and lets a sync begin.
fn sync_begins(engine: &Engine, ack: Ack, begun: &Receiver<()>) {
    let mut durable = std::pin::pin!(engine.wait_async(ack, Level::Durable));
    assert_eq!(durable.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    begun.recv_timeout(SOON).expect("a sync of the log's folder");
}

/// The close took what the last try before it had found for the failure of a sync.
#[test]
fn p4_a_close_tries_a_sync_again_that_found_no_file() {
    let fs = SimFs::new();
    let engine_of = Arc::new(OnceLock::<Engine>::new());
    let (disk, closing, tries) = (fs.clone(), Arc::clone(&engine_of), Arc::new(AtomicUsize::new(0)));
    let ((tell, begun), tried) = (mpsc::channel(), Arc::clone(&tries));
    let hooked = Hooked::around(&fs, move |when, call, _: &Path| {
        if std::thread::current().name() != Some("tidegauge-sync") || call != Call::SyncDir {
            return;
        }
        match when {
            When::Before if tried.fetch_add(1, Ordering::AcqRel) == 0 => {
                tell.send(()).unwrap();
                let sync = closing.get().unwrap().life().sync.as_ref().unwrap();
                within("the close waits for it", || sync.is_ending().then_some(()));
                no_files(&disk);
            }
            When::Before => {}
            When::After => disk.restart(),
        }
    });
    let engine = builder(hooked, Durability::Sync).open().unwrap();
    assert!(engine_of.set(engine.clone()).is_ok());
    push(&engine, 0);
    let ack = engine.push(series(&engine, 1), at(1), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    // It is the sync that makes them durable, and no flush.
    fs.set_capacity(Some(used(&fs)));
    sync_begins(&engine, ack, &begun);
    let short_of = Some(Shortage::Space);
    assert_eq!(engine.clone().close(), Err(CloseError::NotFlushed { samples: 2, logged: true, short_of }));
    engine.wait(ack, Level::Durable, Duration::ZERO).unwrap();
    assert!(tries.load(Ordering::Acquire) >= 2);
    let crashed = fs.crash(1);
    crashed.set_capacity(None);
    assert_eq!(contents(&open(&crashed, Durability::Sync)).len(), 2);
}

/// Where nobody waits for the threads, nobody would tell who waits for the device that a sync was given up: he waited for
/// ever.
#[test]
fn p4_a_close_without_an_end_gives_up_no_sync() {
    let fs = SimFs::new();
    let (disk, tries, may) = (fs.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let ((tell, begun), tried, may_now) = (mpsc::channel(), Arc::clone(&tries), Arc::clone(&may));
    let hooked = Hooked::around(&fs, move |when, call, _: &Path| {
        if std::thread::current().name() != Some("tidegauge-sync") || call != Call::SyncDir {
            return;
        }
        match when {
            When::Before => {
                if tried.fetch_add(1, Ordering::AcqRel) == 0 {
                    tell.send(()).unwrap();
                }
                if !may_now.load(Ordering::Acquire) {
                    no_files(&disk);
                }
            }
            When::After => disk.restart(),
        }
    });
    let engine = builder(hooked, Durability::Sync).open().unwrap();
    push(&engine, 0);
    let ack = engine.push(series(&engine, 1), at(1), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    fs.set_capacity(Some(used(&fs)));
    sync_begins(&engine, ack, &begun);
    engine.life().begin_closing();
    let sync = engine.life().sync.as_ref().unwrap();
    within("the worker waits for it alone", || sync.is_told_of_the_end().then_some(()));
    let before = tries.load(Ordering::Acquire);
    within("it is tried on", || (tries.load(Ordering::Acquire) > before + 2).then_some(()));
    may.store(true, Ordering::Release);
    engine.wait(ack, Level::Durable, SOON).unwrap();
    let short_of = Some(Shortage::Space);
    assert_eq!(engine.close(), Err(CloseError::NotFlushed { samples: 2, logged: true, short_of }));
}

/// Nor would anybody tell who waits for a round that was given up.
#[test]
fn p4_a_close_without_an_end_tells_who_waits_for_a_round_that_it_gives_up() {
    let fs = SimFs::new();
    let (disk, (tell, begun), (may, go_on)) = (fs.clone(), mpsc::channel(), mpsc::channel::<()>());
    let go_on = std::sync::Mutex::new(go_on);
    let hooked = Hooked::around(&fs, move |when, call, _: &Path| {
        let is_worker = std::thread::current().name() == Some("tidegauge-ingest");
        if is_worker && (when, call) == (When::Before, Call::Create) && tell.send(()).is_ok() {
            // Until nobody holds it any more.
            let _ = go_on.lock().unwrap().recv_timeout(SOON);
            disk.set_capacity(Some(used(&disk)));
        }
    });
    let engine = builder(hooked, Durability::Sync).open().unwrap();
    let ack = engine.push(series(&engine, 1), at(0), 1.0).unwrap();
    begun.recv_timeout(SOON).expect("the worker makes the log's first file");
    let mut waiting = std::pin::pin!(engine.wait_async(ack, Level::Visible));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
    engine.life().begin_closing();
    drop((begun, may));
    let told = within("it is told", || match waiting.as_mut().poll(&mut context) {
        Poll::Ready(told) => Some(told),
        Poll::Pending => None,
    });
    assert_eq!(told, Err(WaitError::DiskFull));
    assert_eq!(engine.close(), Err(CloseError::NotTaken { samples: 1, short_of: Some(Shortage::Space) }));
}

/// A commit of two frames of which one is written was given up at the close, though there was space for the other by then.
#[test]
fn p4_a_close_finishes_a_commit_that_had_found_no_space_amid() {
    /// Told that there is no space, it makes some: once the close is under way.
    struct Told(Arc<Core>, SimFs);
    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            within("it closes", || self.0.is_stopping().then_some(()));
            self.1.set_capacity(None);
        }
    }
    let fs = SimFs::new();
    let (is_held, holds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (held, holding) = (Arc::clone(&is_held), Arc::clone(&holds));
    let hooked = Hooked::around(&fs, move |when, call, _: &Path| {
        let is_worker = std::thread::current().name() == Some("tidegauge-ingest");
        if is_worker && call == Call::Create && when == When::Before && holding.load(Ordering::Acquire) {
            held.store(true, Ordering::Release);
            within("it is waited for", || (!holding.load(Ordering::Acquire)).then_some(()));
        }
    });
    let engine = builder(hooked, Durability::Sync).lane_samples(1 << 21).open().unwrap();
    push(&engine, 0);
    engine.flush().unwrap();
    fs.set_capacity(Some(used(&fs) + (6 << 20)));
    let id = series(&engine, 8);
    let batch: Vec<_> = (0..1 << 20).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
    let mut appender = engine.appender().unwrap();
    // Who asks behind the worker's finding is answered, and not woken.
    holds.store(true, Ordering::Release);
    let mut future = std::pin::pin!(engine.wait_async(appender.push_batch(&batch).unwrap(), Level::Visible));
    within("the worker writes it", || is_held.load(Ordering::Acquire).then_some(()));
    let waker = Waker::from(Arc::new(Told(Arc::clone(&engine.life().core), fs.clone())));
    assert_eq!(future.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    holds.store(false, Ordering::Release);
    within("a part of it is written, and no more", || (engine.stats().short_of == Some(Shortage::Space)).then_some(()));
    let killed = fs.kill();
    killed.set_capacity(None);
    let written = count(&open(&killed, Durability::Sync), 8);
    assert!(written > 0 && written < 1 << 20, "the first frame is written: {written}");
    engine.close().unwrap();
    assert_eq!(count(&open(&fs, Durability::Sync), 8), 1 << 20);
}

/// Where nothing was flushed behind it, the close was none the wiser, answered that all was well, and undid the delete.
#[test]
fn p4_a_close_without_a_log_notes_deletes_that_found_no_space() {
    for is_over in [true, false] {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Memory);
        (0..300).for_each(|t| push(&engine, t));
        engine.flush().unwrap();
        fs.set_capacity(Some(used(&fs)));
        let long = "x".repeat(30_000);
        let each = |n| engine.delete(&format!("cpu{{x!=\"{long}\"}}"), at(n)..at(n + 1)).err().map(|why| (n, why));
        let (noted, refused) = (0..300).find_map(each).expect("there is an end of the reserve");
        assert!(matches!(refused, DeleteError::NotNoted { short_of: Shortage::Space }), "{refused}");
        let noted = u64::try_from(noted).unwrap();
        assert_eq!(count(&engine, 1), 300 - noted - 1, "it is done");
        if is_over {
            fs.set_capacity(None);
        }
        let told =
            if is_over { Ok(()) } else { Err(CloseError::NotNoted { deletes: 1, short_of: Some(Shortage::Space) }) };
        assert_eq!(engine.clone().close(), told);
        assert_eq!(engine.close(), told, "each is told");
        fs.set_capacity(None);
        assert_eq!(count(&open(&fs, Durability::Memory), 1), 300 - noted - u64::from(is_over));
    }
}

/// What the log of an earlier opening has was told to be lost, for this one writes none.
#[test]
fn p4_a_close_without_a_log_tells_what_is_in_that_of_the_opening_before() {
    let before = SimFs::new();
    let engine = open(&before, Durability::Sync);
    (0..5).for_each(|t| push(&engine, t));
    for pushed in [0, 3] {
        let fs = before.kill();
        let (disk, are_pushed) = (fs.clone(), Arc::new(AtomicBool::new(false)));
        let may_flush = Arc::clone(&are_pushed);
        let hooked = Hooked::around(&fs, move |when, call, path: &Path| match when {
            _ if !begins_segment(call, path) => {}
            When::Before => {
                within("all is pushed", || may_flush.load(Ordering::Acquire).then_some(()));
                no_files(&disk);
            }
            When::After => disk.restart(),
        });
        let engine = builder(hooked, Durability::Memory).open().unwrap();
        (10..10 + pushed).for_each(|t| push(&engine, t));
        are_pushed.store(true, Ordering::Release);
        let (samples, short_of) = (if pushed > 0 { pushed as u64 } else { 5 }, Some(Shortage::Files));
        assert_eq!(engine.close(), Err(CloseError::NotFlushed { samples, logged: pushed == 0, short_of }));
        assert_eq!(contents(&open(&fs, Durability::Memory)).len(), 5);
    }
}
