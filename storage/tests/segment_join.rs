//! Encoded chunks that are joined give the very file that their samples would have given.

mod checksums;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkView, VECTOR_SAMPLES};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, WriteError, file_name};
use tidegauge_storage::source::Columns;

fn labels(series: usize) -> Labels {
    let host = format!("{series:03}");
    Labels::new([("__name__", "cpu"), ("host", &host)], &LabelLimits::DEFAULT).unwrap()
}

/// The chunks of up to a vector each that a memtable would hold.
fn encoded(samples: &Columns) -> Vec<Vec<u8>> {
    let mut encoder = ChunkEncoder::new();
    let vectors = samples.timestamps.chunks(VECTOR_SAMPLES).zip(samples.values.chunks(VECTOR_SAMPLES));
    vectors
        .map(|(timestamps, values)| {
            let mut bytes = Vec::new();
            encoder.encode(timestamps, values, &mut bytes);
            bytes
        })
        .collect()
}

/// The bytes of a segment that `fill` fills.
fn file(fill: impl FnOnce(&mut SegmentWriter)) -> Vec<u8> {
    let (fs, dir) = (Arc::new(MemFs::new()), Path::new("d"));
    fs.create_dir_all(dir).unwrap();
    let mut writer = SegmentWriter::create(Arc::clone(&fs) as Arc<dyn Fs>, dir, 1, SegmentHeader::default()).unwrap();
    fill(&mut writer);
    writer.finish().unwrap();
    Segment::open(&*fs, &dir.join(file_name(1))).unwrap().verify().unwrap();
    fs.map(&dir.join(file_name(1))).unwrap().to_vec()
}

fn series() -> impl Strategy<Value = Columns> {
    let steps = prop_oneof![Just(1i64), Just(7), Just(1_000_000)];
    let value = prop_oneof![Just(0i32), Just(1), Just(2), Just(3)];
    (0usize..3 * CHUNK_SAMPLES_MAX, steps, value, any::<u64>()).prop_map(|(count, step, kind, seed)| {
        let mut samples = Columns::default();
        let mut state = seed;
        for i in 0..count as i64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jitter = if seed & 1 == 0 { 0 } else { (state >> 40) as i64 % step };
            let value = match kind {
                0 => 1.5,
                1 => (state >> 50) as f64 / 100.0,
                2 if state >> 60 == 0 => f64::from_bits(0x7ff0_0000_0000_0002),
                2 => i as f64,
                _ => f64::from_bits(state),
            };
            samples.push(i * step + jitter, value);
        }
        samples
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn joined_chunks_give_the_same_file(all in prop::collection::vec(series(), 1..5)) {
        let whole = file(|writer| {
            for (i, samples) in all.iter().enumerate() {
                writer.push_series(&labels(i), samples, SeqNo(i as u64)).unwrap();
            }
        });
        let joined = file(|writer| {
            for (i, samples) in all.iter().enumerate() {
                let chunks = encoded(samples);
                let views: Vec<_> = chunks.iter().map(|bytes| ChunkView::parse(bytes).unwrap()).collect();
                writer.begin_series(&labels(i), SeqNo(i as u64)).unwrap();
                for views in views.chunks(CHUNK_SAMPLES_MAX / VECTOR_SAMPLES) {
                    writer.join_chunks(views).unwrap();
                }
            }
        });
        prop_assert!(whole == joined, "{} bytes, and {} joined", whole.len(), joined.len());
    }
}

fn ascending(range: std::ops::Range<i64>) -> Vec<u8> {
    let timestamps: Vec<i64> = range.collect();
    let values: Vec<f64> = timestamps.iter().map(|t| *t as f64).collect();
    let mut bytes = Vec::new();
    ChunkEncoder::new().encode(&timestamps, &values, &mut bytes);
    bytes
}

/// The writer stays whole where what is joined comes too early, and refuses what is no chunk.
#[test]
fn what_does_not_follow_is_refused() {
    let chunks = [ascending(0..1024), ascending(1024..1100), ascending(1100..1200)];
    let [first, short, last] = [0, 1, 2].map(|i| ChunkView::parse(&chunks[i]).unwrap());
    file(|writer| {
        writer.begin_series(&labels(1), SeqNo(1)).unwrap();
        writer.join_chunks(&[first, short]).unwrap();
        assert!(matches!(writer.join_chunks(&[first]), Err(WriteError::SamplesNotAscending { index: 1_100, .. })));
        writer.join_chunks(&[last]).unwrap();
    });
    for wrong in [&[][..], &[short, last], &[short, first], &[first; 2]] {
        let refused = std::panic::catch_unwind(|| {
            file(|writer| {
                writer.begin_series(&labels(1), SeqNo(1)).unwrap();
                writer.join_chunks(wrong).unwrap();
            })
        });
        assert!(refused.is_err(), "{} parts are no chunk", wrong.len());
    }
}

/// Bytes of the statistics in a segment's file.
fn statistics_bytes(file: &[u8]) -> usize {
    checksums::u64_at(file, file.len() - checksums::SEGMENT_FOOTER + 2 * 24 + 8) as usize
}

#[test]
fn constant_chunks_that_say_the_same_share_their_statistics() {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let (narrow, wide) = (32, 64);
    // (value, samples, bytes of statistics that this series adds)
    let series = [
        (0.0, 300, narrow),
        (1.0, 300, narrow),
        (0.0, 300, 0),
        // A sum of noughts does not tell how many there are, one of ones does.
        (0.0, 301, 0),
        (1.0, 301, narrow),
        (-0.0, 300, wide),
        (stale, 300, wide),
        (stale, 300, 0),
        (1.0, 255, 0),
        (1.0, 300, 0),
    ];
    let columns = |value: f64, count: i64| Columns {
        timestamps: (0..count).map(|at| at * 1_000).collect(),
        values: vec![value; count as usize],
    };
    for upto in 1..=series.len() {
        let whole = file(|writer| {
            for (i, &(value, count, _)) in series[..upto].iter().enumerate() {
                writer.push_series(&labels(i), &columns(value, count), SeqNo(1)).unwrap();
            }
        });
        let bytes: usize = series[..upto].iter().map(|(.., bytes)| bytes).sum();
        assert_eq!(statistics_bytes(&whole), bytes, "{upto} series");
        // Taken over as they are stored, and joined, too.
        let fs = MemFs::new();
        fs.create_dir_all(Path::new("d")).unwrap();
        let path = Path::new("d").join(file_name(1));
        fs.create(&path).unwrap().write_all_at(0, &whole).unwrap();
        let segment = Segment::open(&fs, &path).unwrap();
        let copied = file(|writer| {
            for i in 0..upto {
                writer.begin_series(&labels(i), SeqNo(1)).unwrap();
                writer.copy_chunk(&segment.encoded(i).unwrap()).unwrap();
            }
        });
        assert_eq!(copied, whole);
        let joined = file(|writer| {
            for (i, &(value, count, _)) in series[..upto].iter().enumerate() {
                let parts = encoded(&columns(value, count));
                writer.begin_series(&labels(i), SeqNo(1)).unwrap();
                writer.join_chunks(&[ChunkView::parse(&parts[0]).unwrap()]).unwrap();
            }
        });
        assert_eq!(joined, whole);
    }
}

#[test]
fn chunks_that_vary_have_statistics_of_their_own() {
    let values: Vec<f64> = (0..300).map(f64::from).collect();
    let columns = Columns { timestamps: (0..300).collect(), values };
    let whole = file(|writer| {
        for i in 0..3 {
            writer.push_series(&labels(i), &columns, SeqNo(1)).unwrap();
        }
    });
    assert_eq!(statistics_bytes(&whole), 3 * 32);
}

/// More different constants than are remembered.
#[test]
fn statistics_that_were_forgotten_are_written_again() {
    let constant = |value: u32| Columns { timestamps: (0..256).collect(), values: vec![f64::from(value); 256] };
    let whole = file(|writer| {
        for i in (0..16_384).chain([5, 16_384, 5]) {
            let at = writer.series();
            let label = format!("{at:05}");
            let labels = Labels::new([("host", label.as_str())], &LabelLimits::DEFAULT).unwrap();
            writer.push_series(&labels, &constant(i), SeqNo(1)).unwrap();
        }
    });
    assert_eq!(statistics_bytes(&whole), (16_384 + 2) * 32);
}
