//! Flush, compaction, deletes, retention and restarts on a simulated disk that is killed, or loses power, anywhere:
//! nothing deleted comes back, nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegauge_query::Selection;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::Retention;
use tidegauge_storage::model::{TimeRange, Timestamp};

use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::options::{Builder, Durability, Level};

const SOON: Duration = Duration::from_secs(30);

/// By (host, timestamp).
type Twin = BTreeMap<(usize, i64), f64>;

#[derive(Clone, Debug)]
enum Step {
    Push(usize, i64, i64),
    Delete(usize, i64, i64),
    Flush,
    Compact,
    Retain,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3, 0i64..60, 1i64..30).prop_map(|(h, t, n)| Step::Push(h, t, n)),
        4 => (0usize..3, 0i64..60, 1i64..40).prop_map(|(h, t, n)| Step::Delete(h, t, n)),
        2 => Just(Step::Flush),
        2 => Just(Step::Compact),
        1 => Just(Step::Retain),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
    ]
}

fn open(fs: &SimFs, durability: Durability) -> Option<Engine> {
    let mut builder = Builder::new(None).durability(durability).query_threads(1).compact_threads(1).lane_samples(64);
    builder = builder.background_compaction(false).wal_bytes(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().ok()
}

fn contents(engine: &Engine) -> Twin {
    let selection = Selection::new(&engine.snapshot(), &[]).unwrap();
    let mut all = Twin::new();
    for series in selection.iter() {
        let host = series.labels().get("host").unwrap().parse().unwrap();
        let columns = series.read().unwrap();
        all.extend(columns.timestamps.iter().zip(&columns.values).map(|(t, v)| ((host, *t), *v)));
    }
    all
}

/// Does one step; answers whether it was acknowledged. `twin` has it then.
fn take(engine: &Engine, step: &Step, value: f64, logged: bool, twin: &mut Twin) -> bool {
    match *step {
        Step::Push(host, from, n) => {
            let id = engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap();
            let sample = |t| SeriesSample::new(id, Timestamp::from_nanos(t), value);
            let batch: Vec<_> = (from..from + n).map(sample).collect();
            let level = if logged { Level::Durable } else { Level::Visible };
            let pushed = engine.push_batch(&batch);
            twin.extend((from..from + n).map(|t| ((host, t), value)));
            pushed.is_ok_and(|ack| engine.wait(ack, level, SOON).is_ok())
        }
        Step::Delete(host, from, n) => {
            let range = TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(from + n));
            twin.retain(|(h, t), _| *h != host || !(from..from + n).contains(t));
            engine.delete(&format!("cpu{{host=\"{host}\"}}"), range).is_ok()
        }
        Step::Flush => engine.flush().is_ok(),
        Step::Compact => engine.compact().is_ok(),
        // Large enough to keep all: the edit is what is tried.
        Step::Retain => engine.set_retention(Retention { max_bytes: Some(1 << 40), ..Retention::default() }).is_ok(),
        Step::Reopen | Step::Kill => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// P9, P5: after any steps, restarts and kills, what is there is what was accepted and not deleted.
    #[test]
    fn p9_deletes_survive_everything_and_hide_nothing_else(steps in prop::collection::vec(step(), 1..30)) {
        let mut fs = SimFs::new();
        let mut engine = open(&fs, Durability::Sync).unwrap();
        let mut twin = Twin::new();
        for (i, step) in steps.iter().enumerate() {
            prop_assert!(take(&engine, step, i as f64, true, &mut twin), "{:?} is refused", step);
            if let Step::Reopen = step {
                engine.close().unwrap();
                engine = open(&fs, Durability::Sync).unwrap();
            } else if let Step::Kill = step {
                fs = fs.next_process();
                drop(engine);
                engine = open(&fs, Durability::Sync).unwrap();
            }
            prop_assert_eq!(contents(&engine), twin.clone(), "after {:?}", step);
        }
    }
}

/// P9, P5: what lies below a delete and what lies above it are kept apart when nothing of it was flushed: the log alone
/// says so.
#[test]
fn p9_recovery_divides_the_log_at_a_delete() {
    use Step::{Delete, Push};
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Sync).unwrap();
    let over = hold_flushes(&fs, 0);
    let mut twin = Twin::new();
    let steps = [Push(0, 0, 20), Delete(0, 5, 10), Push(0, 7, 2), Delete(0, 8, 1), Push(1, 0, 3), Delete(1, 2, 1)];
    for (i, step) in steps.iter().enumerate() {
        assert!(take(&engine, step, i as f64, true, &mut twin), "{step:?}");
    }
    assert_eq!(engine.stats().flushes, 0);
    let disks = [fs.kill()].into_iter().chain((0..4).map(|seed| fs.crash(seed)));
    for disk in disks {
        assert_eq!(contents(&open(&disk, Durability::Sync).unwrap()), twin);
    }
    drop(over);
}

/// P5, P9: recovery notes a delete in the manifest before what lies below it is in segments. Interrupted then, the next
/// one gave what lies below numbers above the delete, and could not flush it: the engine was poisoned at each opening.
#[test]
fn p5_p9_a_recovery_that_is_interrupted_again_and_again_still_flushes_what_lies_below_a_delete() {
    use Step::{Delete, Push};
    for flushed in 0..3 {
        let fs = SimFs::new();
        let held = hold_flushes(&fs, 0);
        let mut twin = Twin::new();
        let engine = open(&fs, Durability::Sync).unwrap();
        let steps = [Push(0, 0, 20), Delete(0, 5, 10), Push(0, 3, 9), Delete(0, 8, 1), Push(1, 0, 3)];
        for (i, step) in steps.iter().enumerate() {
            assert!(take(&engine, step, i as f64, true, &mut twin), "{step:?}");
        }
        let mut disk = fs.kill();
        drop(held);
        for _ in 0..3 {
            // One or two of the three memtables that come back are flushed before the process dies.
            let held = hold_flushes(&disk, flushed);
            let engine = open(&disk, Durability::Sync).unwrap();
            assert_eq!(contents(&engine), twin);
            let deadline = Instant::now() + SOON;
            let is_left = || !engine.life().core.versions.load().sealed.is_empty();
            while engine.stats().flushes < flushed && is_left() {
                assert!(Instant::now() < deadline, "{} flushes", engine.stats().flushes);
                std::thread::yield_now();
            }
            let next = disk.kill();
            drop(held);
            disk = next;
        }
        let engine = open(&disk, Durability::Sync).unwrap();
        engine.flush().unwrap();
        assert_eq!(contents(&engine), twin);
        engine.compact().unwrap();
        assert_eq!(contents(&engine), twin);
        let samples = engine.stats().segment_samples;
        assert_eq!(samples, twin.len() as u64, "nothing is stored twice");
        engine.close().unwrap();
        assert_eq!(contents(&open(&disk, Durability::Sync).unwrap()), twin);
    }
}

/// No flush but the first ones ends while what is answered is held.
fn hold_flushes(fs: &SimFs, first: u64) -> std::sync::mpsc::Sender<()> {
    let (over, until_over) = std::sync::mpsc::channel::<()>();
    let until_over = std::sync::Mutex::new((until_over, 0));
    // Content and name of a segment, then the manifest.
    let allowed = first * 3;
    fs.on_sync(Arc::new(move || {
        if std::thread::current().name() == Some("tidegauge-flush") {
            let mut held = until_over.lock().unwrap();
            held.1 += 1;
            if held.1 > allowed {
                let _ = held.0.recv();
            }
        }
        "a sync".into()
    }));
    over
}

fn script() -> Vec<Step> {
    use Step::{Compact, Delete, Flush, Push, Reopen, Retain};
    let rounds = (0..4usize).flat_map(|round| {
        let host = round % 3;
        let at = round as i64 * 7;
        [
            Push(host, at, 20),
            Push((host + 1) % 3, at + 5, 20),
            Delete(host, at + 3, 9),
            Push(host, at + 6, 4),
            Flush,
            Delete((host + 1) % 3, at, 12),
            Compact,
            if round == 1 { Reopen } else { Retain },
        ]
    });
    rounds.collect()
}

/// P5, P9: the power goes at each operation of the disk in turn. What comes back is what was acknowledged, with or
/// without the step that was under way; opening again and compacting change nothing.
#[test]
fn p9_a_crash_at_every_operation_loses_and_revives_nothing() {
    for durability in [Durability::Sync, Durability::Memory] {
        let mut stop = 3;
        loop {
            let fs = SimFs::new();
            fs.stop_at(stop);
            let done = run_until_stopped(&fs, durability, stop);
            if done {
                break;
            }
            // Coprime to the operations of a step: over the rounds it meets each kind of boundary.
            stop += if durability.logs() { 5 } else { 7 };
        }
        assert!(stop > 100, "the script takes more operations than {stop}");
    }
}

/// Answers whether the script came to its end.
fn run_until_stopped(fs: &SimFs, durability: Durability, stop: u64) -> bool {
    let mut acknowledged = Twin::new();
    let mut under_way = Twin::new();
    let (mut ended, mut steps) = (false, 0);
    if let Some(mut engine) = open(fs, durability) {
        ended = true;
        for (i, step) in script().iter().enumerate() {
            let taken = take(&engine, step, i as f64, durability.logs(), &mut under_way);
            if !taken {
                ended = false;
                break;
            }
            acknowledged = under_way.clone();
            steps = i + 1;
            if let Step::Reopen = step {
                let closed = engine.close().is_ok();
                match open(fs, durability).filter(|_| closed) {
                    Some(next) => engine = next,
                    None => {
                        ended = false;
                        break;
                    }
                }
            }
        }
    }
    examine(fs, durability, (&acknowledged, &under_way, steps), stop);
    ended
}

/// What the disk holds after a power loss, for some choices of what was not synced. `done` is what was acknowledged,
/// that and the step under way, and how many steps were acknowledged.
fn examine(fs: &SimFs, durability: Durability, done: (&Twin, &Twin, usize), stop: u64) {
    let (acknowledged, under_way, steps) = done;
    for seed in 0..3 {
        let after = fs.crash(seed);
        let Some(engine) = open(&after, durability) else {
            panic!("operation {stop}, seed {seed}: the store does not open");
        };
        let found = contents(&engine);
        if durability.logs() {
            let expected = found == *acknowledged || found == *under_way;
            assert!(expected, "operation {stop}, seed {seed}: {found:?}\nafter {acknowledged:?}\nor {under_way:?}");
        } else {
            // Without a log what was not flushed may be gone; what was deleted may not be back.
            let known = |key, value| acknowledged.get(key) == Some(value) || under_way.get(key) == Some(value);
            let revived = found.iter().find(|(key, value)| !known(key, value) && !was_overwritten(key, **value, steps));
            assert_eq!(revived, None, "operation {stop}, seed {seed}");
        }
        engine.flush().unwrap();
        engine.compact().unwrap();
        assert_eq!(contents(&engine), found, "operation {stop}, seed {seed}: compaction changes an answer");
        engine.close().unwrap();
        assert_eq!(contents(&open(&after, durability).unwrap()), found, "operation {stop}, seed {seed}: opened again");
    }
}

/// Whether the first steps pushed this value and did not delete it: overwritten by a push that was lost.
fn was_overwritten(key: &(usize, i64), value: f64, steps: usize) -> bool {
    let script = script();
    let is_it = |host: usize, from: i64, n: i64| host == key.0 && (from..from + n).contains(&key.1);
    let pushed = matches!(script[value as usize], Step::Push(host, from, n) if is_it(host, from, n));
    let later = script.iter().take(steps).skip(value as usize);
    pushed && !later.into_iter().any(|s| matches!(s, Step::Delete(host, from, n) if is_it(*host, *from, *n)))
}
