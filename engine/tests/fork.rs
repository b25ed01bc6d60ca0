//! P10: an engine is of the process that opened it. A child that `fork` made of that can neither use it nor harm it, hangs
//! nowhere, and keeps no lock.
#![cfg(all(target_os = "linux", not(any(miri, loom, asan, tsan))))]
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use tidegauge::{
    BackPressure, BackupError, CommitError, Engine, FlushError, Level, Metadata, OpenError, Poisoned, PushError,
    Recovery, Retention, Retry, TimeRange, Timestamp,
};

const SOON: Duration = Duration::from_secs(60);

/// One forks at a time, and nobody does anything else meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child of this process.
struct Child(libc::pid_t);

impl Child {
    /// Runs `work` in it, which ends with it and runs nothing of this process besides.
    fn of(work: impl FnOnce()) -> Self {
        // SAFETY: the child runs `work` on its only thread, and ends. What other threads held it does not wait for, or it
        // is killed; the allocator of the C library is fit for use behind a fork.
        match unsafe { libc::fork() } {
            -1 => panic!("{}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: it arms a clock, which ends what hangs.
                unsafe { libc::alarm(SOON.as_secs() as u32) };
                let how = catch_unwind(AssertUnwindSafe(work));
                // SAFETY: it ends the process.
                unsafe { libc::_exit(i32::from(how.is_err())) }
            }
            child => Self(child),
        }
    }

    /// Whether it ended well; it is killed if it does not end.
    fn ends_well(self) -> bool {
        let began = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: of a child that nobody else waits for, into a number that is there.
            match unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } {
                0 if began.elapsed() < SOON => std::thread::sleep(Duration::from_millis(5)),
                0 => {
                    // SAFETY: it has not been waited for, so the number is its own.
                    unsafe { libc::kill(self.0, libc::SIGKILL) };
                    // SAFETY: as above.
                    unsafe { libc::waitpid(self.0, &raw mut status, 0) };
                    panic!("the child hangs");
                }
                _ => return status == 0,
            }
        }
    }
}

/// What a child says. Files, since the output of a test is a lock of its parent.
fn said(dir: &Path) -> String {
    fs::read_to_string(dir.join("said")).unwrap_or_default()
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn stored(engine: &Engine) -> usize {
    let found = engine.snapshot().select("cpu").unwrap();
    found.iter().map(|series| series.read().unwrap().timestamps.len()).sum()
}

/// What the child might write to, make or remove, and the owner does not while nothing is pushed or asked for: segments, and
/// the names beside them.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in [dir.to_owned(), dir.join("segments")] {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let bytes = if folder.ends_with("segments") { fs::read(&path).unwrap() } else { Vec::new() };
            all.insert(path.display().to_string(), bytes);
        }
    }
    all
}

#[test]
fn p10_a_forked_child_can_neither_use_its_parents_engine_nor_harm_it() {
    let _alone = alone();
    let (dir, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut engine = Some(Engine::builder(dir.path()).background_compaction(false).open().unwrap());
    let of_parent = engine.clone().unwrap();
    let id = of_parent.series(&[("__name__", "cpu")]).unwrap();
    let mut appender = Some(of_parent.appender_with(BackPressure::Block(SOON * 10)).unwrap());
    let mut live = Some(of_parent.subscribe("cpu").unwrap());
    let push = |range: std::ops::Range<i64>| {
        for t in range {
            let ack = of_parent.push(id, at(t), 1.0).unwrap();
            of_parent.wait(ack, Level::Durable, SOON).unwrap();
        }
    };
    push(0..50);
    of_parent.flush().unwrap();
    push(50..100);
    while live.as_mut().unwrap().try_recv().unwrap().is_some() {}
    let ack = appender.as_mut().unwrap().push(id, at(100), 1.0).unwrap();
    of_parent.wait(ack, Level::Durable, SOON).unwrap();
    let mut pending = Some(of_parent.wait_async(ack, Level::Durable));
    let mut snapshot = Some(of_parent.snapshot());
    let before = files(dir.path());

    let child = Child::of(|| {
        let is_told = |poisoned: &Poisoned| assert!(poisoned.cause.contains("forked"), "{poisoned}");
        let check = || {
            let engine = engine.as_ref().unwrap();
            let told = |what: &str, why: String| assert!(why.contains("forked"), "{what}: {why}");
            told("push", engine.push(id, at(101), 1.0).unwrap_err().to_string());
            let mut pushes = (0..1_024).map(|_| appender.as_mut().unwrap().push(id, at(101), 1.0));
            told("appender", pushes.find_map(Result::err).expect("refused").to_string());
            // Each that follows.
            told("appender", appender.as_mut().unwrap().push(id, at(101), 1.0).unwrap_err().to_string());
            told("appender", appender.as_mut().unwrap().push(id, at(101), 1.0).unwrap_err().to_string());
            let Err(PushError::Poisoned(why)) = appender.as_mut().unwrap().push_batch(&[]) else { panic!("a batch") };
            is_told(&why);
            told("wait", engine.wait(ack, Level::Visible, SOON * 10).unwrap_err().to_string());
            told("appender", engine.appender().unwrap_err().to_string());
            told("series", engine.series(&[("__name__", "new")]).unwrap_err().to_string());
            told("flush", engine.flush().unwrap_err().to_string());
            told("compact", engine.compact().unwrap_err().to_string());
            told("delete", engine.delete("cpu", TimeRange::ALL).unwrap_err().to_string());
            told("metadata", engine.set_metadata("cpu", Metadata::default()).unwrap_err().to_string());
            let retention = Retention { rules: Vec::new(), max_bytes: Some(1) };
            told("retention", engine.set_retention(retention).unwrap_err().to_string());
            let mut batch = engine.batch();
            batch.expect_last(id, at(100));
            let Err(CommitError::Poisoned(why)) = batch.commit() else { panic!("a batch was committed") };
            is_told(&why);
            told("increment", engine.increment(id, 1.0, Retry::default()).unwrap_err().to_string());
            told("subscribe", engine.subscribe("cpu").unwrap_err().to_string());
            // What was delivered before is there.
            let ended = (0..2).find_map(|_| live.as_mut().unwrap().recv(SOON * 10).err());
            told("recv", ended.expect("nothing comes any more").to_string());
            told("probe", engine.probe(SOON * 10).unwrap_err().to_string());
            let backup = engine.backup(beside.path().join("copy"));
            assert!(matches!(backup, Err(BackupError::Flush(FlushError::Poisoned(_)))), "{backup:?}");
            told("health", engine.is_healthy().unwrap_err().to_string());
            told("close", engine.clone().close().unwrap_err().to_string());
            assert_eq!(stored(engine), 101, "what was visible can be read");
            assert_eq!(
                snapshot.as_ref().unwrap().install(|sources| sources.watermark()),
                snapshot.as_ref().unwrap().watermark()
            );
        };
        let how = catch_unwind(AssertUnwindSafe(check));
        if let Err(why) = &how {
            let literal = why.downcast_ref::<&str>().copied();
            let why = literal.or_else(|| why.downcast_ref::<String>().map(String::as_str));
            fs::write(beside.path().join("said"), why.unwrap_or("no message")).unwrap();
        }
        drop((pending.take(), live.take(), appender.take(), snapshot.take()));
        // SAFETY: this copy of the handle is not used any more: the child never comes back to the parent's code.
        drop(unsafe { std::ptr::read(&raw const of_parent) });
        drop(engine.take());
        let opened = Engine::open(dir.path());
        assert!(matches!(&opened, Err(OpenError::InUse { owner: Some(owner), .. }) if owner.pid == libc_parent()));
        assert!(how.is_ok());
    });
    let ended_well = child.ends_well();
    assert_eq!(said(beside.path()), "");
    assert!(ended_well);

    assert_eq!(files(dir.path()), before, "nothing was written, made or removed");
    assert!(matches!(Engine::open(dir.path()), Err(OpenError::InUse { .. })), "the lock holds");
    let ack = appender.as_mut().unwrap().push(id, at(101), 1.0).unwrap();
    of_parent.wait(ack, Level::Durable, SOON).unwrap();
    of_parent.is_healthy().unwrap();
    drop((pending, live, appender, snapshot, engine));
    of_parent.close().unwrap();
    let again = Engine::builder(dir.path()).recovery(Recovery::Strict).open().unwrap();
    assert_eq!((stored(&again), again.metadata().len(), again.retention()), (102, 0, Retention::default()));
}

fn libc_parent() -> u32 {
    // SAFETY: it asks for a number.
    unsafe { libc::getppid() as u32 }
}

/// Parallel iterators outside of any pool go to the one that rayon has for all, whose threads a child does not have, or
/// start it there: of more than 256 series a selection is sorted so.
#[test]
fn p10_a_child_reads_many_series_though_it_has_no_thread_of_its_parents_pools() {
    const SERIES: usize = 600;
    let _alone = alone();
    let (dir, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    for t in 0..2 {
        for host in 0..SERIES {
            let id = engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap();
            engine.push(id, at(t), 1.0).unwrap();
        }
        engine.flush().unwrap();
    }
    let all = |of: usize| (0..of).into_par_iter().map(|one| one as u64).sum::<u64>();
    assert_eq!(all(1_000), 499_500, "the pool for all has threads here");
    let segments = tidegauge::admin::inspect(&engine, |_, _| ()).segments;
    let child = Child::of(|| {
        let how = catch_unwind(AssertUnwindSafe(|| {
            assert_eq!(stored(&engine), 2 * SERIES);
            assert_eq!(tidegauge::admin::inspect(&engine, |_, _| ()).segments, segments);
            assert_eq!(engine.snapshot().install(|_| all(1_000)), 499_500);
            // And in its own child.
            let child = Child::of(|| assert_eq!(stored(&engine), 2 * SERIES));
            assert!(child.ends_well(), "a child's child");
        }));
        fs::write(beside.path().join("said"), if how.is_ok() { "well" } else { "not well" }).unwrap();
    });
    assert!(child.ends_well());
    assert_eq!(said(beside.path()), "well");
    engine.close().unwrap();
}

/// It has the locked file open, too, and the system lets go of a lock with the last one that has.
#[test]
fn p10_a_child_that_goes_on_keeps_no_lock_behind_its_parents_close() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let (mut until, go) = std::io::pipe().unwrap();
    let mut go = Some(go);
    let child = Child::of(|| {
        drop(go.take());
        assert_eq!(until.read(&mut [0]).unwrap(), 0);
    });
    engine.close().unwrap();
    let again = Engine::open(dir.path()).map(drop);
    drop(go);
    assert!(child.ends_well());
    again.unwrap();
}

/// As a daemon: it opened the store too early, and its parent has gone since without closing.
#[test]
fn p10_a_child_whose_parent_is_gone_drops_its_engine_and_opens_the_store_anew() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (mut told, tell) = std::io::pipe().unwrap();
    let mut tell = Some(tell);
    let parent = Child::of(|| {
        let engine = Engine::open(dir.path()).unwrap();
        let id = engine.series(&[("__name__", "cpu")]).unwrap();
        let ack = engine.push(id, at(1), 1.0).unwrap();
        engine.wait(ack, Level::Durable, SOON).unwrap();
        let mut engine = Some(engine);
        let (mut gone, here) = std::io::pipe().unwrap();
        let mut here = Some(here);
        let _daemon = Child::of(|| {
            drop(here.take());
            let _ = gone.read(&mut [0]);
            drop(engine.take());
            let answer = match Engine::open(dir.path()) {
                Ok(engine) => stored(&engine).to_string(),
                Err(e) => e.to_string(),
            };
            tell.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        });
        // And ends without closing: the system closes what it has open.
        std::mem::forget((engine, here));
    });
    assert!(parent.ends_well());
    drop(tell.take());
    let mut answer = String::new();
    told.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "1");
}
