//! What every store under comparison can do.

use std::os::unix::fs::MetadataExt;

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

/// A store. Ranges are half open, in nanoseconds; `every_ns` windows begin at its multiples.
pub(crate) trait Store {
    /// Name and version.
    fn name(&self) -> String;

    /// What an accepted push is worth, in words.
    fn durability(&self) -> &'static str;

    /// The least durability of ours that promises as much as this store does.
    fn level(&self) -> Durability;

    /// Takes a batch.
    fn push(&mut self, rows: &[Row]) -> Result<(), Error>;

    /// All that was pushed survives a power loss from here on, if the store knows how to do that.
    fn sync(&mut self) -> Result<(), Error>;

    /// All that was pushed can be read.
    fn until_visible(&mut self) -> Result<(), Error>;

    /// Flushes and compacts; answers the bytes of all files.
    fn settle(&mut self) -> Result<u64, Error>;

    /// Resident memory of a server of its own.
    fn server_rss(&self) -> Option<u64> {
        None
    }

    /// Processor time of a server of its own.
    fn server_cpu_s(&self) -> f64 {
        0.0
    }

    /// Q1: the last sample of a series.
    fn last(&mut self, series: u32) -> Result<Option<(i64, f64)>, Error>;

    /// Q2: the samples of a series.
    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error>;

    /// Q3: the greatest value of each of these series, window by window, as (series, start of the window, value).
    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error>;

    /// Q4: the mean of each of these series, window by window.
    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error>;

    /// Q5: how many samples there are, and their sum.
    fn count_and_sum(&mut self) -> Result<(u64, f64), Error>;
}

/// Windows over samples in time order: what stores without such a question do over [`Store::range`].
#[cfg_attr(not(any(feature = "fjall", feature = "tsink")), allow(dead_code))]
pub(crate) fn windows(
    samples: impl IntoIterator<Item = (i64, f64)>,
    every_ns: i64,
    mut see: impl FnMut(i64, &mut dyn Iterator<Item = f64>),
) {
    let mut window: Option<(i64, Vec<f64>)> = None;
    for (at, value) in samples {
        let start = at.div_euclid(every_ns) * every_ns;
        match &mut window {
            Some((open, values)) if *open == start => values.push(value),
            _ => {
                if let Some((open, values)) = window.replace((start, vec![value])) {
                    see(open, &mut values.into_iter());
                }
            }
        }
    }
    if let Some((open, values)) = window {
        see(open, &mut values.into_iter());
    }
}

/// The greatest of a window.
#[cfg_attr(not(any(feature = "fjall", feature = "tsink")), allow(dead_code))]
pub(crate) fn greatest(values: &mut dyn Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN, f64::max)
}

/// The mean of a window.
#[cfg_attr(not(any(feature = "fjall", feature = "tsink")), allow(dead_code))]
pub(crate) fn mean(values: &mut dyn Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0, 0.0), |(n, sum), value| (n + 1, sum + value));
    sum / f64::from(n)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_that_a_map_makes() {
        let samples: Vec<(i64, f64)> = (0..100).map(|i| (i * 7 - 50, f64::from(i as i32 % 13))).collect();
        let mut naive = std::collections::BTreeMap::<i64, Vec<f64>>::new();
        samples.iter().for_each(|&(at, value)| naive.entry(at.div_euclid(60) * 60).or_default().push(value));
        let mut found = Vec::new();
        windows(samples, 60, |start, values| found.push((start, values.collect::<Vec<_>>())));
        assert_eq!(found, naive.into_iter().collect::<Vec<_>>());
        assert_eq!(mean(&mut [1.0, 2.0, 6.0].into_iter()), 3.0);
        assert_eq!(greatest(&mut [1.0, 6.0, 2.0].into_iter()), 6.0);
    }
}
