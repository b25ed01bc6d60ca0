//! What readers and writers may rely on: one test for each row of the README's table of consistency.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{SOON, at, contents, name, series};
use tidegauge::{Batch, Engine, IncrementError, Level, Retry, SeriesId, Snapshot};

/// Ends the others when the test does, however that is.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// P2: what one thread has seen, each that hears of it sees too, or more: also through flushes.
#[test]
fn p2_reads_never_go_back_in_any_thread() {
    let engine = Engine::in_memory_builder().flush_bytes(1 << 16).open().unwrap();
    let id = series(&engine, 1);
    let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        for _ in 0..3 {
            scope.spawn(|| {
                // Once more after the end, so that a thread that began late has looked, too.
                let mut over = false;
                while !over {
                    over = done.load(Ordering::Acquire);
                    // Told by whoever looked before, in whatever thread.
                    let told = seen.load(Ordering::Acquire);
                    let snapshot = engine.snapshot();
                    let found = contents(&snapshot).get(&name(1)).map_or(0, |s| s.len() as u64);
                    assert!(found >= told, "{found} samples after {told} were seen");
                    seen.fetch_max(found, Ordering::AcqRel);
                }
            });
        }
        let (mut appender, mut last) = (engine.appender().unwrap(), None);
        for t in 0..3000 {
            last = Some(appender.push(id, at(t), t as f64).unwrap());
            if t % 500 == 0 {
                engine.flush().unwrap();
            }
            std::thread::yield_now();
        }
        // Where the worker had no processor all the while, nothing is visible yet.
        engine.wait(last.unwrap(), Level::Visible, SOON).unwrap();
    });
    assert_eq!(seen.load(Ordering::Acquire), 3000);
}

/// The newest value of each account as of a snapshot.
fn balances(snapshot: &Snapshot, accounts: usize) -> Vec<f64> {
    let all = contents(snapshot);
    let newest = |host| all[&name(host)].last_key_value().map(|(_, &bits)| f64::from_bits(bits)).unwrap();
    (0..accounts).map(newest).collect()
}

/// P8: transfers between accounts, each of which reads two in a snapshot and writes both, on the condition that both
/// are unchanged. Money is neither made nor lost, and no account is overdrawn, in any snapshot.
#[test]
fn p8_batches_on_the_condition_of_all_they_read_are_serializable() {
    const ACCOUNTS: usize = 4;
    const THREADS: u64 = 4;
    const EACH: u64 = 60;
    const TOTAL: f64 = ACCOUNTS as f64 * 10.0;
    let engine = Engine::in_memory().unwrap();
    let ids: Vec<SeriesId> = (0..ACCOUNTS).map(|host| series(&engine, host)).collect();
    let clock = AtomicU64::new(1);
    let mut opening = engine.batch();
    ids.iter().for_each(|&id| opening.push(id, at(0), 10.0).unwrap());
    opening.commit().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let now = balances(&engine.snapshot(), ACCOUNTS);
                assert_eq!(now.iter().sum::<f64>(), TOTAL, "{now:?}");
                assert!(now.iter().all(|&b| b >= 0.0), "{now:?}");
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (engine, ids, clock) = (&engine, &ids, &clock);
                scope.spawn(move || {
                    let patient = Retry { tries: u32::MAX, ..Retry::default() };
                    for n in 0..EACH {
                        let (from, to) =
                            ((thread + n) as usize % ACCOUNTS, (thread * 3 + n * 7 + 1) as usize % ACCOUNTS);
                        if from == to {
                            continue;
                        }
                        let transfer = |batch: &mut Batch| {
                            let snapshot = engine.snapshot();
                            let now = balances(&snapshot, ACCOUNTS);
                            let amount = now[from].min(1.0 + n as f64 % 7.0);
                            // Unique and growing with the order of the tries; the order of the commits decides.
                            let when = at(clock.fetch_add(1, Ordering::Relaxed) as i64);
                            batch.expect_unchanged(ids[from], &snapshot).expect_unchanged(ids[to], &snapshot);
                            batch.push(ids[from], when, now[from] - amount)?;
                            batch.push(ids[to], when, now[to] + amount)?;
                            Ok::<(), IncrementError>(())
                        };
                        patient.run(engine, transfer).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    assert_eq!(balances(&engine.snapshot(), ACCOUNTS).iter().sum::<f64>(), TOTAL);
}

/// P1, P2: an idle engine shows a push unasked, though nobody wakes the worker.
#[test]
fn p2_a_push_becomes_visible_unasked() {
    let engine = Engine::in_memory().unwrap();
    let ack = engine.appender().unwrap().push(series(&engine, 1), at(1), 1.0).unwrap();
    let deadline = std::time::Instant::now() + SOON;
    while contents(&engine.snapshot()).is_empty() {
        assert!(std::time::Instant::now() < deadline, "never");
        std::thread::yield_now();
    }
    engine.wait(ack, Level::Visible, SOON).unwrap();
}
