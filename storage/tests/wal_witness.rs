//! The end of the log: what an idle writer says of it, and files that the manifest knows
//! (`docs/concurrency.md`, "The end of the log").

mod wal_support;

use std::collections::BTreeMap;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::wal::{Epoch, FrameNo, RecoverMode, WalError, WalState, WalWriter};
use wal_support::*;

use RecoverMode::{Follow, Salvage, Strict};

fn sync(writer: &mut WalWriter) -> BTreeMap<Epoch, u64> {
    let job = writer.sync_point().unwrap();
    let through = job.run().unwrap();
    writer.note_synced(through);
    job.made().iter().copied().collect()
}

/// Five frames, all durable, and the log at rest.
fn idle() -> (SimFs, WalWriter) {
    let fs = SimFs::new();
    let mut writer = fill(&fs, 64 << 10, 5, &[]);
    assert!(!writer.witness().unwrap(), "nothing is durable yet");
    sync(&mut writer);
    assert!(writer.witness().unwrap());
    (fs, writer)
}

fn corrupt(fs: &SimFs, state: &WalState) -> (u64, u64, String) {
    match read(fs, state, Strict) {
        Err(WalError::Corrupt { offset, frame, what, file }) => {
            (frame.0, offset, format!("{}: {what}", file.display()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn p5_the_last_durable_frame_of_an_idle_log_is_witnessed() {
    let (fs, _writer) = idle();
    let whole = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!((whole.1, whole.0.torn_tail, whole.0.frames), (numbers(0..100), None, 5));
    assert_eq!((whole.0.synced_through, whole.0.last_frame), (FrameNo(5), FrameNo(5)));
    for n in [4, 1] {
        let fs = fs.kill();
        let offset = hurt(&fs, 0, n);
        assert_eq!(corrupt(&fs, &WalState::default()).0, n as u64 + 1);
        let (recovered, all) = read(&fs, &WalState::default(), Salvage).unwrap();
        let n = n as u64;
        assert_eq!(all, numbers((0..20 * n).chain(20 * (n + 1)..100)));
        let [lost] = &recovered.lost[..] else { panic!("{:?}", recovered.lost) };
        assert_eq!((lost.first.0, lost.last.0, lost.offset, lost.open_ended), (n + 1, n + 1, offset, false));
        assert_eq!(recovered.torn_tail, None, "a witness is no frame that was begun");
        assert_eq!(read(&fs, &WalState::default(), Follow).unwrap().1, numbers(0..20 * n));
    }
    // Without the witness it is as before: nothing tells that the frame was durable.
    hurt(&fs, 0, 4);
    let witness = frames_of(&fs, 0)[5].0 as u64;
    open(&fs, 0).write_all_at(witness + 90, &[7]).unwrap();
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..80));
}

#[test]
fn a_witness_is_written_once_for_a_sync_and_makes_none_due() {
    let (fs, mut writer) = idle();
    let operations = fs.operations();
    assert!(!writer.witness().unwrap() && writer.sync_point().is_none());
    assert_eq!(fs.operations(), operations);
    writer.append(&mut frame(100, 20)).unwrap();
    assert!(!writer.witness().unwrap(), "something is not durable");
    sync(&mut writer);
    assert!(writer.witness().unwrap() && writer.sync_point().is_none());
}

#[test]
fn the_next_frame_takes_the_place_of_the_witness() {
    let (fs, mut writer) = idle();
    let before = frames_of(&fs, 0);
    assert_eq!(writer.append(&mut frame(100, 20)).unwrap(), FrameNo(6));
    let frames = frames_of(&fs, 0);
    assert_eq!((frames.len(), frames[5].0), (6, before[5].0));
    let (recovered, all) = read(&fs, &WalState::default(), Strict).unwrap();
    assert_eq!((all, recovered.synced_through, recovered.torn_tail), (numbers(0..120), FrameNo(5), None));
    // Whatever a power loss leaves of the two in that place, what was durable is there and nothing is corrupt.
    for choice in 0..64 {
        let (recovered, all) = read(&fs.crash(choice), &WalState::default(), Strict).unwrap();
        assert!(all == numbers(0..100) || all == numbers(0..120), "{recovered:?}");
    }
}

#[test]
fn after_a_rotation_the_file_that_ended_has_the_witness_until_it_is_released() {
    let fs = SimFs::new();
    let mut writer = fill(&fs, 64 << 10, 5, &[]);
    let generation = writer.rotate();
    sync(&mut writer);
    assert!(writer.witness().unwrap());
    let hurt_one = fs.kill();
    hurt(&hurt_one, 0, 4);
    assert_eq!(corrupt(&hurt_one, &WalState::default()).0, 5);
    // Frames of the next generation follow in a file of their own.
    writer.append(&mut frame(100, 20)).unwrap();
    assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().1, numbers(0..120));

    // Released, it may get another name at any time: nothing is written there.
    let mut writer = fill(&SimFs::new(), 64 << 10, 5, &[]);
    let next = writer.rotate();
    assert_eq!(next, generation);
    sync(&mut writer);
    writer.release_before(next);
    assert!(!writer.witness().unwrap());
}

#[test]
fn there_is_a_place_for_a_witness_in_a_full_file() {
    for frames in 1..120 {
        let fs = SimFs::new();
        let mut writer = fill(&fs, 12 << 10, frames, &[]);
        let files = sync(&mut writer);
        assert!(writer.witness().unwrap());
        for (epoch, bytes) in files {
            assert_eq!(open(&fs, epoch.0 as u32).len().unwrap(), bytes, "it does not grow");
        }
        assert_eq!(read(&fs, &WalState::default(), Strict).unwrap().0.synced_through, FrameNo(frames));
    }
}

/// What the manifest knows of a log whose files were durable once, and of no more than its first frame.
fn known(fs: &SimFs, frames: u64, file_bytes: u64) -> (WalState, WalWriter) {
    let mut writer = fill(fs, file_bytes, frames, &[]);
    let files = sync(&mut writer);
    assert!(writer.witness().unwrap());
    (WalState { synced_through: FrameNo(1), files, ..WalState::default() }, writer)
}

#[test]
fn p5_a_log_file_that_is_cut_short_is_corruption_wherever_it_is_cut() {
    let fs = SimFs::new();
    let (state, _writer) = known(&fs, 5, 64 << 10);
    assert_eq!(read(&fs, &state, Strict).unwrap().1, numbers(0..100));
    let frames = frames_of(&fs, 0);
    for len in [0, 50, 4096, frames[0].0 + 50, frames[2].0, frames[3].0 + 7, frames[4].0 + frames[4].1, 65_535] {
        let fs = fs.kill();
        open(&fs, 0).set_len(len as u64).unwrap();
        let whole = frames[..5].iter().filter(|(at, frame)| at + frame <= len).count() as u64;
        let (frame, offset, what) = corrupt(&fs, &state);
        assert_eq!(frame, whole + 1);
        assert!(what.contains("cut short") && offset == len as u64, "{what} at {offset}");
        let (recovered, all) = read(&fs, &state, Salvage).unwrap();
        assert_eq!(all, numbers(0..20 * whole));
        let [lost] = &recovered.lost[..] else { panic!("{:?}", recovered.lost) };
        assert!(lost.open_ended && lost.first.0 == whole + 1, "{lost:?}");
        // Without the manifest's word nobody misses it.
        let state = WalState { files: BTreeMap::new(), synced_through: FrameNo(0), ..state.clone() };
        assert_eq!(read(&fs, &state, Strict).unwrap().1, numbers(0..20 * whole));
    }
}

#[test]
fn p5_a_log_file_that_is_gone_is_named() {
    for gone in [0, 1, 2] {
        let fs = SimFs::new();
        let (mut state, _writer) = known(&fs, 60, 12 << 10);
        assert!(state.files.len() >= 3, "{:?}", state.files);
        let last = state.files.len() as u32 - 1;
        let gone = [0, 1, last][gone];
        // Told when the last file became durable.
        state.synced_through = FrameNo(60);
        fs.remove(&path(gone)).unwrap();
        let (_, _, what) = corrupt(&fs, &state);
        assert_eq!(what, format!("{}: the file is missing", path(gone).display()));
        let (recovered, _) = read(&fs, &state, Salvage).unwrap();
        let [lost] = &recovered.lost[..] else { panic!("{:?}", recovered.lost) };
        assert_eq!((lost.file.as_path(), lost.open_ended), (path(gone).as_path(), gone == last));
    }
}

/// A middle file that lost its end: what lies in later files is saved, though nothing there is known to be durable.
#[test]
fn salvage_reads_on_behind_a_file_that_is_cut_short() {
    let fs = SimFs::new();
    let mut writer = fill(&fs, 12 << 10, 4, &[]);
    let files = sync(&mut writer);
    for i in 4..60 {
        writer.append(&mut frame(20 * i, 20)).unwrap();
    }
    let state = WalState { files, ..WalState::default() };
    let (end, len) = *frames_of(&fs, 0).last().unwrap();
    open(&fs, 0).set_len((end + len - 8) as u64).unwrap();
    let n = frames_of(&fs, 0).len() as u64;
    let (recovered, all) = read(&fs, &state, Salvage).unwrap();
    assert_eq!(all, numbers((0..20 * (n - 1)).chain(20 * n..1200)));
    assert_eq!(recovered.lost.len(), 1);
}
