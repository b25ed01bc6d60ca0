//! A backup opens, verifies, and holds everything that was visible when it was asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{Matcher, TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

use super::restore::restore_on;
use super::*;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::recovery::Recovery;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::verify::verify_on;

pub(super) const COPY: &str = "copies/one";

pub(super) fn open_in(fs: &SimFs, dir: &str) -> Engine {
    open_with(fs, dir, Durability::Interval(Duration::from_millis(5)))
}

pub(super) fn open_with(fs: &SimFs, dir: &str, durability: Durability) -> Engine {
    let mut builder = Builder::new(None).durability(durability);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open_at(dir.into()).unwrap()
}

pub(super) fn push(engine: &Engine, round: i64) {
    let mut samples = Vec::new();
    for host in 0..3 {
        let series = engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap();
        let at = |i: i64| Timestamp::from_nanos((round * 100 + i) * 1000);
        samples.extend((0..100).map(|i| SeriesSample::new(series, at(i), (round * 100 + i) as f64)));
    }
    let ack = engine.push_batch(&samples).unwrap();
    engine.wait(ack, Level::Visible, Duration::from_secs(30)).unwrap();
}

pub(super) fn contents(engine: &Engine) -> BTreeMap<(String, i64), u64> {
    let mut all = BTreeMap::new();
    for source in engine.snapshot().sources() {
        for hit in source.select(&[]).unwrap() {
            let mut columns = Columns::default();
            let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
            while cursor.next(&mut columns).unwrap() {}
            let labels = source.labels(hit.ordinal).unwrap().to_string();
            let bits = columns.values.iter().map(|v| v.to_bits());
            all.extend(columns.timestamps.iter().zip(bits).map(|(t, v)| ((labels.clone(), *t), v)));
        }
    }
    all
}

pub(super) fn make(engine: &Engine) -> Result<BackupReport, BackupError> {
    backup_to(engine, Path::new(COPY), &|_, _| {})
}

/// Restores what lies in `from`, which nobody owns.
pub(super) fn restored(fs: &SimFs, from: &str, to: &str) -> Result<BackupReport, BackupError> {
    restore_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new(from), Path::new(to), &|_, _| {}, &|| Ok(()))
}

pub(super) fn is_sound(fs: &SimFs, dir: &str) -> bool {
    verify_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new(dir), None, &|_, _| {}).unwrap().is_sound()
}

#[test]
fn a_backup_of_a_living_engine_opens_verifies_and_lives_on_by_itself() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    (0..3).for_each(|round| push(&engine, round));
    engine.flush().unwrap();
    (3..5).for_each(|round| push(&engine, round));
    let before = contents(&engine);
    let report = make(&engine).unwrap();
    assert_eq!((report.segments, report.samples, report.bytes_copied), (2, 1500, 0), "linked, not copied");
    push(&engine, 5);
    let after_power_loss = fs.crash(3);
    for disk in [&fs, &after_power_loss] {
        assert!(is_sound(disk, COPY));
        let copy = open_in(disk, COPY);
        assert!(contents(&copy) == before);
        push(&copy, 77);
        copy.close().unwrap();
        assert!(is_sound(disk, COPY));
    }
    push(&engine, 6);
    engine.close().unwrap();
    let again = open_in(&fs, "memory");
    assert_eq!(contents(&again).len(), 2100, "what happens to the copy does not touch the store");
    assert!(is_sound(&fs, "memory"));
    let audit = fs.map(Path::new("memory/audit.log")).unwrap();
    assert!(std::str::from_utf8(&audit).unwrap().contains("\"act\":\"backup\""));
}

#[test]
fn a_backup_tells_how_far_it_is() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open_at("memory".into()).unwrap();
    for round in 0..3 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    let told = RefCell::new(Vec::new());
    let report = backup_to(&engine, Path::new(COPY), &|done, total| told.borrow_mut().push((done, total))).unwrap();
    let told = told.into_inner();
    assert_eq!((report.segments, told.len()), (3, 4), "nothing yet, then each segment");
    assert_eq!((told[0], told[3]), ((0, report.bytes), (report.bytes, report.bytes)));
    assert!(told.is_sorted_by(|a, b| a.0 < b.0 && a.1 == b.1), "{told:?}");
}

/// Deletes that came while a copy was made went into it, and what was pushed before them did not: where each generation
/// replaces the one before, some copies held none.
#[test]
fn a_backup_beside_pushes_and_deletes_is_a_cut_of_their_order() {
    // Without a log, deletes stand in the manifest before anything is flushed.
    for durability in [Durability::Interval(Duration::from_millis(5)), Durability::Memory] {
        let fs = SimFs::new();
        let engine = open_with(&fs, "memory", durability);
        let stop = AtomicBool::new(false);
        let generation = |n: u64| {
            let series = engine.series(&[("__name__", "g"), ("n", &n.to_string())]).unwrap();
            let all: Vec<_> = (0..50).map(|i| SeriesSample::new(series, Timestamp::from_nanos(i), n as f64)).collect();
            let ack = engine.push_batch(&all).unwrap();
            engine.wait(ack, Level::Visible, Duration::from_secs(30)).unwrap();
        };
        generation(0);
        let replaces = || {
            for n in (1..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                generation(n);
                engine.delete(&format!("g{{n=\"{}\"}}", n - 1), TimeRange::ALL).unwrap();
            }
        };
        let copies: Vec<String> = (0..15).map(|n| format!("copies/{n}")).collect();
        std::thread::scope(|scope| {
            scope.spawn(replaces);
            for copy in &copies {
                let made = backup_to(&engine, Path::new(copy), &|_, _| {});
                if made.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                made.unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        for copy in &copies {
            let held = contents(&open_in(&fs, copy));
            let series: BTreeSet<&String> = held.keys().map(|(series, _)| series).collect();
            let whole = held.len() == 50 * series.len() && (1..=2).contains(&series.len());
            assert!(whole, "{durability:?}: {copy} holds {} samples of {series:?}", held.len());
        }
    }
}

/// A segment that was merged while others were copied had the whole copy begun anew: beside pushes, a copy to another file
/// system never ended.
#[test]
fn what_compaction_replaces_while_a_copy_is_made_is_in_the_copy() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    for round in 0..4 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    let (before, begun) = (contents(&engine), RefCell::new(0));
    let merge = |done: u64, _| {
        if done == 0 {
            *begun.borrow_mut() += 1;
            engine.compact().unwrap();
        }
    };
    let report = backup_to(&engine, Path::new(COPY), &merge).unwrap();
    assert_eq!((begun.into_inner(), report.samples, engine.stats().segments), (1, 1200, 1), "{report:?}");
    assert!(is_sound(&fs, COPY));
    assert!(contents(&open_in(&fs, COPY)) == before);
    // What the copy held is let go of.
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs.list(Path::new("memory/segments")).unwrap().len() > 1 {
        assert!(Instant::now() < deadline, "files of what was replaced stay");
        engine.compact().unwrap();
    }
}

/// A close removed what compaction had replaced, though a copy under way still needed it.
#[test]
fn bk8_a_copy_that_a_close_overtakes_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, target) = (dir.path().join("store"), dir.path().join("copy"));
    let engine = several_segments(&store);
    let before = contents(&engine);
    let close = |done: u64, _| {
        if done == 0 {
            engine.compact().unwrap();
            engine.clone().close().unwrap();
        }
    };
    let report = backup_to(&engine, &target, &close).unwrap();
    assert_eq!((report.segments, report.samples), (3, 900));
    assert!(matches!(backup_to(&engine, &dir.path().join("late"), &|_, _| {}), Err(BackupError::Flush(_))));
    assert!(contents(&Engine::open(&target).unwrap()) == before);
    drop(engine);
    // What was kept for the copy goes at the next opening.
    assert_eq!(std::fs::read_dir(store.join("segments")).unwrap().count(), 4);
    assert!(contents(&Engine::open(&store).unwrap()) == before);
    assert_eq!(std::fs::read_dir(store.join("segments")).unwrap().count(), 1);
}

/// Whoever opens the store next is not held up by a copy that is still being made; the copy is no half one.
#[test]
fn bk8_a_copy_that_misses_a_segment_behind_a_close_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, target) = (dir.path().join("store"), dir.path().join("copy"));
    let engine = several_segments(&store);
    let reopen = |done: u64, _| {
        if done == 0 {
            engine.compact().unwrap();
            engine.clone().close().unwrap();
            Engine::open(&store).unwrap().close().unwrap();
        }
    };
    let refused = backup_to(&engine, &target, &reopen).unwrap_err();
    assert!(
        matches!(refused, BackupError::Closed) && refused.to_string().contains("open the store again"),
        "{refused}"
    );
    assert!(!target.exists());
}

fn several_segments(store: &Path) -> Engine {
    let engine = Engine::builder(store).background_compaction(false).open().unwrap();
    for round in 0..3 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    engine
}

/// A close amid the flush that a copy begins with was the end of the copy, though it brings the same into segments.
#[test]
fn bk8_a_close_amid_the_flush_of_a_copy_does_it_all_for_it() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open_at("memory".into()).unwrap();
    push(&engine, 0);
    engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
    engine.flush().unwrap();
    push(&engine, 1);
    let (before, core) = (contents(&engine), Arc::clone(&engine.life().core));
    // Nothing else is under way, and the flush of the copy does not end before the close has begun. The copy's folder is
    // made before that.
    let seen = Arc::clone(&core);
    fs.on_sync(Arc::new(move || {
        while seen.copies.load(Ordering::Relaxed) > 0 && seen.gate.why_shut().is_none() {
            std::thread::yield_now();
        }
        "a sync".into()
    }));
    std::thread::scope(|scope| {
        let copy = scope.spawn(|| make(&engine));
        while core.copies.load(Ordering::Relaxed) == 0 {
            assert!(!copy.is_finished(), "it was not begun");
            std::thread::yield_now();
        }
        engine.clone().close().unwrap();
        assert_eq!(copy.join().unwrap().unwrap().samples, 600);
    });
    assert!(is_sound(&fs, COPY));
    assert!(contents(&open_in(&fs, COPY)) == before);
}

/// What a delete hides that a copy under way does not have is still there: on a full disk nothing is flushed behind it.
#[test]
fn while_a_copy_is_made_compaction_carries_out_no_delete_that_it_lacks() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    engine.flush().unwrap();
    push(&engine, 1);
    fs.set_capacity(Some(fs.files().iter().map(|(_, len)| len).sum()));
    let (cut, visible) = Cut::begin(engine.life()).unwrap();
    engine.delete("cpu", TimeRange::ALL).unwrap();
    let _ = engine.compact();
    assert_eq!(engine.stats().segments, 1, "all of it is deleted, behind what the copy has");
    assert!(engine.life().cut(visible).0.tombstones.is_empty());
    drop(cut);
    assert_eq!(count_of(&engine), 0);
    // With the space a flush may make another segment first, which goes, too.
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.stats().segments > 0 {
        assert!(Instant::now() < deadline, "what is deleted stays");
        let _ = engine.compact();
    }
}

/// Deletes in a store that nobody pushes to waited for the end of a copy, and after 1,000 of them all were refused.
#[test]
fn while_a_copy_is_made_deletes_of_what_is_in_segments_are_carried_out() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    engine.flush().unwrap();
    let (cut, _) = Cut::begin(engine.life()).unwrap();
    engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert_eq!((engine.stats().tombstones, count_of(&engine)), (0, 200), "it is carried out");
    drop(cut);
}

fn count_of(engine: &Engine) -> u64 {
    engine.count_matching("cpu", TimeRange::ALL).unwrap().samples
}

/// What is hidden stays hidden in the copy, before its compaction and after, and it goes on by the same rules.
#[test]
fn a_backup_takes_deletes_and_rules_of_retention_along() {
    let fs = SimFs::new();
    let open = |dir: &str| {
        let mut builder = Builder::new(None).background_compaction(false);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder.open_at(dir.into()).unwrap()
    };
    let engine = open("memory");
    (0..2).for_each(|round| push(&engine, round));
    engine.flush().unwrap();
    // One delete reaches a segment, the other what is still in memory.
    let all = TimeRange::ALL;
    engine.delete(r#"{host="0"}"#, Timestamp::from_nanos(0)..Timestamp::from_nanos(50_000)).unwrap();
    push(&engine, 2);
    engine.delete(r#"{host="1"}"#, all).unwrap();
    let host_2 = vec![Matcher::equal("host", "2")];
    let rule = RetentionRule { matchers: host_2, max_age: Some(Duration::from_secs(3600)) };
    let kept = Retention { rules: vec![rule], ..engine.retention() };
    engine.set_retention(kept.clone()).unwrap();
    let before = contents(&engine);
    assert_eq!(before.len(), 250, "of 900: 50 and 300 are deleted, 300 are of 1970");
    make(&engine).unwrap();
    engine.close().unwrap();
    let copy = open(COPY);
    assert!(contents(&copy) == before);
    assert_eq!((copy.retention(), copy.stats().tombstones), (kept.clone(), 2));
    assert!(is_sound(&fs, COPY));
    copy.compact().unwrap();
    assert!(contents(&copy) == before, "compaction brings nothing back");
    assert_eq!((copy.stats().segment_samples, copy.stats().tombstones), (250, 0), "and gives the space back");
    push(&copy, 3);
    assert_eq!(contents(&copy).len(), 250 + 200, "a delete is over; an age goes on");
    copy.close().unwrap();
    let restored = restored(&fs, COPY, "new");
    restored.unwrap();
    let new = open("new");
    assert_eq!((contents(&new).len(), new.retention()), (450, kept));
}

#[test]
fn a_backup_never_overwrites_and_so_does_a_restore() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    make(&engine).unwrap();
    assert!(matches!(make(&engine), Err(BackupError::NotEmpty { .. })));
    for target in ["memory", COPY] {
        let refused = restored(&fs, COPY, target);
        assert!(matches!(refused, Err(BackupError::NotEmpty { .. })), "{target}");
    }
    let report = restored(&fs, COPY, "new").unwrap();
    assert_eq!((report.samples, report.bytes_copied), (300, report.bytes));
    assert!(is_sound(&fs, "new"));
    assert!(contents(&open_in(&fs, "new")) == contents(&engine));
    assert!(restored(&fs, "none", "newer").is_err());
    assert!(fs.list(Path::new("newer")).is_err(), "nothing is left behind");
}

/// BK3: power is lost at every operation of a backup. The copy is whole, or it is no store; the store is as it was.
#[test]
fn an_interrupted_backup_is_whole_or_no_store() {
    let disk = || {
        let fs = SimFs::new();
        let engine = open_in(&fs, "memory");
        (0..2).for_each(|round| push(&engine, round));
        engine.flush().unwrap();
        (fs, engine)
    };
    let (fs, engine) = disk();
    let all = contents(&engine);
    let from = fs.operations();
    make(&engine).unwrap();
    let to = fs.operations();
    let mut whole = 0;
    for stop in from..to + 1 {
        let (fs, engine) = disk();
        fs.stop_at(fs.operations() + 1 + stop - from);
        let done = make(&engine).is_ok();
        let left = fs.crash(stop);
        drop(engine);
        let copy = {
            let mut builder = Builder::new(None).recovery(Recovery::Strict);
            builder.fs = Some(Arc::new(left.clone()) as Arc<dyn Fs>);
            builder.open_at(COPY.into())
        };
        match copy {
            Ok(copy) if left.list(&Path::new(COPY).join("segments")).is_ok_and(|s| !s.is_empty()) => {
                assert!(contents(&copy) == all, "stopped at {stop}");
                whole += 1;
            }
            // Nothing of it was left: a new store.
            Ok(copy) => assert!(!done && contents(&copy).is_empty(), "stopped at {stop}"),
            Err(_) => assert!(!done, "stopped at {stop}"),
        }
        assert!(contents(&open_in(&left, "memory")) == all, "stopped at {stop}");
    }
    assert!(whole > 0, "the last ones are whole");
}

/// A delete that nothing was flushed after lies in the log alone, and a copy has no log: what was deleted came back in
/// it.
#[test]
fn p9_what_was_deleted_is_not_in_a_backup() {
    for flushed in [true, false] {
        let fs = SimFs::new();
        let engine = open_in(&fs, "store");
        push(&engine, 0);
        if flushed {
            engine.flush().unwrap();
        }
        engine.delete("cpu", Timestamp::from_nanos(0)..Timestamp::from_nanos(50_000)).unwrap();
        let expected = engine.count_matching("cpu", TimeRange::ALL).unwrap();
        assert_eq!(expected.samples, 150);
        make(&engine).unwrap();
        let copy = open_in(&fs, COPY);
        assert_eq!(copy.count_matching("cpu", TimeRange::ALL).unwrap(), expected);
    }
}

/// A backup that finds no space says so, and leaves no half copy behind; with space it is made.
#[test]
fn p4_a_backup_on_a_full_disk_is_told_and_leaves_nothing() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "store");
    push(&engine, 0);
    engine.flush().unwrap();
    let used: u64 = fs.files().iter().map(|(_, len)| len).sum();
    let copies = |fs: &SimFs| fs.files().iter().filter(|(path, _)| path.starts_with("copies")).count();
    // Links take nothing, the manifest some bytes.
    fs.set_capacity(Some(used));
    let refused = make(&engine).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert_eq!(copies(&fs), 0, "{:?}", fs.files());
    fs.set_capacity(None);
    // Too few files that may be open were told as a full disk.
    (1..10_000).for_each(|i| fs.fail_at(fs.operations() + i, Fault::Files));
    let refused = make(&engine).unwrap_err();
    assert!(refused.short_of() == Some(Shortage::Files) && !refused.is_disk_full(), "{refused}");
    fs.restart();
    assert_eq!(copies(&fs), 0, "{:?}", fs.files());
    make(&engine).unwrap();
    assert!(copies(&fs) > 1 && is_sound(&fs, COPY));
    // What is there already is another matter, and is not touched.
    let refused = make(&engine).unwrap_err();
    assert!(!refused.is_disk_full() && matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    assert!(is_sound(&fs, COPY));
}
