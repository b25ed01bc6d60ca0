//! SQLite: one table, its rows in the order of series and time.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use tidegauge::Durability;

use super::CACHE_BYTES;
use crate::store::{Error, Row, Store, bytes_below};

pub(super) struct Sqlite {
    dir: PathBuf,
    connection: Connection,
    durability: Durability,
}

impl Sqlite {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Error> {
        let connection = Connection::open(dir.join("samples.db"))?;
        let synchronous = if durability == Durability::Memory { "OFF" } else { "FULL" };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{};
             CREATE TABLE samples (series INTEGER, at INTEGER, value REAL, PRIMARY KEY (series, at)) WITHOUT ROWID;
             BEGIN;",
            CACHE_BYTES >> 10
        ))?;
        Ok(Self { dir: dir.to_owned(), connection, durability })
    }

    fn by(
        &mut self,
        of: &str,
        series: &[u32],
        (start, end): (i64, i64),
        every: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        // Times are after 1970, so that a division rounds down.
        let sql = format!(
            "SELECT at / ?3 * ?3 AS window, {of}(value) FROM samples WHERE series = ?4 AND at >= ?1 AND at < ?2 \
             GROUP BY window"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = Vec::new();
        for &one in series {
            let rows =
                statement.query_map(params![start, end, every, one], |row| Ok((one, row.get(0)?, row.get(1)?)))?;
            for row in rows {
                found.push(row?);
            }
        }
        Ok(found)
    }
}

impl Store for Sqlite {
    fn name(&self) -> String {
        format!("sqlite {}", rusqlite::version())
    }

    fn durability(&self) -> &'static str {
        match self.durability {
            Durability::Memory => "committed, no sync",
            Durability::Sync => "committed and synced, each batch",
            _ => "seen by its own connection; committed and synced at the interval",
        }
    }

    fn level(&self) -> Durability {
        // What is committed outlives the process even so.
        if self.durability == Durability::Memory { Durability::DEFAULT } else { self.durability }
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        {
            let mut insert = self.connection.prepare_cached("INSERT OR REPLACE INTO samples VALUES (?1, ?2, ?3)")?;
            for row in rows {
                insert.execute(params![row.series, row.timestamp_ns, row.value])?;
            }
        }
        // Others see it only then; with an interval that is when it is synced.
        if self.durability == Durability::Memory { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(self.connection.execute_batch("COMMIT; BEGIN;")?)
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        self.sync()
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        self.sync().map(|()| true)
    }

    fn cache_bytes(&self) -> Option<u64> {
        Some(CACHE_BYTES)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        self.connection.execute_batch("COMMIT; VACUUM;")?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.execute_batch("BEGIN;")?;
        bytes_below(&self.dir)
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        let sql = "SELECT at, value FROM samples WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query_map(params![series, start_ns, end_ns], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.next().transpose()?)
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let sql = "SELECT at, value FROM samples WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![series, start_ns, end_ns], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by("max", series, range_ns, every_ns)
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by("avg", series, range_ns, every_ns)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let sql = "SELECT count(*), total(value) FROM samples";
        Ok(self.connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?)
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let sql = "SELECT total(value) FROM samples WHERE at >= ?1 AND at < ?2";
        Ok(self.connection.query_row(sql, params![start_ns, end_ns], |row| row.get(0))?)
    }
}
