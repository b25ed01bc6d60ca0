//! Tidegauge, through its public interface.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegauge::query::{Aggregate, QueryLimits, Selection, Table};
use tidegauge::{
    Ack, Appender, BackPressure, Durability, Engine, Labels, Level, MatchOp, Matcher, SeriesId, SeriesSample,
    TimeRange, Timestamp,
};
use tidegauge_bench::workload::Workload;

use crate::store::{Error, Row, Store, bytes_below};

const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Ours {
    dir: PathBuf,
    archive: bool,
    engine: Engine,
    appender: Appender,
    durability: Durability,
    ids: Vec<SeriesId>,
    labels: Vec<Vec<(String, String)>>,
    numbers: HashMap<Vec<(String, String)>, u32>,
    batch: Vec<SeriesSample>,
    last: Option<Ack>,
}

impl Ours {
    /// `archive`: what is compacted is made as small as it gets, which decodes slower. Else it stays as it is while it is
    /// often read: samples of these workloads are old enough for an archive at once.
    pub(super) fn open(dir: &Path, durability: Durability, workload: &Workload, archive: bool) -> Result<Self, Error> {
        let builder = Engine::builder(dir).durability(durability);
        let builder = if archive { builder } else { builder.cold_after(Duration::MAX) };
        let engine = builder.open()?;
        let appender = engine.appender_with(BackPressure::Block(PATIENCE))?;
        let owned = |slot: u32| {
            let labels = workload.labels(u64::from(slot));
            labels.borrowed().iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        let labels: Vec<_> = (0..workload.slots()).map(owned).collect();
        Ok(Self {
            dir: dir.to_owned(),
            archive,
            engine,
            appender,
            durability,
            ids: Vec::with_capacity(labels.len()),
            numbers: labels.iter().cloned().zip(0u32..).collect(),
            labels,
            batch: Vec::new(),
            last: None,
        })
    }

    fn reach(&self, level: Level) -> Result<(), Error> {
        let Some(ack) = self.last else { return Ok(()) };
        Ok(self.engine.wait(ack, level, PATIENCE).map(drop)?)
    }

    /// The label that all of these series have in common, and no other: a host, or a metric.
    fn common(&self, series: &[u32]) -> Result<Matcher, Error> {
        let first = &self.labels[series[0] as usize];
        let shared = |pair: &&(String, String)| series.iter().all(|&s| self.labels[s as usize].contains(pair));
        let name = if series.len() <= 10 { "host" } else { "__name__" };
        let pair = first.iter().filter(|pair| pair.0 == name).find(shared).ok_or("series with nothing in common")?;
        Ok(Matcher::new(&pair.0, MatchOp::Equal, &pair.1)?)
    }

    fn by(
        &self,
        of: Aggregate,
        series: &[u32],
        (start, end): (i64, i64),
        every_ns: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let matchers = [self.common(series)?];
        let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
        let snapshot = self.engine.snapshot();
        let selection = snapshot.install(|sources| Selection::new(sources, &matchers))?;
        let every = Duration::from_nanos(every_ns.unsigned_abs());
        let table: Table = selection.limits(QueryLimits::NONE).range(range).aggregate(of).every(every).run()?;
        let mut found = Vec::new();
        for row in &table.series {
            let number = self.number(&row.labels)?;
            found.extend(row.timestamps.iter().zip(&row.values).map(|(&at, &value)| (number, at, value)));
        }
        Ok(found)
    }

    fn number(&self, labels: &Labels) -> Result<u32, Error> {
        let owned: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Ok(self.numbers.get(&owned).copied().ok_or("a series that was never pushed")?)
    }
}

/// The answer where all series are one group, without windows.
fn one(table: &Table) -> f64 {
    table.series.first().and_then(|row| row.values.first().copied()).unwrap_or(0.0)
}

/// What an accepted push is worth.
pub(crate) fn promised(durability: Durability) -> &'static str {
    match durability {
        Durability::Memory => "in memory, no log",
        Durability::Sync => "in the log and synced, each batch",
        _ => "in the log, synced at the interval",
    }
}

impl Store for Ours {
    fn name(&self) -> String {
        if self.archive { "tidegauge, archive".into() } else { "tidegauge".into() }
    }

    fn durability(&self) -> &'static str {
        promised(self.durability)
    }

    fn level(&self) -> Durability {
        self.durability
    }

    fn register(&mut self) -> Result<bool, Error> {
        for labels in &self.labels {
            let borrowed: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            self.ids.push(self.engine.series(&borrowed)?);
        }
        Ok(true)
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        let sample = |row: &Row| {
            SeriesSample::new(self.ids[row.series as usize], Timestamp::from_nanos(row.timestamp_ns), row.value)
        };
        self.batch.clear();
        self.batch.extend(rows.iter().map(sample));
        self.last = Some(self.appender.push_batch(&self.batch)?);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        // With an interval the engine does that by itself.
        if self.durability == Durability::Sync { self.reach(Level::Durable) } else { Ok(()) }
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        self.reach(Level::Visible)
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        // Whoever waits has it synced at once.
        self.reach(Level::Durable).map(|()| true)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        self.engine.flush()?;
        self.engine.compact()?;
        bytes_below(&self.dir.join("segments"))
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        // The newest of all is what it knows; it lies in the range, or nothing does.
        let last = self.engine.last(self.ids[series as usize])?;
        let last = last.map(|last| (last.timestamp.nanos(), last.value));
        Ok(last.filter(|(at, _)| (start_ns..end_ns).contains(at)))
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let matcher = |pair: &(String, String)| Matcher::new(&pair.0, MatchOp::Equal, &pair.1);
        let matchers: Vec<Matcher> = self.labels[series as usize].iter().map(matcher).collect::<Result<_, _>>()?;
        let range = TimeRange::new(Timestamp::from_nanos(start_ns), Timestamp::from_nanos(end_ns));
        let columns = Selection::new(&self.engine.snapshot(), &matchers)?.range(range).series(0).read()?;
        Ok(columns.timestamps.into_iter().zip(columns.values).collect())
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by(Aggregate::Max, series, range_ns, every_ns)
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by(Aggregate::Avg, series, range_ns, every_ns)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let snapshot = self.engine.snapshot();
        let all = snapshot.install(|sources| Selection::new(sources, &[]))?.limits(QueryLimits::NONE);
        let tables = all.aggregate(Aggregate::Count).and(Aggregate::Sum).group_all().run_each()?;
        let told = |nth: usize| tables.get(nth).map_or(f64::NAN, one);
        Ok((told(0) as u64, told(1)))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let snapshot = self.engine.snapshot();
        let all = snapshot.install(|sources| Selection::new(sources, &[]))?.limits(QueryLimits::NONE);
        let range = TimeRange::new(Timestamp::from_nanos(start_ns), Timestamp::from_nanos(end_ns));
        Ok(one(&all.range(range).aggregate(Aggregate::Sum).group_all().run()?))
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_bench::workload::{Kind, Part};

    use super::*;

    /// Bytes of all samples, compacted, and the samples of the first series.
    fn settled(archive: bool) -> (u64, Vec<(i64, f64)>) {
        let workload = Workload::new(Kind::W1, 1, Some(200_000)).unwrap();
        let part = Part::split(&workload, 1, 1_000).unwrap().remove(0);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Ours::open(dir.path(), Durability::Memory, &workload, archive).unwrap();
        assert_eq!(store.engine.stats().series, 0, "they are registered while the clock runs");
        assert!(store.register().unwrap());
        let mut rows = Vec::new();
        workload.generate(&part, |cell| {
            let timestamp_ns = workload.timestamp_ns(u64::from(cell.tick));
            rows.push(Row { series: cell.slot, timestamp_ns, value: workload.value(cell.scaled) });
        });
        rows.chunks(1_000).for_each(|batch| store.push(batch).unwrap());
        store.until_visible().unwrap();
        (store.settle().unwrap(), store.range(0, 0, i64::MAX).unwrap())
    }

    #[test]
    fn only_the_archive_is_as_small_as_it_gets() {
        let (read, archive) = (settled(false), settled(true));
        assert!(archive.0 < read.0, "{} and {} bytes", archive.0, read.0);
        assert!(archive.1 == read.1 && read.1.len() == 50, "{} samples", read.1.len());
    }
}
