//! P5: the file of a segment that was removed, or given up, is no sign of a commit that is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Edit, Manifest, State};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange, TimeRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;

use super::orphan::tests::{older_manifest, until_freed, until_known};
use super::tests::{contents, damage_frame, open_unmerged, path_of, push, settle, try_open};
use super::{Recovery, RecoveryReport};
use crate::engine::Engine;
use crate::full::used;

const SEGMENTS: &str = "memory/segments";

fn state_of(fs: &SimFs) -> State {
    Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().clone()
}

/// A finished segment that nobody names, of the running opening and of these numbers.
fn leave(fs: &SimFs, seq_range: SeqRange, level: u32) {
    let state = state_of(fs);
    let (store_id, opening) = (state.store_id, state.open_number);
    let header = SegmentHeader { store_id, seq_range, opening, level, ..SegmentHeader::default() };
    let id = state.next_segment_id.max(u64::from(opening) << 32) + 7;
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(SEGMENTS), id, header).unwrap();
    let labels = Labels::new([("__name__", "cpu")], &LabelLimits::DEFAULT).unwrap();
    let mut columns = Columns::default();
    columns.push(1, 1.0);
    writer.push_series(&labels, &columns, seq_range.start).unwrap();
    writer.finish().unwrap();
}

/// Another round, of which the log loses the first frame; and what a salvage says of that.
fn lose_more(fs: &SimFs, engine: &Engine, leave: impl FnOnce(&SimFs)) -> RecoveryReport {
    until_freed(engine);
    let before = engine.stats().visible_seq;
    push(engine, 1);
    until_known(fs, before + 600);
    let disk = fs.kill();
    leave(&disk);
    damage_frame(&disk, 0);
    settle(&disk);
    assert!(try_open(&disk, Recovery::Strict).is_err());
    let salvaged = try_open(&disk, Recovery::Salvage).unwrap();
    // A round has 300 times.
    assert!(contents(&salvaged).keys().all(|(_, at)| *at >= 300_000), "what was deleted stays so");
    salvaged.recovery_report().clone()
}

fn tells_of_the_log(report: &RecoveryReport) {
    assert!(!report.manifest_made_anew, "{report:?}");
    assert!(report.lost.iter().any(|lost| lost.file.starts_with("memory/wal")), "{report:?}");
}

/// A compaction that was given up has finished some of its outputs, of numbers that no manifest heard of.
#[test]
fn p5_an_output_that_a_compaction_gave_up_has_nothing_of_what_the_log_lost() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    let seq_range = state_of(&fs).segments.values().next().unwrap().seq_range;
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert!(state_of(&fs).segments.is_empty());
    tells_of_the_log(&lose_more(&fs, &engine, |disk| leave(disk, seq_range, 1)));
}

/// The manifest is written anew meanwhile: what segments had that are gone is not known by their edits any more.
#[test]
fn p5_a_manifest_that_is_written_anew_remembers_what_was_flushed() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    let flushed = state_of(&fs).flushed_through;
    engine.delete("cpu", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    let engine = open_unmerged(&fs);
    let state = state_of(&fs);
    assert!(state.segments.is_empty() && flushed > SeqNo(1200));
    assert!(state.flushed_through >= flushed, "{:?}", state.flushed_through);
    drop(engine);
}

/// X10: half of a flush that found no space is given up, and what the next try leaves out of all is in no segment.
#[test]
fn p5_half_of_a_flush_that_left_all_out_has_nothing_of_what_the_log_lost() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    let seq_range = SeqRange { start: SeqNo(1), end: SeqNo(engine.stats().visible_seq) };
    fs.set_capacity(Some(used(&fs)));
    let logged = state_of(&fs).wal.next_frame;
    engine.delete("cpu", TimeRange::ALL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while state_of(&fs).wal.next_frame == logged {
        assert!(Instant::now() < deadline, "the log is not let go of");
        std::thread::yield_now();
    }
    fs.set_capacity(None);
    engine.compact().unwrap();
    assert!(state_of(&fs).segments.is_empty());
    tells_of_the_log(&lose_more(&fs, &engine, |disk| leave(disk, seq_range, 0)));
}

/// A compaction takes its number behind a flush, and is committed before it: the flush, whose commit was lost, was set
/// aside.
#[test]
fn p5_a_salvage_takes_a_flush_that_began_before_a_compaction_that_is_known() {
    let (disk, all) = older_manifest(1);
    let last = path_of(&disk, "segments");
    let id = Segment::open(&disk, &last).unwrap().info().id;
    let mut manifest = Manifest::open_or_create(Arc::new(disk.clone()), "memory").unwrap();
    manifest.commit(&[Edit::NextSegment(id + 2)]).unwrap();
    drop(manifest);
    settle(&disk);
    let engine = try_open(&disk, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert!(contents(&engine) == all, "{report:?}");
    assert!(report.manifest_made_anew && report.lost.is_empty(), "{report:?}");
}

/// What a segment was made of is there still, because a snapshot reads it; the segment itself is not. Then the manifest is
/// no older copy, and the other one has what was deleted.
#[test]
fn p5_what_a_missing_segment_was_made_of_did_not_replace_it() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..2 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    let segments = |fs: &SimFs| fs.list(Path::new(SEGMENTS)).unwrap();
    engine.compact().unwrap();
    let [input] = &segments(&fs)[..] else { panic!("{:?}", segments(&fs)) };
    let input = Path::new(SEGMENTS).join(input);
    let pinned = engine.snapshot();
    engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    let [named] = state_of(&fs).segments.values().copied().collect::<Vec<_>>()[..] else { panic!() };
    let path = Path::new(SEGMENTS).join(file_name(named.id));
    assert!(path != input && fs.open_read(&input).is_ok(), "{input:?}, {:?}", segments(&fs));
    let disk = fs.kill();
    drop(pinned);
    disk.remove(&path).unwrap();
    settle(&disk);
    let salvaged = try_open(&disk, Recovery::Salvage).unwrap();
    let report = salvaged.recovery_report();
    assert!(!report.manifest_made_anew && contents(&salvaged).is_empty(), "{report:?}");
    let [lost] = &report.lost[..] else { panic!("{report:?}") };
    assert_eq!((&lost.file, lost.samples), (&path, Some(named.samples)));
    let told = |note: &String| note.contains("may hold samples that are lost");
    assert!(report.notes.iter().any(told), "it is kept: {report:?}");
}
