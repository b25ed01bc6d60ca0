//! tsink: a time-series store in process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge::Durability;
use tidegauge_bench::workload::Workload;
use tsink::wal::WalSyncMode;
use tsink::{DataPoint, Label, Row as Sample, Storage, StorageBuilder, TimestampPrecision};

use super::windows::{greatest, mean, windows_of};
use crate::store::{Error, Row, Store, bytes_below};

pub(super) struct Tsink {
    dir: PathBuf,
    storage: Arc<dyn Storage>,
    durability: Durability,
    /// Metric and labels by series.
    series: Vec<(String, Vec<Label>)>,
}

impl Tsink {
    pub(super) fn open(dir: &Path, durability: Durability, workload: &Workload) -> Result<Self, Error> {
        let storage = Self::build(dir, durability)?;
        let series = |slot: u32| {
            let labels = workload.labels(u64::from(slot));
            let of = |pair: &(&str, &str)| Label::new(pair.0, pair.1);
            let pairs = labels.borrowed();
            let rest = pairs.iter().filter(|pair| pair.0 != "__name__").map(of).collect();
            (labels.get("__name__").unwrap_or_default().to_owned(), rest)
        };
        Ok(Self { dir: dir.to_owned(), storage, durability, series: (0..workload.slots()).map(series).collect() })
    }

    fn build(dir: &Path, durability: Durability) -> Result<Arc<dyn Storage>, Error> {
        let builder = StorageBuilder::new()
            .with_data_path(dir)
            .with_timestamp_precision(TimestampPrecision::Nanoseconds)
            .with_retention_enforced(false);
        let builder = match durability {
            Durability::Memory => builder.with_wal_enabled(false),
            Durability::Interval(every) => builder.with_wal_sync_mode(WalSyncMode::Periodic(every)),
            _ => builder.with_wal_sync_mode(WalSyncMode::PerAppend),
        };
        Ok(builder.with_write_timeout(Duration::from_secs(600)).build()?)
    }

    fn select(&self, series: u32, start: i64, end: i64) -> Result<Vec<(i64, f64)>, Error> {
        let (metric, labels) = &self.series[series as usize];
        let points = self.storage.select(metric, labels, start, end)?;
        Ok(points.into_iter().filter_map(|point| Some((point.timestamp, point.value_as_f64()?))).collect())
    }
}

impl Store for Tsink {
    fn name(&self) -> String {
        "tsink 0.10".into()
    }

    fn durability(&self) -> &'static str {
        match self.durability {
            Durability::Memory => "in memory, no log",
            Durability::Sync => "in the log and synced, each batch",
            _ => "in the log, synced at the interval",
        }
    }

    fn level(&self) -> Durability {
        self.durability
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        let rows: Vec<Sample> = rows
            .iter()
            .map(|row| {
                let (metric, labels) = &self.series[row.series as usize];
                Sample::with_labels(metric.clone(), labels.clone(), DataPoint::new(row.timestamp_ns, row.value))
            })
            .collect();
        Ok(self.storage.insert_rows(&rows)?)
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        // It has no call for that: with an interval its own thread syncs when it is time.
        Ok(self.durability == Durability::Sync)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        // It writes everything when it is closed.
        self.storage.close()?;
        self.storage = Self::build(&self.dir, self.durability)?;
        bytes_below(&self.dir)
    }

    fn last(&mut self, series: u32) -> Result<Option<(i64, f64)>, Error> {
        Ok(self.select(series, 0, i64::MAX)?.last().copied())
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        self.select(series, start_ns, end_ns)
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, greatest, |one| self.select(one, range_ns.0, range_ns.1))
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, mean, |one| self.select(one, range_ns.0, range_ns.1))
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let (mut count, mut sum) = (0, 0.0);
        for series in 0..self.series.len() as u32 {
            let samples = self.select(series, 0, i64::MAX)?;
            count += samples.len() as u64;
            sum += samples.iter().map(|sample| sample.1).sum::<f64>();
        }
        Ok((count, sum))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let mut sum = 0.0;
        for series in 0..self.series.len() as u32 {
            sum += self.select(series, start_ns, end_ns)?.iter().map(|sample| sample.1).sum::<f64>();
        }
        Ok(sum)
    }
}
