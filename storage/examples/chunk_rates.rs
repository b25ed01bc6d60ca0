//! Prints bits a value and encode/decode rates of chunks for a few shapes: `cargo run --release --example chunk_rates`.

use std::time::Instant;

use tidegauge_storage::chunk::{ChunkEncoder, ChunkStats, ChunkView};
use tidegauge_storage::source::Columns;

const SAMPLES: usize = 4096;
const ROUNDS: usize = 400;

fn main() {
    let mut noise = Noise(7);
    let regular: Vec<i64> = (0..SAMPLES as i64).map(|i| 1_700_000_000_000_000_000 + i * 10_000_000_000).collect();
    let jitter: Vec<i64> = regular.iter().map(|at| at + (noise.below(20) as i64) * 1_000_000).collect();
    let mut level = 50.0;
    let walk: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            level = f64::clamp(level + noise.normal(), 0.0, 100.0);
            (level * 100.0).round() / 100.0
        })
        .collect();
    let mut count = 0.0;
    let counter: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            count += noise.below(1500) as f64;
            count
        })
        .collect();
    let gauge: Vec<f64> = (0..SAMPLES).map(|_| noise.below(256) as f64).collect();
    let doubles: Vec<f64> = (0..SAMPLES).map(|_| noise.normal().exp()).collect();
    let constant = vec![4.0; SAMPLES];
    report("regular, 2-decimal walk", &regular, &walk);
    report("jitter, 2-decimal walk", &jitter, &walk);
    report("regular, counter", &regular, &counter);
    report("regular, byte gauge", &regular, &gauge);
    report("regular, doubles", &regular, &doubles);
    report("regular, constant", &regular, &constant);
    report("452 of the walk", &regular[..452], &walk[..452]);
    report("452 of the counter", &regular[..452], &counter[..452]);
}

fn report(name: &str, timestamps: &[i64], values: &[f64]) {
    let (mut encoder, mut bytes, mut out) = (ChunkEncoder::new(), Vec::new(), Columns::default());
    let encode = rate(values.len(), || {
        bytes.clear();
        encoder.encode(timestamps, values, &mut bytes);
    });
    let view = ChunkView::parse(&bytes).expect("just encoded");
    let decode = rate(values.len(), || {
        out.clear();
        view.decode_into(&mut out).expect("just encoded");
    });
    assert!(out.timestamps == timestamps && out.values == values, "what was read is what was written");
    let mut total = 0.0;
    let stats = rate(values.len(), || total += ChunkStats::of(timestamps, values).sum);
    assert!(total.is_finite());
    let bits = bytes.len() as f64 * 8.0 / values.len() as f64;
    println!(
        "{name:26} {bits:6.2} bits/sample  encode {encode:6.0} M/s  decode {decode:6.0} M/s  stats {stats:6.0} M/s"
    );
}

/// Millions of samples a second, best of the rounds.
fn rate(samples: usize, mut work: impl FnMut()) -> f64 {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    samples as f64 / best / 1e6
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Nearly N(0,1): the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.below(1 << 20) as f64 / (1 << 20) as f64).sum::<f64>() - 6.0
    }
}
