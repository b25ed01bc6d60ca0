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
    /// What was deleted or over age may be gone from the store, and the engine was opened since: a smaller number, or none,
    /// is found in the place of `last`.
    may_be_less: bool,
    /// Something was deleted, or may have been dropped, since the last sample.
    is_thinned: bool,
}

fn open(dir: &Path) -> Engine {
    Engine::builder(dir).durability(Durability::Interval(Duration::from_secs(3_600))).open().unwrap()
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
            assert!(matches!(judge(engine, id, Expect::Nothing), Err(Found::Seq(_))), "host {host}");
        }
        None => assert_eq!(judge(engine, id, Expect::Nothing), Ok(()), "host {host}"),
    }
    if known.last == 0 {
        return;
    }
    let expected = SeqNo(known.last);
    let Err(found) = judge(engine, id, expected.into()) else { return };
    // Only smaller ones, only where something may be gone, and they can be gone on from.
    let seq = match found {
        Found::Seq(seq) => seq,
        Found::Nothing => SeqNo(0),
        other => panic!("host {host}: {other:?}"),
    };
    assert!(known.may_be_less && seq < expected, "host {host}: {expected:?}, and {found:?}");
    let go_on = if seq.0 == 0 { Expect::Nothing } else { seq.into() };
    assert_eq!(judge(engine, id, go_on), Ok(()), "host {host}: {found:?}");
}

fn run(acts: Vec<Act>) {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    let (begin, mut known) = (now().nanos() - HOUR / 2, [Known::default(); 3]);
    let mut keeps_all = true;
    let at = |age: i64| Timestamp::from_nanos(begin - age * HOUR);
    let accepted = |known: &mut Known, seq: SeqNo| *known = Known { last: seq.0, ..Known::default() };
    for act in acts {
        match act {
            Act::Push(host, ages) => {
                let mut batch: Batch = engine.batch();
                ages.iter().for_each(|&age| batch.push(series(&engine, host), at(age), 1.0).unwrap());
                accepted(&mut known[host], batch.commit().unwrap().last().unwrap());
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
                accepted(&mut known[host], incremented.committed.last().unwrap());
                assert_eq!(newest(&engine, host), Some((incremented.timestamp, incremented.value)));
            }
            Act::Flush => engine.flush().unwrap(),
            Act::Compact => engine.compact().unwrap(),
            Act::Reopen => {
                engine.close().unwrap();
                engine = open(dir.path());
                known.iter_mut().for_each(|known| known.may_be_less |= known.is_thinned || !keeps_all);
            }
        }
        (0..3).for_each(|host| check(&engine, host, &known[host]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p8_conditions_and_increments_hold_whatever_deletes_and_retention_took(acts in acts()) {
        run(acts);
    }
}
