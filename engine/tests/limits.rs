//! P11 and P12: what is refused at a limit is only what is new, counted and named; and the engine measures itself.

mod support;

use std::time::{Duration, Instant};

use support::{SOON, at, contents, name, series};
use tidegauge::query::promql::ErrorKind;
use tidegauge::query::{Aggregate, Cancel, Limit, QueryError, QueryLimits};
use tidegauge::{
    AppenderError, BackPressure, Durability, Engine, LabelError, LabelLimits, Level, PushError, SeriesError,
    SeriesSample,
};

/// P11: series, labels and appenders: the new one is refused, by a name; what was there goes on.
#[test]
fn p11_at_a_limit_only_the_new_thing_is_refused() {
    let limits = LabelLimits { labels_per_series: 2, name_bytes: 8, value_bytes: 10 };
    let builder = Engine::in_memory_builder().max_series(2).max_appenders(1).label_limits(limits);
    let engine = builder.open().unwrap();
    let known = series(&engine, 1);
    let labels = |pairs: &[(&str, &str)]| match engine.series(pairs) {
        Err(SeriesError::Labels(e)) => e,
        other => panic!("{other:?}"),
    };
    assert_eq!(labels(&[("a", "1"), ("b", "2"), ("c", "3")]), LabelError::TooMany { found: 3, limit: 2 });
    assert!(matches!(labels(&[("too_long_a_name", "1")]), LabelError::NameTooLong { found: 15, limit: 8, .. }));
    assert!(matches!(labels(&[("a", "too long a value")]), LabelError::ValueTooLong { found: 16, limit: 10, .. }));
    assert!(matches!(labels(&[("", "x")]), LabelError::EmptyName { .. }));
    assert_eq!(labels(&[("a", "1"), ("a", "2")]), LabelError::Duplicate { name: "a".into() });
    series(&engine, 2);
    let refused = engine.series(&[("__name__", "cpu"), ("host", "3")]).unwrap_err();
    assert_eq!(refused, SeriesError::TooManySeries { labels: "cpu{host=\"3\"}".into(), limit: 2 });
    assert_eq!(engine.stats().refused_series, 6, "each is counted");
    let mut appender = engine.appender().unwrap();
    assert_eq!(engine.appender().unwrap_err(), AppenderError::TooMany { limit: 1 });
    assert_eq!((series(&engine, 1), engine.stats().series), (known, 2));
    let ack = appender.push(known, at(1), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

/// P11: memory of lanes and memtables is bounded: what does not fit is felt by whoever pushes, and nothing is lost.
#[test]
fn p11_memory_is_bounded_by_back_pressure() {
    const FLUSH: u64 = 1 << 16;
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path()).durability(Durability::Memory).flush_bytes(FLUSH).lane_samples(256);
    let engine = builder.open().unwrap();
    let ids: Vec<_> = (0..16).map(|host| series(&engine, host)).collect();
    let mut appender = engine.appender_with(BackPressure::Reject).unwrap();
    let (mut refused, mut most, mut last) = (0, 0, None);
    for i in 0..200_000i64 {
        let sample = |of: usize| SeriesSample::new(ids[of], at(i), (i as f64).sqrt());
        match appender.push_batch(&[sample(i as usize % 16), sample((i as usize + 5) % 16)]) {
            Ok(ack) => last = Some(ack),
            Err(PushError::Full) => refused += 2,
            Err(e) => panic!("{e}"),
        }
        if i % 1_000 == 0 {
            most = most.max(engine.stats().memtable_bytes);
        }
    }
    engine.wait(last.unwrap(), Level::Visible, SOON).unwrap();
    // Three memtables, and what a commit and the tails that just began bring beyond.
    assert!(most <= 4 * FLUSH, "{most} bytes of memtables");
    let stats = engine.stats();
    assert!(refused > 0, "the lane was never full");
    assert_eq!(stats.samples + refused, 400_000, "each is taken or refused");
    assert_eq!(stats.lane_full_events * 2, refused, "and counted");
    let stored: usize = contents(&engine.snapshot()).values().map(|samples| samples.len()).sum();
    assert_eq!(stored as u64, stats.samples);
}

/// P11: a query that asks for too much is stopped, by name; the next one is answered.
#[test]
fn p11_a_query_beyond_its_limit_stops_itself_only() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 1);
    let batch: Vec<_> = (0..5_000).map(|t| SeriesSample::new(id, at(t), 1.0)).collect();
    let ack = engine.push_batch(&batch).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    let snapshot = engine.snapshot();
    let count = |limits: QueryLimits| {
        // Something that statistics of chunks cannot answer.
        let all = snapshot.select("cpu").unwrap().limits(limits).range(tidegauge::TimeRange::new(at(1), at(4_999)));
        all.aggregate(Aggregate::Count).every(Duration::from_nanos(7)).run()
    };
    let few = QueryLimits { samples: 100, ..QueryLimits::DEFAULT };
    assert!(matches!(count(few), Err(QueryError::LimitExceeded { which: Limit::Samples, .. })), "{:?}", count(few));
    let table = count(QueryLimits::DEFAULT).unwrap();
    assert_eq!(table.series[0].values.iter().sum::<f64>(), 4_998.0);
}

/// P11: what all queries together hold is bounded: the one that would go beyond is refused, by name and counted, and
/// answered once others have ended.
#[test]
fn p11_all_queries_together_have_one_bound() {
    const BOUND: u64 = 1 << 20;
    let engine = Engine::in_memory_builder().query_memory_bytes(BOUND).open().unwrap();
    let id = series(&engine, 1);
    let batch: Vec<_> = (0..20_000).map(|t| SeriesSample::new(id, at(t), 1.0)).collect();
    let ack = engine.push_batch(&batch).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    let snapshot = engine.snapshot();
    // What somebody else holds: an answer that is not read to its end.
    let other = snapshot.budget(QueryLimits::DEFAULT, Cancel::new());
    let held = other.hold(BOUND - 1_000).unwrap();
    assert_eq!(engine.stats().query_memory_bytes, BOUND - 1_000);

    let raw = || snapshot.promql("cpu[1h]").at(at(20_000));
    let refused = raw().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("all running queries together would hold more than 1048576 bytes"));
    let windows = || {
        let all = snapshot.select("cpu")?.range(tidegauge::TimeRange::new(at(1), at(19_999)));
        Ok::<_, tidegauge::SelectError>(all.aggregate(Aggregate::Count).every(Duration::from_nanos(7)).run()?)
    };
    let refused = windows().unwrap_err().to_string();
    assert!(refused.contains("all running queries together"), "{refused}");
    // Limits of its own do not take it out.
    let unbounded = snapshot.promql("cpu[1h]").limits(QueryLimits::NONE).at(at(20_000)).unwrap_err();
    assert_eq!(unbounded.kind(), ErrorKind::Unavailable);
    let stats = engine.stats();
    assert_eq!((stats.refused_queries, stats.query.count), (3, 0));

    drop(held);
    raw().unwrap();
    windows().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.refused_queries, stats.query.count), (3, 2), "a refusal is no answer");
    assert!(stats.query.p50 > 0 && stats.query.p50 <= stats.query.max);
    assert_eq!((stats.query_memory_bytes, stats.query_memory_bytes_max), (0, BOUND), "all of it came back");
    assert!((BOUND - 1_000..=BOUND).contains(&stats.query_memory_bytes_peak));
    let none = Engine::in_memory_builder().query_memory_bytes(1_000).open().unwrap_err().to_string();
    assert!(none.contains("query_memory_bytes") && none.contains("1 MiB"), "{none}");
}

/// P12: after a known load each figure is what it must be.
#[test]
fn p12_it_measures_itself() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path()).durability(Durability::Sync).lane_samples(1 << 14);
    let engine = builder.open().unwrap();
    let fresh = engine.stats();
    assert_eq!((fresh.samples, fresh.series, fresh.push.count, fresh.lanes), (0, 0, 0, 1));
    let (hot, cold) = (series(&engine, 1), series(&engine, 2));
    let mut appender = engine.appender().unwrap();
    let mut ack = None;
    for t in 0..10_240 {
        ack = Some(appender.push(if t % 1_000 == 0 { cold } else { hot }, at(t), 1.5).unwrap());
    }
    engine.wait(ack.unwrap(), Level::Durable, SOON).unwrap();
    let held = engine.snapshot();
    let stats = engine.stats();
    assert_eq!((stats.samples, stats.series, stats.memtable_samples), (10_240, 2, 10_240));
    assert_eq!((stats.push.count, stats.lanes, stats.lane_depth), (10, 2, 0), "one push in 1,024 is timed");
    assert!(stats.push.p50 > 0 && stats.push.p50 <= stats.push.p99 && stats.push.p99 <= stats.push.max);
    assert!(stats.commits > 0 && stats.wal_bytes > 100 && stats.memtable_bytes > 1_000);
    assert_eq!(stats.visible_seq, fresh.visible_seq + 10_240);
    assert_eq!(stats.durable_seq, stats.visible_seq, "no lag once it is durable");
    assert!(stats.fdatasync.count > 0 && stats.fdatasync.p50 > 0);
    assert_eq!((stats.snapshots, stats.flushes), (1, 0));
    assert_eq!(stats.hottest_series[0].labels.to_string(), name(1));

    engine.wait(appender.push(hot, at(20_000), 1.0).unwrap(), Level::Visible, SOON).unwrap();
    assert!(engine.stats().oldest_snapshot_commits >= 1, "a long pin shows");
    drop(held);
    engine.flush().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.snapshots, stats.flushes, stats.flushed_samples), (0, 1, 10_241));
    assert_eq!((stats.memtable_samples, stats.sealed_memtables), (0, 0));
    assert_eq!((stats.segments, stats.segment_samples), (1, 10_241));
    assert!(stats.flushed_bytes == stats.segment_bytes && stats.flush_nanos > 0);
    let on_disk: u64 = std::fs::read_dir(dir.path().join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(stats.segment_bytes, on_disk);

    let rejecting = Instant::now();
    let mut full = engine.appender_with(BackPressure::DropNewest).unwrap();
    let batch = vec![SeriesSample::new(hot, at(1), 1.0); 1 << 14];
    let mut dropped = 0;
    while dropped == 0 {
        assert!(rejecting.elapsed() < SOON, "never full");
        dropped += u64::from(full.push_batch(&batch) == Err(PushError::Dropped)) << 14;
    }
    let stats = engine.stats();
    assert_eq!(stats.dropped_samples, dropped);
    assert!(stats.lane_full_events >= 1);
}
