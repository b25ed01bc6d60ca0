//! Every sample that goes into a chunk comes out of it, bit for bit.

use proptest::prelude::*;
use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkStats, ChunkView, Effort};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

/// What may surround the raw samples: header, in both columns ends of vectors and an encoding byte for each, and two
/// bytes where the last vector has but one or two timestamps.
fn beside_raw(len: usize) -> usize {
    let vectors = len.div_ceil(1024);
    24 + 2 * 2 * (vectors - 1) + 2 * vectors + 2
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn check(samples: &Columns, ranges: &[(i64, i64)]) {
    let mut bytes = vec![1, 2, 3];
    let mut encoder = ChunkEncoder::new();
    encoder.encode(&samples.timestamps, &samples.values, &mut bytes);
    let chunk = &bytes[3..];
    assert!(
        chunk.len() <= samples.len() * 16 + beside_raw(samples.len()),
        "{} bytes for {}",
        chunk.len(),
        samples.len()
    );

    let view = ChunkView::parse(chunk).unwrap();
    assert_eq!(view.count(), samples.len());
    assert_eq!(Some(&view.first_timestamp()), samples.timestamps.first());
    assert_eq!(Some(&view.last_timestamp()), samples.timestamps.last());
    let mut got = Columns::default();
    view.decode_into(&mut got).unwrap();
    assert_eq!(got.timestamps, samples.timestamps);
    assert_eq!(bits(&got.values), bits(&samples.values));

    for &(start, end) in ranges {
        let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
        got.clear();
        got.push(-7, 7.0);
        view.decode_range(range, &mut got).unwrap();
        let inside = |at: &&i64| range.contains(Timestamp::from_nanos(**at));
        let want: Vec<i64> = samples.timestamps.iter().filter(inside).copied().collect();
        assert_eq!(got.timestamps[1..], want);
        let skip = samples.timestamps.iter().take_while(|at| !inside(at)).count();
        assert_eq!(bits(&got.values[1..]), bits(&samples.values[skip.min(samples.len())..][..want.len()]));
    }

    // The same samples give the same bytes, whatever the encoder saw before.
    let mut again = Vec::new();
    encoder.encode(&samples.timestamps, &samples.values, &mut again);
    assert_eq!(again, chunk);

    encoder.set_effort(Effort::Cold);
    let mut cold = Vec::new();
    encoder.encode(&samples.timestamps, &samples.values, &mut cold);
    assert!(cold.len() <= chunk.len(), "{} bytes cold, {} fresh", cold.len(), chunk.len());
    got.clear();
    ChunkView::parse(&cold).unwrap().decode_into(&mut got).unwrap();
    assert_eq!((&got.timestamps, bits(&got.values)), (&samples.timestamps, bits(&samples.values)));
}

fn special() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![
        0.0,
        -0.0,
        f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0002),
        f64::from_bits(0xfff8_dead_beef_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_993.0,
        2_251_799_813_685_248.0,
        2_251_799_813_685_247.8,
        2_251_799_813_685_247.5,
        -2_251_799_813_685_247.5,
        22_517.998_136_852_48,
        -2_251_799_813_685_249.0,
        1e22,
        0.1,
    ])
}

/// Values as they occur: integers, decimals, counters, doubles, sprinkled with oddities.
fn values(count: usize) -> impl Strategy<Value = Vec<f64>> {
    let shape = (0usize..8, 0u32..16, 0u32..50, any::<i32>());
    let odd = prop::collection::vec((0..count, special()), 0..(count / 8 + 2));
    (shape, odd, prop::collection::vec(any::<u64>(), count)).prop_map(move |((kind, k, width, offset), odd, noise)| {
        let mut level = i64::from(offset);
        let mut values: Vec<f64> = noise
            .iter()
            .map(|x| {
                let step = (*x >> (63 - width)) as i64;
                level += step;
                match kind {
                    0 => f64::from_bits(*x),
                    1 => step as f64,
                    2 => level as f64,
                    3 => (step - (1 << width) / 2) as f64 / 10f64.powi(k as i32),
                    4 => level as f64 / 10f64.powi(k as i32),
                    5 => f64::from(offset),
                    6 => (*x as f64).sqrt(),
                    _ => f64::from(level as f32) * 0.25,
                }
            })
            .collect();
        for (at, value) in odd {
            values[at] = value;
        }
        values
    })
}

/// Timestamps as they occur: grids, jitter, gaps, units, and anything at all.
fn timestamps(count: usize) -> impl Strategy<Value = Vec<i64>> {
    let shape = (0usize..5, 0u32..4, 0u32..40, any::<i32>());
    (shape, prop::collection::vec(any::<u64>(), count)).prop_map(|((kind, unit, width, start), noise)| {
        let unit = 1000i64.pow(unit);
        let mut at = i64::from(start) * 1_000_000_000;
        let mut all: Vec<i64> = noise
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let noise = (*x >> (63 - width)) as i64;
                at = at.wrapping_add(1 + noise);
                match kind {
                    0 => i64::from(start) + i as i64 * unit,
                    1 => (i64::from(start) + i as i64 * 100 + noise % 64) * unit,
                    2 => at,
                    3 => i as i64 * unit + if noise % 50 == 0 { 1 } else { 0 },
                    _ => *x as i64,
                }
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_in_comes_out(
        (timestamps, values) in prop_oneof![1usize..60, 1000usize..1050, 1usize..=CHUNK_SAMPLES_MAX]
            .prop_flat_map(|count| (timestamps(count), values(count))),
        cuts in prop::collection::vec((0usize..5000, 0usize..5000, -1i64..2), 3),
    ) {
        let values = values[..timestamps.len()].to_vec();
        let at = |i: usize| timestamps[i % timestamps.len()];
        let mut ranges: Vec<(i64, i64)> =
            cuts.iter().map(|(a, b, off)| (at(*a).saturating_add(*off), at(*b).saturating_sub(*off))).collect();
        ranges.extend([(i64::MIN, i64::MAX), (0, i64::MAX), (i64::MIN, 0), (1, 1)]);
        check(&Columns { timestamps, values }, &ranges);
    }
}

/// They were rounded up to 2⁵¹, which then divided everything, and no reader takes such a factor.
#[test]
fn values_that_are_nearly_the_greatest_integer_of_a_decimal_come_back() {
    const NEARLY: f64 = 2_251_799_813_685_247.8;
    for pair in [
        [NEARLY, 0.0],
        [NEARLY, -NEARLY],
        [0.0, -NEARLY],
        [NEARLY, f64::NAN],
        [2_251_799_813_685_247.5, NEARLY],
        [2_251_799_813_685_248.0, 0.0],
        [2_251_799_813_685_247.0, 0.0],
        [1_125_899_906_842_624.0, 0.0],
    ] {
        for n in [1, 2, 20, 256, 1024, 1500] {
            let values: Vec<f64> = pair.into_iter().cycle().take(n).collect();
            check(&Columns { timestamps: (0..n as i64).collect(), values }, &[]);
        }
    }
    // Near it with each exponent: what is next to 2⁵¹ ÷ 10ᵏ.
    for k in 0..=18 {
        let at = (1u64 << 51) as f64 / 10f64.powi(k);
        for bits in at.to_bits() - 3..=at.to_bits() + 3 {
            let values: Vec<f64> = [f64::from_bits(bits), 0.0].into_iter().cycle().take(20).collect();
            check(&Columns { timestamps: (0..20).collect(), values }, &[]);
        }
    }
}

#[test]
fn the_extremes_of_time_are_timestamps_like_others() {
    let timestamps = vec![i64::MIN, -1, 0, i64::MAX];
    check(&Columns { timestamps, values: vec![1.0; 4] }, &[(i64::MIN, i64::MAX), (i64::MIN, 0), (0, i64::MAX)]);
    check(&Columns { timestamps: vec![i64::MAX], values: vec![f64::NAN] }, &[(0, i64::MAX), (i64::MAX, i64::MAX)]);
}

#[test]
fn statistics_agree_with_a_plain_count() {
    let timestamps: Vec<i64> = (0..3000).collect();
    let values: Vec<f64> = timestamps.iter().map(|i| (i * 7919 % 1000) as f64 / 8.0).collect();
    let stats = ChunkStats::of(&timestamps, &values);
    assert_eq!(stats.sum + stats.compensation, values.iter().sum::<f64>());
    assert_eq!(stats.min, values.iter().copied().fold(f64::INFINITY, f64::min));
    assert_eq!(stats.max, values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    assert_eq!(stats.resets as usize, values.windows(2).filter(|w| w[1] < w[0]).count());
}
