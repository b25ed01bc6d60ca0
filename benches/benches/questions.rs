//! Reading: scan, merge of overlapping sources, windows, and PromQL functions.
//!
//! Each answer is compared, outside of its time, with what the generated samples come to by plain arithmetic.
//! `cargo bench --bench questions -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

#[path = "support/expected.rs"]
mod expected;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use tidegauge::query::promql::Value;
use tidegauge::query::{Aggregate, Selection};
use tidegauge::{Engine, Level, SeriesSample, Timestamp};
use tidegauge_bench::workload::{Kind, Part, Workload};

use expected::{Answer, Generated, NS_PER_S, assert_same};

const TICKS: u64 = 250;
const SAMPLES: u64 = 4_000 * TICKS;

/// W1 in a folder: flushed once in the middle, so that a segment and another one hold it. With
/// `twice` everything is pushed again, so that two sources overlap everywhere; the values that came first are other ones.
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
    let others: Vec<_> =
        samples.iter().map(|one| SeriesSample::new(one.series(), one.timestamp(), one.value() + 1.0)).collect();
    for samples in [Some(&others).filter(|_| twice), Some(&samples)].into_iter().flatten() {
        let mut appender = engine.appender().unwrap();
        for half in samples.chunks(samples.len() / 2) {
            let acks: Vec<_> = half.chunks(1_000).map(|batch| appender.push_batch(batch).unwrap()).collect();
            engine.wait(*acks.last().unwrap(), Level::Visible, Duration::from_secs(60)).unwrap();
            engine.flush().unwrap();
        }
    }
    (dir, engine, workload)
}

/// Takes the time of `ask`, and hands each answer to `check` when the clock stands still.
fn checked<A>(b: &mut Bencher, ask: impl Fn() -> A, check: impl Fn(A)) {
    b.iter_custom(|times| {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            let start = Instant::now();
            let answer = black_box(ask());
            took += start.elapsed();
            check(answer);
        }
        took
    });
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(SAMPLES)).sample_size(10);
    for (name, twice) in [("one_source", false), ("merge_of_two", true)] {
        let (_dir, engine, workload) = engine(twice);
        let (snapshot, right) = (engine.snapshot(), Generated::new(&workload).sum());
        let ask = || {
            let all = snapshot.install(|sources| Selection::new(sources, &[])).unwrap();
            let sums =
                snapshot.install(|_| all.par_map(|_, columns| (columns.len(), columns.values.iter().sum::<f64>())));
            sums.unwrap().into_iter().fold((0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
        };
        group.bench_function(name, |b| {
            checked(b, ask, |(count, sum): (usize, f64)| {
                assert_eq!(count as u64, SAMPLES, "duplicates count once");
                assert!((sum - right).abs() <= 1e-9 * right, "{sum}, not {right}: of two, the later one counts");
            });
        });
    }
    group.finish();
}

fn windows(c: &mut Criterion) {
    let (_dir, engine, workload) = engine(false);
    let (snapshot, right) = (engine.snapshot(), Generated::new(&workload).means(3_600 * NS_PER_S));
    let mut group = c.benchmark_group("windows");
    group.throughput(Throughput::Elements(SAMPLES)).sample_size(10);
    let ask = || {
        let all = snapshot.select("{host=~\"host_.+\"}").unwrap();
        let hour = Duration::from_secs(3_600);
        all.aggregate(Aggregate::Avg).every(hour).group_by(["host"]).run().unwrap()
    };
    group.bench_function("mean_per_hour_by_host", |b| {
        checked(b, ask, |table| {
            let rows = table.series.iter().map(|row| {
                let points = row.timestamps.iter().copied().zip(row.values.iter().copied());
                (row.labels.get("host").unwrap_or_default().to_owned(), points.collect())
            });
            assert_same("mean_per_hour_by_host", &rows.collect(), &right);
        });
    });
    group.finish();
}

fn promql(c: &mut Criterion) {
    let (_dir, engine, workload) = engine(false);
    let (snapshot, generated) = (engine.snapshot(), Generated::new(&workload));
    let at = |tick| Timestamp::from_nanos(workload.timestamp_ns(tick));
    let steps: Vec<i64> = (30..TICKS).step_by(6).map(|tick| workload.timestamp_ns(tick)).collect();
    let mut group = c.benchmark_group("promql");
    group.throughput(Throughput::Elements(400 * TICKS)).sample_size(10);
    // One function each of those that look at ends, at all samples, at an order, and of aggregations over them; all
    // of five minutes, for each of 400 series at each minute.
    for (name, expression) in [
        ("rate_over_400_series", "rate(cpu_usage_user[5m])"),
        ("avg_over_time", "avg_over_time(cpu_usage_user[5m])"),
        ("max_over_time", "max_over_time(cpu_usage_user[5m])"),
        ("quantile_over_time", "quantile_over_time(0.9, cpu_usage_user[5m])"),
        ("deriv", "deriv(cpu_usage_user[5m])"),
        ("sum_by_region_of_rate", "sum by (region) (rate(cpu_usage_user[5m]))"),
        ("topk", "topk(5, cpu_usage_user)"),
        ("binary_of_two_metrics", "cpu_usage_user / on (host) group_left cpu_usage_system"),
    ] {
        let key = if name == "sum_by_region_of_rate" { "region" } else { "host" };
        let right = generated.promql(name, &steps);
        group.bench_function(name, |b| {
            let ask = || snapshot.promql(expression).range(at(30), at(TICKS - 1), Duration::from_secs(60)).unwrap().0;
            checked(b, ask, |matrix| {
                let series = matrix.iter().map(|series| {
                    let points = series.timestamps.iter().copied().zip(series.values.iter().copied());
                    (series.labels.get(key).unwrap_or_default().to_owned(), points.collect())
                });
                let found: Answer = series.collect();
                if name == "topk" {
                    generated.assert_topk(&found, 5, &steps);
                } else {
                    assert_same(name, &found, &right);
                }
            });
        });
    }
    group.bench_function("count_at_once", |b| {
        let ask = || snapshot.promql("count(cpu_usage_user)").at(at(TICKS - 1)).unwrap().0;
        checked(b, ask, |value| {
            assert!(matches!(&value, Value::Vector(v) if v.len() == 1 && v[0].value == 400.0), "{value:?}");
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
    let right = Generated::new(&workload).last(17);
    assert_eq!((stored.timestamp.nanos(), stored.value), right);
    group.bench_function("by_handle_in_a_segment", |b| {
        b.iter(|| assert_eq!(engine.last(id).unwrap().map(|l| l.value), Some(right.1)))
    });
    let at = Timestamp::from_nanos(stored.timestamp.nanos() + 1);
    let ack = engine.push(id, at, 1.0).unwrap();
    engine.wait(ack, Level::Visible, Duration::from_secs(60)).unwrap();
    group.bench_function("by_handle", |b| b.iter(|| assert_eq!(engine.last(id).unwrap().map(|l| l.value), Some(1.0))));
    group.bench_function("by_labels", |b| {
        b.iter(|| assert_eq!(engine.last_of(&labels).unwrap().map(|l| l.value), Some(1.0)))
    });
    group.bench_function("by_handle_in_a_snapshot", |b| {
        b.iter(|| assert_eq!(engine.snapshot().last(id).unwrap().map(|l| l.value), Some(1.0)))
    });
    group.finish();
}

criterion_group!(benches, scan, windows, promql, last);
criterion_main!(benches);
