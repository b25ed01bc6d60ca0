//! The plan beside its naive twin, and how much it looks at.

use proptest::prelude::*;

use super::naive_plan::naive;
use super::plan::{Piece, Rules, STEPS, Turn, plan, plan_drop, plan_free};
use super::plan_tests::{piece, rules};

const HOUR: i64 = 3_600_000_000_000;
const MIB: u64 = 1 << 20;

fn steps_of(work: impl FnOnce()) -> u64 {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}

/// Segments in which nothing, or hardly anything, is worth a job: the plan looks everywhere.
fn layouts(n: u64) -> Vec<(&'static str, Vec<Piece>, Rules)> {
    let row = |i: u64, bytes| piece(i, (i, i + 1), (i as i64 * HOUR, (i as i64 + 1) * HOUR), false, bytes);
    let uneven = |i: u64| row(i, if i.is_multiple_of(2) { 20_000 } else { MIB });
    let settled: Vec<Piece> = (0..n).map(uneven).collect();
    let ages = |n: u64| Rules { ages: [HOUR].into(), now: n as i64 * HOUR, ..rules(false) };
    let on_one = |i: u64| Piece { bytes: 700 * MIB, ..piece(i, (i, i + 1), (0, 10 + i as i64), false, 1) };
    let aged = |i: u64| Piece { aged: 1, hidden: 1, urgent: true, damaged: i == 0, ..uneven(i) };
    let damaged = |i: u64| Piece { damaged: i == n / 2, ..row(i, 20_000) };
    let across = piece(n, (0, 1), (0, n as i64 * HOUR), true, MIB);
    let beneath = Piece { damaged: true, seq: piece(0, (n / 2, n / 2), (0, 1), false, 1).seq, ..across };
    let stays: Vec<Piece> = (0..n).map(|i| row(i, 20_000)).chain([beneath]).collect();
    let pairs = |i: u64| if i.is_multiple_of(2) { row(i, MIB) } else { Piece { bytes: 9, ..row(i - 1, MIB) } };
    let pairs = (0..n).map(|i| Piece { id: i, seq: row(i, 1).seq, ..pairs(i) });
    vec![
        ("settled", settled.clone(), rules(false)),
        ("settled, with ages", settled.clone(), ages(n)),
        ("all of one tier, with a damaged one between", (0..n).map(damaged).collect(), rules(true)),
        ("beneath one that stays", stays.clone(), rules(true)),
        ("beneath one that stays, in the background", stays, rules(false)),
        ("all on one floor, each too much", (0..n).map(on_one).collect(), Rules { fan: 5, ..rules(false) }),
        ("over age behind what is not", (0..n).map(aged).collect(), rules(false)),
        ("a little on each", pairs.collect(), rules(false)),
        ("all at once", settled, rules(true)),
    ]
}

/// With thousands of segments a look took seconds, once a second: each was compared with each.
#[test]
fn thousands_of_segments_are_planned_in_few_steps() {
    let mut told = Vec::new();
    for n in [1_250u64, 5_000] {
        for (what, pieces, rules) in layouts(n) {
            let steps =
                steps_of(|| drop((plan(&pieces, &rules), plan_free(&pieces, &rules), plan_drop(&pieces, &rules))));
            told.push(format!("{what}, {n}: {steps} steps, {} each", steps / n));
            let most = 40 * n * u64::from(n.ilog2());
            assert!(steps <= most, "{what}: {steps} steps of {n} segments, {most} allowed");
        }
    }
    told.iter().for_each(|line| println!("{line}"));
}

/// As it was before: for the figures in the change log.
#[test]
#[ignore = "takes its time: what a plan of 5,000 segments takes, and what its twin does"]
fn what_a_plan_takes() {
    for (what, pieces, rules) in layouts(5_000) {
        let start = std::time::Instant::now();
        let quick = plan(&pieces, &rules);
        let taken = start.elapsed();
        let start = std::time::Instant::now();
        let [slow, ..] = naive(&pieces, &rules);
        assert_eq!(quick, slow);
        println!("{what}: {taken:?}, the naive twin {:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::with_cases(3_000) })]

    /// Whatever there is, the quick plan and its naive twin plan the same.
    #[test]
    fn the_plan_equals_its_naive_twin(
        flushes in prop::collection::vec(
            (
                (0i64..400, 1i64..90, 0i64..300, 1u64..6_000_000, any::<bool>()),
                (0u8..8, 0u8..12, 0u8..4, any::<bool>(), any::<bool>()),
            ),
            0..40,
        ),
        sizes in (prop_oneof![Just(400_000u64), Just(2_000_000), Just(20_000_000)], prop_oneof![Just(u64::MAX), 1_000_000u64..9_000_000]),
        times in (prop_oneof![Just(50i64), Just(5_000)], prop_oneof![Just(vec![]), Just(vec![40i64, 400])], 2usize..5),
        all in any::<bool>(),
        cold_after in prop_oneof![Just(i64::MAX), 0i64..300],
        turn in (any::<bool>(), any::<bool>()),
    ) {
        let mut pieces = Vec::new();
        for (i, ((start, len, back, bytes, late), (hidden, frozen, reach, urgent, cold))) in flushes.into_iter().enumerate() {
            let seq = (i as u64 * 10, i as u64 * 10 + 10);
            let marked = |piece: Piece| {
                let hidden = if hidden < 4 { 0 } else { piece.samples * u64::from(hidden - 3) / 4 };
                let aged = if reach == 1 { hidden / 2 } else { 0 };
                let (damaged, busy) = (frozen == 0, frozen == 1);
                Piece { hidden, aged, urgent: urgent && hidden > 0, damaged, busy, cold, created: start, ..piece }
            };
            let end = if reach == 0 && frozen == 3 { i64::MAX } else { start + len };
            pieces.push(marked(piece(2 * i as u64, seq, (start, end), false, bytes)));
            if late {
                pieces.push(marked(piece(2 * i as u64 + 1, seq, (start - back, start + len), true, bytes / 4 + 1)));
            }
        }
        let (segment_bytes, most) = sizes;
        let (span, ages, fan) = times;
        let turn = Turn { rewrites: turn.0, chills: turn.1 };
        let rules = Rules { segment_bytes, most, span, ages: ages.into(), fan, cold_after, turn, now: 500, ..rules(all) };
        let quick = [plan(&pieces, &rules), plan_free(&pieces, &rules), plan_drop(&pieces, &rules)];
        prop_assert_eq!(quick, naive(&pieces, &rules));
    }
}
