//! A restore, and a copy that is brought to its place: whole, durable, and of one moment, or nothing is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};

use super::BackupError;
use super::bring::bring_on;
use super::restore::restore_on;
use super::tests::{COPY, contents, is_sound, make, open_in, push, restored};
use crate::sync::atomic::{AtomicBool, Ordering};

/// It was "not empty", and nothing told that it held no data.
#[test]
fn what_a_restore_that_was_killed_has_left_is_told_as_that() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    make(&engine).unwrap();
    let (left, target) = (Path::new("killed/segments"), Path::new("killed"));
    fs.create_dir_all(left).unwrap();
    fs.create(&left.join("half")).unwrap();
    fs.create(&target.join("MANIFEST.tmp")).unwrap();
    let restore = || restored(&fs, COPY, "killed");
    let refused = restore().unwrap_err();
    assert!(
        matches!(refused, BackupError::Unfinished { .. }) && refused.to_string().contains("remove it"),
        "{refused}"
    );
    assert!(fs.list(left).unwrap() == ["half"], "it is as it was");
    fs.create(&target.join("other")).unwrap();
    assert!(matches!(restore(), Err(BackupError::NotEmpty { .. })), "somebody's own folder");
}

/// Where renaming does not reach, a copy is copied, and goes behind that.
#[test]
fn a_copy_that_cannot_be_renamed_is_copied_and_removed() {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    make(&engine).unwrap();
    let disk = Arc::new(fs.clone()) as Arc<dyn Fs>;
    assert!(matches!(
        bring_on(&disk, Path::new(COPY), Path::new("memory"), &|_, _| {}),
        Err(BackupError::NotEmpty { .. })
    ));
    assert!(is_sound(&fs, COPY), "it is as it was");
    // Nobody else is at work on this one. Behind the folder that is made, and the one above it that is synced.
    let fs = fs.kill();
    let disk = Arc::new(fs.clone()) as Arc<dyn Fs>;
    fs.fail_at(fs.operations() + 3, Fault::Io);
    let report = bring_on(&disk, Path::new(COPY), Path::new("new"), &|_, _| {}).unwrap().unwrap();
    assert_eq!((report.samples, report.bytes_copied), (300, report.bytes));
    assert!(fs.list(Path::new(COPY)).is_err());
    assert!(contents(&open_in(&fs, "new")) == contents(&engine));
}

/// What a store leaves that was killed, some of it in its log alone; and all that it held.
fn killed() -> (SimFs, BTreeMap<(String, i64), u64>) {
    let fs = SimFs::new();
    let engine = open_in(&fs, "memory");
    push(&engine, 0);
    engine.flush().unwrap();
    push(&engine, 1);
    (fs.kill(), contents(&engine))
}

#[test]
fn a_restore_takes_the_log_along() {
    let (fs, all) = killed();
    restored(&fs, "memory", "new").unwrap();
    assert!(contents(&open_in(&fs, "new")) == all);
}

/// Nobody owned it when the restore began, and that was all that was looked at: what was copied was of two moments.
#[test]
fn a_restore_of_what_is_opened_meanwhile_is_refused() {
    let (fs, _) = killed();
    let disk = Arc::new(fs.clone()) as Arc<dyn Fs>;
    let owned = AtomicBool::new(false);
    let restore = |is_opened: bool| {
        let open = |_, _| {
            if is_opened {
                let engine = open_in(&fs, "memory");
                push(&engine, 2);
                engine.close().unwrap();
            }
        };
        let free = || {
            // It had its manifest by then: who opened it lost it again, and behind a kill it stayed, of two moments.
            assert!(fs.open_read(Path::new("new/MANIFEST")).is_err(), "it passes for a store");
            match owned.load(Ordering::Relaxed) {
                true => Err(BackupError::InUse { dir: "memory".into(), owner: "somebody".to_owned() }),
                false => Ok(()),
            }
        };
        restore_on(&disk, Path::new("memory"), Path::new("new"), &open, &free)
    };
    assert!(matches!(restore(true), Err(BackupError::Changed { .. })));
    assert!(fs.list(Path::new("new")).is_err(), "nothing is left behind");
    owned.store(true, Ordering::Relaxed);
    assert!(matches!(restore(false), Err(BackupError::InUse { .. })));
    assert!(fs.list(Path::new("new")).is_err());
    owned.store(false, Ordering::Relaxed);
    restore(false).unwrap();
    assert!(contents(&open_in(&fs, "new")) == contents(&open_in(&fs, "memory")));
}

/// Power is lost behind a restore that has answered, into a folder that it had to make, and one above.
#[test]
fn what_was_restored_survives_a_power_loss() {
    let (fs, all) = killed();
    let new = "far/away/new";
    restored(&fs, "memory", new).unwrap();
    for choice in 0..16 {
        let left = fs.crash(choice);
        assert!(left.list(Path::new(new)).is_ok(), "the store is gone, choice {choice}");
        assert!(contents(&open_in(&left, new)) == all, "choice {choice}");
    }
}

/// A restore that fails at one of its operations leaves nothing in the way of the next try; one that fails when the store
/// is whole leaves that, for somebody may have opened it.
#[test]
fn a_restore_that_failed_can_be_tried_again_and_takes_no_store_away() {
    let (base, all) = killed();
    let restore = |fs: &SimFs| restored(fs, "memory", "new");
    // What failed behind the last byte: the line of the audit log.
    let (mut failed, mut whole) = (0, BTreeSet::new());
    // A folder that was there, and one that was not.
    for was_there in [true, false] {
        // A disk for each: what a simulated one has removed it keeps until that is durable.
        let disk = || {
            let fs = base.kill();
            if was_there {
                fs.create_dir_all(Path::new("new")).unwrap();
            }
            fs
        };
        let fs = disk();
        let before = fs.operations();
        restore(&fs).unwrap();
        let operations = fs.operations() - before;
        drop(fs);
        // All of the first ones, then here and there, and all of the last ones: a log is long.
        let first = std::iter::successors(Some(1u64), |behind| Some(behind + behind.div_ceil(3)));
        let last = operations.saturating_sub(12)..operations + 1;
        for behind in first.take_while(|&behind| behind < operations.saturating_sub(12)).chain(last) {
            let fs = disk();
            fs.fail_at(fs.operations() + behind, Fault::Io);
            let restored = restore(&fs);
            fs.restart();
            let left: Vec<_> = fs.files().into_iter().filter(|(path, _)| path.starts_with("new")).collect();
            if restored.is_err() && !left.iter().any(|(path, _)| path.ends_with("MANIFEST")) {
                failed += 1;
                assert_eq!(left, [], "operation {behind}");
                assert_eq!(fs.list(Path::new("new")).ok(), was_there.then(Vec::new), "operation {behind}");
                restore(&fs).unwrap();
            }
            if let Err(BackupError::Io { path, .. }) = restored
                && !left.is_empty()
            {
                whole.insert(path);
            }
            assert!(contents(&open_in(&fs, "new")) == all, "operation {behind}");
        }
    }
    assert!(failed > 10 && whole.len() == 1, "{failed} operations, and behind the last byte {whole:?}");
}
