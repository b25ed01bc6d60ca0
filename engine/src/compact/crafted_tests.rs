//! Segments that no writer leaves, under right checksums, beside sound ones.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::model::{
    LabelLimits, Labels, MatchOp, Matcher, SeqNo, SeqRange, TimeRange, Timestamp, Tombstone,
};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, ReadError};

use super::hidden::Hidden;
use super::input::Input;
use super::run::{RunError, Target, run, slices};
use crate::checksums::{fix_outline, put_u32, u64_at};
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::CompactError;
use crate::faults::{SOON, series};
use crate::options::{Builder, Durability, Level};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::watch::Warning;

/// Sections of a segment's index, in the order of docs/format/segment.md.
#[cfg(not(feature = "cold"))]
const CHUNKS: usize = 1;
const SERIES: usize = 3;
const STRINGS: usize = 7;

/// Where a section lies.
fn section(bytes: &[u8], number: usize) -> Range<usize> {
    let footer = bytes.len() - crate::checksums::SEGMENT_FOOTER + number * 24;
    let start = u64_at(bytes, footer) as usize;
    start..start + u64_at(bytes, footer + 8) as usize
}

/// Puts the label sets of the hosts 1 and 2 in the wrong order.
fn disorder(bytes: &mut [u8]) {
    let strings = section(bytes, STRINGS);
    for byte in &mut bytes[strings] {
        *byte = match *byte {
            b'1' => b'2',
            b'2' => b'1',
            other => other,
        };
    }
    fix_outline(bytes);
}

/// Lets every other series claim the chunks of all, and the others none.
fn claim(bytes: &mut [u8]) {
    let records = section(bytes, SERIES);
    let all = (records.len() / 36) as u32;
    for (record, first) in records.step_by(36).zip([0, all].into_iter().cycle()) {
        put_u32(bytes, record + 32, first);
    }
    fix_outline(bytes);
}

fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    fs.remove(path).unwrap();
    fs.create(path).unwrap().write_all_at(0, bytes).unwrap();
}

fn dir() -> PathBuf {
    PathBuf::from("d")
}

/// A segment of `series` series of a chunk each, each behind the one before, changed afterwards.
fn crafted(series: u64, change: impl Fn(&mut [u8])) -> (Arc<dyn Fs>, Arc<Segment>) {
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
    fs.create_dir_all(&dir()).unwrap();
    let seq_range = SeqRange { start: SeqNo(1), end: SeqNo(2) };
    let header = SegmentHeader { store_id: 7, seq_range, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::clone(&fs), &dir(), 1, header).unwrap();
    for i in 0..series {
        let host = i.to_string();
        let labels = Labels::new([("__name__", "cpu"), ("host", &host)], &LabelLimits::DEFAULT).unwrap();
        let at = i as i64 * 100;
        let columns = Columns { timestamps: (at..at + 40).collect(), values: vec![0.5; 40] };
        writer.push_series(&labels, &columns, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    let path = dir().join(file_name(1));
    let mut bytes = fs.map(&path).unwrap().to_vec();
    change(&mut bytes);
    replace(&*fs, &path, &bytes);
    let segment = Arc::new(Segment::open(&*fs, &path).unwrap());
    (fs, segment)
}

/// What a compaction of the segment ends with.
fn compacted(fs: &Arc<dyn Fs>, segment: &Arc<Segment>, segment_bytes: u64) -> String {
    let next = AtomicU64::new(2);
    let (dir, next_id) = (dir(), || next.fetch_add(1, Ordering::Relaxed));
    let (sync_folder, go_on) = (|| fs.sync_dir(&dir), || true);
    let target = Target {
        fs,
        dir: &dir,
        store_id: 7,
        opening: 1,
        next_id: &next_id,
        sync_folder: &sync_folder,
        segment_bytes,
        go_on: &go_on,
        decoded: &AtomicU64::new(0),
    };
    let inputs = [Input::new(Arc::clone(segment), &[], &Arc::default(), false)];
    if segment_bytes < segment.info().file_bytes {
        // Where outputs are parted is found by the weight of all chunks.
        return named(slices(&inputs, &[], &target).unwrap_err());
    }
    named(run(&inputs, &[], false, &target, &mut Vec::new()).unwrap_err())
}

/// What is wrong, if it is the segment and not the disk that is blamed.
fn named(error: RunError) -> String {
    match error {
        RunError::Read(error @ ReadError::Corrupt { .. }) => error.to_string(),
        other => panic!("{other}"),
    }
}

/// Half a megabyte in which thousands of series claim the same ten thousand chunks could keep the compactor busy for hours,
/// once a delete named those series and no other: it counted what was hidden of each claim as if it were the series' own.
#[test]
fn chunks_that_many_series_claim_are_counted_once_and_not_compacted() {
    let (fs, segment) = crafted(8, claim);
    let tombstone = |matcher| {
        let matchers = vec![matcher];
        Arc::new(Tombstone { seq: SeqNo(9), matchers, range: TimeRange::ALL, created: 0 })
    };
    let count = |matcher| {
        let steps = AtomicU64::new(0);
        let step = || {
            steps.fetch_add(1, Ordering::Relaxed);
        };
        let found = Hidden::count(&segment, &[tombstone(matcher)], &Arc::default(), None, &step);
        (found.map(|found| found.map_or(0, |hidden| hidden.found.samples)), steps.into_inner())
    };
    let (found, steps) = count(Matcher::new("host", MatchOp::Regex, "0|2|4|6").unwrap());
    assert_eq!(steps, 8, "each chunk once, and no more: {found:?}");
    assert!(found.is_err_and(|e| e.to_string().contains("series 2 belong to another one")));
    assert_eq!(count(Matcher::equal("host", "6")).0.unwrap(), 8 * 40, "who is asked for alone has them");
    for segment_bytes in [1, 1 << 30] {
        let why = compacted(&fs, &segment, segment_bytes);
        assert!(why.contains("chunks of series 1"), "{segment_bytes}: {why}");
    }
}

/// Label sets out of order were blamed on the disk.
#[test]
fn series_that_are_not_in_order_are_damage_of_the_segment_that_has_them() {
    let (fs, segment) = crafted(4, disorder);
    let why = compacted(&fs, &segment, 1 << 30);
    assert!(why.contains("is not in order") && why.contains(&file_name(1)), "{why}");
}

/// An engine on this disk that compacts when it is asked to, and who hears of its warnings.
fn open(fs: &SimFs) -> (Engine, Receiver<Warning>) {
    let (tell, told) = channel();
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder = builder.on_warning(move |warning| drop(tell.send(warning.clone())));
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    (builder.open().unwrap(), told)
}

/// A segment of two hosts at these times.
fn flush(engine: &Engine, times: Range<i64>) {
    for host in 1..3 {
        let id = series(engine, host);
        let sample = |t| SeriesSample::new(id, Timestamp::from_nanos(t), t as f64);
        let ack = engine.push_batch(&times.clone().map(sample).collect::<Vec<_>>()).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine.flush().unwrap();
}

/// A store of two segments that overlap, the second one changed. Far apart in time there is nothing else.
fn with_damage(change: impl Fn(&mut [u8])) -> (SimFs, PathBuf) {
    let fs = SimFs::new();
    let (engine, _) = open(&fs);
    (0..2).for_each(|i| flush(&engine, i * 100..i * 100 + 300));
    engine.close().unwrap();
    let segments = fs.files().into_iter().map(|(path, _)| path);
    let path = segments.filter(|path| path.extension().is_some_and(|end| end == "seg")).max().unwrap();
    let mut bytes = fs.map(&path).unwrap().to_vec();
    change(&mut bytes);
    replace(&fs, &path, &bytes);
    (fs, path)
}

/// One bit of the first column.
fn flip(bytes: &mut [u8]) {
    bytes[crate::checksums::SEGMENT_HEADER + 5] ^= 1;
}

/// Waits for the compactor, which looks when something changed.
fn within(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// One segment that is damaged beneath right checksums ended all compaction, at each opening, and the disk was blamed.
#[test]
fn a_damaged_segment_is_told_and_the_others_are_compacted() {
    for change in [disorder as fn(&mut [u8]), claim, flip] {
        let (fs, path) = with_damage(change);
        let (engine, told) = open(&fs);
        let day = 86_400_000_000_000;
        (1..3).for_each(|i| flush(&engine, i * day..i * day + 10));
        let why = engine.compact().unwrap_err();
        let named = matches!(&why, CompactError::Damaged { cause } if cause.contains(path.to_str().unwrap()));
        assert!(named, "{why}");
        assert_eq!(told.recv_timeout(SOON), Ok(Warning::Compaction(why)));
        // The damaged one; what lies below it, parted where that begins; and two others, which are one now.
        assert_eq!(engine.stats().segments, 4);
        flush(&engine, 3 * day..3 * day + 10);
        engine.compact().unwrap();
        assert_eq!(engine.stats().segments, 4, "what comes later is compacted, too");
        assert!(!engine.stats().compaction_failing);
        assert_eq!(engine.stats().damaged_segments, 1);
        assert_eq!(told.try_iter().count(), 0, "it is told once");
    }
}

/// Says of the values of the first chunk that they are cold, under right checksums.
#[cfg(not(feature = "cold"))]
fn chill(bytes: &mut [u8]) {
    let record = section(bytes, CHUNKS).start;
    let values = crate::checksums::u32_at(bytes, record) as usize;
    bytes[values] = 14;
    crate::checksums::fix_segment(bytes);
}

/// A segment that a build with `cold` had left was told as damaged by one without, and what it could be saved by was a
/// repair, which it does not need.
#[cfg(not(feature = "cold"))]
#[test]
fn what_this_build_lacks_a_feature_for_is_told_as_that_and_the_others_are_compacted() {
    let (fs, path) = with_damage(chill);
    let file = fs.map(&path).unwrap().to_vec();
    let (engine, told) = open(&fs);
    let day = 86_400_000_000_000;
    (1..3).for_each(|i| flush(&engine, i * day..i * day + 10));
    let why = engine.compact().unwrap_err();
    assert_eq!(why, CompactError::LacksFeature { file: path.clone(), feature: "cold" });
    assert!(why.to_string().starts_with("this build lacks `cold`"), "{why}");
    assert_eq!(told.recv_timeout(SOON), Ok(Warning::Compaction(why)));
    assert_eq!(engine.stats().segments, 4, "the others are compacted");
    assert_eq!(engine.stats().damaged_segments, 0, "it is sound");
    flush(&engine, 3 * day..3 * day + 10);
    engine.compact().unwrap();
    assert_eq!((engine.stats().segments, told.try_iter().count()), (4, 0), "it is told once");
    assert!(!engine.stats().compaction_failing);
    assert_eq!(fs.map(&path).unwrap().to_vec(), file, "nobody touches it");
}

/// A segment that was found damaged stayed past its age until the next opening.
#[test]
fn p9_a_damaged_segment_goes_when_all_of_it_is_over_age() {
    let (fs, _) = with_damage(flip);
    let (engine, _told) = open(&fs);
    assert!(matches!(engine.compact(), Err(CompactError::Damaged { .. })));
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3600)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    within("it goes, unread", || engine.stats().segments == 0);
    within("none is left", || engine.stats().damaged_segments == 0);
}

/// A damaged segment kept each delete that reached its time, whatever it named: after 1,000 of them all were refused.
#[test]
fn p9_a_damaged_segment_keeps_no_delete_that_names_nothing_in_it() {
    let (fs, _) = with_damage(flip);
    let (engine, _told) = open(&fs);
    assert!(matches!(engine.compact(), Err(CompactError::Damaged { .. })));
    for host in 3..8 {
        engine.delete(&format!("cpu{{host=\"{host}\"}}"), TimeRange::ALL).unwrap();
    }
    within("they hide nothing anywhere", || engine.stats().tombstones == 0);
    engine.delete("cpu{host=\"2\"}", TimeRange::ALL).unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().tombstones, 1, "what it hides there must not come back");
    assert_eq!(engine.count_matching("cpu{host=\"2\"}", TimeRange::ALL).unwrap().samples, 0);
}
