//! Series that come and go: what is stored, which ids are stale, and what stays in memory.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{Contents, SOON, at, contents, copy_dir, name, series};
use tidegauge::internals::evict_idle;
use tidegauge::{
    Ack, Appender, Builder, CommitError, Delivery, Durability, Engine, Expect, IncrementError, LastError, Level,
    PushError, Retry, SeqNo, SeriesId, SeriesSample, Snapshot,
};

const SERIES: usize = 8;

#[derive(Clone, Debug)]
enum Act {
    Resolve(usize),
    /// Series, timestamp; by appender, the common lane, a batch, or one with a condition: nothing since a snapshot, or
    /// the number of the last sample as a batch told it.
    Push(usize, i64, u8),
    Flush,
    Evict,
    /// Keep a snapshot, and look at it at the end.
    Hold,
    Look,
    Last(usize),
    /// As after kill -9: what the directory holds is opened.
    Crash,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..SERIES).prop_map(Act::Resolve),
        16 => (0..SERIES, 0..30i64, 0..5u8).prop_map(|(series, at, how)| Act::Push(series, at, how)),
        5 => Just(Act::Flush),
        6 => Just(Act::Evict),
        1 => Just(Act::Hold),
        2 => Just(Act::Look),
        4 => (0..SERIES).prop_map(Act::Last),
        1 => Just(Act::Crash),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..60)
}

/// The naive twin: what is stored, and which ids are good.
#[derive(Default)]
struct Twin {
    stored: Contents,
    ids: BTreeMap<usize, SeriesId>,
    stale: Vec<SeriesId>,
    /// Series with samples that are in no segment.
    unflushed: BTreeSet<usize>,
    /// The number of each series' last sample, where a batch told it.
    last: BTreeMap<usize, SeqNo>,
}

struct Store {
    dir: tempfile::TempDir,
    engine: Engine,
    appender: Appender,
    held: Vec<(Snapshot, Contents)>,
}

fn builder(dir: &std::path::Path) -> Builder {
    Engine::builder(dir).durability(Durability::DEFAULT).series_idle(None).max_series(SERIES)
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = builder(dir.path()).open().unwrap();
        Self { appender: engine.appender().unwrap(), engine, dir, held: vec![] }
    }

    /// Answers the sample's number too, if that is told.
    fn push(&mut self, id: SeriesId, time: i64, value: f64, how: u8, last: Option<SeqNo>) -> (Ack, Option<SeqNo>) {
        match how {
            0 => (self.appender.push(id, at(time), value).unwrap(), None),
            1 => (self.engine.push(id, at(time), value).unwrap(), None),
            how => {
                let mut batch = self.engine.batch();
                batch.push(id, at(time), value).unwrap();
                let expected = match (how, last) {
                    (3, _) => Some(Expect::UnchangedSince(self.engine.snapshot().watermark())),
                    (4, Some(last)) => Some(Expect::Seq(last)),
                    _ => None,
                };
                if let Some(expected) = expected {
                    batch.expect_last(id, expected);
                }
                let committed = batch.commit().unwrap();
                (committed.ack(), committed.last())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn evictions_change_nothing_but_ids(acts in acts()) {
        let (mut store, mut twin) = (Store::new(), Twin::default());
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Resolve(i) => {
                    let id = series(&store.engine, i);
                    let known = twin.ids.insert(i, id);
                    prop_assert!(known.is_none_or(|known| known == id), "its id changed while it was good");
                    prop_assert!(!twin.stale.contains(&id), "an id came back");
                }
                Act::Push(i, time, how) => {
                    let id = *twin.ids.entry(i).or_insert_with(|| series(&store.engine, i));
                    prop_assert!(!twin.stale.contains(&id), "an id came back");
                    let (ack, last) = store.push(id, time, n as f64, how, twin.last.remove(&i));
                    twin.last.extend(last.map(|last| (i, last)));
                    store.engine.wait(ack, Level::Visible, SOON).unwrap();
                    twin.stored.entry(name(i)).or_default().insert(time, (n as f64).to_bits());
                    twin.unflushed.insert(i);
                }
                Act::Flush => {
                    store.engine.flush().unwrap();
                    twin.unflushed.clear();
                }
                Act::Evict => {
                    evict_idle(&store.engine);
                    let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
                        std::mem::take(&mut twin.ids).into_iter().partition(|(i, _)| twin.unflushed.contains(i));
                    for id in gone.into_values() {
                        prop_assert_eq!(store.appender.push(id, at(1), 0.0), Err(PushError::StaleSeries));
                        prop_assert_eq!(store.engine.push(id, at(1), 0.0), Err(PushError::StaleSeries));
                        prop_assert_eq!(store.engine.batch().push(id, at(1), 0.0), Err(PushError::StaleSeries));
                        prop_assert!(matches!(store.engine.last(id), Err(LastError::StaleSeries)));
                        let incremented = store.engine.increment(id, 1.0, Retry::ONCE);
                        let stale = IncrementError::Push(PushError::StaleSeries);
                        prop_assert_eq!(incremented.unwrap_err().to_string(), stale.to_string());
                        let mut batch = store.engine.batch();
                        batch.expect_last(id, Expect::Nothing);
                        prop_assert!(matches!(batch.commit(), Err(CommitError::StaleSeries)));
                        twin.stale.push(id);
                    }
                    prop_assert_eq!(store.engine.stats().series, twin.unflushed.len() as u64);
                    twin.ids = stay;
                }
                Act::Hold => store.held.push((store.engine.snapshot(), twin.stored.clone())),
                Act::Look => prop_assert_eq!(contents(&store.engine.snapshot()), twin.stored.clone()),
                Act::Last(i) => {
                    let newest = twin.stored.get(&name(i)).and_then(|samples| samples.last_key_value());
                    let labels = [("__name__", "cpu"), ("host", &i.to_string())];
                    let plain = |last: tidegauge::Last| (last.timestamp.nanos(), last.value.to_bits());
                    let expected = newest.map(|(at, value)| (*at, *value));
                    prop_assert_eq!(store.engine.last_of(&labels).unwrap().map(plain), expected);
                    if let Some(id) = twin.ids.get(&i) {
                        prop_assert_eq!(store.engine.last(*id).unwrap().map(plain), expected);
                    }
                }
                Act::Crash => {
                    let copy = tempfile::tempdir().unwrap();
                    copy_dir(store.dir.path(), copy.path());
                    let engine = builder(copy.path()).open().unwrap();
                    prop_assert_eq!(contents(&engine.snapshot()), twin.stored.clone());
                    engine.close().unwrap();
                }
                Act::Reopen => {
                    drop(store.appender);
                    store.engine.close().unwrap();
                    store.engine = builder(store.dir.path()).open().unwrap();
                    store.appender = store.engine.appender().unwrap();
                    twin.stale.extend(std::mem::take(&mut twin.ids).into_values());
                    twin.unflushed.clear();
                    for id in &twin.stale {
                        prop_assert_eq!(store.appender.push(*id, at(1), 0.0), Err(PushError::StaleSeries));
                    }
                }
            }
        }
        prop_assert_eq!(contents(&store.engine.snapshot()), twin.stored.clone());
        for (snapshot, expected) in &store.held {
            prop_assert_eq!(&contents(snapshot), expected);
        }
    }
}

/// A thread that is not run for longer than a series may be idle finds what it has just resolved evicted.
fn push_alive(engine: &Engine, appender: &mut Appender, labels: &[(&str, &str)], nanos: i64, value: f64) {
    while let Err(e) = appender.push(engine.series(labels).unwrap(), at(nanos), value) {
        assert_eq!(e, PushError::StaleSeries);
    }
}

/// P11 counts what is active: fifty generations of pods come and go under a limit of five.
#[test]
fn p11_churn_passes_under_a_limit_of_active_series() {
    const OF_A_GENERATION: usize = 2_000;
    const MAX: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::builder(dir.path()).max_series(MAX).series_idle(Some(Duration::from_millis(5))).open().unwrap();
    let mut appender = engine.appender().unwrap();
    for generation in 0..50 {
        for pod in 0..OF_A_GENERATION {
            let labels = [("__name__", "up"), ("generation", &generation.to_string()), ("pod", &pod.to_string())];
            push_alive(&engine, &mut appender, &labels, generation * 1_000, pod as f64);
        }
        engine.probe(SOON).unwrap();
        // As a store does that is pushed to for hours meanwhile.
        let began = Instant::now();
        // Room for the next generation, and for the clock.
        while engine.stats().series as usize >= MAX - OF_A_GENERATION {
            assert!(began.elapsed() < SOON, "nothing is evicted: {:?}", engine.stats());
            push_alive(&engine, &mut appender, &[("__name__", "clock")], generation, 0.0);
            std::thread::yield_now();
        }
    }
    let stats = engine.stats();
    assert_eq!(stats.refused_series, 0);
    assert!(stats.series_evicted as usize >= 50 * OF_A_GENERATION - MAX, "{stats:?}");
    // Those that an eviction has just taken come on top.
    assert!(tidegauge::internals::slots(&engine) as usize <= 2 * MAX, "places in memory are given again");
    engine.flush().unwrap();
    let found = engine.snapshot().select("up").unwrap();
    assert_eq!(found.iter().count(), 50 * OF_A_GENERATION, "all that was stored is found");
    engine.close().unwrap();
}

/// The values of a batch whose series was evicted between its filling and its commit.
#[test]
fn a_batch_of_a_series_that_was_evicted_meanwhile_is_refused_whole() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let (idle, busy) = (series(&engine, 0), series(&engine, 1));
    let mut batch = engine.batch();
    batch.push(idle, at(1), 1.0).unwrap();
    batch.push(busy, at(1), 1.0).unwrap();
    assert_eq!(evict_idle(&engine), 2);
    assert!(matches!(batch.commit(), Err(CommitError::StaleSeries)));
    assert!(contents(&engine.snapshot()).is_empty());
}

/// Labels of what was selected before an eviction are those of the samples.
#[test]
fn a_selection_made_before_an_eviction_is_read_after_it() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let id = series(&engine, 3);
    engine.wait(engine.push(id, at(1), 1.0).unwrap(), Level::Visible, SOON).unwrap();
    let (early, snapshot) = (engine.snapshot().select("cpu").unwrap(), engine.snapshot());
    engine.flush().unwrap();
    assert_eq!(evict_idle(&engine), 1);
    let other = series(&engine, 4);
    engine.wait(engine.push(other, at(2), 2.0).unwrap(), Level::Visible, SOON).unwrap();
    for selection in [early, snapshot.select("cpu").unwrap()] {
        assert_eq!(selection.len(), 1);
        let series = selection.series(0);
        assert_eq!((series.labels().get("host"), series.read().unwrap().timestamps), (Some("3"), vec![1]));
    }
}

/// Everything that asks by labels finds a series that left memory through segments, as if it had stayed.
#[test]
fn what_left_memory_is_found_by_every_way_that_asks_for_labels() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(dir.path()).open().unwrap();
    let ids: Vec<_> = (0..4).map(|i| series(&engine, i)).collect();
    for (i, id) in ids.iter().enumerate() {
        let (early, late) = (at(10 + i as i64), at(5_000_000_000 + i as i64));
        let ack = engine.push_batch(&[SeriesSample::new(*id, early, 1.0), SeriesSample::new(*id, late, i as f64)]);
        engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
    }
    let look = || {
        let snapshot = engine.snapshot();
        let mut values = BTreeSet::new();
        for source in snapshot.sources() {
            let mut take = |value: &str| {
                values.insert(value.to_owned());
                true
            };
            source.label_values("host", &mut take).unwrap();
        }
        let selected: BTreeSet<String> =
            snapshot.select("cpu").unwrap().iter().map(|series| series.labels().to_string()).collect();
        let sum = snapshot.promql("sum(cpu)").at(at(6_000_000_000)).unwrap();
        let last = engine.last_of(&[("__name__", "cpu"), ("host", "2")]).unwrap().map(|last| last.value);
        let count = engine.count_matching("cpu{host=~\"1|2\"}", at(0)..at(i64::MAX)).unwrap();
        (values, selected, format!("{sum:?}"), last, count)
    };
    engine.flush().unwrap();
    let before = look();
    assert_eq!((before.0.len(), before.1.len(), before.3), (4, 4, Some(2.0)));
    assert!(before.2.contains('6'), "{}", before.2);
    assert_eq!((evict_idle(&engine), engine.stats().series), (4, 0));
    assert_eq!(look(), before);
    // Known again, from the beginning: one series with what is stored.
    let again = series(&engine, 2);
    assert!(!ids.contains(&again));
    assert_eq!(engine.last(again).unwrap().map(|last| last.value), Some(2.0));
    assert_eq!(look(), before);
    // A condition on what is stored holds for the new id; an increment goes on from it.
    let done = engine.increment(again, 1.5, Retry::ONCE).unwrap();
    engine.wait(done.committed.ack(), Level::Visible, SOON).unwrap();
    assert_eq!(engine.last(again).unwrap().map(|last| last.value), Some(3.5));
}

/// A subscription goes on over evictions: what it wants is known by labels, not by the place of a series in memory.
#[test]
fn a_subscription_gets_what_it_wants_and_nothing_of_the_next_series_in_a_slot() {
    let engine = Engine::in_memory_builder().series_idle(None).open().unwrap();
    let mut wanted = engine.subscribe("cpu{host=\"0\"}").unwrap();
    let push = |i: usize, time: i64| {
        let id = series(&engine, i);
        engine.wait(engine.push(id, at(time), i as f64).unwrap(), Level::Visible, SOON).unwrap();
        engine.flush().unwrap();
        id
    };
    let (first, mut slots) = (push(0, 1), 0);
    for round in 0..3 {
        slots += evict_idle(&engine);
        // It gets the slot that the wanted one had.
        push(1, 10 + round);
        assert_eq!(evict_idle(&engine), 1);
        assert_ne!(push(0, 20 + round), first);
    }
    assert_eq!((slots, tidegauge::internals::slots(&engine)), (3, 1));
    let mut got = vec![];
    while let Some(delivery) = wanted.try_recv().unwrap() {
        let Delivery::Commit { samples, .. } = delivery else { panic!("missed") };
        got.extend(samples.iter().map(|sample| (sample.timestamp().nanos(), sample.value())));
    }
    assert_eq!(got, [(1, 0.0), (20, 0.0), (21, 0.0), (22, 0.0)]);
}

/// A reader beside the owner evicts when it refreshes: it keeps what is in the log, and finds the rest in segments.
#[test]
fn a_reader_beside_the_owner_does_not_keep_what_came_and_went() {
    const OF_A_GENERATION: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let owner = Engine::builder(dir.path()).series_idle(None).open().unwrap();
    let beside =
        Engine::builder(dir.path()).read_only(true).series_idle(Some(Duration::from_millis(1))).open().unwrap();
    let (mut held, mut ids) = (vec![], vec![]);
    for generation in 0..12usize {
        let hosts = generation * OF_A_GENERATION..(generation + 1) * OF_A_GENERATION;
        for host in hosts.clone() {
            owner.push(series(&owner, host), at(generation as i64), host as f64).unwrap();
        }
        owner.probe(SOON).unwrap();
        // In the log first, then in a segment; the generation before goes meanwhile.
        for _ in 0..2 {
            beside.refresh().unwrap();
            let all = contents(&beside.snapshot());
            assert_eq!(all, contents(&owner.snapshot()));
            held.push((beside.snapshot(), all));
            let id = series(&beside, hosts.start);
            assert_eq!(beside.last(id).unwrap().map(|last| last.value), Some(hosts.start as f64));
            ids.push(id);
            owner.flush().unwrap();
        }
        let began = Instant::now();
        while beside.stats().series as usize > 2 * OF_A_GENERATION {
            assert!(began.elapsed() < SOON, "nothing is evicted: {:?}", beside.stats());
            beside.refresh().unwrap();
        }
    }
    assert!(tidegauge::internals::slots(&beside) as usize <= 4 * OF_A_GENERATION, "places in memory are given again");
    assert!(matches!(beside.last(ids[0]), Err(LastError::StaleSeries)));
    assert_eq!(contents(&beside.snapshot()).len(), 12 * OF_A_GENERATION);
    for (snapshot, all) in &held {
        assert_eq!(&contents(snapshot), all);
    }
}
