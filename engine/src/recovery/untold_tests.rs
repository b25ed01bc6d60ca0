//! P5: a salvage that ends before its report was told (AD6 of `audit/deletes.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use super::tests::{contents, open_unmerged, push, quarantined, try_open};
use super::{Recovery, RecoveryReport};
use crate::audit::{AuditLog, Audited};

/// Two segments, of which the second is no segment any more. And its name.
fn damaged() -> (SimFs, String) {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..2 {
        push(&engine, 10 * round);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let name = fs.list(folder).unwrap().pop().unwrap();
    fs.open(&folder.join(&name)).unwrap().write_all_at(0, &[0xa5; 4096]).unwrap();
    (fs, name)
}

/// Whether what repairs before this one had noted is told, and has all of these words.
fn retells(report: &RecoveryReport, words: &[&str]) -> bool {
    report.untold.iter().any(|line| line.contains("an earlier repair") && words.iter().all(|word| line.contains(word)))
}

/// Whether a close has said that a report was told.
fn is_told(fs: &SimFs) -> bool {
    let line = b"\"act\":\"told\"";
    fs.map(Path::new("memory/audit.log")).is_ok_and(|map| map.to_vec().windows(line.len()).any(|w| w == line))
}

/// Kills a salvage of `base` at each of its operations, the close included, `between` happens, and another salvage is told
/// all, once. Answers how often it was told by what the killed one had noted.
fn kill_anywhere(base: &SimFs, between: fn(&SimFs), tells: impl Fn(&RecoveryReport) -> bool) -> usize {
    let saved = contents(&try_open(&base.kill(), Recovery::Salvage).unwrap());
    let (mut by_the_line, mut operation) = (0, 1);
    loop {
        let fs = base.kill();
        fs.stop_at(operation);
        let _ = try_open(&fs, Recovery::Salvage).map(crate::Engine::close);
        let is_over = fs.operations() < operation;
        fs.restart();
        let next = fs.kill();
        between(&next);
        let engine = try_open(&next, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(is_told(&fs) || tells(report), "operation {operation}: {report:?}");
        by_the_line += usize::from(!report.untold.is_empty());
        assert!(contents(&engine) == saved, "operation {operation}");
        engine.close().unwrap();
        let engine = try_open(&next, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(
            report.untold.is_empty() && report.notes.is_empty(),
            "operation {operation}: once is enough: {report:?}"
        );
        if is_over {
            assert!(is_told(&fs));
            return by_the_line;
        }
        operation += 1;
    }
}

/// Killed behind its manifest commit, it left a store in which the next one found nothing damaged, and told so: only who
/// read audit.log knew what was lost.
#[test]
fn p5_a_repair_that_is_killed_before_its_report_is_told_by_the_next_one() {
    let (base, name) = damaged();
    let tells = |report: &RecoveryReport| {
        let found = report.lost.iter().any(|lost| lost.file.ends_with(&name));
        found || retells(report, &[&name, "samples lost"])
    };
    assert!(kill_anywhere(&base, |_| (), tells) > 3);
}

/// An agent that was started between two repairs, and stopped, counted as one that had told what the first had lost.
#[test]
fn p5_what_a_repair_has_lost_is_told_behind_strict_openings_that_closed_in_order() {
    let (base, name) = damaged();
    let tells = |report: &RecoveryReport| {
        let found = report.lost.iter().any(|lost| lost.file.ends_with(&name));
        found || retells(report, &[&name, "samples lost"])
    };
    let start_and_stop = |fs: &SimFs| {
        for _ in 0..2 {
            // As long as nothing was repaired it is refused.
            if let Ok(engine) = try_open(fs, Recovery::Strict) {
                engine.close().unwrap();
            }
        }
    };
    assert!(kill_anywhere(&base, start_and_stop, tells) > 3);
}

/// Between its new manifest and its line in audit.log lay other work: killed there, nobody told of rules of retention and
/// descriptions that were gone.
#[test]
fn p5_a_manifest_made_anew_is_told_wherever_the_repair_is_killed() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.close().unwrap();
    fs.remove(Path::new("memory/MANIFEST")).unwrap();
    let tells =
        |report: &RecoveryReport| report.manifest_made_anew || retells(report, &["made anew", "rules of retention"]);
    assert!(kill_anywhere(&fs, |_| (), tells) > 3);
}

/// Segments that the manifest does not name were set aside one by one, and their line written behind the last one.
#[test]
fn p5_leftovers_that_a_repair_sets_aside_are_told_wherever_it_is_killed() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.close().unwrap();
    let names = ["0000000100000ffe.seg", "0000000100000fff.seg"];
    for name in names {
        fs.create(&Path::new("memory/segments").join(name)).unwrap().write_all_at(0, b"a leftover").unwrap();
    }
    let tells = |report: &RecoveryReport| {
        let is_found = |name: &&str| report.quarantined.iter().any(|path| path.ends_with(name));
        names.iter().all(|name| is_found(name) || retells(report, &[name]))
    };
    assert!(kill_anywhere(&fs, |_| (), tells) > 0);
}

/// It lost its name before its line was written.
#[test]
fn p5_a_file_in_the_place_of_a_folder_that_a_repair_sets_aside_is_told_wherever_it_is_killed() {
    let (fs, folder) = (SimFs::new(), Path::new("memory/wal"));
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.close().unwrap();
    fs.list(folder).unwrap().iter().for_each(|name| fs.remove(&folder.join(name)).unwrap());
    fs.remove_dir(folder).unwrap();
    fs.create(folder).unwrap().write_all_at(0, b"a file").unwrap();
    let tells = |report: &RecoveryReport| {
        report.notes.iter().any(|note| note.contains("memory/wal was a file")) || retells(report, &["wal was a file"])
    };
    assert!(kill_anywhere(&fs, |_| (), tells) > 0);
}

/// A line named 20 of each and said of no others; and what an earlier repair had only set aside counted as lost.
#[test]
fn p5_a_line_counts_what_it_does_not_name_and_of_what_is_lost_nothing_is_told_where_nothing_is() {
    let (fs, _) = damaged();
    let folder = Path::new("memory/segments");
    for n in 0..30 {
        fs.create(&folder.join(format!("00000001000ff{n:03}.seg"))).unwrap().write_all_at(0, b"a leftover").unwrap();
    }
    drop(try_open(&fs, Recovery::Salvage).unwrap());
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert!(retells(report, &["\"files\":30,", "\"quarantined_19\":", "\"samples_lost\":0,"]), "{report:?}");
    assert!(retells(report, &["\"lost_places\":3,", "\"lost_0\":"]), "{report:?}");
    assert_eq!((report.untold.len(), report.untold_losses, report.is_whole()), (2, 1, true), "{report:?}");
}

/// A line of more than 2 MiB was never read back.
#[test]
fn p5_a_line_of_long_texts_stays_short_enough_to_be_read_back() {
    let (fs, dir) = (SimFs::new(), Path::new("memory"));
    fs.create_dir_all(dir).unwrap();
    let audit = AuditLog::new(Arc::new(fs.clone()), dir);
    let long = "é\"\n".repeat(100_000);
    let mut report =
        RecoveryReport { notes: vec![long.clone(); 40], manifest_made_anew: true, ..RecoveryReport::default() };
    report.quarantined = vec![PathBuf::from(long); 40];
    report.note_in(&audit, (7, 1));
    assert!(!report.unnoted && report.notes.len() == 40);
    let read = Audited::read(&fs, dir, 7).unwrap();
    let (lines, losses) = (read.untold(7), read.untold_losses(7));
    assert!(lines.len() == 1 && losses == 1 && lines[0].len() < 66_000, "{losses} {:?}", lines.iter().map(String::len));
    assert!(lines[0].contains("\"files\":40,\"notes\":40,"), "{}", &lines[0][..900]);
}

/// A program that let go of its engine without a close, or an opening that failed behind its repair, had told nobody.
#[test]
fn p5_a_report_counts_as_told_where_the_engine_is_closed_and_not_where_it_is_dropped() {
    let (fs, name) = damaged();
    drop(try_open(&fs, Recovery::Salvage).unwrap());
    assert_eq!(quarantined(&fs), [name.as_str()]);
    for _ in 0..2 {
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        assert!(retells(engine.recovery_report(), &[&name, "samples lost"]), "{:?}", engine.recovery_report());
        drop(engine);
    }
    try_open(&fs, Recovery::Salvage).unwrap().close().unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert_eq!(engine.recovery_report(), &RecoveryReport::default());
}
