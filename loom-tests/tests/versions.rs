//! F1, F2, F4 and F5 of `docs/concurrency.md`: whichever version a snapshot is cut with, it finds what its commit held.
#![cfg(loom)]

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::{Pin, Pins, Watermark};
use tidegauge::loom_only::epoch::{self, Guard};
use tidegauge::loom_only::memtable::Kind;
use tidegauge::loom_only::{ArcCell, Peeked};
use tidegauge_loom_tests::memtable::{Reader, ends, origin};
use tidegauge_loom_tests::model;

/// As the engine's, of one series.
#[derive(Clone, Default)]
struct Version {
    /// The timestamps of all segments.
    segments: Vec<i64>,
    /// Sealed and active memtables, by generation.
    memtables: Vec<u32>,
    /// Everything below this generation is deleted.
    deleted_below: u32,
}

struct Shared {
    pins: Arc<Pins>,
    watermark: Watermark,
    version: ArcCell<Version>,
}

fn shared() -> Arc<Shared> {
    let first = Version { memtables: vec![1], ..Version::default() };
    Arc::new(Shared { pins: Arc::new(Pins::new()), watermark: origin(), version: ArcCell::new(StdArc::new(first)) })
}

impl Shared {
    /// One change at a time: the models see to it, the engine by a lock.
    fn change(&self, change: impl FnOnce(&mut Version)) {
        let mut version = Version::clone(&self.version.load());
        change(&mut version);
        self.version.store(StdArc::new(version));
    }

    fn snapshot(&self) -> (Pin, StdArc<Version>) {
        let choose = || self.watermark.cut(|| self.version.peek(), Peeked::is_same);
        let (pin, version) = Pins::pin(&self.pins, &self.watermark, choose);
        (pin, version.into_arc())
    }
}

/// What a snapshot holds: segments first, then memtables as of its commit, less what is deleted.
fn found(reader: &Reader, guard: &Guard, version: &Version, commit: u64) -> Vec<i64> {
    let alive = version.memtables.iter().filter(|&&generation| generation >= version.deleted_below);
    let in_memtables = alive.flat_map(|&generation| reader.read(guard, Kind::InOrder, generation, commit));
    version.segments.iter().copied().chain(in_memtables).collect()
}

/// A thread that takes a snapshot, and finds all that came up to its commit.
fn reads_all(reader: Reader, guard: Guard, shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let (pin, version) = shared.snapshot();
        let commit = pin.visible().commit;
        let found = found(&reader, &guard, &version, commit);
        assert!(found.iter().copied().eq(1..=commit as i64), "commit {commit}: {found:?}");
        drop(guard);
        drop(pin);
    })
}

/// F1, F2: what the older memtable held, and of the younger what came up to the commit.
#[test]
fn a_rotation_moves_no_sample_from_one_memtable_to_the_other() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = shared();
        worker.commit(&shared.watermark, 1..=1);
        let guard = epoch::pin();
        let reader = reads_all(reader, guard, &shared);
        shared.change(|version| version.memtables.push(2));
        worker.generation = 2;
        shared.pins.look(&mut worker.pins);
        worker.commit(&shared.watermark, 2..=2);
        worker.close();
        shared.pins.look(&mut worker.pins);
        worker.commit(&shared.watermark, 3..=3);
        reader.join().unwrap();
    });
}

/// F4: a memtable is replaced by its segments, after the commit that they were made at.
///
/// The flusher is the worker's own thread here: the queue's lock hands over as much. But he has none of the worker's
/// fences, so the worker does not look at the pins meanwhile: it was told before that every length is needed.
#[test]
fn segments_take_over_what_their_memtable_held_and_nothing_else() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = shared();
        drop(Pins::pin(&shared.pins, &shared.watermark, || {
            shared.pins.look(&mut worker.pins);
            (shared.watermark.load(), ())
        }));
        let (guard, flushed) = (epoch::pin(), reader.clone());
        let reader = reads_all(reader, guard, &shared);
        worker.commit(&shared.watermark, 1..=1);
        shared.change(|version| version.memtables.push(2));
        worker.generation = 2;
        worker.close();
        let all = flushed.read(&epoch::pin(), Kind::InOrder, 1, 1);
        shared.change(|version| {
            version.segments = all;
            version.memtables.remove(0);
        });
        worker.commit(&shared.watermark, 2..=2);
        reader.join().unwrap();
    });
}

/// F5: a delete of everything is commit 2. Who has its tombstone finds nothing below it; who may find it has it.
#[test]
fn a_delete_divides_what_came_before_it_from_what_comes_after() {
    model(2, || {
        let (mut worker, reader) = ends();
        let shared = shared();
        worker.commit(&shared.watermark, 1..=1);
        let guard = epoch::pin();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (pin, version) = shared.snapshot();
                let commit = pin.visible().commit;
                let found = found(&reader, &guard, &version, commit);
                let deleted = version.deleted_below > 0;
                assert!(deleted || commit < 2, "commit {commit} without the delete");
                let expected: Vec<i64> = (1..=commit as i64).filter(|&t| t != 2 && !(deleted && t == 1)).collect();
                assert_eq!(found, expected, "commit {commit}, deleted: {deleted}");
                drop(guard);
                drop(pin);
            })
        };
        // One change, then its commit.
        shared.change(|version| {
            version.memtables.push(2);
            version.deleted_below = 2;
        });
        worker.generation = 2;
        shared.pins.look(&mut worker.pins);
        worker.commit(&shared.watermark, 1..=0);
        shared.pins.look(&mut worker.pins);
        worker.commit(&shared.watermark, 3..=3);
        worker.close();
        reader.join().unwrap();
    });
}
