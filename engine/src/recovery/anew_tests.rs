//! P4, P5: what a repair does that makes the manifest anew, where something else goes wrong meanwhile.

use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{AllBut, Choose, Fault, Random, SimFs};

use super::Recovery;
use super::tests::{Contents, contents, killed, open_unmerged, path_of, push, quarantined, settle, try_open};
use crate::engine::Metadata;

const MANIFEST: &str = "memory/MANIFEST";
const SEGMENTS: &str = "memory/segments";
const WAL: &str = "memory/wal";

fn copy(fs: &SimFs, from: &Path, to: &Path) {
    let bytes = fs.map(from).unwrap().to_vec();
    fs.create(to).unwrap().write_all_at(0, &bytes).unwrap();
}

/// A closed store without a manifest, of one segment, in a folder that somebody put back: it is in the page cache alone.
fn put_back() -> (SimFs, Contents) {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    let all = contents(&engine);
    engine.close().unwrap();
    let segment = path_of(&fs, "segments");
    let bytes = fs.map(&segment).unwrap().to_vec();
    fs.list(Path::new(WAL)).unwrap().iter().for_each(|name| fs.remove(&Path::new(WAL).join(name)).unwrap());
    for path in [Path::new(MANIFEST), Path::new("memory/MANIFEST.closed"), &segment] {
        fs.remove(path).unwrap();
    }
    settle(&fs);
    fs.remove_dir(Path::new(SEGMENTS)).unwrap();
    fs.sync_dir(Path::new("memory")).unwrap();
    fs.create_dir_all(Path::new(SEGMENTS)).unwrap();
    fs.create(&segment).unwrap().write_all_at(0, &bytes).unwrap();
    (fs, all)
}

/// The line of the audit log made the folder's name durable. Where it could not be written, a power loss right behind the
/// renaming left a manifest that names a segment in no folder.
#[test]
fn p4_a_manifest_made_anew_names_no_segment_in_a_folder_without_a_name_where_its_line_cannot_be_written() {
    let (base, all) = put_back();
    let (mut unnoted, mut opened) = (0, 0);
    for sync in 1.. {
        let fs = base.kill();
        fs.record();
        let fails = fs.syncs() + sync;
        fs.fail_sync_at(fails);
        let engine = try_open(&fs, Recovery::Salvage);
        if fs.syncs() < fails {
            break;
        }
        if !engine.as_ref().is_ok_and(|engine| engine.recovery_report().unnoted) {
            continue;
        }
        unnoted += 1;
        let mut timeline = fs.timeline();
        while !timeline.is_over() {
            timeline.advance();
            for nth in 0..12 {
                let choose: &mut dyn Choose = match nth {
                    0..4 => &mut AllBut::lost(nth),
                    4..8 => &mut AllBut::left(nth - 4),
                    seed => &mut Random::new(seed),
                };
                let left = timeline.power_loss(choose);
                if left.map(Path::new(MANIFEST)).is_err() {
                    continue;
                }
                let at = format!("sync {sync}, step {}, {nth}", timeline.at());
                let engine = try_open(&left, Recovery::Strict).unwrap_or_else(|e| panic!("{at}: {e}"));
                assert!(contents(&engine) == all, "{at}");
                opened += 1;
            }
        }
    }
    assert!(unnoted > 1 && opened > 20, "{unnoted} {opened}");
}

/// Each try kept the damaged manifest under one more number: the next one within an opening that finds no space, and each
/// opening behind one that was refused.
#[test]
fn a_damaged_manifest_is_kept_once_however_often_the_repair_is_tried() {
    let (base, all) = killed();
    base.open(Path::new(MANIFEST)).unwrap().write_all_at(64, &[0; 64]).unwrap();
    settle(&base);
    let (mut refused, mut opened) = (0, 0);
    for fault in [Fault::Full, Fault::Io] {
        for at in 1.. {
            let fs = base.kill();
            let fails = fs.operations() + at;
            fs.fail_at(fails, fault);
            let first = try_open(&fs, Recovery::Salvage);
            if fs.operations() < fails {
                break;
            }
            opened += usize::from(first.is_ok());
            refused += usize::from(first.is_err());
            let engine = first.unwrap_or_else(|_| {
                fs.restart();
                try_open(&fs, Recovery::Salvage).unwrap()
            });
            let kept = Path::new("memory/quarantine/MANIFEST.1");
            let told = engine.recovery_report().quarantined.iter().filter(|path| *path == kept).count();
            let mut names = quarantined(&fs);
            names.retain(|name| name.starts_with("MANIFEST"));
            assert_eq!(names, ["MANIFEST.1"], "{fault:?} at {at}");
            assert!(told <= 1 && contents(&engine) == all, "{fault:?} at {at}: {told}");
        }
    }
    assert!(refused > 10 && opened > 10, "{refused} {opened}");
}

/// A line names the first 20 notes, and those of each file that was set aside came before what may be missing.
#[test]
fn the_line_of_a_manifest_made_anew_has_what_may_be_missing_in_front_of_files_that_were_set_aside() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    // Late samples have a segment of their own, which is gone.
    push(&engine, 1);
    push(&engine, 0);
    engine.close().unwrap();
    fs.remove(&path_of(&fs, "segments")).unwrap();
    let segment = path_of(&fs, "segments");
    for n in 0..25 {
        copy(&fs, &segment, &Path::new(SEGMENTS).join(format!("00000001000ff{n:03}.seg")));
    }
    fs.list(Path::new(WAL)).unwrap().iter().for_each(|name| fs.remove(&Path::new(WAL).join(name)).unwrap());
    fs.remove(Path::new(MANIFEST)).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert_eq!((report.quarantined.len(), contents(&engine).len()), (25, 1200), "{report:?}");
    let line = String::from_utf8(fs.map(Path::new("memory/audit.log")).unwrap().to_vec()).unwrap();
    let needed = ["made anew from", "only the manifest knew", "samples at most may be missing", "rules of retention"];
    for words in needed {
        assert!(line.contains(words), "{words}: {line}");
    }
}

/// What the log brings back was told as lost, to the last sample.
#[test]
fn of_a_segment_that_is_gone_and_that_the_log_still_has_nobody_knows_how_much_is_lost() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    push(&engine, 0);
    engine.flush().unwrap();
    push(&engine, 10);
    let all = contents(&engine);
    let logged = fs.kill();
    engine.flush().unwrap();
    for name in ["mem", "disk"] {
        engine.set_metadata(name, Metadata::default()).unwrap();
    }
    let disk = fs.kill();
    drop(engine);
    let manifest = Path::new(MANIFEST);
    let at = disk.map(manifest).unwrap().windows(3).rposition(|w| w == b"mem").unwrap();
    disk.open(manifest).unwrap().write_all_at(at as u64, b"MEM").unwrap();
    let gone = path_of(&disk, "segments");
    disk.remove(&gone).unwrap();
    let without_log = disk.kill();
    let log = Path::new(WAL);
    without_log.list(log).unwrap().iter().for_each(|name| without_log.remove(&log.join(name)).unwrap());
    for name in logged.list(Path::new(WAL)).unwrap() {
        let path = Path::new(WAL).join(name);
        let bytes = logged.map(&path).unwrap().to_vec();
        let _ = disk.remove(&path);
        disk.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
    }
    for (disk, left, counts) in [(disk, 2400, (None, 0)), (without_log, 1200, (Some(1200), 1200))] {
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        let of_it: Vec<_> = report.lost.iter().filter(|lost| lost.file == gone).collect();
        let [lost] = &of_it[..] else { panic!("{report:?}") };
        let found = contents(&engine);
        assert!(found.len() == left && found.iter().all(|(at, value)| all.get(at) == Some(value)), "{report:?}");
        assert_eq!((lost.samples, lost.samples_at_least), counts, "{report:?}");
        let told: u64 = report.lost.iter().map(|lost| lost.samples_at_least).sum();
        assert!(told <= (2400 - left) as u64, "{report:?}");
    }
}

/// It said that older values are shown again also where those were in a file that was lost as well.
#[test]
fn older_values_are_said_to_be_shown_again_only_where_some_are_shown() {
    let base = SimFs::new();
    let engine = open_unmerged(&base);
    for _ in 0..2 {
        push(&engine, 0);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let mut names = base.list(Path::new(SEGMENTS)).unwrap();
    names.sort();
    let [older, newer] = [0, 1].map(|n| Path::new(SEGMENTS).join(&names[n]));
    let wreck = |fs: &SimFs, path: &Path| {
        let bytes = fs.map(path).unwrap().len();
        fs.open(path).unwrap().write_all_at(0, &vec![0xa5; bytes]).unwrap();
    };
    let hurt = |fs: &SimFs| fs.open(&older).unwrap().write_all_at(20, &[0xa5; 8]).unwrap();
    for (what, is_told) in [("sound", true), ("its header is damaged", true), ("a wreck", false)] {
        let fs = base.kill();
        wreck(&fs, &newer);
        match what {
            "a wreck" => wreck(&fs, &older),
            "sound" => {}
            _ => hurt(&fs),
        }
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert_eq!(contents(&engine).is_empty(), !is_told, "{what}: {report:?}");
        let tells = report.notes.iter().any(|note| note.contains("the older value is shown again"));
        assert_eq!(tells, is_told, "{what}: {report:?}");
    }
}
