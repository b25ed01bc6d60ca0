//! Prometheus, VictoriaMetrics and Tidegauge as a server: remote write in, PromQL out.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tidegauge::Durability;
use tidegauge_bench::workload::{Kind, Workload};

use super::write::Encoder;
use super::{Agent, Server, encoded, steady_bytes};
use crate::Options;
use crate::store::{Error, Row, Store, bytes_below};

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Prometheus,
    Victoria,
    Tidegauge(Durability),
}

/// A series of an answer: its number and samples.
type Answered = (u32, Vec<(i64, f64)>);

pub(super) struct Prom {
    which: Which,
    version: String,
    server: Server,
    dir: PathBuf,
    encoder: Encoder,
    /// Labels by series, the name among them.
    labels: Vec<Vec<(String, String)>>,
    numbers: HashMap<Vec<(String, String)>, u32>,
    first_ms: i64,
    last_ms: i64,
}

impl Prom {
    pub(super) fn prometheus(dir: &Path, workload: &Workload) -> Result<Option<Self>, Error> {
        let config = dir.join("prometheus.yml");
        // It refuses what is late, unless it is told how late that may be.
        let late = if workload.kind() == Kind::Late { LATE_CONFIG } else { "" };
        std::fs::write(&config, format!("scrape_configs: []\n{late}"))?;
        let data = dir.join("data");
        let server = Server::start("prometheus", "/-/ready", dir, |port, command| {
            command.arg(format!("--config.file={}", config.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command.args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
            command.args(["--storage.tsdb.retention.time=100y", "--query.max-samples=2000000000"]);
        })?;
        server.map(|server| Self::new(Which::Prometheus, server, data, workload)).transpose()
    }

    pub(super) fn victoria(dir: &Path, workload: &Workload) -> Result<Option<Self>, Error> {
        let data = dir.join("data");
        let server = Server::start("victoria-metrics", "/health", dir, |port, command| {
            command.arg(format!("-storageDataPath={}", data.display()));
            command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
            command.args(["-retentionPeriod=100y", "-search.maxUniqueTimeseries=3000000", "-selfScrapeInterval=0"]);
            command.arg("-search.latencyOffset=0s");
        })?;
        server.map(|server| Self::new(Which::Victoria, server, data, workload)).transpose()
    }

    /// The program that was named, else the one built in this tree, else the one that is installed.
    pub(super) fn tidegauge(dir: &Path, workload: &Workload, options: &Options) -> Result<Option<Self>, Error> {
        let (data, durability) = (dir.join("data"), options.durability);
        let start = |program: &str| {
            Server::start(program, "/-/ready", dir, |port, command| {
                command.arg("serve").arg("--data-dir").arg(&data).args(["--listen", &format!("127.0.0.1:{port}")]);
                command.args(["--durability", &durability.to_string(), "--no-host-metrics", "--enable-admin-api"]);
            })
        };
        let agent = Agent::of(options.agent.as_deref());
        let server = start(&agent.path)?;
        if server.is_none() && options.agent.is_some() {
            return Err(format!("{}, which --agent names, is not there", agent.path).into());
        }
        server.map(|server| Self::new(Which::Tidegauge(durability), server, data, workload)).transpose()
    }

    fn new(which: Which, server: Server, dir: PathBuf, workload: &Workload) -> Result<Self, Error> {
        let labels = |slot: u32| {
            let labels = workload.labels(u64::from(slot));
            labels.borrowed().iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        let labels: Vec<_> = (0..workload.slots()).map(labels).collect();
        let encoder = Encoder::new(labels.iter().cloned());
        let numbers = labels.iter().cloned().zip(0u32..).collect();
        let version = match which {
            Which::Prometheus | Which::Tidegauge(_) => {
                let about: Value = serde_json::from_str(&server.get("/api/v1/status/buildinfo")?)?;
                about.pointer("/data/version").and_then(Value::as_str).unwrap_or("").to_owned()
            }
            Which::Victoria => server
                .get("/metrics")?
                .lines()
                .find_map(|line| line.strip_prefix("vm_app_version{")?.split("short_version=\"").nth(1))
                .and_then(|rest| rest.split('"').next())
                .unwrap_or("")
                .to_owned(),
        };
        Ok(Self { which, version, server, dir, encoder, labels, numbers, first_ms: i64::MAX, last_ms: i64::MIN })
    }

    /// Series by series: number and samples. `name` is the metric where the function took it away.
    fn ask(&self, path: &str, name: Option<&str>) -> Result<Vec<Answered>, Error> {
        let answer: Value = serde_json::from_str(&self.server.get(path)?)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array).ok_or("an answer without a result")?;
        let mut found = Vec::new();
        for series in result {
            let metric = series.get("metric").and_then(Value::as_object).ok_or("a series without labels")?;
            let mut labels: Vec<(String, String)> =
                metric.iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
            // Some take the name away, and some leave it.
            if let Some(name) = name.filter(|_| !metric.contains_key("__name__")) {
                labels.push(("__name__".into(), name.into()));
            }
            if let Some(at) = labels.iter().position(|pair| pair.0 == "metric_name") {
                let (_, name) = labels.remove(at);
                labels.push(("__name__".into(), name));
            }
            labels.sort_unstable();
            let number =
                *self.numbers.get(&labels).ok_or_else(|| format!("a series that was never pushed: {labels:?}"))?;
            let values = series.get("values").and_then(Value::as_array).cloned();
            let values = values.or_else(|| series.get("value").map(|one| vec![one.clone()])).unwrap_or_default();
            let sample = |pair: &Value| {
                let at_ms = (pair.get(0)?.as_f64()? * 1e3).round() as i64;
                Some((at_ms * 1_000_000, pair.get(1)?.as_str()?.parse().ok()?))
            };
            found.push((number, values.iter().filter_map(sample).collect()));
        }
        Ok(found)
    }

    fn scalar(&self, expression: &str, at_ms: i64) -> Result<f64, Error> {
        let path = format!("/api/v1/query?query={}&time={}{}", encoded(expression), seconds(at_ms), NO_CACHE);
        let answer: Value = serde_json::from_str(&self.server.get(&path)?)?;
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str).ok_or("an empty answer")?;
        Ok(value.parse()?)
    }

    /// The sum over all series of what `of` makes of each one's samples in a range that ends at `last_ms`.
    fn over_all(&self, of: &str, range_ms: i64, last_ms: i64) -> Result<f64, Error> {
        // Prometheus does not count over series that differ only by their name, which the function takes away.
        let expression = match self.which {
            Which::Victoria => format!("sum({of}_over_time({{__name__=~\".+\"}}[{range_ms}ms]))"),
            Which::Prometheus | Which::Tidegauge(_) => {
                let one = |name: &&str| format!("sum({of}_over_time({name}[{range_ms}ms]))");
                self.metrics().iter().map(one).collect::<Vec<_>>().join(" + ")
            }
        };
        self.scalar(&expression, last_ms)
    }

    /// The names of all metrics.
    fn metrics(&self) -> BTreeSet<&str> {
        let pairs = self.labels.iter().flatten();
        pairs.filter(|pair| pair.0 == "__name__").map(|pair| pair.1.as_str()).collect()
    }

    /// The range that reaches just `length_ms` milliseconds back: older releases of Prometheus count both its ends.
    fn reach_ms(&self, length_ms: i64) -> i64 {
        let counts_both = self.which == Which::Prometheus && self.version.starts_with("2.");
        length_ms - i64::from(counts_both)
    }

    fn selector(&self, series: u32) -> String {
        selector(self.labels[series as usize].iter())
    }

    /// `of` over windows of all series that `expressions` select, each with the name of its metric.
    fn by(
        &self,
        expression: &str,
        name: Option<&str>,
        (start, end): (i64, i64),
        every_ns: i64,
    ) -> Result<Vec<(u32, i64, f64)>, Error> {
        let (start, end, every) = (start / 1_000_000, end / 1_000_000, every_ns / 1_000_000);
        // A window [m, m + every) is asked for at its last millisecond.
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={}&step={}{NO_CACHE}",
            encoded(expression),
            seconds(start + every - 1),
            seconds(end - 1),
            every / 1_000
        );
        let mut found = Vec::new();
        for (series, samples) in self.ask(&path, name)? {
            found.extend(samples.into_iter().map(|(at, value)| (series, at + 1_000_000 - every_ns, value)));
        }
        Ok(found)
    }
}

/// More than the day that samples of the workload `late` are late at most.
const LATE_CONFIG: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 2d\n";

/// VictoriaMetrics would answer from its cache, and move the times asked for.
const NO_CACHE: &str = "&nocache=1";

/// The first millisecond in a range, and the last one.
fn whole_ms(start_ns: i64, end_ns: i64) -> (i64, i64) {
    ((start_ns - 1).div_euclid(1_000_000) + 1, (end_ns - 1).div_euclid(1_000_000))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

fn selector<'a>(labels: impl Iterator<Item = &'a (String, String)>) -> String {
    let matchers: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", matchers.join(","))
}

impl Store for Prom {
    fn name(&self) -> String {
        let name = match self.which {
            Which::Prometheus => "prometheus",
            Which::Victoria => "victoria-metrics",
            Which::Tidegauge(_) => "tidegauge",
        };
        // Debian's VictoriaMetrics does not know its version.
        let version = if self.version.is_empty() { String::new() } else { format!(" {}", self.version) };
        format!("{name}{version} (server)")
    }

    fn durability(&self) -> &'static str {
        match self.which {
            Which::Prometheus => "in its log, which is synced only when a piece of it is full",
            Which::Victoria => "in memory, written and synced every few seconds",
            Which::Tidegauge(durability) => crate::stores::promised(durability),
        }
    }

    fn level(&self) -> Durability {
        match self.which {
            Which::Tidegauge(durability) => durability,
            // Neither promises that much.
            _ => Durability::DEFAULT,
        }
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        for row in rows {
            self.first_ms = self.first_ms.min(row.timestamp_ns / 1_000_000);
            self.last_ms = self.last_ms.max(row.timestamp_ns / 1_000_000);
        }
        let body = self.encoder.body(rows)?;
        self.server.post("/api/v1/write", &HEADERS, &body)
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        if self.which == Which::Victoria {
            self.server.get("/internal/force_flush")?;
        }
        Ok(())
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        // None of them can be asked for that.
        Ok(self.which == Which::Tidegauge(Durability::Sync))
    }

    fn settle(&mut self) -> Result<u64, Error> {
        if self.which != Which::Victoria {
            // Its head is a block on disk only in a snapshot.
            self.server.post("/api/v1/admin/tsdb/snapshot", &[], &[])?;
            return bytes_below(&self.dir.join("snapshots"));
        }
        self.server.get("/internal/force_flush")?;
        self.server.get("/internal/force_merge")?;
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

    fn last(&mut self, series: u32, (_, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        // It looks back by itself, for as long as the range lasts.
        let (expression, at_ms) = (self.selector(series), (end_ns - 1).div_euclid(1_000_000));
        let path = format!("/api/v1/query?query={}&time={}{NO_CACHE}", encoded(&expression), seconds(at_ms));
        Ok(self.ask(&path, None)?.first().and_then(|(_, samples)| samples.last().copied()))
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let (first, last) = whole_ms(start_ns, end_ns);
        let expression = format!("{}[{}ms]", self.selector(series), self.reach_ms(last - first + 1));
        let at = seconds(last);
        let path = format!("/api/v1/query?query={}&time={at}{NO_CACHE}", encoded(&expression));
        Ok(self.ask(&path, None)?.pop().map_or(Vec::new(), |(_, samples)| samples))
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        let window = self.reach_ms(every_ns / 1_000_000);
        // The function takes the name away, by which these series differ: one can be told to leave it, one takes it away
        // only at the end, and of one each series is asked for.
        let host = selector(self.labels[series[0] as usize].iter().filter(|pair| pair.0 == "host"));
        let over_host = format!("max_over_time({host}[{window}ms])");
        match self.which {
            Which::Victoria => {
                return self.by(&format!("{over_host} keep_metric_names"), None, range_ns, every_ns);
            }
            Which::Tidegauge(_) => {
                let expression = format!("label_replace({over_host}, \"metric_name\", \"$1\", \"__name__\", \"(.+)\")");
                return self.by(&expression, None, range_ns, every_ns);
            }
            Which::Prometheus => {}
        }
        let one = |&series: &u32| {
            let name = &self.labels[series as usize].iter().find(|pair| pair.0 == "__name__").expect("all have one").1;
            let over = format!("max_over_time({}[{window}ms])", self.selector(series));
            format!("label_replace({over}, \"metric_name\", \"{name}\", \"\", \"\")")
        };
        let expression = series.iter().map(one).collect::<Vec<_>>().join(" or ");
        self.by(&expression, None, range_ns, every_ns)
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        let Some(&first) = series.first() else { return Ok(Vec::new()) };
        let name =
            self.labels[first as usize].iter().find(|pair| pair.0 == "__name__").expect("all have one").1.clone();
        let window = self.reach_ms(every_ns / 1_000_000);
        self.by(&format!("avg_over_time({name}[{window}ms])"), Some(&name), range_ns, every_ns)
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        // One more is none too many: there is nothing before.
        let over = |of| self.over_all(of, self.last_ms - self.first_ms + 1, self.last_ms);
        Ok((over("count")? as u64, over("sum")?))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let (first, last) = whole_ms(start_ns, end_ns);
        self.over_all("sum", self.reach_ms(last - first + 1), last)
    }
}
