//! Damaged manifests are refused by name, or all that was committed is there.

mod checksums;
mod damage;
mod manifest_support;

use checksums::{commits_start, fix_manifest, put_u32, u32_at, u64_at};
use damage::campaign;
use manifest_support::*;
use tidegauge_storage::manifest::{Manifest, ManifestError};

/// A commit that is witnessed is never taken for a torn one.
#[test]
fn p5_flipped_bits_truncations_and_wiped_ends_are_refused_or_lose_nothing() {
    let (fs, bytes, last) = stored();
    let flipped = (0..bytes.len() * 8).filter(|bit| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&fs, &bytes, &last, &format!("bit {bit}"))
    });
    // All but those of the witness, of padding, and the reserved ones.
    assert!(flipped.count() > bytes.len() * 8 - 16 * 8 - 12 * 8 * 8);
    let cut = (0..bytes.len()).filter(|len| refused(&fs, &bytes[..*len], &last, &format!("{len} bytes")));
    assert!(cut.count() > bytes.len() - 8);
    let wiped = (64..bytes.len()).filter(|from| {
        let mut bytes = bytes.clone();
        bytes[*from..].fill(0);
        refused(&fs, &bytes, &last, &format!("wiped from {from}"))
    });
    assert!(wiped.count() > bytes.len() - 64 - 16);
}

/// As above, of many bytes at once.
#[test]
fn p5_overwritten_pieces_are_refused_or_lose_nothing() {
    let (fs, bytes, last) = stored();
    let (errors, answers) = campaign("manifest", 4_000, |noise| {
        let mut bytes = bytes.clone();
        let at = noise.below(bytes.len());
        match noise.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << noise.below(8),
            2 => {
                let reach = 1 + noise.below(64);
                bytes.iter_mut().skip(at).take(reach).for_each(|byte| noise.overwrite(byte));
            }
            _ => bytes[at..].fill(noise.below(256) as u8),
        }
        !refused(&fs, &bytes, &last, &format!("from byte {at} on"))
    });
    assert!(errors > answers && answers > 0, "{errors} errors, {answers} answers");
}

/// What makes checksums right reaches the witness and each commit, of both versions: else damage would stop at them, and no
/// decoder behind them would see any.
#[test]
fn damage_behind_checksums_that_were_made_right_reaches_the_edits() {
    for version in [1, 2] {
        let path = format!("{}/tests/fixtures/v{version}/MANIFEST", env!("CARGO_MANIFEST_DIR"));
        let whole = std::fs::read(path).unwrap();
        assert_eq!(u32_at(&whole, 8), version);
        let seed = crc32c::crc32c(&whole[16..48]);
        let (mut at, mut number) = (commits_start(&whole), u64_at(&whole, 40));
        while u64_at(&whole, at + 8) == number {
            let len = u32_at(&whole, at + 4) as usize;
            let mut bytes = whole.clone();
            bytes[at + 16 + len / 2] ^= 1;
            assert_ne!(crc32c::crc32c_append(seed, &bytes[at + 4..at + 16 + len]), u32_at(&bytes, at));
            fix_manifest(&mut bytes);
            assert_eq!(crc32c::crc32c_append(seed, &bytes[at + 4..at + 16 + len]), u32_at(&bytes, at), "{number}");
            at = (at + 16 + len).next_multiple_of(8);
            number += 1;
        }
        assert!(number > u64_at(&whole, 40), "version {version} has commits");
    }
    let (_, mut bytes, _) = stored();
    put_u32(&mut bytes, 56, 3);
    fix_manifest(&mut bytes);
    let seed = crc32c::crc32c(&bytes[16..48]);
    assert_eq!(crc32c::crc32c_append(seed, &bytes[52..64]), u32_at(&bytes, 48), "the witness");
}

#[test]
fn sound_checksums_around_nonsense_do_not_panic() {
    let (fs, mut whole, last) = stored();
    fix_manifest(&mut whole);
    assert!(!refused(&fs, &whole, &last, "the checksums are those that the format describes"));
    let (errors, answers) = campaign("manifest behind right checksums", 20_000, |noise| {
        let mut bytes = whole.clone();
        for _ in 0..=noise.below(3) {
            // Often in the first commit, which says most.
            let from = if noise.once_in(4) { 0 } else { 64 };
            let reach = if noise.once_in(2) { 200.min(bytes.len() - from) } else { bytes.len() - from };
            let at = from + noise.below(reach);
            noise.overwrite(&mut bytes[at]);
        }
        if noise.once_in(8) {
            bytes.truncate(noise.below(bytes.len()));
        }
        fix_manifest(&mut bytes);
        replace(&fs, &bytes);
        match Manifest::open_read_only(arc(&fs), DIR) {
            Ok(_) => true,
            Err(ManifestError::Corrupt { .. } | ManifestError::TooNew { .. }) => false,
            Err(e) => panic!("{e}"),
        }
    });
    // Most fields contradict others when they change.
    let some = (errors + answers) / 100;
    assert!(errors >= some && answers >= some, "both happen: {errors} errors, {answers} answers");
}

#[test]
fn a_newer_version_or_edit_is_refused() {
    let (fs, bytes, _) = stored();
    let mut newer = bytes.clone();
    newer[8] = 4;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[..12]), &newer[16..48]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    replace(&fs, &newer);
    assert!(matches!(open(&fs), Err(ManifestError::TooNew { found: 4, supported: 3, .. })));
    assert!(open(&fs).unwrap_err().to_string().contains("upgrade"));
    // Kind 10: origins, which this version reserves.
    let mut newer = bytes;
    newer[80] = 10;
    let len = u32::from_le_bytes(newer[68..72].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[16..48]), &newer[68..80 + len]);
    newer[64..68].copy_from_slice(&crc.to_le_bytes());
    replace(&fs, &newer);
    assert!(matches!(open(&fs), Err(ManifestError::TooNew { found: 10, .. })));
}
