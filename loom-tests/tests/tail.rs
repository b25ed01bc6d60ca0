//! T1 to T9 of `docs/concurrency.md`: a reader finds exactly what its commit held, whatever the worker does meanwhile.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::Pins;
use tidegauge::loom_only::epoch;
use tidegauge::loom_only::memtable::Kind;
use tidegauge_loom_tests::memtable::{ends, origin};
use tidegauge_loom_tests::model;

/// A commit above all: a reader as of it takes whatever is published.
const WHATEVER: u64 = u64::MAX;

/// The worker appends `there`, a sample a commit, and then, while a reader looks, `coming`.
///
/// The reader finds a beginning of it all, and at least what was there. His guard is taken before the race, because the
/// mutex of the epoch's stand-in would order more than the real epoch does.
fn reader_finds_a_beginning(there: i64, coming: i64) {
    model(3, move || {
        let (mut worker, reader) = ends();
        let watermark = origin();
        (1..=there).for_each(|t| worker.commit(&watermark, t..=t));
        let guard = epoch::pin();
        let reader = thread::spawn(move || {
            let found = reader.in_order(&guard, WHATEVER);
            assert!(found.iter().copied().eq(1..=found.len() as i64), "not a beginning: {found:?}");
            assert!(found.len() as i64 >= there, "missed what was there: {found:?}");
            drop(guard);
        });
        (there + 1..=there + coming).for_each(|t| worker.commit(&watermark, t..=t));
        reader.join().unwrap();
    });
}

/// T2: the fourth sample lies beside the third, in a buffer that has room.
#[test]
fn an_append_is_seen_whole_or_not_at_all() {
    reader_finds_a_beginning(3, 1);
}

/// T2, T4: the first sample of all comes with the first buffer, the second with a larger one.
#[test]
fn a_first_buffer_and_a_grown_one_are_read_whole() {
    reader_finds_a_beginning(0, 2);
}

/// T2, T4: a buffer with one slot gives way to one with two.
#[test]
fn a_growth_loses_nothing() {
    reader_finds_a_beginning(1, 1);
}

/// T3, T4: a full tail moves to the skiplist, and the next begins.
#[test]
fn a_sealed_tail_is_seen_once() {
    reader_finds_a_beginning(2, 2);
}

/// T3, T4, T6: two seals in a row: the reader may meet the second tail, or none.
#[test]
fn a_tail_after_the_next_is_not_mistaken_for_the_first() {
    reader_finds_a_beginning(3, 2);
}

/// T3, T4: tails of an idle series are sealed, and none follows.
#[test]
fn an_idle_tail_is_sealed_under_the_reader() {
    model(3, || {
        let (mut worker, reader) = ends();
        let watermark = origin();
        worker.commit(&watermark, 1..=1);
        let guard = epoch::pin();
        let reader = thread::spawn(move || {
            assert_eq!(reader.in_order(&guard, 1), [1]);
            drop(guard);
        });
        worker.generation = 2;
        worker.close();
        reader.join().unwrap();
    });
}

/// T5: a commit that is pinned keeps its length while the worker goes on over several commits, within a tail and over
/// seals. Commit 0 is pinned before the race, so the worker knows of it.
#[test]
fn a_pinned_length_stays() {
    model(3, || {
        let (mut worker, reader) = ends();
        let (pins, watermark) = (loom_pins(), origin());
        let pin = Pins::pin(&pins, &watermark, || (watermark.load(), ())).0;
        let guard = epoch::pin();
        let reader = thread::spawn(move || {
            assert_eq!(reader.in_order(&guard, 0), [0; 0]);
            drop(guard);
            drop(pin);
        });
        for t in 1..=3 {
            pins.look(&mut worker.pins);
            worker.commit(&watermark, t..=t);
        }
        reader.join().unwrap();
    });
}

fn loom_pins() -> Arc<Pins> {
    Arc::new(Pins::new())
}

/// T5, S1, S2, W3: a reader pins while the worker commits, and finds its commit exactly: each commit brings the sample
/// of its own number.
#[test]
fn a_snapshot_taken_amid_commits_is_cut_at_its_commit() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = Arc::new((loom_pins(), origin()));
        let guard = epoch::pin();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pin, ()) = Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ()));
                let commit = pin.visible().commit;
                let found = reader.in_order(&guard, commit);
                assert!(found.iter().copied().eq(1..=commit as i64), "commit {commit}: {found:?}");
                drop(guard);
                drop(pin);
            })
        };
        for t in 1..=3 {
            shared.0.look(&mut worker.pins);
            worker.commit(&shared.1, t..=t);
        }
        reader.join().unwrap();
    });
}

/// T5: a commit of several samples is seen as a whole, also where it runs over the end of a tail.
#[test]
fn a_commit_over_the_end_of_a_tail_is_whole() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = Arc::new((loom_pins(), origin()));
        worker.commit(&shared.1, 1..=1);
        let guard = epoch::pin();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pin, ()) = Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ()));
                let found = reader.in_order(&guard, pin.visible().commit);
                assert_eq!(found, if pin.visible().commit == 1 { vec![1] } else { vec![1, 2, 3] });
                drop(guard);
                drop(pin);
            })
        };
        shared.0.look(&mut worker.pins);
        worker.commit(&shared.1, 2..=3);
        reader.join().unwrap();
    });
}

/// T5, S2: an idle tail goes into a pack with the lengths that pins need, as they were seen after the rotation: a
/// snapshot taken before its commit, or after, finds just what that commit held.
#[test]
fn an_idle_tail_keeps_the_length_that_a_pin_needs() {
    model(3, || {
        let (mut worker, reader) = ends();
        let shared = Arc::new((loom_pins(), origin()));
        let guard = epoch::pin();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pin, ()) = Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ()));
                let commit = pin.visible().commit;
                let found = reader.in_order(&guard, commit);
                assert!(found.iter().copied().eq(1..=commit as i64), "commit {commit}: {found:?}");
                drop(guard);
                drop(pin);
            })
        };
        shared.0.look(&mut worker.pins);
        worker.commit(&shared.1, 1..=1);
        worker.generation = 2;
        shared.0.look(&mut worker.pins);
        worker.close();
        reader.join().unwrap();
    });
}

/// T7: the tail of late samples comes into being under the reader.
#[test]
fn a_late_tail_is_read_whole() {
    model(3, || {
        let (mut worker, reader) = ends();
        let watermark = origin();
        worker.commit(&watermark, 5..=5);
        let guard = epoch::pin();
        let reader = thread::spawn(move || {
            let late = reader.read(&guard, Kind::Late, 1, WHATEVER);
            assert!(late.is_empty() || late == [3], "{late:?}");
            assert_eq!(reader.in_order(&guard, WHATEVER), [5]);
            drop(guard);
        });
        worker.commit(&watermark, 3..=3);
        reader.join().unwrap();
    });
}

/// T9: the newest sample, without a pin, while the worker commits `coming`, a sample a commit.
///
/// Samples are their commit's number. So what was visible before is the least that may be found, and a sample of a
/// commit that is not published is found at most once the worker has gone on to publish it.
fn newest_is_visible(there: i64, coming: i64) {
    model(3, move || {
        let (mut worker, reader) = ends();
        let watermark = Arc::new(origin());
        (1..=there).for_each(|t| worker.commit(&watermark, t..=t));
        let guard = epoch::pin();
        let seen = Arc::clone(&watermark);
        let reader = thread::spawn(move || {
            let newest =
                || reader.heads.head.newest(&guard, reader.origin(), || seen.commit()).map(|pair| pair.timestamp);
            let before = seen.commit() as i64;
            let first = newest();
            // What was found is visible from now on, and everything before it.
            let visible = seen.commit() as i64;
            let second = newest();
            if let Some(first) = first {
                assert!((before..=visible).contains(&first), "{first}, but {before} to {visible} were visible");
            }
            if let (Some(first), Some(second)) = (first, second) {
                assert!(second >= first && second >= visible, "{second} after {first}, {visible} visible");
            }
            drop(guard);
        });
        (there + 1..=there + coming).for_each(|t| worker.commit(&watermark, t..=t));
        reader.join().unwrap();
    });
}

#[test]
fn the_newest_sample_is_one_that_was_visible() {
    newest_is_visible(1, 1);
}

#[test]
fn the_newest_sample_is_found_while_its_tail_is_sealed() {
    newest_is_visible(2, 2);
}

/// T9: a late sample of the same time was accepted later. Who can see it is not answered by the tail.
#[test]
fn a_late_sample_that_is_visible_is_not_passed_over() {
    model(3, || {
        let (mut worker, reader) = ends();
        let watermark = Arc::new(origin());
        worker.commit(&watermark, 1..=1);
        let guard = epoch::pin();
        let seen = Arc::clone(&watermark);
        let reader = thread::spawn(move || {
            let visible = seen.commit();
            let newest = reader.heads.head.newest(&guard, reader.origin(), || seen.commit());
            assert!(visible < 2 || newest.is_none(), "the late sample of commit 2 was visible");
            drop(guard);
        });
        worker.commit(&watermark, 1..=1);
        reader.join().unwrap();
    });
}
