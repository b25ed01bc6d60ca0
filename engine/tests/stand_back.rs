//! Where more comes in than the worker keeps up with, queries leave processors to it; else they do not.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use tidegauge::query::Aggregate;
use tidegauge::{BackPressure, Engine, Level, SeriesSample, Timestamp};

const LANE: usize = 1 << 12;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn queries_stand_back_while_lanes_are_full_and_answer_the_same() {
    let engine = Engine::in_memory_builder().lane_samples(LANE).open().unwrap();
    let ids: Vec<_> =
        (0..64).map(|i| engine.series(&[("__name__", "x"), ("i", &format!("{i:02}"))]).unwrap()).collect();
    let mut appender = engine.appender_with(BackPressure::Block(PATIENCE)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut pushed, mut paused) = (0_i64, 0);
    // Pushed without a pause, half a lane at a time, until a query has met that.
    while paused == 0 {
        assert!(Instant::now() < deadline, "no query was ever paused: {:?}", engine.stats());
        let mut ack = None;
        for _ in 0..64 {
            let batch: Vec<_> = (0..LANE / 2)
                .map(|i| {
                    let (series, tick) = (i % ids.len(), pushed + (i / ids.len()) as i64);
                    SeriesSample::new(ids[series], Timestamp::from_nanos(tick), 1.0)
                })
                .collect();
            pushed += (batch.len() / ids.len()) as i64;
            ack = Some(appender.push_batch(&batch).unwrap());
            if engine.stats().queries_stand_back {
                break;
            }
        }
        engine.wait(ack.unwrap(), Level::Visible, PATIENCE).unwrap();
        let counted = engine.snapshot().select("x").unwrap().aggregate(Aggregate::Count).group_all().run().unwrap();
        assert_eq!(counted.series[0].values, [pushed as f64 * ids.len() as f64]);
        paused = engine.stats().query_paused_nanos;
    }
    // Nobody pushes any more: it ends by itself.
    while engine.stats().queries_stand_back {
        assert!(Instant::now() < deadline, "queries stand back for nobody");
        std::thread::yield_now();
    }
    paused = engine.stats().query_paused_nanos;
    for _ in 0..10 {
        engine.snapshot().select("x").unwrap().aggregate(Aggregate::Count).run().unwrap();
    }
    assert_eq!(engine.stats().query_paused_nanos, paused);
}
