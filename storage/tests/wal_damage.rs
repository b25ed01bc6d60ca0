//! Random damage to WAL files: never a panic, a hang or a wrong sample.

mod checksums;
mod damage;
mod wal_support;

use std::path::Path;

use checksums::fix_wal;
use damage::campaign;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::wal::{RecoverMode, WalError, WalState};
use wal_support::*;

#[test]
fn flipped_bits_and_truncations_give_a_prefix_or_a_named_error() {
    let fs = SimFs::new();
    fill(&fs, 6 << 10, 30, &[3, 15]);
    let whole = read(&fs, &WalState::default(), RecoverMode::Strict).unwrap().1;
    // But for the reserve, which holds no frame.
    let files = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| !name.starts_with('.')).count();
    let used: Vec<usize> =
        (0..files).map(|i| frames_of(&fs, i as u32).last().map_or(5000, |(at, len)| at + len)).collect();
    let mut cut = 0;
    let (refused, read_through) = campaign("log", 6_000, |noise| {
        let fs = fs.kill();
        for _ in 0..=noise.below(3) {
            let count = noise.below(files) as u32;
            let used = used[count as usize];
            if noise.once_in(8) {
                open(&fs, count).set_len(noise.below(used) as u64).unwrap();
                continue;
            }
            // Mostly where frames are, for the rest of the header page is no one's.
            let at = if noise.once_in(4) { noise.below(64) } else { 4096 + noise.below(used - 4096) };
            let byte = bytes(&fs, count).get(at).copied().unwrap_or(0);
            open(&fs, count).write_all_at(at as u64, &[byte ^ 1 << noise.below(8)]).unwrap();
        }
        let (following, followed) = read(&fs, &WalState::default(), RecoverMode::Follow).unwrap();
        assert_eq!(followed, whole[..followed.len()]);
        let strict = read(&fs, &WalState::default(), RecoverMode::Strict);
        assert_eq!(following.damage.is_some(), strict.is_err(), "{:?} {strict:?}", following.damage);
        let (_, salvaged) = read(&fs, &WalState::default(), RecoverMode::Salvage).unwrap();
        let mut rest = whole.iter();
        assert!(salvaged.iter().all(|got| rest.any(|one| one == got)), "salvage made something up");
        match strict {
            Ok((_, all)) => {
                assert_eq!(all, whole[..all.len()]);
                assert!(all.len() >= 3 * 20 || all.len() == whole.len(), "durable frames are missing");
                cut += u64::from(all.len() < whole.len());
                true
            }
            Err(WalError::Corrupt { .. }) => false,
            Err(e) => panic!("{e}"),
        }
    });
    let some = (refused + read_through) / 60;
    assert!(cut >= some && refused >= some, "{cut} cut, {refused} refused");
}

/// What the checksums of frames keep away from their decoder.
#[test]
fn behind_right_checksums_damage_gives_samples_or_a_named_error() {
    let fs = SimFs::new();
    fill(&fs, 6 << 10, 30, &[3, 15]);
    let files = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| !name.starts_with('.')).count();
    let (errors, answers) = campaign("log behind right checksums", 6_000, |noise| {
        let fs = fs.kill();
        let count = noise.below(files) as u32;
        let (frames, mut hurt) = (frames_of(&fs, count), bytes(&fs, count));
        for _ in 0..=noise.below(3) {
            // Mostly in the fronts of frames, where lengths and numbers stand.
            let (at, len) = frames[noise.below(frames.len())];
            let at = match noise.below(8) {
                0 => noise.below(64),
                1..=3 => at + noise.below(len),
                _ => at + noise.below(len.min(160)),
            };
            noise.overwrite(&mut hurt[at]);
        }
        if noise.once_in(8) {
            hurt.truncate(noise.below(hurt.len()));
        }
        fix_wal(&mut hurt);
        open(&fs, count).set_len(hurt.len() as u64).unwrap();
        open(&fs, count).write_all_at(0, &hurt).unwrap();
        let modes = [RecoverMode::Strict, RecoverMode::Follow, RecoverMode::Salvage];
        // `read` compares what is told with what is handed out.
        modes.map(|mode| read(&fs, &WalState::default(), mode).is_ok())[0]
    });
    let some = (errors + answers) / 20;
    assert!(errors >= some && answers >= some, "both happen: {errors} errors, {answers} answers");
}
