//! The operating system's files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use super::{Fs, FsFile, Map, MapMut, SyncNames, mmap};

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

#[derive(Debug)]
struct OsFile(File);

/// A file that is written at its end alone.
#[derive(Debug)]
struct Appended(OsFile);

impl Fs for OsFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn ready_to_sync<'a>(&'a self, dir: &'a Path) -> io::Result<SyncNames<'a>> {
        let folder = File::open(dir)?;
        Ok(Box::new(move || folder.sync_all()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(OsFile(open(path, OpenOptions::new().read(true).write(true))?)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(Appended(OsFile(open(path, OpenOptions::new().read(true).append(true))?))))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(OsFile(open(path, OpenOptions::new().read(true))?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        mmap::map(&open(path, OpenOptions::new().read(true))?)
    }

    fn map_to_mend(&self, path: &Path) -> io::Result<MapMut> {
        mmap::map_to_mend(&open(path, OpenOptions::new().read(true))?)
    }
}

/// Opens a file that has to be one: a folder, a pipe or a device by its name is refused, and a pipe that nobody writes
/// to holds up nobody.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Means nothing to a file.
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"))
}

impl FsFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match uninterrupted(|| fallocate(&self.0, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            // It is tried again later, like one that finds no space: nothing was written.
            Err(Errno::INTR) => Err(io::Error::new(io::ErrorKind::StorageFull, "signals interrupt the allocation")),
            // A file system without fallocate (some network and overlay mounts): write zeros.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill_with_zeros(len),
            Err(e) => Err(e.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Signals that a call is begun anew after. On some file systems it has got nowhere then.
const INTERRUPTIONS_MAX: usize = 100;

/// Calls until no signal interrupts it: one to the process, or a debugger that takes hold of it.
fn uninterrupted(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 0..INTERRUPTIONS_MAX {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::INTR)
}

impl FsFile for Appended {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn write_all_at(&self, _offset: u64, bytes: &[u8]) -> io::Result<()> {
        (&self.0.0).write_all(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl OsFile {
    fn fill_with_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0u8; 1 << 20];
        let mut at = self.len()?;
        while at < len {
            let n = (len - at).min(zeros.len() as u64);
            self.write_all_at(at, &zeros[..n as usize])?;
            at += n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_read_allocated_mapped_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = OsFs.create(&path).unwrap();
        file.write_all_at(3, b"abc").unwrap();
        file.sync_data().unwrap();
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 10);
        let mut buf = [9u8; 16];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 10);
        assert_eq!(&buf[..10], b"\0\0\0abc\0\0\0\0");
        assert_eq!(&*OsFs.map(&path).unwrap(), &buf[..10]);
        assert_eq!(&*Map::from_bytes(&buf[..10]), &buf[..10]);
        assert_eq!(OsFs.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        OsFs.sync_dir(dir.path()).unwrap();
        OsFs.ready_to_sync(dir.path()).and_then(|sync| sync()).unwrap();
        assert_eq!(OsFs.list(dir.path()).unwrap(), ["f"]);
        OsFs.hard_link(&path, &dir.path().join("g")).unwrap();
        assert_eq!(OsFs.hard_link(&path, &dir.path().join("g")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    /// An allocation that a signal interrupted was taken for a device that fails.
    #[test]
    fn a_call_that_is_interrupted_is_made_again_a_number_of_times() {
        let mut calls = 0;
        let mut after = |interruptions: usize| {
            calls = 0;
            uninterrupted(|| {
                calls += 1;
                if calls > interruptions { Err(Errno::NOSPC) } else { Err(Errno::INTR) }
            })
        };
        assert_eq!((after(0), after(3)), (Err(Errno::NOSPC), Err(Errno::NOSPC)));
        assert_eq!(after(usize::MAX), Err(Errno::INTR), "not for ever");
        assert_eq!(calls, INTERRUPTIONS_MAX);
    }

    #[test]
    fn what_is_appended_through_two_handles_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        OsFs.create(&path).unwrap().write_all_at(0, b"a").unwrap();
        let [one, other] = [(); 2].map(|()| OsFs.open_append(&path).unwrap());
        for (file, text) in [(&one, b"b"), (&other, b"c"), (&one, b"d")] {
            file.write_all_at(1, text).unwrap();
        }
        assert_eq!(&*OsFs.map(&path).unwrap(), b"abcd");
    }

    #[test]
    fn a_pipe_or_a_folder_in_the_place_of_a_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [&pipe, &dir.path().to_owned()] {
            let refused = |e: io::Error| assert!(e.to_string().contains("not a file"), "{e}");
            OsFs.open_read(path).map(drop).map_err(refused).unwrap_err();
            OsFs.map(path).map(drop).map_err(refused).unwrap_err();
            OsFs.open(path).map(drop).unwrap_err();
        }
    }
}
