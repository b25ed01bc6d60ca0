//! P5: an end of the log that is cut off though sound frames lie in it is told, and not shown.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{SOON, at, contents, copy_dir, name, series};
use tidegauge::{Durability, Engine, Level, Recovery};

/// Where the frames of the log begin that hold samples (`docs/format/wal.md`): magic, and the kind 90 bytes behind.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let begins = |at: &usize| bytes[*at..].starts_with(b"TGFR") && bytes[*at + 90] == 1;
    (4096..bytes.len() - 96).step_by(8).filter(begins).collect()
}

/// The one file of the log that has frames.
fn log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| frames(&fs::read(path).unwrap()).len()).unwrap()
}

/// Under a long interval hardly anything is synced: damage amid all that passed for a torn tail, and nothing told how much
/// of it was sound.
#[test]
fn p5_sound_frames_behind_a_torn_tail_are_told_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let open = |recovery: Recovery, dir: &Path| {
        Engine::builder(dir)
            .durability(Durability::Interval(Duration::from_secs(3_600)))
            .recovery(recovery)
            .open()
            .unwrap()
    };
    let engine = open(Recovery::Strict, dir.path());
    let id = series(&engine, 1);
    for t in 0..9 {
        // Each is a commit, and a frame.
        let ack = engine.push(id, at(t), 1.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    for recovery in [Recovery::Strict, Recovery::Salvage] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let path = log(copy.path());
        let mut bytes = fs::read(&path).unwrap();
        let frames = frames(&bytes);
        assert_eq!(frames.len(), 9, "one a commit");
        bytes[frames[3] + 100] ^= 1;
        fs::write(&path, &bytes).unwrap();
        // Or its owner would be taken for one that writes there.
        fs::remove_file(copy.path().join("LOCK")).unwrap();
        let verified = tidegauge::admin::verify(copy.path(), |_, _| ()).unwrap();
        let opened = open(recovery, copy.path());
        assert_eq!(contents(&opened.snapshot())[&name(1)].len(), 3);
        let report = opened.recovery_report();
        let behind = report.torn_tail.as_ref().unwrap().behind.as_ref().expect("told");
        assert_eq!((behind.frames, behind.samples, behind.offset), (5, 5, frames[4] as u64));
        let sound = format!("5 sound frames with 5 samples lie behind, from byte {}", frames[4]);
        let told = format!("cut at byte {} of ", frames[3]);
        let notes = &report.notes[..];
        assert!(matches!(notes, [note] if note.contains(&sound) && note.contains(&told)), "{notes:?}");
        let lets_go = notes[0].contains("this opening has let go of them");
        assert_eq!(lets_go, recovery == Recovery::Strict, "{notes:?}");
        // Before an opening there is still something to be done about it.
        let [note] = &verified.notes[..] else { panic!("{:?}", verified.notes) };
        assert!(note.contains(&format!("({sound}")) && note.contains("`tidegauge repair`, keeps the files"), "{note}");
        if recovery == Recovery::Salvage {
            let kept = copy.path().join("quarantine").join(path.file_name().unwrap());
            assert!(bytes.starts_with(&fs::read(kept).unwrap()), "what is cut is kept");
        }
        assert!(report.is_whole());
    }
}
