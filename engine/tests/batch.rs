//! P8: atomic batches, conditions, and what is built on them.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::{SOON, at, contents, copy_dir, name, series};
use tidegauge::{
    Batch, CommitError, Committed, Durability, Engine, Expect, Found, Level, PushError, Retry, RetryError, SeqNo,
    SeriesId, SeriesSample,
};

/// A batch of one sample.
fn put(engine: &Engine, id: SeriesId, timestamp: i64, value: f64) -> Committed {
    let mut batch = engine.batch();
    batch.push(id, at(timestamp), value).unwrap();
    batch.commit().unwrap()
}

/// Judges without writing.
fn judge(engine: &Engine, id: SeriesId, expected: impl Into<Expect>) -> Result<(), Found> {
    let mut batch = engine.batch();
    batch.expect_last(id, expected);
    match batch.commit() {
        Ok(committed) => {
            assert_eq!(committed.last(), None, "an empty batch takes no number");
            Ok(())
        }
        Err(CommitError::Conflict { series, found, .. }) => {
            assert_eq!(series, id);
            Err(found)
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn p8_a_batch_is_seen_whole_or_not_at_all_in_every_snapshot() {
    const SERIES: usize = 40;
    const BATCHES: i64 = 300;
    let engine = Engine::in_memory_builder().flush_bytes(1 << 16).open().unwrap();
    let ids: Vec<_> = (0..SERIES).map(|host| series(&engine, host)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let all = contents(&engine.snapshot());
                    let of_batches = all.iter().filter(|(labels, _)| **labels != name(SERIES));
                    let lens: Vec<usize> = of_batches.map(|(_, samples)| samples.len()).collect();
                    assert!(lens.is_empty() || lens.len() == SERIES, "some series of the first batch");
                    assert!(lens.windows(2).all(|w| w[0] == w[1]), "part of a batch");
                    let now = lens.first().copied().unwrap_or(0);
                    assert!(now >= seen, "a batch went away");
                    seen = now;
                }
            });
        }
        // Others push in between, into another series.
        scope.spawn(|| {
            let (mut appender, other) = (engine.appender().unwrap(), series(&engine, SERIES));
            for t in 0.. {
                appender.push(other, at(t), 0.0).unwrap();
                if done.load(Ordering::Acquire) {
                    break;
                }
                std::thread::yield_now();
            }
        });
        for t in 0..BATCHES {
            let mut batch = engine.batch();
            ids.iter().for_each(|&id| batch.push(id, at(t), t as f64).unwrap());
            batch.commit().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(contents(&engine.snapshot())[&name(0)].len() as i64, BATCHES);
}

#[test]
fn p8_a_committed_batch_is_visible_and_a_dropped_one_leaves_nothing() {
    let engine = Engine::in_memory().unwrap();
    let (a, b) = (series(&engine, 1), series(&engine, 2));
    let mut rolled_back = engine.batch();
    rolled_back.push(a, at(1), 1.0).unwrap();
    drop(rolled_back);
    let mut batch = engine.batch();
    batch.push_batch(&[SeriesSample::new(a, at(5), 5.0), SeriesSample::new(b, at(6), 6.0)]).unwrap();
    let committed = batch.commit().unwrap();
    assert_eq!(committed.last().unwrap().0, committed.first().0 + 1);
    let all = contents(&engine.snapshot());
    assert_eq!(all[&name(1)].keys().copied().collect::<Vec<_>>(), [5]);
    assert_eq!(all[&name(2)].keys().copied().collect::<Vec<_>>(), [6]);
    assert_eq!(engine.wait(committed.ack(), Level::Visible, SOON), Ok(SeqNo(committed.last().unwrap().0 + 1)));
}

#[test]
fn p8_a_conflict_names_series_expected_and_found_and_applies_nothing() {
    let engine = Engine::in_memory().unwrap();
    let (a, b) = (series(&engine, 1), series(&engine, 2));
    assert_eq!(judge(&engine, a, Expect::Nothing), Ok(()));
    assert_eq!(judge(&engine, a, SeqNo(1)), Err(Found::Nothing));
    assert_eq!(judge(&engine, a, at(1)), Err(Found::Nothing));
    let before = engine.snapshot();
    let first = put(&engine, a, 10, 1.0).last().unwrap();

    let mut batch = engine.batch();
    batch.push(a, at(11), 2.0).unwrap();
    batch.push(b, at(11), 2.0).unwrap();
    batch.expect_last(b, Expect::Nothing).expect_last(a, Expect::Nothing);
    match batch.commit() {
        Err(conflict @ CommitError::Conflict { series, found, .. }) => {
            assert_eq!((series, found), (a, Found::Seq(first)));
            // A person knows a series by its labels.
            let said = conflict.to_string();
            assert!(said.contains("expects no sample of cpu{host=\"1\"}"), "{said}");
            assert!(matches!(conflict, CommitError::Conflict { expected: Expect::Nothing, .. }));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(&engine.snapshot()).len(), 1, "nothing was applied");

    assert_eq!(judge(&engine, a, first), Ok(()));
    assert_eq!(judge(&engine, a, SeqNo(first.0 + 1)), Err(Found::Seq(first)));
    assert_eq!(judge(&engine, a, at(10)), Ok(()));
    assert_eq!(judge(&engine, a, at(9)), Err(Found::Timestamp(at(10))));
    assert_eq!(judge(&engine, a, Expect::UnchangedSince(before.watermark())), Err(Found::Seq(first)));
    let after = engine.snapshot();
    // A late sample: the newest timestamp stays, but something changed.
    let late = put(&engine, a, 3, 0.5).last().unwrap();
    assert_eq!(judge(&engine, a, at(10)), Ok(()));
    assert_eq!(judge(&engine, a, Expect::UnchangedSince(after.watermark())), Err(Found::Seq(late)));
    assert_eq!(judge(&engine, a, late), Ok(()));
    // Of two conditions on one series both count.
    let mut both = engine.batch();
    both.expect_last(a, late).expect_last(a, Expect::Nothing);
    assert!(matches!(both.commit(), Err(CommitError::Conflict { expected: Expect::Nothing, .. })));
}

/// Numbers of last samples are exact in memory, in segments and in the log: each is found as it was, whatever was
/// flushed, closed or lost with the process in between.
#[test]
fn p8_the_number_of_a_last_sample_survives_flush_and_reopening_exactly() {
    const SERIES: usize = 12;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for durability in [Durability::Memory, Durability::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let mut twin: [Option<SeqNo>; SERIES] = [None; SERIES];
        let mut engine = Engine::builder(dir.path()).durability(durability).open().unwrap();
        for step in 0..60_i64 {
            let ids: Vec<_> = (0..SERIES).map(|host| series(&engine, host)).collect();
            match next(8) {
                0 => engine.flush().unwrap(),
                1 => {
                    engine.close().unwrap();
                    engine = Engine::builder(dir.path()).durability(durability).open().unwrap();
                    continue;
                }
                2 if durability == Durability::Sync => {
                    // What a kill -9 at this moment would leave.
                    let copy = tempfile::tempdir().unwrap();
                    copy_dir(dir.path(), copy.path());
                    let other = Engine::open(copy.path()).unwrap();
                    (0..SERIES).for_each(|host| check(&other, host, twin[host]));
                }
                _ => {
                    // Some in order, some late, some of a series twice.
                    let mut batch = engine.batch();
                    let hosts: Vec<usize> = (0..1 + next(9)).map(|_| next(SERIES as u64) as usize).collect();
                    for (i, &host) in hosts.iter().enumerate() {
                        let when = if next(3) == 0 { step - 20 } else { step };
                        batch.push(ids[host], at(when * 100 + i as i64), step as f64).unwrap();
                    }
                    let first = batch.commit().unwrap().first();
                    hosts.iter().enumerate().for_each(|(i, &host)| twin[host] = Some(SeqNo(first.0 + i as u64)));
                }
            }
            (0..SERIES).for_each(|host| check(&engine, host, twin[host]));
        }
    }
}

fn check(engine: &Engine, host: usize, last: Option<SeqNo>) {
    let id = series(engine, host);
    match last {
        None => assert_eq!(judge(engine, id, Expect::Nothing), Ok(())),
        Some(seq) => {
            assert_eq!(judge(engine, id, seq), Ok(()));
            assert_eq!(judge(engine, id, Expect::Nothing), Err(Found::Seq(seq)));
            assert_eq!(judge(engine, id, Expect::UnchangedSince(seq)), Err(Found::Seq(seq)));
            assert_eq!(judge(engine, id, Expect::UnchangedSince(SeqNo(seq.0 + 1))), Ok(()));
        }
    }
}

/// They are appended behind those in order.
#[test]
fn late_samples_of_a_batch_keep_their_order_and_take_no_number_back() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut batch = engine.batch();
    for (when, value) in [(50, 1.0), (30, 2.0), (60, 3.0), (30, 4.0), (50, 5.0), (70, 6.0), (40, 7.0)] {
        batch.push(id, at(when), value).unwrap();
    }
    let last = SeqNo(batch.commit().unwrap().first().0 + 6);
    for _ in 0..2 {
        let all = contents(&engine.snapshot()).into_values().flatten();
        let found: Vec<(i64, f64)> = all.map(|(at, value)| (at, f64::from_bits(value))).collect();
        assert_eq!(found, [(30, 4.0), (40, 7.0), (50, 5.0), (60, 3.0), (70, 6.0)]);
        check(&engine, 1, Some(last));
        engine.flush().unwrap();
    }
}

#[test]
fn p8_of_eight_threads_that_increment_no_increment_is_lost() {
    const THREADS: u64 = 8;
    const EACH: u64 = 200;
    let engine = Engine::in_memory_builder().flush_bytes(1 << 16).open().unwrap();
    let id = series(&engine, 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let patient = Retry { tries: u32::MAX, ..Retry::default() };
                let mut before = 0.0;
                for _ in 0..EACH {
                    let done = engine.increment(id, 1.0, patient).unwrap();
                    assert!(done.value > before, "each sees its own");
                    before = done.value;
                }
            });
        }
    });
    let total = (THREADS * EACH) as f64;
    assert_eq!(engine.last(id).unwrap().unwrap().value, total);
    let history: Vec<f64> = contents(&engine.snapshot())[&name(1)].values().map(|&v| f64::from_bits(v)).collect();
    assert!(history.iter().copied().eq((1..=THREADS * EACH).map(|n| n as f64)), "each step is kept");
}

/// The README's example, which all that visit a page at once go through: it is not patient without end.
#[test]
fn eight_threads_that_increment_as_the_readme_does_get_through() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..250 {
                    engine.increment(id, 1.0, Retry::default()).unwrap();
                }
            });
        }
    });
    assert_eq!(engine.last(id).unwrap().unwrap().value, 2_000.0);
}

/// C5: each expects the newest timestamp that it has seen, and goes on from there. Of those who have seen the same one
/// commits, however the others' samples come between a look and its verdict.
#[test]
fn p8_of_threads_that_expect_the_same_newest_timestamp_one_commits() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    put(&engine, id, 0, 0.0);
    const EACH: i64 = 100;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut committed = 0;
                while committed < EACH {
                    let newest = engine.last(id).unwrap().unwrap().timestamp;
                    let mut batch = engine.batch();
                    batch.push(id, at(newest.nanos() + 1), 1.0).unwrap();
                    batch.expect_last(id, newest);
                    match batch.commit() {
                        Ok(_) => committed += 1,
                        Err(CommitError::Conflict { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    let all = contents(&engine.snapshot()).remove(&name(1)).unwrap();
    assert!(all.keys().copied().eq(0..=4 * EACH), "two went on from the same: {} samples", all.len());
}

#[test]
fn an_increment_goes_on_from_what_is_in_a_segment_and_from_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let id = series(&engine, 1);
    assert_eq!(engine.last(id).unwrap(), None);
    let ahead = tidegauge::now().nanos() + 60_000_000_000;
    put(&engine, id, ahead, 40.0);
    engine.close().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let id = series(&engine, 1);
    let done = engine.increment(id, 2.0, Retry::ONCE).unwrap();
    assert_eq!((done.value, done.timestamp), (42.0, at(ahead + 1)));
    // Written over at its own timestamp: the late one counts.
    put(&engine, id, ahead + 1, 7.0);
    assert_eq!(engine.last(id).unwrap().map(|last| (last.timestamp, last.value)), Some((at(ahead + 1), 7.0)));
}

#[test]
fn retrying_ends_at_its_bound_and_passes_other_failures_on() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    put(&engine, id, 1, 1.0);
    let mut fills = 0;
    let never = |batch: &mut Batch| {
        fills += 1;
        batch.expect_last(id, Expect::Nothing);
        Ok::<(), PushError>(())
    };
    let retry = Retry { tries: 3, ..Retry::default() };
    match retry.run(&engine, never) {
        Err(RetryError::Exhausted { tries: 3, last: CommitError::Conflict { .. } }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fills, 3);
    let refused = retry.run(&engine, |_| Err(PushError::Full));
    assert!(matches!(refused, Err(RetryError::Fill(PushError::Full))));
    let kept = engine.clone();
    engine.close().unwrap();
    assert!(matches!(retry.run(&kept, |_| Ok::<(), PushError>(())), Err(RetryError::Commit(CommitError::Closed))));
}

#[test]
fn a_batch_is_bounded_before_anything_is_written() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut batch = engine.batch();
    let many: Vec<_> = (0..Batch::SAMPLES_MAX as i64).map(|t| SeriesSample::new(id, at(t), 0.5)).collect();
    batch.push_batch(&many).unwrap();
    let limit = Batch::SAMPLES_MAX;
    assert_eq!(batch.push(id, at(-1), 0.0), Err(PushError::BatchTooLarge { limit }));
    batch.commit().unwrap();
    assert_eq!(contents(&engine.snapshot())[&name(1)].len(), limit);

    // Labels count too: each series may have to be defined in the batch's one frame.
    let long = "x".repeat(2000);
    let mut batch = engine.batch();
    let refused = (0..).find_map(|host: u32| {
        let id = engine.series(&[("__name__", "long"), ("host", &format!("{host}{long}"))]).unwrap();
        batch.push(id, at(1), 1.0).err()
    });
    let Some(PushError::BatchTooLarge { limit }) = refused else { panic!("{refused:?}") };
    assert_eq!(limit, batch.len());
    assert!(limit > 4000 && limit < 4300, "8 MiB of labels of 2 kB: {limit}");
    batch.commit().unwrap();
    let stranger = series(&Engine::in_memory().unwrap(), 1);
    let mut batch = engine.batch();
    assert_eq!(batch.push(stranger, at(1), 1.0), Err(PushError::StaleSeries));
    batch.expect_last(stranger, Expect::Nothing);
    assert!(matches!(batch.commit(), Err(CommitError::StaleSeries)));
}

/// The worker judges them all between two commits, and there could be as many as memory held.
#[test]
fn the_conditions_of_a_batch_are_bounded() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let with = |conditions: usize| {
        let mut batch = engine.batch();
        batch.push(id, at(conditions as i64), 1.0).unwrap();
        for _ in 0..conditions {
            batch.expect_last(id, Expect::UnchangedSince(SeqNo(100)));
        }
        batch.commit()
    };
    with(Batch::CONDITIONS_MAX).unwrap();
    for many in [Batch::CONDITIONS_MAX + 1, 3 * Batch::CONDITIONS_MAX] {
        let Err(CommitError::TooManyConditions { limit }) = with(many) else { panic!("{many} were judged") };
        assert_eq!(limit, Batch::CONDITIONS_MAX);
    }
    assert_eq!(contents(&engine.snapshot())[&name(1)].len(), 1, "nothing was applied");
}

#[test]
fn a_batch_that_is_given_up_is_not_applied() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    for t in 0..200 {
        let mut batch = engine.batch();
        batch.push(id, at(t), 1.0).unwrap();
        let applied = match batch.commit_within(std::time::Duration::ZERO) {
            Ok(_) => true,
            Err(CommitError::Timeout { .. }) => false,
            Err(e) => panic!("{e}"),
        };
        let there = contents(&engine.snapshot()).get(&name(1)).is_some_and(|s| s.contains_key(&t));
        assert_eq!(there, applied);
    }
    engine.probe(SOON).unwrap();
}

/// A delete that names a series is a change of it: before compaction has carried it out, and afterwards.
#[test]
fn p8_a_delete_is_a_change_that_conditions_see() {
    for carried_out in [false, true] {
        let engine = Engine::in_memory_builder().background_compaction(false).open().unwrap();
        let (a, b) = (series(&engine, 1), series(&engine, 2));
        let last = put(&engine, a, 10, 1.0).last().unwrap();
        put(&engine, a, 5, 0.5);
        let late = put(&engine, a, 6, 0.6).last().unwrap();
        let of_b = put(&engine, b, 10, 1.0).last().unwrap();
        let before = engine.snapshot();
        let unchanged = Expect::UnchangedSince(before.watermark());
        assert_eq!(judge(&engine, a, unchanged), Ok(()));
        assert_eq!(judge(&engine, a, late), Ok(()));
        // Elsewhere, and of a time that has nothing: named is named.
        engine.flush().unwrap();
        let deleted = engine.delete(r#"cpu{host="1"}"#, at(9)..at(100)).unwrap();
        if carried_out {
            engine.compact().unwrap();
            assert_eq!(engine.stats().tombstones, 0);
        }
        assert_eq!(judge(&engine, a, unchanged), Err(Found::Seq(deleted)));
        assert_eq!(judge(&engine, a, late), Err(Found::Seq(deleted)));
        assert_eq!(judge(&engine, a, last), Err(Found::Seq(deleted)));
        assert_eq!(judge(&engine, a, deleted), Ok(()), "what a conflict tells can be gone on from");
        assert_eq!(judge(&engine, a, at(10)), Err(Found::Timestamp(at(6))), "the newest that is left");
        assert_eq!(judge(&engine, a, at(6)), Ok(()));
        assert_eq!(judge(&engine, a, Expect::Nothing), Err(Found::Seq(deleted)), "so can this");
        assert_eq!(judge(&engine, b, unchanged), Ok(()), "another series");
        assert_eq!(judge(&engine, b, of_b), Ok(()));
        engine.delete(r#"cpu{host="1"}"#, tidegauge::TimeRange::ALL).unwrap();
        if carried_out {
            engine.compact().unwrap();
        }
        assert_eq!(judge(&engine, a, Expect::Nothing), Ok(()), "nothing is visible any more");
        put(&engine, a, 1, 1.0);
        assert!(judge(&engine, a, Expect::Nothing).is_err());
        assert!(judge(&engine, a, deleted).is_err());
    }
}

/// A counter that was deleted began anew only after a restart: each try expected that it had never been there.
#[test]
fn p8_increments_go_on_after_their_series_was_deleted() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    for _ in 0..3 {
        for n in 1..4 {
            assert_eq!(engine.increment(id, 1.0, Retry::ONCE).unwrap().value, f64::from(n));
        }
        engine.delete(r#"cpu{host="1"}"#, tidegauge::TimeRange::ALL).unwrap();
    }
}
