//! P9: deletes hide at once what was accepted before them, survive restarts, and give space back.

mod support;

use std::path::Path;
use std::time::Instant;

use support::{Contents, SOON, at, contents, name, series};
use tidegauge::{DeleteError, Engine, Level, SeriesSample, TimeRange};

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end))
}

fn selector(host: usize) -> String {
    format!("cpu{{host=\"{host}\"}}")
}

/// What a snapshot answers to queries: series without a visible sample left out.
fn push(engine: &Engine, host: usize, times: std::ops::Range<i64>, value: f64) {
    let id = series(engine, host);
    let batch: Vec<_> = times.map(|t| SeriesSample::new(id, at(t), value)).collect();
    let ack = engine.push_batch(&batch).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

fn times(all: &Contents, host: usize) -> Vec<i64> {
    all.get(&name(host)).map(|s| s.keys().copied().collect()).unwrap_or_default()
}

/// P9: counted first, hidden at once for every later snapshot, still there for older ones; what
/// comes later stays, whatever its timestamp.
#[test]
fn p9_a_delete_hides_what_was_accepted_before_it() {
    let engine = Engine::in_memory().unwrap();
    push(&engine, 1, 0..100, 1.0);
    push(&engine, 2, 0..100, 1.0);
    let counted = engine.count_matching(&selector(1), range(10, 20)).unwrap();
    assert_eq!((counted.series, counted.samples), (1, 10));
    let older = engine.snapshot();
    let before = contents(&older);
    let seq = engine.delete(&selector(1), range(10, 20)).unwrap();
    assert!(engine.snapshot().watermark() > seq);
    push(&engine, 1, 15..16, 2.0);
    let now = contents(&engine.snapshot());
    assert_eq!(times(&now, 1), (0..10).chain([15]).chain(20..100).collect::<Vec<_>>());
    assert_eq!(now[&name(1)][&15], 2f64.to_bits());
    assert_eq!(times(&now, 2).len(), 100);
    assert_eq!(contents(&older), before, "an older snapshot keeps its own");
    assert_eq!(engine.count_matching(&selector(1), range(10, 20)).unwrap().samples, 1);
    for _ in 0..2 {
        engine.flush().unwrap();
        engine.compact().unwrap();
        assert_eq!(contents(&engine.snapshot()), now);
    }
    assert_eq!(engine.stats().tombstones, 0, "nothing is left to hide");
    assert_eq!(engine.stats().segment_samples, 191);
}

#[test]
fn a_delete_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    assert!(matches!(engine.delete("cpu{", TimeRange::ALL), Err(DeleteError::Select(_))));
    assert!(matches!(engine.delete("cpu", range(5, 5)), Err(DeleteError::EmptyRange)));
    let long = "x".repeat(70_000);
    assert!(matches!(engine.delete(&format!("cpu{{host=\"{long}\"}}"), TimeRange::ALL), Err(DeleteError::TooLarge)));
    engine.close().unwrap();
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    assert!(matches!(reader.delete("cpu", TimeRange::ALL), Err(DeleteError::ReadOnly)));
}

/// A series without any visible sample is gone from the index once it is compacted; a delete of everything leaves no
/// file.
#[test]
fn deleted_series_vanish_and_their_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    let engine = open();
    (0..3).for_each(|host| push(&engine, host, 0..20_000, 1.5));
    engine.flush().unwrap();
    let bytes = engine.stats().segment_bytes;
    engine.delete(&selector(1), TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.segment_samples, stats.tombstones), (40_000, 0));
    assert!(stats.segment_bytes < bytes);
    engine.close().unwrap();
    let engine = open();
    assert_eq!(engine.snapshot().select("cpu").unwrap().len(), 2, "no trace is left in the index");
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert_eq!(contents(&engine.snapshot()), Contents::new());
    let left = std::fs::read_dir(dir.path().join("segments")).unwrap().count();
    assert_eq!(left, 0, "all space is back");
    let audited = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert_eq!(audited.matches("\"act\":\"delete\"").count(), 2);
}

fn segment_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("segments")).unwrap();
    // One may go between being listed and being looked at.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

/// A number that no encoding makes smaller than its 52 bits.
fn noise(n: i64) -> f64 {
    f64::from_bits(0x3ff << 52 | (n as u64 + 9).wrapping_pow(3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12)
}

/// A third of the samples of each series is deleted, and a third of the directory comes back.
#[test]
fn a_part_that_is_deleted_gives_its_bytes_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
    for host in 0..3 {
        let id = series(&engine, host);
        let sample = |t: i64| SeriesSample::new(id, at(t), noise(t + 20_000 * host as i64));
        let ack = engine.push_batch(&(0..15_000).map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    let bytes = segment_bytes(dir.path());
    engine.delete("cpu", range(5_000, 10_000)).unwrap();
    engine.compact().unwrap();
    // Whoever looked at the old version just then held its files for a moment.
    let deadline = Instant::now() + SOON;
    while segment_bytes(dir.path()) * 10 > bytes * 7 {
        assert!(Instant::now() < deadline, "{} of {bytes} bytes are left", segment_bytes(dir.path()));
        drop(engine.snapshot());
    }
    assert_eq!(engine.stats().segment_samples, 30_000);
}
