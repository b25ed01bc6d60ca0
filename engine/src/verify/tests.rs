//! Whatever is damaged is named; a sound store is sound, beside its owner too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::Manifest;
use tidegauge_storage::model::Timestamp;

use super::*;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::sync::Mutex;

fn open(fs: &SimFs) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    // The witness alone says what is durable; `recovery/end_tests.rs` is about what the manifest knows.
    builder.pace = Pace { rest: Duration::from_secs(3600), ..Pace::AT_ONCE };
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

fn check(fs: &SimFs) -> StoreReport {
    verify_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("memory"), None, &|_, _| {}).unwrap()
}

fn push(engine: &Engine, round: i64) {
    let series = engine.series(&[("__name__", "cpu")]).unwrap();
    let at = |i: i64| Timestamp::from_nanos((round * 300 + i) * 1000);
    let samples: Vec<_> = (0..300).map(|i| SeriesSample::new(series, at(i), (i as f64).sqrt())).collect();
    let ack = engine.push_batch(&samples).unwrap();
    engine.wait(ack, Level::Durable, Duration::from_secs(30)).unwrap();
}

/// Two segments, and a log of four frames.
fn store() -> (SimFs, Engine) {
    let fs = SimFs::new();
    let engine = open(&fs);
    for round in 0..2 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    (2..6).for_each(|round| push(&engine, round));
    (fs, engine)
}

fn flip(fs: &SimFs, path: &Path, at: u64) {
    let byte = fs.map(path).unwrap()[at as usize];
    fs.open(path).unwrap().write_all_at(at, &[byte ^ 16]).unwrap();
}

#[test]
fn a_sound_store_is_sound_alive_and_killed_and_nothing_is_written() {
    let (fs, engine) = store();
    let killed = fs.kill();
    let before = killed.operations();
    for fs in [&fs, &killed] {
        let report = check(fs);
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.segments, report.samples, report.log_frames, report.log_samples), (2, 600, 4, 1200));
    }
    // The live engine itself writes a witness once it is idle, so only the other one tells.
    assert_eq!(killed.operations(), before);
    engine.close().unwrap();
    assert_eq!(check(&fs).samples, 1800);
}

#[test]
fn every_flipped_byte_of_a_segment_is_named_unless_it_belongs_to_nothing() {
    let (fs, _engine) = store();
    let path = Path::new("memory/segments/0000000100000000.seg");
    let len = fs.map(path).unwrap().len() as u64;
    let mut found = 0;
    for at in (0..len).step_by(9) {
        flip(&fs, path, at);
        let report = check(&fs);
        if let [damage] = &report.damage[..] {
            assert_eq!((damage.file.as_path(), report.segments), (path, 1));
            found += 1;
        } else {
            // Padding between sections.
            assert!(report.is_sound(), "{report:?}");
        }
        flip(&fs, path, at);
    }
    assert!(found * 10 > len, "{found} of {}", len / 9);
    assert!(check(&fs).is_sound());
}

#[test]
fn a_missing_a_swapped_and_a_short_segment_are_named() {
    let (a, b) = (Path::new("memory/segments/0000000100000000.seg"), Path::new("memory/segments/0000000100000001.seg"));
    let damaged = |change: &dyn Fn(&SimFs)| {
        let fs = store().0.kill();
        change(&fs);
        check(&fs).damage
    };
    let [missing] = &damaged(&|fs| fs.remove(a).unwrap())[..] else { panic!() };
    assert!(missing.file == a && missing.what.contains("missing"), "{missing}");
    let swapped = damaged(&|fs| {
        fs.remove(a).unwrap();
        fs.hard_link(b, a).unwrap();
    });
    assert!(matches!(&swapped[..], [one] if one.file == a && one.what.contains("manifest")), "{swapped:?}");
    let short = damaged(&|fs| fs.open(b).unwrap().set_len(500).unwrap());
    assert!(matches!(&short[..], [one] if one.file == b), "{short:?}");
}

#[test]
fn damage_of_the_log_and_of_the_manifest_is_named_and_a_torn_tail_is_none() {
    let (fs, _engine) = store();
    let (log, [frames, witness]) = at_rest(&fs);
    let fs = fs.kill();
    let early = frames[frames.len() - 3];
    flip(&fs, &log, early + 120);
    let report = check(&fs);
    assert!(matches!(&report.damage[..], [one] if one.file == log && one.offset <= early), "{report:?}");
    flip(&fs, &log, early + 120);
    let last = frames[frames.len() - 1];
    flip(&fs, &log, last + 120);
    // An idle log says that its last frame was durable.
    let report = check(&fs);
    assert!(matches!(&report.damage[..], [one] if one.file == log && one.offset <= last), "{report:?}");
    flip(&fs, &log, witness[0] + 50);
    // Now nobody does.
    let report = check(&fs);
    let torn = |note: &String| note.contains("torn") && note.contains("not known to have been durable");
    assert!(report.is_sound() && report.notes.iter().any(torn), "{report:?}");
    // Beside an owner that is where it writes.
    let (files, owner) = (Arc::new(fs.clone()) as Arc<dyn Fs>, Owner::this_process(None, Duration::from_secs(30)));
    assert!(owner.seems_alive());
    let beside = verify_on(&files, Path::new("memory"), Some(&owner), &|_, _| {}).unwrap();
    let writing =
        |note: &String| note.contains("is writing there") && note.contains(&format!("process {} on", owner.pid));
    assert!(beside.is_sound() && beside.notes.iter().any(writing) && !beside.notes.iter().any(torn), "{beside:?}");
    flip(&fs, &log, last + 120);
    assert!(check(&fs).is_sound());
    let manifest = Path::new("memory/MANIFEST");
    flip(&fs, manifest, 76);
    let report = check(&fs);
    assert!(matches!(&report.damage[..], [one] if one.file == manifest), "{report:?}");
    assert_eq!(report.segments, 2, "what is there is read all the same");
    fs.remove(manifest).unwrap();
    assert!(matches!(&check(&fs).damage[..], [one] if one.file == manifest));
}

/// Waits until the log says of its last frame that it is durable. Answers its file, and the places of its frames and of
/// the witness.
fn at_rest(fs: &SimFs) -> (PathBuf, [Vec<u64>; 2]) {
    let log = Path::new("memory/wal").join(fs.list(Path::new("memory/wal")).unwrap().pop().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let bytes = fs.map(&log).unwrap().to_vec();
        let starts = (4096..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR"));
        let (witness, frames): (Vec<u64>, Vec<u64>) =
            starts.map(|at| at as u64).partition(|at| bytes[*at as usize + 90] == 3);
        if witness.len() == 1 {
            return (log, [frames, witness]);
        }
        assert!(Instant::now() < deadline, "an idle log does not say what is durable");
        std::thread::yield_now();
    }
}

/// L3: once it has said what is durable, an idle engine neither writes nor syncs, however often the worker goes round.
#[test]
fn an_idle_engine_becomes_quiet() {
    let fs = SimFs::new();
    let engine = open(&fs);
    push(&engine, 0);
    at_rest(&fs);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // The first time, the manifest may just be told of the log.
        let operations = fs.operations();
        for _ in 0..50 {
            engine.probe(Duration::from_secs(30)).unwrap();
            // Two naps of the worker, and an interval.
            std::thread::park_timeout(Duration::from_millis(6));
        }
        if fs.operations() == operations {
            return;
        }
        assert!(Instant::now() < deadline, "it goes on writing with nothing to write");
    }
}

/// An acknowledged log that is cut short or gone used to pass for a torn tail.
#[test]
fn a_log_that_is_cut_short_or_gone_is_damage() {
    let (fs, _engine) = store();
    let (log, [frames, _]) = at_rest(&fs);
    let deadline = Instant::now() + Duration::from_secs(30);
    let known = || Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().wal.files.len();
    while known() == 0 {
        assert!(Instant::now() < deadline, "the manifest does not hear of the log");
        std::thread::yield_now();
    }
    for len in [None, Some(0), Some(50), Some(frames[0] + 50), Some(frames[1])] {
        let fs = fs.kill();
        match len {
            Some(len) => fs.open(&log).unwrap().set_len(len).unwrap(),
            None => fs.remove(&log).unwrap(),
        }
        let report = check(&fs);
        let what = if len.is_some() { "cut short" } else { "missing" };
        assert!(matches!(&report.damage[..], [one] if one.file == log && one.what.contains(what)), "{report:?}");
    }
}

#[test]
fn where_there_is_no_store_there_is_nothing_to_verify() {
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
    fs.create_dir_all(Path::new("memory")).unwrap();
    assert!(verify_on(&fs, Path::new("memory"), None, &|_, _| {}).is_err());
}

/// Whoever draws a bar of bytes is told bytes, without a manifest too.
#[test]
fn without_a_manifest_progress_is_told_in_bytes() {
    let (fs, engine) = store();
    let fs = fs.kill();
    drop(engine);
    fs.remove(Path::new("memory/MANIFEST")).unwrap();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let bytes: u64 = fs.files().iter().filter(|(path, _)| is_segment(path)).map(|(_, len)| len).sum();
    let told = Mutex::new(Vec::new());
    let disk = Arc::new(fs) as Arc<dyn Fs>;
    verify_on(&disk, Path::new("memory"), None, &|done, total| told.lock().unwrap().push((done, total))).unwrap();
    let told = told.lock().unwrap().clone();
    assert_eq!(told.iter().max(), Some(&(bytes, bytes)), "{told:?}");
    assert_eq!(told.len(), 2, "each of two segments: {told:?}");
}

/// Beside an owner that flushed as fast as the log was read it began again and again, without an end.
#[test]
fn a_store_that_changes_whenever_it_is_read_is_judged_as_far_as_it_can_be() {
    let (fs, engine) = store();
    let (disk, owner) = (Arc::new(fs) as Arc<dyn Fs>, Owner::this_process(None, Duration::from_secs(30)));
    let reads = AtomicU64::new(0);
    let change = |_, _| {
        let read = reads.fetch_add(1, Ordering::Relaxed);
        if read < 1_000 {
            push(&engine, 10 + read as i64);
            engine.flush().unwrap();
        }
    };
    let report = verify_on(&disk, Path::new("memory"), Some(&owner), &change).unwrap();
    assert!(reads.load(Ordering::Relaxed) < 1_000, "it ended once nothing changed any more");
    assert!(report.is_sound() && report.segments > 0, "{report:?}");
    assert!(report.notes.iter().any(|note| note.starts_with("the log is not judged")), "{report:?}");
    let report = verify_on(&disk, Path::new("memory"), Some(&owner), &|_, _| {}).unwrap();
    assert!(report.is_sound() && !report.notes.iter().any(|note| note.contains("not judged")), "{report:?}");
}

/// It said that a repair tells whose it is, which one does not that finds the own name sound: it sets the copy aside.
#[test]
fn a_copy_of_a_segment_under_another_name_is_to_be_kept_until_a_repair_has_judged_it() {
    let (fs, engine) = store();
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let names = fs.list(folder).unwrap();
    let strange = folder.join("0000000100000fff.seg");
    let bytes = fs.map(&folder.join(&names[0])).unwrap().to_vec();
    fs.create(&strange).unwrap().write_all_at(0, &bytes).unwrap();
    fs.create(&folder.join("0000000100000ffe.seg")).unwrap().write_all_at(0, b"a leftover").unwrap();
    let report = check(&fs);
    assert!(report.is_sound(), "{report:?}");
    let has = |name: &str, words: &str| report.notes.iter().any(|note| note.contains(name) && note.contains(words));
    assert!(has("0fff.seg", "keep it until `tidegauge repair` has said whose it is, or set it aside"), "{report:?}");
    assert!(has("0ffe.seg", "belongs to nothing") && !has("0fff.seg", "belongs to nothing"), "{report:?}");
}
