//! P0 and P5 on a simulated disk: one order for all lanes, and what a crash leaves of it.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::faults::{SOON, contents, series};
use crate::options::{Builder, Durability, Level};

fn open(fs: &SimFs, durability: Durability, flush_bytes: u64) -> Engine {
    let mut builder = Builder::new(None).durability(durability).wal_bytes(1 << 20).flush_bytes(flush_bytes);
    builder.lane_samples = 64;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

/// P0: four appenders and the common lane push to the same (series, timestamp) places at once, so the last accepted
/// wins each of them. The log, read back after the process is gone, names the same winners as the memtable did; and
/// who pushes after he has seen another's sample has the higher number.
#[test]
fn p0_the_log_and_what_is_visible_have_one_order_over_all_lanes() {
    for round in 0..6 {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Interval(Duration::from_millis(1)), 256 << 20);
        let ids: Vec<_> = (0..3).map(|host| series(&engine, host)).collect();
        std::thread::scope(|scope| {
            for who in 0..5 {
                let (engine, ids) = (&engine, &ids);
                scope.spawn(move || {
                    let mut appender = engine.appender().unwrap();
                    let mut ack = None;
                    for i in 0..2_000i64 {
                        let (id, at) = (ids[(i % 3) as usize], Timestamp::from_nanos(i / 3 % 50));
                        let value = (who * 1_000_000 + i) as f64;
                        ack = Some(if who == 0 { engine.push(id, at, value) } else { appender.push(id, at, value) });
                    }
                    engine.wait(ack.unwrap().unwrap(), Level::Visible, SOON).unwrap();
                });
            }
        });
        let mut appenders: Vec<_> = (0..3).map(|_| engine.appender().unwrap()).collect();
        let mut last = None;
        for i in 0..30 {
            let ack = appenders[i % 3].push(ids[0], Timestamp::from_nanos(100 + i as i64), 0.0).unwrap();
            let seq = engine.wait(ack, Level::Visible, SOON).unwrap();
            assert!(last < Some(seq), "a later push has a lower number");
            last = Some(seq);
        }
        let (seen, killed) = (contents(&engine), fs.kill());
        assert_eq!(seen.len(), 3 * 50 + 30);
        assert!(contents(&open(&killed, Durability::DEFAULT, 256 << 20)) == seen, "round {round}: another won");
    }
}

/// P5: whatever a power loss leaves of what was not synced, an exact prefix of the order comes back, with every
/// durable acknowledgement in it; opening it again gives the same, and so after another loss.
#[test]
fn p5_a_crash_leaves_an_exact_prefix_with_every_durable_ack() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(2))] {
        // So small that memtables are flushed meanwhile.
        let fs = SimFs::new();
        let engine = open(&fs, durability, 1 << 16);
        let ids: Vec<_> = (0..7).map(|host| series(&engine, host)).collect();
        let mut appenders: Vec<_> = (0..3).map(|_| engine.appender().unwrap()).collect();
        let (mut durable, mut lost) = (0, 0);
        for i in 0..3_000usize {
            let (id, at) = (ids[i % 7], Timestamp::from_nanos((i ^ 3) as i64));
            let pushed = match i % 4 {
                3 => engine.push(id, at, i as f64),
                lane => appenders[lane].push(id, at, i as f64),
            };
            let ack = pushed.unwrap();
            // The next lane only once this one's sample is ordered.
            engine.wait(ack, Level::Visible, SOON).unwrap();
            if i % 97 == 0 {
                engine.wait(ack, Level::Durable, SOON).unwrap();
                durable = i + 1;
            }
            if i % 61 == 60 || i % 97 == 0 {
                for seed in 0..3 {
                    let disk = fs.crash(i as u64 * 3 + seed);
                    let found = prefix(&contents(&open(&disk, durability, 1 << 16)));
                    assert!(
                        (durable..=i + 1).contains(&found),
                        "{found} of {} came back, {durable} were durable",
                        i + 1
                    );
                    lost += i + 1 - found;
                    assert_eq!(prefix(&contents(&open(&disk.crash(seed), durability, 1 << 16))), found, "twice");
                }
            }
        }
        assert!(lost > 0, "no crash lost anything: it shows nothing");
    }
}

/// How many samples these are, all of the first ones.
fn prefix(found: &std::collections::BTreeMap<(String, i64), f64>) -> usize {
    let mut order: Vec<usize> = found
        .iter()
        .map(|((_, at), value)| {
            assert_eq!(*at, (*value as usize ^ 3) as i64);
            *value as usize
        })
        .collect();
    order.sort_unstable();
    assert!(order.iter().copied().eq(0..order.len()), "not a prefix: {order:?}");
    order.len()
}
