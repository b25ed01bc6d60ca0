//! Appending to tails, sealing the full ones and all of them: what the ingest worker does with each sample.
//!
//! `memtable/append/<series>`: 100 ticks of so many series, series by series at each tick as W1 has them, or in random
//! order. `memtable/close`: sealing 4,000 short tails at a rotation. Each run checks, outside of its time, that as many
//! samples are in tails and sealed chunks as were appended, and their sum.
//!
//! `cargo bench --bench memtable -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

use std::cell::Cell;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegauge::internals::memtable::{
    Full, HeadTable, HeadWriter, Moment, Origin, Pair, PinView, Seal, Sealer, SeriesHead, open_tail,
};
use tidegauge_bench::rng::Rng;

const TICKS: i64 = 100;
const COMMIT: u64 = 1;
const OF: Origin = Origin { generation: 1, commit: 0 };
/// Slots that are sealed together, as the worker does.
const PACK: u32 = 256;

/// Heads by slot.
struct Heads {
    heads: Vec<SeriesHead>,
    claimed: Cell<bool>,
}

impl Heads {
    fn new(series: u32) -> Self {
        Self { heads: (0..series).map(|_| SeriesHead::new()).collect(), claimed: Cell::new(false) }
    }

    /// Samples in open tails of the first generation, and the sum of their values.
    fn open(&self) -> (u64, f64) {
        let (mut count, mut sum) = (0, 0.0);
        for head in &self.heads {
            let pairs = open_tail(head, OF);
            count += pairs.len() as u64;
            sum += pairs.iter().map(|pair| pair.value).sum::<f64>();
        }
        (count, sum)
    }
}

impl HeadTable for Heads {
    fn head(&self, slot: u32) -> &SeriesHead {
        &self.heads[slot as usize]
    }

    fn len(&self) -> u32 {
        self.heads.len() as u32
    }

    fn claim_writer(&self) -> bool {
        !self.claimed.replace(true)
    }
}

/// Encodes what is sealed, and counts it.
#[derive(Default)]
struct Sink {
    sealer: Sealer,
    count: u64,
    sum: f64,
    bytes: usize,
}

impl Sink {
    fn note(&mut self, full: &Full<'_>) {
        self.count += full.pairs.len() as u64;
        self.sum += full.pairs.iter().map(|pair| pair.value).sum::<f64>();
    }
}

impl Seal for Sink {
    fn seal(&mut self, full: Full<'_>) {
        self.note(&full);
        self.bytes += self.sealer.seal(full).bytes();
    }

    fn pack(&mut self, full: Full<'_>) {
        self.note(&full);
    }

    fn finish_pack(&mut self, _: u32, _: u32) {}

    fn weigh(&mut self, _: u32, _: isize) {}
}

/// Slots in the order in which they get their samples, one tick after the other.
fn order(series: u32, random: bool) -> Vec<u32> {
    let mut rng = Rng::new(1, u64::from(series));
    let one = |n: u64| if random { rng.below(u64::from(series)) as u32 } else { (n % u64::from(series)) as u32 };
    (0..u64::from(series) * TICKS as u64).map(one).collect()
}

fn value(n: usize) -> f64 {
    (n % 1_000) as f64
}

fn fill(heads: &Heads, slots: &[u32], sink: &mut Sink) {
    let pins = PinView::default();
    let at = Moment { commit: COMMIT, origin: OF, pins: &pins };
    let mut writer = HeadWriter::new(heads).expect("the first one");
    for (n, &slot) in slots.iter().enumerate() {
        if let Some(&ahead) = slots.get(n + 16) {
            writer.prefetch_head(ahead);
        }
        if let Some(&ahead) = slots.get(n + 8) {
            writer.prefetch_tail(ahead);
        }
        writer.append(slot, &at, n as u64 + 1, Pair { timestamp: n as i64, value: value(n) }, sink);
    }
}

/// What a run leaves. It is dropped when the clock has stopped, and checked then.
struct Filled {
    heads: Heads,
    sink: Sink,
    /// Samples and their sum: whole numbers, so that the order of adding is all the same.
    expected: (u64, f64),
    /// Nothing may be left in a tail.
    closed: bool,
}

impl Drop for Filled {
    fn drop(&mut self) {
        let open = self.heads.open();
        assert_eq!((open.0 + self.sink.count, open.1 + self.sink.sum), self.expected);
        assert!(!self.closed || open.0 == 0, "all is sealed");
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("memtable/append");
    group.sample_size(10);
    for (series, random) in [(1, false), (4_000, false), (100_000, true)] {
        let slots = order(series, random);
        let sum: f64 = (0..slots.len()).map(value).sum();
        group.throughput(Throughput::Elements(slots.len() as u64));
        let name = if random { format!("{series}_random") } else { series.to_string() };
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched(
                || {
                    let expected = (slots.len() as u64, sum);
                    Filled { heads: Heads::new(series), sink: Sink::default(), expected, closed: false }
                },
                |mut filled| {
                    fill(&filled.heads, &slots, &mut filled.sink);
                    filled
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn close(c: &mut Criterion) {
    const SERIES: u32 = 4_000;
    let slots = order(SERIES, false);
    let mut group = c.benchmark_group("memtable/close");
    group.sample_size(10).throughput(Throughput::Elements(slots.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(SERIES), |b| {
        let filled = || {
            let (heads, mut sink) = (Heads::new(SERIES), Sink::default());
            fill(&heads, &slots, &mut sink);
            heads.claimed.set(false);
            let expected = (slots.len() as u64, (0..slots.len()).map(value).sum());
            Filled { heads, sink, expected, closed: true }
        };
        b.iter_batched(
            filled,
            |mut filled| {
                let Filled { heads, sink, .. } = &mut filled;
                let mut writer = HeadWriter::new(&*heads).expect("given back above");
                for first in (0..SERIES).step_by(PACK as usize) {
                    let pack = first..SERIES.min(first + PACK);
                    writer.close(pack, OF.generation + 1, &PinView::default(), sink);
                }
                black_box(sink.bytes);
                filled
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, append, close);
criterion_main!(benches);
