//! P5: what a damaged frame of the log costs beyond itself, where it defined series.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use super::Recovery;
use super::tests::{contents, push, try_open};
use crate::options::{Builder, Durability};

const WAL: &str = "memory/wal";

/// The first frame behind a rotation had all definitions: a page that could not be read cost everything that was logged
/// since, of however many files.
#[test]
fn p5_a_damaged_frame_that_defines_series_costs_what_is_in_its_file() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.wal_file_bytes = Some(64 << 10);
    let engine = builder.open().unwrap();
    let files = || {
        let names = fs.list(Path::new(WAL)).unwrap().into_iter().filter(|name| !name.starts_with('.'));
        names.map(|name| Path::new(WAL).join(name)).collect::<Vec<_>>()
    };
    let mut rounds = 0;
    while files().len() < 4 {
        push(&engine, rounds);
        rounds += 1;
    }
    let all = contents(&engine);
    let disk = fs.kill();
    let first = &files()[0];
    drop(engine);
    let bytes = disk.map(first).unwrap();
    // A round is a commit, and a frame.
    let frames = (4096..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR") && bytes[at + 90] == 1);
    let in_first = frames.count() as i64;
    assert!(in_first > 2 && rounds > 2 * in_first, "{in_first} of {rounds}");
    disk.open(first).unwrap().write_all_at(4096, &[0; 4096]).unwrap();
    assert!(try_open(&disk, Recovery::Strict).is_err());
    let engine = try_open(&disk, Recovery::Salvage).unwrap();
    let found = contents(&engine);
    let round_of = |at: &i64| at / 300_000;
    assert!(!engine.recovery_report().lost.is_empty());
    let lost: BTreeSet<i64> = all.keys().filter(|key| !found.contains_key(*key)).map(|(_, at)| round_of(at)).collect();
    assert!(lost.iter().all(|round| *round < in_first), "{in_first} rounds are in the file, lost are {lost:?}");
    assert!(found.iter().all(|(key, bits)| all.get(key) == Some(bits)));
    engine.close().unwrap();
    assert!(contents(&try_open(&disk, Recovery::Strict).unwrap()) == found);
}
