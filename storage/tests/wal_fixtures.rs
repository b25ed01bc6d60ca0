//! Stores written by every released version open. `fixtures/v1` was made by version 0.1.0.

mod wal_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::{Fs, OsFs};
use tidegauge_storage::manifest::{Edit, Manifest, Metadata, SegmentRef};
use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::wal::{FrameEncoder, Origin, RecoverMode, Replay, WalSample, WalWriter, WriterOptions, recover};
use wal_support::{labels, sample};

const FRAMES: u64 = 12;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A frame's samples: each way to store a column comes up.
fn samples(frame: u64) -> Vec<WalSample> {
    let base = sample(frame);
    let n = if frame == 11 { 600 } else { 30 };
    (0..n)
        .map(|i| match frame % 5 {
            0 => base,
            1 => WalSample { timestamp: i as i64 * 15_000_000_000, value: i as f64 / 100.0, ..base },
            2 => WalSample { series: i as u32 % 4, value: (i as f64).sqrt(), ..base },
            3 => WalSample {
                series: (i * i % 5) as u32,
                timestamp: (i * 7919 % 31) as i64 * 1_000_000,
                value: 3.0 * i as f64,
                ..base
            },
            _ => sample(i),
        })
        .collect()
}

fn segment() -> SegmentRef {
    SegmentRef {
        id: 4,
        seq_range: SeqRange { start: SeqNo(1), end: SeqNo(100) },
        time_range: TimeRange::new(Timestamp::from_nanos(-7), Timestamp::from_nanos(7)),
        late: true,
        bytes: 4711,
        samples: 99,
        series: 5,
        level: 1,
    }
}

fn metadata() -> Metadata {
    Metadata { kind: "counter".into(), help: "Größe".into(), unit: "bytes".into() }
}

#[test]
fn a_store_of_version_1_opens() {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let manifest = Manifest::open_read_only(Arc::clone(&fs), fixture()).unwrap();
    let state = manifest.state();
    assert_eq!((state.open_number, state.format, state.next_segment_id), (1, 1, 5));
    assert_eq!(state.segments.values().copied().collect::<Vec<_>>(), [segment()]);
    assert_eq!(state.metadata()["bytes_total"], metadata());
    let (mut all, mut defined, mut origins) = (Vec::new(), Vec::new(), Vec::new());
    let wal = fixture().join("wal");
    let recovered = recover(&*fs, &wal, state.store_id, &state.wal, RecoverMode::Strict, &mut |piece| {
        match piece {
            Replay::Samples { samples, .. } => all.extend_from_slice(samples),
            Replay::Define { series, labels, .. } => defined.push((series, labels.clone())),
            Replay::Origin(origin) => origins.push(origin),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(all, (0..FRAMES).flat_map(samples).collect::<Vec<_>>());
    assert_eq!(defined, (0..5).map(|series| (series, labels(series))).collect::<Vec<_>>());
    assert_eq!(origins, [Origin { node: 7, boot: 8, seq: 9 }]);
    assert!(recovered.ends.len() > 1 && recovered.torn_tail.is_none());
}

/// Makes the fixture of the present version, by hand. Only for a version that was never released: where there is one, it
/// stays, and is not so much as opened to write.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture() {
    if fixture().exists() {
        return;
    }
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let mut manifest = Manifest::open_or_create(Arc::clone(&fs), fixture()).unwrap();
    let state = manifest.state();
    let recovered = recover(&*fs, &fixture().join("wal"), state.store_id, &state.wal, RecoverMode::Strict, &mut |_| {
        unreachable!("the store is new")
    })
    .unwrap();
    let life = recovered.life(state.open_number);
    let mut options = WriterOptions::new(state.store_id, state.open_number, life.first_frame);
    options.file_bytes = 8 << 10;
    let metadata = Edit::Metadata { metric: "bytes_total".into(), metadata: metadata() };
    manifest.commit(&[Edit::WalLife(life), Edit::SegmentAdd(segment())]).unwrap();
    manifest.commit(&[metadata]).unwrap();
    let oldest = manifest.state().wal.oldest_epoch;
    let mut writer = WalWriter::open(fs, fixture().join("wal"), oldest, options).unwrap();
    let mut frame = FrameEncoder::new();
    for number in 0..FRAMES {
        frame.begin(SeqNo(1000 + number * 1000));
        if number == 0 {
            (0..5).for_each(|series| frame.define(series, &labels(series)).unwrap());
            frame.origin(Origin { node: 7, boot: 8, seq: 9 }).unwrap();
        }
        assert_eq!(frame.samples(&samples(number)), samples(number).len());
        writer.append(&mut frame).unwrap();
        if number == 6 {
            let through = writer.sync_point().unwrap().run().unwrap();
            writer.note_synced(through);
        }
    }
    writer.sync_point().unwrap().run().unwrap();
}
