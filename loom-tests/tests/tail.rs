//! T1 to T8 of `docs/concurrency.md`: a reader finds exactly what its commit held, whatever the worker does meanwhile.
#![cfg(loom)]

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicU64};
use loom::thread;
use tidegauge::loom_only::commit::{PinView, Pins, Visible, Watermark};
use tidegauge::loom_only::epoch::{self, Guard};
use tidegauge::loom_only::memtable::{
    ChunkKey, Columns, Full, HeadTable, HeadWriter, Kind, Memtable, Moment, Packer, Pair, Seal, Sealer, SeriesHead,
    TimeRange,
};
use tidegauge_loom_tests::model;

/// One series.
struct Heads {
    head: SeriesHead,
    claimed: AtomicBool,
}

impl HeadTable for Heads {
    fn head(&self, _: u32) -> &SeriesHead {
        &self.head
    }

    fn len(&self) -> u32 {
        1
    }

    fn claim_writer(&self) -> bool {
        !self.claimed.swap(true, Relaxed)
    }
}

/// Where sealed tails go: two generations, as in the worker.
struct Sink {
    memtables: [StdArc<Memtable>; 2],
    sealer: Sealer,
    packer: Packer,
}

impl Seal for Sink {
    fn seal(&mut self, full: Full<'_>) {
        let key = ChunkKey::new(full.slot, full.kind, full.ordinal);
        let memtable = StdArc::clone(&self.memtables[full.generation as usize - 1]);
        memtable.table.insert(key, StdArc::new(self.sealer.seal(full)));
    }

    fn pack(&mut self, full: Full<'_>) {
        self.packer.push(full);
    }

    fn finish_pack(&mut self, generation: u32, slot: u32) {
        if let Some(pack) = self.packer.finish() {
            self.memtables[generation as usize - 1].table.insert_pack(slot, StdArc::new(pack));
        }
    }

    fn weigh(&mut self, _: u32, _: isize) {}
}

/// The worker's end: appends whole commits of sample numbers, in order unless told otherwise.
struct Worker {
    writer: HeadWriter<Arc<Heads>>,
    sink: Sink,
    pins: PinView,
    commit: u64,
    generation: u32,
}

impl Worker {
    fn append(&mut self, timestamp: i64) {
        let at = Moment { commit: self.commit, generation: self.generation, pins: &self.pins };
        let pair = Pair { timestamp, value: timestamp as f64 };
        self.writer.append(0, &at, timestamp as u64, pair, &mut self.sink);
    }

    fn commit(&mut self, watermark: &Watermark, samples: std::ops::RangeInclusive<i64>) {
        self.commit += 1;
        samples.for_each(|timestamp| self.append(timestamp));
        watermark.publish(Visible { commit: self.commit, seq: self.commit });
    }

    /// Seals what is open of the older generation, under the number of the commit to come.
    fn close(&mut self) {
        self.writer.close(0..1, self.commit + 1, self.generation, &self.pins, &mut self.sink);
    }
}

/// A reader's end.
#[derive(Clone)]
struct Reader {
    heads: Arc<Heads>,
    memtables: [StdArc<Memtable>; 2],
}

impl Reader {
    /// The timestamps of one generation and kind as of `commit`.
    fn read(&self, guard: &Guard, kind: Kind, generation: u32, commit: u64) -> Vec<i64> {
        let memtable = &self.memtables[generation as usize - 1];
        let (chunks, tail) = memtable.parts(&self.heads.head, guard, 0, kind, commit);
        let mut found = Vec::new();
        for chunk in chunks {
            match kind {
                Kind::Late => found.extend(chunk.pairs(commit).iter().map(|p| p.timestamp)),
                Kind::InOrder => {
                    let mut columns = Columns::default();
                    chunk.decode(TimeRange::ALL, commit, &mut columns);
                    found.extend(columns.timestamps);
                }
            }
        }
        found.extend(tail.iter().map(|p| p.timestamp));
        found
    }

    fn in_order(&self, guard: &Guard, commit: u64) -> Vec<i64> {
        self.read(guard, Kind::InOrder, 1, commit)
    }
}

fn ends() -> (Worker, Reader) {
    let heads = Arc::new(Heads { head: SeriesHead::new(), claimed: AtomicBool::new(false) });
    let memtables = [1, 2].map(|generation| StdArc::new(Memtable::new(generation, 0)));
    let writer = HeadWriter::new(Arc::clone(&heads)).unwrap();
    assert!(HeadWriter::new(Arc::clone(&heads)).is_none(), "T1: there is one");
    let sink = Sink { memtables: memtables.clone(), sealer: Sealer::default(), packer: Packer::default() };
    (Worker { writer, sink, pins: PinView::default(), commit: 0, generation: 1 }, Reader { heads, memtables })
}

fn origin() -> Watermark {
    Watermark::new(Visible { commit: 0, seq: 0 })
}

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

/// Rotation (F1, F2): whichever version a snapshot is cut with, it finds exactly the samples of its commit: what the
/// older memtable held, and of the younger what came up to the commit.
#[test]
fn a_rotation_moves_no_sample_from_one_memtable_to_the_other() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = Arc::new((loom_pins(), origin(), AtomicU64::new(1)));
        worker.commit(&shared.1, 1..=1);
        let guard = epoch::pin();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pin, youngest) = Pins::pin(&shared.0, &shared.1, || {
                    // As the version's cell promises: who sees a version sees what came before it.
                    shared.1.cut(|| shared.2.load(Acquire), |a, b| a == b)
                });
                let commit = pin.visible().commit;
                let found: Vec<i64> = (1..=youngest as u32)
                    .flat_map(|generation| reader.read(&guard, Kind::InOrder, generation, commit))
                    .collect();
                assert!(found.iter().copied().eq(1..=commit as i64), "commit {commit} of {youngest}: {found:?}");
                drop(guard);
                drop(pin);
            })
        };
        shared.2.store(2, Release);
        worker.generation = 2;
        shared.0.look(&mut worker.pins);
        worker.commit(&shared.1, 2..=2);
        worker.close();
        shared.0.look(&mut worker.pins);
        worker.commit(&shared.1, 3..=3);
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
            let newest = || reader.heads.head.newest(&guard, 1, || seen.commit()).map(|pair| pair.timestamp);
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
            let newest = reader.heads.head.newest(&guard, 1, || seen.commit());
            assert!(visible < 2 || newest.is_none(), "the late sample of commit 2 was visible");
            drop(guard);
        });
        worker.commit(&watermark, 1..=1);
        reader.join().unwrap();
    });
}
