//! Retention: by age, per matchers, and by size; hidden at once, dropped by compaction, kept over restarts.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{SOON, at, contents, name, series};
use tidegauge::{Engine, Level, Matcher, Retention, RetentionError, RetentionRule, SeriesSample, now};

const HOUR: i64 = 3_600_000_000_000;

fn rule(matchers: Vec<Matcher>, hours: u64) -> RetentionRule {
    RetentionRule { matchers, max_age: Some(Duration::from_secs(hours * 3_600)) }
}

fn open(dir: &Path) -> Engine {
    Engine::builder(dir).background_compaction(false).open().unwrap()
}

/// A sample a minute for `hours`, the last one a minute ago; answers how many.
fn push(engine: &Engine, host: usize, hours: i64) -> usize {
    let (id, end) = (series(engine, host), now().nanos() - HOUR / 60);
    let times = (0..hours * 60).map(|i| end - i * HOUR / 60).rev();
    let batch: Vec<_> = times.map(|t| SeriesSample::new(id, at(t), (t % 97) as f64)).collect();
    let ack = engine.push_batch(&batch).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    batch.len()
}

fn count(engine: &Engine, host: usize) -> usize {
    contents(&engine.snapshot()).get(&name(host)).map_or(0, |samples| samples.len())
}

fn segment_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("segments")).unwrap();
    // One may go between being listed and being looked at.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

/// The first rule that a series passes decides; what is over age is hidden from the next snapshot on, in memory as in
/// segments, and after the next opening; an older snapshot keeps it.
#[test]
fn what_is_over_age_is_hidden_at_once_and_dropped_by_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let all = push(&engine, 1, 10);
    push(&engine, 2, 10);
    let older = engine.snapshot();
    let host = |h: usize| vec![Matcher::equal("host", h.to_string())];
    let rules = Retention { rules: vec![rule(host(1), 1_000), rule(Vec::new(), 2)], max_bytes: None };
    engine.set_retention(rules.clone()).unwrap();
    assert_eq!(count(&engine, 1), all, "its own rule keeps it");
    let kept = count(&engine, 2);
    assert!((118..=120).contains(&kept), "{kept} of two hours");
    assert_eq!(contents(&older)[&name(2)].len(), all, "an older snapshot keeps its own");
    drop(older);
    engine.flush().unwrap();
    assert!((117..=120).contains(&count(&engine, 2)));
    engine.compact().unwrap();
    let stored = engine.stats().segment_samples as usize - all;
    assert!((117..200).contains(&stored), "{stored} are left on disk");
    engine.close().unwrap();
    let engine = open(dir.path());
    assert_eq!(engine.retention(), rules);
    assert!((116..=120).contains(&count(&engine, 2)));
    assert_eq!(count(&engine, 1), all);
    // Nothing comes back that was dropped for everybody.
    engine.set_retention(Retention::default()).unwrap();
    assert_eq!(count(&engine, 1), all);
}

/// A number that no encoding makes smaller than its 52 bits.
fn noise(n: i64) -> f64 {
    f64::from_bits(0x3ff << 52 | (n as u64 + 9).wrapping_pow(3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12)
}

/// The rule for some series alone: nine tenths of one of two go, and their bytes leave the directory.
#[test]
fn what_a_rule_for_some_series_drops_leaves_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let end = now().nanos();
    for host in 1..3 {
        let id = series(&engine, host);
        let sample = |i: i64| SeriesSample::new(id, at(end - (20_000 - i) * HOUR / 1_000), noise(i));
        let ack = engine.push_batch(&(0..20_000).map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    let bytes = segment_bytes(dir.path());
    let rules = vec![rule(vec![Matcher::equal("host", "2")], 2)];
    engine.set_retention(Retention { rules, max_bytes: None }).unwrap();
    engine.compact().unwrap();
    // Whoever looked at the old version just then held its files for a moment.
    let deadline = Instant::now() + SOON;
    while segment_bytes(dir.path()) * 100 > bytes * 60 {
        assert!(Instant::now() < deadline, "{} of {bytes} bytes are left", segment_bytes(dir.path()));
        drop(engine.snapshot());
    }
    assert_eq!(count(&engine, 1), 20_000);
    assert!((1_900..=2_000).contains(&count(&engine, 2)), "{}", count(&engine, 2));
}

/// A rule for less than a quarter of the samples never gave their space back by itself.
#[test]
fn a_rule_for_a_tenth_of_the_samples_gives_their_space_back_in_the_background() {
    let engine = Engine::in_memory().unwrap();
    let end = now().nanos() - 3 * HOUR;
    for host in 0..10 {
        let id = series(&engine, host);
        let batch: Vec<_> = (0..1_000).map(|i| SeriesSample::new(id, at(end + i), noise(i))).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
    let rules = vec![rule(vec![Matcher::equal("host", "3")], 2)];
    engine.set_retention(Retention { rules, max_bytes: None }).unwrap();
    let deadline = Instant::now() + SOON;
    while engine.stats().segment_samples > 9_000 {
        assert!(Instant::now() < deadline, "{} samples stay", engine.stats().segment_samples);
    }
    assert_eq!((0..10).map(|host| count(&engine, host)).sum::<usize>(), 9_000);
    assert_eq!(engine.stats().compactions, 1, "once");
}

/// A segment that is over age as a whole goes unread, and its space with it.
#[test]
fn whole_segments_go_when_all_of_it_is_over_age() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let id = series(&engine, 1);
    let old = now().nanos() - 100 * HOUR;
    let batch: Vec<_> = (0..50_000).map(|t| SeriesSample::new(id, at(old + t), (t as f64).sqrt())).collect();
    for part in batch.chunks(10_000) {
        let ack = engine.push_batch(part).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
    assert!(segment_bytes(dir.path()) > 100_000);
    engine.set_retention(Retention { rules: vec![rule(Vec::new(), 2)], max_bytes: None }).unwrap();
    // Retention holds without background compaction too.
    let deadline = Instant::now() + SOON;
    while segment_bytes(dir.path()) > 0 {
        assert!(Instant::now() < deadline, "the segment stays");
        drop(engine.snapshot());
    }
    engine.set_retention(Retention::default()).unwrap();
    assert_eq!(count(&engine, 1), 0, "gone for good");
    push(&engine, 1, 1);
    assert_eq!(count(&engine, 1), 60, "what is newer is taken as ever");
}

/// By size the oldest segments go first, and nothing of their time that was accepted before them is shown from then on;
/// what comes later is.
#[test]
fn by_size_the_oldest_go_and_what_they_overwrote_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let id = series(&engine, 1);
    let store = |range: std::ops::Range<i64>, factor: f64| {
        let sample = |t: i64| SeriesSample::new(id, at(t), (t as f64).sqrt() * factor);
        for from in range.clone().step_by(5_000) {
            let batch: Vec<_> = (from..range.end.min(from + 5_000)).map(sample).collect();
            let ack = engine.push_batch(&batch).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
        }
        engine.flush().unwrap();
    };
    store(0..30_000, 1.0);
    // Overwrites the beginning; ends earlier than what it overwrites.
    store(0..10_000, 3.0);
    store(30_000..60_000, 1.0);
    let bytes = segment_bytes(dir.path());
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(bytes - 1) }).unwrap();
    let deadline = Instant::now() + SOON;
    while segment_bytes(dir.path()) >= bytes {
        assert!(Instant::now() < deadline, "nothing goes");
        drop(engine.snapshot());
    }
    let mut all = contents(&engine.snapshot());
    assert_eq!(
        *all[&name(1)].keys().next().unwrap(),
        10_000,
        "the time of the dropped segment is gone, above and below"
    );
    assert_eq!(all[&name(1)].len(), 50_000);
    store(5..6, 7.0);
    all.get_mut(&name(1)).unwrap().insert(5, (5_f64.sqrt() * 7.0).to_bits());
    assert_eq!(contents(&engine.snapshot()), all, "what comes for a dropped time is shown, alone");
    engine.close().unwrap();
    let engine = open(dir.path());
    assert_eq!(contents(&engine.snapshot()), all);
    engine.compact().unwrap();
    assert_eq!(contents(&engine.snapshot()), all);
}

/// One byte too many took the oldest segment, which could hold nearly all: after `compact`, or after a compaction in the
/// background, a store of a limit below the size of a segment kept what had been flushed since.
#[test]
fn by_size_what_is_kept_stays_near_the_limit_whatever_was_merged() {
    const LIMIT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).open().unwrap();
    let id = series(&engine, 1);
    let mut next = 0;
    let mut store = |samples: i64| {
        let batch: Vec<_> = (next..next + samples).map(|t| SeriesSample::new(id, at(t), noise(t))).collect();
        next += samples;
        for part in batch.chunks(10_000) {
            let ack = engine.push_batch(part).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
        }
        engine.flush().unwrap();
    };
    let kept = |what: &str| {
        // Asked for, retention has been looked at before it. What is written anew in parts goes part by part.
        (0..2).for_each(|_| engine.compact().unwrap());
        let bytes = engine.stats().segment_bytes;
        assert!((LIMIT / 4 * 3..=LIMIT).contains(&bytes), "{what}: {bytes} bytes");
    };
    // One segment of the time before there was a limit, with hardly anything in its first half.
    let ack = engine.push(id, at(-(LIMIT as i64)), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    store(LIMIT as i64 / 7);
    engine.compact().unwrap();
    assert!(engine.stats().segments == 1 && engine.stats().segment_bytes > LIMIT / 4 * 3);
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(LIMIT) }).unwrap();
    for i in 0..24 {
        store(LIMIT as i64 / 100);
        kept(&format!("after {i}"));
    }
    let all = contents(&engine.snapshot());
    let times: Vec<i64> = all[&name(1)].keys().copied().collect();
    assert!(
        times.windows(2).all(|w| w[0] + 1 == w[1]) && times.last() == Some(&(next - 1)),
        "the newest, without a gap"
    );
}

/// What was dropped for its age hid everything up to then, whatever became of the rules: a clock that was a year ahead for
/// a moment hid all that was pushed for a year, and so did a rule that was lifted. And what came for the time of what was
/// dropped was hidden for good.
#[test]
fn what_is_dropped_hides_nothing_newer_than_itself() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let end = now().nanos() - 9 * HOUR;
    let store = |host: usize, first: i64| {
        let id = series(&engine, host);
        let batch: Vec<_> = (0..60).map(|i| SeriesSample::new(id, at(first + i), 1.0)).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    };
    store(1, end);
    engine.flush().unwrap();
    engine.set_retention(Retention { rules: vec![rule(Vec::new(), 2)], max_bytes: None }).unwrap();
    engine.compact().unwrap();
    let deadline = Instant::now() + SOON;
    while engine.stats().segments > 0 {
        assert!(Instant::now() < deadline, "the segment stays");
    }
    engine.set_retention(Retention::default()).unwrap();
    store(2, end + 60);
    assert_eq!((count(&engine, 1), count(&engine, 2)), (0, 60));
    store(3, end);
    assert_eq!((count(&engine, 3), engine.stats().pushed_over_age), (60, 0), "in the time of what was dropped");
}

/// Samples that nobody will be shown were acknowledged without a word.
#[test]
fn what_is_older_on_arrival_than_retention_keeps_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let over_age = || engine.stats().pushed_over_age;
    push(&engine, 1, 10);
    assert_eq!(over_age(), 0, "everything is kept");
    let host = vec![Matcher::equal("host", "1")];
    engine.set_retention(Retention { rules: vec![rule(host.clone(), 1)], max_bytes: None }).unwrap();
    push(&engine, 2, 10);
    assert_eq!(over_age(), 0, "others have no rule");
    engine.set_retention(Retention { rules: vec![rule(host, 8), rule(Vec::new(), 2)], max_bytes: None }).unwrap();
    let all = push(&engine, 3, 10) as u64;
    assert!((all - 481..=all - 479).contains(&over_age()), "{} of {all} are older than any rule keeps", over_age());
    let mut batch = engine.batch();
    (0..10).for_each(|t| batch.push(series(&engine, 4), at(t), 1.0).unwrap());
    let before = over_age();
    let ack = batch.commit().unwrap();
    engine.wait(ack.ack(), Level::Visible, SOON).unwrap();
    assert_eq!((over_age() - before, count(&engine, 4)), (10, 0));
}

/// A flush had made one segment of it all, which stays: the first compaction by hand split it, the second one kept to the
/// limit.
#[test]
fn by_size_one_compaction_by_hand_is_enough() {
    const LIMIT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let id = series(&engine, 1);
    for from in (0..LIMIT as i64 / 4).step_by(65_536) {
        let batch: Vec<_> = (from..from + 65_536).map(|t| SeriesSample::new(id, at(t), noise(t))).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
    assert!(engine.stats().segments == 1 && engine.stats().segment_bytes > LIMIT / 4 * 5);
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(LIMIT) }).unwrap();
    engine.compact().unwrap();
    let bytes = engine.stats().segment_bytes;
    assert!((LIMIT / 6 * 5..=LIMIT).contains(&bytes), "{bytes} bytes are kept");
}

/// With one sample ahead the large segment ended last: the newest of all went, and its horizon hid all the rest.
#[test]
fn by_size_one_sample_that_lies_ahead_takes_nothing_newer_with_it() {
    const LIMIT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).open().unwrap();
    let id = series(&engine, 1);
    let end = LIMIT as i64 / 4;
    let push = |times: Vec<i64>| {
        let batch: Vec<_> = times.into_iter().map(|t| SeriesSample::new(id, at(t), noise(t))).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    };
    for from in (0..end).step_by(65_536) {
        push((from..from + 65_536).collect());
    }
    push(vec![end * 20]);
    engine.flush().unwrap();
    push((end..end + 5).collect());
    engine.flush().unwrap();
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(LIMIT) }).unwrap();
    (0..2).for_each(|_| engine.compact().unwrap());
    let bytes = engine.stats().segment_bytes;
    assert!((LIMIT / 6 * 5..=LIMIT).contains(&bytes), "{bytes} bytes are kept");
    let kept = &contents(&engine.snapshot())[&name(1)];
    assert!((end - 100_000..end + 5).all(|t| kept.contains_key(&t)), "the newest are there");
}

#[test]
fn rules_that_would_hide_everything_are_refused() {
    let engine = Engine::in_memory().unwrap();
    let nothing = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::ZERO) };
    let refused = engine.set_retention(Retention { rules: vec![nothing], max_bytes: None });
    assert!(matches!(refused, Err(RetentionError::Senseless { .. })));
    let refused = engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(0) });
    assert!(matches!(refused, Err(RetentionError::Senseless { .. })));
    let many = vec![rule(Vec::new(), 1); 1_000];
    assert_eq!(engine.set_retention(Retention { rules: many, max_bytes: None }), Err(RetentionError::TooLarge));
    assert_eq!(engine.retention(), Retention::default());
}
