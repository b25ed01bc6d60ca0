//! Pushing into an engine until everything is visible, with and without the log.
//!
//! `ingest/<durability>/<batch>`: one appender, a new engine for each run. Each run checks that as many samples are
//! visible as were pushed. `cargo bench --bench ingest -- --test` runs each once.

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
                        (engine, samples, dir)
                    },
                    |(engine, samples, dir)| {
                        push(&engine, &samples, batch);
                        (engine, samples, dir)
                    },
                    BatchSize::PerIteration,
                );
            });
            let dir = tempfile::tempdir().unwrap();
            let (engine, samples) = prepared(durability, dir.path(), &workload);
            push(&engine, &samples, batch);
            let visible: u64 = Selection::new(&engine.snapshot(), &[]).unwrap().count().unwrap().iter().sum();
            assert_eq!(visible, SAMPLES, "{durability} {batch}");
        }
    }
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
