//! Wakers are other people's code: they run under no lock, and on threads of the engine that know of it. And what is asked
//! while the engine closes, or breaks, is refused or done, never half of it.

use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::Retention;
use tidegauge_storage::model::{SeqNo, TimeRange, Timestamp};

use crate::delete::NotNoted;
use crate::engine::{Engine, Metadata};
use crate::error::{CloseError, CompactError, MetadataError, RetentionError};
use crate::gate::Shut;
use crate::life::lock_is_lost;
use crate::options::{Builder, Durability};
use crate::pace::Pace;
use crate::watch::Warning;

const SOON: Duration = Duration::from_secs(30);

/// Does something once it is woken, on the thread that wakes.
struct Then<F: FnOnce() + Send>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Wake for Then<F> {
    fn wake(self: Arc<Self>) {
        let then = self.0.lock().unwrap().take();
        then.expect("woken once")();
    }
}

/// Does `then` when the engine tells those who wait that what they wait for will not come.
fn when_hopeless(engine: &Engine, then: impl FnOnce() + Send + 'static) {
    let waker = Waker::from(Arc::new(Then(Mutex::new(Some(then)))));
    engine.life().core.durable_waiters.register(u64::MAX, &waker);
}

/// Nothing is committed but what a test asks for.
fn builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.pace = Pace::NEVER;
    builder
}

fn flush(engine: &Engine, times: std::ops::Range<i64>) {
    let id = engine.series(&[("__name__", "cpu")]).unwrap();
    let mut appender = engine.appender().unwrap();
    let mut ack = None;
    for t in times {
        ack = Some(appender.push(id, Timestamp::from_nanos(t), 1.0).unwrap());
    }
    engine.wait(ack.unwrap(), crate::options::Level::Visible, SOON).unwrap();
    engine.flush().unwrap();
}

fn at_most(bytes: u64) -> Retention {
    Retention { rules: Vec::new(), max_bytes: Some(bytes) }
}

/// `docs/concurrency.md`, "Locks": the manifest was locked while poison woke, so that a waker that asked for metadata waited
/// for itself. In debug builds whoever wakes under a lock panics, which these causes would tell.
#[test]
fn p4_no_waker_runs_under_a_lock_where_the_manifest_cannot_be_written() {
    type Ask = fn(&Engine);
    let asks: [(&str, u64, Ask); 6] = [
        ("a retention rule cannot be committed", 0, |e| {
            e.set_retention(at_most(1 << 40)).unwrap_err();
        }),
        ("the manifest cannot be written", 0, |e| {
            e.set_metadata("cpu", Metadata::default()).unwrap_err();
        }),
        ("a delete cannot be committed", 0, |e| {
            e.delete("cpu", TimeRange::ALL).unwrap_err();
        }),
        // Behind the commit that asks for it.
        ("retention cannot be committed", 1, |e| e.set_retention(at_most(1)).unwrap()),
        ("a compaction cannot be committed", 1, |e| {
            e.delete("mem", TimeRange::ALL).unwrap();
        }),
        // The witness of what was flushed.
        ("the manifest cannot be written", 0, |e| {
            let closed = e.clone().close();
            assert!(matches!(closed, Err(CloseError::Poisoned(_))), "{closed:?}");
        }),
    ];
    for (cause, after, ask) in asks {
        let fs = SimFs::new();
        let engine = builder(&fs).open().unwrap();
        (0..3).for_each(|n| flush(&engine, n * 1_000..(n + 1) * 1_000));
        let (told, tell) = mpsc::channel();
        let asked = engine.clone();
        when_hopeless(&engine, move || told.send(asked.metadata().len()).unwrap());
        let done = fs.syncs() + after;
        (1..100).for_each(|i| fs.fail_sync_at(done + i));
        ask(&engine);
        assert_eq!(tell.recv_timeout(SOON), Ok(0), "{cause}");
        let why = engine.is_healthy().unwrap_err().cause;
        assert!(why.starts_with(cause), "{why}");
    }
}

/// An end that is told by the close was told under its lock: a waker that closed the engine waited for itself.
#[test]
fn a_waker_that_closing_wakes_may_close() {
    let engine = Engine::in_memory().unwrap();
    let (told, tell) = mpsc::channel();
    let other = engine.clone();
    when_hopeless(&engine, move || told.send(other.close()).unwrap());
    let closing = engine.clone();
    let closing = thread::spawn(move || closing.close());
    assert_eq!(tell.recv_timeout(SOON), Ok(Ok(())));
    assert_eq!(closing.join().unwrap(), Ok(()));
}

/// Woken by the heartbeat, it passed for somebody else's thread, and waited for itself.
#[test]
fn a_waker_of_the_heartbeat_closes_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let (told, tell) = mpsc::channel();
    let other = engine.clone();
    when_hopeless(&engine, move || told.send(other.close()).unwrap());
    let core = Arc::clone(&engine.life().core);
    thread::spawn(move || lock_is_lost(&core, "its file is gone".to_owned())).join().unwrap();
    assert_eq!(tell.recv_timeout(SOON), Ok(Err(CloseError::InWaker)));
    assert!(matches!(engine.close(), Err(CloseError::Poisoned(_))));
}

/// What a close overtook was acknowledged, and committed into a file that the next owner had read, or replaced, by then.
#[test]
fn p10_a_change_of_the_manifest_that_a_close_overtakes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).durability(Durability::Memory).open().unwrap();
    let known = || ("cpu".to_owned(), Metadata { kind: "gauge".to_owned(), ..Metadata::default() });
    engine.set_metadata_all([known()]).unwrap();
    // Asked before the close, and at the manifest behind it.
    let closing = engine.clone();
    let late = iter::once_with(move || {
        closing.close().unwrap();
        ("mem".to_owned(), Metadata::default())
    });
    let refused = engine.set_metadata_all(late);
    assert!(matches!(refused, Err(MetadataError::ReadOnly)), "{refused:?}");
    assert_eq!(engine.set_retention(at_most(1 << 40)), Err(RetentionError::Closed));
    let refused = engine.life().note_deletes(SeqNo(u64::MAX));
    assert!(matches!(refused, Err(NotNoted::Shut)), "{refused:?}");
    assert!(matches!(engine.life().manifest_to_change(), Err(Shut::Closed)));
    let next = Engine::open(dir.path()).unwrap();
    assert_eq!(next.metadata().into_iter().collect::<Vec<_>>(), [known()]);
    assert_eq!(next.retention(), Retention::default());
}

/// A read of the manifest that failed once, before anything was written, stopped all writing.
#[test]
fn p4_a_manifest_that_cannot_be_read_once_stops_no_writing() {
    let fs = SimFs::new();
    let (tell, warnings) = mpsc::channel();
    let tell = Mutex::new(tell);
    let builder = builder(&fs).on_warning(move |warning| drop(tell.lock().unwrap().send(warning.clone())));
    let engine = builder.open().unwrap();
    (0..3).for_each(|n| flush(&engine, n * 1_000..(n + 1) * 1_000));
    let before = fs.reads();
    fs.fail_read_at(before + 1);
    let refused = engine.set_retention(at_most(1 << 40));
    assert!(matches!(refused, Err(RetentionError::NotNoted { .. })), "{refused:?}");
    assert_eq!(engine.retention(), Retention::default());
    engine.is_healthy().unwrap();
    let before = fs.reads();
    engine.set_retention(at_most(1 << 40)).unwrap();
    let a_commit = fs.reads() - before;
    // That of the rule is read, that of what goes by it is not.
    let done = fs.reads() + a_commit;
    (1..1_000).for_each(|i| fs.fail_read_at(done + i));
    engine.set_retention(at_most(1)).unwrap();
    let told = iter::from_fn(|| warnings.recv_timeout(SOON).ok()).find(|told| matches!(told, Warning::Compaction(_)));
    assert!(matches!(told, Some(Warning::Compaction(CompactError::Failed { .. }))), "{told:?}");
    engine.is_healthy().unwrap();
    fs.restart();
    engine.compact().unwrap();
    assert_eq!(engine.stats().segments, 1, "the oldest are gone");
    // And a delete that is carried out is forgotten then.
    engine.delete("mem", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().tombstones, 0);
    engine.close().unwrap();
}

/// A defect (a panic) under the manifest's lock made a panic of the close, and of each drop behind it.
#[test]
fn a_panic_that_left_the_manifest_to_nobody_ends_in_no_panic_of_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    flush(&engine, 0..1_000);
    let defect = || {
        let _manifest = engine.life().manifest.lock();
        panic!("a defect");
    };
    assert!(catch_unwind(AssertUnwindSafe(defect)).is_err());
    let closed = engine.close();
    assert!(matches!(closed, Err(CloseError::Poisoned(_))), "{closed:?}");
    let next = Engine::open(dir.path()).unwrap();
    assert_eq!(next.snapshot().select("cpu").unwrap().count().unwrap(), [1_000]);
}
