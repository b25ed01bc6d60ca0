//! R7 to R9 of `docs/concurrency.md`: the common lane.
#![cfg(loom)]

use loom::thread;
use tidegauge::loom_only::ring::{CommonSender, Drain, Refused, RingLimits, Rings};
use tidegauge_loom_tests::model;

const LIMITS: RingLimits = RingLimits { lane_samples: 2, common_samples: 2, lanes_max: 4, lane_bytes_max: 1 << 20 };

fn push(sender: &CommonSender<u64>, batch: &[u64]) {
    while sender.push_slice(batch) == Err(Refused::Full) {
        thread::yield_now();
    }
}

fn drain_all(drain: &mut Drain<u64>, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let ready = drain.observe(2);
        drain.take(1, |slice| seen.extend_from_slice(slice));
        if ready == 0 {
            thread::yield_now();
        }
    }
    seen
}

/// R7, R8.
#[test]
fn two_claimers_get_ranges_of_their_own() {
    model(3, || {
        let (rings, mut drain) = Rings::new(LIMITS);
        let claimers = [1, 2].map(|sample| {
            let common = rings.common();
            thread::spawn(move || push(&common, &[sample]))
        });
        let mut seen = drain_all(&mut drain, 2);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        claimers.into_iter().for_each(|claimer| claimer.join().unwrap());
    });
}

/// R4, R7, R8: the third range takes the slots of the first two.
#[test]
fn a_common_lane_that_laps_overwrites_nothing() {
    model(3, || {
        let (rings, mut drain) = Rings::new(LIMITS);
        let common = rings.common();
        let claimer = thread::spawn(move || {
            push(&common, &[1]);
            push(&common, &[2]);
            push(&common, &[3, 4]);
        });
        assert_eq!(drain_all(&mut drain, 4), [1, 2, 3, 4]);
        claimer.join().unwrap();
    });
}

/// R7, R8: what the stamps of the first lap say is not taken for the second.
#[test]
fn two_claimers_on_a_second_lap_are_not_mistaken_for_the_first() {
    for first_lap in [vec![vec![1, 2]], vec![vec![1], vec![2]]] {
        model(3, move || {
            let (rings, mut drain) = Rings::new(LIMITS);
            first_lap.iter().for_each(|batch| push(&rings.common(), batch));
            assert_eq!(drain_all(&mut drain, 2), [1, 2]);
            let claimers = [3, 4].map(|sample| {
                let common = rings.common();
                thread::spawn(move || push(&common, &[sample]))
            });
            let mut seen = drain_all(&mut drain, 2);
            seen.sort_unstable();
            assert_eq!(seen, [3, 4]);
            claimers.into_iter().for_each(|claimer| claimer.join().unwrap());
        });
    }
}
