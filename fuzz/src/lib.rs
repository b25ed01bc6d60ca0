//! What the fuzz targets share: stores to damage, and checksums made right again, so that the decoder behind them is
//! reached.

// as the storage crate's own tests do it
#[path = "../../storage/tests/checksums/mod.rs"]
mod checksums;

#[cfg(feature = "http")]
pub mod engines;
pub mod queries;
pub mod segments;

use std::path::Path;
use std::sync::Arc;

pub use checksums::{fix_manifest, fix_segment, fix_wal, index_start};
use tidegauge_storage::chunk::{ChunkEncoder, Effort};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, TimeRange, Tombstone};
use tidegauge_storage::segment::{SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;
use tidegauge_storage::wal::{Epoch, FrameEncoder, FrameNo, WalSample, WalWriter, WriterOptions};

/// The folder in which the stores of the targets lie.
pub const DIR: &str = "/s";

/// The store that WAL frames belong to.
pub const STORE: u128 = 7;

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

/// A segment of twelve series: labels that share names and values, shared timestamps, chunks with statistics and without.
#[must_use]
pub fn segment(effort: Effort) -> Vec<u8> {
    segment_of(effort, 12, |i| i * 3 % 44)
}

/// The same of chunks with full vectors, as long as an input may be.
#[must_use]
pub fn segment_of_full_vectors(effort: Effort) -> Vec<u8> {
    segment_of(effort, 12, |i| [44, 55][i / 6] + i % 6 * 2)
}

/// Segments of four series, which take a third of the time: all kinds of values between them, in chunks with statistics
/// and without, of timestamps that are shared and that are not.
#[must_use]
pub fn small_segments(effort: Effort) -> Vec<Vec<u8>> {
    let of_kind = |kind: usize| segment_of(effort, 4, |i| [33, 22, 33, 11][i] + (kind + [0, 1, 3, 4][i]) % 11);
    (0..11).step_by(2).map(of_kind).collect()
}

/// `shape`: which of the [`shapes`] a series has.
fn segment_of(effort: Effort, series: usize, shape: impl Fn(usize) -> usize) -> Vec<u8> {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let mut writer =
        SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, SegmentHeader::default()).expect("memory");
    writer.set_effort(effort);
    let shapes = shapes();
    for i in 0..series {
        let (name, host) = (["cpu", "mem"][i * 2 / series], format!("h{}", i % (series / 2)));
        let labels = [("__name__", name), ("host", &host), ("zone", ["", "a", "b"][i % 3])];
        let labels = Labels::new(labels, &LabelLimits::DEFAULT).expect("few labels");
        writer.push_series(&labels, &shapes[shape(i)], SeqNo(i as u64)).expect("memory");
    }
    writer.finish().expect("memory");
    fs.map(&Path::new(DIR).join(file_name(1))).expect("memory").to_vec()
}

/// The segment of the first version that is kept as a fixture.
#[must_use]
pub fn segment_of_version_1() -> Vec<u8> {
    include_bytes!("../../storage/tests/fixtures/segment-v1.seg").to_vec()
}

/// The manifests that are kept as fixtures, of each version, without what is allocated behind the last commit: it would be
/// most of an input, and more than one may have.
#[must_use]
pub fn manifests() -> [Vec<u8>; 2] {
    let whole: [&[u8]; 2] = [
        include_bytes!("../../storage/tests/fixtures/v1/MANIFEST"),
        include_bytes!("../../storage/tests/fixtures/v2/MANIFEST"),
    ];
    whole.map(|bytes| bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)].to_vec())
}

/// A WAL file of a few frames of several shapes.
///
/// # Panics
/// If the memory file system fails.
#[must_use]
pub fn wal() -> Vec<u8> {
    wal_files().swap_remove(0)
}

fn tombstone(seq: SeqNo) -> Tombstone {
    let matchers =
        vec![Matcher::equal("__name__", "metric_1"), Matcher::new("host", MatchOp::Regex, "a.*").expect("a regex")];
    Tombstone { seq, matchers, range: TimeRange::ALL, created: 5 }
}

/// What a closed store of that manifest says beside it: by the header's bytes, as the format describes it.
#[must_use]
pub fn closed_beside(manifest: &[u8]) -> Vec<u8> {
    let mut bytes = manifest[..48].to_vec();
    bytes[..8].copy_from_slice(b"TGCLOSE\n");
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    fix_manifest(&mut bytes);
    bytes
}

/// The files of [`wal_files`]: two of one opening, one of the next.
pub const EPOCHS: [Epoch; 3] = [Epoch::new(1, 0), Epoch::new(1, 1), Epoch::new(2, 0)];

/// The files of a log of two openings, each of a few frames of several shapes.
///
/// # Panics
/// If the memory file system fails.
#[must_use]
pub fn wal_files() -> Vec<Vec<u8>> {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let shapes = shapes();
    let mut number = 0u64;
    for opening in [1, 2] {
        let mut options = WriterOptions::new(STORE, opening, FrameNo(u64::from(opening) * 1000));
        options.file_bytes = 12 << 10;
        let mut writer = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options).expect("memory");
        for i in 0..16u64 {
            let mut frame = FrameEncoder::new();
            frame.begin(SeqNo(number * 100));
            number += 1;
            if i == 0 {
                for series in 0..5u32 {
                    let name = format!("metric_{series}");
                    let labels = Labels::new([("__name__", &name)], &LabelLimits::DEFAULT).expect("one label");
                    frame.define(series, &labels).expect("few");
                }
            }
            let shape = &shapes[22 + i as usize % 4 * 3];
            let samples: Vec<WalSample> = (0..shape.len().min(90))
                .map(|at| WalSample {
                    series: (at % 5) as u32,
                    tag: 0,
                    timestamp: shape.timestamps[at],
                    value: shape.values[at],
                })
                .collect();
            assert_eq!(frame.samples(&samples), samples.len(), "a frame holds more");
            writer.append(&mut frame).expect("memory");
            if i == 2 {
                frame.delete(&tombstone(SeqNo(number * 100 - 1)));
                writer.append(&mut frame).expect("memory");
            }
        }
        // Says that all of it is durable, where the next frame would be.
        let through = writer.sync_point().expect("frames").run().expect("memory");
        writer.note_synced(through);
        assert!(writer.witness().expect("memory"), "frames were synced");
    }
    EPOCHS.iter().map(|epoch| fs.map(&Path::new(DIR).join(epoch.file_name())).expect("memory").to_vec()).collect()
}

/// Pieces of an input: each but the last as long as the numbers in front of it say.
#[must_use]
pub fn pieces<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let (lengths, mut rest) = input.split_at(input.len().min(2 * (N - 1)));
    let mut lengths = lengths.as_chunks::<2>().0.iter().map(|length| usize::from(u16::from_le_bytes(*length)));
    std::array::from_fn(|_| {
        let (piece, behind) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        piece
    })
}

/// What [`pieces`] takes apart.
#[must_use]
pub fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let (_, before) = pieces.split_last().expect("some");
    let lengths = before.iter().flat_map(|piece| (piece.len() as u16).to_le_bytes());
    lengths.chain(pieces.iter().flatten().copied()).collect()
}
