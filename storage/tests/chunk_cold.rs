//! Columns by pco: small, exact, kept readable, and refused by name where the feature is missing.

use tidegauge_storage::chunk::ValueColumn;
#[cfg(not(feature = "cold"))]
use tidegauge_storage::chunk::{ChunkError, ValueEncoding};

/// A column of 1,100 values that a build with the feature wrote.
const KEPT: &[u8] = include_bytes!("fixtures/cold-column-v1.bin");

/// A column whose bins are written shorter.
#[cfg(feature = "cold")]
const KEPT_BINS: &[u8] = include_bytes!("fixtures/cold-column-v2.bin");

#[cfg(feature = "cold")]
mod with {
    use tidegauge_storage::chunk::{Effort, ValueEncoder, ValueEncoding};

    use super::*;

    /// Small numbers often, large ones seldom, in tenths; two are no such decimals.
    fn values(count: usize) -> Vec<f64> {
        let mut noise = 1u64;
        let mut values: Vec<f64> = (0..count)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let zeros = (noise >> 20).trailing_zeros();
                ((noise >> 40) % (3 << zeros)) as f64 * 0.1
            })
            .collect();
        (values[5], values[count - 1]) = (f64::from_bits(0x7ff0_0000_0000_0002), -0.0);
        values
    }

    fn encode(values: &[f64], effort: Effort) -> Vec<u8> {
        let (mut encoder, mut column) = (ValueEncoder::new(), Vec::new());
        encoder.set_effort(effort);
        encoder.encode(values, &mut column);
        column
    }

    fn check(column: &[u8], values: &[f64]) {
        let column = ValueColumn::parse(column, values.len()).unwrap();
        // Backwards: no vector needs the one before.
        for vector in (0..column.vectors()).rev() {
            assert_eq!(column.encoding(vector), Ok(ValueEncoding::Cold));
            let mut out = Vec::new();
            column.decode_vector(vector, &mut out).unwrap();
            let want = values.chunks(1024).nth(vector).unwrap();
            assert!(out.len() == want.len() && out.iter().zip(want).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    /// A walk of integers whose steps are nearly normal, around `base`.
    fn walk(count: usize, base: f64, step: f64) -> Vec<f64> {
        let mut noise = 7u64;
        let mut uniform = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 40) as f64 / (1u64 << 24) as f64 - 0.5
        };
        let mut at = 0.0;
        let mut next = || {
            at += (0..12).map(|_| uniform()).sum::<f64>() * step;
            (base + at).round()
        };
        (0..count).map(|_| next()).collect()
    }

    /// In hundredths. The first vector has an exception, the second none.
    fn kept_walk() -> Vec<f64> {
        let mut walk: Vec<f64> = walk(1_100, 5_000.0, 100.0).iter().map(|n| n / 100.0).collect();
        walk[5] = f64::NAN;
        walk
    }

    /// The entropy of such steps is 8.7 bits.
    #[test]
    fn a_cold_walk_of_two_decimals_comes_near_its_entropy() {
        let walk: Vec<f64> = walk(2_500, 5_000.0, 100.0).iter().map(|n| n / 100.0).collect();
        let column = encode(&walk, Effort::Cold);
        assert!(column.len() * 8 < 2_500 * 9, "{} bits a value", column.len() as f64 * 8.0 / 2_500.0);
        check(&column, &walk);
    }

    /// The kind of a column follows its first vector's encoding byte (docs/format/chunk.md, "Cold").
    #[test]
    fn cold_decimals_are_as_narrow_as_they_are_apart_and_come_back_from_everywhere() {
        let mut seldom_large = values(4_096);
        seldom_large.iter_mut().filter(|v| !v.is_nan()).for_each(|v| *v = (*v * 1e9).round());
        for (values, kind) in [
            (walk(4_096, -8e9, 40.0), 4),
            (walk(4_096, 4e12, 40.0), 4),
            (walk(4_096, -2e6, 4_000.0), 5),
            (walk(4_096, 9e14, 4_000.0), 5),
            (seldom_large, 1),
        ] {
            let column = encode(&values, Effort::Cold);
            // Behind the ends of the other three vectors and the encoding byte.
            assert_eq!((column[6] & 0x1f, column[7]), (ValueEncoding::Cold as u8, kind));
            check(&column, &values);
        }
    }

    #[test]
    fn a_cold_column_is_smaller_and_comes_back_vector_by_vector() {
        for count in [600, 1024, 1100, 4096] {
            let values = values(count);
            let (fresh, cold) = (encode(&values, Effort::Fresh), encode(&values, Effort::Cold));
            assert!(cold.len() * 20 <= fresh.len() * 19, "{count}: {} cold, {} fresh", cold.len(), fresh.len());
            check(&cold, &values);
        }
        let doubles: Vec<f64> = values(3000).iter().map(|v| (v.abs() + 2.0).ln()).collect();
        check(&encode(&doubles, Effort::Cold), &doubles);
    }

    /// Each thread keeps what the last column shares: by what it says, in columns of every kind.
    #[test]
    fn vectors_of_many_columns_in_turn_are_read_each_with_the_bins_of_its_own() {
        let tenths = |values: Vec<f64>| values.iter().map(|n| n / 10.0).collect::<Vec<_>>();
        let sets = [
            walk(4_096, -8e9, 40.0),
            walk(4_096, -8e9, 90.0),
            tenths(walk(4_096, 4e12, 40.0)),
            walk(4_096, -2e6, 4_000.0),
            walk(4_096, 9e14, 7_000.0),
            values(4_096),
            values(4_096).iter().map(|v| (v.abs() + 2.0).ln()).collect(),
            values(4_096).iter().map(|v| (v * 1e9).round()).collect(),
        ];
        let encoded = sets.each_ref().map(|values| encode(values, Effort::Cold));
        let columns = encoded.each_ref().map(|bytes| ValueColumn::parse(bytes, 4_096).unwrap());
        let mut out = Vec::new();
        for vector in [0, 3, 1, 2, 0] {
            for (values, column) in sets.iter().zip(&columns) {
                out.clear();
                column.decode_vector(vector, &mut out).unwrap();
                let want = &values[vector * 1_024..][..1_024];
                assert!(out.iter().zip(want).all(|(a, b)| a.to_bits() == b.to_bits()), "vector {vector}");
            }
        }
    }

    #[test]
    fn kept_columns_open() {
        check(KEPT, &values(1100));
        check(KEPT_BINS, &kept_walk());
        assert_eq!(KEPT_BINS[3], 4, "its kind");
    }

    #[test]
    fn vectors_of_two_columns_do_not_mix() {
        let (cold, fresh) = (encode(&values(1100), Effort::Cold), encode(&values(1100), Effort::Fresh));
        let split = |column: &[u8]| 2 + usize::from(u16::from_le_bytes([column[0], column[1]]));
        let mut mixed = fresh[..split(&fresh)].to_vec();
        mixed.extend_from_slice(&cold[split(&cold)..]);
        let column = ValueColumn::parse(&mixed, 1100).unwrap();
        assert!(column.decode_vector(0, &mut Vec::new()).is_ok());
        assert!(column.decode_vector(1, &mut Vec::new()).is_err());
    }

    /// Makes the fixture of a new version, by hand, and keep the file for good: where there is one, it stays.
    #[test]
    #[ignore = "writes into the source tree"]
    fn write_the_column() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cold-column-v2.bin");
        if path.exists() {
            return;
        }
        std::fs::write(path, encode(&kept_walk(), Effort::Cold)).unwrap();
    }
}

#[cfg(not(feature = "cold"))]
#[test]
fn a_build_without_the_feature_names_it() {
    let column = ValueColumn::parse(KEPT, 1100).unwrap();
    assert_eq!(column.encoding(0), Ok(ValueEncoding::Cold));
    let error = column.decode_vector(1, &mut Vec::new()).unwrap_err();
    assert_eq!(error, ChunkError::MissingFeature { feature: "cold" });
    assert!(error.to_string().contains("`cold`"), "{error}");
}
