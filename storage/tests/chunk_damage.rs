//! Damaged chunks answer with a typed error or with data, whatever the damage: no panic, no hang, no large allocation.
//!
//! A chunk carries no checksum of its own (whoever stores it does), so each flip here
//! reaches the decoder.

mod damage;

use std::collections::BTreeSet;

use damage::{Noise, campaign};
use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkError, ChunkView, Effort};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

/// Chunks of all encodings, flags and layouts.
fn chunks() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(1);
    let regular = |count: i64| (0..count).map(|i| i * 10_000_000_000).collect::<Vec<i64>>();
    let jitter: Vec<i64> = (0..1500).map(|i| i * 15_000_000_000 + noise.below(1000) as i64 * 1_000_000).collect();
    let mut at = 0;
    let mut gaps = |count: usize| -> Vec<i64> {
        let mut step = || {
            at += 1 + noise.below(1 << 20) as i64;
            at
        };
        (0..count).map(|_| step()).collect()
    };
    let events = gaps(700);
    let mut wild: Vec<i64> = (0..600).map(|i: i64| i.wrapping_mul(0x1e37_79b9_7f4a_7c15)).collect();
    wild.sort_unstable();

    let mut levels = Noise::new(5);
    let mut odd: Vec<f64> = (0..1500).map(|_| levels.below(10_000) as f64 / 100.0).collect();
    for i in [3, 700, 1499] {
        odd[i] = f64::from_bits(0x7ff0_0000_0000_0002 + i as u64);
    }
    let mut counter: Vec<f64> = (0..2100).map(|i| (i * i % 97 + i * 1000) as f64).collect();
    counter[1000] = 1e15;
    let doubles: Vec<f64> =
        (0..700).map(|_| f64::from_bits(0x3ff << 52 | (levels.below(1 << 30) as u64) << 14)).collect();
    let sorted_doubles: Vec<f64> =
        (1..=600).map(|i| f64::from_bits((0x3ff5_5555 << 32) + i * i * 987_654_321)).collect();
    let noise: Vec<f64> = (1..=3u64).map(|i| f64::from_bits((i * i * i).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let mut some = Noise::new(9);
    let computed: Vec<f64> = (0..1100).map(|i| 0.1 * f64::from(i * 37 % 500)).collect();
    let front = |i: usize| (1000 + i as u64 % 20) << 52;
    let mut measured: Vec<f64> =
        (0..1100).map(|i| f64::from_bits(front(i) | (some.below(1 << 30) as u64) << 21)).collect();
    measured[600] = f64::NAN;
    let form = |i: usize| f64::from_bits(0x4000 << 48 | (i as u64 * i as u64 % 50).wrapping_mul(0x9e37_79b9_7f4a));
    let forms: Vec<f64> = (0..1100).map(form).collect();
    let seldom: Vec<f64> = (0..1100).map(|i| f64::from(i / 100 * 7)).collect();
    let runs: Vec<f64> = (0..1100).map(|i| form(i / 3) * 3.0).collect();
    [
        (regular(1030), vec![5.0; 1030]),
        (jitter, odd),
        (regular(2100), counter),
        (events, doubles),
        (wild, sorted_doubles),
        (regular(3), noise),
        (regular(1100), computed),
        (regular(1100), forms),
        (regular(1100), seldom),
        (regular(1100), runs),
        (regular(1100), measured),
        (regular(1), vec![1.0]),
    ]
    .iter()
    .map(|(timestamps, values)| encode(timestamps, values, Effort::Fresh))
    .chain(cold())
    .collect()
}

fn encode(timestamps: &[i64], values: &[f64], effort: Effort) -> Vec<u8> {
    let (mut encoder, mut bytes) = (ChunkEncoder::new(), Vec::new());
    encoder.set_effort(effort);
    encoder.encode(timestamps, values, &mut bytes);
    bytes
}

/// Chunks that pco stores, as decimals with all that can follow them, and as doubles.
#[cfg(feature = "cold")]
fn cold() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(11);
    let mut seldom_large = || (0..6).map(|_| noise.below(40)).product::<usize>();
    let at: Vec<i64> = (0..1100).map(|i| i * 1000).collect();
    let mut decimals: Vec<f64> = at.iter().map(|_| seldom_large() as f64 * 0.1).collect();
    decimals[30] = f64::NAN;
    let doubles: Vec<f64> = at.iter().map(|_| (seldom_large() as f64 + 2.0).ln().sqrt()).collect();
    vec![encode(&at, &decimals, Effort::Cold), encode(&at, &doubles, Effort::Cold)]
}

#[cfg(not(feature = "cold"))]
fn cold() -> Vec<Vec<u8>> {
    Vec::new()
}

/// Decodes in full and in part; whatever comes back must keep what [`Columns`] promises.
fn decode(bytes: &[u8]) -> Result<usize, ChunkError> {
    let view = ChunkView::parse(bytes)?;
    assert!((1..=CHUNK_SAMPLES_MAX).contains(&view.count()));
    let mut out = Columns::default();
    let middle = Timestamp::from_nanos(view.first_timestamp() / 2 + view.last_timestamp() / 2);
    for range in [TimeRange::new(middle, Timestamp::MAX), TimeRange::new(Timestamp::MIN, middle), TimeRange::ALL] {
        out.clear();
        let decoded = view.decode_range(range, &mut out);
        assert_eq!(out.timestamps.len(), out.values.len());
        assert!(out.len() <= view.count() && out.timestamps.is_sorted_by(|a, b| a < b));
        assert!(out.timestamps.iter().all(|at| range.contains(Timestamp::from_nanos(*at))));
        decoded?;
    }
    assert_eq!(out.len(), view.count());
    Ok(out.len())
}

#[test]
fn flipped_bits_overwritten_bytes_and_cuts_give_an_error_or_samples() {
    let chunks = chunks();
    chunks.iter().for_each(|chunk| assert!(decode(chunk).is_ok()));
    let (errors, answers) = campaign("chunk", 100_000, |noise| {
        let mut bytes = chunks[noise.below(chunks.len())].clone();
        for _ in 0..=noise.below(3) {
            // Mostly near the fronts of header and columns, where lengths and encodings stand.
            let reach = if noise.once_in(2) { bytes.len().min(80) } else { bytes.len() };
            let at = noise.below(reach);
            noise.overwrite(&mut bytes[at]);
        }
        if noise.once_in(8) {
            bytes.truncate(1 + noise.below(bytes.len()));
        }
        decode(&bytes).is_ok()
    });
    let tenth = (errors + answers) / 10;
    assert!(errors >= tenth && answers >= tenth, "both happen: {errors} errors, {answers} answers");
}

#[test]
fn a_chunk_cut_short_or_with_bytes_behind_is_an_error() {
    for chunk in chunks() {
        for cut in (0..chunk.len()).rev().take(400).chain(0..chunk.len().min(100)) {
            assert!(decode(&chunk[..cut]).is_err(), "cut at {cut} of {}", chunk.len());
        }
        let mut longer = chunk.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
}

#[test]
fn bytes_of_any_kind_are_no_chunk() {
    let mut noise = Noise::new(7);
    for len in 0..3000 {
        let mut bytes: Vec<u8> = (0..len % 300).map(|_| noise.below(256) as u8).collect();
        // Past the version and type, so that more of the decoder is reached.
        bytes.iter_mut().take(2).zip([1, 0]).for_each(|(byte, want)| *byte = want);
        let _ = decode(&bytes);
    }
}

#[test]
fn a_chunk_of_a_newer_release_says_so() {
    for (at, byte) in [(0, 2), (1, 1), (24, 9), (38, 15)] {
        let mut bytes = Vec::new();
        ChunkEncoder::new().encode(&[1, 2, 9], &[1.0, 2.0, 4.0], &mut bytes);
        bytes[at] = byte;
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, ChunkError::TooNew { found, .. } if found == byte), "{error}");
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

/// So that the tests above reach every decoder.
#[test]
fn all_encodings_are_among_the_damaged_chunks() {
    let (mut at, mut values) = (BTreeSet::new(), BTreeSet::new());
    for chunk in chunks() {
        let view = ChunkView::parse(&chunk).unwrap();
        for vector in 0..view.timestamps().vectors() {
            at.insert(view.timestamps().encoding(vector).unwrap());
            values.insert(view.values().encoding(vector).unwrap());
        }
    }
    let cold = usize::from(cfg!(feature = "cold"));
    assert_eq!((at.len(), values.len()), (4, 8 + cold), "{at:?}, {values:?}");
}
