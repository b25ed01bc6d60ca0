//! tsink: a time-series store in process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge::Durability;
use tidegauge_bench::workload::Workload;
use tsink::wal::WalSyncMode;
use tsink::{Aggregation, DataPoint, Label, QueryOptions, Row as Sample, Storage, StorageBuilder, TimestampPrecision};

use super::locked;
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

    /// The samples of a series, as the store has them.
    fn select(&self, series: u32, start: i64, end: i64) -> Result<Vec<DataPoint>, Error> {
        let (metric, labels) = &self.series[series as usize];
        Ok(self.storage.select(metric, labels, start, end)?)
    }

    /// What the store itself makes of them.
    fn aggregated(&self, series: u32, (start, end): (i64, i64), of: Aggregation) -> Result<Option<(i64, f64)>, Error> {
        let (metric, labels) = &self.series[series as usize];
        let options = QueryOptions::new(start, end).with_labels(labels.clone()).with_aggregation(of);
        Ok(self.storage.select_with_options(metric, options)?.first().and_then(sample))
    }

    /// The same, window by window. Its windows begin where the range does, which is where ours do.
    fn by(
        &self,
        series: &[u32],
        (start, end): (i64, i64),
        every_ns: i64,
        of: Aggregation,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let mut found = Vec::new();
        for &one in series {
            let (metric, labels) = &self.series[one as usize];
            let options = QueryOptions::new(start, end).with_labels(labels.clone()).with_downsample(every_ns, of);
            let points = self.storage.select_with_options(metric, options)?;
            found.extend(points.iter().filter_map(sample).map(|(window, value)| (one, window, value)));
        }
        Ok(found)
    }
}

fn sample(point: &DataPoint) -> Option<(i64, f64)> {
    Some((point.timestamp, point.value_as_f64()?))
}

impl Store for Tsink {
    fn name(&self) -> String {
        format!("tsink {}", locked("tsink"))
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

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        self.aggregated(series, (start_ns, end_ns), Aggregation::Last)
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        Ok(self.select(series, start_ns, end_ns)?.iter().filter_map(sample).collect())
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by(series, range_ns, every_ns, Aggregation::Max)
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by(series, range_ns, every_ns, Aggregation::Avg)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let (mut count, mut sum) = (0, 0.0);
        for series in 0..self.series.len() as u32 {
            // It tells one of the two a request, and reads all for each: asked once for all, it reads once.
            let points = self.select(series, 0, i64::MAX)?;
            count += points.len() as u64;
            sum += points.iter().filter_map(DataPoint::value_as_f64).sum::<f64>();
        }
        Ok((count, sum))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let mut sum = 0.0;
        for series in 0..self.series.len() as u32 {
            sum += self.aggregated(series, (start_ns, end_ns), Aggregation::Sum)?.map_or(0.0, |(_, sum)| sum);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_bench::workload::Kind;

    use super::*;

    #[test]
    fn its_windows_and_sums_are_those_of_its_samples() {
        let workload = Workload::new(Kind::W1, 1, Some(8_000)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut store = Tsink::open(dir.path(), Durability::Memory, &workload).unwrap();
        let values = [3.0, 9.5, -1.0, 7.0, 2.25];
        // Two in the first window of 60, none in the second one, two in the third, one behind the range.
        let samples: Vec<(i64, f64)> = [600, 659, 720, 779, 780].into_iter().zip(values).collect();
        let rows = samples.iter().map(|&(timestamp_ns, value)| Row { series: 7, timestamp_ns, value });
        store.push(&rows.collect::<Vec<_>>()).unwrap();
        for is_settled in [false, true] {
            if is_settled {
                store.settle().unwrap();
            }
            let range = (600, 780);
            assert_eq!(store.max_by(&[7], range, 60).unwrap(), [(7, 600, 9.5), (7, 720, 7.0)]);
            assert_eq!(store.mean_by(&[7], range, 60).unwrap(), [(7, 600, 6.25), (7, 720, 3.0)]);
            assert_eq!(store.last(7, (700, 781)).unwrap(), Some((780, 2.25)));
            assert_eq!(store.last(7, (781, 900)).unwrap(), None);
            assert_eq!(store.last(8, (700, 781)).unwrap(), None);
            assert_eq!(store.count_and_sum().unwrap(), (5, 20.75));
            assert_eq!(store.sum_between(601, 780).unwrap(), 15.5);
            assert_eq!(store.range(7, 0, i64::MAX).unwrap(), samples);
        }
    }
}
