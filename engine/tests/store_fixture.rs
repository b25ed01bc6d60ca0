//! A whole store of each version of the manifest from 2 on is kept in `fixtures`: segments with cold columns, one that was
//! flushed, a log, deletes. Whatever later releases write, they open it.
// Without `cold` one test is left, which reads none of it.
#![cfg_attr(not(feature = "cold"), allow(dead_code, unused_imports))]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Contents, SOON, at, copy_dir, name, opens_reads_and_compacts, series};
use tidegauge::admin::verify;
use tidegauge::{Durability, Engine, Level, SeriesSample, TimeRange};

/// So long are the log and the manifest of a running engine; of the zeros at their ends nothing is kept.
const LOG_BYTES: u64 = 64 << 20;
const MANIFEST_BYTES: u64 = 128 << 10;
/// What is in the segment that became cold, in one that was flushed later, in the log.
const PARTS: [std::ops::Range<i64>; 3] = [0..3_000, 3_000..3_300, 3_300..3_400];
const DELETED: std::ops::Range<i64> = 100..200;

/// The version that is written.
const VERSION: u32 = 3;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/store-v{version}"))
}

/// Cold encoding pays for the first, the second is a counter that begins anew. Only what IEEE 754 says to the last bit:
/// a sine may be another one with the next library.
fn value(host: usize, i: i64) -> f64 {
    if host == 0 { 700.0 / (700 + i) as f64 } else { (i % 1_000) as f64 }
}

fn expected() -> Contents {
    let all = |host| PARTS.into_iter().flatten().map(move |i| (i * 15_000_000_000, value(host, i).to_bits()));
    let mut twin: Contents = (0..2).map(|host| (name(host), all(host).collect())).collect();
    let deleted = |t: i64| DELETED.contains(&(t / 15_000_000_000));
    twin.get_mut(&name(1)).unwrap().retain(|&t, _| !deleted(t));
    twin
}

/// The kept store as it was when it was copied.
fn store(version: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture(version), dir.path());
    for (file, bytes) in [("wal/0000000200000002.wal", LOG_BYTES), ("MANIFEST", MANIFEST_BYTES)] {
        let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(file)).unwrap();
        file.set_len(bytes).unwrap();
    }
    dir
}

/// It passed for damaged, and a salvage set aside what is sound.
#[test]
#[cfg(not(feature = "cold"))]
fn without_the_feature_cold_a_salvage_refuses_and_changes_nothing() {
    let dir = store(VERSION);
    let report = verify(dir.path(), |_, _| {}).unwrap();
    assert!(matches!(&report.damage[..], [one] if one.what.contains("feature `cold`")), "{report:?}");
    let refused = Engine::builder(dir.path()).recovery(tidegauge::Recovery::Salvage).open().unwrap_err();
    assert!(refused.to_string().contains("feature `cold`"), "{refused}");
    assert!(!dir.path().join("quarantine").exists());
    assert_eq!(verify(dir.path(), |_, _| {}).unwrap(), report);
}

#[test]
#[cfg(feature = "cold")]
fn stores_of_every_version_open_read_and_verify() {
    (2..=VERSION).for_each(check);
}

#[cfg(feature = "cold")]
fn check(version: u32) {
    let dir = store(version);
    let report = verify(dir.path(), |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.segments == 2 && report.log_samples >= 200, "{report:?}");
    let reader = Engine::builder(dir.path()).read_only(true).open().unwrap();
    let cold = tidegauge::admin::inspect(&reader, |_, _| {});
    assert!(cold.values.iter().any(|used| used.encoding == "cold" && used.samples >= 3_000), "{cold:?}");
    drop(reader);
    opens_reads_and_compacts(dir.path(), &expected());
}

/// How the kept store was made. `cargo test -p tidegauge --features cold --test store_fixture -- --ignored`, only for a
/// new version, in a folder of its own.
#[test]
#[cfg(feature = "cold")]
#[ignore = "writes the kept store"]
fn write_the_store() {
    let fixture = || fixture(VERSION);
    assert!(!fixture().exists(), "what is kept stays as it is");
    let dir = tempfile::tempdir().unwrap();
    let open = |cold_after| {
        let builder = Engine::builder(dir.path()).background_compaction(false).cold_after(cold_after);
        builder.durability(Durability::Interval(Duration::from_millis(5))).open().unwrap()
    };
    let push = |engine: &Engine, part: std::ops::Range<i64>| {
        for host in 0..2 {
            let id = series(engine, host);
            let sample = |i| SeriesSample::new(id, at(i * 15_000_000_000), value(host, i));
            let ack = engine.push_batch(&part.clone().map(sample).collect::<Vec<_>>()).unwrap();
            engine.wait(ack, Level::Durable, SOON).unwrap();
        }
    };
    let engine = open(Duration::ZERO);
    push(&engine, PARTS[0].clone());
    let range = TimeRange::new(at(DELETED.start * 15_000_000_000), at(DELETED.end * 15_000_000_000));
    engine.delete("cpu{host=\"1\"}", range).unwrap();
    engine.flush().unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    let engine = open(Duration::MAX);
    push(&engine, PARTS[1].clone());
    engine.flush().unwrap();
    push(&engine, PARTS[2].clone());
    // Until the log says of its last frame that it is durable, and the manifest knows the log.
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        std::thread::yield_now();
    }
    copy_dir(dir.path(), &fixture());
    engine.close().unwrap();
    // The next owner makes these anew.
    for file in ["LOCK", "wal/.reserve.00000002"] {
        std::fs::remove_file(fixture().join(file)).unwrap();
    }
    for (file, len) in [("wal/0000000200000002.wal", LOG_BYTES), ("MANIFEST", MANIFEST_BYTES)] {
        let path = fixture().join(file);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, len);
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| (at + 1).next_multiple_of(8));
        std::fs::write(&path, &bytes[..end]).unwrap();
    }
}
