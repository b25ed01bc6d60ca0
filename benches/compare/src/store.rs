//! What every store under comparison can do.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tidegauge::Durability;

/// Anything that can go wrong, as a sentence.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// One sample of the series with this number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) series: u32,
    pub(crate) timestamp_ns: i64,
    pub(crate) value: f64,
}

/// A store. Ranges are half open, in nanoseconds; `every_ns` windows begin at its multiples, and so do the ranges that are
/// asked for by windows.
pub(crate) trait Store {
    /// Name and version.
    fn name(&self) -> String;

    /// What an accepted push is worth, in words.
    fn durability(&self) -> &'static str;

    /// The least durability of ours that promises as much as this store does.
    fn level(&self) -> Durability;

    /// Makes all series known, where they must be before samples can be pushed. Answers whether there was something to
    /// do. The clock runs: others do it with the samples.
    fn register(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    /// Takes a batch.
    fn push(&mut self, rows: &[Row]) -> Result<(), Error>;

    /// All that was pushed survives a power loss from here on, if the store knows how to do that.
    fn sync(&mut self) -> Result<(), Error>;

    /// All that was pushed can be read.
    fn until_visible(&mut self) -> Result<(), Error>;

    /// All that was pushed survives a power loss. Answers whether the store knows how to make that so; asked at a
    /// durability that promises it sooner or later.
    fn until_durable(&mut self) -> Result<bool, Error>;

    /// Flushes and compacts; answers the bytes of all files.
    fn settle(&mut self) -> Result<u64, Error>;

    /// Resident memory of a server of its own.
    fn server_rss(&self) -> Option<u64> {
        None
    }

    /// What we have told it to keep in a cache: memory that it takes because it was told to.
    fn cache_bytes(&self) -> Option<u64> {
        None
    }

    /// Processor time of a server of its own.
    fn server_cpu_s(&self) -> f64 {
        0.0
    }

    /// The least that can be asked of a server. Answers whether this is one.
    fn nothing(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    /// What the requests since this was last called took, each from its first byte to the last one of the answer: what
    /// the client makes of it is not the server's time. `None` in process.
    fn waited(&mut self) -> Option<Duration> {
        None
    }

    /// Q1: the last sample of a series in a range that ends behind its newest one.
    fn last(&mut self, series: u32, range_ns: (i64, i64)) -> Result<Option<(i64, f64)>, Error>;

    /// Q2: the samples of a series.
    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error>;

    /// Q3: the greatest value of each of these series, window by window, as (series, start of the window, value).
    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error>;

    /// Q4: the mean of each of these series, window by window.
    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error>;

    /// Q5: how many samples there are, and their sum.
    fn count_and_sum(&mut self) -> Result<(u64, f64), Error>;

    /// Q6: the sum of the samples of all series in this range.
    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error>;
}

/// Bytes of all files below a folder, without holes: some are made long before they are written.
pub(crate) fn bytes_below(dir: &std::path::Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go while it is looked at.
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() {
            bytes_below(&entry.path()).unwrap_or(0)
        } else {
            about.len().min(about.blocks() * 512)
        };
    }
    Ok(bytes)
}
