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
    pub(super) fn open(dir: &Path, durability: Durability, workload: &Workload) -> Result<Self, Error> {
        let engine = Engine::builder(dir).durability(durability).open()?;
        let appender = engine.appender_with(BackPressure::Block(PATIENCE))?;
        let (mut ids, mut all, mut numbers) = (Vec::new(), Vec::new(), HashMap::new());
        for slot in 0..workload.slots() {
            let labels = workload.labels(u64::from(slot));
            ids.push(engine.series(&labels.borrowed())?);
            let owned: Vec<_> = labels.borrowed().iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            numbers.insert(owned.clone(), slot);
            all.push(owned);
        }
        let dir = dir.to_owned();
        Ok(Self { dir, engine, appender, durability, ids, labels: all, numbers, batch: Vec::new(), last: None })
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
        "tidegauge".into()
    }

    fn durability(&self) -> &'static str {
        promised(self.durability)
    }

    fn level(&self) -> Durability {
        self.durability
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

    fn last(&mut self, series: u32) -> Result<Option<(i64, f64)>, Error> {
        let last = self.engine.last(self.ids[series as usize])?;
        Ok(last.map(|last| (last.timestamp.nanos(), last.value)))
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
        let count = one(&all.clone().aggregate(Aggregate::Count).group_all().run()?);
        Ok((count as u64, one(&all.aggregate(Aggregate::Sum).group_all().run()?)))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let snapshot = self.engine.snapshot();
        let all = snapshot.install(|sources| Selection::new(sources, &[]))?.limits(QueryLimits::NONE);
        let range = TimeRange::new(Timestamp::from_nanos(start_ns), Timestamp::from_nanos(end_ns));
        Ok(one(&all.range(range).aggregate(Aggregate::Sum).group_all().run()?))
    }
}
