//! What a push costs besides time: no allocation, no system call.
#![allow(missing_docs)]

#[path = "support/allocations.rs"]
mod allocations;

use std::process::Command;
use std::time::Duration;

use tidegauge::{Appender, BackPressure, Durability, Engine, Level, SeriesId, SeriesSample, Timestamp, now};

const SERIES: usize = 16;
const BATCH: usize = 1_000;
/// Together they fit into a lane, so that no push waits, however slow the worker is.
const SINGLES: usize = 20_000;
const BATCHES: usize = 20;
const SOON: Duration = Duration::from_secs(60);

struct Pusher {
    engine: Engine,
    appender: Appender,
    ids: Vec<SeriesId>,
    batch: Vec<SeriesSample>,
    start: i64,
}

impl Pusher {
    /// Has pushed once in each way, so that what is made once is made.
    fn new(durability: Durability, dir: &std::path::Path) -> Self {
        let engine = Engine::builder(dir).durability(durability).open().unwrap();
        let resolve = |i: usize| engine.series(&[("__name__", "m"), ("i", &i.to_string())]).unwrap();
        let ids: Vec<SeriesId> = (0..SERIES).map(resolve).collect();
        let start = now().nanos();
        let sample = |i: usize| SeriesSample::new(ids[i % SERIES], Timestamp::from_nanos(start + i as i64), i as f64);
        let batch: Vec<_> = (0..BATCH).map(sample).collect();
        let appender = engine.appender_with(BackPressure::Reject).unwrap();
        assert!(appender.capacity() >= SINGLES + BATCHES * BATCH);
        let mut pusher = Self { engine, appender, ids, batch, start };
        // More than one in 1,024, which is timed.
        pusher.push(2_048, 1);
        pusher.drained();
        pusher
    }

    fn push(&mut self, singles: usize, batches: usize) {
        for i in 0..singles {
            let at = Timestamp::from_nanos(self.start + i as i64);
            self.appender.push(self.ids[i % SERIES], at, i as f64).unwrap();
        }
        for _ in 0..batches {
            self.appender.push_batch(&self.batch).unwrap();
        }
    }

    fn drained(&mut self) {
        let ack = self.appender.push_batch(&self.batch[..1]).unwrap();
        self.engine.wait(ack, Level::Visible, SOON).unwrap();
    }
}

#[test]
fn p1_a_push_allocates_nothing() {
    for durability in [Durability::Memory, Durability::DEFAULT] {
        let dir = tempfile::tempdir().unwrap();
        let mut pusher = Pusher::new(durability, dir.path());
        let before = allocations::of_this_thread();
        pusher.push(SINGLES, BATCHES);
        let during = allocations::of_this_thread() - before;
        drop(std::hint::black_box(Box::new(during)));
        assert_eq!(allocations::of_this_thread(), before + during + 1, "the counter counts");
        assert_eq!(during, 0, "allocations in {SINGLES} pushes and {BATCHES} batches ({durability})");
    }
}

/// Set for the process that pushes under strace.
const UNDER_STRACE: &str = "TIDEGAUGE_TEST_UNDER_STRACE";
/// Names that nobody looks for but to be seen by strace.
const BEGIN: &str = "/tidegauge-the-pushes-begin";
const END: &str = "/tidegauge-the-pushes-end";

/// Not where all tools are said to be.
fn skip(why: &str) {
    assert!(std::env::var_os("TIDEGAUGE_REQUIRE").is_none(), "{why}, and TIDEGAUGE_REQUIRE is set");
    eprintln!("skipped: {why}");
}

#[test]
fn p1_a_push_makes_no_system_call() {
    const TEST: &str = "p1_a_push_makes_no_system_call";
    if std::env::var_os(UNDER_STRACE).is_some() {
        let dir = tempfile::tempdir().unwrap();
        let mut pusher = Pusher::new(Durability::DEFAULT, dir.path());
        let _ = std::fs::metadata(BEGIN);
        pusher.push(SINGLES, BATCHES);
        let _ = std::fs::metadata(END);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&trace).arg(std::env::current_exe().unwrap());
    strace.args(["--exact", TEST]).env(UNDER_STRACE, "1");
    let Ok(ran) = strace.output() else { return skip("there is no strace") };
    let trace = std::fs::read_to_string(&trace).unwrap_or_default();
    let said = String::from_utf8_lossy(&ran.stderr);
    if trace.is_empty() {
        return skip(&format!("strace may not trace here: {said}"));
    }
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stdout));
    // Each line begins with the thread that it is about.
    let thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut lines = trace.lines().skip_while(|line| !line.contains(BEGIN));
    let pusher = lines.next().and_then(thread).expect("the begin is in the trace");
    let during: Vec<&str> = lines.take_while(|line| !line.contains(END)).collect();
    assert!(trace.contains(END), "the end is in the trace");
    let ours = during.iter().filter(|line| thread(line).as_ref() == Some(&pusher));
    // What a signal does to a call that was interrupted is no call of its own.
    let calls: Vec<&str> = ours.copied().filter(|line| line.contains('(') && !line.contains("resumed>")).collect();
    // One push in 1,024 reads the clock: a system call only where the system has no quicker way.
    let (clock, others): (Vec<&str>, Vec<&str>) = calls.into_iter().partition(|line| line.contains("clock_gettime("));
    assert!(clock.len() <= 2 * (SINGLES + BATCHES) / 1_024 + 2, "{clock:?}");
    assert!(others.is_empty(), "{others:#?}");
}
