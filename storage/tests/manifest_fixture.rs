//! A manifest of a closed store opens, whose second opening let go of a log that went into no segment:
//! `fixtures/v3-closed`. That of `fixtures/v3` is of before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::OsFs;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError, Remains, SegmentRef, State};
use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

/// So long is what is allocated; of the zeros at the end nothing is kept.
const MANIFEST_BYTES: u64 = 128 << 10;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v3-closed")
}

fn segment() -> SegmentRef {
    SegmentRef {
        id: 1 << 32,
        seq_range: SeqRange { start: SeqNo(1), end: SeqNo(100) },
        time_range: TimeRange::new(Timestamp::from_nanos(-7), Timestamp::from_nanos(7)),
        late: false,
        bytes: 4711,
        samples: 99,
        series: 5,
        level: 0,
    }
}

/// The kept files as they were, the manifest changed by `change`.
fn store(change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = std::fs::read(fixture().join("MANIFEST")).unwrap();
    change(&mut manifest);
    manifest.resize(MANIFEST_BYTES as usize, 0);
    std::fs::write(dir.path().join("MANIFEST"), manifest).unwrap();
    std::fs::copy(fixture().join("MANIFEST.closed"), dir.path().join("MANIFEST.closed")).unwrap();
    dir
}

fn check(state: &State, open_number: u32) {
    assert_eq!((state.open_number, state.format), (open_number, 3));
    assert_eq!(state.segments.values().copied().collect::<Vec<_>>(), [segment()]);
    // Of the edit alone: the segment reaches to 100.
    assert_eq!(state.flushed_through, SeqNo(7_000));
}

#[test]
fn the_manifest_of_a_closed_store_opens_and_tells_what_was_flushed_into_nothing() {
    let dir = store(|_| ());
    check(Manifest::open_read_only(Arc::new(OsFs), dir.path()).unwrap().state(), 2);
    assert_eq!(Remains::read(&OsFs, dir.path()).unwrap().flushed_through, SeqNo(7_000));
    check(Manifest::open_or_create(Arc::new(OsFs), dir.path()).unwrap().state(), 3);
    check(Manifest::open_or_create(Arc::new(OsFs), dir.path()).unwrap().state(), 4);
}

/// The last commit is the one that says so. Without it the manifest is an older copy, which what the close left tells.
#[test]
fn a_manifest_that_is_older_than_the_close_is_refused() {
    let dir = store(|manifest| {
        let body = &17u16.to_le_bytes();
        let last = manifest.windows(2).rposition(|bytes| bytes == body).unwrap();
        manifest.truncate(last - 16);
        // What says which commits are durable is of before, too.
        manifest[48..64].fill(0);
    });
    let refused = Manifest::open_read_only(Arc::new(OsFs), dir.path()).map(drop);
    assert!(matches!(refused, Err(ManifestError::Corrupt { .. })), "{refused:?}");
    std::fs::remove_file(dir.path().join("MANIFEST.closed")).unwrap();
    let older = Manifest::open_read_only(Arc::new(OsFs), dir.path()).unwrap();
    assert_eq!(older.state().flushed_through, SeqNo(100), "nothing else tells");
}

/// Makes the fixture, by hand: what is kept stays as it is.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture() {
    let dir = fixture();
    assert!(!dir.exists(), "what is kept stays as it is");
    Manifest::make_folder(&OsFs, &dir).unwrap();
    let mut first = Manifest::open_or_create(Arc::new(OsFs), &dir).unwrap();
    first.commit(&[Edit::SegmentAdd(segment())]).unwrap();
    first.witness().unwrap();
    first.note_closed();
    drop(first);
    let mut second = Manifest::open_or_create(Arc::new(OsFs), &dir).unwrap();
    second.commit(&[Edit::Flushed(SeqNo(7_000))]).unwrap();
    second.witness().unwrap();
    second.note_closed();
    drop(second);
    let path = dir.join("MANIFEST");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, MANIFEST_BYTES);
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| (at + 1).next_multiple_of(8));
    std::fs::write(&path, &bytes[..end]).unwrap();
}
