//! P4, P5: a read that fails once during a salvage is told, and nothing passes for gone because of it.

use std::collections::BTreeSet;
use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use super::Recovery;
use super::tests::{Contents, contents, open_unmerged, push, quarantined, settle, try_open};

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
