//! What is shared as it is, and would not be merged, stays as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::apart::{CHUNK_BYTES, HEAD_BYTES, Piece, RECORD_BYTES, Weigher};
use super::plan::Rules;
use super::run_tests::{Store, rules};

/// Pseudo-random numbers below `n`, the same for the same `i`.
fn noise(i: i64, n: u64) -> u64 {
    let x = (i as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) % n
}

/// Flushes of 200 scrapes, as a scraper's clock has them, of 16 series. Of so many scrapes one is but a part of them.
fn scraped(partial: Option<u64>) -> Store {
    let mut store = Store::new();
    for flush in 0..3 {
        let scrapes = flush * 200..(flush + 1) * 200i64;
        let at = |i: i64| i * 15_000_000_000 + noise(i, 2_000_000) as i64;
        let is_partial = |i: i64| partial.is_some_and(|of| noise(!i, of) == 0);
        let misses = |s: u8, i: i64| is_partial(i) && noise(i * 16 + i64::from(s), 2) == 0;
        let scrape = |i: i64| (0u8..16).filter(move |s| !misses(*s, i)).map(move |s| (s, at(i), (i % 7) as f64));
        store.flush(&scrapes.flat_map(scrape).collect::<Vec<_>>());
    }
    store
}

fn compacted(partial: Option<u64>, rules: &Rules) -> (Store, u64) {
    let mut store = scraped(partial);
    let fresh = store.segments.iter().map(|s| s.info().file_bytes).sum();
    while store.step(rules) {}
    assert_eq!(store.contents(), store.twin);
    assert_eq!(store.segments.len(), 1);
    (store, fresh)
}

/// A store whose series each miss a few scrapes of their own grew by a third and more as it was compacted: merged, no two of
/// them had the same timestamps.
#[test]
fn compaction_does_not_undo_what_sharing_saved() {
    let all = rules(true);
    let cold = Rules { cold_after: 0, now: i64::MAX, ..rules(true) };
    for rules in [&all, &cold] {
        let (store, fresh) = compacted(Some(50), rules);
        let bytes = store.segments[0].info().file_bytes;
        assert!(bytes <= fresh, "{bytes} bytes compacted, {fresh} fresh");
        let chunks: BTreeSet<u32> = store.segments[0].chunks().map(|chunk| chunk.unwrap().count).collect();
        assert!(chunks.iter().all(|count| *count <= 200), "{chunks:?}");
    }
    // Merged once more with what is like them they stay as they are.
    let (mut store, _) = compacted(Some(50), &all);
    let before = store.segments[0].info().file_bytes;
    store.flush(&[(0, i64::MAX - 9, 1.0)]);
    while store.step(&all) {}
    let bytes = store.segments[0].info().file_bytes;
    assert!(bytes <= before + 200, "{bytes} bytes, {before} before");
    assert_eq!(store.contents(), store.twin);
}

/// Where all are scraped together however long chunks are, or none shares anything, chunks are merged.
#[test]
fn what_stays_shared_or_never_was_is_merged() {
    for partial in [None, Some(100_000), Some(2)] {
        let (store, _) = compacted(partial, &rules(true));
        assert_eq!(store.segments[0].info().chunks, 16, "{partial:?}");
    }
}

/// Of each column whether it stays, by a sum over all that hang together.
fn naive(columns: &[u32], lots: &[Vec<usize>]) -> Vec<bool> {
    let mut lot_of: Vec<BTreeSet<usize>> = (0..columns.len()).map(|column| [column].into()).collect();
    // As often as anything is added.
    loop {
        let before = lot_of.clone();
        for lot in lots {
            let all: BTreeSet<usize> = lot.iter().flat_map(|column| lot_of[*column].clone()).collect();
            all.iter().for_each(|column| lot_of[*column] = all.clone());
        }
        if lot_of == before {
            break;
        }
    }
    let stays = |own: &BTreeSet<usize>| {
        let ours: Vec<&Vec<usize>> = lots.iter().filter(|lot| own.contains(&lot[0])).collect();
        let used: BTreeSet<usize> = ours.iter().copied().flatten().copied().collect();
        let merged: BTreeSet<&Vec<usize>> = ours.iter().copied().collect();
        let of_one =
            |lot: &Vec<usize>| lot.iter().map(|c| i64::from(columns[*c]) - HEAD_BYTES).sum::<i64>() + HEAD_BYTES;
        let of_merged: i64 = merged.iter().map(|lot| of_one(lot) + RECORD_BYTES).sum();
        let as_they_are: i64 = used.iter().map(|c| i64::from(columns[*c]) + RECORD_BYTES).sum();
        let more: i64 = ours.iter().map(|lot| CHUNK_BYTES * (lot.len() as i64 - 1)).sum();
        as_they_are + more < of_merged
    };
    lot_of.iter().map(stays).collect()
}

proptest! {
    /// AP1, AP2: what is left apart is what a naive sum says.
    #[test]
    fn columns_are_weighed_as_their_naive_twin_weighs_them(
        columns in prop::collection::vec(20u32..900, 1..14),
        lots in prop::collection::vec((any::<prop::sample::Index>(), 1usize..4, 1usize..6), 0..30),
    ) {
        // Columns ascend, as those of a series do.
        let lots: Vec<Vec<usize>> = lots.into_iter().flat_map(|(first, step, many)| {
            let lot: Vec<usize> = (first.index(columns.len())..columns.len()).step_by(step).take(many).collect();
            [lot.clone(), lot]
        }).collect();
        let mut weigher = Weigher::of(HashMap::from([(7, 0)]), columns.len());
        for lot in &lots {
            for &c in lot {
                weigher.add(Piece { column: c as u32, bytes: columns[c], samples: 200, output: 0 });
            }
            weigher.end();
        }
        let apart = weigher.finish();
        let found: Vec<bool> = (0..columns.len()).map(|c| apart.has(7, c as u32)).collect();
        prop_assert_eq!(found, naive(&columns, &lots));
        prop_assert!(!apart.has(8, 0) && !apart.has(7, 1_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever series miss, and whatever is deleted, late or cold: what is written is what was.
    #[test]
    fn what_is_left_apart_equals_the_naive_twin(
        misses in prop::collection::vec((0u8..6, 0i64..240), 0..24),
        late in prop::collection::vec((0u8..6, 0i64..240), 0..3),
        deletes in prop::collection::vec((0u8..6, 0i64..240, 0i64..40), 0..2),
        segment_bytes in prop_oneof![Just(3_000u64), Just(1 << 20)],
        cold_after in prop_oneof![Just(i64::MAX), Just(0i64)],
    ) {
        let at = |i: i64| i * 15_000_000_000 + noise(i, 2_000_000) as i64;
        let misses: BTreeMap<(u8, i64), ()> = misses.into_iter().map(|miss| (miss, ())).collect();
        let mut store = Store::new();
        for flush in 0..3 {
            let scrape = |i: i64| (0u8..6).map(move |s| (s, i));
            let there = (flush * 80..(flush + 1) * 80i64).flat_map(scrape).filter(|miss| !misses.contains_key(miss));
            store.flush(&there.map(|(s, i)| (s, at(i), i as f64)).collect::<Vec<_>>());
        }
        late.iter().for_each(|&(s, i)| store.flush(&[(s, at(i) + 7, -1.0)]));
        deletes.iter().for_each(|&(s, i, len)| store.delete(s, at(i), at(i + len)));
        let rules = Rules { segment_bytes, cold_after, now: i64::MAX, ..rules(true) };
        while store.step(&rules) {
            prop_assert_eq!(&store.contents(), &store.twin);
        }
    }
}
