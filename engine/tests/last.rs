//! The last value of a series, by handle and by labels, is what reading everything would find.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidegauge::{
    CommitError, Engine, Expect, IncrementError, LabelLimits, Last, LastError, Level, Matcher, PushError, Retry,
    RetryError, Sample, Timestamp,
};

const SECOND: i64 = 1_000_000_000;

fn sample(at: i64, value: f64) -> Option<Sample> {
    Some(Sample { timestamp: Timestamp::from_nanos(at), value })
}

fn plain<E: std::fmt::Debug>(last: Result<Option<Last>, E>) -> Option<Sample> {
    last.unwrap().map(|Last { timestamp, value, .. }| Sample { timestamp, value })
}

#[derive(Clone, Debug)]
enum Act {
    /// Series, timestamp.
    Push(usize, i64),
    Flush,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // Few timestamps, so that they repeat; and runs, so that tails fill up.
    let push = (0..3usize, 0..40i64).prop_map(|(series, at)| vec![Act::Push(series, at * SECOND)]);
    let run = (0..3usize, 0..3000i64, 900..1200i64)
        .prop_map(|(series, from, n)| (0..n).map(|i| Act::Push(series, (from + i) * SECOND)).collect());
    let act = prop_oneof![20 => push, 1 => run, 2 => Just(vec![Act::Flush])];
    prop::collection::vec(act, 1..60).prop_map(|acts| acts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_last_value_is_the_last_accepted_of_the_latest_time(acts in acts()) {
        let engine = Engine::in_memory().unwrap();
        let names = ["a", "b", "c"];
        let ids = names.map(|name| engine.series(&[("__name__", "x"), ("i", name)]).unwrap());
        let mut model = [const { BTreeMap::new() }; 3];
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Push(series, at) => {
                    let ack = engine.push(ids[series], Timestamp::from_nanos(at), n as f64).unwrap();
                    model[series].insert(at, n as f64);
                    if n % 7 == 0 {
                        engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
                        let (at, value) = model[series].last_key_value().unwrap();
                        prop_assert_eq!(plain(engine.last(ids[series])), sample(*at, *value));
                    }
                }
                Act::Flush => engine.flush().unwrap(),
            }
        }
        // A flush waits for what is visible only.
        let ack = engine.push(ids[0], Timestamp::from_nanos(-1), 0.0).unwrap();
        model[0].insert(-1, 0.0);
        engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
        for (i, id) in ids.into_iter().enumerate() {
            let expected = model[i].last_key_value().and_then(|(at, value)| sample(*at, *value));
            prop_assert_eq!(plain(engine.last(id)), expected);
            prop_assert_eq!(plain(engine.last_of(&[("i", names[i]), ("__name__", "x")])), expected);
            let snapshot = engine.snapshot();
            prop_assert_eq!(snapshot.last_of(&[("i", names[i]), ("__name__", "x")]).unwrap(), expected);
            prop_assert_eq!(snapshot.last(id).unwrap(), expected, "by its id");
            let selection = engine.snapshot().select(&format!("x{{i=\"{}\"}}", names[i])).unwrap();
            let found = selection.last().unwrap().first().copied().flatten();
            prop_assert_eq!(found, expected);
        }
    }
}

/// Some in the open tail, others in sealed chunks of late samples.
#[test]
fn of_late_samples_of_the_latest_time_the_last_accepted_counts() {
    let engine = Engine::in_memory().unwrap();
    let id = engine.series(&[("__name__", "x")]).unwrap();
    let push = |at, value: f64| engine.push(id, Timestamp::from_nanos(at), value).unwrap();
    let mut ack = push(9, -1.0);
    // Every third is of the latest time: it is now the last of all that are late, now behind others.
    for n in 0..2_500 {
        ack = push([9, 8, 3][n % 3], n as f64);
        if n % 97 == 0 || n > 2_490 {
            engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
            let expected = sample(9, (n - n % 3) as f64);
            assert_eq!(plain(engine.last(id)), expected, "{n}");
            assert_eq!(engine.snapshot().last(id).unwrap(), expected, "{n}");
            assert_eq!(engine.snapshot().last_of(&[("__name__", "x")]).unwrap(), expected, "{n}");
        }
    }
    // As many late ones of an earlier time as to fill chunks without any of the latest.
    (0..3_000).for_each(|n| ack = push(7, f64::from(n)));
    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    assert_eq!(plain(engine.last(id)), sample(9, 2_499.0));
    let ack = push(9, 0.5);
    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    assert_eq!(plain(engine.last(id)), sample(9, 0.5));
}

#[test]
fn a_series_is_known_by_its_labels_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let id = engine.series(&[("__name__", "x"), ("host", "a")]).unwrap();
    assert_eq!(plain(engine.last(id)), None);
    engine.push(id, Timestamp::from_nanos(5), 1.5).unwrap();
    engine.close().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    assert_eq!(plain(engine.last_of(&[("host", "a"), ("__name__", "x")])), sample(5, 1.5));
    assert_eq!(plain(engine.last_of(&[("host", "b"), ("__name__", "x")])), None);
    assert_eq!(plain(engine.last_of(&[("host", "a"), ("host", "b")])), None, "no set at all");
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.last_of(&[("host", "a"), ("__name__", "x")]).unwrap(), sample(5, 1.5));
    assert_eq!(snapshot.last_of(&[("host", "a")]).unwrap(), None, "labels are exact");
    assert_eq!(snapshot.last_of(&[("host", "a"), ("host", "b")]).unwrap(), None, "no set at all");
    let again = engine.series(&[("__name__", "x"), ("host", "a")]).unwrap();
    assert_eq!(plain(engine.last(again)), sample(5, 1.5));
    // A snapshot stays as it was, and a later one is not.
    let ack = engine.push(again, Timestamp::from_nanos(6), 2.5).unwrap();
    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    assert_eq!(snapshot.last_of(&[("__name__", "x"), ("host", "a")]).unwrap(), sample(5, 1.5));
    assert_eq!(snapshot.last(again).unwrap(), sample(5, 1.5), "by an id that is younger than the snapshot");
    assert_eq!(engine.snapshot().last_of(&[("__name__", "x"), ("host", "a")]).unwrap(), sample(6, 2.5));
    assert_eq!(engine.snapshot().last(again).unwrap(), sample(6, 2.5));
    // What is deleted is hidden from it, too.
    let range = tidegauge::TimeRange::new(Timestamp::from_nanos(6), Timestamp::MAX);
    engine.delete(r#"x{host="a"}"#, range).unwrap();
    assert_eq!(engine.snapshot().last_of(&[("__name__", "x"), ("host", "a")]).unwrap(), sample(5, 1.5));
    assert_eq!(engine.snapshot().last(again).unwrap(), sample(5, 1.5));
    // Older than what is stored: the tail alone would say otherwise.
    let ack = engine.push(again, Timestamp::from_nanos(3), 9.0).unwrap();
    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    assert_eq!(plain(engine.last(again)), sample(5, 1.5));
    assert!(matches!(engine.last(id), Err(LastError::StaleSeries)), "an id of another engine");
    assert!(matches!(engine.snapshot().last(id), Err(LastError::StaleSeries)), "an id of another engine");
    let incremented = engine.increment(id, 1.0, Retry::ONCE).unwrap_err();
    assert!(matches!(incremented, RetryError::Fill(IncrementError::Push(PushError::StaleSeries))), "{incremented}");
    let mut batch = engine.batch();
    batch.expect_last(id, Expect::Timestamp(Timestamp::from_nanos(5)));
    assert!(matches!(batch.commit(), Err(CommitError::StaleSeries)));
}

/// The sources are made for the first question: of the version and the commit that it was taken with (S5).
#[test]
fn a_snapshot_that_is_first_asked_later_shows_what_it_was_taken_with() {
    let engine = Engine::in_memory().unwrap();
    let id = engine.series(&[("__name__", "x")]).unwrap();
    let push = |at: i64, value: f64| {
        let ack = engine.push(id, Timestamp::from_nanos(at), value).unwrap();
        engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    };
    let everything = tidegauge::TimeRange::new(Timestamp::MIN, Timestamp::MAX);
    let a_day = tidegauge::RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(86_400)) };
    let changes: [(&str, &dyn Fn()); 7] = [
        ("a newer sample", &|| push(6, 2.5)),
        ("another one for the same time", &|| push(5, 3.5)),
        ("a flush", &|| engine.flush().unwrap()),
        ("one in the next memtable", &|| push(7, 4.5)),
        ("a delete", &|| assert!(engine.delete("x", everything).is_ok())),
        ("a compaction", &|| engine.compact().unwrap()),
        ("a rule by which it is over age", &|| {
            let retention = tidegauge::Retention { rules: vec![a_day.clone()], ..Default::default() };
            engine.set_retention(retention).unwrap();
        }),
    ];
    push(4, 0.5);
    push(5, 1.5);
    let taken = std::array::from_fn::<_, 7, _>(|_| [(); 3].map(|()| engine.snapshot()));
    for (asked, (what, change)) in taken.into_iter().zip(changes) {
        change();
        let [by_id, by_labels, whole] = asked;
        assert_eq!(by_id.last(id).unwrap(), sample(5, 1.5), "after {what}");
        assert_eq!(by_labels.last_of(&[("__name__", "x")]).unwrap(), sample(5, 1.5), "after {what}");
        assert_eq!(whole.clone().select("x").unwrap().count().unwrap(), [2], "after {what}");
        assert_eq!(whole.watermark(), by_id.watermark());
    }
    assert_eq!(engine.snapshot().last(id).unwrap(), None);
}

/// What came in one batch stands in every snapshot, and so do the late ones of the same time, which win.
#[test]
fn the_last_values_of_a_snapshot_taken_amid_commits_are_of_one_commit() {
    let engine = Engine::in_memory().unwrap();
    let ids = ["a", "b"].map(|name| engine.series(&[("__name__", name)]).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut appender = engine.appender().unwrap();
            for i in 0..100_002 {
                // Every third time is told a second time, with another value; so is the last one.
                let at = Timestamp::from_nanos(i - i64::from(i % 3 == 2));
                let both = ids.map(|id| tidegauge::SeriesSample::new(id, at, i as f64));
                let ack = appender.push_batch(&both).unwrap();
                let is_last = i == 100_001;
                if i % 25_000 == 24_999 || is_last {
                    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
                }
                if i % 25_000 == 24_999 {
                    engine.flush().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut least = -1.0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let snapshot = engine.snapshot();
            let [a, b] = ids.map(|id| snapshot.last(id).unwrap());
            assert_eq!(a, b);
            let value = a.map_or(-1.0, |sample| sample.value);
            assert!(value >= least, "{value} after {least}");
            least = value;
        }
    });
    assert_eq!(engine.snapshot().last(ids[0]).unwrap(), sample(100_000, 100_001.0));
}

/// Memory alone answers, by the slot: the id must have been judged before.
#[test]
fn a_snapshot_refuses_an_id_of_another_engine_that_has_the_slot_of_one_of_its_own() {
    let [mine, other] = [(); 2].map(|()| Engine::in_memory().unwrap());
    let [id, foreign] = [&mine, &other].map(|engine| engine.series(&[("__name__", "x")]).unwrap());
    let ack = mine.push(id, Timestamp::from_nanos(5), 1.5).unwrap();
    mine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    assert_eq!(mine.snapshot().last(id).unwrap(), sample(5, 1.5));
    assert!(matches!(mine.snapshot().last(foreign), Err(LastError::StaleSeries)));
}

/// It was asked by what may be registered today, and said that there is no such series.
#[test]
fn a_series_is_found_by_labels_that_exceed_the_limits_of_today() {
    let dir = tempfile::tempdir().unwrap();
    let labels = [("__name__", "x"), ("host", "a name of some length")];
    let engine = Engine::open(dir.path()).unwrap();
    engine.push(engine.series(&labels).unwrap(), Timestamp::from_nanos(5), 1.5).unwrap();
    engine.close().unwrap();
    let limits = LabelLimits { labels_per_series: 1, name_bytes: 8, value_bytes: 8 };
    let engine = Engine::builder(dir.path()).label_limits(limits).open().unwrap();
    engine.series(&labels).unwrap_err();
    assert_eq!(plain(engine.last_of(&labels)), sample(5, 1.5));
    assert_eq!(engine.snapshot().last_of(&labels).unwrap(), sample(5, 1.5));
}

#[test]
fn the_last_value_of_a_running_series_never_goes_back() {
    let engine = Engine::in_memory().unwrap();
    let ids = ["a", "b"].map(|name| engine.series(&[("__name__", name)]).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut appender = engine.appender().unwrap();
            for i in 0..200_000 {
                let at = Timestamp::from_nanos(i);
                let both = ids.map(|id| tidegauge::SeriesSample::new(id, at, i as f64));
                let ack = appender.push_batch(&both).unwrap();
                if i % 50_000 == 49_999 {
                    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
                    engine.flush().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut least = -1;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            // Both come in one batch: what one shows, the other has too.
            for id in ids {
                let at = plain(engine.last(id)).map_or(-1, |sample| sample.timestamp.nanos());
                assert!(at >= least, "{at} after {least}");
                least = at;
            }
        }
    });
    let snapshot = engine.snapshot();
    let matchers = [Matcher::equal("__name__", "a")];
    assert_eq!(tidegauge::query::Selection::new(&snapshot, &matchers).unwrap().count().unwrap(), [200_000]);
}
