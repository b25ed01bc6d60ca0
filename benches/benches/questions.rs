//! Reading: scan, merge of overlapping sources, windows, and a PromQL function.
//!
//! Each checks its answer. `cargo bench --bench questions -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegauge::query::promql::Value;
use tidegauge::query::{Aggregate, Selection};
use tidegauge::{Engine, Level, SeriesSample, Timestamp};
use tidegauge_bench::workload::{Kind, Part, Workload};

const TICKS: u64 = 250;
const SAMPLES: u64 = 4_000 * TICKS;

/// W1 in a folder: flushed once in the middle, so that a segment and another one hold it. With
/// `twice` everything is pushed again, so that two sources overlap everywhere.
///
/// The folder comes first, so that it goes last: an engine closes into it.
fn engine(twice: bool) -> (tempfile::TempDir, Engine, Workload) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let workload = Workload::new(Kind::W1, 1, Some(SAMPLES)).unwrap();
    let register = |slot: u32| engine.series(&workload.labels(u64::from(slot)).borrowed()).unwrap();
    let ids: Vec<_> = (0..workload.slots()).map(register).collect();
    let mut samples = Vec::new();
    workload.generate(&Part::split(&workload, 1, 1_000).unwrap()[0], |cell| {
        let at = Timestamp::from_nanos(workload.timestamp_ns(u64::from(cell.tick)));
        samples.push(SeriesSample::new(ids[cell.slot as usize], at, workload.value(cell.scaled)));
    });
    for _ in 0..if twice { 2 } else { 1 } {
        let mut appender = engine.appender().unwrap();
        for half in samples.chunks(samples.len() / 2) {
            let acks: Vec<_> = half.chunks(1_000).map(|batch| appender.push_batch(batch).unwrap()).collect();
            engine.wait(*acks.last().unwrap(), Level::Visible, Duration::from_secs(60)).unwrap();
            engine.flush().unwrap();
        }
    }
    (dir, engine, workload)
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(SAMPLES)).sample_size(10);
    for (name, twice) in [("one_source", false), ("merge_of_two", true)] {
        let (_dir, engine, _) = engine(twice);
        let snapshot = engine.snapshot();
        group.bench_function(name, |b| {
            b.iter(|| {
                let all = snapshot.install(|sources| Selection::new(sources, &[])).unwrap();
                let sums =
                    snapshot.install(|_| all.par_map(|_, columns| (columns.len(), columns.values.iter().sum::<f64>())));
                let (count, sum) = sums.unwrap().into_iter().fold((0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
                assert_eq!(count as u64, SAMPLES, "duplicates count once");
                sum
            });
        });
    }
    group.finish();
}

fn windows(c: &mut Criterion) {
    let (_dir, engine, _) = engine(false);
    let snapshot = engine.snapshot();
    let mut group = c.benchmark_group("windows");
    group.throughput(Throughput::Elements(SAMPLES)).sample_size(10);
    group.bench_function("mean_per_hour_by_host", |b| {
        b.iter(|| {
            let all = snapshot.select("{host=~\"host_.+\"}").unwrap();
            let hour = Duration::from_secs(3_600);
            let table = all.aggregate(Aggregate::Avg).every(hour).group_by(["host"]).run().unwrap();
            assert_eq!(table.series.len(), 400);
        });
    });
    group.finish();
}

/// What a function makes of the samples of its range.
fn naive(name: &str) -> Option<fn(&[f64]) -> f64> {
    match name {
        "avg_over_time" => Some(|all| all.iter().sum::<f64>() / all.len() as f64),
        "max_over_time" => Some(|all| all.iter().copied().fold(f64::MIN, f64::max)),
        _ => None,
    }
}

fn promql(c: &mut Criterion) {
    let (_dir, engine, workload) = engine(false);
    let snapshot = engine.snapshot();
    let at = |tick| Timestamp::from_nanos(workload.timestamp_ns(tick));
    let mut group = c.benchmark_group("promql");
    group.throughput(Throughput::Elements(400 * TICKS)).sample_size(10);
    // One function each of those that look at ends, at all samples, at an order, and of aggregations over them; all
    // of five minutes, for each of 400 series at each minute.
    for (name, expression, series) in [
        ("rate_over_400_series", "rate(cpu_usage_user[5m])", 400),
        ("avg_over_time", "avg_over_time(cpu_usage_user[5m])", 400),
        ("max_over_time", "max_over_time(cpu_usage_user[5m])", 400),
        ("quantile_over_time", "quantile_over_time(0.9, cpu_usage_user[5m])", 400),
        ("deriv", "deriv(cpu_usage_user[5m])", 400),
        ("sum_by_region_of_rate", "sum by (region) (rate(cpu_usage_user[5m]))", 9),
        ("topk", "topk(5, cpu_usage_user)", 0),
        ("binary_of_two_metrics", "cpu_usage_user / on (host) group_left cpu_usage_system", 400),
    ] {
        let ask = || snapshot.promql(expression).range(at(30), at(TICKS - 1), Duration::from_secs(60)).unwrap().0;
        // What one series comes to is compared with its samples.
        if let Some(of) = naive(name) {
            let (matrix, host) = (ask(), workload.labels(0));
            let host = host.get("host").unwrap_or_default();
            let first = matrix.iter().find(|series| series.labels.get("host") == Some(host)).unwrap();
            let of_host = format!("cpu_usage_user{{host=\"{host}\"}}");
            let raw = snapshot.select(&of_host).unwrap().series(0).read().unwrap();
            for (&at, &value) in first.timestamps.iter().zip(&first.values) {
                let inside = |&(&t, _): &(&i64, &f64)| t > at - 300_000_000_000 && t <= at;
                let window: Vec<f64> = raw.timestamps.iter().zip(&raw.values).filter(inside).map(|p| *p.1).collect();
                assert!((value - of(&window)).abs() < 1e-9, "{name} at {at}: {value}, not {}", of(&window));
            }
        }
        group.bench_function(name, |b| {
            b.iter(|| {
                let matrix = ask();
                assert!(if series == 0 { matrix.len() >= 5 } else { matrix.len() == series }, "{}", matrix.len());
            });
        });
    }
    group.bench_function("count_at_once", |b| {
        b.iter(|| {
            let (value, _) = snapshot.promql("count(cpu_usage_user)").at(at(TICKS - 1)).unwrap();
            assert!(matches!(&value, Value::Vector(v) if v.len() == 1), "{value:?}");
        });
    });
    group.finish();
}

/// The last value by handle and by labels, while the memtable knows it and when only segments do.
fn last(c: &mut Criterion) {
    let (_dir, engine, workload) = engine(false);
    let mut group = c.benchmark_group("last");
    let labels = workload.labels(17);
    let labels = labels.borrowed();
    let id = engine.series(&labels).unwrap();
    let stored = engine.last(id).unwrap().unwrap();
    group.bench_function("by_handle_in_a_segment", |b| {
        b.iter(|| assert_eq!(engine.last(id).unwrap().map(|l| l.value), Some(stored.value)))
    });
    let at = Timestamp::from_nanos(stored.timestamp.nanos() + 1);
    let ack = engine.push(id, at, 1.0).unwrap();
    engine.wait(ack, Level::Visible, Duration::from_secs(60)).unwrap();
    group.bench_function("by_handle", |b| b.iter(|| assert_eq!(engine.last(id).unwrap().map(|l| l.value), Some(1.0))));
    group.bench_function("by_labels", |b| {
        b.iter(|| assert_eq!(engine.last_of(&labels).unwrap().map(|l| l.value), Some(1.0)))
    });
    group.finish();
}

criterion_group!(benches, scan, windows, promql, last);
criterion_main!(benches);
