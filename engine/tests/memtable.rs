//! P2, P6, P7: what was pushed is what a snapshot holds, in any order, cut at a commit.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use support::{Contents, SOON, at, contents, name, series};
use tidegauge::{BackPressure, Engine, Level, PushError, SeriesSample};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// P6: any age, any order; for one (series, timestamp) the last accepted wins.
    #[test]
    fn p6_any_order_equals_the_naive_twin(
        pushes in prop::collection::vec((0usize..5, prop_oneof![0i64..40, Just(i64::MIN), 0i64..100_000], any::<f64>()), 1..3000),
        batch in 1usize..200,
    ) {
        let engine = Engine::in_memory().unwrap();
        let ids: Vec<_> = (0..5).map(|host| series(&engine, host)).collect();
        let mut appender = engine.appender().unwrap();
        let mut twin = Contents::new();
        let mut ack = None;
        for pushes in pushes.chunks(batch) {
            let samples: Vec<_> = pushes.iter().map(|&(host, t, v)| SeriesSample::new(ids[host], at(t), v)).collect();
            ack = Some(appender.push_batch(&samples).unwrap());
            for &(host, t, v) in pushes {
                twin.entry(name(host)).or_default().insert(t, v.to_bits());
            }
        }
        engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
        prop_assert_eq!(contents(&engine.snapshot()), twin);
    }
}

/// P2: a snapshot taken after `Visible` holds the sample.
#[test]
fn p2_read_your_writes() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut appender = engine.appender().unwrap();
    let mut last = None;
    for t in 0..5_000 {
        let ack = appender.push(id, at(t), t as f64).unwrap();
        let seq = engine.wait(ack, Level::Visible, SOON).unwrap();
        assert!(last < Some(seq));
        last = Some(seq);
        let snapshot = engine.snapshot();
        assert!(snapshot.watermark() >= seq);
        if t % 500 == 0 {
            assert_eq!(contents(&snapshot)[&name(1)].len() as i64, t + 1);
        }
    }
}

/// Also when its thread panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// P7: a snapshot shows one commit, however long it is looked at while pushes go on: batches
/// are whole, and the same answer comes back each time, wherever the samples are by then.
#[test]
fn p7_snapshots_are_cut_at_a_commit_and_stay() {
    let engine = Engine::in_memory_builder().flush_bytes(1 << 16).open().unwrap();
    let ids: Vec<_> = (0..8).map(|host| series(&engine, host)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = SetOnDrop(&done);
            let mut appender = engine.appender().unwrap();
            for t in 0..6_000 {
                // Every series gets the timestamp in the same batch; each tenth comes late.
                let when = if t % 10 == 9 { t - 5 } else { t };
                let batch: Vec<_> = ids.iter().map(|&id| SeriesSample::new(id, at(when), t as f64)).collect();
                let ack = appender.push_batch(&batch).unwrap();
                if t % 8 == 0 {
                    engine.wait(ack, Level::Visible, SOON).unwrap();
                }
            }
        });
        while !done.load(Ordering::Relaxed) {
            let held = engine.snapshot();
            let first = contents(&held);
            let lengths: Vec<usize> = first.values().map(|s| s.len()).collect();
            assert!(lengths.windows(2).all(|w| w[0] == w[1]), "a batch is whole: {lengths:?}");
            engine.flush().unwrap();
            let newer = engine.snapshot();
            assert!(newer.watermark() >= held.watermark());
            assert_eq!(contents(&held), first, "a snapshot does not change");
        }
    });
    let stats = engine.stats();
    assert_eq!(stats.snapshots, 0);
    assert!(stats.flushes > 3, "only {} flushes", stats.flushes);
}

/// P1: the three policies for a full lane; a batch is taken whole or not at all.
#[test]
fn p1_a_full_lane_answers_as_its_appender_asks() {
    let engine = Engine::in_memory_builder().lane_samples(8).open().unwrap();
    let id = series(&engine, 1);
    let batch: Vec<_> = (0..9).map(|t| SeriesSample::new(id, at(t), 0.0)).collect();
    for pressure in [BackPressure::Reject, BackPressure::DropNewest, BackPressure::Block(SOON)] {
        let mut appender = engine.appender_with(pressure).unwrap();
        assert_eq!(appender.push_batch(&batch), Err(PushError::BatchTooLarge { limit: 8 }), "{pressure:?}");
        let mut refused = 0u64;
        for _ in 0..20_000 {
            match appender.push_batch(&batch[..8]) {
                Ok(_) => {}
                Err(PushError::Full) if pressure == BackPressure::Reject => refused += 1,
                Err(PushError::Dropped) if pressure == BackPressure::DropNewest => refused += 1,
                Err(e) => panic!("{pressure:?}: {e}"),
            }
        }
        assert_eq!(refused > 0, !matches!(pressure, BackPressure::Block(_)), "{pressure:?}: {refused} refused");
        if pressure == BackPressure::DropNewest {
            assert_eq!(engine.stats().dropped_samples, refused * 8, "every dropped sample is counted");
        }
    }
}

/// P6: one broken clock cannot spoil the store; P11: what is refused is named.
#[test]
fn p6_a_timestamp_far_ahead_is_refused_and_nothing_of_its_batch_is_taken() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let mut appender = engine.appender().unwrap();
    let ahead = at(tidegauge::now().nanos() + 3_600_000_000_000);
    let refused = appender.push(id, ahead, 1.0).unwrap_err();
    assert!(matches!(&refused, PushError::TooFarAhead { series, .. } if series.to_string() == name(1)), "{refused}");
    let batch = [SeriesSample::new(id, at(1), 1.0), SeriesSample::new(id, ahead, 1.0)];
    assert!(matches!(appender.push_batch(&batch), Err(PushError::TooFarAhead { .. })));
    assert_eq!(engine.stats().refused_ahead, 2, "each is counted");
    let ack = appender.push(id, tidegauge::now(), 2.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    assert_eq!(contents(&engine.snapshot())[&name(1)].len(), 1);
}

#[test]
fn an_id_of_another_engine_is_stale_and_an_appender_outlives_its_engine() {
    let (engine, other) = (Engine::in_memory().unwrap(), Engine::in_memory().unwrap());
    let foreign = series(&other, 1);
    let mut appender = engine.appender().unwrap();
    assert_eq!(appender.push(foreign, at(1), 1.0), Err(PushError::StaleSeries));
    let own = series(&engine, 1);
    let last = appender.push(own, at(1), 1.0).unwrap();
    let kept = engine.clone();
    engine.close().unwrap();
    assert_eq!(appender.push(own, at(2), 1.0), Err(PushError::Closed));
    assert!(kept.wait(last, Level::Visible, SOON).is_ok(), "what was pushed before the close is visible");
    assert_eq!(kept.wait(last, Level::Durable, SOON), Err(tidegauge::WaitError::NotDurable));
}

/// P1: eight appenders and the common lane at once lose nothing and keep each one's order.
#[test]
fn p1_many_appenders_lose_nothing() {
    let engine = Engine::in_memory_builder().lane_samples(1024).open().unwrap();
    let shared = series(&engine, 100);
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let engine = &engine;
            scope.spawn(move || {
                let own = series(engine, thread);
                let mut appender = engine.appender().unwrap();
                let mut ack = None;
                for t in 0..20_000i64 {
                    appender.push(own, at(t), t as f64).unwrap();
                    let stamp = at(t * 8 + thread as i64);
                    ack = Some(if t % 3 == 0 {
                        engine.push(shared, stamp, 1.0).unwrap()
                    } else {
                        appender.push(shared, stamp, 1.0).unwrap()
                    });
                }
                engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
                engine.wait(appender.push(own, at(20_000), 0.0).unwrap(), Level::Visible, SOON).unwrap();
            });
        }
    });
    let all = contents(&engine.snapshot());
    for thread in 0..8 {
        assert_eq!(all[&name(thread)].len(), 20_001);
    }
    assert_eq!(all[&name(100)].len(), 160_000);
    assert_eq!(engine.stats().samples, 320_008);
}
