//! Reading the manifest beside its owner (E6): what was merely read too early is no damage.

mod racing_fs;

use std::path::Path;
use std::sync::{Arc, Mutex};

use racing_fs::{RacingFs, shown};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError};

const DIR: &str = "d";

/// The least segment number that is free, as such looks at the manifest show it, one each time that it is opened; the
/// last one stays. Commit `n` says `n`.
fn read(looks: &[&[u8]]) -> Result<u64, ManifestError> {
    let looks: Mutex<Vec<Vec<u8>>> = Mutex::new(looks.iter().map(|bytes| bytes.to_vec()).collect());
    let open = move |path: &Path| {
        if !path.ends_with("MANIFEST") {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let mut looks = looks.lock().unwrap();
        Ok(shown(if looks.len() > 1 { looks.remove(0) } else { looks[0].clone() }))
    };
    let fs = RacingFs::new(open, |_| unreachable!("only the manifest is read"));
    Manifest::open_read_only(Arc::new(fs), DIR).map(|manifest| manifest.state().next_segment_id)
}

/// Where the commits of a file end.
fn end(bytes: &[u8]) -> usize {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut at = 64;
    while u64_at(at + 8) > 0 {
        at = (at + 16 + (u64_at(at) >> 32) as usize).next_multiple_of(8);
    }
    at
}

/// The file after each commit that says so, the last of them witnessed; and where each commit begins.
fn files() -> (Vec<Vec<u8>>, Vec<usize>) {
    let fs = SimFs::new();
    let mut manifest = Manifest::open_or_create(Arc::new(fs.clone()), DIR).unwrap();
    let (mut files, mut places) = (vec![Vec::new(); 2], vec![0, 64]);
    let bytes = || fs.map(&Path::new(DIR).join("MANIFEST")).unwrap().to_vec();
    for number in 2..12 {
        places.push(end(&bytes()));
        manifest.commit(&[Edit::NextSegment(number | 1 << 40)]).unwrap();
        manifest.witness().unwrap();
        files.push(bytes());
    }
    (files, places)
}

/// As it was read whose place for these commits was read before they were written.
fn without(file: &[u8], places: &[usize], commits: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let end = places.get(commits.end).copied().unwrap_or(bytes.len());
    bytes[places[commits.start]..end].fill(0);
    bytes
}

#[test]
fn what_was_read_too_early_is_read_again() {
    let (files, places) = files();
    let whole = &files[11];
    assert_eq!(read(&[whole]).unwrap(), 11 | 1 << 40);
    for first in 2..12 {
        for end in first + 1..13 {
            let early = without(whole, &places, first..end);
            // What the last commit says is known to be missing by its witness, what others say by it.
            assert_eq!(read(&[&early, whole]).unwrap(), 11 | 1 << 40, "{first}..{end}");
            match read(&[&early, &early]) {
                Err(ManifestError::Corrupt { offset, .. }) => assert_eq!(offset, places[first] as u64),
                other => panic!("{first}..{end}: {other:?}"),
            }
        }
    }
}

/// An owner who goes on committing: what was durable when the reader began is there, and that is enough.
#[test]
fn an_owner_who_goes_on_puts_no_reader_off_for_ever() {
    let (files, places) = files();
    let first = without(&files[6], &places, 6..7);
    let second = without(&files[11], &places, 9..11);
    assert_eq!(read(&[&first, &second]).unwrap(), 8 | 1 << 40);
    // But not if the one is missing that the first look knew of.
    assert!(read(&[&first, &without(&files[11], &places, 6..11)]).is_err());
    // Nor if it is damage.
    assert!(matches!(read(&[&second]), Err(ManifestError::Corrupt { .. })));
}

/// The owner has written the file anew: another one, which is looked at from the beginning.
#[test]
fn a_file_that_was_written_anew_meanwhile_is_another_one() {
    let (files, places) = files();
    let fs = SimFs::new();
    let mut other = Manifest::open_or_create(Arc::new(fs.clone()), DIR).unwrap();
    let bytes = || fs.map(&Path::new(DIR).join("MANIFEST")).unwrap().to_vec();
    let second = end(&bytes());
    other.commit(&[Edit::NextSegment(99)]).unwrap();
    other.witness().unwrap();
    let anew = bytes();
    let first = without(&files[11], &places, 11..12);
    assert_eq!(read(&[&first, &anew]).unwrap(), 99);
    let torn = without(&anew, &[0, 64, second], 2..3);
    assert_eq!(read(&[&first, &torn, &anew]).unwrap(), 99);
    assert!(matches!(read(&[&first, &torn, &torn]), Err(ManifestError::Corrupt { .. })));
}
