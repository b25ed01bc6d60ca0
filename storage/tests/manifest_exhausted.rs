//! Too few files that may be open, or too little space: what is told is so.

mod manifest_support;

use manifest_support::*;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError};

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
    // The commits up to one that has the file written anew.
    let large = |nth: usize| [metadata("same", &"x".repeat(100_000 + nth))];
    let begin = |commits: usize| {
        let fs = SimFs::new();
        let mut manifest = open(&fs).unwrap();
        let operations = (0..commits).map(|nth| {
            let before = fs.operations();
            manifest.commit(&large(nth)).unwrap();
            fs.operations() - before
        });
        let last = operations.last().unwrap_or(0);
        (fs, manifest, last)
    };
    let rewriting = (1..20).find(|commits| begin(*commits).2 > 5).unwrap();
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
