//! P5: a salvage that ends before its report was told.

use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use super::tests::{contents, open_unmerged, push, try_open};
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

/// Whether a report says that the file `name` had samples which are lost, itself or what a repair before it had noted.
fn tells(report: &RecoveryReport, name: &str) -> bool {
    let noted =
        |note: &String| note.contains("an earlier repair") && note.contains(name) && note.contains("samples lost");
    report.lost.iter().any(|lost| lost.file.ends_with(name)) || report.notes.iter().any(noted)
}

/// Killed behind its manifest commit, it left a store in which the next one found nothing damaged, and told so: only who
/// read audit.log knew what was lost.
#[test]
fn p5_a_repair_that_is_killed_before_its_report_is_told_by_the_next_one() {
    let (base, name) = damaged();
    let saved = contents(&try_open(&base.kill(), Recovery::Salvage).unwrap());
    let (mut by_the_line, mut operation) = (0, 1);
    loop {
        let fs = base.kill();
        fs.stop_at(operation);
        drop(try_open(&fs, Recovery::Salvage));
        let is_over = fs.operations() < operation;
        fs.restart();
        let next = fs.kill();
        let engine = try_open(&next, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        // A close says that all was told.
        let closed = |fs: &SimFs| fs.map(Path::new("memory/MANIFEST.closed")).ok().map(|map| map.to_vec());
        let is_closed = closed(&fs) != closed(&base);
        assert!(is_closed || tells(report, &name), "operation {operation}: {report:?}");
        by_the_line += usize::from(report.lost.is_empty());
        assert!(contents(&engine) == saved, "operation {operation}");
        engine.close().unwrap();
        let engine = try_open(&next, Recovery::Salvage).unwrap();
        assert_eq!(engine.recovery_report().notes, [""; 0], "operation {operation}: once is enough");
        if is_over {
            break;
        }
        operation += 1;
    }
    assert!(by_the_line > 3, "{by_the_line}");
}
