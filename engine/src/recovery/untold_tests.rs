//! P5: a salvage that ends before its report was told (AD6 of `audit/deletes.rs`).

use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use super::tests::{contents, open_unmerged, push, quarantined, try_open};
use super::{Recovery, RecoveryReport};

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
