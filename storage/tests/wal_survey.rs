//! What the log tells by itself of the last flush, for a manifest that is made anew.

mod wal_support;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{SeqNo, TimeRange, Tombstone};
use tidegauge_storage::wal::{
    Epoch, FrameEncoder, FrameNo, RecoverMode, Survey, WalError, WalState, WalWriter, recover, survey,
};
use wal_support::*;

/// Two of the frames below fit.
const FILE_BYTES: u64 = 16 << 10;
/// Samples of a frame.
const SAMPLES: u64 = 600;

fn look(fs: &SimFs, newest: Range<u64>) -> Survey {
    look_for(fs, newest, &WalState::default())
}

fn look_for(fs: &SimFs, newest: Range<u64>, known: &WalState) -> Survey {
    survey(fs, Path::new(DIR), STORE, SeqNo(newest.start)..SeqNo(newest.end), known).unwrap()
}

fn has(fs: &SimFs, newest: Range<u64>) -> bool {
    look(fs, newest).of_newest.is_some()
}

/// Writes `frames` frames, the first of them number `first` of its kind, and answers the numbers of their samples.
fn write(writer: &mut WalWriter, first: u64, frames: u64) -> Range<u64> {
    for i in first..first + frames {
        writer.append(&mut frame(1 + SAMPLES * i, SAMPLES)).unwrap();
    }
    1 + SAMPLES * first..1 + SAMPLES * (first + frames)
}

fn delete(writer: &mut WalWriter, seq: u64) {
    let mut frame = FrameEncoder::new();
    frame.delete(&Tombstone { seq: SeqNo(seq), matchers: vec![], range: TimeRange::ALL, created: 0 });
    writer.append(&mut frame).unwrap();
}

/// The epochs within the first opening of the files that are there.
fn files(fs: &SimFs) -> Vec<u32> {
    let names = fs.list(Path::new(DIR)).unwrap();
    names.iter().filter_map(|name| Epoch::from_file_name(name)).map(|epoch| epoch.0 as u32).collect()
}

/// Only the first generation of an opening was known to be whole: of any later one that was being flushed the log was
/// said not to have all, and let go of.
#[test]
fn p5_a_survey_knows_where_each_generation_of_an_opening_begins() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    let mut at = 0;
    for nth in 0..6 {
        // Into files that others before it had, from the third on.
        let numbers = write(&mut writer, at, 5);
        at += 5;
        assert!(has(&fs, numbers.clone()), "generation {nth}");
        let first = look(&fs, numbers.clone()).wal.ends.keys().next().unwrap().0 as u32;
        assert!(files(&fs).iter().filter(|file| **file >= first).count() >= 3, "generation {nth}");
        // Without its first file, or one in the middle, it is not whole.
        for gone in [first, first + 1] {
            let fs = fs.kill();
            fs.remove(&path(gone)).unwrap();
            assert!(!has(&fs, numbers.clone()), "generation {nth} without {gone}");
        }
        // Nor does it have more than was written.
        assert!(!has(&fs, numbers.start..numbers.end + 1), "generation {nth}");
        assert!(!has(&fs, numbers.start - 1..numbers.end), "generation {nth}");
        let next = writer.rotate();
        if nth > 0 {
            writer.release_before(next);
        }
    }
}

/// Its header says the same as that of the first file of a later generation would.
#[test]
fn the_second_file_of_an_opening_is_not_taken_for_the_first() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    let numbers = write(&mut writer, 0, 4);
    assert_eq!(files(&fs), [0, 1]);
    assert!(has(&fs, numbers.clone()));
    fs.remove(&path(0)).unwrap();
    assert!(!has(&fs, 1 + 2 * SAMPLES..numbers.end), "what defines its series may have been in the other one");
}

/// Each try that found no space took an epoch, so that the first file did not lie behind the generation's number.
#[test]
fn the_first_file_of_a_generation_is_known_that_found_no_space_at_first() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    write(&mut writer, 0, 2);
    let next = writer.rotate();
    writer.release_before(next);
    let used: u64 = fs.files().iter().map(|(_, len)| len).sum();
    fs.set_capacity(Some(used));
    for tries in 0..3 {
        // The first one takes the file that is spare, and it grows too little.
        let mut large = frame(1 + 2 * SAMPLES, 4 * SAMPLES);
        assert!(matches!(writer.append(&mut large), Err(WalError::NoSpace { .. })), "try {tries}");
    }
    fs.set_capacity(None);
    let numbers = write(&mut writer, 2, 1);
    assert_eq!(files(&fs), [next.0.0 as u32 + 1]);
    assert!(has(&fs, numbers));
}

/// What stands before tells it, too: a damaged header does not hide where a generation begins.
#[test]
fn a_generation_behind_another_one_is_known_without_its_header() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    write(&mut writer, 0, 2);
    writer.rotate();
    let numbers = write(&mut writer, 2, 2);
    let first = *files(&fs).last().unwrap();
    open(&fs, first).write_all_at(20, &[0xff; 4]).unwrap();
    assert!(has(&fs, numbers.clone()));
    fs.remove(&path(0)).unwrap();
    assert!(!has(&fs, numbers), "nothing tells it any more");
}

/// A delete is the first of its generation where nothing lay before it in memory. What comes behind it is replayed into a
/// memtable that begins behind its number.
#[test]
fn a_generation_that_begins_with_deletes_is_whole_behind_them() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    let first = write(&mut writer, 0, 2);
    let next = writer.rotate();
    writer.release_before(next);
    (0..2).for_each(|n| delete(&mut writer, first.end + n));
    let begin = first.end + 2;
    writer.append(&mut frame(begin, SAMPLES)).unwrap();
    writer.append(&mut frame(begin + SAMPLES, SAMPLES)).unwrap();
    let end = begin + 2 * SAMPLES;
    assert!(has(&fs, begin..end) && has(&fs, begin - 1..end) && has(&fs, first.end..end));
    assert!(!has(&fs, begin + SAMPLES..end), "samples lie before it, with what they define");
}

/// As an opening goes on behind the files of others: it reads them, and begins as far above what it found. Answers the
/// numbers of the samples that it writes.
fn open_again(fs: &SimFs, open_number: u32, first_seq: u64, frames: u64) -> Range<u64> {
    let state = WalState { live_epoch: Epoch::new(1, 0), ..WalState::default() };
    let found = recover(fs, Path::new(DIR), STORE, &state, RecoverMode::Salvage, &mut |_| Ok(())).unwrap();
    let mut options = options(FILE_BYTES);
    (options.open_number, options.first_frame) = (open_number, found.life(open_number).first_frame);
    let mut writer = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options).unwrap();
    for i in 0..frames {
        writer.append(&mut frame(first_seq + SAMPLES * i, SAMPLES)).unwrap();
    }
    first_seq..first_seq + SAMPLES * frames
}

/// What was replayed of one opening, or of several, is flushed once the next one goes on: numbers leap between them.
#[test]
fn what_several_openings_wrote_is_whole_if_nothing_is_missing_at_their_seams() {
    let fs = SimFs::new();
    let mut first = writer(&fs, FILE_BYTES);
    write(&mut first, 0, 4);
    drop(first);
    let second = open_again(&fs, 2, 1 << 40, 3);
    let third = open_again(&fs, 3, 1 << 50, 2);
    assert!(has(&fs, 1..third.end) && has(&fs, 1..second.end));
    assert!(has(&fs, second.start..third.end));
    assert_eq!(look(&fs, 1..third.end).of_newest, Some(9 * SAMPLES));
    assert!(!has(&fs, 1..third.start), "numbers that nobody has, and none above");
    // Replayed into a memtable that begins where the segments end, far below.
    assert!(has(&fs, second.start - (1 << 32)..third.end));
    let without = |remove: &dyn Fn(&SimFs)| {
        let fs = fs.kill();
        remove(&fs);
        has(&fs, 1..third.end)
    };
    let all_of = |opening: u32| {
        move |fs: &SimFs| {
            for name in fs.list(Path::new(DIR)).unwrap() {
                if Epoch::from_file_name(&name).is_some_and(|epoch| epoch.open_number() == opening) {
                    fs.remove(&Path::new(DIR).join(name)).unwrap();
                }
            }
        }
    };
    assert!(!without(&all_of(1)), "the first opening is gone");
    assert!(!without(&all_of(2)), "an opening in between is gone");
    // What a later opening goes on with is none of it.
    let alone = fs.kill();
    [1, 2].into_iter().for_each(|opening| all_of(opening)(&alone));
    assert!(!has(&alone, 1..second.end));
    assert!(!without(&|fs| fs.remove(&path(1)).unwrap()), "the end of the first one is gone");
    assert!(!without(&|fs| fs.remove(&Path::new(DIR).join(Epoch::new(2, 0).file_name())).unwrap()), "a beginning");
}

/// Behind a gap that nobody calls durable nothing is replayed; the files are named in which it lies.
#[test]
fn what_is_left_out_and_what_is_not_flushed_is_told_by_file() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    let numbers = write(&mut writer, 0, 6);
    hurt(&fs, 1, 1);
    let epoch = |count| Epoch::new(1, count);
    let found = look(&fs, 1..numbers.end);
    assert_eq!(found.of_newest, None);
    let all = look(&fs, 1..1);
    assert_eq!((all.left_out, all.left_out_of.into_iter().collect::<Vec<_>>()), (2, vec![epoch(2)]));
    assert_eq!(all.wal.ends[&epoch(1)].last, FrameNo(3));
    // The first file lies below the last flush.
    let later = look(&fs, 1 + 2 * SAMPLES..1 + 3 * SAMPLES);
    assert_eq!(later.unflushed.into_iter().collect::<Vec<_>>(), [epoch(1), epoch(2)]);
}

/// SV6: where the end of a log was gone, what was left passed for all there was.
#[test]
fn p5_a_survey_misses_what_a_manifest_called_durable() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, FILE_BYTES);
    let numbers = write(&mut writer, 0, 6);
    let known = WalState { live_epoch: Epoch::new(1, 0), synced_through: FrameNo(6), ..WalState::default() };
    let newest = 1..1;
    let whole = look_for(&fs, newest.clone(), &known);
    assert_eq!(whole, look(&fs, newest.clone()), "nothing is missing");
    assert_eq!(whole.wal.synced_through, FrameNo(6));
    let files = files(&fs);
    for (nth, file) in files.iter().enumerate().rev() {
        fs.remove(&path(*file)).unwrap();
        let found = look_for(&fs, newest.clone(), &known);
        assert!(found.wal.next_frame > FrameNo(6), "{found:?}");
        if nth > 0 {
            assert_eq!((found.wal.synced_through, found.missing), (FrameNo(6), None), "the last file ends there");
            assert_eq!(found.wal.ends.values().next_back().unwrap().last, FrameNo(6));
        } else {
            assert_eq!((found.wal.synced_through, found.missing), (FrameNo(0), Some((FrameNo(1), FrameNo(6)))));
        }
    }
    // What was let go of is not missed, and neither is what a later opening may have let go of.
    let released = WalState { next_frame: FrameNo(7), ..known.clone() };
    assert_eq!(look_for(&fs, numbers, &released).missing, None);
    fs.create(&Path::new(DIR).join(Epoch::new(2, 0).file_name())).unwrap();
    assert_eq!(look_for(&fs, newest, &known).missing, None);
}
