//! InfluxDB 1: line protocol in, InfluxQL out.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegauge::Durability;
use tidegauge_bench::workload::Workload;

use super::{Server, free_port, steady_bytes};
use crate::store::{Error, Row, Store};

/// A series of an answer: its number, if its host is known, and rows of time and values.
type Answered = (Option<u32>, Vec<Vec<Value>>);

pub(super) struct Influx {
    server: Server,
    dir: PathBuf,
    /// Measurement and tags as they stand in a line, by series.
    heads: Vec<String>,
    /// Measurement and host by series, and back.
    places: Vec<(String, String)>,
    numbers: HashMap<(String, String), u32>,
    lines: String,
}

impl Influx {
    pub(super) fn open(dir: &Path, workload: &Workload) -> Result<Option<Self>, Error> {
        let rpc = free_port()?;
        let data = dir.join("data");
        let server = Server::start("influxd", "/ping", dir, |port, command: &mut Command| {
            // Not what the package has configured for the machine.
            command.args(["run", "-config", "/dev/null"]);
            for (name, value) in [
                ("HTTP_BIND_ADDRESS", format!("127.0.0.1:{port}")),
                ("BIND_ADDRESS", format!("127.0.0.1:{rpc}")),
                ("META_DIR", data.join("meta").display().to_string()),
                ("DATA_DIR", data.join("data").display().to_string()),
                ("DATA_WAL_DIR", data.join("wal").display().to_string()),
                ("REPORTING_DISABLED", "true".to_owned()),
                ("DATA_MAX_SERIES_PER_DATABASE", "0".to_owned()),
                ("DATA_MAX_VALUES_PER_TAG", "0".to_owned()),
                ("MONITOR_STORE_ENABLED", "false".to_owned()),
                ("CONTINUOUS_QUERIES_ENABLED", "false".to_owned()),
                ("DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION", "1s".to_owned()),
                ("DATA_COMPACT_FULL_WRITE_COLD_DURATION", "1s".to_owned()),
                ("HTTP_LOG_ENABLED", "false".to_owned()),
            ] {
                command.env(format!("INFLUXDB_{name}"), value);
            }
        })?;
        let Some(server) = server else { return Ok(None) };
        server.post_form("/query", &[("q", "CREATE DATABASE bench")])?;
        let (mut heads, mut places) = (Vec::new(), Vec::new());
        for slot in 0..workload.slots() {
            let labels = workload.labels(u64::from(slot));
            let mut head = labels.get("__name__").unwrap_or_default().to_owned();
            let pairs = labels.borrowed();
            pairs.iter().filter(|pair| pair.0 != "__name__").try_for_each(|(n, v)| write!(head, ",{n}={v}"))?;
            heads.push(head);
            let text = |name| labels.get(name).unwrap_or_default().to_owned();
            places.push((text("__name__"), text("host")));
        }
        let numbers = places.iter().cloned().zip(0u32..).collect();
        Ok(Some(Self { server, dir: data, heads, places, numbers, lines: String::new() }))
    }

    /// All series of the answer: number, if a host is known, and rows of time and values.
    fn ask(&self, question: &str, host: Option<&str>) -> Result<Vec<Answered>, Error> {
        let form = [("db", "bench"), ("epoch", "ns"), ("q", question)];
        let answer: Value = serde_json::from_str(&self.server.post_form("/query", &form)?)?;
        if let Some(error) = answer.pointer("/results/0/error") {
            return Err(error.to_string().into());
        }
        let Some(series) = answer.pointer("/results/0/series").and_then(Value::as_array) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for one in series {
            let name = one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let host = host.or_else(|| one.pointer("/tags/host").and_then(Value::as_str));
            let number = host.and_then(|host| self.numbers.get(&(name, host.to_owned())).copied());
            let rows = one.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
            found.push((number, rows.into_iter().filter_map(|row| row.as_array().cloned()).collect()));
        }
        Ok(found)
    }

    fn samples(rows: &[Vec<Value>]) -> Vec<(i64, f64)> {
        rows.iter().filter_map(|row| Some((row.first()?.as_i64()?, row.get(1)?.as_f64()?))).collect()
    }

    fn windows(&self, question: &str, host: Option<&str>) -> Result<Vec<(u32, i64, f64)>, Error> {
        let mut found = Vec::new();
        for (number, rows) in self.ask(question, host)? {
            let number = number.ok_or("a series that was never pushed")?;
            found.extend(Self::samples(&rows).into_iter().map(|(at, value)| (number, at, value)));
        }
        Ok(found)
    }
}

impl Store for Influx {
    fn name(&self) -> String {
        "influxdb 1 (server)".into()
    }

    fn durability(&self) -> &'static str {
        "in its log and synced, each batch"
    }

    fn level(&self) -> Durability {
        Durability::Sync
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        self.lines.clear();
        for row in rows {
            writeln!(self.lines, "{} v={} {}", self.heads[row.series as usize], row.value, row.timestamp_ns)?;
        }
        self.server.post("/write?db=bench&precision=ns", &[], self.lines.as_bytes())
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        // Each batch was, when it was answered.
        Ok(true)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        steady_bytes(&self.dir)
    }

    fn server_rss(&self) -> Option<u64> {
        Some(self.server.rss())
    }

    fn server_cpu_s(&self) -> f64 {
        self.server.cpu_s()
    }

    fn nothing(&mut self) -> Result<bool, Error> {
        self.server.nothing()
    }

    fn waited(&mut self) -> Option<Duration> {
        Some(self.server.waited.take())
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        let (name, host) = &self.places[series as usize];
        let within = format!("time >= {start_ns} AND time < {end_ns}");
        let rows = self.ask(&format!("SELECT last(v) FROM {name} WHERE host='{host}' AND {within}"), Some(host))?;
        Ok(rows.first().and_then(|(_, rows)| Self::samples(rows).last().copied()))
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let (name, host) = &self.places[series as usize];
        let question = format!("SELECT v FROM {name} WHERE host='{host}' AND time >= {start_ns} AND time < {end_ns}");
        Ok(self.ask(&question, Some(host))?.first().map_or(Vec::new(), |(_, rows)| Self::samples(rows)))
    }

    fn max_by(
        &mut self,
        series: &[u32],
        (start, end): (i64, i64),
        every_ns: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let host = &self.places[series[0] as usize].1;
        let names: Vec<&str> = series.iter().map(|&one| self.places[one as usize].0.as_str()).collect();
        let question = format!(
            "SELECT max(v) FROM /^({})$/ WHERE host='{host}' AND time >= {start} AND time < {end} \
             GROUP BY time({}s) fill(none)",
            names.join("|"),
            every_ns / 1_000_000_000
        );
        self.windows(&question, Some(host))
    }

    fn mean_by(
        &mut self,
        series: &[u32],
        (start, end): (i64, i64),
        every_ns: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let Some(&first) = series.first() else { return Ok(Vec::new()) };
        let question = format!(
            "SELECT mean(v) FROM {} WHERE time >= {start} AND time < {end} GROUP BY time({}s), host fill(none)",
            self.places[first as usize].0,
            every_ns / 1_000_000_000
        );
        self.windows(&question, None)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let (mut count, mut sum) = (0, 0.0);
        for (_, rows) in self.ask("SELECT count(v), sum(v) FROM /.*/", None)? {
            for row in rows {
                count += row.get(1).and_then(Value::as_u64).unwrap_or(0);
                sum += row.get(2).and_then(Value::as_f64).unwrap_or(0.0);
            }
        }
        Ok((count, sum))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let question = format!("SELECT sum(v) FROM /.*/ WHERE time >= {start_ns} AND time < {end_ns}");
        let answered = self.ask(&question, None)?;
        Ok(answered.iter().flat_map(|(_, rows)| rows).filter_map(|row| row.get(1)?.as_f64()).sum())
    }
}
