//! A compactor without a thread: each of its turns is taken by the test.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::Retention;
use tidegauge_storage::model::{TimeRange, Timestamp};

use super::asked::Asked;
use super::beside::{BEFORE_REWRITE, Due};
use super::compactor::{CompactOptions, Compactor, CompactorParts};
use super::plan::{Job, Why};
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::faults::{SOON, series};
use crate::options::{Builder, Durability, Level};
use crate::sync::atomic::AtomicU64;

/// The first segment that the compactor makes.
const FIRST: u64 = 1_000;
/// A segment of this many samples weighs more than one shall.
const LARGE: i64 = 40_000;

fn open(fs: &SimFs) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Memory).query_threads(1);
    builder = builder.background_compaction(false).compact_threads(1).cold_after(Duration::MAX);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

/// In place of the engine's own, which is stopped.
fn by_hand(engine: &Engine) -> Compactor {
    let life = engine.life();
    life.core.compactions.stop();
    let manifest = life.manifest.lock().unwrap();
    let (store_id, opening) = (manifest.state().store_id, manifest.state().open_number);
    drop(manifest);
    Compactor::new(CompactorParts {
        core: Arc::clone(&life.core),
        fs: Arc::clone(&life.fs),
        dir: life.root.join("segments"),
        manifest: Arc::clone(&life.manifest),
        store_id,
        opening,
        next_segment: Arc::new(AtomicU64::new(FIRST)),
        graveyard: Arc::clone(&life.reads.graveyard),
        options: CompactOptions {
            in_background: true,
            segment_bytes: 64 << 10,
            segment_span: Duration::from_secs(32 * 86_400),
            cold_after: Duration::MAX,
            threads: 1,
        },
    })
}

/// A segment of one host, of values that do not pack.
fn flush(engine: &Engine, host: usize, times: Range<i64>) {
    let id = series(engine, host);
    let value = |t: i64| ((t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64;
    let sample = |t| SeriesSample::new(id, Timestamp::from_nanos(t), value(t));
    for part in times.collect::<Vec<_>>().chunks(4_000) {
        let ack = engine.push_batch(&part.iter().copied().map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
}

/// A large one, and four small ones behind it that are worth a merge.
fn filled(fs: &SimFs) -> Engine {
    let engine = open(fs);
    flush(&engine, 1, 0..LARGE);
    (0..4).map(|i| 2 * LARGE + i * 500).for_each(|at| flush(&engine, 2, at..at + 500));
    engine
}

fn count(engine: &Engine, host: usize, times: Range<i64>) -> u64 {
    let range = TimeRange::new(Timestamp::from_nanos(times.start), Timestamp::from_nanos(times.end));
    engine.count_matching(&format!("cpu{{host=\"{host}\"}}"), range).unwrap().samples
}

/// A little too much is there: the oldest segment is to be parted.
fn exceed(engine: &Engine) -> u64 {
    let most = engine.stats().segment_bytes - 1;
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(most) }).unwrap();
    most
}

fn delete(engine: &Engine, times: Range<i64>) {
    let range = TimeRange::new(Timestamp::from_nanos(times.start), Timestamp::from_nanos(times.end));
    engine.delete("cpu{host=\"1\"}", range).unwrap();
    engine.flush().unwrap();
}

/// What retention by size had parted went whole, with what was to stay, if another job had been too much before: it was
/// not planned then, and that counted as its turn.
#[test]
fn what_is_parted_is_written_anew_though_another_job_was_too_much() {
    let fs = SimFs::new();
    let engine = filled(&fs);
    let mut compactor = by_hand(&engine);
    let most = exceed(&engine);
    compactor.restraint.held_too_much(2_000, 0, Instant::now());
    for _ in 0..3 {
        compactor.turn(None).unwrap();
    }
    assert_eq!(count(&engine, 1, LARGE / 2..LARGE), LARGE as u64 / 2, "the newer part stays");
    assert!(count(&engine, 1, 0..LARGE) < LARGE as u64, "the older one goes");
    assert!(engine.stats().segment_bytes <= most);
}

/// The same, if another job was begun before it and the disk failed: it was not tried.
#[test]
fn what_is_parted_does_not_go_whole_for_a_merge_that_fails() {
    // What is removed in the end may fail, and nobody is told.
    let failed = (1..20).any(|operation| {
        let fs = SimFs::new();
        let engine = filled(&fs);
        let mut compactor = by_hand(&engine);
        exceed(&engine);
        compactor.drop_oldest(false).unwrap();
        fs.fail_at(fs.operations() + operation, Fault::Io);
        let failed = compactor.work(None).is_err();
        compactor.turn(None).unwrap();
        assert_eq!(count(&engine, 1, LARGE / 2..LARGE), LARGE as u64 / 2, "the newer part stays");
        failed
    });
    assert!(failed);
}

/// `compact` answered that all was done, and left deleted samples in each segment that was larger than half of a job that
/// it had had to give up.
#[test]
fn nothing_hidden_is_left_behind_a_job_that_was_too_much() {
    let fs = SimFs::new();
    let engine = filled(&fs);
    let mut compactor = by_hand(&engine);
    delete(&engine, 0..10);
    compactor.restraint.held_too_much(2_000, 0, Instant::now());
    compactor.work(Some(&mut Asked::new(&engine.life().core))).unwrap();
    let version = engine.life().core.versions.load();
    let samples: u64 = version.segments.iter().map(|s| s.info().samples).sum();
    assert_eq!((samples, version.tombstones.len()), (LARGE as u64 - 10 + 2_000, 0));
}

/// Whether anything is due is looked at before the first job is looked for, and the first of these looks used the turn up.
#[test]
fn a_look_takes_nobodys_turn() {
    let fs = SimFs::new();
    let engine = filled(&fs);
    let mut compactor = by_hand(&engine);
    delete(&engine, 0..LARGE / 2);
    let job = Job { inputs: vec![1, 2], keeps: Vec::new(), cuts: Vec::new(), cold: false, why: Why::Join };
    (0..BEFORE_REWRITE).for_each(|_| compactor.looked.begun(&Due::new(job.clone(), TimeRange::ALL, 0)));
    compactor.work(None).unwrap();
    let version = engine.life().core.versions.load();
    let first = version.segments.iter().find(|s| s.info().id == FIRST).unwrap();
    assert!(first.info().time_range.unwrap().end < Timestamp::from_nanos(LARGE), "what was deleted from comes first");
}
