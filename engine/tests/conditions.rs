//! P8 against a twin that knows all that was accepted: whatever deletes, retention, compaction and reopening took, a
//! condition on what is there holds, a conflict tells what can be gone on from, and an increment is neither lost nor tried in
//! vain.

mod support;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use support::series;
use tidegauge::{
    Batch, CommitError, Durability, Engine, Expect, Found, Retention, RetentionRule, Retry, SeqNo, SeriesId, TimeRange,
    Timestamp, now,
};

const HOUR: i64 = 3_600_000_000_000;

#[derive(Clone, Debug)]
enum Act {
    /// Samples of so many ages in hours, newest last or not.
    Push(usize, Vec<i64>),
    /// Of one series or of all, between two ages.
    Delete(Option<usize>, i64, i64),
    /// Keep so many hours, or all.
    Keep(Option<u64>),
    Increment(usize),
    Flush,
    Compact,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let host = || 0..3usize;
    let act = prop_oneof![
        4 => (host(), prop::collection::vec(0..9i64, 1..4)).prop_map(|(host, ages)| Act::Push(host, ages)),
        2 => (prop::option::of(host()), 0..9i64, 0..9i64).prop_map(|(host, a, b)| Act::Delete(host, a, b)),
        1 => prop::option::of(1..8u64).prop_map(Act::Keep),
        3 => host().prop_map(Act::Increment),
        1 => Just(Act::Flush),
        2 => Just(Act::Compact),
        2 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..40)
}

/// The number that conditions on the last one are judged by.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Of the last sample, or the last delete that named the series since.
    last: u64,
    /// A sample came since the engine was opened, so that it knows the number whatever goes.
    is_of_this_opening: bool,
    /// Something was deleted since the last sample, or may have been dropped.
    is_thinned: bool,
}

impl Known {
    /// A smaller number, or none, may be found in the place of the last one.
    fn may_be_less(&self) -> bool {
        self.is_thinned && !self.is_of_this_opening
    }
}

fn open(dir: &Path) -> Engine {
    // Compaction is asked for: each run is the same.
    let builder = Engine::builder(dir).durability(Durability::Interval(Duration::from_secs(3_600)));
    builder.background_compaction(false).open().unwrap()
}

/// Tries an empty batch.
fn judge(engine: &Engine, id: SeriesId, expected: Expect) -> Result<(), Found> {
    let mut batch = engine.batch();
    batch.expect_last(id, expected);
    match batch.commit() {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { found, .. }) => Err(found),
        Err(e) => panic!("{e}"),
    }
}

/// The newest sample that a snapshot shows.
fn newest(engine: &Engine, host: usize) -> Option<(Timestamp, f64)> {
    let found = engine.snapshot().select(&format!("cpu{{host=\"{host}\"}}")).unwrap();
    let last = found.iter().map(|series| series.read().unwrap()).next()?;
    Some((Timestamp::from_nanos(*last.timestamps.last()?), *last.values.last()?))
}

fn check(engine: &Engine, host: usize, known: &Known) {
    let id = series(engine, host);
    let newest = newest(engine, host);
    // What was read holds, however it was read.
    let unchanged = Expect::UnchangedSince(engine.snapshot().watermark());
    assert_eq!(judge(engine, id, unchanged), Ok(()), "host {host}");
    match newest {
        Some((at, _)) => {
            assert_eq!(judge(engine, id, at.into()), Ok(()), "host {host}");
            let Err(Found::Seq(found)) = judge(engine, id, Expect::Nothing) else {
                panic!("host {host}: there is one")
            };
            assert_eq!(judge(engine, id, found.into()), Ok(()), "host {host}: {found:?}");
        }
        None => assert_eq!(judge(engine, id, Expect::Nothing), Ok(()), "host {host}"),
    }
    if known.last == 0 {
        return;
    }
    let expected = SeqNo(known.last);
    if !known.may_be_less() {
        assert!(judge(engine, id, SeqNo(known.last - 1).into()).is_err(), "host {host}: something came behind it");
    }
    let Err(found) = judge(engine, id, expected.into()) else { return };
    // Only smaller ones, only where something may be gone, and they can be gone on from.
    let seq = match found {
        Found::Seq(seq) => seq,
        Found::Nothing => SeqNo(0),
        other => panic!("host {host}: {other:?}"),
    };
    assert!(known.may_be_less() && seq < expected, "host {host}: {expected:?}, and {found:?}");
    let go_on = if seq.0 == 0 { Expect::Nothing } else { seq.into() };
    assert_eq!(judge(engine, id, go_on), Ok(()), "host {host}: {found:?}");
}

fn run(acts: Vec<Act>) {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    let (begin, mut known) = (now().nanos() - HOUR / 2, [Known::default(); 3]);
    let mut keeps_all = true;
    let at = |age: i64| Timestamp::from_nanos(begin - age * HOUR);
    let accepted = |known: &mut Known, seq: SeqNo, keeps_all: bool| {
        *known = Known { last: seq.0, is_of_this_opening: true, is_thinned: !keeps_all };
    };
    for act in acts {
        let (before, last) = (engine.snapshot().watermark(), known.map(|known| known.last));
        match act {
            Act::Push(host, ages) => {
                let mut batch: Batch = engine.batch();
                ages.iter().for_each(|&age| batch.push(series(&engine, host), at(age), 1.0).unwrap());
                accepted(&mut known[host], batch.commit().unwrap().last().unwrap(), keeps_all);
            }
            Act::Delete(host, from, to) => {
                let selector = host.map_or("cpu".to_owned(), |host| format!("cpu{{host=\"{host}\"}}"));
                let range = TimeRange::from(at(from.max(to))..at(from.min(to) - 1));
                let seq = engine.delete(&selector, range).unwrap();
                let named = |one: &usize| host.is_none_or(|host| host == *one);
                (0..3).filter(named).for_each(|one| (known[one].last, known[one].is_thinned) = (seq.0, true));
            }
            Act::Keep(hours) => {
                let age = |hours| Duration::from_secs(hours * 3_600);
                let rule = hours.map(|hours| RetentionRule { matchers: Vec::new(), max_age: Some(age(hours)) });
                engine.set_retention(Retention { rules: rule.into_iter().collect(), max_bytes: None }).unwrap();
                keeps_all = hours.is_none();
                known.iter_mut().for_each(|known| known.is_thinned = true);
            }
            Act::Increment(host) => {
                let before = newest(&engine, host).map_or(0.0, |(_, value)| value);
                let id = series(&engine, host);
                let incremented = engine.increment(id, 1.0, Retry::ONCE).unwrap_or_else(|e| panic!("host {host}: {e}"));
                assert_eq!(incremented.value, before + 1.0);
                accepted(&mut known[host], incremented.committed.last().unwrap(), keeps_all);
                assert_eq!(newest(&engine, host), Some((incremented.timestamp, incremented.value)));
            }
            Act::Flush => engine.flush().unwrap(),
            Act::Compact => engine.compact().unwrap(),
            Act::Reopen => {
                engine.close().unwrap();
                engine = open(dir.path());
                known.iter_mut().for_each(|known| known.is_of_this_opening = false);
            }
        }
        for (host, known) in known.iter().enumerate() {
            check(&engine, host, known);
            if known.last != last[host] {
                let id = series(&engine, host);
                assert!(
                    judge(&engine, id, Expect::UnchangedSince(before)).is_err(),
                    "host {host}: it was changed since"
                );
            }
        }
    }
}

/// The conflict told the number of what was left of the samples, and who went on from that met another one, with the delete.
#[test]
fn p8_a_conflict_whose_sample_is_gone_tells_the_delete_behind_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (id, now) = (series(&engine, 0), now().nanos());
    let push = |ages: &mut dyn Iterator<Item = i64>| {
        let mut batch = engine.batch();
        ages.for_each(|age| batch.push(id, Timestamp::from_nanos(now - age), 1.0).unwrap());
        batch.commit().unwrap().last().unwrap()
    };
    push(&mut (0..1_000));
    engine.flush().unwrap();
    let max_age = Some(Duration::from_secs(2 * 3_600));
    engine
        .set_retention(Retention { rules: vec![RetentionRule { matchers: Vec::new(), max_age }], max_bytes: None })
        .unwrap();
    let one = Timestamp::from_nanos(now - 500)..Timestamp::from_nanos(now - 499);
    let deleted = engine.delete("cpu{host=\"0\"}", one).unwrap();
    // Over age: compaction drops it.
    let last = push(&mut [4 * HOUR, 6 * HOUR].into_iter());
    engine.close().unwrap();
    let engine = open(dir.path());
    let id = series(&engine, 0);
    engine.compact().unwrap();
    let found = judge(&engine, id, last.into()).unwrap_err();
    assert_eq!(found, Found::Seq(deleted));
    assert_eq!(judge(&engine, id, deleted.into()), Ok(()));
}

/// As above: who expected nothing, and goes on from what was found.
#[test]
fn p8_a_series_that_is_not_empty_tells_the_delete_behind_its_last_sample() {
    let engine = Engine::in_memory().unwrap();
    let id = series(&engine, 0);
    let mut batch = engine.batch();
    (1..5).for_each(|t| batch.push(id, Timestamp::from_nanos(t), 1.0).unwrap());
    batch.commit().unwrap();
    let one = Timestamp::from_nanos(2)..Timestamp::from_nanos(3);
    let deleted = engine.delete("cpu{host=\"0\"}", one).unwrap();
    assert_eq!(judge(&engine, id, Expect::Nothing), Err(Found::Seq(deleted)));
    assert_eq!(judge(&engine, id, deleted.into()), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p8_conditions_and_increments_hold_whatever_deletes_and_retention_took(acts in acts()) {
        run(acts);
    }
}
