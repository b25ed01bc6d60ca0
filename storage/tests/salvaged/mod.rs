//! A segment to be damaged: many series of few chunks and some of many, and what is in it.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tidegauge_storage::fs::{Fs, sim::SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange};
use tidegauge_storage::segment::{Expected, LostChunk, Salvage, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;

use crate::checksums::{SEGMENT_FOOTER, u64_at};
use crate::damage::Noise;

pub const DIR: &str = "/s";
pub const STORE: u128 = 77;
pub const SERIES: usize = 1500;

/// Bits of each sample, by series and time.
pub type Samples = BTreeMap<Labels, BTreeMap<i64, u64>>;

pub struct Whole {
    pub bytes: Vec<u8>,
    pub samples: Samples,
    pub expected: Expected,
}

/// Appends all that can be read of a series.
pub fn read_series(salvage: &mut Salvage, ordinal: u32, out: &mut Columns, lost: &mut Vec<LostChunk>) {
    let read = salvage.read(ordinal, lost, |chunk| {
        out.timestamps.extend(&chunk.timestamps);
        out.values.extend(&chunk.values);
        Ok::<_, Infallible>(())
    });
    let Ok(()) = read;
}

impl Whole {
    pub fn total(&self) -> usize {
        self.samples.values().map(BTreeMap::len).sum()
    }
}

/// Labels of all lengths, names that few series have, values that many share.
fn labels(i: usize, noise: &mut Noise) -> Labels {
    let metric = format!("{}_total_{}", ["node_cpu_seconds", "http_requests", "up", "a"][i % 4], i % 61);
    let most = if noise.once_in(9) { 400 } else { 9 };
    let long = "x".repeat(noise.below(most));
    let mut pairs = vec![
        ("__name__".to_owned(), metric),
        ("instance".to_owned(), format!("host-{:04}.example:9100", i / 7)),
        ("n".to_owned(), i.to_string()),
        ("path".to_owned(), format!("/api/{long}")),
    ];
    if i.is_multiple_of(3) {
        pairs.push((format!("rare_{}", i % 90), "é".to_owned()));
    }
    Labels::new(pairs.iter().map(|(name, value)| (name, value)), &LabelLimits::DEFAULT).unwrap()
}

/// Gauges, counters, noise, constants, with NaN here and there.
fn values(i: usize, count: usize, noise: &mut Noise) -> Vec<f64> {
    let mut counter = 0.0;
    let value = |at: usize| match i % 6 {
        0 => 20.0 + (noise.below(100) as f64) / 10.0,
        1 => {
            counter += noise.below(50) as f64;
            counter
        }
        2 => ((i * 31 + at) as f64).sqrt(),
        3 => 1.0,
        4 => f64::from_bits((noise.below(1 << 31) as u64) << 33 | noise.below(1 << 31) as u64),
        _ if noise.once_in(50) => f64::NAN,
        _ => at as f64 / 8.0,
    };
    (0..count).map(value).collect()
}

/// Many series of few chunks and some of many, as flushes and compactions leave them.
pub fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut noise = Noise::new(11);
        let mut series: BTreeMap<Labels, Columns> = BTreeMap::new();
        for i in 0..SERIES {
            let count = match i % 150 {
                0 => 9_000,
                1..9 => 300,
                _ => 2 + noise.below(60),
            };
            let jitter = |at: usize| if i % 4 == 0 { (at * 7919 + i) as i64 % 900 } else { 0 };
            let timestamps = (0..count).map(|at| at as i64 * 15_000 + jitter(at)).collect();
            let values = values(i, count, &mut noise);
            series.insert(labels(i, &mut noise), Columns { timestamps, values });
        }
        let fs = SimFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        let header = SegmentHeader {
            store_id: STORE,
            seq_range: SeqRange { start: SeqNo(5), end: SeqNo(900_000) },
            late: true,
            level: 3,
            opening: 9,
            ..SegmentHeader::default()
        };
        let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
        for (i, (labels, columns)) in series.iter().enumerate() {
            writer.push_series(labels, columns, SeqNo(i as u64 + 5)).unwrap();
        }
        let info = writer.finish().unwrap();
        let bits = |columns: &Columns| {
            columns.timestamps.iter().copied().zip(columns.values.iter().map(|v| v.to_bits())).collect()
        };
        Whole {
            bytes: fs.map(&Path::new(DIR).join(file_name(1))).unwrap().to_vec(),
            samples: series.iter().map(|(labels, columns)| (labels.clone(), bits(columns))).collect(),
            expected: Expected {
                store_id: STORE,
                id: 1,
                seq_range: info.seq_range,
                time_range: info.time_range.unwrap(),
                late: true,
                level: 3,
                file_bytes: info.file_bytes,
                samples: info.samples,
                series: info.series,
            },
        }
    })
}

/// The place of what the footer says of section `i`: where it begins and ends.
pub fn section(bytes: &[u8], i: usize) -> (usize, usize) {
    let footer = bytes.len() - SEGMENT_FOOTER;
    let (start, len) = (u64_at(bytes, footer + i * 24) as usize, u64_at(bytes, footer + i * 24 + 8) as usize);
    (start, start + len)
}
