//! Real series come back bit for bit. Prints what they weigh: `cargo test --test real_series -- --nocapture`.
//!
//! `TIDEGAUGE_DATA` names the folder of `.tsb` files: little-endian, "TSB1", u32 series, then for each series u32 n,
//! u32 flag (0: no timestamps, 1: own timestamps, 2: those of the series before), n × i64 milliseconds where the
//! flag is 1 (in the unit that a name ending in `_ns` or `_us` says), n × f64.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkView, ValueEncoder};
use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, TimeRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

const MILLISECOND: i64 = 1_000_000;

fn read_file(path: &Path) -> Vec<Columns> {
    let bytes = std::fs::read(path).unwrap();
    let stem = path.file_stem().unwrap().to_string_lossy();
    let unit = if stem.ends_with("_ns") {
        1
    } else if stem.ends_with("_us") {
        1000
    } else {
        MILLISECOND
    };
    let mut words = bytes[4..].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    assert_eq!(&bytes[..4], b"TSB1", "{}", path.display());
    let mut u32 = || words.next().unwrap();
    let mut all: Vec<Columns> = Vec::new();
    for _ in 0..u32() {
        let (count, flag) = (u32(), u32());
        let mut u64s = || (0..count).map(|_| u64::from(u32()) | u64::from(u32()) << 32).collect::<Vec<u64>>();
        let timestamps = match flag {
            0 => (0..i64::from(count)).map(|i| i * 1000 * MILLISECOND).collect(),
            1 => u64s().into_iter().map(|at| at as i64 * unit).collect(),
            _ => all.last().unwrap().timestamps.clone(),
        };
        let values = u64s().into_iter().map(f64::from_bits).collect();
        all.push(in_order(&Columns { timestamps, values }));
    }
    all
}

/// The last sample of each timestamp, ascending.
fn in_order(samples: &Columns) -> Columns {
    let sorted: BTreeMap<i64, f64> = samples.timestamps.iter().copied().zip(samples.values.iter().copied()).collect();
    Columns { timestamps: sorted.keys().copied().collect(), values: sorted.values().copied().collect() }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn real_series_come_back_bit_for_bit() {
    let Some(dir) = std::env::var_os("TIDEGAUGE_DATA") else {
        eprintln!("skipped: TIDEGAUGE_DATA names no folder of real series");
        return;
    };
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tsb"));
    paths.sort();
    assert!(!paths.is_empty(), "TIDEGAUGE_DATA is set, but holds no .tsb file");
    println!("{:32} {:>9} {:>10} {:>14}", "series", "samples", "bits/value", "bytes/sample");
    let (mut log_sum, mut sets) = (0.0, 0.0);
    for path in &paths {
        let series = read_file(path);
        let name = path.file_stem().unwrap().to_string_lossy();
        let samples: usize = series.iter().map(Columns::len).sum();
        let value_bits = check_chunks(&series) as f64 * 8.0 / samples as f64;
        let segment_bytes = check_segment(&series) as f64 / samples as f64;
        println!("{name:32} {samples:9} {value_bits:10.2} {segment_bytes:14.3}");
        // Sets made for their timestamps hold constants.
        if !name.starts_with("tssyn") {
            (log_sum, sets) = (log_sum + value_bits.ln(), sets + 1.0);
        }
    }
    println!("geometric mean of the value sets: {:.2} bits a value", f64::exp(log_sum / sets));
}

/// Bytes of the value columns.
fn check_chunks(series: &[Columns]) -> usize {
    let (mut encoder, mut values, mut bytes) = (ChunkEncoder::new(), ValueEncoder::new(), Vec::new());
    let (mut out, mut value_bytes) = (Columns::default(), 0);
    for samples in series {
        for from in (0..samples.len()).step_by(CHUNK_SAMPLES_MAX) {
            let to = (from + CHUNK_SAMPLES_MAX).min(samples.len());
            bytes.clear();
            encoder.encode(&samples.timestamps[from..to], &samples.values[from..to], &mut bytes);
            out.clear();
            ChunkView::parse(&bytes).unwrap().decode_into(&mut out).unwrap();
            assert_eq!(out.timestamps, samples.timestamps[from..to]);
            assert_eq!(bits(&out.values), bits(&samples.values[from..to]));
            bytes.clear();
            values.encode(&samples.values[from..to], &mut bytes);
            value_bytes += bytes.len();
        }
    }
    value_bytes
}

/// Bytes of a segment that holds all of them.
fn check_segment(series: &[Columns]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, SegmentHeader::default()).unwrap();
    for (i, samples) in series.iter().enumerate() {
        let labels =
            Labels::new([("__name__", "real"), ("series", &format!("{i:05}"))], &LabelLimits::DEFAULT).unwrap();
        writer.push_series(&labels, samples, SeqNo(1)).unwrap();
    }
    let info = writer.finish().unwrap();
    let segment = Segment::open(&OsFs, &dir.path().join(file_name(1))).unwrap();
    segment.verify().unwrap();
    for (ordinal, samples) in (0u32..).zip(series) {
        let mut out = Columns::default();
        let mut cursor = segment.read(ordinal, TimeRange::ALL).unwrap();
        while cursor.next(&mut out).unwrap() {}
        assert_eq!((out.timestamps, bits(&out.values)), (samples.timestamps.clone(), bits(&samples.values)));
    }
    info.file_bytes
}
