//! P5 and P6 under power losses and kills; and that this notices what is wrong.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use tidegauge::Durability;
use tidegauge_crash_tests::campaign::{Plan, anyone, crash_everywhere, record};
use tidegauge_crash_tests::examine::{Counts, Depth};
use tidegauge_crash_tests::mends;
use tidegauge_crash_tests::script::{Script, Step};
use tidegauge_crash_tests::short::crash_short;
use tidegauge_crash_tests::store;
use tidegauge_crash_tests::syncs::{Workload, miss_each_sync};
use tidegauge_storage::fs::sim::SimFs;

/// Of all short workloads together.
const POINTS: u64 = 20_000;

/// Each step of each short workload, with some of the choices that `cargo run -p tidegauge-crash-tests` tries there.
#[test]
fn p5_choices_at_every_step_of_a_short_workload() {
    let counts = Counts::default();
    let plan = Plan { seed: 1, points: POINTS, threads: 2, len: 0, choices: 0, twice_one_in: 1 };
    let covered = crash_short(Script::short(), POINTS, &plan, &counts, || {});
    let covered = covered.unwrap_or_else(|e| panic!("{}: {:?}", e.what, e.script));
    assert!(covered.steps > 20 * 25 && covered.whole > covered.steps / 3, "{covered:?}");
    let twice = counts.twice.load(Ordering::Relaxed);
    assert!(twice > POINTS * 3 / 4, "only {twice} crash points were opened twice");
    let amid = counts.amid_flush.load(Ordering::Relaxed);
    assert!(amid > 40, "only {amid} manifests were lost behind a kill amid a flush");
    let forgotten = counts.forgotten.load(Ordering::Relaxed);
    assert!(forgotten > 20, "only {forgotten} manifests were lost behind deletes that were carried out");
}

#[test]
fn p5_p6_a_prefix_comes_back_from_a_crash_anywhere_and_from_a_crash_of_the_recovery() {
    let (counts, depth) = (Counts::default(), Depth { levels: 2, one_in: 4, points: 2, twice_one_in: 2, audit: true });
    for seed in 0..6 {
        let script = Script::random(seed, 30);
        crash_everywhere(&script, 1, depth, &counts)
            .unwrap_or_else(|e| panic!("step {}: {}: {script:?}", e.step, e.what));
    }
    let damaged = counts.damaged.load(Ordering::Relaxed);
    assert!(damaged > 20, "only {damaged} damaged ends of a log were refused");
    let manifests = counts.manifests.load(Ordering::Relaxed);
    assert!(manifests > 100, "only {manifests} damaged ends of a manifest were refused");
}

/// Goes past the simulated disk (`docs/crashes.md`).
const OF_NO_DISK: &str = "engine/src/lock/beat.rs";
/// What the calls go to.
const DISKS: &str = "storage/src/fs/";

/// The modules of the engine that only its tests have, by their files.
fn only_for_tests(root: &Path) -> Vec<String> {
    let lib = fs::read_to_string(root.join("engine/src/lib.rs")).unwrap();
    let lines: Vec<&str> = lib.lines().collect();
    let is_behind = |pair: &&[&str]| pair[0].starts_with("#[cfg(") && pair[0].contains("test");
    let module = |line: &str| Some(format!("engine/src/{}.rs", line.strip_prefix("mod ")?.strip_suffix(';')?));
    lines.windows(2).filter(is_behind).filter_map(|pair| module(pair[1])).collect()
}

/// Each line of engine and storage that asks for a sync, as a site has it, and each that has something shared do so.
fn lines_that_sync() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![root.join("engine/src"), root.join("storage/src")];
    let (mut lines, tests) = (Vec::new(), only_for_tests(root));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs")
                && !name.contains("tests")
                && !tests.contains(&name)
                && name != OF_NO_DISK
                && !name.starts_with(DISKS)
            {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let asks = |line: &str| {
                    [".sync_data()", ".sync_dir(", ".sync_since(", "make_dir("].iter().any(|call| line.contains(call))
                };
                let found = code.lines().enumerate().filter(|(_, line)| asks(line));
                lines.extend(found.map(|(nth, _)| format!("{name}:{}: ", nth + 1)));
            }
        }
    }
    assert!(lines.len() >= 34, "{lines:?}");
    lines
}

#[test]
fn leaving_out_any_sync_is_noticed() {
    let missed = miss_each_sync(1).unwrap();
    let has = |of: &str| missed.iter().any(|one| one.site.contains(of));
    assert!(["restore", "quarantine", "unlock", "audit"].into_iter().all(has), "{missed:?}");
    let lines = lines_that_sync();
    let unreached: Vec<_> = lines.iter().filter(|line| !has(line)).collect();
    assert!(unreached.is_empty(), "no workload comes by {unreached:?}; of {missed:?}");
    let unnoticed: Vec<_> = missed.iter().filter(|one| one.noticed.is_none()).collect();
    assert!(unnoticed.is_empty(), "superfluous, or the workloads are too weak: {unnoticed:?}");
}

#[test]
fn a_disk_that_ignores_all_syncs_is_noticed() {
    for script in Script::short() {
        let workload = Workload::of(&script, record(&script, anyone).unwrap());
        assert!(workload.notice(|_| true).is_some(), "{script:?}");
        let wrong = workload.is_wrong();
        assert!(wrong.is_none(), "{wrong:?}: {script:?}");
    }
}

/// What administrators answer for survives, and what they leave half done can be done again.
#[test]
fn p5_a_restore_a_salvage_and_an_unlock_survive_a_power_loss_anywhere() {
    let workloads = mends::workloads(anyone).unwrap();
    assert!(workloads.len() >= 10);
    for workload in workloads {
        let wrong = workload.is_wrong();
        assert!(wrong.is_none(), "{wrong:?}");
        assert!(workload.notice(|_| true).is_some(), "{}", workload.name);
    }
}

/// Without a log nothing but a flush made the folder's name durable, and nothing did: a power
/// loss after the first flush left a manifest that named a segment in no folder.
#[test]
fn without_a_log_the_first_segment_survives_a_power_loss() {
    let steps = vec![Step::Push(3), Step::Flush];
    let script = Script { seed: 1, lanes: 1, durability: Durability::Memory, steps };
    let recorded = record(&script, anyone).unwrap();
    let mut timeline = recorded.timeline;
    while !timeline.is_over() {
        timeline.advance();
    }
    for seed in 0..50 {
        let disk: SimFs = timeline.kill().crash(seed);
        let engine = store::open(&disk, Durability::Memory).unwrap();
        assert_eq!(store::read(&engine, 1).unwrap().lanes[0].samples.len(), 3);
    }
}
