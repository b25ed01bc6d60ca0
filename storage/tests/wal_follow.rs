//! Reading beside a writer (WR5): damage is told, and what was merely read too early is none.

mod racing_fs;
mod wal_support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use racing_fs::{RacingFs, shown};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::wal::{RecoverMode, Recovered, Replay, WalError, WalState, recover};
use wal_support::*;

use RecoverMode::{Follow, Strict};

/// What is late for a reader whom the writer overtakes: the first time that a file is opened (to be measured, and then to
/// be read) it has nothing from an offset on, and the first time that the folder is listed some files are not there. From
/// then on everything is, but for files that the log has let go of meanwhile.
#[derive(Debug, Default)]
struct Late {
    /// File, offset, how many openings besides the last.
    bytes: Vec<(PathBuf, u64, u8)>,
    names: BTreeSet<String>,
    gone: BTreeSet<String>,
}

fn overtaken(fs: &SimFs, Late { bytes, names, gone }: Late) -> RacingFs {
    let (bytes, names) = (Mutex::new(bytes), Mutex::new([gone, names].to_vec()));
    let (opened, listed) = (fs.clone(), fs.clone());
    let open = move |path: &Path| {
        let mut bytes = bytes.lock().unwrap();
        let Some(at) = bytes.iter().position(|late| late.0 == path) else { return opened.open_read(path) };
        let until = bytes[at].1 as usize;
        match bytes[at].2.checked_sub(1) {
            Some(left) => bytes[at].2 = left,
            None => drop(bytes.remove(at)),
        }
        let mut early = opened.map(path)?.to_vec();
        early.iter_mut().skip(until).for_each(|byte| *byte = 0);
        Ok(shown(early))
    };
    let list = move |dir: &Path| {
        let mut hidden = names.lock().unwrap();
        let hidden = if hidden.len() > 1 { hidden.pop().unwrap() } else { hidden[0].clone() };
        Ok(listed.list(dir)?.into_iter().filter(|name| !hidden.contains(name)).collect())
    };
    RacingFs::new(open, list)
}

fn follow(fs: &dyn Fs) -> (Recovered, u64) {
    let mut samples = 0;
    let recovered = recover(fs, Path::new(DIR), STORE, &WalState::default(), Follow, &mut |piece| {
        if let Replay::Samples { samples: some, .. } = piece {
            samples += some.len() as u64;
        }
        Ok(())
    });
    (recovered.unwrap(), samples)
}

fn name_of(count: u32) -> String {
    path(count).file_name().unwrap().to_str().unwrap().to_owned()
}

/// Several files, most of their frames being durable. The frames that the files hold, by their place.
fn written() -> (SimFs, Vec<Vec<(usize, usize)>>) {
    let fs = SimFs::new();
    fill(&fs, 12 << 10, 100, &[19, 39, 59, 79, 89]);
    let files = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| name.ends_with(".wal")).count() as u32;
    let frames = (0..files).map(|count| frames_of(&fs, count)).collect();
    (fs, frames)
}

#[test]
fn a_follower_tells_the_damage_that_strict_refuses() {
    let (fs, frames) = written();
    assert!(frames.len() > 3, "several files");
    let (whole, samples) = follow(&fs);
    assert_eq!((whole.damage, whole.next_seq.0, samples), (None, 2000, 2000));
    let (mut told, mut cut) = (0, 0);
    for (count, frames) in frames.iter().enumerate() {
        for n in 0..frames.len() {
            let fs = fs.kill();
            hurt(&fs, count as u32, n);
            let (found, samples) = follow(&fs);
            match read(&fs, &WalState::default(), Strict) {
                Err(WalError::Corrupt { file, offset, frame, what }) => {
                    let damage = found.damage.expect("what Strict refuses is told");
                    assert_eq!((damage.file, damage.offset, damage.frame), (file, offset, frame));
                    assert_eq!((damage.what, samples), (what, 20 * (frame.0 - 1)));
                    told += 1;
                }
                Ok((_, all)) => {
                    assert_eq!((found.damage, samples), (None, all.len() as u64));
                    cut += 1;
                }
                Err(e) => panic!("{e}"),
            }
            // What lies behind the break is not shown, and its numbers are not either.
            assert_eq!(found.next_seq.0, samples);
        }
    }
    assert!(told > 40 && cut > 5, "{told} told, {cut} cut");
}

#[test]
fn a_file_that_is_gone_is_told() {
    let (fs, frames) = written();
    for count in 0..frames.len() as u32 - 2 {
        let fs = fs.kill();
        fs.remove(&path(count)).unwrap();
        assert!(follow(&fs).0.damage.is_some(), "file {count}");
    }
}

/// The reader looks at a frame's place before the frame is written, and meets its witness later.
#[test]
fn what_was_written_behind_the_readers_back_is_no_damage() {
    let (fs, frames) = written();
    let mut witnessed = 0;
    for (count, frames) in frames.iter().enumerate() {
        // The file's header is late, too, where nothing of the file was there.
        for until in frames.iter().map(|(at, _)| *at as u64).chain([0]) {
            let late = Late { bytes: vec![(path(count as u32), until, 1)], ..Late::default() };
            let (found, _) = follow(&overtaken(&fs, late));
            assert_eq!(found.damage, None, "file {count}, from {until}");
            witnessed += u64::from(found.synced_through > found.last_frame);
        }
    }
    assert!(witnessed > 20, "{witnessed} had a witness");
}

/// A file gets its name while the folder is listed, and one with its witness too: the second is listed, the first not.
#[test]
fn a_name_that_came_during_the_listing_is_no_damage() {
    let (fs, frames) = written();
    let mut witnessed = 0;
    for count in 0..frames.len() as u32 {
        let late = Late { names: [name_of(count)].into(), ..Late::default() };
        let (found, _) = follow(&overtaken(&fs, late));
        assert_eq!(found.damage, None, "file {count}");
        witnessed += u64::from(found.synced_through > found.last_frame);
    }
    assert!(witnessed > 2, "{witnessed} had a witness");
}

/// The reader stands at the end of a file that the log lets go of before he looks again: the frame that he misses is the
/// first of the next one, and needed still, so no manifest excuses it.
#[test]
fn a_file_that_goes_behind_the_reader_is_no_damage_of_the_next() {
    let (fs, frames) = written();
    let mut witnessed = 0;
    for count in 1..frames.len() as u32 {
        let before: BTreeSet<String> = (0..count).map(name_of).collect();
        let late = Late { bytes: vec![(path(count), 0, 1)], gone: before, ..Late::default() };
        let (found, _) = follow(&overtaken(&fs, late));
        assert_eq!(found.damage, None, "file {count}");
        witnessed += u64::from(found.synced_through > found.last_frame);
    }
    assert!(witnessed > 2, "{witnessed} had a witness");
}

/// As before, but the next file lacks that frame.
#[test]
fn a_file_that_goes_behind_the_reader_excuses_no_damage_of_the_next() {
    let (fs, frames) = written();
    for count in 1..frames.len() as u32 - 2 {
        let fs = fs.kill();
        let at = hurt(&fs, count, 0);
        let before = (0..count).map(name_of).collect();
        let late = Late { bytes: vec![(path(count), at, 1)], gone: before, ..Late::default() };
        assert!(follow(&overtaken(&fs, late)).0.damage.is_some(), "file {count}");
    }
}

/// A frame that is overtaken and damaged is told all the same.
#[test]
fn looking_again_does_not_excuse_damage() {
    let (fs, frames) = written();
    for count in 0..frames.len() as u32 - 2 {
        let fs = fs.kill();
        let at = hurt(&fs, count, 0);
        let late = Late { bytes: vec![(path(count), at, 1)], ..Late::default() };
        assert!(follow(&overtaken(&fs, late)).0.damage.is_some(), "file {count}");
    }
}
