//! P5: a manifest that is damaged or gone is made anew from what the other files say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Random, SimFs};
use tidegauge_storage::manifest::{Manifest, ManifestError, Retention, RetentionRule};
use tidegauge_storage::model::{Matcher, Timestamp};

use super::tests::{
    Contents, contents, killed, push, quarantined, salvage_again_from_anywhere, settle, stored, try_open,
};
use super::{Recovery, RecoveryReport};
use crate::engine::Metadata;
use crate::error::OpenError;
use crate::options::Builder;
use crate::verify::verify_on;

const MANIFEST: &str = "memory/MANIFEST";
const CLOSED: &str = "memory/MANIFEST.closed";
const WAL: &str = "memory/wal";
const SEGMENTS: &str = "memory/segments";

/// One way to lose a manifest.
type Damage = (&'static str, fn(&SimFs));

fn write(fs: &SimFs, at: u64, bytes: &[u8]) {
    fs.open(Path::new(MANIFEST)).unwrap().write_all_at(at, bytes).unwrap();
}

const ALL_OF_IT: [Damage; 6] = [
    ("magic", |fs| write(fs, 0, b"x")),
    ("version and checksum", |fs| write(fs, 8, &[7; 8])),
    ("store id", |fs| write(fs, 20, &[1; 4])),
    ("first commit", |fs| write(fs, 64, &[0; 64])),
    ("cut short", |fs| fs.open(Path::new(MANIFEST)).unwrap().set_len(10).unwrap()),
    ("removed", |fs| fs.remove(Path::new(MANIFEST)).unwrap()),
];

/// Strict refuses, salvage has all of it, and strict opens what salvage left.
pub(super) fn check_made_anew(fs: &SimFs, all: &Contents, what: &str) -> RecoveryReport {
    let refused = try_open(fs, Recovery::Strict).err();
    assert!(matches!(refused, Some(OpenError::Manifest(_) | OpenError::LaterFile { .. })), "{what}: {refused:?}");
    let engine = try_open(fs, Recovery::Salvage).unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = engine.recovery_report().clone();
    assert!(contents(&engine) == *all, "{what}: {} samples, not {}", contents(&engine).len(), all.len());
    assert!(report.manifest_made_anew && !report.is_whole(), "{what}");
    // As a crash right behind the opening leaves it.
    let again = try_open(&fs.kill(), Recovery::Strict).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(contents(&again) == *all && !again.recovery_report().manifest_made_anew, "{what}");
    push(&engine, 99);
    engine.close().unwrap();
    let again = try_open(fs, Recovery::Strict).unwrap();
    assert_eq!(contents(&again).len(), all.len() + 1200, "{what}");
    again.compact().unwrap();
    assert_eq!(contents(&again).len(), all.len() + 1200, "{what}, compacted");
    report
}

#[test]
fn p5_a_manifest_that_is_damaged_or_gone_is_made_anew() {
    for (what, damage) in ALL_OF_IT {
        let (fs, all) = killed();
        damage(&fs);
        let why = match try_open(&fs, Recovery::Strict).err() {
            Some(OpenError::Manifest(ManifestError::Corrupt { file, offset, what })) => {
                format!("({} was damaged at byte {offset}: {what})", file.display())
            }
            Some(OpenError::Manifest(ManifestError::ManifestMissing { found, .. })) => {
                format!("(there was none beside what is in {found})")
            }
            other => panic!("{what}: {other:?}"),
        };
        let report = check_made_anew(&fs, &all, what);
        assert!(report.lost.is_empty(), "{what}: {:?}", report.lost);
        assert!(report.notes.iter().any(|note| note.ends_with(&why)), "{what}: {why}, not {:?}", report.notes);
        let kept: Vec<String> = if what == "removed" { Vec::new() } else { vec!["MANIFEST.1".to_owned()] };
        assert_eq!(quarantined(&fs), kept, "{what}");
    }
}

/// Each report said that samples of a flush may be missing, of a store that was closed in order, too.
#[test]
fn a_manifest_made_anew_tells_of_a_flush_only_where_samples_of_one_may_be_missing() {
    let gone = |fs: &SimFs| fs.remove(Path::new(MANIFEST)).unwrap();
    let salvaged = |fs: &SimFs| {
        let engine = try_open(fs, Recovery::Salvage).unwrap();
        let report = engine.recovery_report().clone();
        let told = report.notes.iter().any(|note| note.contains("a flush that was being written"));
        assert_eq!(told, report.unfinished_flush_samples > 0, "{:?}", report.notes);
        (report.unfinished_flush_samples, contents(&engine).len())
    };
    // Behind the last flush lies a log; behind a close, none.
    let (fs, all) = killed();
    gone(&fs);
    assert_eq!(salvaged(&fs), (0, all.len()));
    let (fs, _) = closed_once();
    gone(&fs);
    assert_eq!(salvaged(&fs), (0, 1200));

    // Late samples have a segment of their own. As long as it is there, or the log, nothing is missing.
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 1);
    push(&engine, 0);
    let logged = fs.kill();
    engine.close().unwrap();
    let late = fs.list(Path::new(SEGMENTS)).unwrap().into_iter().max().unwrap();
    let late = Path::new(SEGMENTS).join(late);
    let without_log = fs.kill();
    remove_log(&without_log);
    gone(&without_log);
    assert_eq!(salvaged(&without_log.kill()), (0, 2400));
    without_log.remove(&late).unwrap();
    assert_eq!(salvaged(&without_log), (1200, 1200), "as a crash amid the flush of a store without a log leaves it");
    // A manifest that names one of the two was written behind both.
    let named = fs.kill();
    remove_log(&named);
    write(&named, 0, b"x");
    named.remove(&late).unwrap();
    assert_eq!(salvaged(&named), (0, 1200));
    let in_order = fs.list(Path::new(SEGMENTS)).unwrap().into_iter().min().unwrap();
    let in_order = Path::new(SEGMENTS).join(in_order);
    logged.create(&in_order).unwrap().write_all_at(0, &fs.map(&in_order).unwrap()).unwrap();
    gone(&logged);
    assert_eq!(salvaged(&logged), (0, 2400), "the log has what the other one would have: that was not replayed");
    assert_eq!(contents(&try_open(&logged, Recovery::Strict).unwrap()).len(), 2400, "nor at the next opening");
}

/// The manifest made anew called frames durable that a killed process had left in the page cache: a power loss soon
/// after the salvage took them, and the store was refused as damaged.
#[test]
fn p5_a_manifest_that_is_made_anew_calls_no_frame_durable_that_is_not() {
    let (fs, all) = killed();
    for name in fs.list(Path::new(WAL)).unwrap() {
        let path = Path::new(WAL).join(name);
        let bytes = fs.map(&path).unwrap();
        fs.remove(&path).unwrap();
        fs.sync_dir(Path::new(WAL)).unwrap();
        fs.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
    }
    write(&fs, 64, &[0; 64]);
    fs.open(Path::new(MANIFEST)).unwrap().sync_data().unwrap();
    fs.record();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert!(engine.recovery_report().manifest_made_anew && contents(&engine) == all);
    let (mut timeline, mut opened) = (fs.timeline(), 0);
    while !timeline.is_over() {
        timeline.advance();
        for seed in 0..6 {
            // Until there is one, the damaged one is refused.
            match try_open(&timeline.power_loss(&mut Random::new(seed)), Recovery::Strict) {
                Err(OpenError::Manifest(_)) => {}
                Err(e) => panic!("step {}, seed {seed}: {e}", timeline.at()),
                Ok(again) => {
                    assert!(contents(&again) == all, "step {}, seed {seed}", timeline.at());
                    opened += 1;
                }
            }
        }
    }
    assert!(opened > 20, "opened {opened} times");
}

/// A store that was opened and closed once, and its manifest of that moment.
fn closed_once() -> (SimFs, Vec<u8>) {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 0);
    engine.close().unwrap();
    let manifest = fs.map(Path::new(MANIFEST)).unwrap().to_vec();
    (fs, manifest)
}

fn put_back(fs: &SimFs, manifest: &[u8]) {
    fs.remove(Path::new(MANIFEST)).unwrap();
    fs.create(Path::new(MANIFEST)).unwrap().write_all_at(0, manifest).unwrap();
    settle(fs);
}

/// Put back from a copy that is older than the last opening: the log's files told, but only after the manifest had been
/// written anew, and a repair was refused like any opening.
#[test]
fn p5_an_older_copy_of_the_manifest_is_refused_and_made_anew() {
    let (fs, older) = closed_once();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 1);
    engine.flush().unwrap();
    push(&engine, 2);
    let all = contents(&engine);
    let disk = fs.kill();
    drop(engine);
    put_back(&disk, &older);
    let before = stored(&disk);
    match try_open(&disk, Recovery::Strict) {
        Err(OpenError::LaterFile { path }) => assert!(path.starts_with(WAL), "{path:?}"),
        other => panic!("{:?}", other.map(drop)),
    }
    assert_eq!(stored(&disk), before, "refused, and nothing is changed");
    let report = verify_on(&(Arc::new(disk.clone()) as Arc<dyn Fs>), Path::new("memory"), None, &|_, _| {}).unwrap();
    assert!(report.damage.iter().any(|damage| damage.what.contains("older copy")), "{report:?}");
    let report = check_made_anew(&disk, &all, "older");
    assert_eq!(report.lost.len(), 0, "{:?}", report.lost);
}

/// As the close of an engine does that holds the folder's lock.
fn remove_log(fs: &SimFs) {
    for name in fs.list(Path::new(WAL)).unwrap() {
        fs.remove(&Path::new(WAL).join(name)).unwrap();
    }
}

/// The same after an orderly close: there is no log to tell, and the next opening removed the segments that the older
/// manifest does not name. They tell it themselves.
#[test]
fn p5_an_older_copy_of_the_manifest_of_a_closed_store_is_told_by_the_segments() {
    let (fs, older) = closed_once();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 1);
    let all = contents(&engine);
    engine.close().unwrap();
    remove_log(&fs);
    put_back(&fs, &older);
    // That speaks of a close, too.
    fs.remove(Path::new(CLOSED)).unwrap();
    let before = stored(&fs);
    let mut reader = Builder::new(None).read_only(true);
    reader.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    for opened in [try_open(&fs, Recovery::Strict), reader.open()] {
        match opened {
            Err(OpenError::LaterFile { path }) => assert!(path.starts_with("memory/segments"), "{path:?}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
    let report = verify_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("memory"), None, &|_, _| {}).unwrap();
    assert!(report.damage.iter().any(|damage| damage.what.contains("older copy")), "{report:?}");
    assert_eq!(stored(&fs), before, "refused, and nothing is changed");
    let report = check_made_anew(&fs, &all, "older");
    assert_eq!(report.lost.len(), 0, "{:?}", report.lost);
}

/// E8: an older copy of the same opening. Everything in it is right, and no log contradicts: its opening used to remove
/// the segments that it does not name.
#[test]
fn p5_an_older_copy_of_the_opening_that_closed_the_store_is_refused_and_made_anew() {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    let mut older = Vec::new();
    for round in 0..4 {
        push(&engine, round);
        older.push(fs.map(Path::new(MANIFEST)).unwrap().to_vec());
        engine.flush().unwrap();
    }
    let all = contents(&engine);
    engine.close().unwrap();
    remove_log(&fs);
    // What says so needs no sync: a power loss may take it, and nothing else.
    (0..20).for_each(|seed| drop(try_open(&fs.crash(seed), Recovery::Strict).unwrap()));
    for (nth, older) in older.iter().enumerate() {
        let disk = fs.kill();
        put_back(&disk, older);
        let before = stored(&disk);
        let mut reader = Builder::new(None).read_only(true);
        reader.fs = Some(Arc::new(disk.clone()) as Arc<dyn Fs>);
        for opened in [try_open(&disk, Recovery::Strict), reader.open()] {
            let refused = opened.map(drop).unwrap_err().to_string();
            assert!(refused.contains("MANIFEST") && refused.contains("older copy"), "{nth}: {refused}");
        }
        let checked = Arc::new(disk.clone()) as Arc<dyn Fs>;
        let report = verify_on(&checked, Path::new("memory"), None, &|_, _| {}).unwrap();
        assert!(report.damage.iter().any(|damage| damage.what.contains("older copy")), "{nth}: {report:?}");
        assert_eq!(stored(&disk), before, "{nth}: refused, and nothing is changed");
        let report = check_made_anew(&disk, &all, "older");
        assert_eq!(report.lost.len(), 0, "{nth}: {:?}", report.lost);
    }
    // Whatever is wrong with it says nothing, and harms nothing.
    for at in 0..48 {
        let disk = fs.kill();
        let file = disk.open(Path::new(CLOSED)).unwrap();
        let byte = disk.map(Path::new(CLOSED)).unwrap()[at];
        file.write_all_at(at as u64, &[byte ^ 0x81]).unwrap();
        assert!(contents(&try_open(&disk, Recovery::Strict).unwrap()) == all, "{at}");
    }
}

/// A manifest that is made anew for a closed store has only the segments to know how often it was opened. One that began
/// to count again would take what it wrote before for files of later openings.
#[test]
fn p5_a_manifest_made_anew_counts_on_behind_the_openings_that_segments_name() {
    let fs = SimFs::new();
    for n in 0..5 {
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        push(&engine, n);
        engine.close().unwrap();
    }
    let number = || Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().open_number;
    assert_eq!(number(), 5);
    remove_log(&fs);
    fs.remove(Path::new(MANIFEST)).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert_eq!(number(), 6);
    let segment = fs.list(Path::new("memory/segments")).unwrap().pop().unwrap();
    let bytes = fs.map(&Path::new("memory/segments").join(segment)).unwrap().to_vec();
    engine.close().unwrap();
    // What nobody names, as a compaction leaves it; and a copy of what is named, which a salvage judges.
    let [left, copied] = ["fe", "ff"].map(|n| PathBuf::from(format!("memory/segments/00000000000000{n}.seg")));
    fs.create(&left).unwrap().write_all_at(0, b"a leftover").unwrap();
    fs.create(&copied).unwrap().write_all_at(0, &bytes).unwrap();
    try_open(&fs, Recovery::Strict).unwrap();
    assert!(fs.open_read(&left).is_err(), "a leftover is removed");
    assert!(fs.open_read(&copied).is_ok(), "what may be missed is not");
}

/// The name of a log file, and nothing of it inside: an opening used to count itself and then be refused, as repair was.
#[test]
fn p5_a_stranger_among_the_logs_files_is_refused_and_set_aside() {
    for name in ["0000007b00000000.wal", "ffffffff00000000.wal"] {
        let (fs, all) = killed();
        let path = Path::new(WAL).join(name);
        fs.create(&path).unwrap().write_all_at(0, &[0xa5; 5000]).unwrap();
        settle(&fs);
        let before = stored(&fs);
        match try_open(&fs, Recovery::Strict) {
            Err(OpenError::LaterFile { path: named }) => assert_eq!(named, path),
            other => panic!("{:?}", other.map(drop)),
        }
        assert_eq!(stored(&fs), before, "refused, and nothing is changed");
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        assert!(contents(&engine) == all, "{name}");
        let report = engine.recovery_report();
        assert!(report.notes.iter().any(|note| note.contains(name)) && report.lost.is_empty(), "{report:?}");
        assert_eq!(quarantined(&fs), [name]);
        engine.close().unwrap();
        assert!(contents(&try_open(&fs, Recovery::Strict).unwrap()) == all, "{name}");
        // The same with a manifest that has to be made anew.
        let (fs, all) = killed();
        fs.create(&path).unwrap().write_all_at(0, &[0xa5; 5000]).unwrap();
        fs.remove(Path::new(MANIFEST)).unwrap();
        settle(&fs);
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        assert!(contents(&engine) == all, "{name}, and no manifest");
        engine.close().unwrap();
        assert!(contents(&try_open(&fs, Recovery::Strict).unwrap()) == all, "{name}, and no manifest");
    }
}

/// Flushed generations lie in spare log files, and in files whose removal a power loss took back. What they say is old
/// news, and must not come over what was accepted since.
#[test]
fn p5_a_manifest_made_anew_replays_nothing_that_was_overwritten_since() {
    for (what, damage) in ALL_OF_IT {
        let fs = SimFs::new();
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        // The same timestamps again and again, in many generations, with other values.
        let series = engine.series(&[("__name__", "cpu"), ("host", "x")]).unwrap();
        let mut old = Vec::new();
        for round in 0..12 {
            // The last round leaves half of it as it is in segments.
            let times = if round == 11 { 6 } else { 13 };
            for i in 0..40 {
                let at = Timestamp::from_nanos(i64::from(i % times) * 1000);
                let ack = engine.push(series, at, f64::from(round * 100 + i)).unwrap();
                engine.wait(ack, crate::options::Level::Durable, std::time::Duration::from_secs(30)).unwrap();
            }
            if round % 5 == 4 {
                engine.compact().unwrap();
            }
            if round == 3 || round == 7 {
                for name in fs.list(WAL.as_ref()).unwrap() {
                    let path = Path::new(WAL).join(name);
                    old.push((fs.map(&path).unwrap().to_vec(), path));
                }
            }
            if round < 11 {
                engine.flush().unwrap();
            }
        }
        let all = contents(&engine);
        let fs = fs.kill();
        for (bytes, path) in old {
            if fs.open_read(&path).is_err() {
                fs.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
            }
        }
        damage(&fs);
        let report = check_made_anew(&fs, &all, what);
        assert!(report.lost.is_empty(), "{what}: {:?}", report.lost);
    }
}

/// A segment that was put back by hand, or whose flush was interrupted before it synced the folder: a manifest made anew
/// named it, and a power loss then took it.
#[test]
fn p5_what_a_manifest_made_anew_names_is_durable_before() {
    let (fs, all) = killed();
    let path = Path::new("memory/segments/0000000100000000.seg");
    let bytes = fs.map(path).unwrap().to_vec();
    fs.remove(path).unwrap();
    fs.remove(Path::new(MANIFEST)).unwrap();
    settle(&fs);
    fs.create(path).unwrap().write_all_at(0, &bytes).unwrap();
    let (mut made, mut stop) = (0, 1);
    loop {
        let disk = fs.kill();
        disk.stop_at(disk.operations() + stop);
        let opened = try_open(&disk, Recovery::Salvage);
        let is_open = opened.is_ok();
        drop(opened);
        disk.restart();
        for seed in 0..6 {
            match try_open(&disk.crash(seed), Recovery::Strict) {
                Ok(engine) => assert_eq!(contents(&engine), all, "stopped before {stop}, {seed}"),
                // Not made yet.
                Err(OpenError::Manifest(ManifestError::ManifestMissing { .. })) => continue,
                Err(e) => panic!("stopped before {stop}, {seed}: {e}"),
            }
            made += 1;
        }
        if is_open {
            break;
        }
        stop += 1;
    }
    assert!(made > 20 && stop > 8, "{made} of {stop}");
}

/// A store with a delete, rules and descriptions in its manifest, closed.
fn told() -> (SimFs, Contents, Contents) {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    push(&engine, 0);
    engine.set_metadata("cpu", Metadata { kind: "gauge".to_owned(), ..Metadata::default() }).unwrap();
    let rule = RetentionRule { matchers: vec![Matcher::equal("job", "x")], max_age: Some(Duration::from_secs(7)) };
    engine.set_retention(Retention { max_bytes: Some(1 << 40), rules: vec![rule] }).unwrap();
    engine.flush().unwrap();
    let before = contents(&engine);
    engine.delete(r#"{host="0"}"#, Timestamp::from_nanos(0)..Timestamp::from_nanos(100_000)).unwrap();
    let after = contents(&engine);
    assert_eq!(after.len() + 100, before.len());
    (fs.kill(), before, after)
}

#[test]
fn p5_what_only_the_manifest_knew_is_told_as_lost_or_kept_where_it_can_be_read() {
    // Nothing of it can be read; the log still has the delete.
    let (fs, _, after) = told();
    fs.remove(Path::new(MANIFEST)).unwrap();
    let report = check_made_anew(&fs, &after, "the delete is in the log");
    assert!(report.notes.iter().any(|note| note.contains("retention")), "{:?}", report.notes);

    // Once it is flushed, only the manifest and the audit log have it.
    let flushed = |(fs, before, after): (SimFs, Contents, Contents)| {
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        assert!(engine.stats().tombstones == 1 || engine.stats().segment_samples == 1100);
        engine.close().unwrap();
        (fs, before, after)
    };
    let (fs, _, after) = flushed(told());
    fs.remove(Path::new(MANIFEST)).unwrap();
    let report = check_made_anew(&fs, &after, "the delete is in the audit log");
    let notes = report.notes.join("\n");
    assert!(notes.contains(r#"audit.log names: {job="x"}=7s, 1099511627776 bytes"#), "{notes}");

    let (fs, before, after) = flushed(told());
    fs.remove(Path::new(MANIFEST)).unwrap();
    fs.remove(Path::new("memory/audit.log")).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    // Compaction may have removed what it hides before.
    assert!(contents(&engine) == before || contents(&engine) == after);
    let notes = engine.recovery_report().notes.join("\n");
    assert!(notes.contains("0 deletes could be read") && notes.contains("delete it again"), "{notes}");
    assert!(notes.contains("there was none beside what is in ") && !notes.contains("repair it"), "{notes}");
    assert_eq!(engine.retention(), Retention::default());
    drop(engine);

    // A later commit is damaged: the first one says all that was known at the opening.
    let (fs, _, after) = flushed(told());
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    engine.set_metadata("mem", Metadata::default()).unwrap();
    engine.set_metadata("disk", Metadata::default()).unwrap();
    let fs = fs.kill();
    let bytes = fs.map(Path::new(MANIFEST)).unwrap();
    let at = bytes.windows(3).rposition(|w| w == b"mem").unwrap() as u64;
    write(&fs, at, b"MEM");
    drop(engine);
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert!(contents(&engine) == after, "deletes are kept");
    assert_eq!(engine.metadata()["cpu"].kind, "gauge");
    assert!(engine.metadata().contains_key("disk"), "behind the damage too");
    assert_eq!(engine.retention().rules, Vec::<RetentionRule>::new(), "an old rule could drop too much");
}

/// RM1: power is lost at every operation of it; salvaging again has all of it, and the old manifest is kept.
#[test]
fn p5_a_manifest_made_anew_survives_power_loss_anywhere() {
    let (fs, all) = killed();
    write(&fs, 64, &[0; 64]);
    let damaged = fs.map(Path::new(MANIFEST)).unwrap().to_vec();
    settle(&fs);
    salvage_again_from_anywhere(&fs, |disk, engine, stopped| {
        let found = contents(engine);
        assert!(found == all, "{stopped}: {} of {}", found.len(), all.len());
        let kept = disk.map(Path::new("memory/quarantine/MANIFEST.1"));
        assert!(kept.is_ok_and(|kept| kept[..] == damaged[..]), "{stopped}");
    });
}
