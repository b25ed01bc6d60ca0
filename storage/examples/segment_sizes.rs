//! Writes a segment of 4,000 series × 2,500 samples (10 s apart, a walk rounded to 2 decimals) and prints what it
//! weighs and how fast it is written, opened and read: `cargo run --release --example segment_sizes [SERIES SAMPLES]`.

use std::sync::Arc;
use std::time::Instant;

use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::{LabelLimits, Labels, Matcher, SeqNo, TimeRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|number| number.parse()).collect::<Result<_, _>>()?;
    let (series, samples) = (numbers.first().map_or(4000, |n| *n), numbers.get(1).map_or(2500, |n| *n as i64));
    let dir = tempfile::tempdir()?;
    let mut noise = 7u64;
    let mut uniform = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut all: Vec<(Labels, Columns)> = (0..series)
        .map(|i| {
            let (host, metric) = (format!("host_{:03}", i / 10), format!("cpu_metric_{}", i % 10));
            let region = format!("region-{}", i / 10 % 5);
            let center = format!("region-{}{}", i / 10 % 5, ["a", "b", "c"][i / 10 % 3]);
            let pairs = [("__name__", &metric), ("host", &host), ("region", &region), ("datacenter", &center)];
            let labels = Labels::new(pairs, &LabelLimits::DEFAULT)?;
            let mut columns = Columns::default();
            let mut level = uniform() * 100.0;
            for at in 0..samples {
                level = (level + (0..12).map(|_| uniform()).sum::<f64>() - 6.0).clamp(0.0, 100.0);
                columns.push(1_700_000_000_000_000_000 + at * 10_000_000_000, (level * 100.0).round() / 100.0);
            }
            Ok((labels, columns))
        })
        .collect::<Result<_, tidegauge_storage::model::LabelError>>()?;
    all.sort_by(|a, b| a.0.cmp(&b.0));

    let start = Instant::now();
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir.path(), 1, SegmentHeader::default())?;
    for (labels, columns) in &all {
        writer.push_series(labels, columns, SeqNo(1))?;
    }
    let pushed = start.elapsed();
    let data_bytes = writer.bytes();
    let info = writer.finish()?;
    let total = info.samples as f64;
    println!(
        "{:.4} bytes a sample, {:.4} of them index",
        info.file_bytes as f64 / total,
        (info.file_bytes - data_bytes) as f64 / total
    );
    println!("{:.0} M samples/s written, durable after {:?}", total / pushed.as_secs_f64() / 1e6, start.elapsed());

    let start = Instant::now();
    let segment = Segment::open(&OsFs, &dir.path().join(file_name(1)))?;
    println!("opened in {:?}", start.elapsed());
    let start = Instant::now();
    let hits = segment.select(&[Matcher::equal("host", "host_123")])?;
    println!("{} series of one host found in {:?}", hits.len(), start.elapsed());

    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let (mut count, mut sum) = (0, 0.0);
        let mut out = Columns::default();
        for ordinal in 0..info.series as u32 {
            let mut cursor = segment.read(ordinal, TimeRange::ALL)?;
            while cursor.next(&mut out)? {
                count += out.len();
                sum += out.values[0];
                out.clear();
            }
        }
        assert_eq!(count as u64, info.samples);
        assert!(sum > 0.0);
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{:.0} M samples/s read", total / best / 1e6);
    let start = Instant::now();
    segment.verify()?;
    println!("verified in {:?}", start.elapsed());
    Ok(())
}
