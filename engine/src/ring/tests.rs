//! The ring, by one thread and by many. Against a naive twin: `twin_tests`.

use std::time::Duration;

use super::*;

pub(super) fn limits(lane_samples: usize) -> RingLimits {
    RingLimits { lane_samples, common_samples: lane_samples, lanes_max: 8, lane_bytes_max: 1 << 20 }
}

/// Runs one whole round and gives what was in it.
pub(super) fn round(drain: &mut Drain<u64>, max: usize, seq: u64) -> Vec<u64> {
    let ready = drain.observe(max);
    let mut seen = Vec::new();
    drain.for_each_slice(|slice| seen.extend_from_slice(slice));
    assert_eq!(seen.len(), ready);
    let mut taken = Vec::new();
    drain.take(3, |slice| taken.extend_from_slice(slice));
    assert_eq!(taken, seen);
    drain.publish(seq);
    seen
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let (rings, mut drain) = Rings::new(limits(8));
    let mut lane = rings.join().unwrap();
    let common = rings.common();
    assert_eq!(lane.push_slice(&[1, 2, 3, 4, 5]), Ok(5));
    assert_eq!(lane.push_slice(&[6, 7, 8, 9]), Err(Refused::Full));
    assert_eq!(lane.push_slice(&[0; 9]), Err(Refused::TooLong));
    assert_eq!(lane.push_slice(&[6, 7, 8]), Ok(8));
    assert_eq!(lane.push(9), Err(Refused::Full));
    assert_eq!(common.push_slice(&[11, 12, 13, 14, 15]), Ok(5));
    assert_eq!(common.push_slice(&[16, 17, 18, 19]), Err(Refused::Full));
    assert_eq!(common.push_slice(&[0; 9]), Err(Refused::TooLong));
    assert_eq!(round(&mut drain, 100, 1), [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15]);
    assert_eq!(lane.push_slice(&[9, 10, 11, 12]), Ok(12));
    assert_eq!(round(&mut drain, 100, 2), [9, 10, 11, 12]);
}

#[test]
fn the_slots_of_a_round_can_be_read_again_until_released() {
    let (rings, mut drain) = Rings::new(limits(4));
    let mut lane = rings.join().unwrap();
    lane.push_slice(&[1, 2, 3]).unwrap();
    assert_eq!(drain.observe(2), 3);
    for _ in 0..2 {
        let mut seen = Vec::new();
        drain.for_each_slice(|slice| seen.extend_from_slice(slice));
        assert_eq!(seen, [1, 2, 3]);
    }
    lane.push(4).unwrap();
    assert_eq!(lane.push(5), Err(Refused::Full), "the round still holds its slots");
    assert_eq!(drain.observe(100), 3, "and nothing is added to it");
    drain.take(usize::MAX, |_| {});
    lane.push(5).unwrap();
}

/// R17, R18: of many full lanes a round took all there was, a hundred million bytes of log and a memtable twice as large
/// as it may be, before it looked at anything else.
#[test]
fn a_round_is_bounded_and_passes_no_lane_over() {
    let (rings, mut drain) = Rings::new(limits(8));
    let mut lanes: Vec<_> = (0..4).map(|_| rings.join().unwrap()).collect();
    let common = rings.common();
    let mut fill = |which: &[u64]| {
        for &lane in which {
            lanes[lane as usize].push_slice(&[0, 1, 2].map(|i| lane * 10 + i)).unwrap();
        }
    };
    fill(&[0, 1, 2]);
    for batch in [[40, 41], [42, 43], [44, 45]] {
        common.push_slice(&batch).unwrap();
    }
    let sweep = drain.next_sweep();
    assert_eq!(round(&mut drain, 7, 1), [0, 1, 2, 10, 11, 12], "whole lanes, and the third has no room");
    // Those that are filled anew wait until the others had their turn.
    fill(&[0, 1]);
    assert_eq!(round(&mut drain, 7, 2), [20, 21, 22, 40, 41, 42, 43], "whole batches of the common lane");
    assert_eq!(
        (drain.sweeps() < sweep, drain.next_sweep()),
        (true, sweep + 1),
        "something that was there was not taken"
    );
    assert_eq!(round(&mut drain, 7, 3), [44, 45]);
    assert_eq!(drain.sweeps(), sweep);
    assert_eq!(round(&mut drain, 2, 4), [0, 1, 2], "one lane at least, however much it has");
    fill(&[0]);
    assert_eq!(round(&mut drain, 2, 5), [10, 11, 12]);
    let sweep = drain.next_sweep();
    assert_eq!(round(&mut drain, 2, 6), [0, 1, 2], "behind is nothing: from the beginning");
    assert!(round(&mut drain, 2, 7).is_empty() && drain.sweeps() >= sweep, "who finds nothing has looked at all");
}

/// R17: a common lane longer than a round, which is filled again as fast as it is taken, was the only one that was taken.
#[test]
fn a_busy_common_lane_passes_no_lane_over() {
    let (rings, mut drain) = Rings::new(limits(16));
    let mut lane = rings.join().unwrap();
    let common = rings.common();
    let fill = || while common.push_slice(&[1, 2, 3, 4]).is_ok() {};
    fill();
    assert_eq!(round(&mut drain, 4, 1), [1, 2, 3, 4]);
    lane.push(9).unwrap();
    let sweep = drain.next_sweep();
    let rounds = (2..20).take_while(|&seq| {
        fill();
        !round(&mut drain, 4, seq).contains(&9)
    });
    assert!(rounds.count() < 8, "the lane is not come by");
    for seq in 20..30 {
        fill();
        round(&mut drain, 4, seq);
    }
    assert!(drain.sweeps() >= sweep, "and sweeps end");
}

/// R18: without lanes of their own a sweep has come by nothing when it comes by the common one. Who asked amid it was
/// answered at its end, before what he had pushed was taken.
#[test]
fn who_asks_amid_a_sweep_of_the_common_lane_alone_waits_for_the_next_one() {
    let (rings, mut drain) = Rings::new(limits(16));
    let common = rings.common();
    (1..4).for_each(|n| common.push_slice(&[n, n]).map(|_| ()).unwrap());
    assert_eq!(round(&mut drain, 2, 1), [1, 1]);
    common.push_slice(&[4, 4]).unwrap();
    let sweep = drain.next_sweep();
    assert_eq!(round(&mut drain, 4, 2), [2, 2, 3, 3]);
    assert!(drain.sweeps() < sweep, "what was pushed before is not taken");
    assert_eq!(round(&mut drain, 4, 3), [4, 4]);
    assert_eq!(drain.sweeps(), sweep);
}

/// R18: a claim that is not finished ends a sweep, and what lies behind it is published and not taken.
#[test]
fn what_lies_behind_an_unfinished_claim_is_taken_when_a_mark_is_past_and_not_before() {
    let (rings, mut drain) = Rings::new(limits(8));
    let common = rings.common();
    let mut mark = None;
    common.push_slice_amid(&[1, 2], || {
        common.push(3).unwrap();
        let asked = drain.mark();
        (1..4).for_each(|seq| assert!(round(&mut drain, 8, seq).is_empty()));
        assert!(!drain.is_past(&asked), "{} sweeps are over", drain.sweeps());
        mark = Some(asked);
    });
    let mark = mark.unwrap();
    assert!(drain.observe(8) == 3 && !drain.is_past(&mark), "it is found, and not taken");
    drain.take(8, |_| {});
    assert!(drain.is_past(&mark));
}

#[test]
fn a_full_lane_has_room_again_while_its_round_is_still_taken() {
    let (rings, mut drain) = Rings::new(limits(8));
    let (mut lane, common) = (rings.join().unwrap(), rings.common());
    lane.push_slice(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    common.push_slice(&[11, 12, 13, 14, 15, 16, 17, 18]).unwrap();
    assert_eq!(drain.observe(100), 16);
    let mut seen = Vec::new();
    drain.take(4, |slice| {
        match seen.len() {
            0 => assert_eq!(lane.push(9), Err(Refused::Full), "what is lent is still held"),
            4 => assert_eq!(lane.push_slice(&[9, 10, 11, 12]), Ok(12)),
            8 => assert_eq!(common.push(19), Err(Refused::Full)),
            _ => assert_eq!(common.push_slice(&[19, 20, 21, 22]), Ok(12)),
        }
        seen.extend_from_slice(slice);
    });
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18], "this round only");
    drain.publish(1);
    assert_eq!(round(&mut drain, 100, 2), [9, 10, 11, 12, 19, 20, 21, 22]);
}

#[test]
fn waiters_learn_after_publish_and_not_before() {
    let (rings, mut drain) = Rings::new(limits(4));
    let mut lane = rings.join().unwrap();
    let position = lane.push_slice(&[1, 2, 3]).unwrap();
    drain.observe(100);
    drain.take(usize::MAX, |_| {});
    assert!(lane.progress().visible_position < position);
    drain.publish(77);
    let visible = LaneProgress { visible_position: 3, visible_seq: 77 };
    assert_eq!((lane.progress(), rings.progress(lane.id())), (visible, Some(visible)));
    rings.common().push(1).unwrap();
    round(&mut drain, 100, 78);
    assert_eq!(lane.progress(), visible, "a lane that took no part is left alone");
    let visible = LaneProgress { visible_position: 1, visible_seq: 78 };
    assert_eq!(rings.progress(LaneId::COMMON), Some(visible));
}

#[test]
fn a_dropped_lane_is_drained_to_its_end_and_then_retired() {
    let (rings, mut drain) = Rings::new(limits(8));
    let mut lane = rings.join().unwrap();
    let id = lane.id();
    let watch = rings.watch(id).unwrap();
    lane.push_slice(&[1, 2, 3, 4, 5]).unwrap();
    drop(lane);
    assert_eq!(drain.observe(3), 5);
    drain.take(3, |_| {});
    assert_eq!(rings.progress(id).map(|progress| progress.visible_position), Some(0), "not before it is visible");
    drain.publish(2);
    assert_eq!(rings.progress(id), None);
    assert_eq!(watch.progress(), LaneProgress { visible_position: 5, visible_seq: 2 });
    assert_eq!((drain.lanes(), rings.stats().lanes.len(), rings.stats().pushed), (0, 1, 5));
    assert!(rings.join().unwrap().id() > id);
}

#[test]
fn a_lane_closed_after_its_last_round_is_retired_too() {
    let (rings, mut drain) = Rings::new(limits(8));
    let mut lane = rings.join().unwrap();
    let id = lane.id();
    lane.push(1).unwrap();
    assert_eq!(round(&mut drain, 3, 1), [1]);
    drop(lane);
    assert_eq!(drain.observe(3), 0);
    assert_eq!((rings.progress(id), drain.lanes()), (None, 0));
}

#[test]
fn lanes_and_their_bytes_are_limited_and_come_back() {
    let (rings, mut drain) = Rings::<u64>::new(RingLimits { lanes_max: 2, ..limits(8) });
    let first = rings.join().unwrap();
    let _second = rings.join().unwrap();
    assert_eq!(rings.join().err(), Some(JoinError::TooManyLanes { lanes_max: 2 }));
    drop(first);
    drain.observe(1);
    let _third = rings.join().unwrap();

    let common_bytes = 8 * 16;
    let (rings, _drain) = Rings::<u64>::new(RingLimits { lane_bytes_max: common_bytes + 8 * 8, ..limits(8) });
    let _first = rings.join().unwrap();
    assert_eq!(rings.stats().bytes, common_bytes + 64);
    let refused = JoinError::TooManyBytes { wanted: 64, lane_bytes_max: common_bytes + 64 };
    assert_eq!(rings.join().err(), Some(refused));
}

#[test]
fn full_lanes_do_what_the_policy_says_and_count_it() {
    let (rings, drain) = Rings::new(limits(4));
    let mut lane = rings.join().unwrap();
    lane.push_slice(&[1, 2, 3]).unwrap();
    assert_eq!(lane.push_slice_under(BackPressure::Reject, &[4, 5]), Err(Refused::Full));
    assert_eq!(lane.push_slice_under(BackPressure::DropNewest, &[4, 5]), Err(Refused::Dropped));
    let wait = Duration::from_millis(3);
    let started = std::time::Instant::now();
    assert_eq!(lane.push_slice_under(BackPressure::Block(wait), &[4, 5]), Err(Refused::Full));
    assert!(started.elapsed() >= wait);
    assert_eq!(
        lane.push_slice_under(BackPressure::DropNewest, &[0; 5]),
        Err(Refused::TooLong),
        "not dropped: it never fits"
    );
    assert_eq!(lane.push_under(BackPressure::Reject, 4), Ok(4));
    let stats = rings.stats();
    assert_eq!((stats.full_events, stats.dropped_samples, stats.lanes[1].depth), (3, 2, 4));
    drop(drain);
    assert_eq!(lane.push_under(BackPressure::Block(Duration::MAX), 5), Err(Refused::Closed), "and no wait for ever");
}

#[test]
fn a_blocked_push_goes_on_when_there_is_room() {
    let (rings, mut drain) = Rings::new(limits(4));
    let mut lane = rings.join().unwrap();
    let common = rings.common();
    lane.push_slice(&[1; 4]).unwrap();
    common.push_slice(&[1; 4]).unwrap();
    let block = BackPressure::Block(Duration::from_secs(60));
    let pushers = [
        std::thread::spawn(move || lane.push_slice_under(block, &[2, 3])),
        std::thread::spawn(move || common.push_slice_under(block, &[2, 3])),
    ];
    let mut seen = 0;
    while seen < 12 {
        seen += round(&mut drain, 100, 1).len();
        std::thread::yield_now();
    }
    for pusher in pushers {
        assert_eq!(pusher.join().unwrap(), Ok(6));
    }
}

#[test]
fn nobody_pushes_or_joins_once_the_drain_is_gone() {
    let (rings, drain) = Rings::<u64>::new(limits(4));
    let mut lane = rings.join().unwrap();
    assert!(rings.is_open());
    drop(drain);
    assert!(!rings.is_open());
    assert_eq!(lane.push(1), Err(Refused::Closed));
    assert_eq!(rings.common().push(1), Err(Refused::Closed));
    assert_eq!(rings.join().err(), Some(JoinError::Closed));
}

#[test]
fn a_closed_ring_refuses_pushes_and_is_still_drained() {
    let (rings, mut drain) = Rings::new(limits(4));
    let mut lane = rings.join().unwrap();
    lane.push(1).unwrap();
    rings.common().push(2).unwrap();
    rings.close();
    assert!(!rings.is_open());
    assert_eq!((lane.push(3), rings.common().push(3)), (Err(Refused::Closed), Err(Refused::Closed)));
    assert_eq!(round(&mut drain, 100, 1), [1, 2]);
    assert_eq!(lane.progress().visible_position, 1);
}

#[test]
fn many_threads_lose_nothing_and_keep_their_order() {
    const PER_THREAD: u64 = if cfg!(miri) { 200 } else { 100_000 };
    const LANES: u64 = 3;
    const COMMON: u64 = 3;
    let (rings, mut drain) = Rings::new(limits(64));
    let block = BackPressure::Block(Duration::from_secs(600));
    // A sample names its pusher and counts up; batches differ in length, so they come over the end in every way.
    let batches = |who: u64| {
        let mut next = 0;
        std::iter::from_fn(move || {
            let len = (next * 7 + who) % 13 + 1;
            let batch: Vec<u64> = (next..(next + len).min(PER_THREAD)).map(|count| who << 32 | count).collect();
            next += batch.len() as u64;
            (!batch.is_empty()).then_some(batch)
        })
    };
    let mut pushers = Vec::new();
    for who in 0..LANES {
        let rings = rings.clone();
        pushers.push(std::thread::spawn(move || {
            // Half way the appender goes and another comes.
            let mut lane = rings.join().unwrap();
            for batch in batches(who) {
                if batch[0] as u32 as u64 > PER_THREAD / 2 && lane.position() > PER_THREAD / 2 {
                    let id = lane.id();
                    drop(lane);
                    while rings.progress(id).is_some() {
                        std::thread::yield_now();
                    }
                    lane = rings.join().unwrap();
                }
                lane.push_slice_under(block, &batch).unwrap();
            }
        }));
    }
    for who in LANES..LANES + COMMON {
        let common = rings.common();
        pushers.push(std::thread::spawn(move || {
            for batch in batches(who) {
                common.push_slice_under(block, &batch).unwrap();
            }
        }));
    }
    let mut next = [0_u64; (LANES + COMMON) as usize];
    let mut seq = 0;
    while next.iter().sum::<u64>() < (LANES + COMMON) * PER_THREAD {
        let ready = drain.observe(48);
        seq += ready as u64;
        drain.take(5, |slice| {
            for sample in slice {
                let who = (sample >> 32) as usize;
                assert_eq!(sample & 0xffff_ffff, next[who], "pusher {who}");
                next[who] += 1;
            }
        });
        drain.publish(seq);
        if ready == 0 {
            std::thread::yield_now();
        }
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    assert_eq!(rings.stats().pushed, seq);
}

/// R16.
#[test]
fn a_bar_is_passed_once_all_below_it_is_taken_and_who_judged_before_it_is_refused_above_it() {
    let (rings, mut drain) = Rings::new(limits(4));
    let common = rings.common();
    common.push(1).unwrap();
    let first = drain.bar();
    assert_eq!((first, drain.bars_passed()), (1, 0));
    let second = drain.bar();
    assert_eq!((second, drain.bar()), (2, 2), "one is on its way, and the next is not laid");
    common.push(2).unwrap();
    assert_eq!(round(&mut drain, 100, 1), [1], "nothing of what lies above a bar is in the round of what lies below");
    assert_eq!(drain.bars_passed(), 0);
    assert_eq!(round(&mut drain, 100, 2), [2]);
    assert_eq!(drain.bars_passed(), first);
    assert!(round(&mut drain, 100, 2).is_empty());
    assert_eq!(drain.bars_passed(), second, "in an idle lane too");
    assert_eq!(common.push_slice(&[3, 4, 5, 6]).map(|_| ()), Ok(()), "and takes no room then");
    assert_eq!(common.push_slice_if(&[7], || false), Err(Refused::Outdated));
    assert_eq!(common.push_slice_if(&[7], || true), Err(Refused::Full));
    assert_eq!(rings.stats().pushed, 6, "bars are no samples");
}

/// R16: a full lane with a claimer that does not come on holds the bar up, and nothing else does.
#[test]
fn a_full_lane_gets_its_bar_before_anybody_else_gets_room() {
    let (rings, mut drain) = Rings::new(limits(4));
    let common = rings.common();
    let mut bar = 0;
    common.push(1).unwrap();
    common.push_slice_amid(&[2, 3, 4], || {
        bar = drain.bar();
        assert_eq!(drain.observe(100), 1);
        drain.take(100, |samples| {
            assert_eq!((samples, common.push(5)), (&[1][..], Err(Refused::Full)));
        });
        assert_eq!(common.push(5), Err(Refused::Full), "the bar has the room");
    });
    assert_eq!(round(&mut drain, 100, 1), [2, 3, 4]);
    common.push(5).unwrap();
    assert_eq!(drain.bars_passed(), 0);
    assert_eq!(round(&mut drain, 100, 1), [5]);
    assert_eq!(drain.bars_passed(), bar);
}
