//! P4 on a simulated disk: every operation failing once, a disk that runs full, bits that turn over.
#![allow(missing_docs)]

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use tidegauge::Durability;
use tidegauge_crash_tests::campaign::{anyone, record};
use tidegauge_crash_tests::end::may_be_cut;
use tidegauge_crash_tests::examine::Counts;
use tidegauge_crash_tests::faults::{
    Ending, Rot, Rule, Whole, fail_one, flip_one, run_full, salvage, turn_over, unread,
};
use tidegauge_crash_tests::oracle::{Contents, Death, Expected, Key};
use tidegauge_crash_tests::script::{Extent, Rng, Script, Step};
use tidegauge_crash_tests::store;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};

fn script(seed: u64, durability: Durability, steps: &[Step]) -> Script {
    Script { seed, lanes: 1, durability, steps: steps.to_vec() }
}

/// Administration: what it writes beside samples, and what it reads.
const ADMIN: [Step; 17] = [
    Step::Push(30),
    Step::PushOld(9),
    Step::Flush,
    Step::Push(5),
    Step::Delete(Extent::Window),
    Step::Push(4),
    Step::Delete(Extent::Series),
    Step::Durable,
    Step::Kill,
    Step::RetainAge(Extent::Series),
    Step::PushOld(3),
    Step::Flush,
    Step::Delete(Extent::Window),
    Step::Push(5),
    Step::Delete(Extent::Series),
    Step::RetainAge(Extent::All),
    Step::Durable,
];

const STEPS: [Step; 12] = [
    Step::Push(3),
    Step::Durable,
    Step::Metadata(9),
    Step::Push(20),
    Step::Flush,
    Step::Push(5),
    Step::Durable,
    Step::Kill,
    Step::Push(4),
    Step::Flush,
    Step::Push(2),
    Step::Durable,
];

/// Fails each operation of a workload in turn. Answers how the runs ended.
fn each_operation(fault: Fault) -> BTreeMap<String, u64> {
    each_operation_of(&STEPS, fault)
}

fn each_operation_of(steps: &[Step], fault: Fault) -> BTreeMap<String, u64> {
    let one = |durability| {
        let (counts, mut endings) = (Counts::default(), BTreeMap::<String, u64>::new());
        let script = script(1, durability, steps);
        let mut at = 1;
        loop {
            let (ending, operations) = fail_one(&script, at, fault, &counts)
                .unwrap_or_else(|e| panic!("{durability}, {fault:?} at {at}: {e}"));
            *endings.entry(format!("{ending:?}")).or_default() += 1;
            at += 1;
            // The last ones come when the run is over, or not at all.
            if at > operations && ending == Ending::Finished {
                break;
            }
        }
        assert!(at > 60, "only {at} operations");
        endings
    };
    // Side by side: an engine on a full disk waits most of the time.
    std::thread::scope(|scope| {
        let logged = scope.spawn(|| one(Durability::Sync));
        let mut endings = one(Durability::Memory);
        for (ending, times) in logged.join().expect("it says what fails") {
            *endings.entry(ending).or_default() += times;
        }
        endings
    })
}

#[test]
fn p4_every_operation_may_fail_once_and_nothing_durable_is_lost() {
    let endings = each_operation(Fault::Io);
    assert!(endings["Poisoned"] > 20, "{endings:?}");
    assert!(!endings.contains_key("Refused"), "a device that fails poisons: {endings:?}");
}

#[test]
fn p4_every_operation_may_find_the_disk_full_once_and_nothing_durable_is_lost() {
    let endings = each_operation(Fault::Full);
    assert!(endings["Finished"] > 20, "{endings:?}");
}

#[test]
fn p4_every_operation_may_find_no_more_files_once_and_the_engine_goes_on() {
    let endings = each_operation(Fault::Files);
    assert!(!endings.contains_key("Poisoned"), "{endings:?}");
}

#[test]
fn p4_p9_every_operation_may_fail_once_while_samples_are_deleted_and_rules_set() {
    let endings = each_operation_of(&ADMIN, Fault::Io);
    assert!(endings["Poisoned"] > 20 && !endings.contains_key("Refused"), "{endings:?}");
    let endings = each_operation_of(&ADMIN, Fault::Full);
    assert!(endings["Finished"] > 20, "{endings:?}");
    let endings = each_operation_of(&ADMIN, Fault::Files);
    assert!(!endings.contains_key("Poisoned"), "{endings:?}");
}

/// A compaction or a copy that fails is told to who asked for it, and changes nothing.
#[test]
fn p4_every_operation_of_compactions_and_backups_may_fail_once() {
    let steps = [
        Step::Push(30),
        Step::Flush,
        Step::Push(30),
        Step::Delete(Extent::Window),
        Step::Flush,
        Step::Compact,
        Step::Backup,
        Step::Push(3),
        Step::Durable,
    ];
    std::thread::scope(|scope| {
        for fault in [Fault::Io, Fault::Full, Fault::Files] {
            let steps = &steps;
            scope.spawn(move || {
                let endings = each_operation_of(steps, fault);
                assert!(endings.contains_key("Refused"), "{endings:?}");
            });
        }
    });
}

#[test]
fn p4_every_read_may_fail_once_and_nothing_is_lost() {
    let mut all = BTreeMap::<String, u64>::new();
    for durability in [Durability::Sync, Durability::Memory] {
        let script = script(7, durability, &ADMIN);
        let recorded = record(&script, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        let disk = timeline.kill().crash(7);
        let expected = recorded.history.expected(timeline.at(), Death::PowerLoss);
        let mut at = 1;
        loop {
            let (outcome, reads) =
                unread(&disk, at, &expected, &script).unwrap_or_else(|e| panic!("{durability}: {e}"));
            *all.entry(format!("{outcome:?}")).or_default() += 1;
            at += 1;
            if at > reads + 3 {
                break;
            }
        }
        assert!(at > 12, "only {at} reads");
    }
    assert!(all["NotOpened"] > 10 && all.contains_key("Told") && all.contains_key("Right"), "{all:?}");
}

#[test]
fn p4_a_disk_with_little_space_refuses_keeps_reads_and_resumes() {
    let mut refused = 0;
    for seed in 0..12 {
        let steps = [Step::Push(900), Step::Flush, Step::Push(1100), Step::Visible, Step::PushAll(3)].repeat(4);
        let script = script(seed, Durability::Sync, &steps);
        refused += run_full(&script, seed * 20_000).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    assert!(refused > 10, "{refused} times refused");
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let mut rots = BTreeMap::<String, u64>::new();
    for seed in 0..4 {
        let steps = [
            Step::Push(40),
            Step::Metadata(30),
            Step::Flush,
            Step::Push(20),
            Step::Durable,
            Step::Delete(Extent::Window),
            Step::Push(9),
            Step::Rest,
        ];
        let script = script(seed, Durability::Sync, &steps.repeat(2));
        let recorded = record(&script, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        // The log rested: what was durable is witnessed.
        let disk = timeline.kill();
        let expected = recorded.history.expected(timeline.at(), Death::PowerLoss);
        let engine = store::open(&disk.kill(), Durability::Sync).unwrap();
        let was = store::read(&engine, 1).unwrap().lanes;
        engine.close().unwrap();
        let (pushed, durability) = (&recorded.pushed, script.durability);
        let whole = Whole { expected: &expected, cut: None, was: &was, pushed, durability, seed, rule: Rule::Told };
        let mut rng = Rng(seed);
        for _ in 0..400 {
            let turned = turn_over(&disk, &mut rng);
            assert!(!may_be_cut(&disk, &turned.path, turned.bit), "seed {seed}: {turned:?}");
            let rot = flip_one(&turned, &whole).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            *rots.entry(format!("{rot:?}")).or_default() += 1;
        }
    }
    for rot in [Rot::Refused, Rot::NotRead, Rot::Right] {
        assert!(rots.contains_key(&format!("{rot:?}")), "{rots:?}");
    }
}

/// A workload whose machine has died at its end, and what its store holds.
struct Ended {
    script: Script,
    disk: SimFs,
    expected: Expected,
    was: Vec<Contents>,
    pushed: HashSet<(Key, u64)>,
}

impl Ended {
    fn of(script: Script) -> Self {
        let recorded = record(&script, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        let (disk, expected) = (timeline.kill(), recorded.history.expected(timeline.at(), Death::PowerLoss));
        let engine = store::open(&disk.kill(), script.durability).unwrap();
        let was = store::read(&engine, script.lanes.into()).unwrap().lanes;
        engine.close().unwrap();
        Self { script, disk, expected, was, pushed: recorded.pushed }
    }

    fn whole(&self) -> Whole<'_> {
        let Self { script, expected, was, pushed, .. } = self;
        let Script { durability, seed, .. } = *script;
        Whole { expected, cut: None, was, pushed, durability, seed, rule: Rule::Told }
    }
}

/// Each manifest made anew was said to miss samples of a flush, and then none of any lane was missed by the oracle.
#[test]
fn a_salvage_that_leaves_segments_out_is_noticed() {
    let steps = [Step::Push(40), Step::Flush].repeat(3);
    let steps = [&steps[..], &[Step::Push(9), Step::Durable, Step::Rest]].concat();
    let ending = |end: &'static str| move |path: &PathBuf| path.to_string_lossy().ends_with(end);
    // Now and then the log has still all of it when the machine dies, and brings it back: not five times in turn.
    let mut noticed = 0;
    for seed in 5..10 {
        let ended = Ended::of(script(seed, Durability::Sync, &steps));
        let (disk, whole) = (&ended.disk, ended.whole());
        let files = || disk.files().into_iter().map(|(path, _)| path);
        let manifest = files().find(ending("MANIFEST")).unwrap();
        // One that is gone names nothing. Of one without its header the commits are left: what they name and is not there
        // is told of.
        for gone in [true, false] {
            let damaged = disk.kill();
            if gone {
                damaged.remove(&manifest).unwrap()
            } else {
                damaged.flip(&manifest, 0).unwrap()
            }
            salvage(&damaged, &whole).unwrap();
            let damaged = damaged.kill();
            files().filter(ending(".seg")).for_each(|segment| damaged.remove(&segment).unwrap());
            if let Err(told) = salvage(&damaged, &whole) {
                assert!(gone && told.contains("are lost, of more than"), "{told}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 0, "nothing tells of what is missing");
}

/// A frame that later ones call durable was cut off with all of them, or might have been: where nothing had rested,
/// nobody looked.
#[test]
fn a_flipped_bit_in_the_middle_of_a_log_that_never_rested_is_refused() {
    let steps = [Step::Push(9), Step::Durable].repeat(4);
    let script = script(3, Durability::Sync, &steps);
    let ended = Ended::of(script);
    let (disk, whole) = (&ended.disk, ended.whole());
    let (mut rng, mut refused) = (Rng(3), 0);
    // How many frames the pushes made, and so how often a bit hits one that counts, is the threads' affair.
    for _ in 0..20_000 {
        if refused > 10 {
            return;
        }
        let turned = turn_over(disk, &mut rng);
        let in_log = turned.path.to_string_lossy().ends_with(".wal");
        if in_log && turned.bit > 8 * 4096 && !may_be_cut(disk, &turned.path, turned.bit) {
            let rot = flip_one(&turned, &whole).unwrap_or_else(|e| panic!("{e}"));
            refused += u32::from(rot == Rot::Refused);
        }
    }
    assert!(refused > 10, "{refused} times refused");
}
