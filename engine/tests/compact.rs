//! Compaction as users meet it: the same answers from fewer, smaller files.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use support::{Contents, SOON, at, contents, name, series};
use tidegauge::{CompactError, Durability, Engine, Level, SeriesSample};

/// Files of segments, and their bytes.
fn files(dir: &Path) -> (usize, u64) {
    let files = std::fs::read_dir(dir.join("segments")).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    files.fold((0, 0), |(n, bytes), len| (n + 1, bytes + len))
}

/// Pushes and flushes `flushes` times; every tenth sample comes a thousand ticks late.
fn fill(engine: &Engine, flushes: i64) -> Contents {
    let ids: Vec<_> = (0..5).map(|host| series(engine, host)).collect();
    let mut appender = engine.appender().unwrap();
    let mut twin = Contents::new();
    for flush in 0..flushes {
        let mut ack = None;
        for t in flush * 2_000..(flush + 1) * 2_000 {
            // Some fill a gap, some overwrite what is there.
            let back = if t % 20 == 7 { 1_000 } else { 1_003 * i64::from(t % 20 == 17) };
            let when = 1_000_000 + t - back;
            let value = (when % 1_000) as f64 + f64::from(back == 1_003);
            let batch: Vec<_> = ids.iter().map(|&id| SeriesSample::new(id, at(when), value)).collect();
            ack = Some(appender.push_batch(&batch).unwrap());
            for host in 0..5 {
                twin.entry(name(host)).or_default().insert(when, value.to_bits());
            }
        }
        engine.wait(ack.unwrap(), Level::Visible, SOON).unwrap();
        engine.flush().unwrap();
    }
    twin
}

/// P6: the same before and after compaction, and after the next opening; late and overwritten samples cost nothing.
#[test]
fn p6_compaction_changes_no_answer_and_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let open = |in_background| Engine::builder(dir.path()).background_compaction(in_background).open().unwrap();
    let engine = open(false);
    let twin = fill(&engine, 6);
    assert_eq!(contents(&engine.snapshot()), twin);
    let (many, fresh) = files(dir.path());
    assert_eq!(many, 12, "one in order and one late a flush");
    engine.compact().unwrap();
    assert_eq!(contents(&engine.snapshot()), twin);
    let (few, compacted) = files(dir.path());
    assert_eq!(few, 1);
    assert!(compacted < fresh, "{compacted} of {fresh}");
    let stats = engine.stats();
    assert!(stats.compactions >= 1 && stats.compactions_failed == 0 && !stats.compacting);
    assert!(stats.compacted_bytes_in >= fresh && stats.compacted_bytes_out >= compacted);
    assert_eq!(stats.segment_samples, twin.values().map(|s| s.len() as u64).sum::<u64>());
    engine.compact().unwrap();
    assert_eq!(engine.stats().compactions, stats.compactions, "nothing is left to do");
    engine.close().unwrap();
    let engine = open(true);
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.close().unwrap();
    assert_eq!(Engine::builder(dir.path()).read_only(true).open().unwrap().compact(), Err(CompactError::ReadOnly));
}

/// Bytes of all segments, half written ones too. A file may go between being listed and being looked at.
fn bytes_now(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("segments")).unwrap();
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

/// Four times what a segment may weigh, whatever there is to merge (docs/compaction.md, "What it costs").
#[test]
fn compaction_takes_no_more_extra_disk_than_is_stated() {
    const SEGMENT: u64 = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path()).background_compaction(false).compact_threads(4).segment_bytes(SEGMENT);
    let engine = builder.open().unwrap();
    // Each flush spans the time of all others: one stack.
    for flush in 0..40 {
        for host in 0..5 {
            let id = series(&engine, host);
            let sample = |i: i64| SeriesSample::new(id, at(i * 40 + flush), ((i * 40 + flush + 2) as f64).sqrt());
            let ack = engine.push_batch(&(0..600).map(sample).collect::<Vec<_>>()).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
        }
        engine.flush().unwrap();
    }
    let (count, before) = files(dir.path());
    assert!(count == 40 && before > 2 * 4 * SEGMENT, "{count} files of {before} bytes");
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(bytes_now(dir.path()));
            }
            most
        });
        let compacted = engine.compact();
        done.store(true, Ordering::Relaxed);
        compacted.unwrap();
        looks.join().unwrap()
    });
    assert!(engine.stats().compacted_bytes_out > before / 2, "most of it was written anew");
    assert!(most <= before + 4 * SEGMENT, "{} bytes beside {before}", most - before);
}

/// P7: what a snapshot reads stays until it is dropped, its files too.
#[test]
fn p7_a_snapshot_keeps_the_files_that_compaction_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    let twin = fill(&engine, 3);
    let held = engine.snapshot();
    let selected = held.select("cpu").unwrap();
    drop(held);
    engine.compact().unwrap();
    assert_eq!(files(dir.path()).0, 7, "six old ones and a new one");
    let read: usize = selected.iter().map(|s| s.read().unwrap().len()).sum();
    assert_eq!(read, twin.values().map(|s| s.len()).sum::<usize>());
    drop(selected);
    // Whoever looked at the old version just then still held it for a moment: a later snapshot sweeps too.
    let deadline = Instant::now() + SOON;
    while files(dir.path()).0 > 1 {
        assert!(Instant::now() < deadline, "the old files stay");
        drop(engine.snapshot());
    }
    assert_eq!(contents(&engine.snapshot()), twin);
}

/// In the background: a store that is flushed often does not fill up with segments, and pushes go on.
#[test]
fn segments_are_merged_as_they_come() {
    let engine = Engine::in_memory_builder().durability(Durability::Memory).open().unwrap();
    let twin = fill(&engine, 24);
    let deadline = Instant::now() + SOON;
    while engine.stats().compacting || engine.stats().segments > 12 {
        assert!(Instant::now() < deadline, "{} segments", engine.stats().segments);
        std::thread::yield_now();
    }
    assert_eq!(contents(&engine.snapshot()), twin);
    let stats = engine.stats();
    let amplification = (stats.flushed_bytes + stats.compacted_bytes_out) as f64 / stats.flushed_bytes as f64;
    assert!(amplification < 6.0, "{amplification}");
}

/// A close in the middle of a compaction loses nothing, and the next opening goes on.
#[test]
fn a_close_interrupts_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    let twin = fill(&engine, 6);
    std::thread::scope(|scope| {
        let asked = engine.clone();
        let compaction = scope.spawn(move || asked.compact());
        engine.clone().close().unwrap();
        assert!(matches!(compaction.join().unwrap(), Ok(()) | Err(CompactError::Closed)));
    });
    drop(engine);
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.compact().unwrap();
    assert_eq!(contents(&engine.snapshot()), twin);
    engine.close().unwrap();
    assert_eq!(files(dir.path()).0, 1, "nothing is left over");
}

/// Each timestamp column is shared by two metrics: flushes stored it once, and compaction twice.
#[test]
fn compaction_makes_nothing_larger_by_storing_shared_timestamps_twice() {
    const HOSTS: u64 = 340;
    const FLUSH: i64 = 2_048;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    let metrics = ["idle", "user"].map(|metric| {
        let id = |host| engine.series(&[("__name__", metric), ("host", &format!("{host:03}"))]).unwrap();
        (0..HOSTS).map(id).collect::<Vec<_>>()
    });
    // Each host's clock jitters by itself.
    let when = |host: u64, i: i64| {
        let mixed = (host << 32 | i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        at(i * 15_000_000_000 + noise as i64)
    };
    for flush in 0..2 {
        for ids in &metrics {
            for (host, &id) in (0..).zip(ids) {
                let sample = |i| SeriesSample::new(id, when(host, i), host as f64);
                let batch: Vec<_> = (flush * FLUSH..(flush + 1) * FLUSH).map(sample).collect();
                let ack = engine.push_batch(&batch).unwrap();
                engine.wait(ack, Level::Visible, SOON).unwrap();
            }
        }
        engine.flush().unwrap();
    }
    let twin = contents(&engine.snapshot());
    let (_, flushed) = files(dir.path());
    engine.compact().unwrap();
    let (count, compacted) = files(dir.path());
    assert!(flushed > 5 << 20, "{flushed} bytes of columns do not show it");
    assert!(count == 1 && compacted < flushed, "{compacted} of {flushed}");
    assert!(contents(&engine.snapshot()) == twin, "the same is read back");
    engine.close().unwrap();
}
