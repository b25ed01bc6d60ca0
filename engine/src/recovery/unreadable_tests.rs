//! Pages of segments and of the log that the disk refuses: P4 and P5 hold, and the process lives. Each test in a process of its own.

#[path = "../../../storage/tests/child/mod.rs"]
mod child;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::spoiled::SpoiledFs;
use tidegauge_storage::fs::{Fs, survive_unreadable_pages};
use tidegauge_storage::model::TimeRange;
use tidegauge_storage::segment::file_name;
use tidegauge_storage::source::{Columns, ReadError};
use tidegauge_storage::wal::WalError;

use super::tests::{contents, push};
use super::{Recovery, quarantine};
use crate::engine::Engine;
use crate::error::{CompactError, OpenError};
use crate::options::{Builder, Durability};
use crate::verify::verify_on;

const HERE: &str = module_path!();
/// Somewhere in the columns: behind the header, before the index.
const COLUMNS: std::ops::Range<usize> = 4_096..4_100;

fn open(fs: &SpoiledFs, dir: &Path, recovery: Recovery) -> Engine {
    try_open(fs, dir, recovery).unwrap()
}

fn try_open(fs: &SpoiledFs, dir: &Path, recovery: Recovery) -> Result<Engine, OpenError> {
    let durability = Durability::Interval(Duration::from_millis(5));
    let mut builder = Builder::new(None).durability(durability).wal_bytes(1 << 20).recovery(recovery);
    builder = builder.background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open_at(dir.to_owned())
}

/// The segments, in the order of their numbers.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths
}

/// Three segments of several pages.
fn store(fs: &SpoiledFs, dir: &Path) -> Engine {
    let engine = open(fs, dir, Recovery::Strict);
    for round in 0..3 {
        (round * 4..round * 4 + 4).for_each(|round| push(&engine, round));
        engine.flush().unwrap();
    }
    assert_eq!(segments(dir).len(), 3);
    engine
}

#[test]
fn p4_reads_of_other_segments_pushes_and_compactions_go_on_beside_a_page_that_cannot_be_read() {
    let name = "p4_reads_of_other_segments_pushes_and_compactions_go_on_beside_a_page_that_cannot_be_read";
    child::passes(HERE, name, || {
        survive_unreadable_pages().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let fs = SpoiledFs::new();
        let engine = store(&fs, dir.path());
        let before = contents(&engine);
        let damaged = segments(dir.path())[0].clone();
        fs.spoil(&damaged, COLUMNS).unwrap();
        let (mut read, mut refused) = (0, 0);
        for source in engine.snapshot().sources() {
            for hit in source.select(&[]).unwrap() {
                let mut columns = Columns::default();
                let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
                loop {
                    match cursor.next(&mut columns) {
                        Ok(true) => {}
                        Ok(false) => break read += columns.len(),
                        Err(ReadError::Corrupt { file, what, .. }) => {
                            assert!(file == damaged && what.contains("cannot be read"), "{what}");
                            break refused += 1;
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
                let labels = source.labels(hit.ordinal).unwrap().to_string();
                for (at, value) in columns.timestamps.iter().zip(&columns.values) {
                    assert_eq!(before.get(&(labels.clone(), *at)), Some(&value.to_bits()), "{labels}");
                }
            }
        }
        assert!(refused > 0 && read >= 2 * before.len() / 3, "{refused} refused, {read} read");
        push(&engine, 100);
        let why = engine.compact().unwrap_err();
        let named = matches!(&why, CompactError::Damaged { cause } if cause.contains(damaged.to_str().unwrap()));
        assert!(named, "{why}");
        push(&engine, 101);
        engine.flush().unwrap();
        assert!(segments(dir.path()).contains(&damaged), "what is in its other pages is in no other file");
        assert_eq!((engine.stats().damaged_segments, engine.stats().unreadable_pages > 0), (1, true));
        engine.close().unwrap();
    });
}

/// What is copied out of a page after its checksum was found right would be zeros under the checksum of what was there.
/// Here the page is one that the compaction itself does not need: all that lies in it is deleted.
#[test]
fn a_compaction_takes_no_segment_of_which_a_page_was_lost() {
    child::passes(HERE, "a_compaction_takes_no_segment_of_which_a_page_was_lost", || {
        survive_unreadable_pages().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let fs = SpoiledFs::new();
        let engine = store(&fs, dir.path());
        let damaged = segments(dir.path())[1].clone();
        let before = engine.snapshot();
        engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
        // The header, which is read at the opening alone, and behind it the first series, which fills the page.
        fs.spoil(&damaged, 0..1).unwrap();
        for source in before.sources() {
            let hits = source.select(&[]).unwrap();
            let mut columns = Columns::default();
            let _ = source.read(hits[0].ordinal, TimeRange::ALL).unwrap().next(&mut columns);
        }
        drop(before);
        assert_eq!(engine.stats().unreadable_pages, 1);
        assert!(matches!(engine.compact(), Err(CompactError::Damaged { .. })));
        assert!(segments(dir.path()).contains(&damaged));
    });
}

#[test]
fn p5_verify_names_the_pages_that_cannot_be_read_and_a_salvage_saves_the_others() {
    let name = "p5_verify_names_the_pages_that_cannot_be_read_and_a_salvage_saves_the_others";
    child::passes(HERE, name, || {
        survive_unreadable_pages().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let fs = SpoiledFs::new();
        let engine = store(&fs, dir.path());
        let before = contents(&engine);
        engine.close().unwrap();
        let damaged = segments(dir.path())[0].clone();
        fs.spoil(&damaged, COLUMNS).unwrap();
        let check =
            |fs: &SpoiledFs| verify_on(&(Arc::new(fs.clone()) as Arc<dyn Fs>), dir.path(), None, &|_, _| {}).unwrap();
        let report = check(&fs);
        assert_eq!((report.segments, report.damaged_segments, report.damage.len()), (2, 1, 1), "{:?}", report.damage);
        let place = report.damage[0].to_string();
        assert!(place.contains("byte 4096: 4096 bytes from there cannot be read"), "{place}");
        assert!(report.samples < before.len() as u64, "{report:?}");

        let engine = open(&fs, dir.path(), Recovery::Salvage);
        let told = engine.recovery_report().clone();
        let saved = contents(&engine);
        assert!(saved.iter().all(|(sample, value)| before.get(sample) == Some(value)));
        let missing = (before.len() - saved.len()) as u64;
        let lost: u64 = told.lost.iter().map(|lost| lost.samples_at_least).sum();
        assert_eq!((lost, report.samples), (missing, saved.len() as u64), "{:?}", told.lost);
        assert!(missing > 0 && saved.len() > before.len() * 2 / 3, "{missing} of {}", before.len());
        assert!(told.lost.iter().all(|lost| lost.what.contains("cannot be read")), "{:?}", told.lost);
        // A hard link: what cannot be read cannot be copied.
        let kept = dir.path().join("quarantine").join(damaged.file_name().unwrap());
        assert_eq!(told.quarantined, std::slice::from_ref(&kept));
        assert!(kept.exists() && !damaged.exists());
        engine.close().unwrap();
        let report = check(&fs);
        assert!(report.is_sound(), "{:?}", report.damage);
        assert_eq!(report.samples, saved.len() as u64);
        assert!(!segments(dir.path()).contains(&dir.path().join("segments").join(file_name(1))));
    });
}

/// A store as a kill leaves it: what is there is copied while the engine runs.
fn killed(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("MANIFEST"), to.path().join("MANIFEST")).unwrap();
    for folder in ["segments", "wal"] {
        std::fs::create_dir(to.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap().map(|entry| entry.unwrap()) {
            std::fs::copy(entry.path(), to.path().join(folder).join(entry.file_name())).unwrap();
        }
    }
    to
}

/// The log's file.
fn log_of(dir: &Path) -> PathBuf {
    let paths = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths = paths.filter(|path| path.extension().is_some_and(|e| e == "wal"));
    let path = paths.next().unwrap();
    assert!(paths.next().is_none());
    path
}

/// One such page, were it behind the last frame, stopped every opening for ever: strict, salvage and `tidegauge repair`.
#[test]
fn p5_a_page_of_the_log_that_cannot_be_read_is_named_and_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&SpoiledFs::new(), dir.path(), Recovery::Strict);
    // A batch is a frame.
    (0..6).for_each(|round| push(&engine, round));
    let all = contents(&engine);
    let store = killed(dir.path());
    engine.close().unwrap();
    let bytes = std::fs::read(log_of(store.path())).unwrap();
    let is_frame = |at: &usize| bytes[*at..].starts_with(b"TGFR") && bytes[at + 90] == 1;
    let frames: Vec<usize> = (4096..bytes.len()).step_by(8).filter(is_frame).collect();
    assert_eq!(frames.len(), 6);
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(4096);
    // The header; a frame in the middle; the last one; the last page with anything; and one with nothing.
    let places =
        [(0, None), (frames[3], Some(3)), (frames[5], Some(5)), (end + 8192, None), (bytes.len() - 4096, None)];
    for (at, lost) in places {
        let copy = killed(store.path());
        let (fs, log, at) = (SpoiledFs::new(), log_of(copy.path()), at as u64 / 4096 * 4096);
        fs.spoil(&log, at as usize..at as usize + 1).unwrap();
        match try_open(&fs, copy.path(), Recovery::Strict) {
            Err(OpenError::Wal(WalError::Corrupt { file, offset, .. })) => assert_eq!((&file, offset), (&log, at)),
            other => panic!("{at}: {:?}", other.err()),
        }
        let on: Arc<dyn Fs> = Arc::new(fs.clone());
        let verified = verify_on(&on, copy.path(), None, &|_, _| {}).unwrap();
        let [damage] = &verified.damage[..] else { panic!("{at}: {:?}", verified.damage) };
        assert_eq!((&damage.file, damage.offset), (&log, at), "{damage}");
        assert!(damage.what.contains("4096 bytes from there cannot be read"), "{damage}");

        let salvaged = open(&fs, copy.path(), Recovery::Salvage);
        let report = salvaged.recovery_report().clone();
        let mut left = all.clone();
        left.retain(|(_, time), _| lost.is_none_or(|round| !(round * 300_000..(round + 1) * 300_000).contains(time)));
        assert!(contents(&salvaged) == left, "{at}: {} of {}", contents(&salvaged).len(), left.len());
        let [hole] = &report.lost[..] else { panic!("{at}: {report:?}") };
        assert_eq!((&hole.file, hole.offset), (&log, at), "{hole}");
        assert!(hole.what.contains("cannot be read"), "{hole}");
        let kept = copy.path().join("quarantine").join(log.file_name().unwrap());
        assert!(report.quarantined.contains(&kept) && kept.exists(), "{at}: {report:?}");
        salvaged.close().unwrap();
        let again = open(&fs, copy.path(), Recovery::Strict);
        assert!(again.recovery_report().is_whole() && contents(&again) == left, "{at}");
    }
    // What is cut of a log is copied, where it can be.
    let copy = killed(store.path());
    let (fs, log) = (SpoiledFs::new(), log_of(copy.path()));
    fs.spoil(&log, 4096..4097).unwrap();
    let kept = quarantine::keep_written(&fs, copy.path(), &log).unwrap();
    assert_eq!(std::fs::metadata(kept).unwrap().len(), bytes.len() as u64);
}
