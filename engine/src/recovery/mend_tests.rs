//! P5: of a damaged segment salvage loses what nobody can tell any more, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;
use tidegauge_storage::segment::Segment;
use tidegauge_storage::source::ReadError;

use super::tests::{Contents, contents, path_of, push, quarantined, settle, try_open};
use super::{Recovery, RecoveryReport};
use crate::checksums;
use crate::core::SeriesSample;
use crate::error::OpenError;
use crate::options::Level;
use crate::verify::verify_on;

/// A closed store of one segment: many series whose labels have all lengths, some of several chunks.
fn store() -> (SimFs, Contents, PathBuf) {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    let mut samples = Vec::new();
    for i in 0..1200u64 {
        let host = format!("host-{:03}", i / 9);
        let path = "/x".repeat(1 + (i * i % 97) as usize / 4);
        let number = i.to_string();
        let mut labels = vec![("__name__", "requests"), ("host", &*host), ("n", &*number), ("path", &*path)];
        if i % 5 == 0 {
            labels.push(("zone", "ä"));
        }
        let series = engine.series(&labels).unwrap();
        let count = if i % 300 == 7 { 9_000 } else { 2 + i % 40 };
        let value = |at: u64| match i % 4 {
            0 => 1.0,
            1 => (at * i) as f64 / 10.0,
            2 => (at as f64 + i as f64).sqrt(),
            _ => at as f64,
        };
        let jitter = |at: u64| if i % 4 == 1 { at * 31 % 700 } else { 0 };
        let time = |at: u64| Timestamp::from_nanos((at * 1_000 + jitter(at)) as i64);
        samples.extend((0..count).map(|at| SeriesSample::new(series, time(at), value(at))));
    }
    for part in samples.chunks(20_000) {
        let ack = engine.push_batch(part).unwrap();
        engine.wait(ack, Level::Durable, Duration::from_secs(30)).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    let all = contents(&engine);
    assert_eq!(all.len(), samples.len());
    engine.close().unwrap();
    assert_eq!(fs.list(Path::new("memory/segments")).unwrap().len(), 1);
    let path = path_of(&fs, "segments");
    settle(&fs);
    (fs, all, path)
}

/// Salvages the store, and checks it: what is there was there, what is not is told, and nothing is damaged any more.
fn check(disk: &SimFs, all: &Contents, what: &str) -> (RecoveryReport, usize) {
    let before = path_of(disk, "segments");
    let damaged = disk.map(&before).unwrap().to_vec();
    let engine = try_open(disk, Recovery::Salvage).unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = engine.recovery_report().clone();
    let found = contents(&engine);
    for (sample, value) in &found {
        assert_eq!(all.get(sample), Some(value), "{what}: {sample:?}");
    }
    let missing = (all.len() - found.len()) as u64;
    let told: u64 = report.lost.iter().map(|lost| lost.samples_at_least).sum();
    let unknown = report.lost.iter().any(|lost| lost.samples.is_none());
    assert!(told == missing || unknown && told < missing, "{what}: {missing} are missing, {told} told");
    assert_eq!(report.is_whole(), missing == 0, "{what}");
    if unknown {
        let note = format!("{} samples are lost together", missing - told);
        assert!(report.notes.iter().any(|told| told.contains(&note)), "{what}: {note}: {:?}", report.notes);
    }
    engine.close().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let verified = verify_on(&fs, Path::new("memory"), None, &|_, _| {}).unwrap();
    assert!(verified.damage.is_empty(), "{what}: {verified:?}");
    let again = try_open(disk, Recovery::Strict).unwrap();
    assert!(contents(&again) == found, "{what}");
    if !quarantined(disk).is_empty() {
        let kept = disk.map(&Path::new("memory/quarantine").join(before.file_name().unwrap())).unwrap();
        assert!(kept[..] == damaged[..], "{what}: the damaged file is kept as it was");
    }
    (report, found.len())
}

fn damage(fs: &SimFs, path: &Path, mend: impl FnOnce(&mut Vec<u8>)) -> SimFs {
    let disk = fs.crash(0);
    let mut bytes = disk.map(path).unwrap().to_vec();
    mend(&mut bytes);
    let file = disk.open(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(0, &bytes).unwrap();
    disk
}

/// Numbers that follow from one another.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// Header, columns, each section, their checksums, footer: a whole sound segment was set aside for a bit in its outline,
/// and a series, or all of them, for one in its index.
#[test]
fn p5_one_flipped_bit_of_a_segment_loses_nothing() {
    let (fs, all, path) = store();
    let whole = fs.map(&path).unwrap().to_vec();
    let footer = whole.len() - 280;
    let at = |place: usize| u64::from_le_bytes(whole[place..place + 8].try_into().unwrap()) as usize;
    let (index, table) = (at(footer), at(footer + 248));
    let mut seed = 5;
    let parts = [0..72, 72..index, index..table, table..footer, footer..whole.len()];
    for part in parts {
        for _ in 0..6 {
            let place = part.start + next(&mut seed) % part.len();
            let bit = (next(&mut seed) % 8) as u8;
            let disk = damage(&fs, &path, |bytes| bytes[place] ^= 1 << bit);
            let (report, found) = check(&disk, &all, &format!("byte {place}, bit {bit}"));
            assert_eq!((found, report.lost.len()), (all.len(), 0), "byte {place}, bit {bit}");
            let [mended] = &report.mended[..] else { panic!("byte {place}, bit {bit}: {:?}", report.mended) };
            assert_eq!((&mended.file, mended.offset, mended.bit), (&path, place as u64, Some(bit)));
            let audit = disk.map(Path::new("memory/audit.log")).unwrap();
            let audit = std::str::from_utf8(&audit).unwrap().to_owned();
            assert!(audit.contains(r#""put_right":1"#) && audit.contains("one bit was put right"), "{audit}");
        }
    }
}

#[test]
fn p5_flipped_bits_runs_and_truncations_of_a_segment_lose_what_is_told_and_show_nothing_else() {
    let (fs, all, path) = store();
    let len = fs.map(&path).unwrap().len();
    let index = len - 280 - 40_000;
    let mut seed = 9;
    let (mut lossy, mut with_rest) = (0, 0);
    for trial in 0..40 {
        let from = if trial % 2 == 0 { 0 } else { index };
        let disk = damage(&fs, &path, |bytes| match trial % 5 {
            0 => bytes.truncate(len - 1 - next(&mut seed) % 100),
            1 => bytes.truncate(len - next(&mut seed) % len),
            2 => {
                for _ in 0..2 + next(&mut seed) % 9 {
                    let at = from + next(&mut seed) % (len - from);
                    bytes[at] ^= 1 << (next(&mut seed) % 8);
                }
            }
            _ => {
                let at = from + next(&mut seed) % (len - from);
                let run = (1 + next(&mut seed) % 8) << 10;
                bytes[at..(at + run).min(len)].iter_mut().for_each(|byte| *byte = next(&mut seed) as u8);
            }
        });
        let (report, found) = check(&disk, &all, &format!("trial {trial}"));
        lossy += usize::from(!report.is_whole());
        with_rest += usize::from(!report.is_whole() && found > 0);
    }
    assert!(lossy >= 10 && with_rest >= 5, "{lossy} lost something, {with_rest} of them not all");
}

/// The header beyond one bit: the manifest knows it.
#[test]
fn p5_a_segment_whose_header_is_gone_loses_nothing() {
    let (fs, all, path) = store();
    let disk = damage(&fs, &path, |bytes| bytes[..72].fill(0));
    let (report, found) = check(&disk, &all, "no header");
    assert_eq!((found, report.mended.len()), (all.len(), 1), "{report:?}");
    assert!(report.mended[0].to_string().contains("known from elsewhere"), "{}", report.mended[0]);
    // When it was made nothing tells; made long ago, it would be cold at once.
    let segment = Segment::open(&disk, &path_of(&disk, "segments")).unwrap();
    assert!(segment.info().created > 1_600_000_000_000_000_000, "{}", segment.info().created);
}

/// A manifest that is gone as well: one bit of a header is put right by itself.
#[test]
fn p5_a_flipped_bit_is_put_right_where_the_manifest_is_made_anew() {
    let (fs, all, path) = store();
    for place in [20, fs.map(&path).unwrap().len() - 100] {
        let disk = damage(&fs, &path, |bytes| bytes[place] ^= 32);
        disk.remove(Path::new("memory/MANIFEST")).unwrap();
        let engine = try_open(&disk, Recovery::Salvage).unwrap();
        let report = engine.recovery_report();
        assert!(report.manifest_made_anew && report.lost.is_empty(), "{report:?}");
        assert_eq!((report.mended.len(), report.mended[0].offset), (1, place as u64));
        assert!(contents(&engine) == all);
    }
}

/// A column of a later release in a file that is damaged elsewhere is not lost: that release saves all of it. What was
/// salvaged of another file before that was found is told.
#[test]
fn p5_what_a_later_release_wrote_is_refused_and_not_lost() {
    let fs = SimFs::new();
    let engine = try_open(&fs, Recovery::Strict).unwrap();
    for round in 0..2 {
        push(&engine, round);
        engine.flush().unwrap();
    }
    let all = contents(&engine);
    engine.close().unwrap();
    let folder = Path::new("memory/segments");
    let [first, second] = fs.list(folder).unwrap().try_into().unwrap();
    let (first, second) = (folder.join(first), folder.join(second));
    settle(&fs);

    // Two bits of the first file's first column.
    let disk = damage(&fs, &first, |bytes| bytes[74] ^= 0b11);
    settle(&disk);
    let newer = damage(&disk, &second, |bytes| {
        // The encoding of the first value column, which begins with it; then a header beyond one bit.
        let footer = bytes.len() - checksums::SEGMENT_FOOTER;
        let chunks = checksums::u64_at(bytes, footer + 24) as usize;
        let column = usize::from(bytes[chunks + 18]) << 32 | checksums::u32_at(bytes, chunks) as usize;
        bytes[column] = 31;
        checksums::fix_segment(bytes);
        bytes[8..40].fill(0xee);
    });
    let before = newer.map(&second).unwrap().to_vec();
    for _ in 0..2 {
        let refused = try_open(&newer, Recovery::Salvage).map(drop).unwrap_err();
        assert!(matches!(&refused, OpenError::Read(ReadError::TooNew { file, .. }) if *file == second), "{refused}");
        assert!(newer.map(&second).unwrap()[..] == before[..], "it stays as it is");
    }
    let name = first.file_name().unwrap().to_str().unwrap();
    assert_eq!(quarantined(&newer), [name]);
    let audit = String::from_utf8(newer.map(Path::new("memory/audit.log")).unwrap().to_vec()).unwrap();
    assert!(audit.contains("lost_0") && audit.contains(name), "{audit}");

    // Under the later release all of the second file is there.
    newer.open(&second).unwrap().write_all_at(0, &fs.map(&second).unwrap()).unwrap();
    let engine = try_open(&newer, Recovery::Salvage).unwrap();
    assert!(engine.recovery_report().is_whole());
    let found = contents(&engine);
    assert!(
        found.len() < all.len()
            && all.iter().filter(|((_, at), _)| *at >= 300_000).all(|(k, v)| found.get(k) == Some(v))
    );
}
