//! The ring's two kinds of lane against crossbeam's queue and channel.
//!
//! `ring/<kind>/<appenders>x<batch>`: that many threads push, one drains, until all samples are out; each run checks
//! count and checksum of what came out. crossbeam's queue and channel take one element at a time, so a batch is that
//! many pushes. `push/<batch>`: the cost of pushing alone, one thread, an idle ring.
//!
//! `cargo bench --bench ring -- --test` runs each once.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // what criterion's macros make

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel;
use crossbeam::queue::ArrayQueue;
use tidegauge::internals::ring::{BackPressure, RingLimits, Rings};

/// As large as what the engine pushes.
#[derive(Clone, Copy)]
struct Item {
    series: u32,
    flags: u32,
    timestamp: i64,
    value: f64,
}

const CAPACITY: usize = 16 * 1024;
const LIMITS: RingLimits =
    RingLimits { lane_samples: CAPACITY, common_samples: CAPACITY, lanes_max: 64, lane_bytes_max: 1 << 30 };
const BLOCK: BackPressure = BackPressure::Block(Duration::from_secs(600));
/// Samples of one run, all appenders together.
const SAMPLES: usize = 256_000;

fn items(appender: usize, count: usize) -> Vec<Item> {
    (0..count)
        .map(|n| Item { series: appender as u32, flags: n as u32, timestamp: n as i64 * 1_000, value: n as f64 })
        .collect()
}

/// What the drained samples add up to.
#[derive(Default, PartialEq, Debug)]
struct Sum {
    count: usize,
    checksum: u64,
}

impl Sum {
    #[inline]
    fn add(&mut self, items: &[Item]) {
        self.count += items.len();
        for item in items {
            let word =
                u64::from(item.series) << 32 ^ u64::from(item.flags) ^ item.timestamp as u64 ^ item.value.to_bits();
            self.checksum = self.checksum.wrapping_add(word);
        }
    }
}

/// Runs `push` in a thread for each appender and `drain` here, and gives the time from the start to the last sample.
fn run(
    work: &[Vec<Item>],
    expected: &Sum,
    push: impl Fn(usize, &[Item]) + Sync,
    mut drain: impl FnMut(&mut Sum),
) -> Duration {
    let start = Barrier::new(work.len() + 1);
    let ready = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (appender, items) in work.iter().enumerate() {
            let (start, ready, push) = (&start, &ready, &push);
            scope.spawn(move || {
                ready.fetch_add(1, Ordering::Relaxed);
                start.wait();
                push(appender, items);
            });
        }
        let mut sum = Sum::default();
        start.wait();
        let started = Instant::now();
        while sum.count < expected.count {
            let before = sum.count;
            drain(&mut sum);
            if sum.count == before {
                thread::yield_now();
            }
        }
        let elapsed = started.elapsed();
        assert_eq!(&sum, expected, "what came out is not what went in");
        elapsed
    })
}

fn lane(work: &[Vec<Item>], expected: &Sum, batch: usize) -> Duration {
    let (rings, mut drain) = Rings::new(LIMITS);
    // Joined on this thread, so that the drain is not timed looking for them.
    let lanes: Vec<_> = work.iter().map(|_| std::sync::Mutex::new(Some(rings.join().unwrap()))).collect();
    run(
        work,
        expected,
        |appender, items| {
            let mut lane = lanes[appender].lock().unwrap().take().unwrap();
            if batch == 1 {
                for item in items {
                    lane.push_under(BLOCK, *item).unwrap();
                }
            } else {
                for batch in items.chunks(batch) {
                    lane.push_slice_under(BLOCK, batch).unwrap();
                }
            }
        },
        |sum| {
            let ready = drain.observe(CAPACITY / 4);
            drain.take(1_024, |slice| sum.add(slice));
            drain.publish(ready as u64);
        },
    )
}

fn common(work: &[Vec<Item>], expected: &Sum, batch: usize) -> Duration {
    let (rings, mut drain) = Rings::new(LIMITS);
    let common = rings.common();
    run(
        work,
        expected,
        |_, items| {
            for batch in items.chunks(batch) {
                common.push_slice_under(BLOCK, batch).unwrap();
            }
        },
        |sum| {
            let ready = drain.observe(CAPACITY / 4);
            drain.take(1_024, |slice| sum.add(slice));
            drain.publish(ready as u64);
        },
    )
}

fn array_queue(work: &[Vec<Item>], expected: &Sum, _batch: usize) -> Duration {
    let queue = ArrayQueue::new(CAPACITY);
    run(
        work,
        expected,
        |_, items| {
            for item in items {
                let mut item = *item;
                while let Err(back) = queue.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        },
        |sum| {
            for _ in 0..CAPACITY / 4 {
                let Some(item) = queue.pop() else { break };
                sum.add(&[item]);
            }
        },
    )
}

fn channel(work: &[Vec<Item>], expected: &Sum, _batch: usize) -> Duration {
    let (sender, receiver) = channel::bounded(CAPACITY);
    run(
        work,
        expected,
        |_, items| {
            for item in items {
                sender.send(*item).unwrap();
            }
        },
        |sum| {
            for item in receiver.try_iter().take(CAPACITY / 4) {
                sum.add(&[item]);
            }
        },
    )
}

/// A way to carry samples: takes what each appender pushes, what must come out, and the length of a batch.
type Kind = fn(&[Vec<Item>], &Sum, usize) -> Duration;

fn through(criterion: &mut Criterion) {
    let kinds: [(&str, Kind); 4] =
        [("lane", lane), ("common", common), ("array_queue", array_queue), ("channel", channel)];
    for (name, kind) in kinds {
        let mut group = criterion.benchmark_group(format!("ring/{name}"));
        group.throughput(Throughput::Elements(SAMPLES as u64));
        for appenders in [1, 2, 8] {
            let work: Vec<_> = (0..appenders).map(|appender| items(appender, SAMPLES / appenders)).collect();
            let mut expected = Sum::default();
            work.iter().for_each(|items| expected.add(items));
            assert_eq!(expected.count, SAMPLES);
            for batch in [1, 64, 1_000] {
                group.bench_function(BenchmarkId::from_parameter(format_args!("{appenders}x{batch}")), |bencher| {
                    bencher.iter_custom(|runs| (0..runs).map(|_| kind(&work, &expected, batch)).sum());
                });
            }
        }
        group.finish();
    }
}

fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push");
    for batch in [1, 64, 1_000] {
        group.throughput(Throughput::Elements(batch as u64));
        let source = items(0, batch);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            let (rings, mut drain) = Rings::new(LIMITS);
            let mut lane = rings.join().unwrap();
            let mut expected = Sum::default();
            let mut sum = Sum::default();
            bencher.iter_custom(|runs| {
                let mut elapsed = Duration::ZERO;
                let mut left = runs;
                while left > 0 {
                    // As many as fit; then the lane is emptied, outside the clock.
                    let pushes = left.min((CAPACITY / batch) as u64);
                    let started = Instant::now();
                    for _ in 0..pushes {
                        let answer = if batch == 1 {
                            lane.push(black_box(source[0]))
                        } else {
                            lane.push_slice(black_box(&source))
                        };
                        black_box(answer).unwrap();
                    }
                    elapsed += started.elapsed();
                    left -= pushes;
                    (0..pushes).for_each(|_| expected.add(&source));
                    let ready = drain.observe(CAPACITY);
                    drain.take(1_024, |slice| sum.add(slice));
                    drain.publish(ready as u64);
                }
                assert_eq!(sum, expected, "what came out is not what went in");
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = push, through
}
criterion_main!(benches);
