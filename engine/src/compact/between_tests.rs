//! What happens while jobs are at work: what goes as one of them ends, and rules that are changed under one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{Matcher, TimeRange, Timestamp};

use super::asked::Asked;
use crate::clock;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::faults::{SOON, series};
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};

const DAY: i64 = 86_400_000_000_000;

fn open(fs: &SimFs, threads: usize) -> Engine {
    open_on(Arc::new(fs.clone()), threads)
}

fn open_on(fs: Arc<dyn Fs>, threads: usize) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Memory).query_threads(1);
    builder = builder.background_compaction(false).compact_threads(threads);
    builder.fs = Some(fs);
    builder.open().unwrap()
}

/// A segment of one host.
fn flush(engine: &Engine, host: usize, times: Range<i64>) {
    let id = series(engine, host);
    // Values that do not pack.
    let value = |t: i64| ((t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64;
    let sample = |t| SeriesSample::new(id, Timestamp::from_nanos(t), value(t));
    let ack = engine.push_batch(&times.map(sample).collect::<Vec<_>>()).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
    engine.flush().unwrap();
}

fn count(engine: &Engine, host: usize) -> u64 {
    engine.count_matching(&format!("cpu{{host=\"{host}\"}}"), TimeRange::ALL).unwrap().samples
}

fn within(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// Jobs that stop where their output is to be synced, one at a time: each tells that it is there, and waits for leave. A
/// job of one output and a commit has three syncs.
fn hold_jobs(fs: &SimFs) -> (Receiver<()>, Sender<()>) {
    let (tell, told) = channel::<()>();
    let (leave, wait) = channel::<()>();
    let (wait, syncs) = (Mutex::new(wait), Mutex::new((tell, HashMap::<ThreadId, u64>::new())));
    fs.on_sync(Arc::new(move || {
        let this = thread::current();
        if this.name().is_some_and(|name| name.starts_with("tidegauge-compact-")) {
            let mut syncs = syncs.lock().unwrap();
            let own = syncs.1.entry(this.id()).or_default();
            *own += 1;
            if *own % 3 == 1 {
                let _ = syncs.0.send(());
                drop(syncs);
                let _ = wait.lock().unwrap().recv();
            }
        }
        "a sync".into()
    }));
    (told, leave)
}

/// Two segments in each of the first months, and one behind them.
fn months(engine: &Engine, months: i64) {
    for month in 0..months {
        let start = month * 32 * DAY;
        (0..2).for_each(|i| flush(engine, month as usize, start + i * 2_000..start + (i + 1) * 2_000));
    }
    flush(engine, 9, months * 32 * DAY..months * 32 * DAY + 2_000);
}

/// What retention by size lets go, and deletes that were carried out, waited until nothing was worth a job any more: while
/// flushes went on, for ever.
#[test]
fn the_oldest_go_and_deletes_are_forgotten_as_each_job_ends() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    flush(&engine, 8, -DAY..-DAY + 8_000);
    months(&engine, 2);
    engine.delete("cpu{host=\"0\"}", TimeRange::new(Timestamp::MIN, Timestamp::from_nanos(1_000))).unwrap();
    engine.flush().unwrap();
    let (held, leave) = hold_jobs(&fs);
    thread::scope(|scope| {
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        held.recv_timeout(SOON).unwrap();
        let most = engine.stats().segment_bytes / 5 * 4;
        engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(most) }).unwrap();
        leave.send(()).unwrap();
        held.recv_timeout(SOON).unwrap();
        // The second job is at work, and stays so.
        within("the oldest stays", || count(&engine, 8) == 0 && engine.stats().segment_bytes <= most);
        within("the delete stays", || engine.stats().tombstones == 0);
        drop((held, leave));
        compaction.join().unwrap().unwrap();
    });
    assert_eq!([0, 1, 9].map(|host| count(&engine, host)), [3_000, 4_000, 2_000]);
}

/// Whether it comes to that; told, since a panic would leave for ever what is held.
fn comes(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + SOON;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// A job that took long held retention up for as long: until the disk was full.
#[test]
fn k12_what_goes_unread_does_not_wait_for_a_job() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    flush(&engine, 8, -DAY..-DAY + 8_000);
    flush(&engine, 7, -40 * DAY..-40 * DAY + 1_000);
    months(&engine, 2);
    let (held, leave) = hold_jobs(&fs);
    let (mut over_age, mut too_much) = (false, false);
    thread::scope(|scope| {
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        held.recv_timeout(SOON).unwrap();
        // One job is at work all the time.
        let rule =
            RetentionRule { matchers: vec![Matcher::equal("host", "7")], max_age: Some(Duration::from_secs(3_600)) };
        engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
        over_age = comes(|| engine.stats().segments == 6);
        let most = engine.stats().segment_bytes / 5 * 4;
        engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(most) }).unwrap();
        too_much = comes(|| engine.stats().segments == 5 && count(&engine, 8) == 0);
        drop((held, leave));
        compaction.join().unwrap().unwrap();
    });
    assert!(over_age && too_much, "over age went: {over_age}, too much went: {too_much}");
    assert_eq!([0, 1, 9].map(|host| count(&engine, host)), [4_000, 4_000, 2_000]);
}

/// A job of which nothing shall be left went on to its end, and what it read stayed as long. It is thrown away, which is no
/// failure, and no end of the compaction.
#[test]
fn k12_a_job_that_works_for_nothing_is_ended() {
    let fs = SimFs::new();
    let (tell, told) = channel::<()>();
    let (leave, wait) = channel::<()>();
    let (ends, made) = (Mutex::new((tell, wait)), Arc::new(Mutex::new(Vec::new())));
    let (named, first) = (Arc::clone(&made), Arc::new(Mutex::new(None)));
    let held = Arc::clone(&first);
    let engine = open_on(
        Hooked::around(&fs, move |when, call, path| {
            let compacts = thread::current().name().is_some_and(|name| name.starts_with("tidegauge-compact-"));
            match call {
                Call::Create if compacts && when == When::Before => {
                    held.lock().unwrap().get_or_insert_with(|| path.with_extension(""));
                    let (tell, wait) = &*ends.lock().unwrap();
                    let _ = tell.send(());
                    let _ = wait.recv();
                }
                Call::Rename if compacts && when == When::After => made.lock().unwrap().push(path.to_owned()),
                _ => {}
            }
        }),
        1,
    );
    flush(&engine, 8, -DAY..-DAY + 8_000);
    months(&engine, 1);
    let mut gone = false;
    let compacted = thread::scope(|scope| {
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        // The job is at its first output, of two inputs.
        told.recv_timeout(SOON).unwrap();
        engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(1) }).unwrap();
        // Whoever lets this one go has ended the job before.
        gone = comes(|| count(&engine, 8) == 0);
        drop(leave);
        compaction.join().unwrap()
    });
    assert!(gone, "the oldest stays");
    assert_eq!(compacted, Ok(()));
    // What stays is written anew behind it, without what is too much.
    let (named, first) = (named.lock().unwrap(), first.lock().unwrap().take().unwrap());
    assert!(!named.contains(&first), "it went on to its end: {first:?}, of {named:?}");
    assert_eq!((engine.stats().segments, engine.stats().compactions_failed), (1, 0));
    assert_eq!([0, 9].map(|host| count(&engine, host)), [0, 2_000]);
}

/// Where flushes stay behind, as on a disk that is slower than what comes in, no job ended, and so nothing that was deleted
/// left the disk, and `compact` never answered.
#[test]
fn jobs_end_though_flushes_stay_behind() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    months(&engine, 1);
    let (leave, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    fs.on_sync(Arc::new(move || {
        if thread::current().name() == Some("tidegauge-flush") {
            let _ = wait.lock().unwrap().recv();
        }
        "a sync".into()
    }));
    let (tell, told) = channel();
    let mut compacted = None;
    thread::scope(|scope| {
        for host in 2..4 {
            let flushing = engine.clone();
            scope.spawn(move || flush(&flushing, host, 0..1_000));
            assert!(comes(|| engine.stats().sealed_memtables as usize == host - 1));
        }
        let asked = engine.clone();
        scope.spawn(move || tell.send(asked.compact()));
        compacted = told.recv_timeout(SOON).ok();
        drop(leave);
    });
    assert_eq!(compacted, Some(Ok(())));
    assert_eq!([0, 2, 3, 9].map(|host| count(&engine, host)), [4_000, 1_000, 1_000, 2_000]);
}

/// What a job reads does not go under it: its commit would name a segment that is not there any more.
#[test]
fn what_a_job_reads_goes_once_it_has_ended() {
    let fs = SimFs::new();
    let engine = open(&fs, 2);
    months(&engine, 2);
    let (held, leave) = hold_jobs(&fs);
    thread::scope(|scope| {
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        held.recv_timeout(SOON).unwrap();
        engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(1) }).unwrap();
        leave.send(()).unwrap();
        held.recv_timeout(SOON).unwrap();
        // One has ended, or is about to, while the other one is held.
        within("what the first made stays", || engine.stats().segments <= 3);
        drop((held, leave));
        compaction.join().unwrap().unwrap();
    });
    within("the last one alone stays", || engine.stats().segments == 1);
    assert_eq!([0, 1, 9].map(|host| count(&engine, host)), [0, 0, 2_000]);
}

/// A rule was lifted, durably, while a job left out what it had hidden: that was gone for good all the same. So was a
/// segment that the rule in force keeps, if it was found hidden by the rule before.
#[test]
fn p9_what_a_rule_keeps_that_is_in_force_is_not_left_out_by_an_earlier_one() {
    let age = Some(Duration::from_secs(3_600));
    let rule = |host: &str| RetentionRule { matchers: vec![Matcher::equal("host", host)], max_age: age };
    for rules in [vec![], vec![rule("2")], vec![RetentionRule { matchers: Vec::new(), max_age: None }, rule("1")]] {
        let fs = SimFs::new();
        let engine = open(&fs, 1);
        let end = clock::now().nanos() - DAY;
        (1..4).for_each(|host| flush(&engine, host, end..end + 1_000));
        engine.compact().unwrap();
        assert_eq!(engine.stats().segments, 1);
        let (held, leave) = hold_jobs(&fs);
        thread::scope(|scope| {
            let asked = engine.clone();
            engine.set_retention(Retention { rules: vec![rule("1")], max_bytes: None }).unwrap();
            let compaction = scope.spawn(move || asked.compact());
            held.recv_timeout(SOON).unwrap();
            engine.set_retention(Retention { rules: rules.clone(), max_bytes: None }).unwrap();
            drop((held, leave));
            compaction.join().unwrap().unwrap();
        });
        engine.set_retention(Retention::default()).unwrap();
        engine.compact().unwrap();
        let kept = if rules == [rule("2")] { [1_000, 0, 1_000] } else { [1_000; 3] };
        assert_eq!([1, 2, 3].map(|host| count(&engine, host)), kept, "{rules:?}");
        assert_eq!(engine.stats().compactions_failed, 0);
    }
}

/// A rule and a size that were set together: the oldest went, which could be seen, where what the rule hid was enough.
#[test]
fn what_nobody_sees_goes_before_what_is_oldest() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    for (host, month) in [(0, 0), (1, 1), (8, 2)] {
        flush(&engine, host, month * 32 * DAY..month * 32 * DAY + 2_000);
    }
    let most = engine.stats().segment_bytes - 1;
    let rule =
        RetentionRule { matchers: vec![Matcher::equal("host", "8")], max_age: Some(Duration::from_secs(7 * 86_400)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: Some(most) }).unwrap();
    within("too much stays", || engine.stats().segment_bytes <= most);
    assert_eq!([0, 1, 8].map(|host| count(&engine, host)), [2_000, 2_000, 0]);
    assert_eq!(engine.stats().segments, 2);
}

/// Deletes that hide nothing anywhere waited as long as another one hid anything where they reached, and once 1,000 of
/// them did all were refused.
#[test]
fn k9_deletes_are_forgotten_though_others_wait() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    flush(&engine, 0, 0..2_000);
    let delete = |host: usize, start, end| {
        let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
        engine.delete(&format!("cpu{{host=\"{host}\"}}"), range).unwrap()
    };
    delete(0, 5, 6);
    for other in 0..20 {
        delete(7, other, 1_000);
        delete(0, -1 - other, 0);
    }
    within("they hide nothing", || engine.stats().tombstones == 1);
    assert_eq!(count(&engine, 0), 1_999);
}

/// Begins with a job that is held, asks for all, and has something new done before each job may end. Answers what `compact`
/// came to, if it did before so many of them ended.
fn asked_while_there_is_more(engine: &Engine, fs: &SimFs, background: bool, mut more: impl FnMut(i64)) -> bool {
    let (held, leave) = hold_jobs(fs);
    let mut compacted = false;
    thread::scope(|scope| {
        let deadline = Instant::now() + SOON;
        if background {
            more(0);
            let _ = held.recv_timeout(SOON);
        }
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        comes(|| engine.life().core.compactions.is_asked());
        if background {
            more(1);
            let _ = leave.send(());
        }
        let mut jobs = 2;
        while !compaction.is_finished() && jobs < 40 && Instant::now() < deadline {
            if held.recv_timeout(Duration::from_millis(1)).is_ok() {
                more(jobs);
                jobs += 1;
                let _ = leave.send(());
            }
        }
        compacted = compaction.is_finished();
        drop((held, leave));
        compaction.join().unwrap().unwrap();
    });
    compacted
}

const HOUR: i64 = 3_600_000_000_000;

/// Whoever asked for all to be compacted was not looked at as long as something was worth a job: while as much came in as
/// was merged, for ever.
#[test]
fn who_asks_for_all_is_looked_at_though_there_is_always_another_job() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Memory).query_threads(1).compact_threads(1);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open().unwrap();
    let four = |from: i64| (0..4).map(|i| (4 * from + i) * HOUR).for_each(|at| flush(&engine, 1, at..at + 500));
    assert!(asked_while_there_is_more(&engine, &fs, true, four), "others come first");
}

/// What came while all was compacted was compacted, too: while something came, `compact` did not end.
#[test]
fn what_comes_while_all_is_compacted_is_not_waited_for() {
    for delete in [false, true] {
        let fs = SimFs::new();
        let engine = open(&fs, 1);
        months(&engine, 2);
        let more = |job: i64| {
            if delete {
                let at = Timestamp::from_nanos(job);
                engine.delete("cpu{host=\"0\"}", TimeRange::new(at, Timestamp::from_nanos(job + 1))).unwrap();
            } else {
                flush(&engine, 5, job * 500..(job + 1) * 500);
            }
        };
        assert!(asked_while_there_is_more(&engine, &fs, false, more), "deletes: {delete}");
        engine.compact().unwrap();
        assert_eq!(engine.stats().segments, 3, "the next one has it");
        assert_eq!(engine.stats().tombstones, 0);
    }
}

/// What a horizon hides whose own segment is gone has a smaller number than that, and was not covered.
#[test]
fn what_a_horizon_hides_is_gone_when_all_is_compacted() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    flush(&engine, 1, 0..3_000);
    // Cold, it is written anew for nothing else.
    engine.compact().unwrap();
    flush(&engine, 1, 1_000..1_001);
    engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(1) }).unwrap();
    within("the one that ends first stays", || engine.stats().segments == 1);
    engine.set_retention(Retention::default()).unwrap();
    assert_eq!(engine.life().core.versions.load().horizons.len(), 1);
    engine.compact().unwrap();
    assert_eq!(engine.life().core.versions.load().horizons.len(), 0);
    assert_eq!(count(&engine, 1), 1_999);
}

/// With ages of a second horizons move on while segments are written anew: each job left something for the next.
#[test]
fn ages_are_those_of_the_moment_when_all_is_asked_for() {
    let fs = SimFs::new();
    let engine = open(&fs, 1);
    let core = &engine.life().core;
    let age = Some(Duration::from_secs(1));
    let rule = |host: &str| RetentionRule { matchers: vec![Matcher::equal("host", host)], max_age: age };
    engine.set_retention(Retention { rules: vec![rule("1")], max_bytes: None }).unwrap();
    let mut asked = Asked::new(core);
    let first = asked.ages(&core.kept);
    within("the clock stands still", || *core.kept.coarse_ages() != *first);
    assert_eq!(*asked.ages(&core.kept), *first);
    // But for a rule that keeps more since: what that keeps must not be left out, and would be planned for ever.
    engine.set_retention(Retention { rules: vec![rule("2")], max_bytes: None }).unwrap();
    assert_ne!(*asked.ages(&core.kept), *first);
}
