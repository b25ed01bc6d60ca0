//! P4 on a simulated disk: every operation failing once, a disk that runs full, bits that turn over.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use tidegauge::Durability;
use tidegauge_crash_tests::campaign::{anyone, record};
use tidegauge_crash_tests::examine::Counts;
use tidegauge_crash_tests::faults::{Ending, Rot, fail_one, flip_one, run_full};
use tidegauge_crash_tests::oracle::Death;
use tidegauge_crash_tests::script::{Rng, Script, Step};
use tidegauge_storage::fs::sim::Fault;

fn script(seed: u64, durability: Durability, steps: &[Step]) -> Script {
    Script { seed, lanes: 1, durability, steps: steps.to_vec() }
}

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
    let counts = Counts::default();
    let mut endings = BTreeMap::new();
    for durability in [Durability::Sync, Durability::Memory] {
        let script = script(1, durability, &STEPS);
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
    }
    endings
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
            Step::Push(9),
            Step::Durable,
        ];
        let script = script(seed, Durability::Sync, &steps.repeat(2));
        let recorded = record(&script, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        let disk = timeline.kill().crash(seed);
        let expected = recorded.history.expected(timeline.at(), Death::PowerLoss);
        let any = recorded.history.any_prefix(timeline.at());
        let mut rng = Rng(seed);
        for _ in 0..400 {
            let rot =
                flip_one(&disk, &expected, &any, &mut rng, &script).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            *rots.entry(format!("{rot:?}")).or_default() += 1;
        }
    }
    for rot in [Rot::Refused, Rot::NotRead, Rot::Right] {
        assert!(rots.contains_key(&format!("{rot:?}")), "{rots:?}");
    }
}
