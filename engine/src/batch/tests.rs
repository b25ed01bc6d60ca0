//! P8 on a simulated disk: crashed, full, failing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

use super::expect::{Condition, LOOKS_AT_ONCE};
use super::{Batch, BatchRequest, Check, Expect, Found, Verdict};
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::{CommitError, PushError};
use crate::ingest::Request;
use crate::memtable::HeadTable;
use crate::options::{Builder, Durability, Level};
use crate::registry::SeriesId;
use crate::requests::reply;
use crate::snapshot::Snapshot;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::timeouts::stand_still;

const SOON: Duration = Duration::from_secs(30);

fn open(fs: &SimFs) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(1))).wal_bytes(1 << 20);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

fn series(engine: &Engine, host: usize) -> SeriesId {
    engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap()
}

/// How many samples there are of each timestamp: each batch has one of its own.
fn counts(engine: &Engine) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    let mut all = std::collections::BTreeSet::new();
    for source in engine.snapshot().sources() {
        for hit in source.select(&[]).unwrap() {
            let mut columns = Columns::default();
            let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
            while cursor.next(&mut columns).unwrap() {}
            all.extend(columns.timestamps.iter().map(|&at| (at, hit.key)));
        }
    }
    all.into_iter().for_each(|(at, _)| *counts.entry(at).or_default() += 1);
    counts
}

/// P8: batches of 1,000 samples, one for each of 1,000 series, beside plain pushes and flushes. Wherever the disk
/// stops, each batch is there whole or not at all, and each that was durable is there.
#[test]
fn p8_a_batch_is_whole_or_not_at_all_across_every_crash() {
    const BATCH: usize = 1000;
    const BATCHES: i64 = 6;
    let run = |stop_at: Option<u64>| {
        let fs = SimFs::new();
        let engine = open(&fs);
        let ids: Vec<_> = (0..BATCH).map(|host| series(&engine, host)).collect();
        let from = fs.operations();
        if let Some(stop_at) = stop_at {
            fs.stop_at(from + stop_at);
        }
        let mut durable = Vec::new();
        for t in 1..=BATCHES {
            let mut batch = engine.batch();
            let mut pushed = ids.iter().map(|&id| batch.push(id, Timestamp::from_nanos(t), (t as f64).sqrt()));
            if pushed.any(|pushed| pushed.is_err()) {
                break;
            }
            let Ok(committed) = batch.commit() else { break };
            // A lane's sample between two batches.
            let Ok(ack) = engine.push(ids[0], Timestamp::from_nanos(-t), 0.0) else { break };
            let _ = engine.wait(ack, Level::Visible, SOON);
            if t % 2 == 0 && engine.wait(committed.ack(), Level::Durable, SOON).is_ok() {
                durable.push(t);
            }
            if t == 4 {
                let _ = engine.flush();
            }
        }
        let operations = fs.operations() - from;
        (fs, engine, durable, operations)
    };
    let (_, engine, durable, operations) = run(None);
    assert_eq!(durable, [2, 4, 6]);
    drop(engine);
    let (mut whole, mut absent) = (0, 0);
    for stop_at in 0..operations {
        let (fs, engine, durable, _) = run(Some(stop_at));
        drop(engine);
        fs.restart();
        for seed in 0..3 {
            let back = open(&fs.crash(seed));
            let counts = counts(&back);
            for t in 1..=BATCHES {
                let found = counts.get(&t).copied().unwrap_or(0);
                assert!(found == 0 || found == BATCH, "stopped at {stop_at}, seed {seed}: {found} of batch {t}");
                assert!(found == BATCH || !durable.contains(&t), "stopped at {stop_at}, seed {seed}: lost batch {t}");
                if found == 0 { absent += 1 } else { whole += 1 }
            }
        }
    }
    assert!(whole > 0 && absent > 0, "both happen: {whole} whole, {absent} absent");
}

/// P4, P8: a batch on a full disk is refused and leaves nothing; definitions of its frame do not count as written.
#[test]
fn p8_a_full_disk_refuses_a_batch_whole_and_later_takes_it() {
    let fs = SimFs::new();
    let engine = open(&fs);
    let commit = |host: usize, samples: i64| {
        let mut batch = engine.batch();
        for t in 0..samples {
            // The gate is shut too, once a flush has met the full disk.
            let pushed = batch.push(series(&engine, host), Timestamp::from_nanos(t), (t as f64).sqrt());
            pushed.map_err(|e| if e == PushError::DiskFull { CommitError::DiskFull } else { panic!("{e}") })?;
        }
        batch.commit()
    };
    commit(0, 10).unwrap();
    fs.set_capacity(Some(0));
    let refused = (1..200).find_map(|host| commit(host, 20_000).err().map(|e| (host, e)));
    let Some((host, CommitError::DiskFull)) = refused else { panic!("{refused:?}") };
    let before = counts(&engine);
    fs.set_capacity(None);
    assert_eq!(counts(&engine), before);
    let deadline = Instant::now() + SOON;
    let committed = loop {
        match commit(host, 7) {
            Ok(committed) => break committed,
            Err(CommitError::DiskFull) if Instant::now() < deadline => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    };
    engine.wait(committed.ack(), Level::Durable, SOON).unwrap();
    let expected = counts(&engine);
    let killed = fs.kill();
    drop(engine);
    assert_eq!(counts(&open(&killed)), expected, "the log defines every series that it uses");
}

/// P4: a batch whose write fails is not visible, and its commit says that the engine is poisoned.
#[test]
fn p8_a_batch_on_a_failing_disk_tells_that_the_engine_is_poisoned() {
    let fs = SimFs::new();
    let engine = open(&fs);
    let id = series(&engine, 1);
    (0..64).for_each(|i| fs.fail_at(fs.operations() + i, Fault::Io));
    let mut batch = engine.batch();
    batch.push(id, Timestamp::from_nanos(1), 1.0).unwrap();
    assert!(matches!(batch.commit(), Err(CommitError::Poisoned(_))));
    assert_eq!(counts(&engine), BTreeMap::new());
    let mut batch = engine.batch();
    batch.push(id, Timestamp::from_nanos(2), 1.0).unwrap_err();
    assert!(matches!(batch.commit(), Err(CommitError::Poisoned(_))));
}

/// C5: between the look and the verdict samples come late, or into another memtable, or newer than the newest.
#[test]
fn p8_late_samples_are_no_change_of_the_newest_timestamp() {
    let engine = Builder::new(None).durability(Durability::Memory).open().unwrap();
    let (core, id) = (&engine.life().core, series(&engine, 1));
    let push = |at| {
        let ack = engine.push(id, Timestamp::from_nanos(at), 1.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    };
    let look = || {
        let newest = Condition { series: id, expected: Expect::Timestamp(Timestamp::from_nanos(10)) };
        Condition::all_checks(&[newest], core).unwrap()[0]
    };
    let holds = |check: Check| {
        let (version, head) = (core.versions.load(), core.heads.head(id.slot));
        check.judge(head, (core.watermark.commit(), &version, version.registry.slots()), &mut 0).is_ok()
    };
    push(10);
    let check = look();
    assert!(holds(check));
    (0..5).for_each(push);
    assert!(holds(check), "they are older");
    push(10);
    assert!(holds(check), "it is written over");
    // The newest is in a segment then, and the first late one is in order among those behind it.
    engine.flush().unwrap();
    assert!(holds(look()) && !holds(check), "of the memtable before nothing can be told");
    let check = look();
    push(3);
    assert!(holds(check));
    let asked = engine.delete("cpu{host=\"1\"}", Timestamp::from_nanos(0)..Timestamp::from_nanos(1));
    asked.unwrap();
    assert!(!holds(check), "a delete is a change");
    let check = look();
    push(11);
    assert!(!holds(check), "it is newer");
    assert!(matches!(
        Condition::all_checks(&[Condition { series: id, expected: Expect::Timestamp(Timestamp::from_nanos(10)) }], core),
        Err(CommitError::Conflict { found: Found::Timestamp(at), .. }) if at.nanos() == 11
    ));
}

/// As many conditions as a batch may have: that the last sample of `id` is the one that is pushed now.
fn conditions(engine: &Engine, id: SeriesId) -> Vec<Condition> {
    let mut batch = engine.batch();
    batch.push(id, Timestamp::from_nanos(1), 1.0).unwrap();
    let expected = Expect::Seq(batch.commit().unwrap().last().unwrap());
    vec![Condition { series: id, expected }; Batch::CONDITIONS_MAX]
}

fn delete(engine: &Engine, host: usize, times: usize) {
    let range = Timestamp::from_nanos(0)..Timestamp::from_nanos(1);
    for _ in 0..times {
        engine.delete(&format!("cpu{{host=\"{host}\"}}"), range.clone()).unwrap();
    }
}

/// The worker matched each condition with each of the last two thousand deletes, without a look at anything else.
#[test]
fn p8_who_asks_matches_the_deletes_and_the_worker_those_that_came_since() {
    let engine = Builder::new(None).durability(Durability::Memory).background_compaction(false).open().unwrap();
    let (core, id) = (&engine.life().core, series(&engine, 1));
    let conditions = conditions(&engine, id);
    let ask = || Condition::all_checks(&conditions, core).unwrap();
    // What comes of it, how many deletes the worker matches, and how often it looks at what is due besides.
    let judge = |checks: &[Check]| {
        let (version, mut looks, mut tended) = (core.versions.load(), 0, 0);
        let of = (core.watermark.commit(), &*version, &**version.registry.slots());
        let judged = Check::judge_all(checks, |slot| core.heads.head(slot), of, &mut looks, || tended += 1);
        (judged.map_err(|(at, _)| at), looks, tended)
    };
    delete(&engine, 2, 5);
    let checks = ask();
    assert_eq!(judge(&checks), (Ok(()), 0, 0));
    delete(&engine, 2, 4);
    let each = Batch::CONDITIONS_MAX as u64;
    assert_eq!(judge(&checks), (Ok(()), 4 * each, 4 * each / LOOKS_AT_ONCE));
    assert_eq!(judge(&ask()), (Ok(()), 0, 0));
    // By whoever, one that names the series is found.
    delete(&engine, 1, 1);
    assert_eq!((judge(&checks), judge(&ask())), ((Err(0), 1, 0), (Err(0), 0, 0)));
    delete(&engine, 2, 2);
    assert_eq!((judge(&checks), judge(&ask())), ((Err(0), 3, 0), (Err(0), 0, 0)));
    // Those that hide nothing any more are remembered.
    engine.flush().unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().tombstones, 0);
    assert_eq!((judge(&checks), judge(&ask())), ((Err(0), 3, 0), (Err(0), 0, 0)));
}

/// Pushes once, when a subscription has something.
struct PushesOnce(Engine, SeriesId, AtomicBool);

impl Wake for PushesOnce {
    fn wake(self: Arc<Self>) {
        if !self.2.swap(true, Ordering::Relaxed) {
            self.0.push(self.1, Timestamp::from_nanos(2), 1.0).unwrap();
        }
    }
}

/// Batches were served one after the other however long each was judged, and what lanes held waited for all of them.
#[test]
fn a_batch_that_has_many_deletes_matched_ends_a_serving() {
    let engine = Builder::new(None).durability(Durability::Memory).background_compaction(false).open().unwrap();
    let (core, id, other) = (&engine.life().core, series(&engine, 1), series(&engine, 3));
    let checks = Condition::all_checks(&conditions(&engine, id), core).unwrap();
    // More than a round has samples.
    delete(&engine, 2, 20);
    let pushes = Waker::from(Arc::new(PushesOnce(engine.clone(), other, AtomicBool::new(false))));
    let mut live = engine.subscribe("cpu{host=\"3\"}").unwrap();
    assert!(live.poll_recv(&mut Context::from_waker(&pushes)).is_pending());
    let (_, standing) = stand_still(&engine);
    let sample = SeriesSample::new(other, Timestamp::from_nanos(1), 1.0);
    let asked = [(); 3].map(|()| {
        let (replier, verdict) = reply();
        let batch = BatchRequest { samples: vec![sample], checks: checks.clone(), replier };
        core.ask(Request::Batch(batch), 1, SOON).unwrap();
        verdict
    });
    drop(standing);
    let [first, second, third] = asked.map(|mut verdict| match verdict.wait(Some(SOON)) {
        Ok(Verdict::Committed(committed)) => committed.first().0,
        _ => panic!("all is as expected"),
    });
    assert_eq!(
        (second - first, third - second),
        (2, 1),
        "what is pushed behind the first of them comes before the others"
    );
}

/// Its number was taken for one of this engine: the batch was committed over a change, or refused without one.
#[test]
fn p8_a_snapshot_of_another_engine_is_no_condition() {
    let (engine, other) = (Engine::in_memory().unwrap(), Engine::in_memory().unwrap());
    let ids = [&engine, &other].map(|engine| series(engine, 1));
    let ack = other.push(ids[1], Timestamp::from_nanos(1), 1.0).unwrap();
    other.wait(ack, Level::Visible, SOON).unwrap();
    let commit = |snapshot: &Snapshot| {
        let mut batch = engine.batch();
        batch.push(ids[0], Timestamp::from_nanos(1), 1.0).unwrap();
        batch.expect_unchanged(ids[0], snapshot);
        batch.commit()
    };
    let refused = commit(&other.snapshot());
    assert!(matches!(refused, Err(CommitError::OtherEngine)), "{refused:?}");
    assert_eq!(engine.last(ids[0]).unwrap(), None);
    commit(&engine.clone().snapshot()).unwrap();
}

/// Behind a reopening the number is that of what is left. The message told no more than two numbers, of which the greater
/// one was expected: as if somebody had written the other one since.
#[test]
fn p8_a_sample_that_retention_has_dropped_is_told_as_gone() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Builder::new(Some(dir.path())).background_compaction(false).open().unwrap();
    let engine = open();
    let mut batch = engine.batch();
    batch.push(series(&engine, 1), Timestamp::from_nanos(1), 1.0).unwrap();
    let last = batch.commit().unwrap().last().unwrap();
    let expect = |engine: &Engine| {
        let mut batch = engine.batch();
        batch.expect_last(series(engine, 1), last);
        batch.commit()
    };
    engine.flush().unwrap();
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().segments, 0);
    expect(&engine).expect("nothing was accepted since");
    engine.close().unwrap();
    let conflict = expect(&open()).unwrap_err();
    assert!(matches!(conflict, CommitError::Conflict { found: Found::Nothing, .. }), "{conflict}");
    assert!(conflict.to_string().contains("is gone"), "{conflict}");
}

/// What did not fit counted as if it were there: a sample of another series was refused with room for none.
#[test]
fn a_batch_that_refuses_samples_is_as_before() {
    let engine = Builder::new(None).durability(Durability::Memory).open().unwrap();
    let wide = "x".repeat(16 << 10);
    let ids: Vec<SeriesId> = (0..9)
        .map(|host: usize| {
            let (names, host) = ((0..60).map(|i| format!("l{i}")).collect::<Vec<_>>(), host.to_string());
            let mut labels = vec![("__name__", "cpu"), ("host", host.as_str())];
            labels.extend(names.iter().map(|name| (name.as_str(), wide.as_str())));
            engine.series(&labels).unwrap()
        })
        .collect();
    let samples: Vec<_> = ids.iter().map(|&id| SeriesSample::new(id, Timestamp::from_nanos(1), 1.0)).collect();
    let mut batch = engine.batch();
    for _ in 0..2 {
        assert_eq!(batch.push_batch(&samples), Err(PushError::BatchTooLarge { limit: 8 }));
    }
    batch.push_batch(&samples[8..]).unwrap();
    batch.push_batch(&samples[..7]).unwrap();
    assert_eq!(batch.push_batch(&samples[6..8]), Err(PushError::BatchTooLarge { limit: 9 }));
    // Those that are known already take no more room.
    batch.push_batch(&samples[..7]).unwrap();
    assert_eq!(batch.len(), 15);
    batch.commit().unwrap();
    assert_eq!(engine.snapshot().select("cpu").unwrap().count().unwrap().iter().sum::<u64>(), 8);
}
