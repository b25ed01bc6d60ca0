//! P4, P5: a read that fails once during a salvage is told, and nothing passes for gone because of it.

use std::collections::BTreeSet;
use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{TimeRange, Timestamp};

use super::Recovery;
use super::orphan::tests::older_manifest;
use super::tests::{
    Contents, contents, damage_frame, killed, open_unmerged, path_of, push, quarantined, settle, try_open,
};

/// Copies of `disk` are salvaged while one read fails, and once more without: each has in the end what a salvage makes of
/// it when all can be read, and has kept what that keeps. Answers that, and how many openings were refused.
fn salvage_with_each_read_failing(disk: &SimFs) -> (Contents, u32) {
    let whole = disk.kill();
    let all = contents(&try_open(&whole, Recovery::Salvage).unwrap());
    let kept: BTreeSet<String> = quarantined(&whole).into_iter().collect();
    let (mut refused, mut at) = (0, 1);
    loop {
        let disk = disk.kill();
        disk.fail_read_at(at);
        match try_open(&disk, Recovery::Salvage) {
            Ok(engine) => drop(engine.close()),
            Err(_) => refused += 1,
        }
        let is_over = disk.reads() < at;
        disk.restart();
        for recovery in [Recovery::Salvage, Recovery::Strict] {
            let again = disk.kill();
            let engine = match try_open(&again, recovery) {
                Ok(engine) => engine,
                // As long as no salvage came to its end.
                Err(_) if recovery == Recovery::Strict => continue,
                Err(e) => panic!("read {at} failed, then: {e}"),
            };
            let found = contents(&engine);
            assert!(found == all, "read {at} failed, {recovery:?}: {} of {}", found.len(), all.len());
            if recovery == Recovery::Salvage {
                let names: BTreeSet<String> = quarantined(&again).into_iter().collect();
                assert!(kept.is_subset(&names), "read {at} failed: {names:?}, not {kept:?}");
            }
        }
        if is_over {
            return (all, refused);
        }
        at += 1;
    }
}

/// A folder of segments that could not be listed counted as empty: the manifest that was made anew named none, and the next
/// strict opening removed them all.
#[test]
fn p5_a_manifest_made_anew_is_not_made_of_a_folder_that_cannot_be_read() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..3 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    let all = contents(&engine);
    engine.close().unwrap();
    assert_eq!(fs.list(Path::new("memory/segments")).unwrap().len(), 3);
    fs.open(Path::new("memory/MANIFEST")).unwrap().write_all_at(64, &[0; 64]).unwrap();
    settle(&fs);
    let (found, refused) = salvage_with_each_read_failing(&fs);
    assert!(found == all && refused > 10, "{refused}");
}

/// An `audit.log` that could not be read named no delete: what the log had lost was shown again.
#[test]
fn p5_a_delete_is_not_forgotten_because_the_audit_log_cannot_be_read() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    let range = TimeRange::new(Timestamp::from_nanos(0), Timestamp::from_nanos(30_000));
    engine.delete(r#"{host="0"}"#, range).unwrap();
    // It says that the delete was durable.
    push(&engine, 1);
    let all = contents(&engine);
    let disk = fs.kill();
    drop(engine);
    for manifest_is_damaged in [false, true] {
        let disk = disk.kill();
        damage_frame(&disk, 0);
        if manifest_is_damaged {
            disk.open(Path::new("memory/MANIFEST")).unwrap().write_all_at(64, &[0; 64]).unwrap();
        }
        settle(&disk);
        let (found, refused) = salvage_with_each_read_failing(&disk);
        assert!(found == all && refused > 10, "{manifest_is_damaged}: {} of {}", found.len(), all.len());
    }
}

/// A sector under an `audit.log` that is gone for good made every repair impossible. Nor is it forgotten by one that fails.
#[test]
fn an_audit_log_that_can_never_be_read_is_set_aside_and_told() {
    let log = Path::new("memory/audit.log");
    let (store, all) = killed();
    if store.open(log).is_err() {
        store.create(log).unwrap().write_all_at(0, b"{}\n").unwrap();
    }
    settle(&store);
    for (manifest_is_damaged, failing) in (0..24).map(|n| (n % 2 == 1, n / 2)) {
        let fs = store.kill();
        if manifest_is_damaged {
            fs.open(Path::new("memory/MANIFEST")).unwrap().write_all_at(64, &[0; 64]).unwrap();
            settle(&fs);
        }
        fs.spoil(log).unwrap();
        let mut engine = None;
        if failing > 0 {
            fs.fail_sync_at(fs.syncs() + failing);
            engine = try_open(&fs, Recovery::Salvage).ok();
            if engine.is_none() {
                fs.restart();
            }
        }
        let engine = engine.unwrap_or_else(|| try_open(&fs, Recovery::Salvage).unwrap());
        assert!(contents(&engine) == all);
        let report = engine.recovery_report();
        let is_told = report.notes.iter().any(|note| note.contains("named there are not known"));
        assert!(is_told || failing > 0, "{report:?}");
        assert!(quarantined(&fs).contains(&"audit.log.1".to_owned()), "{report:?}");
        // One that ended behind it has left a line.
        let lines = fs.map(log).map(|map| map.to_vec()).unwrap_or_default();
        let lines = std::str::from_utf8(&lines).unwrap();
        let has_line = lines.contains("audit.log.1");
        assert!(!has_line || failing > 0 || !manifest_is_damaged || lines.contains("MANIFEST.1"), "{lines}");
        assert!(has_line || (is_told && failing > 0), "{failing}: {report:?}");
        drop(engine.close());
        fs.restart();
        try_open(&fs, Recovery::Strict).unwrap().close().unwrap();
    }
}

/// A repair that was not allowed to read `audit.log` had given up a segment by then, and told nobody: the next one found
/// nothing damaged.
#[test]
fn p5_a_repair_that_may_not_read_the_audit_log_changes_nothing() {
    let (fs, _) = killed();
    let segment = path_of(&fs, "segments");
    fs.remove(&segment).unwrap();
    let log = Path::new("memory/audit.log");
    if fs.open(log).is_ok() {
        fs.remove(log).unwrap();
    }
    fs.create_dir_all(log).unwrap();
    settle(&fs);
    let before = fs.files();
    let Err(refused) = try_open(&fs, Recovery::Salvage) else { panic!("it opens") };
    assert!(refused.to_string().contains("audit.log"), "{refused}");
    assert_eq!(fs.files(), before);
    fs.remove_dir(log).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert!(report.lost.iter().any(|lost| lost.file == segment), "{report:?}");
    engine.close().unwrap();
}

/// A damaged file of the log that could not be opened to be kept passed for missing, and the log went over it.
#[test]
fn p5_a_damaged_log_is_kept_though_a_read_fails() {
    let (fs, _) = killed();
    damage_frame(&fs, 3);
    settle(&fs);
    let (_, refused) = salvage_with_each_read_failing(&fs);
    assert!(refused > 10, "{refused}");
}

/// A segment that no commit named any more, and that could not be opened, told nothing: the manifest passed for the
/// newest, and the segment for a leftover.
#[test]
fn p5_a_segment_that_cannot_be_opened_is_no_leftover() {
    let (fs, all) = older_manifest(2);
    settle(&fs);
    let (found, refused) = salvage_with_each_read_failing(&fs);
    assert!(found == all && refused > 10, "{refused}");
}
