//! Samples into bytes and back: the WAL's frames, chunks, and the opening of a segment.
//!
//! Each checks what came out. `cargo bench --bench bytes -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegauge_bench::workload::{Kind, Part, Workload};
use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkView, ValueColumn, ValueEncoder, ValueEncoding};
use tidegauge_storage::fs::{Fs, MemFs, OsFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange, TimeRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};
use tidegauge_storage::wal::{
    Epoch, FrameEncoder, FrameNo, RecoverMode, Replay, WalSample, WalState, WalWriter, WriterOptions, recover,
};

/// The first `n` samples of each of W1's series.
fn columns(kind: Kind, n: u64) -> (Workload, Vec<Columns>) {
    let workload = Workload::new(kind, 1, Some(n)).unwrap();
    let mut columns = vec![Columns::default(); workload.slots() as usize];
    let part = &Part::split(&workload, 1, 1).unwrap()[0];
    workload.generate(part, |cell| {
        let at = workload.timestamp_ns(u64::from(cell.tick));
        columns[cell.slot as usize].push(at, workload.value(cell.scaled));
    });
    (workload, columns)
}

fn wal(c: &mut Criterion) {
    let (workload, columns) = columns(Kind::W1, 4_000);
    let samples: Vec<WalSample> = (0u32..)
        .zip(&columns)
        .take(1_000)
        .map(|(series, c)| WalSample { series, tag: 0, timestamp: c.timestamps[0], value: c.values[0] })
        .collect();
    let mut group = c.benchmark_group("wal");
    group.throughput(Throughput::Elements(samples.len() as u64));
    group.bench_function("encode/1000", |b| {
        let mut frame = FrameEncoder::new();
        b.iter(|| {
            frame.begin(SeqNo(1));
            assert_eq!(frame.samples(black_box(&samples)), samples.len(), "all of them fit into a frame");
            frame.len()
        });
        assert_eq!(through_a_log(&workload, &mut frame), samples, "what was encoded comes back");
    });
    group.finish();
}

/// What is read back of a log that has `frame` in it.
fn through_a_log(workload: &Workload, frame: &mut FrameEncoder) -> Vec<WalSample> {
    const STORE: u128 = 7;
    let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(MemFs::new()), "wal");
    let options = WriterOptions { file_bytes: 1 << 20, ..WriterOptions::new(STORE, 1, FrameNo(1)) };
    let mut writer = WalWriter::open(Arc::clone(&fs), dir, Epoch(0), options).unwrap();
    let mut defining = FrameEncoder::new();
    defining.begin(frame.first_seq());
    for series in 0..1_000 {
        let labels = workload.labels(u64::from(series));
        defining.define(series, &Labels::new(labels.borrowed(), &LabelLimits::DEFAULT).unwrap()).unwrap();
    }
    writer.append(&mut defining).unwrap();
    writer.append(frame).unwrap();
    let mut found = Vec::new();
    let mut sink = |piece: Replay<'_>| {
        if let Replay::Samples { samples, .. } = piece {
            found.extend_from_slice(samples);
        }
        Ok(())
    };
    recover(&*fs, dir.as_ref(), STORE, &WalState::default(), RecoverMode::Strict, &mut sink).unwrap();
    found
}

fn chunk(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk");
    for (name, kind) in [("2dec", Kind::W1), ("int", Kind::W1int)] {
        let (_, all) = columns(kind, 4_000 * CHUNK_SAMPLES_MAX as u64 / 8);
        // Eight series one after the other, moved in time, so that a chunk is full.
        let mut full = Columns::default();
        for (k, one) in (0..).zip(&all[..8]) {
            let ahead = k * one.len() as i64 * 10_000_000_000;
            one.timestamps.iter().zip(&one.values).for_each(|(&at, &value)| full.push(at + ahead, value));
        }
        assert_eq!(full.len(), CHUNK_SAMPLES_MAX);
        let (mut encoder, mut bytes) = (ChunkEncoder::new(), Vec::new());
        encoder.encode(&full.timestamps, &full.values, &mut bytes);
        group.throughput(Throughput::Elements(full.len() as u64));
        group.bench_function(format!("encode/{name}"), |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                encoder.encode(black_box(&full.timestamps), &full.values, &mut out);
            });
            assert!(out.is_empty() || out == bytes, "the same samples, the same bytes");
        });
        let mut decoded = Columns::default();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                decoded.clear();
                ChunkView::parse(black_box(&bytes)).unwrap().decode_into(&mut decoded).unwrap();
            });
            assert!(decoded.is_empty() || decoded == full, "what was encoded comes back");
        });
    }
    group.finish();
}

/// Noise below a bound.
type Below<'a> = &'a mut dyn FnMut(u64) -> u64;

/// A chunk of values for each encoding, and what becomes of its first vector.
fn shapes() -> Vec<(&'static str, ValueEncoding, Vec<f64>)> {
    let mut noise = 1u64;
    let mut below = move |n: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % n
    };
    let mut make =
        |of: &mut dyn FnMut(Below<'_>) -> f64| -> Vec<f64> { (0..CHUNK_SAMPLES_MAX).map(|_| of(&mut below)).collect() };
    let (mut walk, mut counter, mut level) = (5_000i64, 0u64, 0u64);
    let mut step = |below: Below<'_>| {
        walk += below(201) as i64 - 100;
        walk as f64
    };
    let forms: Vec<f64> = (1..=40).map(|i| f64::from(i).sqrt()).collect();
    vec![
        ("constant", ValueEncoding::Constant, make(&mut |_| 4.25)),
        ("decimal", ValueEncoding::Decimal, make(&mut |below| below(256) as f64)),
        (
            "decimal, patched",
            ValueEncoding::Decimal,
            make(&mut |below| {
                let far = if below(20) == 0 { 1_000_000 } else { 0 };
                (below(16) + far) as f64
            }),
        ),
        ("decimal, corrected", ValueEncoding::Decimal, make(&mut |below| below(1_000) as f64 * 0.1 + 0.2)),
        ("decimal, differences", ValueEncoding::DecimalDelta, make(&mut |below| step(below) / 100.0)),
        (
            "decimal, counter",
            ValueEncoding::DecimalDelta,
            make(&mut |below| {
                counter += below(1_500);
                counter as f64
            }),
        ),
        (
            "decimal, runs",
            ValueEncoding::Decimal,
            make(&mut |below| {
                level = if below(3) == 0 { below(100_000) } else { level };
                level as f64
            }),
        ),
        ("dictionary", ValueEncoding::Dictionary, make(&mut |below| forms[below(40) as usize])),
        ("bits", ValueEncoding::Bits, make(&mut |below| 1.0 + below(1 << 30) as f64 / f64::from(1u32 << 31))),
        (
            "halves",
            ValueEncoding::Halves,
            make(&mut |below| {
                let magnitude = f64::from_bits((1020 + below(8)) << 52);
                magnitude
                    * (1.0 + (below(1 << 30) as f64 + below(1 << 22) as f64 / 4_194_304.0) / f64::from(1u32 << 30))
            }),
        ),
        (
            "raw",
            ValueEncoding::Raw,
            make(&mut |below| f64::from_bits(below(1 << 31) << 33 ^ below(1 << 31) << 16 ^ below(1 << 31))),
        ),
    ]
}

fn values(c: &mut Criterion) {
    let mut group = c.benchmark_group("values");
    group.throughput(Throughput::Elements(CHUNK_SAMPLES_MAX as u64));
    for (name, encoding, values) in shapes() {
        let (mut encoder, mut bytes) = (ValueEncoder::new(), Vec::new());
        encoder.encode(&values, &mut bytes);
        let column = ValueColumn::parse(&bytes, values.len()).unwrap();
        assert_eq!(column.encoding(0).unwrap(), encoding, "{name}");
        group.bench_function(format!("encode/{name}"), |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                encoder.encode(black_box(&values), &mut out);
            });
            assert!(out.is_empty() || out == bytes, "the same values, the same bytes");
        });
        let mut decoded = Vec::new();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                decoded.clear();
                let column = ValueColumn::parse(black_box(&bytes), values.len()).unwrap();
                (0..column.vectors()).try_for_each(|vector| column.decode_vector(vector, &mut decoded)).unwrap();
            });
            let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
            assert!(decoded.is_empty() || (decoded.len() == values.len() && decoded.iter().zip(&values).all(same)));
        });
    }
    group.finish();
}

fn segment(c: &mut Criterion) {
    let (workload, columns) = columns(Kind::W1, 4_000 * 100);
    let labels = |slot: usize| Labels::new(workload.labels(slot as u64).borrowed(), &LabelLimits::DEFAULT).unwrap();
    let mut series: Vec<(Labels, &Columns)> = columns.iter().enumerate().map(|(i, c)| (labels(i), c)).collect();
    series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let header =
        SegmentHeader { seq_range: SeqRange { start: SeqNo(1), end: SeqNo(400_001) }, ..SegmentHeader::default() };
    let write = |id: u64| {
        let mut writer = SegmentWriter::create(Arc::clone(&fs), dir.path(), id, header).unwrap();
        series.iter().for_each(|(labels, columns)| writer.push_series(labels, columns, SeqNo(1)).unwrap());
        writer.finish().unwrap()
    };
    let mut group = c.benchmark_group("segment");
    group.sample_size(10);
    group.throughput(Throughput::Elements(400_000));
    let mut id = 1;
    group.bench_function("write/4000x100", |b| {
        b.iter(|| {
            id += 1;
            assert_eq!(write(id).samples, 400_000);
        });
    });
    write(1);
    let path = dir.path().join(file_name(1));
    group.bench_function("open/4000x100", |b| {
        b.iter(|| assert_eq!(Segment::open(&*fs, black_box(&path)).unwrap().info().series, 4_000));
    });
    group.finish();
    // Outside of the clock: labels, times and values, all of them.
    let check = |id: u64| {
        let segment = Segment::open(&*fs, &dir.path().join(file_name(id))).unwrap();
        assert_eq!(segment.series_count() as usize, series.len());
        for (ordinal, (labels, expected)) in (0u32..).zip(&series) {
            let (mut cursor, mut found) = (segment.read(ordinal, TimeRange::ALL).unwrap(), Columns::default());
            while cursor.next(&mut found).unwrap() {}
            assert_eq!((segment.labels(ordinal).unwrap(), &found), (labels.clone(), *expected));
        }
    };
    check(1);
    // What the bench wrote last, where it was not left out.
    if id > 1 {
        check(id);
    }
}

criterion_group!(benches, wal, chunk, values, segment);
criterion_main!(benches);
