//! P5: killed amid a flush whose second segment was not finished, and the manifest is gone. What the late one would have
//! held is in the log, whichever generation of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::segment::{Salvage, SegmentHeader, SegmentWriter};

use super::tests::{
    Contents, contents, damage_frame, open_unmerged, path_of, push, quarantined, salvage_again_from_anywhere, settle,
    try_open,
};
use super::{Recovery, RecoveryReport};
use crate::engine::Engine;

const MANIFEST: &str = "memory/MANIFEST";
const SEGMENTS: &str = "memory/segments";
const WAL: &str = "memory/wal";
/// A round.
const SAMPLES: u64 = 1200;

fn segments(fs: &SimFs) -> BTreeSet<String> {
    fs.list(Path::new(SEGMENTS)).unwrap_or_default().into_iter().collect()
}

/// What a kill leaves amid the flush that `flush` does on `fs`: the log as it is before, and the first of the two segments.
fn killed_amid(fs: &SimFs, flush: impl FnOnce()) -> SimFs {
    let (disk, before) = (fs.kill(), segments(fs));
    flush();
    let made: Vec<String> = segments(fs).difference(&before).cloned().collect();
    let [in_order, _late] = &made[..] else { panic!("a flush made {made:?}") };
    let path = Path::new(SEGMENTS).join(in_order);
    disk.create_dir_all(Path::new(SEGMENTS)).unwrap();
    disk.create(&path).unwrap().write_all_at(0, &fs.map(&path).unwrap()).unwrap();
    disk
}

fn push_late(engine: &Engine) {
    push(engine, 50);
    push(engine, 0);
}

/// The manifest is gone. Behind so many flushes the log is in that many generations later, in files that others had.
fn behind(flushes: i64) -> (SimFs, Contents) {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..flushes {
        push(&engine, 10 + round);
        engine.flush().unwrap();
        // The log lets go of it in the round before the answer.
        engine.probe(Duration::from_secs(30)).unwrap();
    }
    push_late(&engine);
    let all = contents(&engine);
    let disk = killed_amid(&fs, || engine.flush().unwrap());
    disk.remove(Path::new(MANIFEST)).unwrap();
    (disk, all)
}

fn salvaged(fs: &SimFs) -> (Contents, RecoveryReport) {
    let engine = try_open(fs, Recovery::Salvage).unwrap();
    let (found, report) = (contents(&engine), engine.recovery_report().clone());
    engine.close().unwrap();
    assert!(contents(&try_open(fs, Recovery::Strict).unwrap()) == found, "opened again");
    (found, report)
}

/// Only the first generation of an opening was known to be whole: behind any flush, the segment that was finished stayed,
/// the log was not read below its end, and let go of.
#[test]
fn p5_late_samples_of_an_unfinished_flush_come_back_from_any_generation_of_the_log() {
    for flushes in 0..5 {
        let (disk, all) = behind(flushes);
        let (found, report) = salvaged(&disk);
        assert!(found == all, "behind {flushes} flushes {} of {}: {report:?}", found.len(), all.len());
        assert!(report.lost.is_empty() && report.unfinished_flush_samples == 0, "{flushes}: {report:?}");
    }
}

/// On a full disk a flush removes what it finished and tries again under other numbers; a power loss may bring the first
/// try back beside the second. Two segments of one half passed for both halves.
#[test]
fn p5_two_tries_of_one_half_of_a_flush_are_not_both_halves() {
    let (disk, all) = behind(2);
    let path = path_of(&disk, "segments");
    let mut first = Salvage::open(&disk, &path, None).unwrap();
    let info = first.info().clone();
    let header = SegmentHeader {
        store_id: info.store_id,
        seq_range: info.seq_range,
        late: info.late,
        opening: info.opening,
        ..SegmentHeader::default()
    };
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let mut again = SegmentWriter::create(fs, Path::new(SEGMENTS), info.id + 1, header).unwrap();
    for ordinal in 0..first.series_count() {
        again.begin_series(&first.labels(ordinal).unwrap(), first.max_seq(ordinal)).unwrap();
        first.read(ordinal, &mut Vec::new(), |chunk| again.push_chunk(&chunk.timestamps, &chunk.values)).unwrap();
    }
    again.finish().unwrap();
    let (found, report) = salvaged(&disk);
    assert!(found == all, "{} of {}: {report:?}", found.len(), all.len());
    assert!(report.lost.is_empty() && report.unfinished_flush_samples == 0, "{report:?}");
}

#[test]
fn p5_a_salvage_of_an_unfinished_flush_loses_power_anywhere_and_loses_nothing() {
    let (disk, all) = behind(2);
    settle(&disk);
    salvage_again_from_anywhere(&disk, |_, engine, stopped| assert!(contents(engine) == all, "{stopped}"));
}

/// What an opening replayed was flushed with a range that begins where the segments ended, and numbers leap from one
/// opening to the next: the log passed for one that lacks them, and four billion samples for missing.
#[test]
fn p5_late_samples_of_what_an_opening_flushes_come_back() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 10);
    engine.close().unwrap();
    let engine = open_unmerged(&fs);
    push_late(&engine);
    let all = contents(&engine);
    let fs = fs.kill();
    drop(engine);
    let disk = killed_amid(&fs, || open_unmerged(&fs).flush().unwrap());
    disk.remove(Path::new(MANIFEST)).unwrap();
    let without_log = disk.kill();
    let (found, report) = salvaged(&disk);
    assert!(found == all, "{} of {}: {report:?}", found.len(), all.len());
    assert!(report.lost.is_empty() && report.unfinished_flush_samples == 0, "{report:?}");
    for name in without_log.list(Path::new(WAL)).unwrap() {
        without_log.remove(&Path::new(WAL).join(name)).unwrap();
    }
    let (found, report) = salvaged(&without_log);
    assert_eq!((found.len() as u64, report.unfinished_flush_samples), (all.len() as u64 - SAMPLES, SAMPLES));
}

/// The log lacks a frame of the flush, so that what it has beside the finished segment does not count: it was told, and
/// the log then removed.
#[test]
fn p5_a_log_that_may_hold_what_is_missing_of_a_flush_is_kept() {
    let (disk, all) = behind(2);
    damage_frame(&disk, 0);
    let log = path_of(&disk, "wal");
    let was = disk.map(&log).unwrap().to_vec();
    settle(&disk);
    let check = |disk: &SimFs, found: &Contents, what: &str| {
        assert!(found.len() < all.len() && found.iter().all(|(key, value)| all[key] == *value), "{what}");
        let kept = Path::new("memory/quarantine").join(log.file_name().unwrap());
        assert!(disk.map(&kept).is_ok_and(|kept| kept[..] == was[..]), "{what}: {:?}", quarantined(disk));
    };
    let whole = disk.kill();
    let (found, report) = salvaged(&whole);
    check(&whole, &found, "salvaged");
    assert_eq!(report.unfinished_flush_samples, SAMPLES, "{report:?}");
    let told = |note: &String| note.contains("may hold what is missing") && note.contains("memory/quarantine");
    assert!(report.notes.iter().any(told), "{:?}", report.notes);
    let names: Vec<_> = report.quarantined.iter().filter_map(|path| path.file_name()).collect();
    assert!(names.contains(&log.file_name().unwrap()), "{names:?}");
    salvage_again_from_anywhere(&disk, |disk, engine, stopped| check(disk, &contents(engine), stopped));
}

/// Frames behind a gap are not replayed where nothing says that they were durable. They went with the log.
#[test]
fn p5_a_log_of_which_frames_are_left_out_is_kept() {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    (0..4).for_each(|round| push(&engine, round));
    let fs = fs.kill();
    drop(engine);
    fs.remove(Path::new(MANIFEST)).unwrap();
    let log = path_of(&fs, "wal");
    // As a torn frame with another behind it: none of them says what is durable.
    let whole = fs.map(&log).unwrap().to_vec();
    let frames: Vec<usize> = (4096..whole.len()).step_by(8).filter(|&at| whole[at..].starts_with(b"TGFR")).collect();
    let file = fs.open(&log).unwrap();
    for &at in &frames[1..] {
        file.write_all_at(at as u64, &unsaid(&whole[at..])).unwrap();
    }
    file.write_all_at(frames[1] as u64 + 100, &[0xff; 8]).unwrap();
    let damaged = fs.map(&log).unwrap().to_vec();
    let end = damaged.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    settle(&fs);
    let check = |disk: &SimFs, found: &Contents, what: &str| {
        assert_eq!(found.len() as u64, SAMPLES, "{what}");
        let kept: PathBuf = Path::new("memory/quarantine").join(log.file_name().unwrap());
        assert!(disk.map(&kept).is_ok_and(|kept| kept[..] == damaged[..end]), "{what}: {:?}", quarantined(disk));
    };
    let disk = fs.kill();
    let (found, report) = salvaged(&disk);
    check(&disk, &found, "salvaged");
    let notes = report.notes.join("\n");
    assert!(notes.contains(" left out: ") && notes.contains("may hold what is missing"), "{notes}");
    salvage_again_from_anywhere(&fs, |disk, engine, stopped| check(disk, &contents(engine), stopped));
}

/// The header of a frame that calls nothing durable.
fn unsaid(frame: &[u8]) -> [u8; 96] {
    let mut header: [u8; 96] = frame[..96].try_into().unwrap();
    header[48..56].fill(0);
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}
