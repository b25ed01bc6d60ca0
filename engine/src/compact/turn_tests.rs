//! Whose turn it is though there is always something to merge, and what becomes of jobs that were too much.

use tidegauge_storage::model::TimeRange;

use super::beside::{BEFORE_CHILL, BEFORE_REWRITE, Due, Occupied, Turns, beside};
use super::plan::{Piece, Rules, Why, plan, plan_free};
use super::plan_tests::{Store, piece, rules};

const HOUR: i64 = 3_600_000_000_000;
const MIB: u64 = 1 << 20;

/// Rewrites and what makes cold came behind all that merges: while there was always something to merge, never.
#[test]
fn what_is_rewritten_or_made_cold_has_its_turn_though_there_is_always_something_to_merge() {
    let (mut store, mut turns) = (Store::new(Rules { cold_after: HOUR, ..rules(false) }), Turns::default());
    let large = |i: u64| piece(0, (i, i + 1), (i as i64 * HOUR, (i as i64 + 1) * HOUR), false, 900 * MIB);
    (0..40).for_each(|i| store.add(Piece { cold: i % 2 == 0, ..large(i) }));
    let (mut since_rewrite, mut since_chill, mut done) = (0, 0, [0; 3]);
    store.rules.now = 100 * HOUR;
    for job in 0u64..400 {
        // As fast as four small ones are merged there are four more.
        for i in 0..4 {
            let at = 1_000 + 4 * job + i;
            let start = at as i64 * HOUR;
            store.add(piece(0, (at, at + 1), (start, start + HOUR), false, MIB));
        }
        // Something is deleted of each that was made cold.
        let rewrites = |piece: &&mut Piece| piece.cold && piece.samples == piece.bytes;
        store.pieces.iter_mut().filter(rewrites).for_each(|piece| piece.hidden = piece.samples / 2);
        store.rules.turn = turns.next();
        let next = plan(&store.pieces, &store.rules).unwrap();
        turns.begun(&Due::new(next.clone(), TimeRange::ALL, 0));
        let (rewrite, chill) = (next.why == Why::Rewrite, next.why == Why::Chill);
        let is_old = |p: &Piece| !p.cold && p.bytes > 800 * MIB;
        since_rewrite = if rewrite || !store.pieces.iter().any(|p| p.hidden > 0) { 0 } else { since_rewrite + 1 };
        since_chill = if chill || !store.pieces.iter().any(is_old) { 0 } else { since_chill + 1 };
        assert!(since_rewrite <= BEFORE_REWRITE, "job {job}: a rewrite waits");
        assert!(since_chill <= BEFORE_CHILL + 1, "job {job}: what is old waits");
        if rewrite {
            let ours = store.pieces.iter_mut().find(|p| p.id == next.inputs[0]).unwrap();
            *ours = Piece { hidden: 0, samples: ours.bytes - 1, ..*ours };
        } else {
            store.carry_out(&next);
        }
        done[if rewrite { 0 } else { 1 + usize::from(chill) }] += 1;
    }
    assert!(done[0] == 40 && done[1] >= 300 && done[2] == 20, "{done:?} rewritten, merged, made cold");
}

/// Where it was always in the way of some job at work, a segment whose turn it was waited for ever.
#[test]
fn whose_turn_it_is_waits_for_those_at_work_and_no_others() {
    let mut store = Store::new(rules(false));
    let span = |id, from, to| piece(id, (id, id + 1), (from * HOUR, to * HOUR), false, MIB);
    for i in 0..8i64 {
        let bytes = if i < 4 { MIB } else { 40 * MIB };
        store.flush(Piece { bytes, ..span(i as u64, i, i + 1) });
    }
    store.flush(Piece { hidden: MIB / 2, samples: MIB, ..span(8, 0, 8) });
    let mut running = Vec::new();
    store.begin(&mut running, 1);
    assert_eq!(running[0].job.inputs, [0, 1, 2, 3]);
    assert_eq!(beside(&store.pieces, &running, &store.rules, plan).unwrap().unwrap().job.inputs, [4, 5, 6, 7]);
    store.rules.turn.rewrites = true;
    assert!(matches!(beside(&store.pieces, &running, &store.rules, plan), Err(Occupied)), "it is the ninth's turn");
    let next = beside(&store.pieces, &[], &store.rules, plan).unwrap().unwrap().job;
    assert_eq!((next.why, next.inputs), (Why::Rewrite, vec![8]));
}

/// After a merge that found no space a delete gave none back either, of segments that weigh more than half of that: but
/// what is written anew needs only what is left.
#[test]
fn what_was_too_much_keeps_no_segment_from_being_written_anew() {
    let mostly_hidden = Piece { samples: 1_000, hidden: 990, ..piece(7, (0, 1), (0, HOUR), false, 1_000) };
    let rules = Rules { most: 500, ..rules(false) };
    for plan in [plan, plan_free] {
        let job = plan(&[mostly_hidden], &rules).map(|job| (job.why, job.inputs));
        assert_eq!(job, Some((Why::Rewrite, vec![7])));
    }
}

/// A job that had to be given up since it took, or held, too much was planned again as it was.
#[test]
fn no_job_is_larger_than_what_was_too_much() {
    for most in [u64::MAX, 12 * MIB, 6 * MIB, MIB / 2] {
        let mut store = Store::new(Rules { most, cold_after: 0, ..rules(true) });
        for i in 0..12u64 {
            let start = (i as i64 % 6) * HOUR;
            store.flush(Piece { hidden: 9, ..piece(0, (i, i + 1), (start, start + 2 * HOUR), false, MIB + i) });
        }
        let mut largest = 0;
        while let Some(job) = plan(&store.pieces, &store.rules) {
            let bytes = store.pieces.iter().filter(|p| job.inputs.contains(&p.id)).map(|p| p.bytes).sum::<u64>();
            if job.why != Why::Rewrite {
                assert!(bytes <= most, "{job:?}: {bytes} bytes, {most} allowed");
                largest = largest.max(bytes);
            }
            store.carry_out(&job);
        }
        assert_eq!(largest == 0, most < MIB, "what fits is done: {largest} of {most}");
        assert!(most < u64::MAX || store.height() == 1);
        assert!(store.pieces.iter().all(|piece| piece.hidden == 0), "what is hidden goes in any case");
    }
}
