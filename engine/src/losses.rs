//! What each durability loses, and no more: the rows of the README's table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Random, SimFs};
use tidegauge_storage::manifest::Manifest;
use tidegauge_storage::model::{LabelLimits, Timestamp};
use tidegauge_storage::wal::{FrameNo, RecoverMode, WalState, WalWriter, WriterOptions};

use crate::appender::Ack;
use crate::batch::BatchRequest;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::faults::{SOON, contents, series};
use crate::ingest::{Log, Request};
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::recovery::{OnProgress, OpenStep, Step};
use crate::registry::{Registry, SeriesId};
use crate::replay::Replayer;
use crate::requests::reply;
use crate::ring::LaneId;
use crate::subscribe::{Lag, SubscribeOptions};

const MILLISECOND: Duration = Duration::from_millis(1);

fn open(fs: &SimFs, durability: Durability) -> Engine {
    open_with(fs, durability, |_| ())
}

fn open_with(fs: &SimFs, durability: Durability, with: impl FnOnce(&mut Builder)) -> Engine {
    let mut builder = Builder::new(None).durability(durability).wal_bytes(1 << 20).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    with(&mut builder);
    builder.open().unwrap()
}

/// A log, a disk, and a clock that stands still but where it is moved on: by a millisecond, in which one sample becomes
/// visible. Now and then the power fails.
struct Minute {
    fs: SimFs,
    log: Log,
    registry: Registry,
    id: SeriesId,
    store_id: u128,
    wal: WalState,
    start: Instant,
    now: u32,
    interval: u32,
    /// When the sync under way began, and how long the longest one took.
    syncing_since: Option<u32>,
    longest: u32,
    /// The most that was lost, in samples: what was visible so many milliseconds before.
    most_lost: u32,
}

impl Minute {
    fn new(interval: u32) -> Self {
        let (fs, dir) = (SimFs::new(), Path::new("d"));
        let manifest = Manifest::open_or_create(Arc::new(fs.clone()), dir).unwrap();
        let state = manifest.state();
        let mut options = WriterOptions::new(state.store_id, state.open_number, FrameNo(1));
        options.file_bytes = 1 << 16;
        let writer = WalWriter::open(Arc::new(fs.clone()), dir.join("wal"), state.wal.oldest_epoch, options).unwrap();
        let start = Instant::now();
        let log = Log::new(writer, Durability::Interval(MILLISECOND * interval), 2);
        let registry = Registry::new(10, LabelLimits::DEFAULT);
        let slot = registry.resolve_labels(&registry.labels(&[("__name__", "cpu")]).unwrap()).unwrap();
        Self {
            id: SeriesId { slot, tag: 1 },
            store_id: state.store_id,
            wal: state.wal.clone(),
            fs,
            log,
            registry,
            start,
            now: 0,
            interval,
            syncing_since: None,
            longest: 0,
            most_lost: 0,
        }
    }

    fn time(&self) -> Instant {
        self.start + MILLISECOND * self.now
    }

    fn millisecond(&mut self) {
        self.now += 1;
        let sample = [SeriesSample::new(self.id, Timestamp::from_nanos(self.now.into()), 1.0)];
        self.log.begin(self.now.into());
        self.log.add(&sample, 2, self.registry.slots(), &mut |_, _| false).unwrap();
        self.log.finish(self.registry.slots(), &mut |_, _| false).unwrap();
        if let Some(since) = self.syncing_since {
            self.longest = self.longest.max(self.now - since);
        }
        if self.now.is_multiple_of(7) {
            self.lose_power();
        }
    }

    fn lose_power(&mut self) {
        let disk = self.fs.crash(self.now.into());
        let registry = Registry::new(10, LabelLimits::DEFAULT);
        let mut replayer = Replayer::new(&registry, 1);
        let nobody = OnProgress::default();
        let step = Step::new(&nobody, OpenStep::ReplayLog);
        let recovered =
            replayer.recover(&disk, Path::new("d/wal"), self.store_id, &self.wal, RecoverMode::Strict, &step);
        recovered.unwrap();
        let back: u64 = replayer.finish(1).sealed.iter().map(|memtable| memtable.samples()).sum();
        let lost = self.now - back as u32;
        // One more: the clock has stood still for it.
        let bound = self.interval.max(self.longest) + self.longest + 1;
        assert!(lost <= bound, "at {} ms: {lost} ms are lost, not {bound}", self.now);
        self.most_lost = self.most_lost.max(lost);
    }
}

/// P3, by a clock of its own: a power loss costs what became visible within the interval, or the sync before if that
/// takes longer, and the sync that was under way.
#[test]
fn p3_a_power_loss_costs_at_most_the_interval_and_a_sync() {
    for (interval, sync) in [(100, 5), (100, 60), (20, 50), (100, 0)] {
        let minute = Arc::new(Mutex::new(Minute::new(interval)));
        let fs = minute.lock().unwrap().fs.clone();
        let meanwhile = Arc::clone(&minute);
        // The first sync is of the folder, too.
        fs.on_sync(Arc::new(move || {
            (0..sync).for_each(|_| meanwhile.lock().unwrap().millisecond());
            "any".into()
        }));
        loop {
            let job = {
                let mut minute = minute.lock().unwrap();
                minute.millisecond();
                if minute.now > 1_500 {
                    break;
                }
                // As the worker does it, whenever the sync thread is free.
                let now = minute.time();
                let due = minute.log.is_sync_due(now);
                let job = due.then(|| minute.log.sync_point(now)).flatten();
                minute.syncing_since = job.as_ref().map(|_| minute.now);
                job
            };
            if let Some(job) = job {
                let through = job.run().unwrap();
                let mut minute = minute.lock().unwrap();
                minute.syncing_since = None;
                minute.log.note_synced(through);
            }
        }
        let most = minute.lock().unwrap().most_lost;
        assert!(most >= interval.max(sync), "{interval}, {sync}: only {most} ms were lost, so the bound says little");
    }
}

/// P3, with the engine itself, and the machine's clock: so what the machine itself did late is allowed for, and a
/// quarter of a second more. Where it was so late that nothing can be told, it is tried again for longer.
#[test]
fn p3_what_was_visible_for_longer_than_the_interval_survives_a_power_loss() {
    let tries = [1_500, 3_000, 6_000, 12_000].map(|millis| MILLISECOND * millis);
    let told = tries.into_iter().any(|time| owed_and_kept(Duration::from_millis(100), time) > 0);
    assert!(told, "the machine is too slow to tell");
}

/// Pushes a sample a millisecond for `time`, while the power fails now and then. Answers how many samples at most had
/// been visible for longer than a power loss may cost, all of which came back.
fn owed_and_kept(interval: Duration, time: Duration) -> usize {
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Interval(interval));
    let (id, other) = (series(&engine, 1), series(&engine, 2));
    let began = Instant::now();
    let (mut seen, mut disks, mut slowest) = (Vec::new(), Vec::new(), Duration::ZERO);
    // What a sync takes from when it is due, with all that the threads wait for a processor, is what somebody sees who
    // always waits for one.
    let longest = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while began.elapsed() < time {
                let pushed = Instant::now();
                let ack = engine.push(other, crate::clock::now(), 1.0).unwrap();
                engine.wait(ack, Level::Durable, SOON).unwrap();
                longest = longest.max(pushed.elapsed());
            }
            longest
        });
        while began.elapsed() < time {
            let pushed = Instant::now();
            let ack = engine.push(id, Timestamp::from_nanos(seen.len() as i64), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
            slowest = slowest.max(pushed.elapsed());
            seen.push(Instant::now());
            if seen.len().is_multiple_of(64) {
                let failed = Instant::now();
                disks.push((failed, fs.crash(seen.len() as u64)));
            }
            while pushed.elapsed() < MILLISECOND {
                std::thread::yield_now();
            }
        }
        waiting.join().unwrap()
    });
    let bound = interval.max(longest) + longest + slowest + Duration::from_millis(250);
    let mut kept = 0;
    for (failed, disk) in disks {
        let is_own = |(series, _): &&(String, i64)| series.contains("\"1\"");
        let back = contents(&open(&disk, Durability::Interval(interval))).keys().filter(is_own).count();
        let owed = seen.iter().take_while(|at| **at + bound < failed).count();
        assert!(back >= owed, "{back} came back, {owed} had been visible for {bound:?}");
        kept = kept.max(owed);
    }
    kept
}

/// P3: nobody waits, so nothing but the interval makes a sync due. What the machine does late is no matter: when a sample is
/// visible that was pushed an interval behind the last hand-over, the next one has happened, since the worker looks for it
/// once a round. Before the interval is over one may happen, where the worker rests.
#[test]
fn p3_the_log_is_handed_over_to_be_synced_once_an_interval_though_nobody_waits() {
    let interval = 50 * MILLISECOND;
    let fs = SimFs::new();
    let engine = open(&fs, Durability::Interval(interval));
    let (id, life) = (series(&engine, 1), engine.life());
    let (durable, sync) = (&life.core.durable, life.sync.as_ref().unwrap());
    let mut pushed = 0;
    let mut push = || {
        let ack = engine.push(id, Timestamp::from_nanos(pushed), 1.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
        pushed += 1;
    };
    for round in 0..6 {
        let covered = durable.seq();
        // In this order: one that ends in between has told what is durable.
        let handed_over = || !sync.is_free() || durable.seq() > covered;
        // The last hand-over was not behind this, or the next one is under way.
        let not_behind = Instant::now();
        loop {
            let looked = Instant::now();
            if handed_over() {
                break;
            }
            // The first one's round ends before the second one is visible.
            (0..2).for_each(|_| push());
            let is_due = looked.duration_since(not_behind) >= interval;
            assert!(!is_due || handed_over(), "{round}: none after {:?}", not_behind.elapsed());
        }
        let deadline = Instant::now() + SOON;
        while durable.seq() <= covered {
            assert!(Instant::now() < deadline, "it is not synced");
            std::thread::yield_now();
        }
    }
}

/// P3: appenders that push and wait at once, while a sync is under way: the next one serves all of them.
#[test]
fn p3_a_sync_and_the_next_one_serve_all_that_push_and_wait_meanwhile() {
    const APPENDERS: u64 = 8;
    let fs = SimFs::new();
    let engine = open_with(&fs, Durability::Sync, |builder| builder.pace = Pace::NEVER);
    let ids: Vec<_> = (0..APPENDERS as usize).map(|host| series(&engine, host)).collect();
    let is_held = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Arc::clone(&is_held);
    let is_of_log = || std::thread::current().name().is_some_and(|name| name.contains("sync"));
    fs.on_sync(Arc::new(move || {
        let (held, changed) = &*held;
        if is_of_log() {
            let (_held, waited) = changed.wait_timeout_while(held.lock().unwrap(), SOON, |held| *held).unwrap();
            assert!(!waited.timed_out(), "never let go");
        }
        "any".into()
    }));
    let hold = |on: bool| {
        *is_held.0.lock().unwrap() = on;
        is_held.1.notify_all();
    };
    // The first sync tells the manifest of a new file; the second one comes behind that.
    for at in 0..2 {
        let ack = engine.push(ids[0], Timestamp::from_nanos(at), 1.0).unwrap();
        engine.wait(ack, Level::Durable, SOON).unwrap();
    }
    for round in 0..20 {
        let (syncs, visible) = (engine.stats().fdatasync.count, engine.stats().visible_seq);
        hold(true);
        std::thread::scope(|scope| {
            for &id in &ids {
                let engine = &engine;
                scope.spawn(move || {
                    let mut appender = engine.appender().unwrap();
                    let ack = appender.push(id, Timestamp::from_nanos(10 + round), 1.0).unwrap();
                    engine.wait(ack, Level::Durable, SOON).unwrap();
                });
            }
            let deadline = Instant::now() + SOON;
            while engine.stats().visible_seq < visible + APPENDERS {
                assert!(Instant::now() < deadline, "a sync holds pushes up");
                std::thread::yield_now();
            }
            hold(false);
        });
        let syncs = engine.stats().fdatasync.count - syncs;
        assert!((1..=2).contains(&syncs), "{syncs} fdatasyncs for {APPENDERS} that wait");
    }
}

/// P3: a subscription that nobody reads, and that the worker is held up by for a minute. What is visible is synced when
/// that is due, whether somebody waits for it or not, and a batch has its verdict.
#[test]
fn p3_a_subscription_that_holds_the_worker_up_delays_no_sync() {
    for (waits, interval) in [(true, Duration::from_secs(3600)), (false, MILLISECOND)] {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Interval(interval));
        let id = series(&engine, 1);
        let options = SubscribeOptions { samples: 2, lag: Lag::Hold(2 * SOON) };
        let never_read = engine.subscribe_with("cpu", options).unwrap();
        // The second commit finds no room.
        let committed = [1, 2].map(|at| {
            let mut batch = engine.batch();
            batch.push(id, Timestamp::from_nanos(at), 1.0).unwrap();
            batch.commit_within(SOON).unwrap()
        });
        let deadline = Instant::now() + SOON;
        while engine.stats().subscription_holds == 0 {
            assert!(Instant::now() < deadline, "held up by nobody");
            std::thread::yield_now();
        }
        if waits {
            engine.wait(committed[1].ack(), Level::Durable, SOON).unwrap();
        }
        let back = || contents(&open(&fs.crash(1), Durability::Interval(interval))).len();
        while back() < 2 {
            assert!(!waits && Instant::now() < deadline, "what was visible is lost");
        }
        assert_eq!(engine.stats().subscription_hold_timeouts, 0, "still held up");
        drop(never_read);
    }
}

/// A waker that stands still: it says that it was woken, and waits until it is let go.
struct StandsStill(Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Wake for StandsStill {
    fn wake(self: Arc<Self>) {
        let ends = self.0.lock().unwrap();
        // A test that has failed is gone.
        let _ = ends.0.send(());
        let _ = ends.1.recv();
    }
}

/// Batches that were asked together were all committed before the first of them was handed over to be synced.
#[test]
fn who_waits_for_the_first_of_many_batches_waits_for_its_own_sync() {
    let engine = open(&SimFs::new(), Durability::Interval(Duration::from_secs(3600)));
    let (core, ids) = (&engine.life().core, [0, 1, 2].map(|host| series(&engine, host)));
    let first = core.watermark.seq();
    // At the push, so that both batches are there when the worker looks; and at each of them.
    let mut subscriptions = Vec::new();
    let mut stand_still_at = |host: usize| {
        let ((woken, told), (let_go, waits)) = (mpsc::channel(), mpsc::channel());
        let waker = Waker::from(Arc::new(StandsStill(Mutex::new((woken, waits)))));
        let mut live = engine.subscribe(&format!(r#"cpu{{host="{host}"}}"#)).unwrap();
        assert!(live.poll_recv(&mut Context::from_waker(&waker)).is_pending());
        subscriptions.push(live);
        (told, let_go)
    };
    let (push_came, go_on) = stand_still_at(0);
    let (first_came, on_to_the_second) = stand_still_at(1);
    let (batches_came, end) = stand_still_at(2);
    engine.push(ids[0], Timestamp::from_nanos(0), 0.0).unwrap();
    push_came.recv_timeout(SOON).unwrap();
    for &id in &ids[1..] {
        let samples = vec![SeriesSample::new(id, Timestamp::from_nanos(0), 0.0)];
        let request = Request::Batch(BatchRequest { samples, checks: Vec::new(), replier: reply().0 });
        core.ask(request, 1, SOON).unwrap();
    }
    go_on.send(()).unwrap();
    first_came.recv_timeout(SOON).unwrap();
    // Not before: what was pushed would be synced for it meanwhile.
    let ack = Ack { lane: LaneId::NONE, position: first + 2, tag: core.tag };
    let mut durable = Box::pin(engine.wait_async(ack, Level::Durable));
    assert!(durable.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    on_to_the_second.send(()).unwrap();
    batches_came.recv_timeout(SOON).unwrap();
    let deadline = Instant::now() + SOON / 4;
    while core.durable.seq() < first + 2 {
        assert!(Instant::now() < deadline, "the first batch waits for the second one");
        std::thread::yield_now();
    }
    end.send(()).unwrap();
}

/// P3 without a log: whenever the process is killed, or the power fails, exactly what was flushed is there. Batches are
/// whole (P8), and the last accepted of a timestamp is there (P6): never a part of a flush.
#[test]
fn p3_without_a_log_a_kill_leaves_exactly_what_was_flushed() {
    let fs = SimFs::new();
    fs.record();
    let engine = open(&fs, Durability::Memory);
    let ids: Vec<_> = (0..3).map(|host| series(&engine, host)).collect();
    // What is there after each flush, and the steps from when it was asked for until it was done.
    let mut flushed = vec![(0, fs.steps(), BTreeMap::new())];
    for round in 1..=5i64 {
        let mut batch = engine.batch();
        for &id in &ids {
            // New, overwritten, and older than all that is there: a flush makes two segments of it.
            for at in [round * 10, 7, -round] {
                batch.push(id, Timestamp::from_nanos(at), round as f64).unwrap();
            }
        }
        batch.commit().unwrap();
        if round == 5 {
            break;
        }
        let (begun, visible) = (fs.steps(), contents(&engine));
        engine.flush().unwrap();
        flushed.push((begun, fs.steps(), visible));
        assert_eq!(engine.stats().segments, 2 * round as u64, "in order, and older");
    }
    let visible = contents(&engine);
    let mut timeline = fs.timeline();
    drop(engine);
    assert!(visible.len() > flushed[4].2.len(), "something is not flushed");
    let (mut last, mut points) = (0, 0);
    loop {
        let at = timeline.at();
        for disk in [timeline.kill(), timeline.power_loss(&mut Random::new(at))] {
            let back = contents(&open(&disk, Durability::Memory));
            let may_be = |(begun, _, what): &&(u64, u64, BTreeMap<_, _>)| *begun <= at && *what == back;
            let found = flushed.iter().rposition(|flush| may_be(&flush));
            let owed = flushed.iter().rposition(|(_, done, _)| *done <= at).unwrap_or(0);
            assert!(found.is_some_and(|found| found >= owed), "step {at}: {found:?} of {owed}, {back:?}");
            last = last.max(found.unwrap_or(0));
            points += 1;
        }
        if timeline.is_over() {
            break;
        }
        timeline.advance();
    }
    assert!(last == 4 && points > 100, "{last} flushes, {points} points");
}
