//! P6 over chunks: what a flush takes over encoded, and what it merges.

mod support;

use std::time::Instant;

use proptest::prelude::*;
use support::{Contents, SOON, at, contents, name, series};
use tidegauge::{Appender, Durability, Engine, Level, SeriesId, SeriesSample};

/// Samples of a chunk in a segment, and of a full tail in a memtable.
const CHUNK: i64 = 4096;
const TAIL: i64 = 1024;

fn open(dir: &std::path::Path) -> Engine {
    Engine::builder(dir).durability(Durability::Memory).background_compaction(false).open().unwrap()
}

fn push(engine: &Engine, appender: &mut Appender, samples: &[SeriesSample]) {
    let mut ack = None;
    for batch in samples.chunks(1_000) {
        ack = Some(appender.push_batch(batch).unwrap());
        engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
    }
    assert!(ack.is_some());
}

/// Pushes `(timestamp, value)` in this order, flushes, and answers the segments and chunks that came of it.
fn flushed(order: &[(i64, f64)]) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let id = series(&engine, 1);
    let samples: Vec<_> = order.iter().map(|&(t, v)| SeriesSample::new(id, at(t), v)).collect();
    push(&engine, &mut engine.appender().unwrap(), &samples);
    let twin: Contents = [(name(1), order.iter().map(|&(t, v)| (t, v.to_bits())).collect())].into();
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.flush().unwrap();
    assert_eq!(contents(&engine.snapshot()), twin);
    let stats = engine.stats();
    assert_eq!(stats.segment_samples, twin[&name(1)].len() as u64);
    engine.close().unwrap();
    let report = tidegauge::admin::verify(dir.path(), |_, _| ()).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    (stats.segments, stats.chunks)
}

fn root(t: i64) -> (i64, f64) {
    (t, (t as f64).sqrt())
}

#[test]
fn a_series_in_order_is_flushed_in_full_chunks() {
    for count in [1, 24, 25, TAIL, TAIL + 1, CHUNK, CHUNK + 7, 3 * CHUNK + TAIL, 50_000] {
        let order: Vec<_> = (0..count).map(root).collect();
        assert_eq!(flushed(&order), (1, (count as u64).div_ceil(CHUNK as u64)), "{count} samples");
    }
}

/// Nobody could see that the memory of a process with old snapshots is theirs.
#[test]
fn snapshots_held_through_flushes_keep_their_memtables_and_the_statistics_tell() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (id, mut appender) = (series(&engine, 1), engine.appender().unwrap());
    let (mut held, mut before) = (Vec::new(), 0);
    for round in 0..3 {
        let samples: Vec<_> = (round * 5_000..(round + 1) * 5_000).map(root).collect();
        push(
            &engine,
            &mut appender,
            &samples.iter().map(|&(t, v)| SeriesSample::new(id, at(t), v)).collect::<Vec<_>>(),
        );
        held.push(engine.snapshot());
        engine.flush().unwrap();
        let stats = engine.stats();
        assert!(stats.pinned_memtable_bytes > before + 5_000, "{} after {before}", stats.pinned_memtable_bytes);
        assert_eq!((stats.memtable_samples, stats.sealed_memtables), (0, 0));
        before = stats.pinned_memtable_bytes;
    }
    drop(held);
    // The flusher has the last one for a moment longer.
    let deadline = Instant::now() + SOON;
    while engine.stats().pinned_memtable_bytes > 0 {
        assert!(Instant::now() < deadline, "kept by nobody");
        std::thread::yield_now();
    }
}

/// What falls between is merged, and the rest is not touched: a sample that came late costs one chunk, no segment.
#[test]
fn late_samples_that_lie_between_join_the_rest() {
    let ahead = |count: i64| (0..count).map(|i| root(2 * i));
    // Between, over a sample that was there, at the borders of tails and of chunks.
    for late in [[3, 4], [0, 1], [2 * TAIL - 1, 2 * TAIL], [2 * CHUNK - 1, 2 * CHUNK], [2 * 9_999, 2 * CHUNK - 2]] {
        let order: Vec<_> = ahead(10_000).chain(late.map(|t| (t, -1.0))).collect();
        let (segments, chunks) = flushed(&order);
        assert_eq!(segments, 1, "{late:?}");
        assert!(chunks <= 4, "{chunks} chunks, late are {late:?}");
    }
    let order: Vec<_> = ahead(50_000).chain((0..20_000).map(|i| root(2 * i + 1))).collect();
    assert_eq!(flushed(&order), (1, 70_000u64.div_ceil(CHUNK as u64)));
}

/// What is older than all that came in order goes to a segment of its own, lest it makes the other wide.
#[test]
fn older_samples_keep_a_segment_of_their_own() {
    let order: Vec<_> = (1_000..6_000).chain([999, 1_000, 3, 2_500]).map(root).collect();
    assert_eq!(flushed(&order), (2, 3));
}

#[derive(Clone, Debug)]
enum Step {
    /// So many samples, each newer than all before.
    Ahead(i64),
    /// So many samples, from so far behind the newest on, at this distance: some fall on others.
    Behind(i64, i64, i64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![1i64..30, Just(TAIL), Just(CHUNK), 900i64..5_000].prop_map(Step::Ahead),
        4 => (prop_oneof![0i64..40, 0i64..60_000], prop_oneof![1i64..5, 1i64..2_000], prop_oneof![Just(1i64), Just(10), Just(15)])
            .prop_map(|(back, count, stride)| Step::Behind(back, count, stride)),
        1 => Just(Step::Flush),
    ]
}

struct Store {
    engine: Engine,
    appender: Appender,
    ids: Vec<SeriesId>,
    newest: Vec<i64>,
    twin: Contents,
    pushed: u64,
}

impl Store {
    fn push(&mut self, host: usize, times: impl Iterator<Item = i64>) {
        let samples: Vec<_> = times
            .map(|t| {
                self.pushed += 1;
                let value = (self.pushed % 977) as f64 / 4.0;
                self.twin.entry(name(host)).or_default().insert(t, value.to_bits());
                SeriesSample::new(self.ids[host], at(t), value)
            })
            .collect();
        push(&self.engine, &mut self.appender, &samples);
    }

    fn take(&mut self, host: usize, step: &Step) {
        let newest = self.newest[host];
        match *step {
            Step::Ahead(count) => {
                self.push(host, (1..=count).map(|i| newest + 10 * i));
                self.newest[host] = newest + 10 * count;
            }
            Step::Behind(back, count, stride) => {
                self.push(host, (0..count).map(|i| (newest - back + i * stride).min(newest)));
            }
            Step::Flush => self.engine.flush().unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// P6: the same before and after a flush, a compaction and a new life, over borders of chunks too.
    #[test]
    fn p6_flushed_chunks_equal_the_naive_twin(steps in prop::collection::vec((0usize..3, step()), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let ids = (0..3).map(|host| series(&engine, host)).collect();
        let appender = engine.appender().unwrap();
        let mut store = Store { engine, appender, ids, newest: vec![0; 3], twin: Contents::new(), pushed: 0 };
        for (host, step) in &steps {
            store.take(*host, step);
            if matches!(step, Step::Flush) {
                prop_assert_eq!(contents(&store.engine.snapshot()), store.twin.clone());
            }
        }
        prop_assert_eq!(contents(&store.engine.snapshot()), store.twin.clone());
        store.engine.flush().unwrap();
        prop_assert_eq!(contents(&store.engine.snapshot()), store.twin.clone(), "flushed");
        store.engine.compact().unwrap();
        prop_assert_eq!(contents(&store.engine.snapshot()), store.twin.clone(), "compacted");
        let Store { engine, appender, twin, .. } = store;
        drop(appender);
        engine.close().unwrap();
        prop_assert_eq!(contents(&open(dir.path()).snapshot()), twin, "after a new opening");
    }
}
