//! P5: holes in the log: what the disk refuses to read, what lies around a hole, and how much is read for many.

mod wal_support;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, FsFile, Map};
use tidegauge_storage::model::{SeqNo, TimeRange, Tombstone};
use tidegauge_storage::wal::{
    Edge, FrameEncoder, FrameNo, RecoverMode, Recovered, Replay, WalError, WalSample, WalState, recover, survey,
};

use wal_support::{DIR, STORE, fill, frame, frames_of, hurt, numbers, path, sample, writer};

/// A part of a file.
type Part = (PathBuf, Range<u64>);

/// A disk that counts what is read of it, and refuses some of it.
#[derive(Clone, Debug, Default)]
struct Device {
    fs: SimFs,
    read: Arc<AtomicU64>,
    /// Calls that were refused.
    refusals: Arc<AtomicU64>,
    refused: Arc<Mutex<Vec<Part>>>,
}

#[derive(Debug)]
struct DeviceFile {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    device: Device,
}

impl Device {
    fn refusing(fs: &SimFs, path: &Path, bytes: Range<u64>) -> Self {
        let device = Self { fs: fs.clone(), ..Self::default() };
        device.refused.lock().unwrap().push((path.to_owned(), bytes));
        device
    }

    fn file(&self, path: &Path, file: Arc<dyn FsFile>) -> Arc<dyn FsFile> {
        Arc::new(DeviceFile { path: path.to_owned(), file, device: self.clone() })
    }

    fn read(&self, mode: RecoverMode) -> Result<(Recovered, Vec<WalSample>), WalError> {
        self.read_with(&WalState::default(), mode)
    }

    fn read_with(&self, state: &WalState, mode: RecoverMode) -> Result<(Recovered, Vec<WalSample>), WalError> {
        let mut all = Vec::new();
        let recovered = recover(self, Path::new(DIR), STORE, state, mode, &mut |piece| {
            if let Replay::Samples { samples, .. } = piece {
                all.extend_from_slice(samples);
            }
            Ok(())
        })?;
        Ok((recovered, all))
    }
}

impl Fs for Device {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.fs.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.fs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(self.file(path, self.fs.open(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(self.file(path, self.fs.open_read(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn map(&self, path: &Path) -> io::Result<Map> {
        self.fs.map(path)
    }
}

impl FsFile for DeviceFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = offset + buf.len() as u64;
        let meets = |(path, bytes): &Part| *path == self.path && bytes.start < end && offset < bytes.end;
        if self.device.refused.lock().unwrap().iter().any(meets) {
            self.device.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(5));
        }
        let read = self.file.read_at(offset, buf)?;
        self.device.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Each such page stopped every opening for ever, salvage included.
#[test]
fn p5_a_page_that_cannot_be_read_is_a_hole_and_no_end_of_reading() {
    let fs = SimFs::new();
    // Each in a page of its own.
    fill(&fs, 64 << 10, 8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let frames = frames_of(&fs, 0);
    assert!(frames.iter().all(|(at, len)| at % 4096 == 0 && *len < 4096) && frames.len() >= 8);
    for page in 0..16 {
        let at = page * 4096;
        let device = Device::refusing(&fs.kill(), &path(0), at..at + 4096);
        match device.read(RecoverMode::Strict) {
            Err(WalError::Corrupt { file, offset, what, .. }) => {
                assert_eq!((file, offset), (path(0), at), "page {page}: {what}");
                assert!(what.contains("4096 bytes from there cannot be read"), "page {page}: {what}");
            }
            other => panic!("page {page}: {other:?}"),
        }
        let (followed, _) = device.read(RecoverMode::Follow).unwrap();
        assert_eq!(followed.damage.map(|damage| damage.offset), Some(at), "page {page}");
        let (recovered, all) = device.read(RecoverMode::Salvage).unwrap();
        let lost = if (1..=8).contains(&page) { 20 * (page - 1)..20 * page } else { 0..0 };
        assert_eq!(all, numbers((0..160).filter(|i| !lost.contains(i))), "page {page}");
        let [hole] = &recovered.lost[..] else { panic!("page {page}: {:?}", recovered.lost) };
        assert_eq!((hole.offset, hole.open_ended), (at, page >= 8), "page {page}: {hole:?}");
        // Nothing more is asked of a page that was refused once than there are passes over the file.
        assert!(device.refusals.load(Ordering::Relaxed) < 40, "page {page}");
        recovered.secure(&device).unwrap();
        let (again, same) = device.read(RecoverMode::Salvage).unwrap();
        assert_eq!((again, same.clone()), (recovered, all), "page {page}");
        let found = survey(&device, Path::new(DIR), STORE, Default::default(), &WalState::default()).unwrap();
        assert_eq!(found.unread.iter().map(|unread| unread.1).collect::<Vec<_>>(), [at], "page {page}");
        found.secure(&device, Path::new(DIR), &Default::default()).unwrap();
        let counted = device.read_with(&found.wal, RecoverMode::Salvage).unwrap().1;
        assert_eq!(counted, same, "page {page}: with a manifest made anew");
    }
}

/// What lies behind a page that cannot be read counts, though nothing that is left says that it was durable.
#[test]
fn p5_frames_behind_a_page_that_cannot_be_read_count_without_a_witness() {
    let fs = SimFs::new();
    let mut writer = fill(&fs, 64 << 10, 2, &[1, 2]);
    // A frame of more than a page.
    writer.append(&mut frame(40, 4000)).unwrap();
    writer.append(&mut frame(4040, 20)).unwrap();
    let frames = frames_of(&fs, 0);
    let ((at, len), end) = (frames[2], frames[1].0 + frames[1].1);
    assert!(len > 8192);
    let device = Device::refusing(&fs, &path(0), at as u64 + 4096..at as u64 + 8192);
    let (recovered, all) = device.read(RecoverMode::Salvage).unwrap();
    assert_eq!(all, numbers((0..40).chain(4040..4060)));
    assert_eq!((recovered.lost.len(), recovered.lost[0].first, recovered.lost[0].last), (1, FrameNo(3), FrameNo(3)));

    // Nor is it to blame for a frame before it that is damaged; but nobody knows any more that this one was torn.
    let far = (64 << 10) - 4096;
    hurt(&fs, 0, 2);
    let device = Device::refusing(&fs, &path(0), far..far + 4096);
    match device.read(RecoverMode::Strict) {
        Err(WalError::Corrupt { offset, frame, .. }) => assert_eq!((offset, frame), (far, FrameNo(3))),
        other => panic!("{other:?}"),
    }
    let (recovered, all) = device.read(RecoverMode::Salvage).unwrap();
    assert_eq!(all, numbers((0..40).chain(4040..4060)));
    let holes: Vec<_> = recovered.lost.iter().map(|hole| (hole.offset, hole.first.0, hole.open_ended)).collect();
    assert_eq!(holes, [(end as u64, 3, false), (far, 5, true)]);
}

/// Behind each hole all of the log was read again, to its end.
#[test]
fn a_salvage_reads_a_log_of_many_holes_a_few_times_only() {
    const FRAMES: u64 = 300;
    let fs = SimFs::new();
    let mut writer = writer(&fs, 4 << 20);
    for i in 0..FRAMES {
        writer.append(&mut frame(4000 * i, 4000)).unwrap();
    }
    let through = writer.sync_point().unwrap().run().unwrap();
    writer.note_synced(through);
    writer.witness().unwrap();
    let files = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| name.ends_with(".wal")).count() as u32;
    assert!(files > 1);
    let (mut bytes, mut n) = (0, 0);
    for count in 0..files {
        let file = fs.open(&path(count)).unwrap();
        bytes += file.len().unwrap();
        for (at, _) in frames_of(&fs, count) {
            if n < FRAMES && n % 2 == 1 {
                file.write_all_at(at as u64 + 100, &[0xFF; 8]).unwrap();
            }
            n += 1;
        }
    }
    let device = Device { fs, ..Device::default() };
    let (recovered, all) = device.read(RecoverMode::Salvage).unwrap();
    assert_eq!((recovered.lost.len() as u64, all.len() as u64), (FRAMES / 2, 2000 * FRAMES));
    let read = device.read.load(Ordering::Relaxed);
    assert!(read < 4 * bytes, "{read} bytes of {bytes}");
}

/// A delete beside a hole passed for a part of it, and as one of its samples.
#[test]
fn p5_a_delete_that_is_read_bounds_a_hole() {
    let fs = SimFs::new();
    let mut writer = writer(&fs, 64 << 10);
    let delete = |seq| Tombstone { seq: SeqNo(seq), matchers: Vec::new(), range: TimeRange::ALL, created: 0 };
    let mut marked = FrameEncoder::new();
    // 20 samples, a delete, the hole, a delete, samples.
    writer.append(&mut frame(0, 20)).unwrap();
    marked.delete(&delete(20));
    writer.append_delete(&mut marked).unwrap();
    writer.append(&mut frame(21, 20)).unwrap();
    marked.delete(&delete(41));
    writer.append_delete(&mut marked).unwrap();
    writer.append(&mut frame(42, 20)).unwrap();
    let through = writer.sync_point().unwrap().run().unwrap();
    writer.note_synced(through);
    writer.witness().unwrap();
    hurt(&fs, 0, 2);
    let device = Device { fs, ..Device::default() };
    let (recovered, _) = device.read(RecoverMode::Salvage).unwrap();
    let [hole] = &recovered.lost[..] else { panic!("{:?}", recovered.lost) };
    let times = |range: Range<u64>| range.map(|i| sample(i).timestamp);
    assert_eq!(hole.before, Some(Edge { seq: SeqNo(21), timestamp: times(0..20).max() }));
    assert_eq!(hole.behind, Some(Edge { seq: SeqNo(41), timestamp: times(42..62).min() }));
}
