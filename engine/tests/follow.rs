//! P10: reading beside the owner, while it flushes and recycles its log.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use support::{SOON, at, contents, copy_dir, name, series};
use tidegauge::admin::verify;
use tidegauge::{Durability, Engine, Level, OpenError, SeriesSample, Snapshot};

/// The samples of the one series, which must be 0..n without a gap; answers n.
fn prefix(snapshot: &Snapshot) -> i64 {
    let all = contents(snapshot);
    let Some(samples) = all.get(&name(0)) else { return 0 };
    assert!(samples.keys().copied().eq(0..samples.len() as i64), "a prefix without gaps");
    assert!(samples.iter().all(|(&t, &v)| v == (t as f64).to_bits()));
    samples.len() as i64
}

/// Whoever waits for this to rise waits no more when the one who raised it is gone.
struct LetGo<'a>(&'a AtomicI64);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.store(i64::MAX, Ordering::Release);
    }
}

#[test]
fn p10_a_reader_follows_an_owner_that_flushes_and_recycles_its_log() {
    const ROUNDS: i64 = 400;
    const BATCH: i64 = 250;
    let dir = tempfile::tempdir().unwrap();
    let owner = Engine::builder(dir.path()).flush_bytes(1 << 16).wal_bytes(1 << 20).open().unwrap();
    let (visible, looks, done) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
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
                // The reader has looked amid all this, however slow it is.
                while looks.load(Ordering::Acquire) < round / (ROUNDS / 8) {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        let _let_go = LetGo(&looks);
        let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
        let mut seen = prefix(&reader.snapshot());
        loop {
            let ended = done.load(Ordering::Acquire);
            let before = visible.load(Ordering::Acquire);
            let old = reader.snapshot();
            reader.refresh().unwrap();
            let now = prefix(&reader.snapshot());
            assert!(now >= before && now >= seen, "{now} of {before} that were visible; {seen} were seen before");
            assert_eq!(prefix(&old), seen, "an old snapshot stays as it is");
            if looks.fetch_add(1, Ordering::Release) % 8 == 0 {
                let report = verify(dir.path(), |_, _| {}).unwrap();
                assert!(report.is_sound(), "{report:?}");
            }
            seen = now;
            if ended {
                break;
            }
        }
        assert_eq!(seen, ROUNDS * BATCH);
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

/// Turns over a bit of the frame number `n` of the log's only file.
fn hurt(dir: &Path, n: usize) {
    let files: Vec<_> = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let file = files.iter().find(|path| path.extension().is_some_and(|e| e == "wal")).expect("a log");
    let mut bytes = std::fs::read(file).unwrap();
    let mut frames = (4096..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR"));
    let at = frames.nth(n).expect("so many frames");
    bytes[at + 100] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn p10_a_reader_tells_damage_amid_the_log_and_shows_no_part_as_all() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = Engine::builder(dir.path()).durability(Durability::Sync).open().unwrap();
    let id = series(&owner, 0);
    let push = |from: i64, n: i64| {
        for t in from..from + n {
            let ack = owner.push(id, at(t), t as f64).unwrap();
            owner.wait(ack, Level::Durable, SOON).unwrap();
        }
    };
    push(0, 10);
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    assert_eq!(prefix(&reader.snapshot()), 10);
    push(10, 10);
    hurt(dir.path(), 5);
    let told = |error: OpenError| {
        let said = error.to_string();
        assert!(matches!(error, OpenError::Wal(_)), "{said}");
        assert!(said.contains(".wal is damaged at byte ") && said.contains("(frame "), "{said}");
        assert!(said.contains("tidegauge verify") && said.contains("tidegauge repair"), "{said}");
    };
    // Beside the owner, again and again: what was shown stays.
    for _ in 0..2 {
        told(reader.refresh().unwrap_err());
        assert_eq!(prefix(&reader.snapshot()), 10);
        told(Engine::builder(dir.path()).read_only(true).open().expect_err("refused"));
    }
    // Without one.
    copy_dir(dir.path(), copy.path());
    told(Engine::builder(copy.path()).read_only(true).open().expect_err("refused"));
    // The owner has all of it in memory; once that is in a segment the log does not matter any more.
    owner.flush().unwrap();
    reader.refresh().unwrap();
    assert_eq!(prefix(&reader.snapshot()), 20);
    owner.close().unwrap();
}

/// Large frames, each of them synced, several files, and readers that look without a pause: whatever they meet half
/// written, with its witness behind it, is no damage.
#[test]
fn p10_no_false_alarm_beside_an_owner_that_syncs_rotates_and_recycles() {
    const ROUNDS: i64 = 300;
    const BATCH: i64 = 8_000;
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path()).durability(Durability::Interval(Duration::from_millis(1)));
    let owner = builder.flush_bytes(32 << 20).wal_bytes(16 << 20).open().unwrap();
    let (visible, done) = (AtomicI64::new(0), AtomicBool::new(false));
    // Values that do not shrink: the frames are as large as they get.
    let value = |t: i64| f64::from_bits((t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let id = series(&owner, 0);
            for round in 0..ROUNDS {
                let times = round * BATCH..(round + 1) * BATCH;
                let batch: Vec<_> = times.map(|t| SeriesSample::new(id, at(t), value(t))).collect();
                let ack = owner.push_batch(&batch).unwrap();
                let level = if round % 8 == 7 { Level::Durable } else { Level::Visible };
                owner.wait(ack, level, SOON).unwrap();
                visible.store((round + 1) * BATCH, Ordering::Release);
                if round % 50 == 49 {
                    owner.flush().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
                while !done.load(Ordering::Acquire) {
                    let before = visible.load(Ordering::Acquire);
                    reader.refresh().unwrap();
                    let samples = contents(&reader.snapshot()).remove(&name(0)).unwrap_or_default();
                    assert!(samples.len() as i64 >= before, "{} of {before}", samples.len());
                    assert!(samples.keys().copied().eq(0..samples.len() as i64), "a prefix without gaps");
                }
            });
        }
    });
    owner.close().unwrap();
}
