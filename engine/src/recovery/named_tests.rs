//! P5: a file is the segment that the manifest names, or it is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Retention, RetentionRule};
use tidegauge_storage::segment::file_name;

use super::Recovery;
use super::tests::{contents, open_unmerged, push, quarantined, stored, try_open};
use crate::engine::Metadata;
use crate::options::{Builder, Durability};

/// A segment that was renamed passed for what compaction had put in its own place: a sound manifest was made anew, rules of
/// retention went with it, and what was lost was a note.
#[test]
fn p5_a_segment_that_was_renamed_is_missing_and_the_manifest_is_sound() {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    let rule = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(3_155_760_000)) };
    engine.set_retention(Retention { rules: vec![rule], max_bytes: None }).unwrap();
    (0..2).for_each(|round| push(&engine, round));
    engine.flush().unwrap();
    push(&engine, 2);
    let retention = engine.retention();
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let mut names = fs.list(folder).unwrap();
    names.sort();
    let renamed = folder.join("00000000ffffffff.seg");
    fs.rename(&folder.join(&names[0]), &renamed).unwrap();
    let refused = try_open(&fs, Recovery::Salvage).expect_err("it has a name to get back").to_string();
    assert!(refused.contains("ffffffff.seg") && refused.contains(&names[0]), "{refused}");
    assert!(quarantined(&fs).is_empty());
    let gone = fs.kill();
    gone.remove(&renamed).unwrap();
    for (fs, left) in [(&gone, 1200), (&fs, 3600)] {
        if left == 3600 {
            fs.rename(&renamed, &folder.join(&names[0])).unwrap();
        }
        let engine = try_open(fs, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(!report.manifest_made_anew && engine.retention() == retention, "{report:?}");
        assert_eq!(report.lost.iter().filter_map(|lost| lost.samples).sum::<u64>(), 3600 - left, "{report:?}");
        assert_eq!(contents(&engine).len() as u64, left);
    }
}

/// A segment that somebody had removed was "No such file or directory; mend that, then read again".
#[test]
fn p5_a_segment_that_is_gone_is_told_with_what_to_do() {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    (0..2).for_each(|round| push(&engine, round));
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let name = fs.list(folder).unwrap().pop().unwrap();
    fs.remove(&folder.join(&name)).unwrap();
    for read_only in [false, true] {
        let mut builder = Builder::new(None).read_only(read_only);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        let Err(refused) = builder.open() else { panic!("it opens, read only: {read_only}") };
        let told = refused.to_string();
        assert!(told.contains(&name) && told.contains("missing") && told.contains("`tidegauge repair`"), "{told}");
    }
}

/// A sound segment in the place of another, of this store or of another one, was shown as if it were the one that the
/// manifest names: what that one held was gone without a word.
#[test]
fn p5_a_segment_that_is_not_the_one_named_is_refused() {
    let open = |fs: &SimFs, read_only: bool| {
        let durability = Durability::Interval(Duration::from_millis(5));
        let builder = Builder::new(None).durability(durability).background_compaction(false);
        let mut builder = builder.read_only(read_only);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder.open()
    };
    let (store, other) = (SimFs::new(), SimFs::new());
    for fs in [&store, &other] {
        let engine = open(fs, false).unwrap();
        for round in 0..2 {
            push(&engine, round);
            engine.flush().unwrap();
        }
        engine.close().unwrap();
    }
    let folder = Path::new("memory/segments");
    let mut names = store.list(folder).unwrap();
    names.sort();
    let [first, second] = &names[..] else { panic!("{names:?}") };
    for (from, name) in [(&store, second), (&other, first)] {
        let (fs, named) = (store.kill(), folder.join(first));
        let bytes = from.map(&folder.join(name)).unwrap().to_vec();
        fs.remove(&named).unwrap();
        fs.create(&named).unwrap().write_all_at(0, &bytes).unwrap();
        let before = stored(&fs);
        for read_only in [true, false] {
            let refused = open(&fs, read_only).expect_err("it is another segment").to_string();
            assert!(refused.contains(first.as_str()) && refused.contains("another"), "{refused}");
        }
        let after = stored(&fs);
        let kept = |(path, bytes): (&PathBuf, &Vec<u8>)| path.ends_with("LOCK") || after.get(path) == Some(bytes);
        assert!(before.iter().all(kept), "a refused opening changes nothing");
        let engine = try_open(&fs, Recovery::Salvage).unwrap();
        assert_eq!(contents(&engine).len(), 1200, "the other one is whole");
        assert_eq!(engine.recovery_report().lost.len(), 1);
    }
}

/// Where the manifest was made anew, a segment that was named and was gone was a note: "replaced since, or lost"; and of one
/// that nobody could open it was not told what it had held, though the commit that named it could be read.
#[test]
fn p5_a_segment_that_is_gone_is_told_by_number_and_time_where_the_manifest_is_made_anew() {
    let fs = SimFs::new();
    let engine = open_unmerged(&fs);
    for round in 0..3 {
        push(&engine, 10 * round);
        engine.flush().unwrap();
    }
    for name in ["mem", "disk"] {
        engine.set_metadata(name, Metadata::default()).unwrap();
    }
    let state = engine.life().manifest.lock().unwrap().state().clone();
    let disk = fs.kill();
    drop(engine);
    let manifest = Path::new("memory/MANIFEST");
    let at = disk.map(manifest).unwrap().windows(3).rposition(|w| w == b"mem").unwrap();
    disk.open(manifest).unwrap().write_all_at(at as u64, b"MEM").unwrap();
    let gone = state.segments.values().nth(1).unwrap();
    let path = Path::new("memory/segments").join(file_name(gone.id));
    let unreadable = disk.kill();
    unreadable.open(&path).unwrap().write_all_at(0, &vec![0xa5; gone.bytes as usize]).unwrap();
    disk.remove(&path).unwrap();
    for disk in [disk, unreadable] {
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(report.manifest_made_anew, "{report:?}");
        let [lost] = &report.lost[..] else { panic!("{report:?}") };
        assert_eq!((&lost.file, lost.seq_range, lost.samples), (&path, gone.seq_range, Some(gone.samples)));
        assert_eq!(lost.samples_at_least, gone.samples, "the line of the audit log counts those");
        assert_eq!(lost.time_range, Some(gone.time_range));
        assert_eq!(contents(&engine).len() as u64, 3 * 1200 - gone.samples);
    }
}

/// Two that had each other's names were both set aside, and told as lost, though not a bit of them was.
#[test]
fn p5_sound_segments_that_have_each_others_names_end_a_salvage_before_anything_is_set_aside() {
    let base = SimFs::new();
    let engine = open_unmerged(&base);
    for round in 0..3 {
        push(&engine, 10 * round);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let names = base.list(folder).unwrap();
    let [first, second, _] = [0, 1, 2].map(|n| folder.join(&names[n]));
    let aside = folder.join("aside");
    let exchange = |fs: &SimFs| {
        fs.rename(&first, &aside).unwrap();
        fs.rename(&second, &first).unwrap();
        fs.rename(&aside, &second).unwrap();
    };
    let exchanged = base.kill();
    exchange(&exchanged);
    // One took the other's place: there is none by its own name.
    let moved = base.kill();
    moved.rename(&second, &first).unwrap();
    for fs in [&exchanged, &moved] {
        let segments = || fs.list(folder).unwrap().into_iter().map(|name| fs.map(&folder.join(name)).unwrap().to_vec());
        let before: Vec<_> = segments().collect();
        for recovery in [Recovery::Strict, Recovery::Salvage] {
            let refused = try_open(fs, recovery).expect_err("names are wrong").to_string();
            assert!(refused.contains(&names[0]) && refused.contains(&names[1]), "{recovery:?}: {refused}");
        }
        assert!(segments().eq(before) && quarantined(fs).is_empty());
    }
    exchange(&exchanged);
    assert_eq!(contents(&try_open(&exchanged, Recovery::Strict).unwrap()).len(), 3600);
    moved.rename(&first, &second).unwrap();
    let engine = try_open(&moved, Recovery::Salvage).unwrap();
    let [lost] = &engine.recovery_report().lost[..] else { panic!("{:?}", engine.recovery_report()) };
    assert_eq!((&lost.file, contents(&engine).len()), (&first, 2400), "what is gone is told as lost");
}
