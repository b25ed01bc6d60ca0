//! P5: a segment under a name that is not its own ends a salvage before anything is given up (RS5).

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::segment::{file_name, first_id};

use super::Recovery;
use super::tests::{contents, flip, flip_two, open_unmerged, push, quarantined, try_open};
use crate::error::OpenError;

const SEGMENTS: &str = "memory/segments";
/// A name that nobody has.
const STRANGE: &str = "memory/segments/0000000100000fff.seg";

/// Three segments of 1,200 samples.
fn three() -> (SimFs, [PathBuf; 3]) {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..3 {
        push(&engine, 10 * round);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let mut names = fs.list(Path::new(SEGMENTS)).unwrap();
    names.sort();
    let paths = [0, 1, 2].map(|n| Path::new(SEGMENTS).join(&names[n]));
    (fs, paths)
}

fn copy(fs: &SimFs, from: &Path, to: &Path) {
    let bytes = fs.map(from).unwrap().to_vec();
    fs.create(to).unwrap().write_all_at(0, &bytes).unwrap();
}

fn exchange(fs: &SimFs, [first, second]: [&Path; 2]) {
    let aside = Path::new("memory/aside");
    fs.rename(first, aside).unwrap();
    fs.rename(second, first).unwrap();
    fs.rename(aside, second).unwrap();
}

fn segments(fs: &SimFs) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(SEGMENTS);
    fs.list(folder)
        .unwrap()
        .into_iter()
        .map(|name| (name.clone(), fs.map(&folder.join(name)).unwrap().to_vec()))
        .collect()
}

/// A salvage says where the file at `path` belongs, and has changed none.
fn check_refused(fs: &SimFs, path: &Path, belongs: &Path, what: &str) {
    let before = segments(fs);
    match try_open(fs, Recovery::Salvage) {
        Err(OpenError::Misnamed { path: is, belongs: to }) => {
            assert_eq!((is.as_path(), to.as_path()), (path, belongs), "{what}");
        }
        Err(e) => panic!("{what}: {e}"),
        Ok(engine) => panic!("{what}: {:?}", engine.recovery_report()),
    }
    assert!(segments(fs) == before && quarantined(fs).is_empty(), "{what}");
}

fn salvaged_len(fs: &SimFs) -> usize {
    contents(&try_open(fs, Recovery::Salvage).unwrap()).len()
}

type Damages = fn(&SimFs, &Path);

/// It was set aside, and all of it told as lost.
#[test]
fn p5_a_segment_under_a_name_that_nobody_has_ends_a_salvage_before_anything_is_set_aside() {
    let strange = Path::new(STRANGE);
    let (base, [_, second, _]) = three();
    let wreck = |fs: &SimFs, path: &Path| fs.open(path).unwrap().write_all_at(0, &[0xa5; 200]).unwrap();
    let damages: [(&str, Damages, RangeInclusive<usize>); 3] = [
        ("sound", |_, _| (), 3600..=3600),
        ("a bit of its header", |fs, path| flip(fs, path, 20), 3600..=3600),
        ("two bits of a column", |fs, path| flip_two(fs, path, 80), 2400..=3599),
    ];
    for (what, damage, left) in damages {
        let fs = base.kill();
        damage(&fs, &second);
        fs.rename(&second, strange).unwrap();
        check_refused(&fs, strange, &second, what);
        fs.rename(strange, &second).unwrap();
        let found = salvaged_len(&fs);
        assert!(left.contains(&found), "{what}, under its own name: {found}");
    }
    // Its own name has something worse.
    let fs = base.kill();
    copy(&fs, &second, strange);
    wreck(&fs, &second);
    check_refused(&fs, strange, &second, "a sound one beside a wreck");
    flip_two(&fs, strange, 80);
    salvaged_len(&fs);
    assert_eq!(quarantined(&fs).len(), 2, "of two damaged ones the one that has the name counts, and both are kept");
    // A copy of what is there.
    let fs = base.kill();
    copy(&fs, &second, strange);
    assert_eq!((salvaged_len(&fs), quarantined(&fs).len()), (3600, 1));
}

/// Both were set aside and told as lost, where no manifest said that there was such a name.
#[test]
fn p5_segments_under_wrong_names_end_a_salvage_without_a_manifest_before_anything_is_set_aside() {
    let strange = Path::new(STRANGE);
    let (base, [first, second, _]) = three();
    base.remove(Path::new("memory/MANIFEST")).unwrap();
    let fs = base.kill();
    exchange(&fs, [&first, &second]);
    check_refused(&fs, &first, &second, "exchanged");
    exchange(&fs, [&first, &second]);
    assert_eq!(salvaged_len(&fs), 3600);
    let fs = base.kill();
    fs.rename(&second, strange).unwrap();
    check_refused(&fs, strange, &second, "renamed");
    fs.rename(strange, &second).unwrap();
    assert_eq!(salvaged_len(&fs), 3600);
    let fs = base.kill();
    copy(&fs, &second, strange);
    assert_eq!((salvaged_len(&fs), quarantined(&fs).len()), (3600, 1), "a copy of what is there");
}

/// The opening of an agent that was started between a refused repair and the next one removed it as a leftover: the next
/// one told as lost what it had.
#[test]
fn p5_a_strict_opening_leaves_a_sound_copy_that_a_salvage_refused_to_lose() {
    let strange = Path::new(STRANGE);
    let (fs, [_, second, _]) = three();
    copy(&fs, &second, strange);
    flip_two(&fs, &second, 80);
    check_refused(&fs, strange, &second, "before");
    open_unmerged(&fs).close().unwrap();
    check_refused(&fs, strange, &second, "behind a strict opening");
    fs.remove(&second).unwrap();
    fs.rename(strange, &second).unwrap();
    assert_eq!(salvaged_len(&fs), 3600);
}

/// Since such a file stays, it may have the name of the next segment: that could not be made, and the engine was poisoned.
#[test]
fn p5_a_copy_that_stays_under_the_next_segments_name_is_in_nobodys_way() {
    let (fs, [_, second, _]) = three();
    let next = Path::new(SEGMENTS).join(file_name(first_id(2)));
    copy(&fs, &second, &next);
    let copied = fs.map(&next).unwrap().to_vec();
    let engine = open_unmerged(&fs);
    push(&engine, 30);
    engine.flush().unwrap();
    engine.close().unwrap();
    assert_eq!(*fs.map(&next).unwrap(), *copied);
    assert_eq!(contents(&open_unmerged(&fs)).len(), 4_800);
}

/// Where nothing but they told the store's number, a new one was made up, and all of them were set aside as another store's.
#[test]
fn p5_segments_that_all_have_wrong_names_end_a_salvage_without_a_manifest_and_without_a_log() {
    let (fs, paths) = three();
    for name in ["MANIFEST", "MANIFEST.closed"] {
        fs.remove(&Path::new("memory").join(name)).unwrap();
    }
    let log = Path::new("memory/wal");
    fs.list(log).unwrap().iter().for_each(|name| fs.remove(&log.join(name)).unwrap());
    let strange = |n: usize| Path::new(SEGMENTS).join(format!("0000000100000ff{n}.seg"));
    paths.iter().enumerate().for_each(|(n, path)| fs.rename(path, &strange(n)).unwrap());
    check_refused(&fs, &strange(0), &paths[0], "all");
    paths.iter().enumerate().for_each(|(n, path)| fs.rename(&strange(n), path).unwrap());
    assert_eq!(salvaged_len(&fs), 3600);
}

/// Loses the manifest, and what a close says of it.
fn lose_manifest(fs: &SimFs) {
    for name in ["MANIFEST", "MANIFEST.closed"] {
        fs.remove(&Path::new("memory").join(name)).unwrap();
    }
}

/// Five segments of another store under their own names; the last two of them are names that [`three`] has not.
fn foreign() -> Vec<(PathBuf, Vec<u8>)> {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..5 {
        push(&engine, 10 * round);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let path = |name: &String| Path::new(SEGMENTS).join(name);
    segments(&fs).into_iter().map(|(name, bytes)| (path(&name), bytes)).collect()
}

/// The store is the one of those that have their names and of the log, and what is another's has no name here to get back.
#[test]
fn p5_segments_of_another_store_under_strange_names_outvote_none_and_are_set_aside() {
    let (fs, _) = three();
    lose_manifest(&fs);
    assert!(!fs.list(Path::new("memory/wal")).unwrap().is_empty());
    // More than there are files of this one.
    for (n, (_, bytes)) in foreign().iter().cycle().take(20).enumerate() {
        let strange = Path::new(SEGMENTS).join(format!("0000000100000f{n:02}.seg"));
        fs.create(&strange).unwrap().write_all_at(0, bytes).unwrap();
    }
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert!(report.lost.is_empty() && report.quarantined.len() == 20, "{report:?}");
    assert_eq!(contents(&engine).len(), 3600);
}

/// One foreign file under its own name beat all segments of the store, which had strange ones: they were set aside as another
/// store's, and nothing was told as lost.
#[test]
fn p5_segments_of_two_stores_end_a_salvage_that_nothing_else_tells_the_store_before_any_is_set_aside() {
    let (fs, paths) = three();
    lose_manifest(&fs);
    let log = Path::new("memory/wal");
    fs.list(log).unwrap().iter().for_each(|name| fs.remove(&log.join(name)).unwrap());
    let strange = |n: usize| Path::new(SEGMENTS).join(format!("0000000100000ff{n}.seg"));
    paths.iter().enumerate().for_each(|(n, path)| fs.rename(path, &strange(n)).unwrap());
    let (path, bytes) = foreign().pop().unwrap();
    fs.create(&path).unwrap().write_all_at(0, &bytes).unwrap();
    check_refused(&fs, &strange(0), &paths[0], "beside one of another store");
    paths.iter().enumerate().for_each(|(n, path)| fs.rename(&strange(n), path).unwrap());
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    assert!(report.lost.is_empty() && report.quarantined.len() == 1, "{report:?}");
    assert_eq!(contents(&engine).len(), 3600, "most have its number");
}

/// What could not be read for a moment passed for what is not there: it was to be moved out of the way of its own copy; and
/// what was read before it was set aside for good.
#[test]
fn p5_a_segment_that_cannot_be_read_now_is_not_missed_and_ends_a_salvage() {
    let (base, [first, second, _]) = three();
    let copied = base.kill();
    copied.remove(&first).unwrap();
    copy(&copied, &second, &first);
    let exchanged = base.kill();
    exchange(&exchanged, [&first, &second]);
    let (mut at, mut refused) = (1, 0);
    loop {
        let disk = copied.kill();
        disk.fail_read_at(at);
        match try_open(&disk, Recovery::Salvage) {
            Err(OpenError::Misnamed { path, .. }) => panic!("read {at}: {} has its copy", path.display()),
            Err(_) => refused += 1,
            Ok(_) => {}
        }
        let is_over = disk.reads() < at;
        let disk = exchanged.kill();
        disk.fail_read_at(at);
        assert!(try_open(&disk, Recovery::Salvage).is_err(), "read {at}");
        assert_eq!(quarantined(&disk), [""; 0], "read {at}");
        if is_over {
            break;
        }
        at += 1;
    }
    assert!(refused > 3, "{refused}");
}
