//! What compaction costs and whom it disturbs: bytes written, and pushes and queries while it runs.
//!
//! ```console
//! $ cargo run --release -p tidegauge-bench --example compacting [-- MILLION_SAMPLES [THREADS]]
//! ```
//!
//! 4,000 series come in 16 flushes, a tenth of the samples late, and are compacted three times: not at all while pushes
//! and queries are timed (*quiet*), then into few segments (*merging*), then as small as they get (*cooling*). Each push
//! is timed, a hundred thousand a second at most; so is the sum over one series, a hundred times a second. The contents
//! are compared with what was pushed at the end.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::query::Selection;
use tidegauge::{BackPressure, Builder, Durability, Engine, Level, SeriesId, SeriesSample, Timestamp};
use tidegauge_bench::measure::{Latency, TickClock};

const SERIES: u64 = 4_000;
const FLUSHES: u64 = 16;
const TICK_NS: i64 = 10_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Pushes between two pauses.
const BURST: u64 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// The n-th sample of a series: a walk of two decimals that nobody has to remember.
fn value(series: u64, tick: u64) -> f64 {
    let noise = (series.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tick.wrapping_mul(0xd1b5_4a32_d192_ed03)) >> 56;
    ((tick % 5_000) as f64 + noise as f64) / 100.0
}

fn at(tick: u64) -> Timestamp {
    Timestamp::from_nanos(946_684_800_000_000_000 + tick as i64 * TICK_NS)
}

/// Samples of one flush, every tenth of them pushed at its end.
fn fill(engine: &Engine, ids: &[SeriesId], ticks: std::ops::Range<u64>) -> Result<(), Box<dyn Error>> {
    let mut appender = engine.appender_with(BackPressure::Block(PATIENCE))?;
    let is_late = |series: usize, tick: u64| (tick + series as u64).is_multiple_of(10);
    let mut batch = Vec::with_capacity(ids.len());
    let mut last = None;
    for late in [false, true] {
        for tick in ticks.clone() {
            let all = ids.iter().enumerate().filter(|(series, _)| is_late(*series, tick) == late);
            batch.clear();
            batch.extend(all.map(|(series, id)| SeriesSample::new(*id, at(tick), value(series as u64, tick))));
            last = Some(appender.push_batch(&batch)?);
        }
    }
    engine.wait(last.ok_or("nothing to push")?, Level::Visible, PATIENCE)?;
    Ok(engine.flush()?)
}

struct Felt {
    push: Latency,
    query: Latency,
    pushed: u64,
    seconds: f64,
}

/// Pushes and asks until `work` is done, and times each.
fn while_it_runs(engine: &Engine, next: u64, work: impl FnOnce() + Send) -> Result<Felt, Box<dyn Error>> {
    let (clock, over) = (TickClock::new(), AtomicBool::new(false));
    let mut felt = Felt { push: Latency::new(), query: Latency::new(), pushed: 0, seconds: 0.0 };
    let mut appender = engine.appender_with(BackPressure::Block(PATIENCE))?;
    let ids: Vec<SeriesId> = (0..100)
        .map(|i| engine.series(&[("__name__", "meanwhile"), ("host", &i.to_string())]))
        .collect::<Result<_, _>>()?;
    let start = Instant::now();
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        scope.spawn(|| {
            work();
            over.store(true, Ordering::Release);
        });
        let queries = scope.spawn(|| {
            let mut latency = Latency::new();
            while !over.load(Ordering::Acquire) {
                let start = Instant::now();
                let sum: f64 = engine.snapshot().select(r#"cpu{host="7"}"#).map_or(f64::NAN, |found| {
                    found.iter().filter_map(|s| s.read().ok()).map(|c| c.values.iter().sum::<f64>()).sum()
                });
                latency.record_ns(start.elapsed().as_nanos() as u64);
                assert!(sum > 0.0, "a query is answered");
                thread::sleep(Duration::from_millis(10));
            }
            latency
        });
        while !over.load(Ordering::Acquire) {
            for _ in 0..BURST {
                let n = next + felt.pushed;
                let id = ids[n as usize % ids.len()];
                let (from, pushed) = (clock.ticks(), appender.push(id, at(n), n as f64));
                let to = clock.ticks();
                pushed?;
                felt.push.record_ns(clock.between_ns(from, to));
                felt.pushed += 1;
            }
            thread::sleep(PAUSE);
        }
        felt.query = queries.join().expect("the query thread ends");
        Ok(())
    })?;
    felt.seconds = start.elapsed().as_secs_f64();
    Ok(felt)
}

fn tell(what: &str, felt: &Felt) {
    let show = |latency: &Latency, unit: f64| {
        latency.quantiles().map_or_else(
            || "none".to_owned(),
            |q| {
                let [p50, p99, p999, max] = [q.p50, q.p99, q.p999, q.max].map(|ns| ns / unit);
                format!("p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}")
            },
        )
    };
    let (push, query) = (show(&felt.push, 1.0), show(&felt.query, 1e6));
    println!("{what:8} {:6.2} s | push ns: {push} | query ms: {query}", felt.seconds);
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let millions: u64 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let threads: usize = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let dir = tempfile::tempdir_in(".")?;
    let open = |cold_after| {
        let builder = Engine::builder(dir.path()).durability(Durability::Memory).background_compaction(false);
        builder.compact_threads(threads).cold_after(cold_after).lane_samples(1 << 17).open()
    };
    let engine = open(Duration::MAX)?;
    let ids = (0..SERIES).map(|i| engine.series(&[("__name__", "cpu"), ("host", &i.to_string())]));
    let ids: Vec<SeriesId> = ids.collect::<Result<_, _>>()?;
    let ticks = (millions * 1_000_000 / SERIES / FLUSHES).max(10);
    for flush in 0..FLUSHES {
        fill(&engine, &ids, flush * ticks..(flush + 1) * ticks)?;
    }
    let fresh = engine.stats().flushed_bytes;
    let samples = (SERIES * ticks * FLUSHES) as f64;
    println!("{samples} samples in {FLUSHES} flushes: {:.3} bytes a sample", fresh as f64 / samples);
    let quiet = while_it_runs(&engine, 0, || thread::sleep(Duration::from_secs(2)))?;
    tell("quiet", &quiet);
    let merging = while_it_runs(&engine, quiet.pushed, || engine.compact().expect("compacting"))?;
    tell("merging", &merging);
    let merged = engine.stats();
    engine.close()?;
    let engine = open(Builder::COLD_AFTER)?;
    let cooling = while_it_runs(&engine, quiet.pushed + merging.pushed, || engine.compact().expect("compacting"))?;
    tell("cooling", &cooling);
    let cooled = engine.stats();
    let each = |bytes: u64| bytes as f64 / samples;
    println!(
        "merged: {:.3} bytes a sample, {:.2} written for each byte flushed; cold: {:.3}",
        each(merged.segment_bytes),
        1.0 + merged.compacted_bytes_out as f64 / fresh as f64,
        each(cooled.segment_bytes)
    );
    let snapshot = engine.snapshot();
    let selection: Selection = snapshot.select("cpu")?;
    for series in selection.iter() {
        let host: u64 = series.labels().get("host").ok_or("a host")?.parse()?;
        let columns = series.read()?;
        assert_eq!(columns.len() as u64, ticks * FLUSHES, "every sample is there");
        let expected = (0..ticks * FLUSHES).map(|tick| value(host, tick).to_bits());
        assert!(columns.values.iter().map(|v| v.to_bits()).eq(expected), "and what it was");
    }
    assert_eq!(selection.len() as u64, SERIES);
    Ok(engine.close()?)
}
