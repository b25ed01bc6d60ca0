//! The manifest: what is committed stays, whatever else happens.

mod manifest_support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use manifest_support::*;
use tidegauge_storage::fs::sim::{Every, Fault, Random, SimFs};
use tidegauge_storage::fs::{Fs, OsFs};
use tidegauge_storage::manifest::{Edit, METADATA_BYTES_MAX, Manifest, ManifestError, Metadata, State};
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{Epoch, FrameNo, WalSynced};

/// But for the number of openings, which changes with each.
fn known(state: &State) -> State {
    let mut state = state.clone();
    state.open_number = 0;
    state
}

#[test]
fn what_was_committed_is_there_after_reopening_and_read_only() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    assert_eq!(manifest.state().open_number, 1);
    for step in 0..59 {
        manifest.commit(&edits(step, &manifest)).unwrap();
        let reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
        assert_eq!(reader.state(), manifest.state(), "step {step}");
        assert!(reader.is_current().unwrap());
    }
    let reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
    assert!(!manifest.state().segments.is_empty() && !manifest.state().metadata().is_empty());
    let again = open(&fs).unwrap();
    assert_eq!(known(again.state()), known(manifest.state()));
    assert_eq!(again.state().open_number, 2);
    assert!(!reader.is_current().unwrap());
    assert!(matches!(
        Manifest::open_read_only(arc(&fs), DIR).unwrap().commit(&[Edit::NextSegment(1)]),
        Err(ManifestError::ReadOnly)
    ));
}

/// What an engine that rests now and then tells of its log.
fn end(frame: u64) -> [Edit; 2] {
    let through = FrameNo(frame);
    let numbers = Edit::Numbers { next_seq: SeqNo(100 * frame), greatest_frame: through };
    [Edit::WalSynced(WalSynced { through, ..WalSynced::default() }), numbers]
}

/// L9: an engine that rests once a second for a working day.
#[test]
fn the_ends_of_an_idle_log_do_not_let_the_manifest_grow() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let (mut longest, mut anew, mut before) = (0, 0, fs.operations());
    for frame in 1..30_001 {
        manifest.commit(&end(frame)).unwrap();
        longest = longest.max(fs.map(Path::new(DIR).join("MANIFEST").as_path()).unwrap().len());
        // A commit is a write and a sync, and now and then an allocation.
        anew += u64::from(fs.operations() - before > 3);
        before = fs.operations();
    }
    assert!(longest <= 450 << 10, "{longest} bytes");
    assert!((4..9).contains(&anew), "{anew} times written anew");
    let state = Manifest::open_read_only(arc(&fs), DIR).unwrap().state().clone();
    assert_eq!((state.wal.synced_through, state.next_seq), (FrameNo(30_000), SeqNo(3_000_000)));
}

/// L11: what is durable by now lets go of nothing that a reader beside the owner has read; anything else may.
#[test]
fn the_end_of_the_log_moves_no_reader() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
    let files = [(Epoch::new(1, 0), 4096)].into_iter().collect();
    for edits in [end(7).to_vec(), vec![Edit::WalSynced(WalSynced { through: FrameNo(8), files })]] {
        manifest.commit(&edits).unwrap();
        assert!(reader.is_current().unwrap());
    }
    for (step, edits) in
        [vec![Edit::SegmentAdd(segment(0))], edits(4, &manifest), edits(5, &manifest)].iter().enumerate()
    {
        let reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
        manifest.commit(edits).unwrap();
        assert!(!reader.is_current().unwrap(), "{step}");
    }
    let reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
    open(&fs).unwrap();
    assert!(!reader.is_current().unwrap(), "another opening");
}

/// Between the two halves of an opening the rest of the store is read.
#[test]
fn an_opening_writes_nothing_before_it_begins_and_only_on_what_it_read() {
    let fs = SimFs::new();
    let mut new = Manifest::read_to_open(arc(&fs), DIR).unwrap();
    assert!(fs.files().is_empty() && matches!(new.commit(&end(1)), Err(ManifestError::ReadOnly)));
    new.begin().unwrap();
    new.commit(&end(1)).unwrap();
    let before = fs.map(Path::new("store/data/MANIFEST")).unwrap().to_vec();
    let mut read = Manifest::read_to_open(arc(&fs), DIR).unwrap();
    assert_eq!((read.state(), read.state().open_number), (new.state(), 1));
    assert!(fs.map(Path::new("store/data/MANIFEST")).unwrap()[..] == before[..]);
    // Another opening, or a commit of an owner that was thought dead.
    new.commit(&end(2)).unwrap();
    assert!(matches!(read.begin(), Err(ManifestError::NotOwner { found: 1, ours: 1, .. })));
    let mut read = Manifest::read_to_open(arc(&fs), DIR).unwrap();
    let other = open(&fs).unwrap();
    assert!(matches!(read.begin(), Err(ManifestError::NotOwner { found: 2, ours: 1, .. })));
    drop(other);
    let mut read = Manifest::read_to_open(arc(&fs), DIR).unwrap();
    read.begin().unwrap();
    assert_eq!((read.state().open_number, read.state().wal.synced_through), (3, FrameNo(2)));
}

#[test]
fn every_crash_and_every_failing_operation_leaves_a_commit_or_the_one_before() {
    let total = {
        let fs = SimFs::new();
        run(&fs).unwrap();
        fs.operations()
    };
    assert!(total > 40);
    for at in 1..=total {
        for kind in 0..3 {
            let fs = SimFs::new();
            match kind {
                0 => fs.stop_at(at),
                1 => fs.fail_at(at, Fault::Io),
                _ => fs.fail_at(at, Fault::Full),
            }
            let (durable, attempted) = match run(&fs) {
                Ok(last) => (Some(last.clone()), last),
                Err(states) => *states,
            };
            for seed in 0..8 {
                let left = if seed == 0 { fs.kill() } else { fs.crash(seed * 1000 + at) };
                let got = match open(&left) {
                    Ok(manifest) => known(manifest.state()),
                    Err(e) => panic!("operation {at}, kind {kind}, seed {seed}: {e}"),
                };
                let Some(durable) = &durable else { continue };
                let fits = got == known(durable) || got == known(&attempted);
                assert!(fits, "operation {at}, kind {kind}, seed {seed}: {got:?}\n{durable:?}\n{attempted:?}");
            }
        }
    }
}

type Interrupted = Box<(Option<State>, State)>;

/// Opens twice with commits between. On failure: the state that was durable, and the one attempted.
fn run(fs: &SimFs) -> Result<State, Interrupted> {
    let mut durable: Option<State> = None;
    for life in 0..2 {
        let mut manifest = open(fs).map_err(|_| Box::new((durable.clone(), durable.clone().unwrap_or_default())))?;
        durable = Some(manifest.state().clone());
        for step in 6 * life..6 * life + 6 {
            let edits = edits(step, &manifest);
            match manifest.commit(&edits) {
                Ok(()) => {}
                // Nothing was written: the same commit may be tried again.
                Err(ManifestError::NoSpace { .. }) => {
                    assert_eq!(Some(manifest.state()), durable.as_ref());
                    manifest.commit(&edits).unwrap();
                }
                Err(_) => {
                    let again = manifest.commit(&[Edit::NextSegment(1)]);
                    assert!(matches!(again, Err(ManifestError::Poisoned | ManifestError::Io { .. })), "{again:?}");
                    let attempted = after(step + 1, manifest.state().store_id);
                    return Err(Box::new((durable, attempted)));
                }
            }
            durable = Some(manifest.state().clone());
        }
    }
    Ok(durable.unwrap())
}

/// The state after this many steps, by a manifest on a sound disk.
fn after(steps: u64, store_id: u128) -> State {
    let mut twin = open(&SimFs::new()).unwrap();
    for step in 0..steps {
        twin.commit(&edits(step, &twin)).unwrap();
    }
    let mut state = twin.state().clone();
    state.store_id = store_id;
    state
}

#[test]
fn a_long_life_rewrites_the_file_now_and_then() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let mut greatest = 0;
    for i in 0..3000 {
        manifest.commit(&[metadata("same", &"x".repeat(500 + i % 7))]).unwrap();
        greatest = greatest.max(fs.map(&Path::new(DIR).join("MANIFEST")).unwrap().len());
    }
    assert!(greatest < 400 << 10, "{greatest} bytes");
    assert_eq!(Manifest::open_read_only(arc(&fs), DIR).unwrap().state(), manifest.state());
    for seed in 0..20 {
        assert_eq!(known(open(&fs.crash(seed)).unwrap().state()), known(manifest.state()));
    }
}

#[test]
fn another_owner_is_noticed_before_anything_is_written() {
    let fs = SimFs::new();
    let mut first = open(&fs).unwrap();
    first.commit(&[Edit::NextSegment(3)]).unwrap();
    let mut second = open(&fs).unwrap();
    match first.commit(&[Edit::NextSegment(9)]) {
        Err(ManifestError::NotOwner { found: 2, ours: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    second.commit(&[Edit::NextSegment(4)]).unwrap();
    assert_eq!(Manifest::open_read_only(arc(&fs), DIR).unwrap().state().next_segment_id, 4);
    fs.remove(&Path::new(DIR).join("MANIFEST")).unwrap();
    assert!(matches!(second.commit(&[Edit::NextSegment(5)]), Err(ManifestError::NotOwner { .. })));
}

#[test]
fn a_commit_is_all_or_nothing_and_bad_edits_are_refused() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let bad = manifest.commit(&[Edit::SegmentAdd(segment(1)), Edit::SegmentRemove(2)]);
    assert!(matches!(bad, Err(ManifestError::BadEdit { .. })));
    assert!(manifest.state().segments.is_empty());
    manifest.commit(&[Edit::SegmentAdd(segment(1))]).unwrap();
    assert!(matches!(manifest.commit(&[Edit::SegmentAdd(segment(1))]), Err(ManifestError::BadEdit { .. })));
    assert_eq!(manifest.state().next_segment_id, 2);
    assert_eq!(manifest.state().next_seq, SeqNo(20));
    manifest.commit(&[Edit::SegmentRemove(1)]).unwrap();
    assert_eq!((manifest.state().next_segment_id, manifest.state().next_seq), (2, SeqNo(20)), "numbers are not reused");
}

#[test]
fn metadata_is_bounded_and_the_refused_metric_is_named() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    let large = "x".repeat(METADATA_BYTES_MAX - 1000);
    manifest.commit(&[metadata("large", &large)]).unwrap();
    match manifest.commit(&[metadata("other", &"y".repeat(2000))]) {
        Err(ManifestError::MetadataFull { metric, .. }) => assert_eq!(metric, "other"),
        other => panic!("{other:?}"),
    }
    manifest.commit(&[metadata("large", "small now"), metadata("other", &"y".repeat(2000))]).unwrap();
    assert_eq!(open(&fs).unwrap().state().metadata().len(), 2);
}

/// Of the last commit there may be no witness yet. Then it may be torn, and only that one.
#[test]
fn a_commit_without_a_witness_is_there_and_may_be_torn() {
    let (fs, mut bytes, last) = stored();
    let before_last = after(11, last.store_id);
    // Torn anywhere: what is left of it says nothing, and takes nothing.
    for torn in 48..64 {
        let mut bytes = bytes.clone();
        bytes[48..torn].fill(0);
        assert!(!refused(&fs, &bytes, &last, "a torn witness"));
    }
    bytes[48..64].fill(0);
    let mut torn = 0;
    for at in 64..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        replace(&fs, &bytes);
        match Manifest::open_read_only(arc(&fs), DIR) {
            Ok(manifest) if *manifest.state() == before_last => torn += 1,
            Ok(manifest) => assert_eq!(*manifest.state(), last, "byte {at}"),
            Err(ManifestError::Corrupt { .. } | ManifestError::TooNew { .. }) => {}
            Err(e) => panic!("byte {at}: {e}"),
        }
    }
    assert!(torn > 30);
}

fn witnessed(fs: &SimFs) -> u64 {
    let bytes = fs.map(&Path::new(DIR).join("MANIFEST")).unwrap();
    u64::from_le_bytes(bytes[56..64].try_into().unwrap())
}

/// E1, E3: a commit does not say of itself that it is durable. That is said once, when it is asked for.
#[test]
fn a_witness_is_written_when_it_is_asked_for_and_a_file_that_is_written_anew_has_one() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    assert!(manifest.is_witnessed());
    let told = Arc::new(AtomicU64::new(0));
    manifest.on_unwitnessed({
        let told = Arc::clone(&told);
        move || {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!((witnessed(&fs), told.load(Ordering::Relaxed)), (1, 0));
    for number in [2, 3] {
        manifest.commit(&[Edit::NextSegment(number)]).unwrap();
        assert_eq!((witnessed(&fs), manifest.is_witnessed()), (1, false));
        assert_eq!(told.load(Ordering::Relaxed), number - 1);
    }
    manifest.witness().unwrap();
    let operations = fs.operations();
    assert_eq!((witnessed(&fs), manifest.is_witnessed()), (3, true));
    manifest.witness().unwrap();
    assert_eq!(fs.operations(), operations, "there is nothing more to say");
    // So much that the file is written anew.
    let (mut number, mut alone) = (3, 0);
    while witnessed(&fs) == 3 {
        manifest.commit(&[metadata("same", &"x".repeat(20_000))]).unwrap();
        number += 1;
        alone += u64::from(!manifest.is_witnessed());
    }
    assert!(alone > 3 && manifest.is_witnessed(), "{alone}");
    assert_eq!((witnessed(&fs), told.load(Ordering::Relaxed)), (number, 2 + alone));
    // Who reads has nothing to say.
    let mut reader = Manifest::open_read_only(arc(&fs), DIR).unwrap();
    assert!(reader.is_witnessed());
    reader.witness().unwrap();
}

/// E1, E2: commits and witnesses, and a power loss between any two steps, with whatever was not synced.
#[test]
fn p5_no_power_loss_amid_commits_and_witnesses_is_taken_for_damage() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    fs.record();
    // (step, state) before which the state was not yet, and from which on it must be there.
    let mut states = vec![(0, 0, manifest.state().clone())];
    for step in 0..9 {
        let begun = fs.steps();
        manifest.commit(&edits(step, &manifest)).unwrap();
        states.push((begun, fs.steps(), manifest.state().clone()));
        if step % 3 != 1 {
            manifest.witness().unwrap();
        }
    }
    let mut timeline = fs.timeline();
    loop {
        let at = timeline.at();
        let least = states.iter().rposition(|(_, durable, _)| *durable <= at).unwrap();
        let most = states.iter().rposition(|(begun, ..)| *begun <= at).unwrap();
        let mut every = Every::default();
        loop {
            let disk = timeline.power_loss(&mut every);
            let found = Manifest::open_read_only(arc(&disk), DIR).unwrap_or_else(|e| panic!("step {at}: {e}"));
            assert!(states[least..=most].iter().any(|(.., state)| state == found.state()), "step {at}");
            if !every.more() {
                break;
            }
        }
        // In sectors, which tear more than pages do.
        for seed in 0..30 {
            let disk = timeline.power_loss(&mut Random::new(seed));
            let found = Manifest::open_read_only(arc(&disk), DIR).unwrap_or_else(|e| panic!("step {at}: {e}"));
            assert!(states[least..=most].iter().any(|(.., state)| state == found.state()), "step {at}");
        }
        if timeline.is_over() {
            break;
        }
        timeline.advance();
    }
}

/// Where what is written anew goes elsewhere on the disk (btrfs), pages that are allocated may find no space: that ended
/// the manifest. What such a commit leaves is none, and the next one goes over it.
#[test]
fn a_commit_that_finds_no_space_in_its_own_pages_leaves_its_place_to_the_next() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    manifest.commit(&[metadata("kept", "before")]).unwrap();
    let before = known(manifest.state());
    let path = Path::new(DIR).join("MANIFEST");
    fs.set_full_in_place(Some(&path));
    for edits in [vec![metadata("long", &"x".repeat(20_000))], vec![Edit::NextSegment(70)]] {
        let refused = manifest.commit(&edits);
        assert!(matches!(refused, Err(ManifestError::NoSpace { .. })), "{refused:?}");
        assert_eq!(known(manifest.state()), before);
        for disk in (0..20).map(|seed| fs.crash(seed)).chain([fs.kill()]) {
            disk.set_full_in_place(None);
            assert_eq!(known(open(&disk).unwrap().state()), before);
        }
    }
    fs.set_full_in_place(None);
    manifest.commit(&[Edit::NextSegment(80)]).unwrap();
    let shorter = known(manifest.state());
    assert_eq!(known(Manifest::open_read_only(arc(&fs), DIR).unwrap().state()), shorter);
    manifest.commit(&[metadata("behind", "it")]).unwrap();
    for disk in (0..20).map(|seed| fs.crash(seed)).chain([fs.kill()]) {
        assert_eq!(known(open(&disk).unwrap().state()), known(manifest.state()));
    }
    // A sync that finds none is another matter: nobody knows what it has dropped (P4).
    fs.fail_at(fs.operations() + 2, Fault::Full);
    let failed = manifest.commit(&[Edit::NextSegment(90)]);
    assert!(matches!(failed, Err(ManifestError::Failed { .. })), "{failed:?}");
    assert!(matches!(manifest.commit(&[Edit::NextSegment(90)]), Err(ManifestError::Poisoned)));
}

/// X8: it was told as never made, though the next opening would have found it, with a segment that was thrown away.
#[test]
fn a_commit_of_which_only_noughts_found_no_space_is_made() {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    fs.set_full_in_place(Some(&Path::new(DIR).join("MANIFEST")));
    // The half that is not written lies in these.
    let metadata = Metadata { kind: "gauge".into(), help: String::new(), unit: "\0".repeat(1_000) };
    manifest.commit(&[Edit::Metadata { metric: "noughts".into(), metadata }]).unwrap();
    assert!(matches!(manifest.commit(&[Edit::NextSegment(70)]), Err(ManifestError::NoSpace { .. })));
    for disk in (0..20).map(|seed| fs.crash(seed)).chain([fs.kill()]) {
        disk.set_full_in_place(None);
        assert_eq!(known(open(&disk).unwrap().state()), known(manifest.state()));
    }
}

/// E5: what it says of a commit may be lost. The commit is not. A sync that found no space was tried again, as if nothing
/// had been written.
#[test]
fn a_witness_that_cannot_be_written_takes_no_commit() {
    for (operation, fault) in [(1, Fault::Io), (2, Fault::Io), (1, Fault::Full), (2, Fault::Full)] {
        let fs = SimFs::new();
        let mut manifest = open(&fs).unwrap();
        manifest.commit(&[Edit::NextSegment(7)]).unwrap();
        fs.fail_at(fs.operations() + operation, fault);
        let failed = manifest.witness();
        match (operation, fault) {
            (1, Fault::Full) => {
                assert!(matches!(failed, Err(ManifestError::NoSpace { .. })), "{failed:?}");
                manifest.witness().unwrap();
                assert_eq!((witnessed(&fs), manifest.is_witnessed()), (2, true));
                manifest.commit(&[Edit::NextSegment(7)]).unwrap();
            }
            _ => {
                assert!(matches!(failed, Err(ManifestError::Failed { .. })), "{failed:?}");
                assert!(matches!(manifest.commit(&[Edit::NextSegment(8)]), Err(ManifestError::Poisoned)));
                // Nor does it say anything more.
                manifest.witness().unwrap();
            }
        }
        for disk in (0..20).map(|seed| fs.crash(seed)).chain([fs.kill()]) {
            assert_eq!(open(&disk).unwrap().state().next_segment_id, 7, "{fault:?} at {operation}");
        }
    }
}

/// A reader may read the witness of a commit, and have read the commit's place before.
#[test]
fn no_false_alarm_beside_an_owner_that_commits() {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let mut manifest = Manifest::open_or_create(Arc::clone(&fs), dir.path()).unwrap();
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| {
            for frame in 0..1_500 {
                manifest.commit(&end(frame)).unwrap();
                manifest.witness().unwrap();
            }
        });
        while !owner.is_finished() {
            Manifest::open_read_only(Arc::clone(&fs), dir.path()).unwrap();
        }
    });
}

#[test]
fn a_directory_that_cannot_hold_a_store_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let file = dir.path().join("file");
    std::fs::write(&file, b"hello").unwrap();
    for path in [file.clone(), file.join("below")] {
        match Manifest::open_or_create(Arc::clone(&fs), &path) {
            Err(e @ ManifestError::NotADirectory { .. }) => assert!(e.to_string().contains("name a directory")),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(Manifest::open_read_only(Arc::clone(&fs), &file), Err(ManifestError::NotADirectory { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");

    let none = Manifest::open_read_only(Arc::clone(&fs), dir.path().join("none"));
    assert!(matches!(none, Err(ManifestError::NoStore { .. })));
    assert!(!dir.path().join("none").exists(), "reading makes nothing");

    std::fs::create_dir_all(dir.path().join("orphan/wal")).unwrap();
    std::fs::write(dir.path().join("orphan/wal/0000000100000000.wal"), b"x").unwrap();
    let orphan = dir.path().join("orphan");
    let opened =
        [Manifest::open_or_create(Arc::clone(&fs), &orphan), Manifest::open_read_only(Arc::clone(&fs), &orphan)];
    for opened in opened {
        assert!(matches!(opened, Err(ManifestError::ManifestMissing { found: "wal", .. })), "{opened:?}");
    }

    let garbage = dir.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("MANIFEST"), b"this is somebody's packing list, not a manifest of ours").unwrap();
    assert!(matches!(Manifest::open_or_create(fs, &garbage), Err(ManifestError::Corrupt { offset: 0, .. })));
}

/// Answers as a read-only mount does.
#[derive(Debug)]
struct ReadOnlyMount(SimFs);

impl Fs for ReadOnlyMount {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn create(&self, _: &Path) -> io::Result<Arc<dyn tidegauge_storage::fs::FsFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn open(&self, _: &Path) -> io::Result<Arc<dyn tidegauge_storage::fs::FsFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn tidegauge_storage::fs::FsFile>> {
        self.0.open_read(path)
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn map(&self, path: &Path) -> io::Result<tidegauge_storage::fs::Map> {
        self.0.map(path)
    }
}

#[test]
fn a_read_only_directory_opens_for_reading_and_says_so_for_writing() {
    let (sim, _, last) = stored();
    let fs: Arc<dyn Fs> = Arc::new(ReadOnlyMount(sim));
    assert_eq!(Manifest::open_read_only(Arc::clone(&fs), DIR).unwrap().state(), &last);
    match Manifest::open_or_create(fs, DIR) {
        Err(e @ ManifestError::NotPermitted { .. }) => assert!(e.to_string().contains("read-only")),
        other => panic!("{other:?}"),
    }
}

/// Who has lost the store commits nothing more, and says of what he just wrote that it may be lost.
#[test]
fn a_commit_counts_only_if_the_store_is_still_owned_behind_it() {
    for looks in 0..4 {
        let fs = Arc::new(SimFs::new());
        let mut manifest = Manifest::open_or_create(fs.clone() as Arc<dyn Fs>, "d").unwrap();
        let left = AtomicU64::new(looks);
        let one_less = |n: u64| n.checked_sub(1);
        manifest.owned_while(move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok());
        let commits: Vec<_> = (1..4).map(|id| manifest.commit(&[Edit::NextSegment(id)])).collect();
        let counted = commits.iter().take_while(|commit| commit.is_ok()).count() as u64;
        // One look before it is written, one behind.
        assert_eq!((counted, manifest.state().next_segment_id), (looks / 2, looks / 2), "{looks}");
        assert!(matches!(commits[looks as usize / 2], Err(ManifestError::LockLost { .. })), "{commits:?}");
        assert!(commits[looks as usize / 2 + 1..].iter().all(|c| matches!(c, Err(ManifestError::Poisoned))));
        let found = Manifest::open_read_only(fs as Arc<dyn Fs>, "d").unwrap().state().next_segment_id;
        assert_eq!(found, looks.div_ceil(2), "what was not owned before is not written: {looks}");
    }
}
