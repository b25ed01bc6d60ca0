//! What questions cost, each by itself: `cargo run --release -p tidegauge-query --example scan_rates [SERIES] [NAME]`.
//!
//! One segment in memory: 400 hosts × 10 metrics, 2,500 samples each, 10 s apart; one of 100 of these series for eleven
//! days, 100,000 samples each; and one of SERIES series (default 100,000) of ten samples. The walks are made as the driver
//! makes those of its workload `w1` (steps with a variance of 1, kept within 0–100, rounded to two decimals), but not of
//! the same numbers: of `w1` itself `tidegauge-bench run` tells what a scan on one thread reads. Sums, maxima and counts
//! of everything are compared with those of the samples. One thread, medians; with NAME only questions whose names hold
//! it. `scaling` as NAME compares what a second thread gains: a full scan, and a sum
//! over as many plain floats in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use tidegauge_query::{Aggregate, Selection, Table};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, Snapshot};

const STEP: i64 = 10_000_000_000;
const START: i64 = 1_700_000_000_000_000_000;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        self.next() as f64 / f64::from(1u32 << 31)
    }

    /// About normal, with a variance of 1: the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied(), &LabelLimits::DEFAULT).expect("good labels")
}

/// Ten labels, as the time-series benchmark suite has them.
fn host_labels(host: usize, metric: usize) -> Labels {
    let (name, host_name) = (format!("cpu_usage_{metric}"), format!("host_{host}"));
    let (region, rack) = (["eu-west-1", "us-east-1", "ap-south-1"][host % 3], (host % 97).to_string());
    let (service, version) = ((host % 19).to_string(), (host % 2).to_string());
    labels(&[
        ("__name__", &name),
        ("hostname", &host_name),
        ("region", region),
        ("datacenter", &format!("{region}{}", ["a", "b"][host % 2])),
        ("rack", &rack),
        ("os", "Ubuntu16.10"),
        ("arch", "x64"),
        ("team", ["SF", "NYC", "LON", "CHI"][host % 4]),
        ("service", &service),
        ("service_version", &version),
        ("service_environment", ["test", "production", "staging"][host % 3]),
    ])
}

/// What samples come to that were written.
#[derive(Clone, Copy, Default)]
struct Truth {
    count: usize,
    sum: f64,
    max: f64,
}

impl Truth {
    fn see(&mut self, value: f64) {
        *self = Self { count: self.count + 1, sum: self.sum + value, max: self.max.max(value) };
    }
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} where the samples come to {expected}");
}

/// The samples of a segment, and what they come to: all, and without the first of each series.
struct Written {
    snapshot: Snapshot,
    all: Truth,
    cut: Truth,
}

fn segment(series: impl IntoIterator<Item = (Labels, usize)>) -> Written {
    let (fs, dir) = (SimFs::new(), Path::new("/s"));
    fs.create_dir_all(dir).expect("a folder in memory");
    let made = SegmentWriter::create(Arc::new(fs.clone()), dir, 1, SegmentHeader::default());
    let mut writer = made.expect("a file in memory");
    let mut noise = Noise(1);
    let mut series: Vec<_> = series.into_iter().collect();
    series.sort();
    let mut columns = Columns::default();
    let (mut all, mut cut) = (Truth::default(), Truth::default());
    for (labels, samples) in &series {
        columns.clear();
        let mut at = noise.unit() * 100.0;
        for i in 0..*samples as i64 {
            at = (at + noise.normal()).clamp(0.0, 100.0);
            let value = (at * 100.0).round() / 100.0;
            columns.push(START + i * STEP, value);
            all.see(value);
            if i > 0 {
                cut.see(value);
            }
        }
        writer.push_series(labels, &columns, SeqNo(1)).expect("series in order");
    }
    writer.finish().expect("a file in memory");
    let segment = Segment::open(&fs, &dir.join(file_name(1))).expect("just written");
    Written { snapshot: Snapshot::new(vec![Arc::new(segment)], SeqNo(1)), all, cut }
}

/// The answer where all series are one group, without windows.
fn only(table: &Table) -> f64 {
    assert!(table.series.len() == 1 && table.series[0].values.len() == 1, "one value");
    table.series[0].values[0]
}

fn time(name: &str, samples: usize, mut ask: impl FnMut() -> usize) {
    if std::env::args().nth(2).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || (begin.elapsed() < Duration::from_millis(400) && times.len() < 20_000) {
        let start = Instant::now();
        assert!(ask() > 0, "{name} answers nothing");
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2].as_secs_f64();
    print!("{name:34} {:>12.3} µs", median * 1e6);
    if samples > 0 { println!("  {:>9.1} M samples/s", samples as f64 / median / 1e6) } else { println!() }
}

fn main() {
    let series = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    if std::env::args().nth(2).as_deref() == Some("scaling") {
        return scaling(&[pool(1), pool(2)]);
    }
    pool(1).install(|| {
        hosts();
        long();
        many(series);
    });
}

/// Gains from one thread to two, medians of pairs taken in turn: of work that lasts some milliseconds, where
/// waking the second thread and giving it a processor counts, and of ten times as much in a row.
fn scaling(pools: &[rayon::ThreadPool; 2]) {
    const SAMPLES: usize = 2500;
    let Written { snapshot, cut: truth, .. } = segment((0..4000).map(|i| (host_labels(i / 10, i % 10), SAMPLES)));
    let end = START + SAMPLES as i64 * STEP;
    // What statistics could answer is cut off, so that all is decoded.
    let cut = TimeRange::new(Timestamp::from_nanos(START + 1), Timestamp::from_nanos(end));
    let sum = Selection::new(&snapshot, &[]).expect("a selection").range(cut).aggregate(Aggregate::Sum).group_all();
    let plain = vec![truth.sum / (4000 * SAMPLES) as f64; 4000 * SAMPLES];
    let raw = || plain.par_chunks(1 << 16).map(|part| part.iter().sum::<f64>()).sum::<f64>();
    let scan = || only(&sum.run().expect("an answer"));
    for (name, times) in [("once", 1), ("ten in a row", 10)] {
        let gain = |ask: &(dyn Fn() -> f64 + Sync)| {
            let took = pools.each_ref().map(|pool| {
                let start = Instant::now();
                (0..times).for_each(|_| assert_close(pool.install(ask), truth.sum));
                start.elapsed()
            });
            took[0].as_secs_f64() / took[1].as_secs_f64()
        };
        let mut gains: Vec<(f64, f64)> = (0..41).map(|_| (gain(&raw), gain(&scan))).collect();
        let mut median = |by: fn(&(f64, f64)) -> f64| {
            gains.sort_by(|a, b| by(a).total_cmp(&by(b)));
            by(&gains[gains.len() / 2])
        };
        let (raw, scan) = (median(|g| g.0), median(|g| g.1));
        println!("two threads, {name:12}: plain sum x{raw:.2}, full scan x{scan:.2}: {:.2} of it", scan / raw);
    }
}

fn hosts() {
    const SAMPLES: usize = 2500;
    let written = segment((0..4000).map(|i| (host_labels(i / 10, i % 10), SAMPLES)));
    let Written { snapshot, all: truth, cut: cut_truth } = written;
    let end = START + SAMPLES as i64 * STEP;
    let range = |from: i64, to: i64| TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(to));
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let last_hour = range(end - 360 * STEP, end);
    let select = |matchers: &[Matcher]| Selection::new(&snapshot, matchers).expect("a selection");
    let metric = [Matcher::equal("__name__", "cpu_usage_3")];
    let host = [Matcher::equal("hostname", "host_77")];
    let one = [Matcher::equal("__name__", "cpu_usage_3"), Matcher::equal("hostname", "host_77")];
    let regex = [Matcher::new("hostname", MatchOp::Regex, "host_1.*").expect("a regex")];
    time("select one series", 0, || select(&one).len());
    time("select one host", 0, || select(&host).len());
    time("select one metric", 0, || select(&metric).len());
    time("select by regex", 0, || select(&regex).len());
    time("select all", 0, || select(&[]).len());
    let (one, host, metric, all) = (select(&one), select(&host), select(&metric), select(&[]));
    time("Q1 last value", 0, || one.last().expect("an answer").len());
    let raw = one.clone().range(last_hour);
    time("Q2 one hour raw", 360, || raw.series(0).read().expect("samples").len());
    let minutes = host.clone().range(last_hour).aggregate(Aggregate::Max).every(minute);
    time("Q3 max by minute, 10 series", 3600, || minutes.run().expect("an answer").series.len());
    let hours = metric.clone().aggregate(Aggregate::Avg).every(hour);
    time("Q4 mean by hour, 400 series", 400 * SAMPLES, || hours.run().expect("an answer").series.len());
    let whole = all.aggregate(Aggregate::Sum).group_all();
    let right = |table: &Table, expected| {
        assert_close(only(table), expected);
        1
    };
    time("sum of all by statistics", 4000 * SAMPLES, || right(&whole.run().expect("an answer"), truth.sum));
    let cut = all.clone().range(range(START + 1, end));
    let sum = cut.aggregate(Aggregate::Sum).group_all();
    time("sum of all, decoded", 4000 * (SAMPLES - 1), || right(&sum.run().expect("an answer"), cut_truth.sum));
    let max = cut.aggregate(Aggregate::Max).group_all();
    time("max of all, decoded", 4000 * (SAMPLES - 1), || right(&max.run().expect("an answer"), cut_truth.max));
    let by_host = all.aggregate(Aggregate::Avg).every(hour).group_by(["hostname"]);
    time("mean by hour and host", 4000 * SAMPLES, || by_host.run().expect("an answer").series.len());
    time("columns of all", 4000 * SAMPLES, || {
        let read = all.par_map(|_, c| c.len()).expect("an answer").into_iter().sum();
        assert_eq!(read, truth.count);
        read
    });
}

/// Series of many chunks, most of which lie within one window.
fn long() {
    const SAMPLES: usize = 100_000;
    let Written { snapshot, all: truth, .. } = segment((0..100).map(|i| (host_labels(i, 3), SAMPLES)));
    println!("100 series of {SAMPLES} samples");
    let all = Selection::new(&snapshot, &[]).expect("a selection");
    let whole = all.aggregate(Aggregate::Sum);
    time("sum of each, by statistics", 100 * SAMPLES, || {
        let table = whole.run().expect("an answer");
        assert_close(table.series.iter().flat_map(|one| &one.values).sum(), truth.sum);
        table.series.len()
    });
    let days = all.aggregate(Aggregate::Max).every(Duration::from_secs(86_400));
    time("max by day, statistics and edges", 100 * SAMPLES, || days.run().expect("an answer").series.len());
}

fn many(series: usize) {
    let name = |i: usize| labels(&[("__name__", "m"), ("id", &format!("{i:07}")), ("zone", &(i % 10).to_string())]);
    let Written { snapshot, all: truth, .. } = segment((0..series).map(|i| (name(i), 10)));
    let zone = [Matcher::equal("zone", "3")];
    let one = [Matcher::equal("id", format!("{:07}", series / 2))];
    println!("{series} series of ten samples");
    let select = |matchers: &[Matcher]| Selection::new(&snapshot, matchers).expect("a selection");
    time("select one series", 0, || select(&one).len());
    time("select a tenth", 0, || select(&zone).len());
    time("select all", 0, || select(&[]).len());
    let all = select(&[]);
    let hour = Duration::from_secs(3600);
    let (sum, by_zone) = (all.aggregate(Aggregate::Sum).group_all(), all.aggregate(Aggregate::Avg).every(hour));
    time("sum of all", series * 10, || {
        assert_close(only(&sum.run().expect("an answer")), truth.sum);
        1
    });
    time("mean by hour and zone", series * 10, || {
        by_zone.clone().group_by(["zone"]).run().expect("an answer").series.len()
    });
    time("mean by hour", series * 10, || by_zone.run().expect("an answer").series.len());
    time("last of all", 0, || all.last().expect("an answer").len());
}
