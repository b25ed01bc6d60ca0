//! SF1 and SF2: what a failed sync of the segments' folder takes, and who learns of it when.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::error::{CompactError, FlushError};
use crate::faults::{SOON, contents, series};
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;

/// Time enough for another thread to go on, if it may.
const YIELDS: u32 = 10_000;
const HOUR: Duration = Duration::from_secs(3600);

fn open(fs: Arc<dyn Fs>, durability: Durability) -> Engine {
    let mut builder = Builder::new(None).durability(durability).background_compaction(false).wal_bytes(1 << 20);
    builder.pace = Pace::NEVER;
    builder.fs = Some(fs);
    builder.open().unwrap()
}

fn push(engine: &Engine, at: i64, level: Level) {
    let ack = engine.push(series(engine, 1), Timestamp::from_nanos(at), 1.0).unwrap();
    engine.wait(ack, level, SOON).unwrap();
}

/// A full disk, or a quota, that a sync of the folder met passed for one that may be waited for: it was tried again, and
/// succeeded without what the first one had lost.
#[test]
fn p4_a_folder_whose_sync_found_no_space_is_never_synced_again() {
    for compacts in [false, true] {
        let mut poisoned = Vec::new();
        for operation in 1.. {
            let fs = SimFs::new();
            let engine = open(Arc::new(fs.clone()), Durability::Memory);
            for at in 0..2 {
                push(&engine, at, Level::Visible);
                engine.flush().unwrap();
            }
            push(&engine, 2, Level::Visible);
            let at = fs.operations() + operation;
            fs.fail_at(at, Fault::Full);
            let cause = if compacts {
                match engine.compact() {
                    Err(CompactError::Poisoned(why)) => Some(why.cause),
                    other => other.err().map(|e| assert_eq!(e, CompactError::DiskFull)).and(None),
                }
            } else {
                match engine.flush() {
                    Err(FlushError::Poisoned(why)) => Some(why.cause),
                    other => other.err().map(|e| assert_eq!(e, FlushError::DiskFull)).and(None),
                }
            };
            poisoned.extend(cause);
            if fs.operations() < at {
                break;
            }
        }
        let folder = poisoned.iter().filter(|why| why.contains("the folder of the segments cannot be synced")).count();
        assert_eq!(folder, 1, "compacts: {compacts}; {poisoned:?}");
    }
}

/// Who has come how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing is held up yet.
    #[default]
    Before,
    /// The compaction is to sync the folder.
    Compacts,
    /// The flush has given its segment its name.
    Named,
    /// The sync of the compaction has failed.
    Failed,
    /// The flush has ended, well or not.
    Flushed,
}

#[derive(Default)]
struct Stages {
    now: Mutex<Stage>,
    /// The flush has synced the folder behind the sync that failed.
    synced_behind: AtomicBool,
    changed: Condvar,
}

impl Stages {
    fn is_at(&self, stage: Stage) -> bool {
        *self.now.lock().unwrap() == stage
    }

    fn come_to(&self, stage: Stage) {
        *self.now.lock().unwrap() = stage;
        self.changed.notify_all();
    }

    fn wait_for(&self, stage: Stage) {
        let guard = self.now.lock().unwrap();
        let (_guard, waited) = self.changed.wait_timeout_while(guard, SOON, |now| *now < stage).unwrap();
        assert!(!waited.timed_out(), "{stage:?} does not come");
    }

    /// What the disk holds up, and lets fail.
    fn heard(&self, fs: &SimFs, when: When, call: Call, path: &Path) {
        let compacts = std::thread::current().name().is_some_and(|name| name.contains("compact"));
        let is_segment = path.extension().is_some_and(|e| e == "seg");
        match (when, call) {
            (When::Before, Call::SyncDir) if compacts && self.is_at(Stage::Before) && path.ends_with("segments") => {
                self.come_to(Stage::Compacts);
                self.wait_for(Stage::Named);
                fs.fail_sync_at(fs.syncs() + 1);
            }
            (When::After, Call::SyncDir) if compacts && self.is_at(Stage::Named) => {
                self.come_to(Stage::Failed);
                // Nobody but this thread knows yet. A flush that did not wait for it (SF2) would sync now.
                (0..YIELDS).for_each(|_| std::thread::yield_now());
            }
            (When::After, Call::SyncDir) if !compacts && self.is_at(Stage::Failed) => {
                self.synced_behind.store(true, Ordering::Relaxed);
            }
            (When::After, Call::Rename) if !compacts && is_segment && self.is_at(Stage::Compacts) => {
                self.come_to(Stage::Named);
                self.wait_for(Stage::Failed);
            }
            // The first thing that who had the failed sync does behind it.
            (When::Before, Call::Remove) if compacts && self.is_at(Stage::Failed) => self.wait_for(Stage::Flushed),
            _ => {}
        }
    }
}

/// A flush has renamed its segment; the folder's sync of a compaction fails, and takes that name along; the flush's own
/// succeeds. Its commit named the segment and let the log go before the compaction had told of its failure: after a power
/// loss what was flushed was nowhere.
#[test]
fn p4_no_flush_is_committed_behind_a_failed_sync_of_the_folder() {
    let stages = Arc::new(Stages::default());
    let (fs, staged) = (SimFs::new(), Arc::clone(&stages));
    let disk = fs.clone();
    let hooked = Hooked::around(&fs, move |when, call, path| staged.heard(&disk, when, call, path));
    let engine = open(hooked, Durability::Interval(HOUR));
    for at in 0..2 {
        push(&engine, at, Level::Durable);
        engine.flush().unwrap();
    }
    push(&engine, 2, Level::Durable);
    let (compacted, flushed) = std::thread::scope(|scope| {
        let compacts = scope.spawn(|| engine.compact());
        stages.wait_for(Stage::Compacts);
        let flushed = engine.flush();
        stages.come_to(Stage::Flushed);
        (compacts.join().unwrap(), flushed)
    });
    assert!(matches!(compacted, Err(CompactError::Poisoned(_))), "{compacted:?}");
    let all = contents(&engine);
    assert_eq!(all.len(), 3);
    let disk = fs.kill();
    for seed in 0..32 {
        let back = contents(&open(Arc::new(disk.crash(seed)), Durability::Sync));
        assert_eq!(back, all, "{seed}, where the flush said {flushed:?}");
    }
    assert!(matches!(flushed, Err(FlushError::Poisoned(_))), "{flushed:?}");
    assert!(!stages.synced_behind.load(Ordering::Relaxed), "one sync at a time, and none behind one that failed");
}

/// What ended the engine may have taken what a flush or a compaction is about to commit. Their last look at it is under the
/// manifest's lock: here it ends once the new segment has its name, durably.
#[test]
fn what_is_made_is_not_committed_once_the_engine_has_ended() {
    for compacts in [false, true] {
        let (fs, ends) = (SimFs::new(), Arc::new(Mutex::new(None::<Engine>)));
        let ended = Arc::clone(&ends);
        let hooked = Hooked::around(&fs, move |when, call, path| {
            if (when, call) == (When::After, Call::SyncDir) && path.ends_with("segments") {
                let engine = ended.lock().unwrap().take();
                engine.into_iter().for_each(|engine| engine.life().core.poison("the disk is gone".to_owned()));
            }
        });
        let engine = open(hooked, Durability::Memory);
        for at in 0..2 {
            push(&engine, at, Level::Visible);
            engine.flush().unwrap();
        }
        push(&engine, 2, Level::Visible);
        let named = || engine.life().manifest.lock().unwrap().state().segments.clone();
        let before = named();
        *ends.lock().unwrap() = Some(engine.clone());
        if compacts {
            assert!(matches!(engine.compact(), Err(CompactError::Poisoned(_))));
        } else {
            assert!(matches!(engine.flush(), Err(FlushError::Poisoned(_))));
        }
        assert!(ends.lock().unwrap().is_none(), "compacts: {compacts}: it was ended on its way");
        assert_eq!(named(), before, "compacts: {compacts}");
    }
}

/// Two threads of the pool that write outputs side by side: the second one's sync succeeds, and says nothing.
#[test]
fn a_sync_behind_one_that_failed_fails_and_no_file_that_may_be_opened_is_no_failure() {
    let (fs, dir) = (SimFs::new(), PathBuf::from("memory/segments"));
    let engine = open(Arc::new(fs.clone()), Durability::Memory);
    let core = &engine.life().core;
    let sync = || core.segment_folder.sync(core, &fs, &dir);
    fs.fail_at(fs.operations() + 1, Fault::Files);
    assert!(sync().is_err() && engine.is_healthy().is_ok());
    sync().unwrap();
    fs.fail_sync_at(fs.syncs() + 1);
    sync().unwrap_err();
    assert!(engine.is_healthy().is_err(), "before anybody is told");
    let syncs = fs.syncs();
    assert!(sync().unwrap_err().to_string().contains("an earlier sync"));
    assert_eq!(fs.syncs(), syncs, "it is not tried again");
}
