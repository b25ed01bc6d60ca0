//! What the disk under a folder takes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::error::Error;
use crate::measure::Latency;

/// Times of a write with its fdatasync, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DiskTimes {
    /// The median.
    pub p50: f64,
    /// 99 % lie below.
    pub p99: f64,
}

impl DiskTimes {
    pub(crate) fn of(latency: &Latency) -> Self {
        Self { p50: latency.quantile_ns(0.5) / 1e3, p99: latency.quantile_ns(0.99) / 1e3 }
    }
}

const FILE_BYTES: u64 = 16 << 20;

/// Adds the times of `times` writes of 64 KiB, each with its fdatasync, in a file in `dir`.
///
/// # Errors
/// [`Error::Io`] if `dir` cannot be written.
pub fn pwrite_fdatasync_64k(dir: &Path, times: u64, latency: &mut Latency) -> Result<(), Error> {
    record(dir, 64 << 10, times, latency)
}

pub(super) fn pwrite_fdatasync(dir: &Path, bytes: usize, times: u64) -> Result<DiskTimes, Error> {
    let mut latency = Latency::new();
    record(dir, bytes, times, &mut latency)?;
    Ok(DiskTimes::of(&latency))
}

fn record(dir: &Path, bytes: usize, times: u64, latency: &mut Latency) -> Result<(), Error> {
    let file = written_file(dir, FILE_BYTES)?;
    let buffer = vec![0x5au8; bytes];
    for i in 0..times {
        let start = Instant::now();
        file.write_all_at(&buffer, i * bytes as u64 % FILE_BYTES).map_err(Error::io(dir))?;
        file.sync_data().map_err(Error::io(dir))?;
        latency.record_ns(start.elapsed().as_nanos() as u64);
    }
    Ok(())
}

pub(super) fn write_mb_s(dir: &Path) -> Result<f64, Error> {
    const BYTES: u64 = 256 << 20;
    let file = written_file(dir, BYTES)?;
    let buffer = vec![0xa5u8; 1 << 20];
    let start = Instant::now();
    for at in (0..BYTES).step_by(buffer.len()) {
        file.write_all_at(&buffer, at).map_err(Error::io(dir))?;
    }
    file.sync_data().map_err(Error::io(dir))?;
    Ok(BYTES as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// A nameless file whose bytes are allocated, written once and synced, as those of a recycled
/// log file are: what is timed then is not the file system's allocation.
fn written_file(dir: &Path, bytes: u64) -> Result<File, Error> {
    let file = tempfile::tempfile_in(dir).map_err(Error::io(dir))?;
    // Small: glibc keeps twice of the largest block that was ever given back at the end of each of its heaps.
    let zeros = [0u8; 64 << 10];
    for at in (0..bytes).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).map_err(Error::io(dir))?;
    }
    file.sync_all().map_err(Error::io(dir))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_times_are_taken_as_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut latency = Latency::new();
        pwrite_fdatasync_64k(dir.path(), 3, &mut latency).unwrap();
        assert_eq!(latency.len(), 3);
        let times = DiskTimes::of(&latency);
        assert!(times.p50 > 0.0 && times.p99 >= times.p50);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = pwrite_fdatasync(Path::new("/no/such/folder"), 4096, 1).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/folder: "), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
