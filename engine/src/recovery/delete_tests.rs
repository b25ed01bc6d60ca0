//! P5, P9: a delete that was acknowledged hides what it hid, whatever becomes of the log and the manifest.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::model::{LabelLimits, Matcher, SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::wal::{
    FrameEncoder, FrameNo, NUMBER_GAP, WalError, WalSample, WalSynced, WalWriter, WriterOptions,
};

use super::manifest_tests::check_made_anew;
use super::tests::{Contents, contents, damage_frame, open_unmerged, push, settle, try_open};
use super::{Recovery, RecoveryReport};
use crate::audit::Entry;
use crate::error::OpenError;
use crate::options::{Builder, Durability};
use crate::pace::Pace;
use crate::registry::Registry;

const WAL: &str = "memory/wal";
const LABELS: [(&str, &str); 1] = [("__name__", "cpu")];

fn range(from: i64, until: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(until))
}

/// What made the delete known beside its frame.
enum Told {
    ByAudit,
    ByManifest,
    /// As by audit; neither witness nor manifest speaks of the frames.
    NotByLog,
}

/// A log whose samples below the delete and those above it were not flushed. Answers where the delete's frame is, and what
/// the store holds.
fn around_a_delete(told: &Told, in_a_file_of_its_own: bool) -> (SimFs, (PathBuf, u64), Contents) {
    let (fs, dir) = (SimFs::new(), Path::new("memory"));
    let mut manifest = Manifest::open_or_create(Arc::new(fs.clone()), dir).unwrap();
    let store_id = manifest.state().store_id;
    let mut options = WriterOptions::new(store_id, manifest.state().open_number, FrameNo(1));
    options.file_bytes = 64 << 10;
    let oldest = manifest.state().wal.oldest_epoch;
    let mut writer = WalWriter::open(Arc::new(fs.clone()), dir.join("wal"), oldest, options).unwrap();
    let labels = Registry::new(10, LabelLimits::DEFAULT).labels(&LABELS).unwrap();
    let mut frame = FrameEncoder::new();
    let mut write = |writer: &mut WalWriter, first_seq: u64, times: Range<i64>, value: f64| {
        frame.begin(SeqNo(first_seq));
        frame.define(7, &labels).unwrap();
        let sample = |timestamp| WalSample { series: 7, timestamp, value, ..WalSample::default() };
        let samples: Vec<WalSample> = times.map(sample).collect();
        assert_eq!(frame.samples(&samples), samples.len());
        writer.append(&mut frame).unwrap();
    };
    write(&mut writer, 1, 0..10, 0.0);
    if in_a_file_of_its_own {
        writer.rotate();
    }
    let matchers = vec![Matcher::equal("__name__", "cpu")];
    let delete = Tombstone { seq: SeqNo(11), matchers, range: range(0, 6), created: 9 };
    let mut of_delete = FrameEncoder::new();
    of_delete.delete(&delete);
    writer.append(&mut of_delete).unwrap();
    let path = dir.join("wal").join(fs.list(&dir.join("wal")).unwrap().pop().unwrap());
    let bytes = fs.map(&path).unwrap();
    let at = (4096..bytes.len()).step_by(8).rfind(|&at| bytes[at..].starts_with(b"TGFR")).unwrap() as u64;
    if in_a_file_of_its_own {
        writer.rotate();
    }
    // Over some of what was deleted, too: these stay.
    write(&mut writer, 12, 3..8, 3.0);
    let job = writer.sync_point().unwrap();
    writer.note_synced(job.run().unwrap());
    if !matches!(told, Told::NotByLog) {
        assert!(writer.witness().unwrap());
        let synced = WalSynced { through: job.through(), files: job.made().iter().copied().collect() };
        manifest.commit(&[Edit::WalSynced(synced)]).unwrap();
    }
    match told {
        Told::ByManifest => manifest.commit(&[Edit::TombstoneAdd(delete)]).unwrap(),
        Told::ByAudit | Told::NotByLog => {
            let line = Entry::of_delete(&delete, "cpu", store_id).into_line();
            fs.create(&dir.join("audit.log")).unwrap().write_all_at(0, line.as_bytes()).unwrap();
        }
    }
    drop(manifest);
    let all = contents(&try_open(&fs.kill(), Recovery::Strict).unwrap());
    let expected = |at: i64| if at < 8 { 3.0f64 } else { 0.0 };
    let found: Vec<(i64, u64)> = all.iter().map(|((_, at), bits)| (*at, *bits)).collect();
    assert_eq!(found, (3..10).map(|at| (at, expected(at).to_bits())).collect::<Vec<_>>());
    (fs, (path, at), all)
}

/// The delete's frame is damaged, or its file is gone: strict refuses, salvage hides what was deleted and nothing else,
/// and so does every opening behind it.
fn check_hidden(told: &Told, in_a_file_of_its_own: bool) -> RecoveryReport {
    let (fs, (file, at), all) = around_a_delete(told, in_a_file_of_its_own);
    if in_a_file_of_its_own {
        fs.remove(&file).unwrap();
    } else {
        let byte = fs.map(&file).unwrap()[at as usize + 100];
        fs.open(&file).unwrap().write_all_at(at + 100, &[byte ^ 4]).unwrap();
    }
    let refused = try_open(&fs, Recovery::Strict).err();
    assert!(matches!(refused, Some(OpenError::Wal(WalError::Corrupt { .. }))), "{refused:?}");
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert_eq!(contents(&engine), all);
    let report = engine.recovery_report().clone();
    assert_eq!(contents(&try_open(&fs.kill(), Recovery::Strict).unwrap()), all, "killed behind the salvage");
    engine.compact().unwrap();
    assert_eq!(contents(&engine), all, "compacted");
    engine.close().unwrap();
    assert_eq!(contents(&try_open(&fs, Recovery::Strict).unwrap()), all, "closed");
    report
}

/// The answer was given and the audit log had the delete whole, but only a manifest that was made anew asked it: what was
/// deleted was shown again.
#[test]
fn p5_a_delete_that_the_log_lost_is_taken_from_the_audit_log() {
    for in_a_file_of_its_own in [false, true] {
        let report = check_hidden(&Told::ByAudit, in_a_file_of_its_own);
        assert!(report.notes.iter().any(|note| note.contains("1 delete that the log may have lost")), "{report:?}");
    }
}

/// An opening that was killed had brought the delete into the manifest. Without its frame, what was replayed was one
/// memtable with numbers below and above it, of which it hides nothing.
#[test]
fn p5_a_delete_of_the_manifest_hides_what_is_replayed_without_its_frame() {
    for in_a_file_of_its_own in [false, true] {
        let report = check_hidden(&Told::ByManifest, in_a_file_of_its_own);
        assert!(report.notes.iter().all(|note| !note.contains("taken from audit.log")), "{report:?}");
    }
}

/// The same of a delete of what is in segments, and of which the log alone had a frame.
#[test]
fn p5_a_delete_of_flushed_samples_that_the_log_lost_is_taken_from_the_audit_log() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    engine.delete(r#"{host="0"}"#, range(0, 30_000)).unwrap();
    // It says that the delete was durable.
    push(&engine, 1);
    let all = contents(&engine);
    assert_eq!(all.len(), 2400 - 30);
    let disk = fs.kill();
    drop(engine);
    damage_frame(&disk, 0);
    let refused = try_open(&disk, Recovery::Strict).err();
    assert!(matches!(refused, Some(OpenError::Wal(WalError::Corrupt { .. }))), "{refused:?}");
    let engine = try_open(&disk, Recovery::Salvage).unwrap();
    assert_eq!(contents(&engine).len(), all.len(), "{:?}", engine.recovery_report());
    assert_eq!(contents(&engine), all);
    engine.close().unwrap();
    assert_eq!(contents(&try_open(&disk, Recovery::Strict).unwrap()), all);
}

/// Put back from a copy of a living store, but for the audit log: that has deletes of openings that this store has not come
/// to. What was pushed from then on had numbers below theirs, and they hid it.
#[test]
fn p9_deletes_of_a_later_life_in_the_audit_log_hide_nothing_that_comes() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    push(&engine, 1);
    // The last frame is known to be durable: without it a hole has no end.
    let known = || Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().next_seq.0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while known() <= 2400 {
        assert!(Instant::now() < deadline, "the manifest knows of {} numbers", known());
        std::thread::yield_now();
    }
    let older = fs.kill();
    engine.close().unwrap();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 5);
    engine.close().unwrap();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    engine.delete(r#"{host="0"}"#, range(0, i64::MAX)).unwrap();
    engine.close().unwrap();
    let audit = Path::new("memory/audit.log");
    let lines = fs.map(audit).unwrap().to_vec();
    older.create_dir_all(Path::new("memory")).unwrap();
    older.create(audit).and_then(|file| file.write_all_at(0, &lines)).unwrap();
    damage_frame(&older, 0);
    let engine = try_open(&older, Recovery::Salvage).unwrap();
    let taken = |note: &String| note.contains("taken from audit.log");
    assert!(engine.recovery_report().notes.iter().any(taken), "{:?}", engine.recovery_report());
    let before = contents(&engine).len();
    push(&engine, 2);
    for what in ["pushed", "flushed", "compacted"] {
        assert_eq!(contents(&engine).len(), before + 1200, "{what}: {:?}", engine.recovery_report());
        engine.flush().unwrap();
        if what == "flushed" {
            engine.compact().unwrap();
        }
    }
}

/// The log's first files are there still, as spares or because a power loss took their removal back, and those behind
/// them that had the delete are not. No segment was left that the delete would have reached.
#[test]
fn p5_a_manifest_made_anew_hides_what_was_deleted_of_files_that_the_log_had_let_go() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.wal_file_bytes = Some(64 << 10);
    let engine = builder.open().unwrap();
    let files =
        || fs.list(Path::new(WAL)).unwrap().into_iter().filter(|name| !name.starts_with('.')).collect::<Vec<_>>();
    let mut round = 0;
    while files().len() < 3 {
        push(&engine, round);
        round += 1;
    }
    let first: Vec<(PathBuf, Vec<u8>)> = files()[..2]
        .iter()
        .map(|name| Path::new(WAL).join(name))
        .map(|path| (path.clone(), fs.map(&path).unwrap().to_vec()))
        .collect();
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.flush().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.stats().tombstones > 0 || !fs.list(Path::new("memory/segments")).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        engine.compact().unwrap();
    }
    assert_eq!(contents(&engine), Contents::new());
    let disk = fs.kill();
    drop(engine);
    for name in disk.list(Path::new(WAL)).unwrap() {
        disk.remove(&Path::new(WAL).join(name)).unwrap();
    }
    for (path, bytes) in first {
        disk.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
    }
    disk.remove(Path::new("memory/MANIFEST")).unwrap();
    check_made_anew(&disk, &Contents::new(), "the delete is in the audit log alone");
}

/// What takes the end of a log.
enum Damage {
    /// A bit of each frame from there on, witnesses too.
    Bits,
    /// Zeros, which look like an end in order.
    Wiped,
}

/// Damages all frames of a file of the log that have this number, or greater ones.
fn damage_from(disk: &SimFs, path: &Path, seq: u64, how: &Damage) {
    let bytes = disk.map(path).unwrap().to_vec();
    let first_seq = |at: usize| u64::from_le_bytes(bytes[at + 64..at + 72].try_into().unwrap());
    let is_behind = |at: &usize| bytes[*at..].starts_with(b"TGFR") && first_seq(*at) >= seq;
    let file = disk.open(path).unwrap();
    for at in (4096..bytes.len()).step_by(8).filter(is_behind) {
        match how {
            Damage::Bits => file.write_all_at(at as u64 + 50, &[bytes[at + 50] ^ 4]).unwrap(),
            Damage::Wiped => file.write_all_at(at as u64, &vec![0; bytes.len() - at]).unwrap(),
        }
    }
}

/// The delete's frame was the last one, and was lost together with the witness: that passed for a torn tail, and what was
/// deleted was shown again.
#[test]
fn p5_a_delete_at_the_end_of_the_log_that_is_lost_with_its_witness_is_taken_from_the_audit_log() {
    for how in [Damage::Bits, Damage::Wiped] {
        let fs = SimFs::new();
        let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        // Longer than any test runs: the manifest hears of the first sync alone, which made the file.
        let long = Duration::from_secs(3600);
        builder.pace = Pace { rest: long, apart: long, under_load: long };
        let engine = builder.background_compaction(false).open().unwrap();
        push(&engine, 0);
        engine.flush().unwrap();
        // There is nothing to flush that would tell the manifest of them.
        engine.delete(r#"{host="1"}"#, range(0, 100_000)).unwrap();
        let last = engine.delete(r#"{host="0"}"#, range(0, 200_000)).unwrap();
        let all = contents(&engine);
        assert_eq!(all.len(), 1200 - 100 - 200);
        let disk = fs.kill();
        drop(engine);
        let log = Path::new(WAL).join(disk.list(Path::new(WAL)).unwrap().pop().unwrap());
        damage_from(&disk, &log, last.0, &how);
        // Nothing but the audit log tells it from the end that a power loss leaves.
        assert!(try_open(&disk.kill(), Recovery::Strict).is_ok());
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report().clone();
        assert_eq!(contents(&engine).len(), all.len(), "{report:?}");
        assert!(report.notes.iter().any(|note| note.contains("1 delete that the log may have lost")), "{report:?}");
        let [lost] = &report.lost[..] else { panic!("{report:?}") };
        assert_eq!((lost.samples, lost.samples_at_least, lost.seq_range.start), (None, 0, last), "{lost}");
        assert!(!report.quarantined.is_empty());
        assert_eq!(contents(&try_open(&disk.kill(), Recovery::Strict).unwrap()), all, "killed behind the salvage");
        // None of this was deleted.
        push(&engine, 0);
        for what in ["pushed", "flushed", "compacted"] {
            assert_eq!(contents(&engine).len(), 1200, "{what}");
            engine.flush().unwrap();
            if what == "flushed" {
                engine.compact().unwrap();
            }
        }
        engine.close().unwrap();
        assert_eq!(contents(&try_open(&disk, Recovery::Strict).unwrap()).len(), 1200, "closed");
    }
}

/// And what was acknowledged before it is lost, which passed for never acknowledged.
#[test]
fn p5_a_delete_of_the_audit_log_tells_that_the_end_of_the_log_is_lost() {
    for how in [Damage::Bits, Damage::Wiped] {
        let (fs, (file, _), _) = around_a_delete(&Told::NotByLog, false);
        damage_from(&fs, &file, 1, &how);
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(contents(&engine).is_empty() && !report.is_whole());
        let [lost] = &report.lost[..] else { panic!("{report:?}") };
        assert_eq!((&lost.file, lost.samples, lost.samples_at_least), (&file, None, 10), "{lost}");
        assert_eq!((lost.seq_range.start.0, lost.seq_range.end.0), (1, 12), "{lost}");
        assert!(!report.quarantined.is_empty());
    }
}

/// A sound frame behind the delete's says nothing of it: it was written before the sync was over. Its numbers are above
/// the delete's.
#[test]
fn p5_a_delete_before_frames_that_nobody_was_told_of_is_taken_from_the_audit_log() {
    let (fs, (file, at), _) = around_a_delete(&Told::NotByLog, false);
    let bytes = fs.map(&file).unwrap().to_vec();
    fs.open(&file).unwrap().write_all_at(at + 100, &[bytes[at as usize + 100] ^ 4]).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let found: Vec<i64> = contents(&engine).into_keys().map(|(_, at)| at).collect();
    assert_eq!(found, (6..10).collect::<Vec<_>>(), "{:?}", engine.recovery_report());
    assert!(engine.recovery_report().torn_tail.is_some());
}

/// A delete that was carried out on all there was, and that nothing but the audit log tells of.
fn fs_with_a_forgotten_delete() -> SimFs {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    engine.delete("cpu", TimeRange::ALL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.stats().tombstones > 0 || !fs.list(Path::new("memory/segments")).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        engine.compact().unwrap();
    }
    engine.close().unwrap();
    fs
}

/// What is left of the manifest says which store it is. Spare files of the log may tell numbers.
fn lose(fs: &SimFs) {
    fs.open(Path::new("memory/MANIFEST")).and_then(|file| file.set_len(64)).unwrap();
    for name in fs.list(Path::new(WAL)).unwrap() {
        fs.remove(&Path::new(WAL).join(name)).unwrap();
    }
}

/// Deleted, carried out and forgotten, then the manifest was lost: nothing but the audit log tells of it. Numbers began at
/// 1 again, and the next salvage took the delete for one of what was pushed since.
#[test]
fn p9_numbers_go_on_above_deletes_of_the_audit_log_that_hid_nothing_of_what_is_left() {
    let fs = fs_with_a_forgotten_delete();
    lose(&fs);
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert!(engine.recovery_report().manifest_made_anew && contents(&engine).is_empty());
    let unused = fs.kill();
    push(&engine, 0);
    let all = contents(&engine);
    engine.close().unwrap();
    lose(&fs);
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert_eq!(contents(&engine).len(), all.len(), "{:?}", engine.recovery_report());

    // Nothing was pushed before the next opening, which does not look at the audit log.
    for lost_again in [false, true] {
        let fs = unused.kill();
        push_strictly(&fs);
        if lost_again {
            lose(&fs);
        }
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert_eq!(contents(&engine).len(), all.len(), "lost again {lost_again}: {report:?}");
        assert!(report.lost.is_empty(), "lost again {lost_again}: {report:?}");
    }
    // Nor where the salvage ends anywhere before that.
    let lost = fs_with_a_forgotten_delete();
    lose(&lost);
    settle(&lost);
    let (mut stop, mut opened) = (1, 0);
    loop {
        let disk = lost.crash(stop);
        disk.stop_at(stop);
        let is_over = try_open(&disk, Recovery::Salvage).is_ok_and(|engine| engine.close().is_ok());
        let disk = disk.crash(stop);
        if try_open(&disk, Recovery::Strict).is_ok() {
            opened += 1;
            push_strictly(&disk);
            lose(&disk);
            let engine = try_open(&disk, Recovery::Salvage).unwrap();
            assert_eq!(contents(&engine).len(), all.len(), "stopped at {stop}: {:?}", engine.recovery_report());
        }
        if is_over {
            break;
        }
        stop += 1;
    }
    assert!(opened > 5, "{opened} of {stop}");
}

fn push_strictly(fs: &SimFs) {
    let engine = try_open(fs, Recovery::Strict).unwrap();
    push(&engine, 0);
    engine.close().unwrap();
}

/// Numbers of frames that the old manifest names and no file has any more were given again.
#[test]
fn p5_frames_go_on_above_those_that_a_manifest_made_anew_had_named() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    engine.close().unwrap();
    // The second opening's frames have greater numbers, and nothing is left of them but in the manifest.
    push_strictly(&fs);
    let known = || Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().clone();
    let before = known().greatest_frame;
    assert!(before.0 > NUMBER_GAP);
    for name in fs.list(Path::new(WAL)).unwrap() {
        fs.remove(&Path::new(WAL).join(name)).unwrap();
    }
    fs.open(Path::new("memory/MANIFEST")).unwrap().write_all_at(0, b"x").unwrap();
    drop(try_open(&fs, Recovery::Salvage).unwrap().close());
    assert!(known().wal.next_frame > before, "{:?} {before:?}", known().wal);
}
