//! A small WAL on a simulated disk, and ways to hurt it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, FsFile};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::wal::{
    Epoch, FrameEncoder, FrameNo, RecoverMode, Recovered, Replay, WalError, WalSample, WalState, WalWriter,
    WriterOptions, recover,
};

pub(crate) const DIR: &str = "wal";
pub(crate) const STORE: u128 = 0x5151_5151_0000_0000_4242_4242_0000_0007;
pub(crate) const HEADER_LEN: usize = 96;

pub(crate) fn sample(index: u64) -> WalSample {
    WalSample {
        series: (index % 5) as u32,
        tag: 0,
        timestamp: 1_000 * index as i64 + (index % 3) as i64,
        value: index as f64 / 4.0,
    }
}

pub(crate) fn labels(series: u32) -> Labels {
    Labels::new([("__name__", format!("metric_{series}"))], &LabelLimits::DEFAULT).unwrap()
}

pub(crate) fn options(file_bytes: u64) -> WriterOptions {
    let mut options = WriterOptions::new(STORE, 1, FrameNo(1));
    options.file_bytes = file_bytes;
    options
}

pub(crate) fn writer(fs: &SimFs, file_bytes: u64) -> WalWriter {
    WalWriter::open(Arc::new(fs.clone()), DIR, Epoch(0), options(file_bytes)).unwrap()
}

/// A frame of `n` samples from number `first` on; the store's first one defines the series.
pub(crate) fn frame(first: u64, n: u64) -> FrameEncoder {
    let mut frame = FrameEncoder::new();
    frame.begin(SeqNo(first));
    if first == 0 {
        (0..5).for_each(|series| frame.define(series, &labels(series)).unwrap());
    }
    let samples: Vec<_> = (first..first + n).map(sample).collect();
    assert_eq!(frame.samples(&samples), samples.len());
    frame
}

/// Writes `frames` frames of 20 samples; syncs behind those in `syncs`.
pub(crate) fn fill(fs: &SimFs, file_bytes: u64, frames: u64, syncs: &[u64]) -> WalWriter {
    let mut writer = writer(fs, file_bytes);
    for i in 0..frames {
        let number = writer.append(&mut frame(20 * i, 20)).unwrap();
        if syncs.contains(&number.0) {
            let through = writer.sync_point().unwrap().run().unwrap();
            writer.note_synced(through);
        }
    }
    writer
}

pub(crate) fn path(count: u32) -> PathBuf {
    Path::new(DIR).join(Epoch::new(1, count).file_name())
}

pub(crate) fn open(fs: &SimFs, count: u32) -> Arc<dyn FsFile> {
    fs.open(&path(count)).unwrap()
}

pub(crate) fn bytes(fs: &SimFs, count: u32) -> Vec<u8> {
    fs.map(&path(count)).unwrap().to_vec()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Offset and length of each frame of a file that was never hurt or reused.
pub(crate) fn frames_of(fs: &SimFs, count: u32) -> Vec<(usize, usize)> {
    let bytes = bytes(fs, count);
    let mut at = 4096;
    let mut frames = Vec::new();
    while at + HEADER_LEN <= bytes.len() {
        if bytes[at..at + 4] == *b"TGFR" {
            let len = u32_at(&bytes, at + 12) as usize;
            frames.push((at, len));
            at += len;
        } else {
            at = (at + 1).next_multiple_of(4096);
        }
    }
    frames
}

/// Flips a bit of every frame number `n` (counting from 0) of a file.
pub(crate) fn hurt(fs: &SimFs, count: u32, n: usize) -> u64 {
    let (at, len) = frames_of(fs, count)[n];
    let spot = at + len / 2;
    let byte = bytes(fs, count)[spot];
    open(fs, count).write_all_at(spot as u64, &[byte ^ 4]).unwrap();
    at as u64
}

/// All samples that come back.
pub(crate) fn read(fs: &SimFs, state: &WalState, mode: RecoverMode) -> Result<(Recovered, Vec<WalSample>), WalError> {
    let mut all = Vec::new();
    let recovered = recover(fs, Path::new(DIR), STORE, state, mode, &mut |piece| {
        if let Replay::Samples { samples, .. } = piece {
            all.extend_from_slice(samples);
        }
        Ok(())
    })?;
    assert_eq!(recovered.samples, all.len() as u64);
    Ok((recovered, all))
}

pub(crate) fn numbers(indexes: impl IntoIterator<Item = u64>) -> Vec<WalSample> {
    indexes.into_iter().map(sample).collect()
}
