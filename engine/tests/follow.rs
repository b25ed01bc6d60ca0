//! P10: reading beside the owner, while it flushes and recycles its log.

mod support;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use support::{SOON, at, contents, name, series};
use tidegauge::admin::verify;
use tidegauge::{Engine, Level, SeriesSample, Snapshot};

/// The samples of the one series, which must be 0..n without a gap; answers n.
fn prefix(snapshot: &Snapshot) -> i64 {
    let all = contents(snapshot);
    let Some(samples) = all.get(&name(0)) else { return 0 };
    assert!(samples.keys().copied().eq(0..samples.len() as i64), "a prefix without gaps");
    assert!(samples.iter().all(|(&t, &v)| v == (t as f64).to_bits()));
    samples.len() as i64
}

#[test]
fn p10_a_reader_follows_an_owner_that_flushes_and_recycles_its_log() {
    const ROUNDS: i64 = 400;
    const BATCH: i64 = 250;
    let dir = tempfile::tempdir().unwrap();
    let owner = Engine::builder(dir.path()).flush_bytes(1 << 16).wal_bytes(1 << 20).open().unwrap();
    let (visible, done) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let id = series(&owner, 0);
            let mut appender = owner.appender().unwrap();
            for round in 0..ROUNDS {
                let batch: Vec<_> =
                    (round * BATCH..(round + 1) * BATCH).map(|t| SeriesSample::new(id, at(t), t as f64)).collect();
                let ack = appender.push_batch(&batch).unwrap();
                owner.wait(ack, Level::Visible, SOON).unwrap();
                visible.store((round + 1) * BATCH, Ordering::Release);
                if round % 20 == 19 {
                    owner.flush().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
        let mut seen = prefix(&reader.snapshot());
        let mut looks = 0;
        loop {
            let ended = done.load(Ordering::Acquire);
            let before = visible.load(Ordering::Acquire);
            let old = reader.snapshot();
            reader.refresh().unwrap();
            let now = prefix(&reader.snapshot());
            assert!(now >= before && now >= seen, "{now} of {before} that were visible; {seen} were seen before");
            assert_eq!(prefix(&old), seen, "an old snapshot stays as it is");
            if looks % 8 == 0 {
                let report = verify(dir.path(), |_, _| {}).unwrap();
                assert!(report.is_sound(), "{report:?}");
            }
            (seen, looks) = (now, looks + 1);
            if ended {
                break;
            }
        }
        assert_eq!(seen, ROUNDS * BATCH);
        assert!(looks > 3, "{looks} looks");
        assert!(reader.stats().segments > 0);
    });
    assert!(owner.stats().flushes >= 20);
    owner.refresh().unwrap();
    owner.close().unwrap();
}

/// Segments that the reader is about to open are replaced by others, and their files go.
#[test]
fn p10_a_reader_refreshes_while_the_owner_compacts() {
    const ROUNDS: i64 = 120;
    const BATCH: i64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let owner = Engine::open(dir.path()).unwrap();
    let (visible, done) = (AtomicI64::new(0), AtomicBool::new(false));
    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (id, gone) = (series(&owner, 0), series(&owner, 1));
            for round in 0..ROUNDS {
                let times = round * BATCH..(round + 1) * BATCH;
                let mut batch: Vec<_> = times.map(|t| SeriesSample::new(id, at(t), t as f64)).collect();
                batch.push(SeriesSample::new(gone, at(round), 1.0));
                let ack = owner.push_batch(&batch).unwrap();
                owner.wait(ack, Level::Visible, SOON).unwrap();
                visible.store((round + 1) * BATCH, Ordering::Release);
                owner.flush().unwrap();
                if round % 10 == 5 {
                    owner.delete(r#"{host="1"}"#, at(0)..at(round)).unwrap();
                }
                if round % 4 == 3 {
                    owner.compact().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
        let (mut seen, mut most) = (prefix(&reader.snapshot()), 0);
        loop {
            let ended = done.load(Ordering::Acquire);
            let before = visible.load(Ordering::Acquire);
            let old = reader.snapshot();
            reader.refresh().unwrap();
            let now = prefix(&reader.snapshot());
            assert!(now >= before && now >= seen, "{now} of {before} that were visible; {seen} were seen before");
            assert_eq!(prefix(&old), seen, "an old snapshot keeps files that are gone from the folder");
            (seen, most) = (now, most.max(reader.stats().segments));
            if ended {
                break;
            }
        }
        assert_eq!(seen, ROUNDS * BATCH);
        let left = contents(&reader.snapshot());
        assert!(left == contents(&owner.snapshot()), "deletes included");
        assert!(left[&name(1)].len() < ROUNDS as usize);
        most
    });
    let stats = owner.stats();
    assert!(stats.compactions >= 10 && stats.segments < most.max(2), "{stats:?}, at most {most} at a time");
    owner.close().unwrap();
}

#[test]
fn a_refresh_that_finds_damage_keeps_what_was_shown() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Engine::open(dir.path()).unwrap();
    let id = series(&owner, 0);
    let ack = owner.push(id, at(0), 0.0).unwrap();
    owner.wait(ack, Level::Visible, SOON).unwrap();
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    assert_eq!(prefix(&reader.snapshot()), 1);
    std::fs::write(dir.path().join("MANIFEST"), b"none").unwrap();
    assert!(reader.refresh().is_err());
    assert_eq!(prefix(&reader.snapshot()), 1);
}
