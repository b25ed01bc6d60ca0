//! P4 on a simulated disk: what a full one still takes, so that it can be emptied.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{Matcher, TimeRange, Timestamp};

use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::{CommitError, CompactError, DeleteError, FlushError, PushError, RetentionError, WaitError};
use crate::faults::{SOON, reached, series};
use crate::gate::Shortage;
use crate::ingest::Request;
use crate::options::{Builder, Durability, Level};
use crate::requests::reply;
use crate::watch::Warning;

/// Of each host that has a segment: more than a file of the log and the reserve together.
const SAMPLES: i64 = 200_000;

pub(crate) fn open(fs: &SimFs, durability: Durability) -> Engine {
    builder(fs, durability).open().unwrap()
}

fn builder(fs: &SimFs, durability: Durability) -> Builder {
    // Nothing rotates by itself: it is the log that finds no space, and no flush before it.
    let builder = Builder::new(None).durability(durability).wal_bytes(64 << 20).query_threads(1);
    // One segment for each host: what is merged takes space to be rewritten.
    let mut builder = builder.background_compaction(false);
    builder.wal_file_bytes = Some(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

pub(crate) fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Values that do not pack.
pub(crate) fn value(n: i64) -> f64 {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64
}

pub(crate) fn fill(engine: &Engine, host: usize, samples: i64) {
    let id = series(engine, host);
    for from in (0..samples).step_by(20_000) {
        let batch: Vec<_> =
            (from..samples.min(from + 20_000)).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
}

pub(crate) fn used(fs: &SimFs) -> u64 {
    fs.files().iter().map(|(_, len)| len).sum()
}

/// A store with segments of three series on a disk that has not a byte left, and a push that waits for space.
fn full(durability: Durability) -> (SimFs, Engine) {
    let fs = SimFs::new();
    let engine = open(&fs, durability);
    fill_up(&fs, &engine, durability);
    (fs, engine)
}

fn fill_up(fs: &SimFs, engine: &Engine, durability: Durability) {
    for host in 0..3 {
        fill(engine, host, SAMPLES);
        engine.flush().unwrap();
    }
    fill(engine, 9, 10);
    fs.set_capacity(Some(used(fs)));
    if !durability.logs() {
        return;
    }
    let began = Instant::now();
    let refused = (0..10_000).find_map(|n| {
        // What is pushed does not pack: no flush of it fits where a delete left something of the reserve.
        let id = series(engine, 8);
        let batch: Vec<_> =
            (0..2000).map(|t| n % 30 * 2000 + t).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
        match engine.push_batch(&batch) {
            // A machine that has others to serve.
            Err(PushError::Timeout { .. }) if began.elapsed() < SOON => None,
            Err(e) => Some(e),
            Ok(ack) => {
                let _ = engine.wait(ack, Level::Visible, Duration::from_millis(5));
                None
            }
        }
    });
    assert_eq!(refused, Some(PushError::DiskFull));
}

pub(crate) fn counts(engine: &Engine) -> Vec<u64> {
    (0..10).map(|host| count(engine, host)).collect()
}

pub(crate) fn count(engine: &Engine, host: usize) -> u64 {
    engine.count_matching(&format!("cpu{{host=\"{host}\"}}"), TimeRange::ALL).unwrap().samples
}

pub(crate) fn delete(engine: &Engine, host: usize, range: impl Into<TimeRange>) -> Result<(), DeleteError> {
    engine.delete(&format!("cpu{{host=\"{host}\"}}"), range).map(drop)
}

pub(crate) fn within<R>(what: &str, mut done: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + SOON;
    loop {
        match done() {
            Some(answer) => return answer,
            None => assert!(Instant::now() < deadline, "{what}"),
        }
        std::thread::yield_now();
    }
}

/// The log's reserve and the manifest's take deletes when there is no space, each durable; what they free lets pushes
/// go on by themselves.
#[test]
fn p4_a_full_disk_takes_deletes_and_resumes_with_the_space_they_give_back() {
    let (fs, engine) = full(Durability::Sync);
    let before = count(&engine, 1);
    for n in 0..20 {
        delete(&engine, 1, at(n * 10)..at(n * 10 + 5)).unwrap_or_else(|e| panic!("delete {n}: {e}"));
        assert_eq!(count(&engine, 1), before - (n as u64 + 1) * 5);
    }
    for disk in [fs.kill(), fs.crash(1), fs.crash(2)] {
        disk.set_capacity(None);
        assert_eq!(count(&open(&disk, Durability::Sync), 1), before - 100, "each delete is durable");
    }
    // All of two segments: they go unread, and their files with them.
    delete(&engine, 0, TimeRange::ALL).unwrap();
    delete(&engine, 2, TimeRange::ALL).unwrap();
    let id = series(&engine, 7);
    let ack = within("pushes go on with what was freed", || engine.push(id, at(1), 1.0).ok());
    reached(&engine, ack, Level::Durable);
    assert!(used(&fs) > 0 && count(&engine, 0) == 0 && count(&engine, 7) == 1);
    // The reserve is there again.
    delete(&engine, 7, TimeRange::ALL).unwrap();
    within("a flush has room", || engine.flush().ok());
    let expected = counts(&engine);
    engine.close().unwrap();
    assert_eq!(counts(&open(&fs, Durability::Sync)), expected);
}

/// Where what is written anew goes elsewhere on the disk (btrfs), the manifest's own pages may find no space: the engine
/// stopped for good.
#[test]
fn p4_no_space_for_the_manifests_own_pages_is_waited_for() {
    for durability in [Durability::Sync, Durability::Memory] {
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        fill(&engine, 0, 1000);
        engine.flush().unwrap();
        fill(&engine, 1, 1000);
        fs.set_full_in_place(Some(Path::new("memory/MANIFEST")));
        assert_eq!(engine.flush(), Err(FlushError::DiskFull), "{durability}");
        let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3_155_760_000)) };
        let kept = Retention { rules: vec![rule], max_bytes: None };
        assert_eq!(engine.set_retention(kept.clone()), Err(RetentionError::DiskFull), "{durability}");
        let id = series(&engine, 2);
        if durability.logs() {
            let ack = engine.push(id, at(1), 1.0).unwrap();
            reached(&engine, ack, Level::Visible);
        } else {
            assert_eq!(engine.push(id, at(1), 1.0), Err(PushError::DiskFull));
        }
        engine.is_healthy().unwrap();
        assert_eq!((count(&engine, 0), count(&engine, 1)), (1000, 1000), "reads go on");
        let killed = fs.kill();
        killed.set_full_in_place(None);
        let logged = u64::from(durability.logs());
        assert_eq!(counts(&open(&killed, durability))[..3], [1000, 1000 * logged, logged], "{durability}");
        fs.set_full_in_place(None);
        let ack = within("pushes go on", || engine.push(id, at(2), 2.0).ok());
        reached(&engine, ack, if durability.logs() { Level::Durable } else { Level::Visible });
        within("a flush has room", || engine.flush().ok());
        engine.set_retention(kept.clone()).unwrap();
        let expected = counts(&engine);
        assert_eq!(expected[..3], [1000, 1000, 1 + logged]);
        for disk in [fs.kill(), fs.crash(1), fs.crash(2)] {
            let again = open(&disk, durability);
            assert_eq!((counts(&again), again.retention()), (expected.clone(), kept.clone()), "{durability}");
        }
    }
}

/// A merge that was due, and did not fit, was tried first each time: what a delete had hidden of another segment, which
/// takes a tenth of the space to be written anew, never gave its space back.
#[test]
fn p4_on_a_full_disk_a_merge_that_does_not_fit_keeps_no_deleted_space() {
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Sync);
    for host in 0..3 {
        fill(&engine, host, SAMPLES);
        engine.flush().unwrap();
    }
    delete(&engine, 1, at(0)..at(SAMPLES / 10 * 9)).unwrap();
    let (before, expected) = (engine.stats().segment_bytes, counts(&engine));
    fs.set_capacity(Some(used(&fs) + before / 3 / 4));
    // Once more, too: it is no matter of which comes first.
    for round in 0..2 {
        assert_eq!(engine.compact(), Err(CompactError::DiskFull), "{round}: all of it does not fit");
        let left = engine.stats().segment_bytes;
        assert!(left < before / 10 * 8, "{round}: {left} of {before} bytes are left");
    }
    assert_eq!((engine.stats().tombstones, counts(&engine)), (0, expected.clone()), "the delete is carried out");
    fs.set_capacity(None);
    engine.compact().unwrap();
    assert_eq!((engine.stats().segments, counts(&engine)), (1, expected));
}

/// A job stands back while flushes are behind: on a full disk they were until it had given space back, and who had asked
/// for it never heard.
#[test]
fn p4_what_gives_space_back_does_not_wait_for_a_flush_that_waits_for_space() {
    let fs = SimFs::new();
    let engine = Arc::new(open(&fs, Durability::Sync));
    for host in 0..2 {
        fill(&engine, host, SAMPLES);
        engine.flush().unwrap();
    }
    let before = engine.stats().segment_bytes;
    fill(&engine, 8, SAMPLES * 3);
    // There is room for another file of the log and a tenth of a segment, for this flush there is none.
    fs.set_capacity(Some(used(&fs) + (1 << 20) + before / 6));
    within("a flush finds no space", || engine.flush().is_err().then_some(()));
    // Its tries take, for a moment, what is free: a new file of the log waits for that.
    let id = series(&engine, 9);
    let ack = within("there is room for the log", || engine.push(id, at(1), 1.0).ok());
    reached(&engine, ack, Level::Visible);
    within("the next one waits, too", || {
        let _ = engine.flush();
        (engine.stats().sealed_memtables == 2).then_some(())
    });
    delete(&engine, 1, at(0)..at(SAMPLES / 10 * 9)).unwrap();
    let (done, told) = mpsc::channel();
    let asking = Arc::clone(&engine);
    std::thread::spawn(move || {
        within("deleted space is given back", || {
            // Nor has a compaction room amid such a try.
            let _ = asking.compact();
            (asking.stats().segment_bytes < before / 10 * 7).then_some(())
        });
        done.send(())
    });
    told.recv_timeout(SOON).expect("who asks for a compaction is answered");
    assert_eq!((count(&engine, 1), count(&engine, 8)), (SAMPLES as u64 / 10, SAMPLES as u64 * 3));
}

/// Who waited for a push that was under way when the disk ran full outwaited his patience, without a reason.
#[test]
fn p4_a_push_under_way_when_the_disk_fills_is_told_at_once_and_comes_with_the_space() {
    for (level, durability) in
        [(Level::Visible, Durability::Sync), (Level::Durable, Durability::Sync), (Level::Visible, Durability::DEFAULT)]
    {
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        fill(&engine, 0, 1000);
        fs.set_capacity(Some(used(&fs)));
        let told = (0..1_000_000).find_map(|n| {
            let batch: Vec<_> =
                (0..500).map(|t| SeriesSample::new(series(&engine, 8), at(n * 500 + t), value(n * 500 + t))).collect();
            // Its own push finds the disk full, and no other was refused before.
            let ack = engine.push_batch(&batch).unwrap();
            // Longer than any test runs: what answers is no timeout.
            let e = engine.wait(ack, level, Duration::from_secs(3600)).err()?;
            Some((ack, e, (n as u64 + 1) * 500))
        });
        let (ack, why, pushed) = told.expect("the disk is full");
        assert_eq!(why, WaitError::DiskFull, "{level:?}, {durability:?}");
        assert!(count(&engine, 8) < pushed, "what is not logged is not shown");
        assert_eq!(engine.push(series(&engine, 8), at(-1), 1.0), Err(PushError::DiskFull));
        // A future is told, too.
        let mut future = std::pin::pin!(engine.wait_async(ack, level));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut context), std::task::Poll::Ready(Err(WaitError::DiskFull)));
        fs.set_capacity(None);
        within("there is space", || engine.wait(ack, level, SOON).ok());
        assert_eq!(count(&engine, 8), pushed, "{level:?}, {durability:?}");
    }
}

/// Closed in the middle of a commit of several frames that found no space: the worker gave the commit up, and served what
/// was asked meanwhile. A delete took the number of a sample that was in the log.
#[test]
fn p4_nothing_follows_a_commit_that_was_begun_and_given_up_at_the_close() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Sync).wal_bytes(64 << 20).lane_samples(1 << 21);
    builder.wal_file_bytes = Some(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.background_compaction(false).open().unwrap();
    fill(&engine, 0, 1000);
    engine.flush().unwrap();
    // Two frames of half a million samples, and room for one.
    fs.set_capacity(Some(used(&fs) + (6 << 20)));
    let id = series(&engine, 8);
    let batch: Vec<_> = (0..1 << 20).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
    let ack = engine.appender().unwrap().push_batch(&batch).unwrap();
    assert_eq!(engine.wait(ack, Level::Visible, SOON), Err(WaitError::DiskFull));
    assert!(matches!(delete(&engine, 9, TimeRange::ALL), Err(DeleteError::DiskFull)), "it is amid the commit");
    // Between two tries, of which each refuses what it finds.
    let core = &engine.life().core;
    let (replier, mut deleted) = reply();
    let matchers = vec![Matcher::equal("host", "0")];
    core.requests.ask(Request::Delete { matchers, range: TimeRange::ALL, created: 0, replier }, 1, SOON).unwrap();
    let _ = engine.close();
    let deleted = deleted.wait(Some(SOON));
    assert!(!matches!(deleted, Ok(Ok(_))), "nobody may know what it hides");
    let disk = fs.kill();
    disk.set_capacity(None);
    let again = open(&disk, Durability::Sync);
    assert_eq!(count(&again, 0), 1000);
    assert!([0, 1 << 19].contains(&count(&again, 8)), "a prefix");
}

/// A flush wants all of its space at once: while there is less, but room for the log, pushes go on. They waited for the
/// flush, behind a delete, which seals, and behind an opening, which seals what it replays.
#[test]
fn p4_pushes_resume_with_room_for_the_log_where_a_flush_has_none() {
    for killed in [false, true] {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Sync);
        // Some 4 MiB of a segment.
        fill(&engine, 0, 600_000);
        fs.set_capacity(Some(used(&fs)));
        let refused = (0..10_000).find_map(|n| match engine.push(series(&engine, 8), at(n), value(n)) {
            Ok(ack) => engine.wait(ack, Level::Durable, Duration::from_millis(1)).err().map(drop),
            Err(PushError::DiskFull) => Some(()),
            Err(e) => panic!("{e}"),
        });
        assert_eq!(refused, Some(()));
        let (disk, engine) = if killed {
            let disk = fs.kill();
            drop(engine);
            disk.set_capacity(Some(used(&disk)));
            let engine = open(&disk, Durability::Sync);
            (disk, engine)
        } else {
            delete(&engine, 9, TimeRange::ALL).unwrap();
            (fs, engine)
        };
        within("a flush finds no space", || engine.flush().is_err().then_some(()));
        let before = counts(&engine);
        disk.set_capacity(Some(used(&disk) + (2 << 20)));
        let id = series(&engine, 7);
        let ack = within("pushes go on", || engine.push(id, at(1), 1.0).ok());
        reached(&engine, ack, Level::Durable);
        assert!(engine.flush().is_err(), "and the flush still finds none");
        assert_eq!((count(&engine, 7), &counts(&engine)[..7]), (1, &before[..7]));
        let back = disk.kill();
        back.set_capacity(None);
        assert_eq!(counts(&open(&back, Durability::Sync)), counts(&engine));
        disk.set_capacity(None);
        within("the flush goes on by itself", || engine.flush().ok());
        let expected = counts(&engine);
        engine.close().unwrap();
        assert_eq!(counts(&open(&disk, Durability::Sync)), expected);
    }
}

#[test]
fn p4_a_full_disk_takes_a_rule_of_retention_and_resumes() {
    let (_fs, engine) = full(Durability::Sync);
    // Everything here is of 1970.
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    let id = series(&engine, 7);
    let now = crate::clock::now();
    let ack = within("pushes go on with what was freed", || engine.push(id, now, 1.0).ok());
    reached(&engine, ack, Level::Durable);
    assert_eq!(counts(&engine), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
}

/// Killed on a full disk: the log's reserve makes room for the manifest, and deletes are taken again.
#[test]
fn p4_a_store_opens_on_a_full_disk_and_takes_deletes() {
    let (fs, engine) = full(Durability::Sync);
    let expected = counts(&engine);
    let disk = fs.kill();
    drop(engine);
    disk.set_capacity(Some(used(&disk)));
    let engine = open(&disk, Durability::Sync);
    assert_eq!(counts(&engine), expected);
    delete(&engine, 0, TimeRange::ALL).unwrap();
    delete(&engine, 2, TimeRange::ALL).unwrap();
    assert_eq!(count(&engine, 0), 0);
    let id = series(&engine, 7);
    let ack = within("pushes go on with what was freed", || engine.push(id, at(1), 1.0).ok());
    reached(&engine, ack, Level::Durable);
}

/// Killed on a full disk after deletes had used up what they may have of the reserve: it used to stay shut, for there
/// was no space for a manifest.
#[test]
fn p4_a_store_opens_on_a_full_disk_after_deletes_used_the_reserve_up() {
    let (fs, engine) = full(Durability::Sync);
    let long: String = (0..30_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    let refused = (0..100).find(|n| {
        let selector = format!("cpu{{host=\"1\",x!=\"{n}{long}\"}}");
        engine.delete(&selector, at(*n)..at(n + 1)).is_err()
    });
    assert!(refused.is_some_and(|n| n > 2), "{refused:?}");
    let expected = counts(&engine);
    let mut disk = fs.kill();
    drop(engine);
    // However little space there is: for the manifest, but not for the deletes that go there, too. They hold once the
    // log has gone.
    for space in (0..320 << 10).step_by(64 << 10) {
        let disk = disk.kill();
        disk.set_capacity(Some(used(&disk) + space));
        let engine = open(&disk, Durability::Sync);
        assert_eq!(counts(&engine), expected, "{space} bytes");
        disk.set_capacity(None);
        let id = series(&engine, 9);
        let ack = within("pushes go on", || engine.push(id, at(1), 1.0).ok());
        reached(&engine, ack, Level::Visible);
        within("the flush finds space", || engine.flush().ok());
        let again = disk.kill();
        drop(engine);
        assert_eq!(counts(&open(&again, Durability::Sync)), expected, "{space} bytes, and flushed");
    }
    // Killed again, it opens again.
    for _ in 0..3 {
        disk.set_capacity(Some(used(&disk)));
        let engine = open(&disk, Durability::Sync);
        assert_eq!(counts(&engine), expected);
        disk = disk.kill();
    }
    disk.set_capacity(Some(used(&disk)));
    let engine = open(&disk, Durability::Sync);
    // Everything here is of 1970.
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    let (id, now) = (series(&engine, 7), crate::clock::now());
    let ack = within("pushes go on with what was freed", || engine.push(id, now, 1.0).ok());
    reached(&engine, ack, Level::Durable);
    delete(&engine, 7, TimeRange::ALL).unwrap();
}

/// Without a log a delete stands in the manifest, whose reserve takes it.
#[test]
fn p4_without_a_log_a_full_disk_takes_deletes_too() {
    let (fs, engine) = full(Durability::Memory);
    // All but one: a segment that goes whole gives space back before the line is written.
    delete(&engine, 0, at(1)..at(SAMPLES)).unwrap();
    assert_eq!(count(&engine, 0), 1);
    assert_eq!(engine.stats().unaudited_acts, 1, "its line found no space");
    let disk = fs.crash(3);
    disk.set_capacity(None);
    let again = open(&disk, Durability::Memory);
    assert_eq!((count(&again, 0), count(&again, 1)), (1, SAMPLES as u64));
}

/// That there is no line was a number in the statistics: of what, and why, nobody was told.
#[test]
fn who_hears_warnings_is_told_of_acts_that_audit_log_lacks() {
    let (fs, (told, warnings)) = (SimFs::new(), mpsc::channel());
    let (told, builder) = (Mutex::new(told), builder(&fs, Durability::Memory));
    let engine = builder.on_warning(move |warning| drop(told.lock().unwrap().send(warning.clone()))).open().unwrap();
    fill_up(&fs, &engine, Durability::Memory);
    // Neither takes all of a segment: one that goes gives space back, and the next act is noted in it.
    delete(&engine, 0, at(0)..at(5)).unwrap();
    let century = Duration::from_secs(3_155_760_000);
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(century) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    assert_eq!(engine.stats().unaudited_acts, 2);
    // Whatever is not told yet is told before the engine has closed.
    drop(engine);
    for done in ["of cpu{host=\"0\"}", "a change of the retention to {rules: \"{}=3155760000s\""] {
        let warning = warnings.recv_timeout(SOON).unwrap();
        let Warning::Unaudited { act, error } = &warning else { panic!("{warning}") };
        assert!(act.contains(done) && error.contains("space"), "{warning}");
    }
}

/// Without a log, deletes that are many and large use the reserve of the manifest up: that they are hidden and not
/// noted is told, and once there is space the next one notes them all.
#[test]
fn p4_without_a_log_a_delete_that_cannot_be_noted_is_told() {
    let (fs, engine) = full(Durability::Memory);
    let long: String = (0..30_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    let refused = (0..300).find_map(|n| {
        let selector = format!("cpu{{host=\"1\",x!=\"{n}{long}\"}}");
        engine.delete(&selector, at(n)..at(n + 1)).err().map(|e| (n, e))
    });
    let Some((n, why @ DeleteError::NotNoted { short_of: Shortage::Space })) = refused else { panic!("{refused:?}") };
    assert!(why.to_string().contains("make space, then delete again"), "{why}");
    assert!(!why.to_string().contains("ulimit"), "{why}");
    let files = DeleteError::NotNoted { short_of: Shortage::Files }.to_string();
    assert!(files.contains("ulimit -n") && !files.contains("space"), "{files}");
    assert_eq!(count(&engine, 1), SAMPLES as u64 - n as u64 - 1, "it is hidden all the same");
    fs.set_capacity(None);
    engine.delete("cpu{host=\"1\"}", at(n)..at(n + 1)).unwrap();
    let again = open(&fs.crash(3), Durability::Memory);
    assert_eq!(count(&again, 1), SAMPLES as u64 - n as u64 - 1);
}

/// Deletes that are many and large use the reserve up: that is told, and nothing of the refused one is hidden.
#[test]
fn p4_a_reserve_that_is_used_up_is_told() {
    let (_fs, engine) = full(Durability::Sync);
    let long: String = (0..30_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    // More than fit anywhere: a file of the log may be free once more, as a flush ends meanwhile or not.
    let refused = (0..2_000).find_map(|n| {
        let selector = format!("cpu{{host=\"1\",x!=\"{n}{long}\"}}");
        engine.delete(&selector, at(n)..at(n + 1)).err().map(|e| (n, e))
    });
    let Some((n, DeleteError::DiskFull)) = refused else { panic!("{refused:?}") };
    assert!(n > 2, "only {n} fit");
    assert_eq!(count(&engine, 1), SAMPLES as u64 - n as u64);
    // Where a flush has ended meanwhile, what it let go of is filled first.
    within("a batch is refused, too", || {
        let mut batch = engine.batch();
        let refused = batch.push(series(&engine, 7), at(1), 1.0).is_err();
        matches!(batch.commit(), Err(CommitError::DiskFull)).then_some(()).filter(|()| refused)
    });
}
