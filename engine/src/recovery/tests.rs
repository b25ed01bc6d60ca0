//! P5: Strict refuses and names the place; Salvage saves the rest, keeps the files, and tells what is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::ManifestError;
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::{Columns, ReadError};
use tidegauge_storage::wal::WalError;

use super::{Recovery, RecoveryReport};
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::OpenError;
use crate::options::{Builder, Durability, Level};

const SOON: Duration = Duration::from_secs(30);
/// A segment's header; the first column lies behind it.
const SEGMENT_HEADER: u64 = 72;

pub(super) type Contents = BTreeMap<(String, i64), u64>;

pub(super) fn try_open(fs: &SimFs, recovery: Recovery) -> Result<Engine, OpenError> {
    let durability = Durability::Interval(Duration::from_millis(5));
    let mut builder = Builder::new(None).durability(durability).wal_bytes(1 << 20).recovery(recovery);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open()
}

/// As a strict opening, but nothing is merged unless it is asked for.
pub(super) fn open_unmerged(fs: &SimFs) -> Engine {
    let durability = Durability::Interval(Duration::from_millis(5));
    let mut builder = Builder::new(None).durability(durability).wal_bytes(1 << 20).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

pub(super) fn contents(engine: &Engine) -> Contents {
    let mut all = BTreeMap::new();
    for source in engine.snapshot().sources() {
        for hit in source.select(&[]).unwrap() {
            let mut columns = Columns::default();
            let mut cursor = source.read(hit.ordinal, TimeRange::ALL).unwrap();
            while cursor.next(&mut columns).unwrap() {}
            let labels = source.labels(hit.ordinal).unwrap().to_string();
            let bits = columns.values.iter().map(|v| v.to_bits());
            all.extend(columns.timestamps.iter().zip(bits).map(|(t, v)| ((labels.clone(), *t), v)));
        }
    }
    all
}

/// A round of 300 samples for each of four series, durable when this returns.
pub(super) fn push(engine: &Engine, round: i64) {
    let mut samples = Vec::new();
    for host in 0..4 {
        let series = engine.series(&[("__name__", "cpu"), ("host", &host.to_string())]).unwrap();
        let at = |i: i64| Timestamp::from_nanos((round * 300 + i) * 1000 + host);
        samples.extend((0..300).map(|i| SeriesSample::new(series, at(i), ((round * 300 + i) as f64).sqrt())));
    }
    let ack = engine.push_batch(&samples).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
}

/// Puts all that is there on the disk, not only in its cache: a damaged store, before it is salvaged.
pub(super) fn settle(fs: &SimFs) {
    for (path, _) in fs.files() {
        fs.open(&path).unwrap().sync_data().unwrap();
    }
    for folder in ["", "memory", "memory/segments", "memory/wal"] {
        fs.sync_dir(Path::new(folder)).unwrap();
    }
}

/// Salvages copies of `fs`, and power is lost at every operation of that; `check` sees each once it is salvaged again.
pub(super) fn salvage_again_from_anywhere(fs: &SimFs, check: impl Fn(&SimFs, &Engine, &str)) {
    let salvage = |disk: &SimFs| try_open(disk, Recovery::Salvage).map(|engine| drop(engine.close()));
    let whole = fs.crash(0);
    salvage(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for stop in 1..operations + 1 {
        let disk = fs.crash(stop);
        disk.stop_at(stop);
        let _ = salvage(&disk);
        let after = disk.crash(stop);
        let stopped = format!("stopped at {stop}");
        let engine = try_open(&after, Recovery::Salvage).unwrap_or_else(|e| panic!("{stopped}: {e}"));
        check(&after, &engine, &stopped);
    }
}

/// Two rounds in a segment, eight in the log, each durable; killed.
pub(super) fn killed() -> (SimFs, Contents) {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    (0..2).for_each(|round| push(&engine, round));
    engine.flush().unwrap();
    (2..10).for_each(|round| push(&engine, round));
    let all = contents(&engine);
    (fs.kill(), all)
}

pub(super) fn path_of(fs: &SimFs, folder: &str) -> PathBuf {
    let folder = Path::new("memory").join(folder);
    let name = fs.list(&folder).unwrap().pop().unwrap();
    folder.join(name)
}

pub(super) fn flip(fs: &SimFs, path: &Path, at: u64) {
    let byte = fs.map(path).unwrap()[at as usize];
    fs.open(path).unwrap().write_all_at(at, &[byte ^ 4]).unwrap();
}

/// Two bits, which no checksum takes for one.
pub(super) fn flip_two(fs: &SimFs, path: &Path, at: u64) {
    flip(fs, path, at);
    flip(fs, path, at + 1);
}

/// The next segment, as a flush leaves it that is killed before it commits.
const LEFTOVER: &str = "memory/segments/0000000100000002.seg";

fn leave(fs: &SimFs, path: &str, bytes: &[u8]) {
    fs.create(Path::new(path)).unwrap().write_all_at(0, bytes).unwrap();
}

/// Every file there is, the manifest too.
pub(super) fn stored(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    fs.files().into_iter().map(|(path, _)| (path.clone(), fs.map(&path).unwrap().to_vec())).collect()
}

/// The place of the `n`th frame of a log file.
fn frame(fs: &SimFs, path: &Path, n: usize) -> u64 {
    let bytes = fs.map(path).unwrap();
    let mut places = (4096..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR"));
    places.nth(n).unwrap() as u64
}

/// Turns a bit of the `n`th frame of the last file of the log over.
pub(super) fn damage_frame(fs: &SimFs, n: usize) {
    let log = path_of(fs, "wal");
    let offset = frame(fs, &log, n);
    flip(fs, &log, offset + 100);
}

/// Damage begins behind the last sound frame; after a sync the next one starts a page.
fn begins(found: u64, frame: u64) -> bool {
    found <= frame && frame - found < 4096
}

pub(super) fn quarantined(fs: &SimFs) -> Vec<String> {
    fs.list(Path::new("memory/quarantine")).unwrap_or_default()
}

/// Salvage opened `fs`: what is lost is told, the rest is there, and the store is whole again.
fn check_salvaged(fs: &SimFs, all: &Contents, lost_of: impl Fn(&str, i64) -> bool) -> RecoveryReport {
    let engine = try_open(fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report().clone();
    let mut left = all.clone();
    left.retain(|(series, at), _| !lost_of(series, *at));
    assert!(contents(&engine) == left, "{} samples, not {}", contents(&engine).len(), left.len());
    // Nothing but what may be told of every hole in the log.
    let of_log = |note: &String| note.starts_with("there are samples older than what is lost of the log");
    assert!(report.notes.iter().all(of_log), "{:?}", report.notes);
    push(&engine, 99);
    engine.close().unwrap();
    let again = try_open(fs, Recovery::Strict).expect("whole again");
    assert!(again.recovery_report().is_whole());
    assert_eq!(contents(&again).len(), left.len() + 1200);
    report
}

#[test]
fn p5_strict_refuses_and_names_the_place_and_changes_nothing() {
    for (folder, at) in [("segments", None), ("wal", Some(1))] {
        let (fs, all) = killed();
        let path = path_of(&fs, folder);
        let offset = at.map(|n| frame(&fs, &path, n));
        match offset {
            Some(offset) => flip(&fs, &path, offset + 100),
            // The last bytes are the footer.
            None => flip(&fs, &path, fs.map(&path).unwrap().len() as u64 - 30),
        }
        leave(&fs, LEFTOVER, b"not yet named");
        let before = stored(&fs);
        for _ in 0..2 {
            match try_open(&fs, Recovery::Strict) {
                Err(OpenError::Read(ReadError::Corrupt { file, .. })) => assert_eq!(file, path),
                Err(OpenError::Wal(WalError::Corrupt { file, offset: found, .. })) => {
                    assert_eq!(file, path);
                    assert!(begins(found, offset.unwrap()), "{found} {offset:?}");
                }
                other => panic!("{folder}: {:?}", other.err()),
            }
        }
        assert!(stored(&fs) == before, "{folder}");
        assert!(before.contains_key(Path::new("memory/MANIFEST")));
        assert!(quarantined(&fs).is_empty() && !all.is_empty());
    }
}

/// What a flush wrote before the manifest named it may be all that is left of a damaged log. Its number is given again:
/// what is set aside later stands beside it.
#[test]
fn p5_salvage_of_a_damaged_log_keeps_what_the_manifest_does_not_name_yet() {
    let (fs, _) = killed();
    let path = path_of(&fs, "wal");
    flip(&fs, &path, frame(&fs, &path, 2) + 100);
    leave(&fs, LEFTOVER, b"not yet named");
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert_eq!(engine.recovery_report().quarantined.len(), 2);
    engine.close().unwrap();
    let kept = Path::new("memory/quarantine").join(Path::new(LEFTOVER).file_name().unwrap());
    assert_eq!(*fs.map(&kept).unwrap(), b"not yet named"[..]);
    leave(&fs, LEFTOVER, b"given again");
    let again = super::quarantine::keep(&fs, Path::new("memory"), Path::new(LEFTOVER)).unwrap();
    assert_eq!(*fs.map(&again).unwrap(), b"given again"[..]);
    assert_ne!(again, kept);
    assert_eq!(super::quarantine::keep(&fs, Path::new("memory"), Path::new(LEFTOVER)).unwrap(), again, "once");
    assert_eq!(*fs.map(&kept).unwrap(), b"not yet named"[..]);
}

#[test]
fn p5_salvage_rewrites_a_segment_without_the_chunk_that_is_damaged() {
    let (fs, all) = killed();
    let path = path_of(&fs, "segments");
    // The timestamps of the first series.
    flip_two(&fs, &path, SEGMENT_HEADER + 2);
    let damaged = fs.map(&path).unwrap().to_vec();
    let first = r#"cpu{host="0"}"#;
    let report = check_salvaged(&fs, &all, |series, at| series == first && at < 600_000);
    let [lost] = &report.lost[..] else { panic!("{:?}", report.lost) };
    assert_eq!((&lost.file, lost.series.as_deref(), lost.samples), (&path, Some(first), Some(600)));
    let range = lost.time_range.unwrap();
    assert_eq!((range.start.nanos(), range.end.nanos()), (0, 599_001));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(report.quarantined, [Path::new("memory/quarantine").join(name)]);
    assert_eq!(*fs.map(&report.quarantined[0]).unwrap(), damaged[..], "nothing is deleted");
    let audit = fs.map(Path::new("memory/audit.log")).unwrap();
    let audit = std::str::from_utf8(&audit).unwrap();
    assert!(audit.contains(r#""act":"salvage""#) && audit.contains(r#""samples_lost":600"#), "{audit}");
}

/// Each sample twice, in a segment each: without the second, the first one answers.
#[test]
fn p5_salvage_says_where_older_values_are_shown_again() {
    let fs = SimFs::new();
    let mut builder =
        Builder::new(None).durability(Durability::Interval(Duration::from_millis(5))).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open().unwrap();
    for _ in 0..2 {
        push(&engine, 0);
        engine.flush().unwrap();
    }
    let said = |nth: usize| {
        let disk = fs.kill();
        let folder = Path::new("memory/segments");
        let names: Vec<String> = disk.list(folder).unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
        assert_eq!(names.len(), 2);
        flip_two(&disk, &folder.join(&names[nth]), SEGMENT_HEADER + 2);
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert_eq!(report.lost.len(), 1, "{report:?}");
        report.notes.iter().any(|note| note.contains("the older value is shown again"))
    };
    assert!(said(1), "what was replaced is shown again");
    assert!(!said(0), "what replaced it is there");
}

/// The same of the log: a frame is lost that had replaced samples, of a segment or of an earlier frame; or nothing is
/// older than what is lost.
#[test]
fn p5_salvage_says_where_a_lost_frame_of_the_log_shows_older_values_again() {
    for (older, flushed) in [(true, true), (true, false), (false, false)] {
        let fs = SimFs::new();
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        // Those behind the damaged one witness that it was durable.
        let rounds: &[i64] = if older { &[0, 0, 1, 2, 3] } else { &[0, 1, 2, 3, 4] };
        for (nth, round) in rounds.iter().enumerate() {
            push(&engine, *round);
            if nth == 0 && flushed {
                engine.flush().unwrap();
            }
        }
        let disk = fs.kill();
        damage_frame(&disk, usize::from(older && !flushed));
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(!report.lost.is_empty(), "{report:?}");
        let said = report.notes.iter().any(|note| note.contains("the older value is shown again"));
        assert_eq!(said, older, "{older}, {flushed}: {report:?}");
        let shown = contents(&engine).contains_key(&("cpu{host=\"0\"}".to_owned(), 0));
        assert_eq!(shown, older, "{older}, {flushed}: the value of the first round");
    }
}

#[test]
fn p5_salvage_sets_a_segment_aside_that_cannot_be_opened_and_tells_one_that_is_missing() {
    for missing in [false, true] {
        let (fs, all) = killed();
        let path = path_of(&fs, "segments");
        if missing {
            fs.remove(&path).unwrap();
        } else {
            fs.open(&path).unwrap().set_len(1000).unwrap();
        }
        let report = check_salvaged(&fs, &all, |_, at| at < 600_000);
        let [lost] = &report.lost[..] else { panic!("{:?}", report.lost) };
        assert_eq!((&lost.file, lost.samples), (&path, Some(2400)));
        assert_eq!(quarantined(&fs).len(), usize::from(!missing));
    }
}

/// Waits until the manifest itself calls its last commit durable (E3).
fn rest(fs: &SimFs) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let bytes = fs.map(Path::new("memory/MANIFEST")).unwrap();
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (mut at, mut last) = (64, 0);
        while u64_at(at + 8) == last + 1 || (last == 0 && at == 64) {
            (last, at) = (u64_at(at + 8), (at + 16 + (u64_at(at) >> 32) as usize).next_multiple_of(8));
        }
        if u64_at(56) == last {
            return;
        }
        assert!(Instant::now() < deadline, "the manifest does not say what is durable");
        std::thread::yield_now();
    }
}

/// A compaction's commit that rotted away in the manifest: the segments that it replaced are gone, and what it made
/// of them is named by nobody. An opening that was refused used to remove it as a leftover, and a salvage set it aside
/// where nothing said that the commit had been durable.
#[test]
fn p5_what_the_manifest_lost_the_name_of_is_never_deleted() {
    for witness in [true, false] {
        let fs = SimFs::new();
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        for round in 0..2 {
            push(&engine, round);
            engine.flush().unwrap();
        }
        engine.compact().unwrap();
        assert_eq!(engine.stats().segments, 1);
        let all = contents(&engine);
        rest(&fs);
        let disk = fs.kill();
        let merged = path_of(&disk, "segments");
        let manifest = Path::new("memory/MANIFEST");
        let bytes = disk.map(manifest).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        flip(&disk, manifest, end);
        if !witness {
            // Not written yet, or taken by a power loss; then the commit may be torn.
            disk.open(manifest).unwrap().write_all_at(48, &[0; 16]).unwrap();
        }
        match try_open(&disk, Recovery::Strict) {
            Err(OpenError::Manifest(ManifestError::Corrupt { .. })) if witness => {}
            Err(OpenError::Read(ReadError::Corrupt { offset: 0, .. })) if !witness => {}
            other => panic!("witness {witness}: {:?}", other.err()),
        }
        assert!(disk.map(&merged).is_ok(), "refused, and nothing is removed");
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(report.manifest_made_anew && report.lost.is_empty(), "witness {witness}: {report:?}");
        assert_eq!(contents(&engine), all, "witness {witness}: {report:?}");
    }
}

/// The commits of flushes, of a store that was closed and has no log left to contradict: wiped, cut off, or one bit of
/// them turned over. They were taken for torn, the store showed less, and the next opening removed the segments.
#[test]
fn p5_a_manifest_of_a_closed_store_that_lost_its_end_is_refused_and_made_anew() {
    for how in ["flipped", "wiped", "cut"] {
        let fs = SimFs::new();
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        for round in 0..3 {
            push(&engine, round);
            engine.flush().unwrap();
        }
        let all = contents(&engine);
        engine.close().unwrap();
        let manifest = Path::new("memory/MANIFEST");
        let used = fs.map(manifest).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        let file = fs.open(manifest).unwrap();
        match how {
            "flipped" => flip(&fs, manifest, used - 20),
            "wiped" => file.write_all_at(used - 300, &[0; 300]).unwrap(),
            _ => file.set_len(used - 300).unwrap(),
        }
        let refused = try_open(&fs, Recovery::Strict).err();
        assert!(matches!(refused, Some(OpenError::Manifest(ManifestError::Corrupt { .. }))), "{how}: {refused:?}");
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        assert_eq!(contents(&engine), all, "{how}: {:?}", engine.recovery_report());
    }
}

#[test]
fn p5_salvage_reads_the_log_on_behind_damage_and_keeps_the_file() {
    let (fs, all) = killed();
    let path = path_of(&fs, "wal");
    let offset = frame(&fs, &path, 2);
    flip(&fs, &path, offset + 100);
    // One batch is one frame: the third round in the log.
    let report = check_salvaged(&fs, &all, |_, at| (1_200_000..1_500_000).contains(&at));
    let [lost] = &report.lost[..] else { panic!("{:?}", report.lost) };
    assert_eq!((&lost.file, lost.samples), (&path, Some(1200)));
    assert!(begins(lost.offset, offset), "{} {offset}", lost.offset);
    assert_eq!(lost.seq_range.end.0 - lost.seq_range.start.0, 1200);
    let range = lost.time_range.unwrap();
    assert!(range.start.nanos() <= 1_200_000 && range.end.nanos() >= 1_499_000, "{range:?}");
    assert_eq!(quarantined(&fs), [path.file_name().unwrap().to_str().unwrap()]);
}

/// A sound frame whose series were defined in a lost one: those samples are lost too, and told.
#[test]
fn p5_salvage_tells_samples_whose_series_nobody_knows() {
    let (fs, all) = killed();
    let path = path_of(&fs, "wal");
    let offset = frame(&fs, &path, 0);
    flip(&fs, &path, offset + 100);
    let report = check_salvaged(&fs, &all, |_, at| at >= 600_000);
    assert_eq!(report.lost.len(), 2, "{:?}", report.lost);
    assert_eq!(report.lost[1].samples, Some(7 * 1200));
    assert!(report.lost[1].what.contains("definition"), "{}", report.lost[1]);
}

#[test]
fn salvage_of_a_whole_store_changes_nothing() {
    let (fs, all) = killed();
    let segment = path_of(&fs, "segments");
    let report = check_salvaged(&fs, &all, |_, _| false);
    assert!(report.is_whole() && report.quarantined.is_empty(), "{report:?}");
    assert_eq!(report.samples, 8 * 1200);
    assert!(fs.map(&segment).is_ok() && fs.map(Path::new("memory/audit.log")).is_err());
}

/// RS3: power is lost at every operation of a salvage; salvaging again saves the same, and every damaged byte is
/// still somewhere.
#[test]
fn p5_a_salvage_that_loses_power_anywhere_loses_nothing_more() {
    let (fs, all) = killed();
    let (segment, log) = (path_of(&fs, "segments"), path_of(&fs, "wal"));
    flip_two(&fs, &segment, SEGMENT_HEADER + 2);
    let offset = frame(&fs, &log, 2);
    flip(&fs, &log, offset + 100);
    let names = [segment.file_name().unwrap(), log.file_name().unwrap()];
    settle(&fs);
    let lost = |(series, at): &(String, i64)| {
        (series == r#"cpu{host="0"}"# && *at < 600_000) || (1_200_000..1_500_000).contains(at)
    };
    let mut left = all;
    left.retain(|key, _| !lost(key));
    salvage_again_from_anywhere(&fs, |disk, engine, stopped| {
        assert!(contents(engine) == left, "{stopped}");
        for (name, folder) in names.iter().zip(["segments", "wal"]) {
            let kept = [Path::new("memory/quarantine").join(name), Path::new("memory").join(folder).join(name)];
            assert!(kept.iter().any(|path| disk.map(path).is_ok()), "{stopped}: {name:?} is gone");
        }
        // The first of the two salvages may have died behind its commit: what it lost, it had said before.
        let audit = String::from_utf8(disk.map(Path::new("memory/audit.log")).unwrap().to_vec()).unwrap();
        for name in names {
            let told = |line: &str| line.contains("lost_0") && line.contains(name.to_str().unwrap());
            assert!(audit.lines().any(told), "{stopped}: nothing tells what is lost of {name:?}: {audit}");
        }
    });
}

/// A frame that was begun where the log ends, as a power loss may leave it. Answers the file, and what is written of it.
fn begin_a_frame(fs: &SimFs) -> (PathBuf, Vec<u8>) {
    let path = path_of(fs, "wal");
    let bytes = fs.map(&path).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // A witness is overwritten by the next frame (docs/format/wal.md, "Witness"); there may be one already.
    let page = (end - 1) / 4096 * 4096;
    let at = if end - page <= 96 && bytes[page + 90] == 3 { page } else { end.next_multiple_of(4096) };
    let mut torn = b"TGFR, and what was torn behind".to_vec();
    let end = at + torn.len();
    torn.resize(96, 0);
    fs.open(&path).unwrap().write_all_at(at as u64, &torn).unwrap();
    assert!(end < bytes.len(), "allocated, not written");
    let written = fs.map(&path).unwrap()[..end].to_vec();
    (path, written)
}

#[test]
fn p5_a_salvage_keeps_what_it_cuts_and_leaves_a_line() {
    let (fs, all) = killed();
    let (path, written) = begin_a_frame(&fs);
    let name = path.file_name().unwrap().to_str().unwrap();

    // An opening that is none cuts it all the same, and says so.
    let strict = fs.kill();
    let engine = try_open(&strict, Recovery::Strict).unwrap();
    assert!(engine.recovery_report().torn_tail.is_some() && quarantined(&strict).is_empty());
    drop(engine);

    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    assert!(contents(&engine) == all);
    let report = engine.recovery_report();
    let torn = report.torn_tail.as_ref().expect("told");
    assert_eq!((&torn.file, report.is_whole(), &report.notes[..]), (&path, true, &[][..]));
    let kept = Path::new("memory/quarantine").join(name);
    assert_eq!(report.quarantined, std::slice::from_ref(&kept));
    assert!(fs.map(&kept).unwrap()[..] == written[..], "all that is written, and no more");
    let audit = String::from_utf8(fs.map(Path::new("memory/audit.log")).unwrap().to_vec()).unwrap();
    for told in ["\"act\":\"salvage\"", "torn_tail_cut", name, "quarantined_0"] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
    engine.close().unwrap();
    let again = try_open(&fs, Recovery::Salvage).unwrap();
    assert!(contents(&again) == all && again.recovery_report().torn_tail.is_none());
    assert_eq!(quarantined(&fs), [name], "there is nothing else to keep");
}

/// It is kept before anything may let go of it, and once, however often the salvage is begun.
#[test]
fn p5_what_a_salvage_cuts_survives_power_loss_anywhere() {
    let (fs, all) = killed();
    let (path, written) = begin_a_frame(&fs);
    settle(&fs);
    let name = path.file_name().unwrap().to_str().unwrap();
    salvage_again_from_anywhere(&fs, |disk, engine, stopped| {
        let (found, quarantined) = (contents(engine), quarantined(disk));
        assert!(found == all, "{stopped}: {} of {}", found.len(), all.len());
        let kept = disk.map(&Path::new("memory/quarantine").join(name));
        assert!(kept.is_ok_and(|kept| kept[..] == written[..]), "{stopped}: {quarantined:?}");
        // A segment that nothing names yet is kept, too.
        let logs = quarantined.iter().filter(|kept| kept.contains(".wal") && !kept.ends_with(".tmp"));
        assert!(logs.eq([name]), "{stopped}: {quarantined:?}");
    });
}
