//! P4 on a simulated disk: what is deleted of samples that are in the log alone gives its space back, too.

use std::collections::BTreeMap;

use tidegauge_storage::fs::sim::{Random, SimFs};
use tidegauge_storage::model::TimeRange;

use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::WaitError;
use crate::faults::{SOON, contents, reached, series};
use crate::full::{at, count, delete, fill, open, used, value, within};
use crate::options::{Durability, Level};

const CAPACITY: u64 = 4 << 20;

/// A disk that the store's own log has filled: no sample is in a segment. And how many of those pushed to host 8 wait for
/// space.
fn filled_by_the_log() -> (SimFs, Engine, u64) {
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Sync);
    fill(&engine, 7, 10);
    fs.set_capacity(Some(CAPACITY));
    let id = series(&engine, 8);
    let full = (1..10_000).find(|n| {
        let from = (n - 1) * 2000;
        let batch: Vec<_> = (from..from + 2000).map(|t| SeriesSample::new(id, at(t), value(t))).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).is_err_and(|e| e == WaitError::DiskFull)
    });
    let core = &engine.life().core;
    within("what is visible is durable", || (core.durable.seq() >= core.watermark.seq()).then_some(()));
    assert_eq!(engine.stats().segments, 0);
    let waiting = full.unwrap() as u64 * 2000 - count(&engine, 8);
    (fs, engine, waiting)
}

/// Pushes go on, and nothing waits for its flush.
fn goes_on(engine: &Engine) {
    let id = series(engine, 9);
    let ack = within("pushes go on with what was freed", || engine.push(id, at(1), 1.0).ok());
    reached(engine, ack, Level::Durable);
    within("what was sealed is flushed", || (engine.stats().sealed_memtables == 0).then_some(()));
}

/// A flush wrote what was deleted, too, so it never had the space: nothing was let go of, over a close and an opening.
#[test]
fn p4_what_is_deleted_of_the_log_alone_lets_writes_go_on() {
    let (fs, engine, waiting) = filled_by_the_log();
    let (before, all) = (engine.snapshot(), count(&engine, 8));
    delete(&engine, 8, TimeRange::ALL).unwrap();
    goes_on(&engine);
    let shown = [10, waiting, 1];
    assert_eq!([7, 8, 9].map(|host| count(&engine, host)), shown, "what came beside it, and what came after");
    let old = crate::delete::count(&before, "cpu{host=\"8\"}", TimeRange::ALL).unwrap();
    assert_eq!(old.samples, all, "a snapshot from before the delete");
    for disk in [fs.kill(), fs.crash(1), fs.crash(2)] {
        let again = open(&disk, Durability::Sync);
        assert_eq!([7, 8, 9].map(|host| count(&again, host)), shown);
    }
    // Nothing is left of it: the delete is forgotten, and what was deleted stays so.
    engine.compact().unwrap();
    assert_eq!(engine.stats().tombstones, 0);
    engine.close().unwrap();
    let again = open(&fs, Durability::Sync);
    assert_eq!([7, 8, 9].map(|host| count(&again, host)), shown);
}

/// With nothing left no segment is written, and the log goes all the same.
#[test]
fn p4_a_memtable_of_which_all_is_deleted_needs_no_space() {
    let (fs, engine, _) = filled_by_the_log();
    delete(&engine, 7, TimeRange::ALL).unwrap();
    delete(&engine, 8, TimeRange::ALL).unwrap();
    goes_on(&engine);
    assert_eq!(engine.stats().segments, 0);
    let expected = contents(&engine);
    for disk in [fs.kill(), fs.crash(1), fs.crash(2)] {
        let again = open(&disk, Durability::Sync);
        assert_eq!(contents(&again), expected);
        let number = delete(&again, 9, TimeRange::ALL);
        assert!(number.is_ok() && count(&again, 9) == 0);
    }
}

/// Killed after the deletes, or before them, and opened where not a byte is left: the log of the life before was kept.
#[test]
fn p4_what_is_deleted_of_a_log_that_was_replayed_lets_writes_go_on() {
    for deleted_first in [false, true] {
        let (fs, engine, _) = filled_by_the_log();
        if deleted_first {
            // Not all of it: the flush still finds no space.
            for n in 0..5 {
                delete(&engine, 8, at(n * 10)..at(n * 10 + 5)).unwrap();
            }
        }
        let mut disk = fs.kill();
        drop(engine);
        for life in 0..3 {
            disk.set_capacity(Some(used(&disk)));
            let engine = open(&disk, Durability::Sync);
            if life == 2 {
                // All of it: not even what ten samples take is free.
                delete(&engine, 7, TimeRange::ALL).unwrap();
                delete(&engine, 8, TimeRange::ALL).unwrap();
                assert_eq!((count(&engine, 7), count(&engine, 8)), (0, 0));
                goes_on(&engine);
                let expected = contents(&engine);
                assert_eq!(contents(&open(&disk.kill(), Durability::Sync)), expected, "{deleted_first}");
            }
            disk = disk.kill();
        }
    }
}

/// What stays of a flush that leaves out is what was shown, to the sample: in-order and late ones, in packs and chunks,
/// deleted from the beginning, the middle and the end.
#[test]
fn p4_a_flush_leaves_out_what_is_deleted_and_nothing_else() {
    for seed in 0..12 {
        let mut state = seed;
        // SplitMix64.
        let mut below = |n: u64| {
            state = u64::wrapping_add(state, 0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % n
        };
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Sync);
        for host in 0..6 {
            let id = series(&engine, host);
            // The last two end in a pack.
            let samples = if host < 4 { 5_000 } else { 20 };
            let mut all: Vec<i64> = (0..samples).map(|t| t * 4).collect();
            // Late ones: before all of them, between, over some, and around the ends of tails.
            let late = (0..samples / 4).map(|_| below(samples as u64 * 4 + 60) as i64 - 60);
            all.extend(late.map(|t| t.min(samples * 4 - 4)));
            all.extend([1, 2, 3].map(|n| (n * 4096 - 1).min(samples * 4 - 5)));
            let batch: Vec<_> = all.iter().zip(0..).map(|(t, n)| SeriesSample::new(id, at(*t), value(n))).collect();
            let ack = engine.push_batch(&batch).unwrap();
            engine.wait(ack, Level::Durable, SOON).unwrap();
        }
        fs.set_capacity(Some(used(&fs)));
        delete(&engine, 0, TimeRange::ALL).unwrap();
        // Whole chunks of the end, with a late sample just in front.
        delete(&engine, 1, at(4096 * 2)..at(i64::MAX)).unwrap();
        for _ in 0..6 {
            let (host, start) = (1 + below(5) as usize, below(20_000) as i64 - 100);
            let start = if host < 4 { start } else { start / 250 };
            let len = [1, 30, 5_000][below(3) as usize];
            delete(&engine, host, at(start)..at(start + len)).unwrap();
        }
        within("the flush finds no space", || engine.flush().is_err().then_some(()));
        let expected = contents(&engine);
        fs.set_capacity(None);
        within("the flush has space", || engine.flush().ok());
        let differs = |found: BTreeMap<_, _>| found.iter().ne(expected.iter());
        assert!(!differs(contents(&engine)), "seed {seed}");
        let version = engine.life().core.versions.load();
        let samples: u64 = version.segments.iter().map(|segment| segment.info().samples).sum();
        assert_eq!(samples, expected.len() as u64, "seed {seed}: nothing that is hidden was written");
        assert!(!differs(contents(&open(&fs.kill(), Durability::Sync))), "seed {seed}, opened again");
    }
}

/// Whatever step it ends at, the delete is there or is not; once it was told, it is.
#[test]
fn p4_p5_a_flush_that_leaves_out_survives_a_crash_anywhere() {
    let (fs, engine, waiting) = filled_by_the_log();
    let all = count(&engine, 8);
    fs.record();
    delete(&engine, 8, TimeRange::ALL).unwrap();
    let acknowledged = fs.steps();
    goes_on(&engine);
    let (mut timeline, mut steps) = (fs.timeline(), 0);
    loop {
        let seeds = [0, 1, 2].map(|n| timeline.at() * 2 + n);
        let disks = [
            timeline.kill(),
            timeline.power_loss(&mut Random::new(seeds[1])),
            timeline.power_loss(&mut Random::new(seeds[2])),
        ];
        for disk in disks {
            disk.set_capacity(Some(CAPACITY));
            let again = open(&disk, Durability::Sync);
            let found = count(&again, 8);
            // What waited may have been logged before it was deleted with the rest, or not at all.
            let is_deleted = found <= waiting;
            assert!(
                is_deleted || (found == all && timeline.at() < acknowledged),
                "{found} of {all} at {}",
                timeline.at()
            );
            assert_eq!(count(&again, 7), 10, "step {}", timeline.at());
        }
        if timeline.is_over() {
            break;
        }
        timeline.advance();
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
}
