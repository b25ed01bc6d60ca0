//! Promise P5, case by case: what is cut, what is refused, what salvage saves.

mod wal_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{SeqNo, TimeRange, Tombstone};
use tidegauge_storage::wal::{
    Edge, Epoch, EpochEnd, FrameEncoder, FrameNo, RecoverMode, WalError, WalState, WalWriter, WriterOptions,
    files_of_log, leave_reserve, recover,
};
use wal_support::*;

use RecoverMode::{Follow, Salvage, Strict};

#[test]
fn everything_written_comes_back_and_recovering_twice_gives_the_same() {
    let fs = SimFs::new();
    fill(&fs, 12 << 10, 200, &[3, 4, 90]);
    let (recovered, all) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!(all, numbers(0..4000));
    assert_eq!((recovered.frames, recovered.last_frame, recovered.next_seq.0), (200, FrameNo(200), 4000));
    assert_eq!((recovered.synced_through, &recovered.torn_tail), (FrameNo(90), &None));
    assert!(recovered.ends.len() > 3, "several files");
    recovered.secure(&fs).unwrap();
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().0, recovered);
    assert_eq!(read(&fs.crash(5), &WalState::default(), Strict).unwrap().1, all, "secured means durable");
}

#[test]
fn a_torn_tail_is_cut_whatever_follows_and_reported() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 10, &[5]);
    let offset = hurt(&fs, 0, 6);
    let (recovered, all) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!(all, numbers(0..120));
    let torn = recovered.torn_tail.as_ref().unwrap();
    assert_eq!((torn.offset, torn.last_good, torn.file.as_path()), (offset, FrameNo(6), path(0).as_path()));
    assert_eq!(recovered.cut, [path(0)]);
    // What lies behind is counted, and not shown.
    let behind = torn.behind.as_ref().unwrap();
    let eighth = frames_of(&fs, 0)[7].0 as u64;
    assert_eq!((&*behind.file, behind.offset, behind.frames, behind.samples), (&*path(0), eighth, 3, 60));
    // Numbers behind the cut are known, and never used again.
    assert_eq!((recovered.greatest_frame, recovered.next_seq.0), (FrameNo(10), 200));
    assert!(recovered.life(2).first_frame > FrameNo(10));
    // Where the manifest says that the file ends there, it does, whatever lies behind.
    let life = recovered.life(2);
    let state = WalState {
        live_epoch: life.live_epoch,
        next_frame: life.first_frame,
        synced_through: life.synced_through,
        ends: life.ends,
        ..WalState::default()
    };
    let (again, same) = read(&fs, &state, Strict).unwrap();
    assert_eq!((same, again.torn_tail), (all, None));
}

/// Whatever is wrong with the last frame, and wherever more was begun, is told: it may be worth keeping.
#[test]
fn what_is_cut_is_named_file_by_file() {
    let fs = SimFs::new();
    fill(&fs, 12 << 10, 100, &[5]);
    let files = (0..).take_while(|&count| fs.open_read(&path(count)).is_ok()).collect::<Vec<_>>();
    let (last, frames) = (files[files.len() - 1], |count| frames_of(&fs, count));
    // The last frame's payload, a checksum of its header, a number in that.
    let (at, len) = frames(last)[frames(last).len() - 1];
    for spot in [len / 2, 4, 42] {
        let fs = fs.kill();
        let byte = bytes(&fs, last)[at + spot];
        open(&fs, last).write_all_at((at + spot) as u64, &[byte ^ 4]).unwrap();
        let (recovered, _) = read(&fs, &WalState::default(), Strict).unwrap();
        assert_eq!((recovered.torn_tail.unwrap().offset, recovered.cut), (at as u64, vec![path(last)]), "{spot}");
    }
    // Nothing is cut of what is whole.
    assert!(read(&fs, &WalState::default(), Strict).unwrap().0.cut.is_empty());
    // A frame amid the files: those behind hold frames that are cut, too.
    let fs = fs.kill();
    hurt(&fs, 1, 0);
    let (recovered, _) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!(recovered.cut, files[1..].iter().map(|&count| path(count)).collect::<Vec<_>>());
}

#[test]
fn an_earlier_bad_frame_is_corruption_named_by_file_and_offset_and_salvage_reads_on() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 10, &[5]);
    let offset = hurt(&fs, 0, 2);
    match read(&fs, &WalState::default(), Strict) {
        Err(WalError::Corrupt { file, offset: at, frame, .. }) => {
            assert_eq!((file.as_path(), at, frame), (path(0).as_path(), offset, FrameNo(3)));
        }
        other => panic!("{other:?}"),
    }
    let (recovered, all) = read(&fs, &WalState::default(), Salvage).unwrap();
    assert_eq!(all, numbers((0..40).chain(60..200)));
    assert_eq!(recovered.lost.len(), 1);
    let lost = &recovered.lost[0];
    assert_eq!((lost.first, lost.last, lost.offset, lost.epoch), (FrameNo(3), FrameNo(3), offset, Epoch::new(1, 0)));
    let edge = |seq, timestamp| Some(Edge { seq: SeqNo(seq), timestamp: Some(timestamp) });
    let times = |range: std::ops::Range<u64>| range.map(|i| sample(i).timestamp);
    assert_eq!(lost.before, edge(40, times(20..40).max().unwrap()));
    assert_eq!(lost.behind, edge(60, times(60..80).min().unwrap()));
    assert_eq!(read(&fs, &WalState::default(), Salvage).unwrap(), (recovered, all));
    assert_eq!(read(&fs, &WalState::default(), Follow).unwrap().1, numbers(0..40));
}

#[test]
fn salvage_ends_at_the_first_gap_behind_what_was_durable() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 10, &[5]);
    hurt(&fs, 0, 1);
    hurt(&fs, 0, 8);
    let (recovered, all) = read(&fs, &WalState::default(), Salvage).unwrap();
    assert_eq!(all, numbers((0..20).chain(40..160)));
    assert_eq!(recovered.torn_tail.unwrap().last_good, FrameNo(8));
    assert_eq!(recovered.lost.len(), 1);
}

#[test]
fn the_manifest_is_a_witness_too() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 8, &[]);
    hurt(&fs, 0, 7);
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..140));
    let state = WalState { synced_through: FrameNo(8), ..WalState::default() };
    assert!(matches!(read(&fs, &state, Strict), Err(WalError::Corrupt { frame: FrameNo(8), .. })));
    let (recovered, all) = read(&fs, &state, Salvage).unwrap();
    assert_eq!((all, recovered.lost[0].last), (numbers(0..140), FrameNo(8)));
    assert!(recovered.lost[0].before.is_some() && recovered.lost[0].behind.is_none(), "nothing lies behind");
}

#[test]
fn a_missing_or_beheaded_file_is_seen() {
    for behead in [false, true] {
        let fs = SimFs::new();
        fill(&fs, 6 << 10, 60, &[58]);
        let second = read(&fs, &WalState::default(), Strict).unwrap().0.ends[&Epoch::new(1, 1)];
        if behead {
            open(&fs, 1).write_all_at(20, &[1]).unwrap();
        } else {
            fs.remove(&path(1)).unwrap();
        }
        match read(&fs, &WalState::default(), Strict) {
            Err(WalError::Corrupt { frame, file, .. }) => {
                assert_eq!(frame, second.first);
                assert_eq!(file, path(if behead { 1 } else { 0 }));
            }
            other => panic!("{other:?}"),
        }
        let (recovered, all) = read(&fs, &WalState::default(), Salvage).unwrap();
        let gap = if behead { 0..0 } else { 20 * (second.first.0 - 1)..20 * second.last.0 };
        assert_eq!(all, numbers((0..gap.start).chain(gap.end..1200)), "{behead}");
        assert_eq!(recovered.lost.len(), 1);
        // All files gone: nothing is left to witness but the manifest.
        let state = WalState { synced_through: FrameNo(58), ..WalState::default() };
        for name in fs.list(Path::new(DIR)).unwrap() {
            fs.remove(&Path::new(DIR).join(name)).unwrap();
        }
        assert!(matches!(read(&fs, &state, Strict), Err(WalError::Corrupt { .. })));
        assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, []);
    }
}

#[test]
fn a_file_of_an_earlier_opening_must_hold_what_the_manifest_says() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 10, &[]);
    let ends = BTreeMap::from([(Epoch::new(1, 0), EpochEnd { first: FrameNo(1), last: FrameNo(9) })]);
    let state = WalState { live_epoch: Epoch::new(2, 0), next_frame: FrameNo(1 << 32), ends, ..WalState::default() };
    assert_eq!(read(&fs, &state, Strict).unwrap().1, numbers(0..180));
    hurt(&fs, 0, 8);
    assert!(matches!(read(&fs, &state, Strict), Err(WalError::Corrupt { frame: FrameNo(9), .. })));
    assert_eq!(read(&fs, &state, Salvage).unwrap().1, numbers(0..160));
    hurt(&fs, 0, 3);
    let (recovered, all) = read(&fs, &state, Salvage).unwrap();
    assert_eq!((all, recovered.lost.len()), (numbers((0..60).chain(80..160)), 2));
    fs.remove(&path(0)).unwrap();
    assert!(matches!(read(&fs, &state, Strict), Err(WalError::Corrupt { frame: FrameNo(1), .. })));
}

#[test]
fn frames_of_a_recycled_files_former_life_never_match() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 16 << 10);
    // The same frames at the same places, so that old ones lie just where new ones are looked for.
    for i in 0..20 {
        writer.append(&mut frame(20 * i, 20)).unwrap();
    }
    let second = writer.rotate();
    let release = writer.release_edit(second);
    writer.release_before(second);
    for i in 0..3 {
        writer.append(&mut frame(20 * i, 20)).unwrap();
    }
    assert_eq!(log_files(&fs), [second.0.0 + 1].map(|e| Epoch(e).file_name()));
    let count = (second.0.0 + 1) as u32;
    assert!(frames_of(&fs, count).len() >= 20, "the former life's frames are still there");
    let state = WalState { oldest_epoch: release.oldest_epoch, next_frame: release.next_frame, ..WalState::default() };
    let (recovered, all) = read(&fs, &state, Strict).unwrap();
    assert_eq!(all, numbers(0..60));
    assert_eq!((recovered.last_frame, recovered.torn_tail), (FrameNo(23), None));
}

#[test]
fn a_newer_file_or_frame_is_refused_in_every_mode() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 3, &[]);
    let newer_file = fs.kill();
    let mut header = bytes(&fs, 0)[..64].to_vec();
    header[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    open(&newer_file, 0).write_all_at(0, &header).unwrap();
    let newer_frame = fs.kill();
    let (at, _) = frames_of(&fs, 0)[1];
    let mut header = bytes(&fs, 0)[at..at + HEADER_LEN].to_vec();
    header[90] = 4;
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    open(&newer_frame, 0).write_all_at(at as u64, &header).unwrap();
    for (fs, what, newer) in [(newer_file, "format version", 2), (newer_frame, "frame kind", 4)] {
        for mode in [Strict, Salvage, Follow] {
            match read(&fs, &WalState::default(), mode) {
                Err(WalError::TooNew { what: part, found, supported, .. }) => {
                    assert_eq!((part, found, supported), (what, newer, newer - 1));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn another_stores_files_are_not_taken_for_ours() {
    let fs = SimFs::new();
    fill(&fs, 64 << 10, 3, &[2]);
    let state = WalState { synced_through: FrameNo(2), ..WalState::default() };
    let result = recover(&fs, Path::new(DIR), STORE + 1, &state, Strict, &mut |_| Ok(()));
    assert!(matches!(result, Err(WalError::Corrupt { what, .. }) if what.contains("another store")));
}

#[test]
fn a_follower_sees_what_a_live_writer_has_written_so_far() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 12 << 10);
    for i in 0..100 {
        writer.append(&mut frame(20 * i, 20)).unwrap();
        if i % 30 == 0 {
            let _ = writer.sync_point();
        }
        assert_eq!(read(&fs, &WalState::default(), Follow).unwrap().1.len() as u64, 20 * (i + 1));
    }
}

#[test]
fn a_full_disk_refuses_the_frame_and_takes_the_same_one_later() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 8 << 10);
    fs.set_capacity(Some(13 << 10));
    let mut written = 0;
    let mut next = loop {
        let mut next = frame(20 * written, 20);
        match writer.append(&mut next) {
            Ok(_) => written += 1,
            Err(WalError::NoSpace { .. }) => break next,
            Err(e) => panic!("{e}"),
        }
    };
    assert!(written > 5 && writer.append(&mut next).is_err());
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..20 * written));
    fs.set_capacity(None);
    assert_eq!(writer.append(&mut next).unwrap(), FrameNo(written + 1));
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..20 * written + 20));
}

#[test]
fn a_frame_larger_than_a_file_gets_a_larger_file() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 8 << 10);
    writer.append(&mut frame(0, 20)).unwrap();
    let mut large = frame(20, 30_000);
    writer.append(&mut large).unwrap();
    writer.append(&mut frame(30_020, 20)).unwrap();
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..30_040));
}

#[test]
fn released_files_are_kept_up_to_the_limit_and_those_of_earlier_openings_removed() {
    let fs = SimFs::new();
    fill(&fs, 6 << 10, 60, &[]);
    let old = log_files(&fs);
    let mut options = options(6 << 10);
    (options.open_number, options.first_frame, options.spare_files) = (2, FrameNo(1 << 33), 2);
    let mut writer = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options.clone()).unwrap();
    for i in 0..60 {
        writer.append(&mut frame(20 * i, 20)).unwrap();
    }
    let all = fs.list(Path::new(DIR)).unwrap();
    assert!(old.iter().all(|name| all.contains(name)), "nothing is touched before it is released");
    let written = log_files(&fs);
    let generation = writer.rotate();
    writer.release_before(generation);
    let left = log_files(&fs);
    assert_eq!(left.iter().filter(|name| name.starts_with("00000002")).count(), 2);
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(writer.file_count(), 2);
    // The oldest were kept, and of those the newest written over first: what was let go of last, which a salvage without
    // the manifest reads beside what is still needed, was gone.
    assert_eq!(left, written[written.len() - 2..]);
    writer.append(&mut frame(1200, 20)).unwrap();
    let over = log_files(&fs);
    assert!(!over.contains(&left[0]) && over.contains(&left[1]), "{over:?}");
    let again = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options);
    assert!(matches!(again, Err(WalError::Io { .. })), "the open number was not raised");
}

/// Each flush left a file open until the next sync, which may be far away.
#[test]
fn files_that_are_released_before_they_are_synced_are_not_held_open_for_a_sync() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 6 << 10);
    for i in 0..20 {
        let generation = writer.rotate();
        // All but the one written last is in segments.
        writer.release_before(generation);
        writer.append(&mut frame(20 * i, 20)).unwrap();
    }
    let before = fs.syncs();
    let job = writer.sync_point().unwrap();
    assert_eq!(job.made().len(), 1, "the name of the file that is needed");
    assert_eq!(job.run().unwrap(), FrameNo(20));
    assert_eq!(fs.syncs() - before, 2, "the one file, and its name");
}

/// A store on a disk smaller than one of its log's files could never write.
#[test]
fn a_disk_with_little_space_gets_smaller_files() {
    let fs = SimFs::new();
    fs.set_capacity(Some((5 << 20) + RESERVE));
    let mut writer = writer(&fs, 64 << 20);
    let mut frames = 0;
    let refused = loop {
        match writer.append(&mut frame(20 * frames, 20)) {
            Ok(_) => frames += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, WalError::NoSpace { .. }), "{refused}");
    let lens: Vec<u64> = fs.files().into_iter().map(|(_, len)| len).collect();
    assert_eq!(lens, [RESERVE, 4 << 20, 1 << 20], "and nothing is left of the tries");
    fs.set_capacity(None);
    writer.append(&mut frame(20 * frames, 20)).unwrap();
    assert_eq!(fs.files().last().unwrap().1, 64 << 20);
}

/// What `docs/format/wal.md` says that is allocated for deletes and for an opening.
const RESERVE: u64 = 384 << 10;

/// Without the reserve.
fn log_files(fs: &SimFs) -> Vec<String> {
    fs.list(Path::new(DIR)).unwrap().into_iter().filter(|name| name.ends_with(".wal")).collect()
}

fn used(fs: &SimFs) -> u64 {
    fs.files().iter().map(|(_, len)| len).sum()
}

/// As many frames of 20 samples as there is space for. Answers the samples.
fn append_all(writer: &mut WalWriter, mut samples: u64) -> u64 {
    while writer.append(&mut frame(samples, 20)).is_ok() {
        samples += 20;
    }
    samples
}

fn sync(writer: &mut WalWriter) {
    if let Some(job) = writer.sync_point() {
        writer.note_synced(job.run().unwrap());
    }
}

/// A writer that finds no space for samples any more, and how many it has written.
fn full() -> (SimFs, WalWriter, u64) {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 8 << 10);
    writer.append(&mut frame(0, 20)).unwrap();
    fs.set_capacity(Some(used(&fs)));
    let samples = append_all(&mut writer, 20);
    (fs, writer, samples)
}

/// A delete as an engine writes it, durable: where there is no space, the reserve takes it, in a generation that begins
/// with it if there are samples in the running one.
fn delete(writer: &mut WalWriter, seq: u64, samples: &mut bool) -> Result<(), WalError> {
    let mut frame = FrameEncoder::new();
    frame.delete(&Tombstone { seq: SeqNo(seq), matchers: Vec::new(), range: TimeRange::ALL, created: 0 });
    match writer.append_delete(&mut frame) {
        Err(WalError::NoSpace { .. }) if writer.has_reserve(&mut frame) => {
            if std::mem::take(samples) {
                writer.rotate();
            }
            writer.append_reserved(&mut frame)?;
        }
        other => drop(other?),
    }
    sync(writer);
    Ok(())
}

/// P4: on a full disk the reserve takes deletes, and nothing else until there is another one.
#[test]
fn p4_the_reserve_takes_deletes_alone_and_is_taken_anew() {
    let (fs, mut writer, samples) = full();
    let mut unsealed = true;
    for n in 0..10 {
        delete(&mut writer, samples + n, &mut unsealed).unwrap();
        assert!(matches!(writer.append(&mut frame(samples + n + 1, 1)), Err(WalError::NoSpace { .. })));
    }
    // Each in a page of its own.
    let used_up = (10..200).find(|n| delete(&mut writer, samples + n, &mut unsealed).is_err());
    assert!(used_up.is_some_and(|n| n > 50), "{used_up:?}");
    let behind = samples + used_up.unwrap();
    // A little space is not enough.
    fs.set_capacity(Some(used(&fs) + (200 << 10)));
    assert!(matches!(writer.append(&mut frame(behind, 20)), Err(WalError::NoSpace { .. })));
    fs.set_capacity(None);
    writer.append(&mut frame(behind, 20)).unwrap();
    assert_eq!(
        fs.open_read(&Path::new(DIR).join(".reserve.00000001")).unwrap().len().unwrap(),
        RESERVE,
        "there is one again"
    );
    let (recovered, all) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!(all, numbers((0..samples).chain(behind..behind + 20)));
    assert!(recovered.torn_tail.is_none());
}

/// LK7: whoever lost the store may find the next owner's reserve, but no name of his own for it.
#[test]
fn p10_no_opening_takes_the_reserve_of_another() {
    let (fs, mut first, samples) = full();
    fs.set_capacity(None);
    let options = WriterOptions::new(STORE, 2, FrameNo(1 << 40));
    let mut second = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options).unwrap();
    second.append(&mut frame(samples, 20)).unwrap();
    fs.set_capacity(Some(used(&fs)));
    assert!(matches!(delete(&mut first, samples, &mut true), Err(WalError::Failed { .. })), "his own is gone");
    append_all(&mut second, samples + 20);
    delete(&mut second, samples + 1_000_000, &mut true).unwrap();
}

/// A delete that finds samples in memory begins a generation. In the file that the reserve had become, that ended it:
/// every delete behind it was refused.
#[test]
fn p4_a_generation_begins_with_the_reserve_and_does_not_end_it() {
    let (fs, mut writer, samples) = full();
    let mut unsealed = true;
    (0..20).for_each(|n| delete(&mut writer, samples + n, &mut unsealed).unwrap_or_else(|e| panic!("delete {n}: {e}")));
    assert!(writer.witness().unwrap());
    let (recovered, all) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!((all, recovered.frames), (numbers(0..samples), samples / 20 + 20));
    // What was before it may go, and the deletes stay.
    let generation = writer.generation();
    let release = writer.release_edit(generation);
    writer.release_before(generation);
    let mut state = WalState { oldest_epoch: release.oldest_epoch, ..WalState::default() };
    (state.next_frame, state.synced_through) = (release.next_frame, release.synced_through);
    let (recovered, all) = read(&fs, &state, Strict).unwrap();
    assert_eq!((all.len(), recovered.frames), (0, 20));
    // What was freed takes samples; once the disk is full again, the next reserve takes deletes.
    fs.set_capacity(Some(used(&fs) + RESERVE));
    let from = samples + 20;
    let samples = append_all(&mut writer, from);
    assert!(samples > from);
    unsealed = true;
    (0..20).for_each(|n| delete(&mut writer, samples + n, &mut unsealed).unwrap_or_else(|e| panic!("delete {n}: {e}")));
    let (recovered, all) = read(&fs, &state, Strict).unwrap();
    assert_eq!((all, recovered.frames), (numbers(from..samples), 40 + (samples - from) / 20));
}

/// Where deletes used up what they may have of the reserve, an opening still finds its part: behind all that the log
/// holds, and it takes nothing else.
#[test]
fn p4_the_end_of_the_reserve_is_given_back_for_an_opening() {
    let (fs, mut writer, samples) = full();
    let (mut unsealed, mut n) = (true, 0);
    let mut made = BTreeMap::new();
    while delete(&mut writer, samples + n, &mut unsealed).is_ok() {
        n += 1;
    }
    made.insert(Epoch::new(1, 0), fs.open_read(&path(0)).unwrap().len().unwrap());
    // What the manifest knows.
    let state = WalState { files: made, ..WalState::default() };
    let (recovered, all) = read(&fs, &state, Strict).unwrap();
    let before = used(&fs);
    assert!(recovered.give_back(&fs, &state));
    assert_eq!(before - used(&fs), 128 << 10);
    assert!(!recovered.give_back(&fs, &state), "there is no more");
    let again = read(&fs, &state, Strict).unwrap();
    assert_eq!((&again.0, &again.1), (&recovered, &all));
    // Once the manifest has the new life, what no frame lies in is free, and the chain the same.
    let life = recovered.life(2);
    let state = WalState {
        live_epoch: life.live_epoch,
        next_frame: life.first_frame,
        synced_through: life.synced_through,
        ends: life.ends,
        ..WalState::default()
    };
    recovered.give_back(&fs, &state);
    let (after, samples) = read(&fs, &state, Strict).unwrap();
    assert_eq!((after.frames, samples), (recovered.frames, all));
    let lens = fs.files().into_iter().filter(|(path, _)| path.extension().is_some()).map(|(_, len)| len);
    assert!(lens.sum::<u64>() < 400 << 10, "a page for each delete, and the samples");
}

/// An engine without a log leaves the reserve, and nobody syncs the folder's name for it. That it has a durable one, because
/// it is not empty, was taken for granted: the first sync lost it, and what was durable in it went with the power.
#[test]
fn a_folder_with_nothing_but_the_reserve_gets_its_name_anew_behind_a_sync_that_failed() {
    let fs = SimFs::new();
    leave_reserve(&fs, Path::new(DIR), 0, 0);
    assert!(!fs.list(Path::new(DIR)).unwrap().is_empty());
    fs.fail_sync_at(fs.syncs() + 1);
    let open = || WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options(12 << 10));
    assert!(open().is_err());
    drop(open().unwrap());
    drop(fill(&fs, 12 << 10, 3, &[3]));
    assert_eq!(read(&fs.crash(1), &WalState::default(), Strict).unwrap().1, numbers(0..60));
}

/// A reader, or who copies a store that nobody owns, passed over what an opening had under another name when it died.
#[test]
fn a_file_between_two_renames_is_read() {
    let fs = SimFs::new();
    fill(&fs, 12 << 10, 200, &[3, 4, 90]);
    let (_, all) = read(&fs, &WalState::default(), Strict).unwrap();
    for file in [0, 2] {
        let between = format!("{}.renamed", path(file).display());
        fs.rename(&path(file), Path::new(&between)).unwrap();
        for mode in [Strict, Follow] {
            assert_eq!(read(&fs, &WalState::default(), mode).unwrap().1, all, "{file}");
        }
        let names = fs.list(Path::new(DIR)).unwrap();
        let own = path(file).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(files_of_log(&names).any(|(name, is)| name != is && is == own));
        fs.rename(Path::new(&between), &path(file)).unwrap();
    }
}
