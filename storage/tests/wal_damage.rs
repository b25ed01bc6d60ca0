//! Random damage to WAL files: never a panic, a hang or a wrong sample.

mod wal_support;

use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::wal::{RecoverMode, WalError, WalState};
use wal_support::*;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn flipped_bits_and_truncations_give_a_prefix_or_a_named_error() {
    let fs = SimFs::new();
    fill(&fs, 6 << 10, 30, &[3, 15]);
    let whole = read(&fs, &WalState::default(), RecoverMode::Strict).unwrap().1;
    // But for the reserve, which holds no frame.
    let files = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| !name.starts_with('.')).count() as u64;
    let (mut cut, mut refused) = (0, 0);
    for seed in 0..6_000 {
        let mut random = Random(seed);
        let fs = fs.kill();
        for _ in 0..=random.below(3) {
            let count = random.below(files) as u32;
            let used = frames_of(&fs, count).last().map_or(5000, |(at, len)| at + len) as u64;
            if random.below(8) == 0 {
                open(&fs, count).set_len(random.below(used)).unwrap();
                continue;
            }
            // Mostly where frames are, for the rest of the header page is no one's.
            let at = if random.below(4) == 0 { random.below(64) } else { 4096 + random.below(used - 4096) };
            let byte = bytes(&fs, count).get(at as usize).copied().unwrap_or(0);
            open(&fs, count).write_all_at(at, &[byte ^ 1 << random.below(8)]).unwrap();
        }
        let (following, followed) = read(&fs, &WalState::default(), RecoverMode::Follow).unwrap();
        assert_eq!(followed, whole[..followed.len()], "seed {seed}");
        let strict = read(&fs, &WalState::default(), RecoverMode::Strict);
        assert_eq!(following.damage.is_some(), strict.is_err(), "seed {seed}: {:?} {strict:?}", following.damage);
        match strict {
            Ok((_, all)) => {
                assert_eq!(all, whole[..all.len()], "seed {seed}");
                assert!(all.len() >= 3 * 20 || all.len() == whole.len(), "seed {seed}: durable frames are missing");
                cut += u64::from(all.len() < whole.len());
            }
            Err(WalError::Corrupt { .. }) => refused += 1,
            Err(e) => panic!("seed {seed}: {e}"),
        }
        let (_, salvaged) = read(&fs, &WalState::default(), RecoverMode::Salvage).unwrap();
        let mut rest = whole.iter();
        assert!(salvaged.iter().all(|got| rest.any(|one| one == got)), "seed {seed}: salvage made something up");
    }
    assert!(cut > 100 && refused > 100, "{cut} cut, {refused} refused");
}
