//! Too few files that may be open, or too little space: what is told is so.

mod manifest_support;

use manifest_support::*;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError};

/// One that has a file written anew with some more commits of this size.
fn large(nth: usize) -> [Edit; 1] {
    [metadata("same", &"x".repeat(100_000 + nth))]
}

/// So many commits, and the operations of the last.
fn begin(commits: usize) -> (SimFs, Manifest, u64) {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let operations = (0..commits).map(|nth| {
        let before = fs.operations();
        manifest.commit(&large(nth)).unwrap();
        fs.operations() - before
    });
    let last = operations.last().unwrap_or(0);
    (fs, manifest, last)
}

/// The first commit that has the file written anew.
fn rewriting() -> usize {
    (1..20).find(|commits| begin(*commits).2 > 5).unwrap()
}

/// The folder was opened behind the renaming to be synced. Too few files that may be open came too late there: an opening
/// said that nothing was changed, and whoever tried again was told that another process had taken the store over; and a
/// commit could not be made again.
#[test]
fn what_finds_no_file_or_no_space_has_changed_nothing_or_says_otherwise() {
    let opened = |disk: &SimFs| Manifest::open_read_only(arc(disk), DIR).unwrap().state().open_number;
    let base = SimFs::new();
    open(&base).unwrap().commit(&[Edit::NextSegment(3)]).unwrap();
    for fault in [Fault::Files, Fault::Full] {
        let (mut refused, mut at) = (0, 1);
        loop {
            let disk = base.kill();
            disk.fail_at(at, fault);
            let result = open(&disk).map(drop);
            let over = disk.operations() < at;
            disk.restart();
            if let Err(e) = result {
                refused += 1;
                if matches!(e, ManifestError::NoSpace { .. }) {
                    assert_eq!(opened(&disk), opened(&base), "{fault:?} at {at}: {e}");
                }
            }
            if over {
                break;
            }
            at += 1;
        }
        assert!(refused > 1, "{fault:?}: {refused}");
    }
    let rewriting = rewriting();
    for behind in 1..=begin(rewriting).2 {
        let (fs, mut manifest, _) = begin(rewriting - 1);
        fs.fail_at(fs.operations() + behind, Fault::Files);
        match manifest.commit(&large(rewriting - 1)) {
            Ok(()) => {}
            Err(ManifestError::NoSpace { .. }) => manifest.commit(&large(rewriting - 1)).unwrap(),
            Err(e) => panic!("operation {behind}: {e}"),
        }
        manifest.commit(&[Edit::NextSegment(3)]).unwrap();
        assert_eq!(Manifest::open_read_only(arc(&fs), DIR).unwrap().state(), manifest.state(), "operation {behind}");
    }
}

/// One EIO at a manifest that was written anew stopped the engine, although the one that counts was not touched. Of that one,
/// and of a name, no failure passes (P4).
#[test]
fn a_file_written_anew_that_fails_is_left_and_the_one_that_counts_goes_on() {
    let rewriting = rewriting();
    let (mut went_on, mut stopped) = (0, 0);
    for behind in 1..=begin(rewriting).2 {
        let (fs, mut manifest, _) = begin(rewriting - 1);
        let (tell, told) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        manifest.on_written_anew(move |grows| {
            tell.lock().unwrap().send(grows.map(|grows| (grows.bytes, grows.cause.to_string()))).unwrap();
        });
        fs.fail_at(fs.operations() + behind, Fault::Io);
        let committed = manifest.commit(&large(rewriting - 1));
        let is_stopped = committed.is_err();
        match committed {
            Ok(()) => {
                went_on += 1;
                let length = fs.map(std::path::Path::new(DIR).join("MANIFEST").as_path()).unwrap().len() as u64;
                let grows = told.try_recv().unwrap().expect("it was not written anew");
                assert!(grows.0 > 100_000 && grows.0 <= length && grows.1.contains("error"), "{grows:?} of {length}");
                // It is durable now, in the file that counts.
                for disk in (0..8).map(|seed| fs.crash(seed)) {
                    let read = Manifest::open_read_only(arc(&disk), DIR).unwrap();
                    assert_eq!(read.state(), manifest.state(), "operation {behind}");
                }
                (0..3 * rewriting).for_each(|nth| manifest.commit(&large(nth)).unwrap());
                let names = fs.list(std::path::Path::new(DIR)).unwrap();
                assert_eq!(names, ["MANIFEST"], "operation {behind}: it is written anew by now");
                let told: Vec<_> = told.try_iter().collect();
                assert!(!told.is_empty() && told.iter().all(Option::is_none), "operation {behind}: {told:?}");
                let lengths = fs.files().into_iter().map(|(_, bytes)| bytes).max().unwrap();
                assert!(lengths < 3 << 20, "operation {behind}: {lengths}");
            }
            Err(ManifestError::Failed { .. }) => {
                stopped += 1;
                assert!(matches!(manifest.commit(&large(0)), Err(ManifestError::Poisoned)), "operation {behind}");
            }
            Err(e) => panic!("operation {behind}: {e}"),
        }
        for disk in std::iter::once(fs.kill()).chain((0..8).map(|seed| fs.crash(seed))) {
            let read = Manifest::open_read_only(arc(&disk), DIR).unwrap();
            assert!(is_stopped || read.state() == manifest.state(), "operation {behind}");
        }
    }
    assert_eq!((went_on, stopped), (5, 3), "these stop: opening the folder, renaming, the sync of the name");
}

/// It was told before the commit was in the file that there is, which may be refused, too.
#[test]
fn a_file_that_is_not_written_anew_is_told_of_behind_the_commit_that_it_takes() {
    let rewriting = rewriting();
    let (fs, mut manifest, _) = begin(rewriting - 1);
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    manifest.on_written_anew(move |grows| tell.lock().unwrap().send(grows.map(|grows| grows.bytes)).unwrap());
    let commit = large(rewriting - 1);
    // The one is not made, and its remains are removed; the other finds no space.
    let next = fs.operations() + 1;
    fs.fail_at(next, Fault::Io);
    fs.fail_at(next + 2, Fault::Full);
    assert!(matches!(manifest.commit(&commit), Err(ManifestError::NoSpace { .. })));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), []);
    // The next one tries both again.
    fs.fail_at(fs.operations() + 1, Fault::Io);
    manifest.commit(&commit).unwrap();
    let grown = told.try_iter().collect::<Vec<_>>();
    assert!(matches!(grown[..], [Some(bytes)] if bytes > 100_000), "{grown:?}");
    assert_eq!(Manifest::open_read_only(arc(&fs), DIR).unwrap().state(), manifest.state());
}
