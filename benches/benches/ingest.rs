//! Pushing into an engine until everything is visible, with and without the log.
//!
//! `ingest/<durability>/<batch>`: one appender, a new engine for each run. Each run checks, outside of its time, that what
//! is visible is as many samples as were pushed, and their sum. `cargo bench --bench ingest -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegauge::query::Selection;
use tidegauge::{Durability, Engine, Level, SeriesId, SeriesSample, Timestamp};
use tidegauge_bench::workload::{Kind, Part, Workload};

const SAMPLES: u64 = 200_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine with the workload's series, and its samples ready to push.
fn prepared(durability: Durability, dir: &std::path::Path, workload: &Workload) -> (Engine, Vec<SeriesSample>) {
    let engine = Engine::builder(dir).durability(durability).open().unwrap();
    let register = |slot: u32| engine.series(&workload.labels(u64::from(slot)).borrowed()).unwrap();
    let ids: Vec<SeriesId> = (0..workload.slots()).map(register).collect();
    let part = &Part::split(workload, 1, 1_000).unwrap()[0];
    let mut samples = Vec::with_capacity(part.cells() as usize);
    workload.generate(part, |cell| {
        let at = Timestamp::from_nanos(workload.timestamp_ns(u64::from(cell.tick)));
        samples.push(SeriesSample::new(ids[cell.slot as usize], at, workload.value(cell.scaled)));
    });
    (engine, samples)
}

fn push(engine: &Engine, samples: &[SeriesSample], batch: usize) {
    let mut appender = engine.appender().unwrap();
    let mut last = None;
    for batch in samples.chunks(batch) {
        last = Some(appender.push_batch(batch).unwrap());
    }
    engine.wait(last.unwrap(), Level::Visible, PATIENCE).unwrap();
}

/// What a run leaves. It is dropped when the clock has stopped, and checked then.
struct Pushed {
    engine: Engine,
    samples: Vec<SeriesSample>,
    _dir: tempfile::TempDir,
}

/// Samples, and the sum of their values in hundredths: whole numbers, so that the order of adding is all the same.
fn summed(values: impl Iterator<Item = f64>) -> (u64, i64) {
    values.fold((0, 0), |(count, sum), value| (count + 1, sum + (value * 100.0).round() as i64))
}

impl Drop for Pushed {
    fn drop(&mut self) {
        let all = Selection::new(&self.engine.snapshot(), &[]).unwrap();
        let found = all.iter().flat_map(|series| series.read().unwrap().values).collect::<Vec<f64>>();
        let pushed = self.samples.iter().map(SeriesSample::value);
        assert_eq!(summed(found.into_iter()), summed(pushed), "what is visible is what was pushed");
        assert_eq!(self.samples.len() as u64, SAMPLES);
    }
}

fn ingest(c: &mut Criterion) {
    let workload = Workload::new(Kind::W1, 1, Some(SAMPLES)).unwrap();
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(SAMPLES)).sample_size(10);
    for durability in [Durability::Memory, Durability::DEFAULT] {
        for batch in [1usize, 1_000] {
            group.bench_function(BenchmarkId::new(durability.to_string(), batch), |b| {
                b.iter_batched(
                    || {
                        let dir = tempfile::tempdir().unwrap();
                        let (engine, samples) = prepared(durability, dir.path(), &workload);
                        Pushed { engine, samples, _dir: dir }
                    },
                    |pushed| {
                        push(&pushed.engine, &pushed.samples, batch);
                        pushed
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
