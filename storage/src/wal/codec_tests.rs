//! Frames against a naive twin: what goes in comes out, bit for bit, in order.

use proptest::prelude::*;

use super::decode::Decoded;
use super::encode::{FrameEncoder, Place};
use super::format::{FRAME_HEADER_LEN, FRAME_SAMPLES_MAX, FrameHeader};
use super::types::{Epoch, FrameNo, GenerationId, Origin, WalSample};
use crate::model::{LabelLimits, Labels, Matcher, SeqNo, TimeRange, Timestamp, Tombstone};

pub(super) const PLACE: Place = Place {
    store_id: 0x0123_4567_89ab_cdef,
    epoch: Epoch(7),
    frame: FrameNo(5),
    synced_through: FrameNo(4),
    generation: GenerationId(Epoch(6)),
};

pub(super) fn decode(bytes: &[u8]) -> (FrameHeader, Decoded) {
    let header = FrameHeader::read(bytes, PLACE.store_id, PLACE.epoch).expect("a header");
    let mut decoded = Decoded::default();
    assert_eq!(header.payload_crc, crc32c::crc32c(&bytes[FRAME_HEADER_LEN..]));
    header.decode(&bytes[FRAME_HEADER_LEN..], &mut decoded).expect("a sound frame");
    (header, decoded)
}

pub(super) fn bits(samples: &[WalSample]) -> Vec<(u32, i64, u64)> {
    samples.iter().map(|s| (s.series, s.timestamp, s.value.to_bits())).collect()
}

pub(super) fn labels(host: usize) -> Labels {
    Labels::new([("__name__", "cpu"), ("host", &format!("web-{host}"))], &LabelLimits::DEFAULT).unwrap()
}

/// As the benchmark's first workload has them: rounds over all series, two decimals.
pub(super) fn rounds(n: usize, series: u32) -> Vec<WalSample> {
    let mut state = 1u64;
    let walk = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 40) % 10_001) as f64 / 100.0
    };
    (0..n)
        .map(|i| WalSample {
            series: i as u32 % series,
            tag: 9,
            timestamp: 1_700_000_000_000_000_000 + (i / series as usize) as i64 * 10_000_000_000,
            value: walk(&mut state),
        })
        .collect()
}

fn series_column(n: usize) -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        any::<u32>().prop_map(move |s| vec![s; n]),
        (any::<u32>(), 1u32..5000).prop_map(move |(s, m)| (0..n as u32).map(|i| s.wrapping_add(i % m)).collect()),
        prop::collection::vec(0u32..1000, n),
        prop::collection::vec(any::<u32>(), n),
    ]
}

fn time_column(n: usize) -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        any::<i64>().prop_map(move |t| vec![t; n]),
        (any::<i64>(), any::<i64>())
            .prop_map(move |(t, d)| (0..n as i64).map(|i| t.wrapping_add(d.wrapping_mul(i))).collect()),
        (any::<i64>(), 1i64..900).prop_map(move |(t, m)| (0..n as i64).map(|i| t.wrapping_add(i / m)).collect()),
        (0usize..4, prop::collection::vec(0i64..100_000, n))
            .prop_map(|(u, v)| v.into_iter().map(|t| t * [1, 1_000, 1_000_000, 1_000_000_000][u]).collect()),
        prop::collection::vec(any::<i64>(), n),
    ]
}

fn value_column(n: usize) -> impl Strategy<Value = Vec<f64>> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        1.5,
        2f64.powi(51),
        -(2f64.powi(51)),
        2f64.powi(52),
        2f64.powi(53) + 2.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        0.1 + 0.2,
    ]);
    prop_oneof![
        any::<f64>().prop_map(move |v| vec![v; n]),
        (0i32..10, prop::collection::vec(-5_000_000i64..5_000_000, n))
            .prop_map(|(e, v)| v.into_iter().map(|k| k as f64 / 10f64.powi(e)).collect()),
        prop::collection::vec(any::<u64>().prop_map(f64::from_bits), n),
        prop::collection::vec(prop_oneof![special, (0i64..1000).prop_map(|k| k as f64 / 100.0)], n),
        prop::collection::vec((-(1i64 << 52)..1 << 52).prop_map(|k| k as f64), n),
    ]
}

pub(super) fn any_samples(max: usize) -> impl Strategy<Value = Vec<WalSample>> {
    (0..max).prop_flat_map(|n| (series_column(n), time_column(n), value_column(n))).prop_map(|(s, t, v)| {
        let columns = s.into_iter().zip(t).zip(v);
        columns.map(|((series, timestamp), value)| WalSample { series, tag: 0, timestamp, value }).collect()
    })
}

proptest! {
    #[test]
    fn samples_come_back_bit_for_bit_whatever_slices_they_came_in(
        parts in prop::collection::vec(any_samples(1500), 0..4), seq in 0u64..u64::MAX / 2
    ) {
        let mut encoder = FrameEncoder::new();
        for _ in 0..2 {
            encoder.begin(SeqNo(seq));
            for (i, part) in parts.iter().enumerate() {
                encoder.define(i as u32, &labels(i)).unwrap();
                prop_assert_eq!(encoder.samples(part), part.len());
            }
            let all: Vec<_> = parts.iter().flatten().copied().collect();
            let (header, decoded) = decode(encoder.seal(&PLACE));
            prop_assert_eq!(header.first_seq, seq);
            prop_assert_eq!(bits(&decoded.samples), bits(&all));
            let definitions: Vec<_> = (0..parts.len()).map(|i| (i as u32, labels(i))).collect();
            prop_assert_eq!(decoded.definitions, definitions);
        }
    }
}

#[test]
fn origins_come_back() {
    let mut encoder = FrameEncoder::new();
    let origins = [Origin { node: 1 << 100, boot: 2, seq: 3 }, Origin { node: 4, boot: 5, seq: u64::MAX }];
    for origin in origins {
        encoder.origin(origin).unwrap();
    }
    assert!(!encoder.is_empty());
    assert_eq!(decode(encoder.seal(&PLACE)).1.origins, origins);
}

#[test]
fn a_finished_frame_tells_its_series_and_takes_definitions() {
    let (mut encoder, samples) = (FrameEncoder::new(), rounds(700, 9));
    encoder.define(3, &labels(3)).unwrap();
    assert_eq!(encoder.samples(&samples), 700);
    let len = encoder.frame_len();
    let mut series: Vec<u32> = samples.iter().map(|sample| sample.series).collect();
    series.sort_unstable();
    series.dedup();
    assert_eq!(encoder.series(), series);
    assert_eq!(encoder.frame_len(), len, "asking adds nothing");
    assert_eq!(encoder.series(), series);
    encoder.define(9, &labels(9)).unwrap();
    assert!(encoder.frame_len() > len);
    let (_, decoded) = decode(encoder.seal(&PLACE));
    assert_eq!(bits(&decoded.samples), bits(&samples));
    assert_eq!(decoded.definitions, [(3, labels(3)), (9, labels(9))]);
}

#[test]
fn a_full_frame_takes_no_more_and_stays_sound() {
    let samples: Vec<_> = (0..FRAME_SAMPLES_MAX + 1000)
        .map(|i| WalSample {
            series: (i as u32).wrapping_mul(2_654_435_761),
            tag: 0,
            timestamp: (i as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64),
            value: f64::from_bits((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        })
        .collect();
    let mut encoder = FrameEncoder::new();
    let taken = encoder.samples(&samples);
    assert_eq!(taken, FRAME_SAMPLES_MAX);
    assert_eq!(encoder.samples(&samples[taken..]), 0);
    let (_, decoded) = decode(encoder.seal(&PLACE));
    assert_eq!(bits(&decoded.samples), bits(&samples[..taken]));

    let huge = Labels::from_sorted(&[("a", &"x".repeat(5 << 20))]);
    encoder.begin(SeqNo(1));
    assert_eq!([0, 1, 2, 3].map(|i| encoder.define(i, &huge).is_ok()), [true, true, true, false]);
    let taken = encoder.samples(&samples);
    assert!((1000..100_000).contains(&taken), "{taken}");
    let (_, decoded) = decode(encoder.seal(&PLACE));
    assert_eq!((decoded.samples.len(), decoded.definitions.len()), (taken, 3));
}

#[test]
fn the_usual_input_takes_two_bytes_a_sample() {
    let samples = rounds(100_000, 4000);
    let mut encoder = FrameEncoder::new();
    for batch in samples.chunks(1000) {
        assert_eq!(encoder.samples(batch), batch.len());
    }
    let bytes = encoder.seal(&PLACE).len();
    assert!(bytes < samples.len() * 19 / 10, "{bytes} bytes");
}

/// A frame with columns in every mode.
fn varied() -> Vec<u8> {
    let mut encoder = FrameEncoder::new();
    encoder.define(1, &labels(1)).unwrap();
    encoder.define(2, &labels(2)).unwrap();
    encoder.origin(Origin { node: 1, boot: 2, seq: 3 }).unwrap();
    let regular = |n: u32| WalSample { series: 7, tag: 0, timestamp: 1000 * i64::from(n), value: 0.1 * f64::from(n) };
    let random = |n: u32| WalSample {
        series: n * 7919 % 1000,
        tag: 0,
        timestamp: i64::from(n * 104_729 % 100_000),
        value: f64::from(n * n % 997) / 100.0,
    };
    let same = |_: u32| WalSample { series: 5, tag: 0, timestamp: 9, value: 3.5 };
    let samples = rounds(512, 100).into_iter().chain((0..512).map(regular)).chain((0..512).map(random));
    let samples: Vec<_> = samples.chain((0..100).map(same)).collect();
    assert_eq!(encoder.samples(&samples), samples.len());
    encoder.seal(&PLACE).to_vec()
}

#[test]
fn sound_checksums_around_nonsense_do_not_panic_or_take_much_memory() {
    let frame = varied();
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let (mut read, mut refused) = (0, 0);
    let mut decoded = Decoded::default();
    for _ in 0..20_000 {
        let mut bytes = frame.clone();
        for _ in 0..=random(3) {
            // Half of the time among the header's lengths and the first group's modes.
            let at = if random(2) == 0 { 56 + random(100) } else { 8 + random(bytes.len() - 8) };
            bytes[at] = if random(2) == 0 { bytes[at] ^ (1 << random(8)) } else { [0, 1, 2, 0x7f, 0xff][random(5)] };
        }
        if random(8) == 0 {
            bytes.truncate((FRAME_HEADER_LEN + random(bytes.len() - FRAME_HEADER_LEN)).next_multiple_of(8));
        }
        let (head, payload) = bytes.split_at_mut(FRAME_HEADER_LEN);
        let header: FrameHeader = bytemuck::pod_read_unaligned(head);
        let header = header.sealed(payload);
        head.copy_from_slice(bytemuck::bytes_of(&header));
        let Some(header) = FrameHeader::read(&bytes, PLACE.store_id, PLACE.epoch) else {
            refused += 1;
            continue;
        };
        match header.decode(&bytes[FRAME_HEADER_LEN..], &mut decoded) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
        assert!(decoded.samples.len() <= FRAME_SAMPLES_MAX && decoded.definitions.len() <= bytes.len());
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

/// Prints ns a sample, the best of many runs; needs `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_encode_and_decode() {
    let samples = rounds(20_000, 4000);
    let raw: Vec<_> = samples.iter().map(|s| WalSample { value: s.value.sqrt(), ..*s }).collect();
    for (name, samples) in [("two decimals", samples), ("random bits", raw)] {
        let mut encoder = FrameEncoder::new();
        let (mut best_encode, mut best_decode, mut len) = (f64::MAX, f64::MAX, 0);
        let per = |start: std::time::Instant| start.elapsed().as_secs_f64() * 1e9 / samples.len() as f64;
        let mut decoded = Decoded::default();
        for _ in 0..2000 {
            let start = std::time::Instant::now();
            encoder.begin(SeqNo(0));
            for batch in samples.chunks(1000) {
                assert_eq!(encoder.samples(batch), batch.len());
            }
            let bytes = encoder.seal(&PLACE);
            best_encode = per(start).min(best_encode);
            len = bytes.len();
            let header = FrameHeader::read(bytes, PLACE.store_id, PLACE.epoch).unwrap();
            let start = std::time::Instant::now();
            assert_eq!(header.payload_crc, crc32c::crc32c(&bytes[FRAME_HEADER_LEN..]));
            header.decode(&bytes[FRAME_HEADER_LEN..], &mut decoded).unwrap();
            best_decode = per(start).min(best_decode);
        }
        let bytes = len as f64 / samples.len() as f64;
        println!("{name}: encode {best_encode:.2} ns, decode {best_decode:.2} ns, {bytes:.2} bytes a sample");
    }
}

/// The bytes of the first block of hexadecimal lines in a format's description.
pub(crate) fn documented_bytes(page: &str) -> Vec<u8> {
    documented_block(page, 1)
}

fn documented_block(page: &str, number: usize) -> Vec<u8> {
    let block = page.split("```hex\n").nth(number).and_then(|rest| rest.split("```").next()).expect("an example");
    let digits = block.lines().flat_map(|line| line.split_whitespace().skip(1).take_while(|word| *word != "|"));
    digits.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect()
}

#[test]
fn the_documented_example_is_what_is_written_and_reads_back() {
    let mut encoder = FrameEncoder::new();
    encoder.begin(SeqNo(1000));
    encoder.define(3, &Labels::from_sorted(&[("__name__", "up"), ("host", "a")])).unwrap();
    let value = [0.25, 0.5, 1.75];
    let samples: Vec<_> =
        (0..3).map(|i| WalSample { series: 3, tag: 0, timestamp: 60 + i as i64, value: value[i] }).collect();
    assert_eq!(encoder.samples(&samples), 3);
    let documented = documented_bytes(include_str!("../../../docs/format/wal.md"));
    let written = encoder.seal(&PLACE);
    assert_eq!(written, documented);
    let (_, decoded) = decode(&documented);
    assert_eq!(bits(&decoded.samples), bits(&samples));
}

#[test]
fn the_documented_delete_is_what_is_written_and_reads_back() {
    let delete = Tombstone {
        seq: SeqNo(1003),
        matchers: vec![Matcher::equal("host", "a")],
        range: TimeRange::new(Timestamp::from_nanos(60), Timestamp::from_nanos(120)),
        created: 1_700_000_000_000_000_000,
    };
    let mut encoder = FrameEncoder::new();
    encoder.delete(&delete);
    let documented = documented_block(include_str!("../../../docs/format/wal.md"), 2);
    assert_eq!(encoder.seal(&Place { frame: FrameNo(6), ..PLACE }), documented);
    let (header, decoded) = decode(&documented);
    assert_eq!((header.first_seq, header.samples), (1003, 1));
    assert!(decoded.samples.is_empty() && decoded.definitions.is_empty());
    assert_eq!(decoded.delete, Some(delete));
}

#[test]
fn the_documented_witness_is_what_is_written_and_is_no_frame_of_the_order() {
    let page = include_str!("../../../docs/format/wal.md");
    let documented = documented_block(page, 3);
    let place = Place { frame: FrameNo(7), synced_through: FrameNo(6), ..PLACE };
    assert_eq!(bytemuck::bytes_of(&FrameHeader::witness(&place, SeqNo(1004))), documented);
    let header = FrameHeader::read(&documented, PLACE.store_id, PLACE.epoch).unwrap();
    assert!(header.is_witness() && header.synced_through == 6);
    assert!(header.decode(&[], &mut Decoded::default()).is_err());
}
