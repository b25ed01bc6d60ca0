//! DuckDB: one table of columns without a key, into which batches are appended in bulk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::arrow::array::{Array, ArrayRef, Float64Array, Int64Array, PrimitiveArray, UInt32Array};
use duckdb::arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float64Type, Int64Type, Schema, UInt32Type};
use duckdb::arrow::record_batch::RecordBatch;
use duckdb::{Appender, Connection, params};
use tidegauge::Durability;

use crate::store::{Error, Row, Store};

pub(super) struct Duck {
    settled: PathBuf,
    connection: &'static Connection,
    appender: Option<Appender<'static>>,
    schema: Arc<Schema>,
    durability: Durability,
}

impl Duck {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Error> {
        // Never given back: the appender borrows it for as long as samples are pushed, and the process is its own.
        let connection: &'static Connection = Box::leak(Box::new(Connection::open_in_memory()?));
        let file = dir.join("pushed.db");
        let log = if durability == Durability::Memory { " (RECOVERY_MODE NO_WAL_WRITES)" } else { "" };
        connection.execute_batch(&format!(
            "ATTACH '{}' AS pushed{log};
             USE pushed;
             CREATE TABLE samples (series UINTEGER, ts BIGINT, value DOUBLE);",
            file.display()
        ))?;
        let field = |name: &str, of: DataType| Field::new(name, of, false);
        let fields =
            [field("series", DataType::UInt32), field("ts", DataType::Int64), field("value", DataType::Float64)];
        let duck = Self {
            settled: dir.join("settled.db"),
            connection,
            appender: Some(connection.appender("samples")?),
            schema: Arc::new(Schema::new(fields.to_vec())),
            durability,
        };
        duck.begin()?;
        Ok(duck)
    }

    /// With `memory` each push is committed by itself.
    fn begin(&self) -> Result<(), Error> {
        if self.durability == Durability::Memory { Ok(()) } else { Ok(self.connection.execute_batch("BEGIN")?) }
    }

    fn by(
        &self,
        of: &str,
        series: &[u32],
        (start, end): (i64, i64),
        every: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let series = series.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        // Times are after 1970, so that a division rounds down.
        let sql = format!(
            "SELECT series, ts // {every} * {every} AS opened, {of}(value) FROM samples \
             WHERE series IN ({series}) AND ts >= ? AND ts < ? GROUP BY ALL"
        );
        let mut found = Vec::new();
        let mut statement = self.connection.prepare_cached(&sql)?;
        for rows in statement.query_arrow(params![start, end])? {
            let (series, at, value) =
                (column::<UInt32Type>(&rows, 0)?, column::<Int64Type>(&rows, 1)?, column::<Float64Type>(&rows, 2)?);
            found.extend((0..rows.num_rows()).map(|i| (series[i], at[i], value[i])));
        }
        Ok(found)
    }

    fn samples(&self, sql: &str, params: impl duckdb::Params) -> Result<Vec<(i64, f64)>, Error> {
        let mut found = Vec::new();
        let mut statement = self.connection.prepare_cached(sql)?;
        for rows in statement.query_arrow(params)? {
            let (at, value) = (column::<Int64Type>(&rows, 0)?, column::<Float64Type>(&rows, 1)?);
            found.extend(at.iter().copied().zip(value.iter().copied()));
        }
        Ok(found)
    }
}

/// The numbers of a column.
fn column<T: ArrowPrimitiveType>(rows: &RecordBatch, i: usize) -> Result<&[T::Native], Error> {
    let column = rows.column(i).as_any().downcast_ref::<PrimitiveArray<T>>();
    Ok(column
        .filter(|column| column.null_count() == 0)
        .ok_or("a column of another type, or with nothing in it")?
        .values())
}

impl Store for Duck {
    fn name(&self) -> String {
        self.connection.version().map_or_else(|_| "duckdb".into(), |v| format!("duckdb {}", v.trim_start_matches('v')))
    }

    fn durability(&self) -> &'static str {
        match self.durability {
            Durability::Memory => "committed, no log",
            Durability::Sync => "committed and synced, each batch",
            _ => "seen by its own connection; committed and synced at the interval",
        }
    }

    fn level(&self) -> Durability {
        self.durability
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        let columns: [ArrayRef; 3] = [
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.series))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.timestamp_ns))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.to_vec())?;
        let appender = self.appender.as_mut().ok_or("pushed after it was settled")?;
        appender.append_record_batch(batch)?;
        // Until then the rows lie in a buffer, where no question finds them.
        Ok(appender.flush()?)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.connection.execute_batch("COMMIT")?;
        self.begin()
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        if self.durability == Durability::Memory { Ok(()) } else { self.sync() }
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        self.sync().map(|()| true)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        self.appender = None;
        if self.durability != Durability::Memory {
            self.connection.execute_batch("COMMIT")?;
        }
        // Pushed in the order of time, asked for by series: the rows are put into the order that the other stores have.
        self.connection.execute_batch(&format!(
            "ATTACH '{}' AS settled;
             CREATE TABLE settled.samples AS SELECT * FROM pushed.samples ORDER BY series, ts;
             CHECKPOINT settled;
             USE settled;
             DETACH pushed;",
            self.settled.display()
        ))?;
        Ok(std::fs::metadata(&self.settled)?.len())
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        let sql = "SELECT ts, value FROM samples WHERE series = ? AND ts >= ? AND ts < ? ORDER BY ts DESC LIMIT 1";
        Ok(self.samples(sql, params![series, start_ns, end_ns])?.pop())
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let sql = "SELECT ts, value FROM samples WHERE series = ? AND ts >= ? AND ts < ? ORDER BY ts";
        self.samples(sql, params![series, start_ns, end_ns])
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by("max", series, range_ns, every_ns)
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        self.by("avg", series, range_ns, every_ns)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let mut statement = self.connection.prepare_cached("SELECT count(*), sum(value) FROM samples")?;
        Ok(statement.query_row([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?)
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let sql = "SELECT sum(value) FROM samples WHERE ts >= ? AND ts < ?";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![start_ns, end_ns], |row| row.get(0))?)
    }
}
