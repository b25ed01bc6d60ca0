//! What is found hidden, and by what: however it comes to be known.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Timestamp, Tombstone};

use super::hidden::Hidden;
use super::run_tests::{Store, rules, times};

/// What is hidden of the first segment, with what was known of it.
fn count(store: &Store, known: Option<&Hidden>) -> Option<Hidden> {
    Hidden::count(&store.segments[0], &store.tombstones, &Arc::default(), known, &|| ()).unwrap()
}

/// Which of the deletes hide something in it.
fn hides(store: &Store, hidden: Option<&Hidden>) -> Vec<bool> {
    let mut hides = vec![false; store.tombstones.len()];
    hidden.into_iter().for_each(|hidden| hidden.note(&store.tombstones, &mut hides));
    hides
}

/// Of a chunk that ends just before the last timestamp of all the first sample of the next one was counted, too: a segment
/// of which a sample could be seen went, unread.
#[test]
fn p9_what_is_not_deleted_stays_where_a_chunk_ends_before_the_end_of_time() {
    let mut store = Store::new();
    let at = |i: i64| if i < 4_095 { i } else { i64::MAX - 4_096 + i };
    store.flush(&(0..4_097).map(|i| (0, at(i), 1.0)).collect::<Vec<_>>());
    store.delete(0, 1, i64::MAX);
    assert_eq!((count(&store, None).unwrap().found.samples, store.twin.len()), (4_096, 1));
    while store.step(&rules(true)) {}
    assert_eq!(store.contents(), store.twin);
}

/// A delete waited until nothing was hidden by anything wherever it reached: where deletes came steadily, for ever.
#[test]
fn k9_a_delete_hides_nothing_where_it_is_carried_out_whatever_others_hide() {
    let mut store = Store::new();
    store.flush(&(0..6_000).flat_map(|i| [(1, i * 10, 1.0), (2, i * 10, 2.0)]).collect::<Vec<_>>());
    store.delete(1, 15, 25);
    let found = count(&store, None);
    assert_eq!((hides(&store, found.as_ref()), found.unwrap().found.samples), (vec![true], 1));
    assert!(store.step(&rules(true)));
    // Nothing is left there, in the middle of a chunk; between two chunks; nothing at all of that series.
    store.delete(2, 31, 39);
    store.delete(3, 0, 60_000);
    assert_eq!(hides(&store, count(&store, None).as_ref()), [false; 3]);
    // One within the other, and of a whole chunk.
    store.delete(1, 300, 310);
    store.delete(1, 0, 50_000);
    store.delete(1, 321, 329);
    let found = count(&store, None);
    assert_eq!(hides(&store, found.as_ref()), [false, false, false, true, true, false]);
    assert_eq!(found.unwrap().found.samples, 4_999);
}

/// With each delete all series that any delete named were counted anew, in each segment.
#[test]
fn what_one_more_delete_hides_is_counted_by_itself() {
    let mut store = Store::new();
    store.flush(&(0..8).flat_map(|s| [(s, 10, 1.0), (s, 20, 2.0)]).collect::<Vec<_>>());
    (0..6).for_each(|series| store.delete(series, 0, 15));
    let mut known = count(&store, None);
    let looks = std::cell::Cell::new(0);
    let look = || looks.set(looks.get() + 1);
    store.delete(7, 0, 15);
    known = Hidden::count(&store.segments[0], &store.tombstones, &Arc::default(), known.as_ref(), &look).unwrap();
    assert_eq!((known.as_ref().unwrap().found.samples, hides(&store, known.as_ref())), (7, vec![true; 7]));
    assert!(looks.get() <= 2, "{} chunks of one series", looks.get());
    assert_eq!(known, count(&store, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever was known, it is what a count of all finds, and that is what a naive one does.
    #[test]
    fn what_is_known_of_deletes_is_what_they_hide(
        samples in prop::collection::vec((0u8..6, times(20)), 1..200),
        long in any::<bool>(),
        deletes in prop::collection::vec((0u8..6, times(10), 0i64..2_000, any::<bool>()), 1..12),
    ) {
        let mut store = Store::new();
        let mut all: BTreeMap<(u8, i64), f64> = samples.iter().map(|&key| (key, 1.0)).collect();
        all.extend((0..if long { 5_000 } else { 0 }).map(|i| ((0, i), 2.0)));
        store.flush(&all.iter().map(|(&(series, at), &value)| (series, at, value)).collect::<Vec<_>>());
        let mut known = None;
        for (series, start, len, is_forgotten) in deletes {
            store.delete(series, start, start.saturating_add(len));
            // What hides nothing may have been forgotten, and what hides something may wait for a copy.
            if is_forgotten && store.tombstones.len() > 1 {
                store.tombstones.remove(len as usize % store.tombstones.len());
            }
            known = count(&store, known.as_ref());
            prop_assert_eq!(&known, &count(&store, None));
            let is_of = |t: &Tombstone, series: u8, at: i64| {
                t.matchers == [Matcher::equal("host", series.to_string())] && t.range.contains(Timestamp::from_nanos(at))
            };
            let hidden = |&&(series, at): &&(u8, i64)| store.tombstones.iter().any(|t| is_of(t, series, at));
            prop_assert_eq!(known.as_ref().map_or(0, |h| h.found.samples) as usize, all.keys().filter(hidden).count());
            let hide: Vec<bool> =
                store.tombstones.iter().map(|t| all.keys().any(|&(series, at)| is_of(t, series, at))).collect();
            prop_assert_eq!(hides(&store, known.as_ref()), hide);
        }
    }
}

/// A horizon may have the number of a delete, and the deletes that were counted may be some of those that are asked for.
#[test]
fn each_of_what_hides_has_its_own_place() {
    let mut store = Store::new();
    store.flush(&[(1, 10, 1.0), (1, 20, 1.0), (2, 30, 1.0)]);
    store.delete(1, 40, 50);
    store.delete(2, 25, 35);
    let range = TimeRange::new(Timestamp::MIN, Timestamp::from_nanos(15));
    let seq = SeqNo(store.tombstones[1].seq.0);
    store.tombstones.push(Arc::new(Tombstone { seq, matchers: Vec::new(), range, created: 0 }));
    assert_eq!(hides(&store, count(&store, None).as_ref()), [false, true, true]);
}
