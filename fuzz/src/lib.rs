//! What the fuzz targets share: stores to damage, and checksums made right again, so that the decoder behind them is
//! reached. Everything about bytes here is written from docs/format/, not from the code under test.

pub mod queries;

use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::chunk::{ChunkEncoder, Effort};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::segment::{SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;
use tidegauge_storage::wal::{Epoch, FrameEncoder, FrameNo, WalSample, WalWriter, WriterOptions};

/// The folder in which the stores of the targets lie.
pub const DIR: &str = "/s";

/// The store that WAL frames belong to.
pub const STORE: u128 = 7;

const SEGMENT_HEADER: usize = 72;
const SEGMENT_FOOTER: usize = 280;
const SECTIONS: usize = 9;
const INDEX_BLOCK: usize = 16 << 10;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }
}

/// Samples of many shapes: full vectors and short ones, of every encoding.
#[must_use]
pub fn shapes() -> Vec<Columns> {
    let mut noise = Noise(3);
    let mut all = Vec::new();
    for count in [1usize, 3, 40, 300, 1024, 1100, 2100] {
        let regular: Vec<i64> = (0..count as i64).map(|i| i * 10_000_000_000).collect();
        let jitter = regular.iter().map(|at| at + (noise.next() % 1000) as i64 * 1_000_000).collect::<Vec<i64>>();
        let gaps = (0..count as i64).map(|i| i * i * 1000 + i).collect::<Vec<i64>>();
        let random: Vec<u64> = (0..count).map(|_| noise.next()).collect();
        let step = |bits: u32| random.iter().map(move |x| (x >> (64 - bits)) as f64);
        let mut level = 0.0;
        let walk: Vec<f64> = step(7)
            .map(|x| {
                level += x;
                level / 100.0
            })
            .collect();
        let values: Vec<Vec<f64>> = vec![
            vec![42.0; count],
            walk.clone(),
            step(9).map(|x| x / 10.0).collect(),
            step(9).map(|x| x * 0.1).collect(),
            step(3).map(|x| (x + 1.0).ln()).collect(),
            (0..count).map(|i| walk[i / 7 * 7]).collect(),
            random.iter().map(|x| f64::from_bits((1000 + x % 20) << 52 | x >> 12)).collect(),
            random.iter().map(|x| f64::from_bits(0x3ff << 52 | x >> 20)).collect(),
            (0..count as u64).map(|i| f64::from_bits((0x3ff5_5555 << 32) + i * i * 987_654_321)).collect(),
            random.iter().map(|x| f64::from_bits(*x)).collect(),
            step(9).enumerate().map(|(i, x)| if i % 50 == 7 { f64::NAN } else { x }).collect(),
        ];
        for (i, values) in values.into_iter().enumerate() {
            let timestamps = [&regular, &jitter, &gaps][i % 3].clone();
            all.push(Columns { timestamps, values });
        }
    }
    all
}

/// Each shape as a chunk, fresh and cold.
#[must_use]
pub fn chunks() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for effort in [Effort::Fresh, Effort::Cold] {
        for samples in shapes() {
            let mut encoder = ChunkEncoder::new();
            encoder.set_effort(effort);
            let mut bytes = Vec::new();
            encoder.encode(&samples.timestamps, &samples.values, &mut bytes);
            all.push(bytes);
        }
    }
    all
}

/// A small segment: labels that share names and values, shared timestamps, chunks with statistics and without.
///
/// # Panics
/// If the memory file system fails.
#[must_use]
pub fn segment(effort: Effort) -> Vec<u8> {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let mut writer =
        SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, SegmentHeader::default()).expect("memory");
    writer.set_effort(effort);
    let shapes = shapes();
    for i in 0..12usize {
        let (name, host, zone) = (["cpu", "mem"][i / 6], format!("h{}", i % 6), ["", "a", "b"][i % 3]);
        let labels = [("__name__", name), ("host", &host), ("zone", zone)];
        let labels = Labels::new(labels, &LabelLimits::DEFAULT).expect("few labels");
        writer.push_series(&labels, &shapes[i * 3 % 44], SeqNo(i as u64)).expect("memory");
    }
    writer.finish().expect("memory");
    fs.map(&Path::new(DIR).join(file_name(1))).expect("memory").to_vec()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Where the index of a segment begins: after all columns.
#[must_use]
pub fn index_start(segment: &[u8]) -> usize {
    u64_at(segment, segment.len() - SEGMENT_FOOTER) as usize
}

/// Makes every checksum of a segment right: columns, sections, blocks of the index, header, footer.
pub fn fix_segment(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(SEGMENT_FOOTER).filter(|at| *at >= SEGMENT_HEADER) else { return };
    let section = |bytes: &[u8], i: usize| {
        let (offset, len) = (u64_at(bytes, footer + i * 24) as usize, u64_at(bytes, footer + i * 24 + 8) as usize);
        (offset <= footer && len <= footer - offset).then_some((offset, len))
    };
    // Section, length of a record, places of offset, length (u16) and checksum in it.
    for (i, record, offset_at, len_at, crc_at) in [(0, 32, 16, 28, 24), (1, 24, 0, 20, 8)] {
        let Some((start, len)) = section(bytes, i) else { continue };
        for at in (start..start + len / record * record).step_by(record) {
            let offset = u64_at(bytes, at + offset_at) as usize;
            let len = usize::from(u16::from_le_bytes([bytes[at + len_at], bytes[at + len_at + 1]]));
            if let Some(column) = offset.checked_add(len).and_then(|end| bytes.get(offset..end)) {
                let crc = crc32c::crc32c(column);
                put_u32(bytes, at + crc_at, crc);
            }
        }
    }
    for i in 0..SECTIONS {
        if let Some((start, len)) = section(bytes, i) {
            let crc = crc32c::crc32c(&bytes[start..start + len]);
            put_u32(bytes, footer + i * 24 + 16, crc);
        }
    }
    let start = (0..SECTIONS).map(|i| u64_at(bytes, footer + i * 24) as usize).min().unwrap_or(0);
    let table = u64_at(bytes, footer + 248) as usize;
    if start <= table && table <= footer {
        let blocks = (table - start).div_ceil(INDEX_BLOCK);
        for block in (0..blocks).take((footer - table) / 4) {
            let from = start + block * INDEX_BLOCK;
            let crc = crc32c::crc32c(&bytes[from..(from + INDEX_BLOCK).min(table)]);
            put_u32(bytes, table + block * 4, crc);
        }
        if let Some(checksums) = bytes.get(table..table + blocks * 4) {
            let crc = crc32c::crc32c(checksums);
            put_u32(bytes, footer + 256, crc);
        }
    }
    let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
    put_u32(bytes, SEGMENT_HEADER - 4, crc);
    let crc = crc32c::crc32c(&bytes[footer..footer + SEGMENT_FOOTER - 12]);
    put_u32(bytes, footer + SEGMENT_FOOTER - 12, crc);
}

/// The manifest that is kept as a fixture.
#[must_use]
pub fn manifest() -> Vec<u8> {
    include_bytes!("../../storage/tests/fixtures/v1/MANIFEST").to_vec()
}

/// Makes the checksums of a manifest's header and of its commits right, as far as their lengths make sense.
pub fn fix_manifest(bytes: &mut [u8]) {
    if bytes.len() < 48 {
        return;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..48]);
    put_u32(bytes, 12, crc);
    let seed = crc32c::crc32c(&bytes[16..48]);
    let mut at = 48;
    while at + 16 <= bytes.len() {
        let len = u32_at(bytes, at + 4) as usize;
        let Some(end) = at.checked_add(16 + len).filter(|end| len > 0 && *end <= bytes.len()) else { return };
        let crc = crc32c::crc32c_append(seed, &bytes[at + 4..end]);
        put_u32(bytes, at, crc);
        at = end.next_multiple_of(8);
    }
}

/// A WAL file of a few frames of several shapes.
///
/// # Panics
/// If the memory file system fails.
#[must_use]
pub fn wal() -> Vec<u8> {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let mut options = WriterOptions::new(STORE, 1, FrameNo(1));
    options.file_bytes = 12 << 10;
    let mut writer = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options).expect("memory");
    let shapes = shapes();
    for i in 0..4u64 {
        let mut frame = FrameEncoder::new();
        frame.begin(SeqNo(i * 100));
        if i == 0 {
            for series in 0..5u32 {
                let name = format!("metric_{series}");
                let labels = Labels::new([("__name__", &name)], &LabelLimits::DEFAULT).expect("one label");
                frame.define(series, &labels).expect("few");
            }
        }
        let shape = &shapes[22 + i as usize * 3];
        let samples: Vec<WalSample> = (0..shape.len().min(30))
            .map(|at| WalSample {
                series: (at % 5) as u32,
                tag: 0,
                timestamp: shape.timestamps[at],
                value: shape.values[at],
            })
            .collect();
        assert_eq!(frame.samples(&samples), samples.len(), "a frame holds more");
        writer.append(&mut frame).expect("memory");
    }
    fs.map(&Path::new(DIR).join(Epoch::new(1, 0).file_name())).expect("memory").to_vec()
}

/// Makes the checksums of a WAL file's header and of its frames right, as far as their lengths make sense.
pub fn fix_wal(bytes: &mut [u8]) {
    if bytes.len() < 64 {
        return;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64]);
    put_u32(bytes, 12, crc);
    let mut at = 4096;
    while at + 96 <= bytes.len() {
        if bytes[at..at + 4] != *b"TGFR" {
            at = (at + 1).next_multiple_of(4096);
            continue;
        }
        let len = u32_at(bytes, at + 12) as usize;
        let Some(end) = at.checked_add(len).filter(|end| len >= 96 && *end <= bytes.len()) else { return };
        let crc = crc32c::crc32c(&bytes[at + 96..end]);
        put_u32(bytes, at + 8, crc);
        let crc = crc32c::crc32c(&bytes[at + 8..at + 96]);
        put_u32(bytes, at + 4, crc);
        at = end;
    }
}
