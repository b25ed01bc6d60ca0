//! fjall: an LSM tree of keys and values.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tidegauge::Durability;

use super::keys::{key, sample};
use super::windows::{greatest, mean, windows_of};
use super::{CACHE_BYTES, locked};
use crate::store::{Error, Row, Store};

pub(super) struct Fjall {
    db: Database,
    samples: Keyspace,
    durability: Durability,
}

impl Fjall {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Error> {
        // Its journal is always there, but need not leave the process.
        let keeps = durability == Durability::Memory;
        let db = Database::builder(dir).cache_size(CACHE_BYTES).manual_journal_persist(keeps).open()?;
        let samples = db.keyspace("samples", KeyspaceCreateOptions::default)?;
        Ok(Self { db, samples, durability })
    }
}

impl Store for Fjall {
    fn name(&self) -> String {
        format!("fjall {}", locked("fjall"))
    }

    fn durability(&self) -> &'static str {
        match self.durability {
            Durability::Memory => "in memory and the journal's buffer",
            Durability::Sync => "in the journal and synced, each batch",
            _ => "in the journal, synced at the interval",
        }
    }

    fn level(&self) -> Durability {
        self.durability
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        let mut batch = self.db.batch();
        for row in rows {
            batch.insert(&self.samples, key(row.series, row.timestamp_ns), row.value.to_le_bytes());
        }
        Ok(batch.commit()?)
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        self.sync().map(|()| true)
    }

    fn cache_bytes(&self) -> Option<u64> {
        Some(CACHE_BYTES)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        self.samples.rotate_memtable_and_wait()?;
        self.samples.major_compact()?;
        // Its tables: the journal is of no use then, and is given back later.
        Ok(self.samples.disk_space())
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        let Some(guard) = self.samples.range(key(series, start_ns)..key(series, end_ns)).next_back() else {
            return Ok(None);
        };
        let (key, value) = guard.into_inner()?;
        Ok(sample(&key, &value).map(|(_, at, value)| (at, value)))
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let mut found = Vec::new();
        for guard in self.samples.range(key(series, start_ns)..key(series, end_ns)) {
            let (key, value) = guard.into_inner()?;
            found.extend(sample(&key, &value).map(|(_, at, value)| (at, value)));
        }
        Ok(found)
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, greatest, |one| self.range(one, range_ns.0, range_ns.1))
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, mean, |one| self.range(one, range_ns.0, range_ns.1))
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let (mut count, mut sum) = (0, 0.0);
        for guard in self.samples.iter() {
            let (key, value) = guard.into_inner()?;
            if let Some((_, _, value)) = sample(&key, &value) {
                (count, sum) = (count + 1, sum + value);
            }
        }
        Ok((count, sum))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let mut sum = 0.0;
        for guard in self.samples.iter() {
            let (key, value) = guard.into_inner()?;
            sum += sample(&key, &value).filter(|(_, at, _)| (start_ns..end_ns).contains(at)).map_or(0.0, |(.., v)| v);
        }
        Ok(sum)
    }
}
