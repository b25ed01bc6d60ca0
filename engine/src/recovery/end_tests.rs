//! P5: what an idle log knows to be durable is missed, whatever takes its end (L6, and L8 to L12, of `docs/concurrency.md`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Manifest, State};
use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::wal::{Epoch, WalError};

use super::tests::{contents, push};
use super::{Recovery, RecoveryReport};
use crate::audit::Entry;
use crate::backup::backup_to;
use crate::engine::{Engine, Metadata};
use crate::error::CloseError;
use crate::error::OpenError;
use crate::options::{Builder, Durability};
use crate::pace::Pace;
use crate::verify::verify_on;

const WAL: &str = "memory/wal";

fn builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.pace = Pace::AT_ONCE;
    builder.wal_file_bytes = Some(256 << 10);
    builder
}

fn state(fs: &SimFs) -> State {
    Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().clone()
}

fn last_file(fs: &SimFs) -> PathBuf {
    Path::new(WAL).join(fs.list(Path::new(WAL)).unwrap().pop().unwrap())
}

/// Number and place of each frame of a file's present life, witnesses left out.
fn frames(fs: &SimFs, path: &Path) -> Vec<(u64, u64)> {
    let bytes = fs.map(path).unwrap();
    let epoch = Epoch::from_file_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let is_frame = |&at: &usize| bytes[at..].starts_with(b"TGFR") && u64_at(at + 32) == epoch.0 && bytes[at + 90] != 3;
    (4096..bytes.len()).step_by(8).filter(is_frame).map(|at| (u64_at(at + 40), at as u64)).collect()
}

/// Waits until the manifest was told where the log ends.
fn rest(fs: &SimFs) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let last = frames(fs, &last_file(fs)).last().expect("there are some").0;
    while state(fs).wal.synced_through.0 < last {
        assert!(Instant::now() < deadline, "the manifest does not hear of the end of an idle log");
        std::thread::yield_now();
    }
}

/// Six rounds in the log, of 1,200 samples each; at rest.
fn idle() -> (SimFs, Engine) {
    let fs = SimFs::new();
    let engine = builder(&fs).open().unwrap();
    (0..6).for_each(|round| push(&engine, round));
    rest(&fs);
    (fs, engine)
}

fn wipe(fs: &SimFs, path: &Path, from: u64) {
    let zeros = vec![0; fs.map(path).unwrap().len() - from as usize];
    fs.open(path).unwrap().write_all_at(from, &zeros).unwrap();
}

/// Everybody who opens it names the file. Answers what a salvage has to tell, and how much it leaves.
fn check_refused(fs: &SimFs, file: &Path, what: &str) -> (RecoveryReport, usize) {
    let names = |opened: Result<Engine, OpenError>| match opened {
        Err(OpenError::Wal(WalError::Corrupt { file: named, .. })) => assert_eq!(named, file, "{what}"),
        other => panic!("{what}: {:?}", other.map(|engine| contents(&engine).len())),
    };
    names(builder(&fs.kill()).open());
    let mut reader = builder(&fs.kill());
    reader.read_only = true;
    names(reader.open());
    let report = verify_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("memory"), None, &|_, _| {}).unwrap();
    assert!(report.damage.iter().any(|damage| damage.file == file), "{what}: {report:?}");
    let fs = fs.kill();
    let engine = builder(&fs).recovery(Recovery::Salvage).open().unwrap();
    let (report, left) = (engine.recovery_report().clone(), contents(&engine));
    let audit = String::from_utf8(fs.map(Path::new("memory/audit.log")).unwrap().to_vec()).unwrap();
    let lost: u64 = report.lost.iter().map(|lost| lost.samples_at_least).sum();
    assert!(lost > 0 && audit.contains(&format!("\"samples_lost\":{lost},")), "{what}: {audit}");
    assert!(!report.is_whole() && report.torn_tail.is_none(), "{what}: {report:?}");
    drop(engine);
    let again = builder(&fs).open().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(contents(&again) == left, "{what}: once salvaged it is whole");
    (report, left.len())
}

/// The sync thread waited for the manifest behind the first job of a new file of the log, and the next one with it, however
/// long somebody else was at the manifest.
#[test]
fn p3_who_holds_the_manifest_holds_up_no_durable_answer() {
    let fs = SimFs::new();
    let engine = builder(&fs).durability(Durability::Sync).open().unwrap();
    push(&engine, 0);
    rest(&fs);
    let told = state(&fs).wal.files.len();
    let files = || fs.list(Path::new(WAL)).unwrap().iter().filter(|name| name.ends_with(".wal")).count();
    let before = files();
    let manifest = engine.life().manifest.lock().unwrap();
    let mut round = 1;
    while files() == before {
        push(&engine, round);
        round += 1;
    }
    // The first answer may come before it is told.
    (round..round + 3).for_each(|round| push(&engine, round));
    assert_eq!(files(), before + 1, "one file turn");
    drop(manifest);
    rest(&fs);
    assert!(state(&fs).wal.files.len() > told, "it is told all the same");
}

/// One piece of damage took the last frames and the witness behind them, and what was left passed for all there was.
#[test]
fn p5_damage_that_takes_the_end_of_an_idle_log_with_its_witness_is_refused() {
    let (fs, _engine) = idle();
    let fs = fs.kill();
    let log = last_file(&fs);
    let frames = frames(&fs, &log);
    assert_eq!(frames.len(), 6);
    for n in 0..6 {
        let fs = fs.kill();
        wipe(&fs, &log, frames[n].1);
        let (report, left) = check_refused(&fs, &log, &format!("from frame {n} on"));
        assert_eq!(left, n * 1200);
        let [lost] = &report.lost[..] else { panic!("{:?}", report.lost) };
        let numbers = [frames[n].0, frames[5].0].map(|number| number.to_string());
        assert!(numbers.iter().all(|number| lost.what.contains(number)), "{lost}");
        // Of what begins the log nobody knows how much came before.
        let at_least = if n == 0 { 6 } else { 7200 - left as u64 };
        assert_eq!((lost.samples, lost.samples_at_least, lost.seq_range.end.0), (None, at_least, 7201), "{lost}");
        assert_eq!(lost.seq_range.start.0, 1 + left as u64);
        assert!(lost.to_string().contains(&format!("at least {at_least} samples")), "{lost}");
    }
    let wiped = fs.kill();
    wipe(&wiped, &log, 0);
    assert_eq!(check_refused(&wiped, &log, "all of it").1, 0);
}

/// L12: under writes that never rest only the next file told it, and all since then passed for a torn tail.
#[test]
fn p5_the_end_of_a_log_that_never_rests_is_known_a_moment_later() {
    let fs = SimFs::new();
    let mut builder = builder(&fs);
    builder.pace = Pace { rest: Duration::from_secs(3600), under_load: Duration::ZERO, ..Pace::AT_ONCE };
    let engine = builder.open().unwrap();
    (0..6).for_each(|round| push(&engine, round));
    rest(&fs);
    let fs = fs.kill();
    let log = last_file(&fs);
    let frames = frames(&fs, &log);
    assert_eq!(frames.len(), 6);
    for (n, (_, at)) in frames.into_iter().enumerate().skip(1) {
        let fs = fs.kill();
        wipe(&fs, &log, at);
        assert_eq!(check_refused(&fs, &log, &format!("from frame {n} on")).1, n * 1200);
    }
}

/// An older copy of the file is sound in itself.
#[test]
fn p5_an_older_copy_of_a_log_file_is_refused() {
    let (fs, engine) = idle();
    let log = last_file(&fs);
    let old = fs.map(&log).unwrap().to_vec();
    push(&engine, 6);
    rest(&fs);
    let fs = fs.kill();
    fs.open(&log).unwrap().write_all_at(0, &old).unwrap();
    assert_eq!(check_refused(&fs, &log, "an older copy").1, 7200);
}

/// L10: what the manifest was told of a log is not asked of what came after it, in the same files and in others.
#[test]
fn p5_the_end_that_the_manifest_knows_is_none_of_a_recycled_file() {
    let fs = SimFs::new();
    let mut engine = builder(&fs).open().unwrap();
    let mut seen = 0;
    for round in 0..24 {
        push(&engine, round);
        if round % 3 != 0 {
            rest(&fs);
            seen += u64::from(state(&fs).wal.synced_through >= state(&fs).wal.next_frame);
        }
        if round % 4 == 3 {
            engine.flush().unwrap();
        }
        let all = contents(&engine);
        assert_eq!(all.len() as i64, (round + 1) * 1200);
        for disk in [fs.kill(), fs.crash(round as u64)] {
            let engine = builder(&disk).open().unwrap_or_else(|e| panic!("round {round}: {e}"));
            assert!(contents(&engine) == all, "round {round}");
        }
        if round % 10 == 9 {
            engine.close().unwrap();
            engine = builder(&fs).open().unwrap();
        }
    }
    assert!(seen >= 8, "{seen} times the manifest knew of a log that was needed");
}

/// A copy has no log, and misses none.
#[test]
fn p5_a_copy_of_a_store_whose_end_is_known_opens() {
    let (fs, engine) = idle();
    let all = contents(&engine);
    backup_to(&engine, Path::new("copies/one"), &|_, _| {}).unwrap();
    push(&engine, 6);
    rest(&fs);
    for disk in [fs.kill(), fs.crash(1)] {
        let copy = builder(&disk).open_at("copies/one".into()).unwrap();
        assert!(contents(&copy) == all);
    }
}

/// A reader beside the owner sees what comes behind an end that was told.
#[test]
fn the_manifest_knows_the_number_behind_the_last_sample_of_an_idle_log() {
    let (fs, engine) = idle();
    let told = state(&fs);
    assert_eq!(told.next_seq.0 - 1, 7200, "behind the last sample");
    let mut reader = builder(&fs);
    reader.read_only = true;
    let reader = reader.open().unwrap();
    push(&engine, 6);
    rest(&fs);
    reader.refresh().unwrap();
    assert_eq!(contents(&reader).len(), 8400);
    assert_eq!(state(&fs).next_seq.0 - 1, 8400);
    engine.close().unwrap();
}

/// L6: a close that finds no space to flush leaves a log that is needed, and tells where it ends.
#[test]
fn a_close_that_cannot_flush_tells_the_manifest_what_is_durable() {
    let fs = SimFs::new();
    let mut builder = builder(&fs);
    // Longer than any test runs: a rest tells nothing.
    let long = Duration::from_secs(3600);
    builder.pace = Pace { rest: long, apart: long, under_load: long };
    let engine = builder.open().unwrap();
    (0..6).for_each(|round| push(&engine, round));
    let last = frames(&fs, &last_file(&fs)).last().unwrap().0;
    assert!(state(&fs).wal.synced_through.0 < last, "it is told already");
    fs.set_capacity(Some(0));
    assert!(matches!(engine.close(), Err(CloseError::NotFlushed { samples: 7200, logged: true, .. })));
    let told = state(&fs);
    assert!(told.segments.is_empty(), "it is flushed");
    assert_eq!((told.wal.synced_through.0, told.next_seq.0 - 1), (last, 7200));
}

/// Damage to the manifest of a running engine, that makes a salvage put another one in its place.
fn kill_damaged(fs: &SimFs, engine: &Engine, nth: i64) -> SimFs {
    let name = format!("mem{nth}");
    for name in [&name, &format!("disk{nth}")] {
        engine.set_metadata(name, Metadata::default()).unwrap();
    }
    let (fs, manifest) = (fs.kill(), Path::new("memory/MANIFEST"));
    let at = fs.map(manifest).unwrap().windows(name.len()).rposition(|w| w == name.as_bytes()).unwrap();
    fs.open(manifest).unwrap().write_all_at(at as u64, b"M").unwrap();
    fs
}

fn salvaged(fs: &SimFs, what: &str) -> (RecoveryReport, usize) {
    let engine = builder(fs).recovery(Recovery::Salvage).open().unwrap();
    let (report, left) = (engine.recovery_report().clone(), contents(&engine).len());
    assert!(report.manifest_made_anew, "{what}: {report:?}");
    engine.close().unwrap();
    assert_eq!(contents(&builder(fs).open().unwrap()).len(), left, "{what}: once salvaged it is whole");
    (report, left)
}

/// Without a manifest, what was left of a log that had lost its end passed for all there was, also where the audit log names
/// a delete behind it.
#[test]
fn p5_a_manifest_made_anew_of_nothing_tells_that_nobody_knows_where_the_log_ended() {
    for deletes in [false, true] {
        let (fs, engine) = idle();
        let fs = fs.kill();
        drop(engine);
        if deletes {
            // Behind all that was pushed. It hides nothing of that.
            let range = TimeRange::new(Timestamp::from_nanos(-5), Timestamp::from_nanos(-4));
            let matchers = vec![Matcher::equal("__name__", "cpu")];
            let delete = Tombstone { seq: SeqNo(7201), matchers, range, created: 9 };
            let line = Entry::of_delete(&delete, "cpu", state(&fs).store_id).into_line();
            fs.create(Path::new("memory/audit.log")).unwrap().write_all_at(0, line.as_bytes()).unwrap();
        }
        let log = last_file(&fs);
        let cut = frames(&fs, &log)[3].1;
        wipe(&fs, &log, cut);
        fs.remove(Path::new("memory/MANIFEST")).unwrap();
        let (report, left) = salvaged(&fs, "no manifest");
        assert_eq!(left, 3600, "{report:?}");
        let has = |text: &str| report.notes.iter().any(|note| note.contains(text));
        assert!(has("where the log ended durably only the manifest knew"), "{:?}", report.notes);
        assert_eq!(has("what came before that delete may be lost"), deletes, "{:?}", report.notes);
    }
}

/// A manifest made anew forgot what the one before had called durable: what was left of the log passed for all of it.
#[test]
fn p5_a_manifest_made_anew_misses_the_end_of_the_log_that_the_one_before_knew() {
    let (fs, engine) = idle();
    let fs = kill_damaged(&fs, &engine, 0);
    let log = last_file(&fs);
    let frames = frames(&fs, &log);
    assert_eq!(frames.len(), 6);
    for n in 0..8 {
        let (fs, what) = (fs.kill(), format!("from frame {n} on"));
        match frames.get(n) {
            Some((_, at)) => wipe(&fs, &log, *at),
            None if n == 6 => fs.remove(&log).unwrap(),
            None => {
                let (report, left) = salvaged(&fs, "nothing is missing");
                assert!(report.lost.is_empty() && left == 7200, "{left}: {report:?}");
                continue;
            }
        }
        let expected = if n == 6 { 0 } else { n * 1200 };
        let (report, left) = salvaged(&fs, &what);
        assert_eq!(left, expected, "{what}: {report:?}");
        let [lost] = &report.lost[..] else { panic!("{what}: {:?}", report.lost) };
        assert!(lost.file.starts_with(WAL) && lost.samples.is_none(), "{what}: {lost}");
        assert_eq!((lost.seq_range.start.0, lost.seq_range.end.0), (1 + left as u64, 7201), "{what}: {lost}");
        assert_eq!(lost.samples_at_least, 7200 - left as u64, "{what}: {lost}");
        assert_eq!(report.quarantined.len(), if n == 6 { 1 } else { 2 }, "{what}: {report:?}");
    }
}

/// What was flushed is not missed, whatever became of it, and neither is a delete that is known without the log.
#[test]
fn p5_a_manifest_made_anew_misses_nothing_that_was_let_go_of() {
    let fs = SimFs::new();
    let mut engine = builder(&fs).background_compaction(false).open().unwrap();
    for round in 0..12 {
        push(&engine, round);
        if round % 2 == 0 {
            rest(&fs);
        }
        if round % 3 == 2 {
            engine.flush().unwrap();
        }
        let all = contents(&engine).len();
        let (report, left) = salvaged(&kill_damaged(&fs, &engine, round), "flushed now and then");
        assert!(report.lost.is_empty() && left == all, "round {round}: {left} of {all}, {report:?}");
        if round % 5 == 4 {
            engine.close().unwrap();
            engine = builder(&fs).background_compaction(false).open().unwrap();
        }
    }
    engine.flush().unwrap();
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    rest(&fs);
    for nth in 0..2 {
        let disk = kill_damaged(&fs, &engine, 100 + nth);
        for name in disk.list(Path::new(WAL)).unwrap() {
            disk.remove(&Path::new(WAL).join(name)).unwrap();
        }
        let (report, left) = salvaged(&disk, "deleted");
        assert!(report.lost.is_empty() && left == 0, "{left}: {report:?}");
        engine.close().unwrap();
        engine = builder(&fs).background_compaction(false).open().unwrap();
    }
}

/// What a segment had that is gone would be told with the end of the log once more.
#[test]
fn p5_what_is_lost_with_a_segment_is_not_counted_with_the_end_of_the_log_again() {
    let fs = SimFs::new();
    let engine = builder(&fs).background_compaction(false).open().unwrap();
    push(&engine, 0);
    engine.flush().unwrap();
    push(&engine, 1);
    rest(&fs);
    let fs = kill_damaged(&fs, &engine, 0);
    for folder in [Path::new(WAL), Path::new("memory/segments")] {
        fs.list(folder).unwrap().iter().for_each(|name| fs.remove(&folder.join(name)).unwrap());
    }
    let (report, left) = salvaged(&fs, "all is gone");
    let counts: Vec<_> = report.lost.iter().map(|lost| (lost.samples, lost.samples_at_least)).collect();
    assert_eq!((left, &counts[..]), (0, &[(Some(1200), 1200), (None, 1200)][..]), "{report:?}");
}
