//! One run: prepare, push, read back, close, reopen, ask, report.

pub mod acks;
pub(crate) mod arrivals;
mod ask;
mod cold;
mod effort;
pub(crate) mod folder;
mod idle;
mod ingest;
mod interleave;
pub mod questions;
pub mod readback;
pub mod recount;
mod store;
mod unasked;

use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Durability, Engine};

use crate::checksum::Checksum;
use crate::cli::Run;
use crate::error::Error;
use crate::measure::{Latency, Machine, Memory, TickClock, cpu_s};
use crate::progress::Progress;
use crate::report::{Arrival, Curves, Report, Sums, Times};
use crate::roofs::{DiskTimes, RoofsOfRun, ShortRoofs, look, median, pwrite_fdatasync_64k};
use crate::workload::{Kind, Workload};

use acks::AckTimes;
use effort::Effort;
use folder::{Folder, bytes_of};
use questions::{Answers, Probe};
use readback::{Cores, Scanned};
use store::Prepared;

/// How long the engine is left alone before its idle memory is read.
const IDLE: Duration = Duration::from_millis(500);
/// Figures that are medians are medians of this many.
const REPEATS: usize = 5;

/// Series that stay: an eviction is not worth it.
const TOO_FEW: u64 = 64;

/// Until what is idle has left memory; not for ever, for the figures show it.
fn wait_for_evictions(engine: &Engine, after: Duration) {
    let until = Instant::now() + after * 4 + Duration::from_secs(60);
    let is_there = || engine.stats().series >= TOO_FEW || engine.stats().series_in_lanes > 0;
    while is_there() && Instant::now() < until {
        thread::sleep(IDLE / 10);
    }
    // What knew them is freed a moment later.
    thread::sleep(IDLE);
}

/// Runs one workload and reports.
///
/// # Errors
/// [`Error::Usage`] if the options do not go together; otherwise what the engine or the system
/// refused. A run whose answers are wrong is no error, but says so in [`Report::verified`].
pub fn run(options: &Run, progress: &Progress) -> Result<Report, Error> {
    run_with(options, progress, |found| found, || Ok(None))
}

/// As [`run`], but hands each checksum of what was read back through `alter` before it is
/// compared, for showing that a difference is noticed, and calls `roofs` before and after all, unless it is a smoke run.
/// Where that fails, the report has none.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    options: &Run,
    progress: &Progress,
    alter: impl Fn(Checksum) -> Checksum,
    roofs: impl Fn() -> Result<Option<ShortRoofs>, Error>,
) -> Result<Report, Error> {
    if options.wait && options.durability == Durability::Memory {
        return Err(Error::Usage(
            "--wait needs --durability interval:TIME or sync: memory makes nothing durable".into(),
        ));
    }
    if options.rate.is_some() && options.workload == Kind::Mixed {
        return Err(Error::Usage("--rate goes with workloads that push: mixed workers wait for each answer".into()));
    }
    store::check_lanes(options)?;
    let workload = Workload::new(options.workload, options.seed, options.samples)?;
    let folder = Folder::new(options.data_dir.as_deref())?;
    let machine = Machine::with(folder.path());
    let effort = Effort::of(workload.ticks() * u64::from(workload.slots()));
    let roofs = || if effort.roofs { look(progress, &roofs) } else { None };
    let roofs_before = roofs();
    let mut disk = Latency::new();
    progress.step("timing the disk");
    pwrite_fdatasync_64k(folder.path(), effort.disk_writes / 2, &mut disk)?;

    progress.step("generating samples");
    let mut prepared = Prepared::generate(&workload, options)?;
    let data = folder.path().join("data");
    let before = Memory::now().rss;
    let engine = store::open(&data, options)?;
    progress.step("registering series");
    let register_s = prepared.register(&engine, &workload)?;
    let registered = Memory::now().rss;
    prepared.make_ready(&engine, &workload)?;
    let ready = Memory::now().rss;
    let peak_is_fresh = Memory::reset_peak();

    let clock = TickClock::new();
    let stored = prepared.push(&engine, &workload, options, &clock, progress)?;
    progress.step("flushing");
    let flush_start = Instant::now();
    engine.flush().map_err(Error::engine("flushing"))?;
    let flush_s = flush_start.elapsed().as_secs_f64();
    let cpu_flushed_s = cpu_s() - stored.cpu_before_s - stored.waited_s.unwrap_or(0.0);
    let peak = Memory::now().peak;
    thread::sleep(IDLE);
    if let Some(after) = options.series_idle {
        wait_for_evictions(&engine, after);
    }
    let idle_rss = Memory::now().rss;
    let wal_bytes = engine.stats().wal_bytes;
    let ack_durable_us = AckTimes::of(&stored.acks, &engine.stats(), options.durability);
    let (input_bytes, ready_bytes) = (prepared.bytes(), ready.saturating_sub(registered));
    let grown = |now: u64| grown(now, ready, registered, before);
    drop(prepared);

    progress.step("counting apart");
    let recount = stored.recount(&workload);
    let probe = Probe::new(&workload, recount.last_tick);
    let answers = stored.answers(&workload, &probe);
    progress.step("reading everything back");
    let right = |found: (Checksum, u64)| alter(found.0) == recount.checksum && found.1 == recount.series;
    let live_is_right = right(readback::read_back(&engine)?);
    progress.step("compacting");
    let compact_start = Instant::now();
    engine.compact().map_err(Error::engine("compacting"))?;
    let compact_s = compact_start.elapsed().as_secs_f64();
    let stats = engine.stats();
    let fresh_bytes = stats.flushed_bytes;
    engine.close().map_err(Error::engine("closing the engine"))?;
    let segment_bytes = bytes_of(&data.join("segments"), "seg")?;

    progress.step("reopening");
    let (engine, reopen_s) = reopen(&data, options)?;
    let found = readback::read_back(&engine)?;
    let reopened_is_right = right(found);
    progress.step("scanning");
    let scanned = |cores| scans(&engine, cores, &answers);
    let (scan_samples_per_s, scan_is_right) = scanned(Cores::All)?;
    let (scan_one_core_samples_per_s, one_core_is_right) = scanned(Cores::One)?;
    progress.step("encoding for the archive");
    let cold = cold::measure(&engine, folder.path(), &recount)?;
    progress.step("asking questions");
    let (queries_us, questions, answers_are_right) = ask::ask(&engine, &workload, &probe, &answers, effort, &clock)?;
    engine.close().map_err(Error::engine("closing the engine"))?;

    progress.step("pushing into an idle ring");
    let lane = store::lane_samples(options);
    let idle = idle::idle(&folder.path().join("idle"), options, lane, effort, &clock)?;
    progress.step("timing the disk");
    pwrite_fdatasync_64k(folder.path(), effort.disk_writes / 2, &mut disk)?;
    let roofs = roofs_before.and_then(|before| Some(RoofsOfRun { before, after: roofs()? }));

    let samples = recount.checksum.count;
    let per_sample = |bytes: u64| bytes as f64 / samples as f64;
    let all_per_s = |times: Option<Times>| times.map(|times| samples as f64 / (times.p50 / 1e6));
    Ok(Report {
        workload: options.workload.to_string(),
        appenders: options.appenders,
        batch: options.batch,
        durability: options.durability.to_string(),
        series: recount.series,
        samples,
        seed: options.seed,
        samples_per_s_visible: stored.pushed as f64 / stored.visible_s,
        samples_per_s_durable: stored.durable_s.map(|s| stored.pushed as f64 / s),
        cpu_s: stored.cpu_s,
        push_ns: idle.single.quantiles(),
        // Without a fresh start the peak is that of the whole process, which is no less.
        peak_rss_bytes: peak,
        rss_growth_bytes: if peak_is_fresh { grown(peak) } else { grown(peak.max(idle_rss)) },
        rss_idle_bytes: grown(idle_rss),
        bytes_per_sample_fresh: Some(per_sample(fresh_bytes)),
        bytes_per_sample: Some(per_sample(segment_bytes)),
        bytes_per_sample_cold: cold.as_ref().map(|cold| per_sample(cold.bytes)),
        wal_bytes_per_sample: (options.durability != Durability::Memory).then(|| per_sample(wal_bytes)),
        pwrite_fdatasync_64k_us: DiskTimes::of(&disk),
        reopen_s,
        scan_samples_per_s,
        queries_us,
        verified: live_is_right
            && reopened_is_right
            && scan_is_right
            && one_core_is_right
            && cold.as_ref().is_none_or(|cold| cold.verified)
            && answers_are_right
            && idle.verified,
        wait: options.wait,
        for_s: options.lasting.map(|time| time.as_secs_f64()),
        elapsed_s: stored.visible_s,
        register_s,
        samples_per_s_registering: stored.pushed as f64 / (stored.visible_s + register_s),
        cpu_flushed_s,
        generator_cpu_s: stored.waited_s,
        cpu_ns_per_sample_flushed: stored.mixed.is_none().then(|| cpu_flushed_s * 1e9 / stored.pushed as f64),
        flush_s,
        compact_s,
        fresh_over_cold: cold.as_ref().map(|cold| fresh_bytes as f64 / cold.bytes as f64),
        write_amplification: (fresh_bytes + stats.compacted_bytes_out) as f64 / fresh_bytes as f64,
        push_loaded_ns: stored.loaded.quantiles(),
        push_preempted: stored.preempted,
        ack_durable_us,
        sync_ratio: sync_ratio(options, stored.durable_s.map(|s| stored.pushed as f64 / s), DiskTimes::of(&disk)),
        push_block_mean_ns: idle.blocks.quantiles(),
        clock_step_ns: clock.step_ns(),
        push_batch_ns: idle.batches.quantiles(),
        visible_unasked_ns: idle.unasked.quantiles(),
        idle_core_share: idle.core_share,
        nap_core_share: idle.nap_share,
        empty_pair_ns: idle.empty_pair.quantiles(),
        input_bytes: input_bytes.max(ready_bytes),
        segment_bytes,
        expected: sums(recount.checksum),
        found: sums(alter(found.0)),
        mixed: stored.mixed,
        series_registered_meanwhile: stored.registered,
        scan_one_core_samples_per_s,
        q5_samples_per_s: all_per_s(queries_us.q5),
        q5_selected_samples_per_s: all_per_s(queries_us.q5_selected),
        cold_scan_samples_per_s: cold.as_ref().map(|cold| cold.scan_samples_per_s),
        memory_samples_left: stored.behind.memory_samples,
        flushed_share: flushed_share(samples, stored.behind.memory_samples),
        segments_left: stored.behind.segments,
        compactions: stored.behind.compactions,
        arrival: stored.arrivals.as_ref().zip(options.rate).map(|(arrivals, rate)| Arrival {
            samples_per_s_asked: rate,
            level: if options.wait { "durable" } else { "visible" },
            batches: arrivals.pushed.len(),
            batches_watched: arrivals.reached.len(),
            pushed_ns: arrivals.pushed.quantiles(),
            reached_ns: arrivals.reached.quantiles(),
        }),
        curves_ns: Curves {
            push: idle.single.curve(),
            push_loaded: stored.loaded.curve(),
            arrival_pushed: stored.arrivals.as_ref().map_or(Vec::new(), |a| a.pushed.curve()),
            arrival_reached: stored.arrivals.as_ref().map_or(Vec::new(), |a| a.reached.curve()),
            ack_durable: stored.acks.curve(),
            questions,
        },
        roofs,
        machine,
    })
}

/// What memory has grown by through the engine: since the input was ready, and while series were registered, which was
/// before. What preparing the input took lies between the two.
fn grown(now: u64, ready: u64, registered: u64, before: u64) -> u64 {
    now.saturating_sub(ready) + registered.saturating_sub(before)
}

/// See [`Report::flushed_share`].
fn flushed_share(samples: u64, left_in_memory: u64) -> f64 {
    samples.saturating_sub(left_in_memory) as f64 / samples as f64
}

/// See [`Report::sync_ratio`].
fn sync_ratio(options: &Run, samples_per_s_durable: Option<f64>, device: DiskTimes) -> Option<f64> {
    let flying = f64::from(options.appenders) * f64::from(options.batch);
    // At a rate it would tell of the rate.
    let is_flat_out = options.wait && options.rate.is_none() && options.durability == Durability::Sync;
    let per_s = samples_per_s_durable.filter(|_| is_flat_out);
    per_s.map(|per_s| per_s * device.p50 / 1e6 / flying)
}

fn sums(checksum: Checksum) -> Sums {
    Sums { samples: checksum.count, checksum: checksum.sum }
}

/// Opens [`REPEATS`] times, each after a clean close; answers the last engine and the median time.
fn reopen(data: &std::path::Path, options: &Run) -> Result<(Engine, f64), Error> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let engine = store::open(data, options)?;
        times.push(start.elapsed().as_secs_f64());
        if times.len() == REPEATS {
            return Ok((engine, median(times)));
        }
        engine.close().map_err(Error::engine("closing the engine"))?;
    }
}

/// The median rate of [`REPEATS`] scans, and whether each saw every sample.
fn scans(engine: &Engine, cores: Cores, expected: &Answers) -> Result<(f64, bool), Error> {
    let (mut rates, mut right) = (Vec::new(), true);
    for _ in 0..REPEATS {
        let start = Instant::now();
        let seen = readback::scan(engine, cores)?;
        rates.push(seen.count as f64 / start.elapsed().as_secs_f64());
        right &= is_all(seen, expected);
    }
    Ok((median(rates), right))
}

/// Whether a scan saw the samples that there must be: their number, and what their timestamps and values come to.
fn is_all(seen: Scanned, expected: &Answers) -> bool {
    let sum = expected.sum.total();
    let is_sum = (seen.sum - sum).abs() <= 1e-9 * sum.abs();
    seen.count == expected.count && seen.timestamps == expected.timestamps && is_sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_by_registering_and_pushing_and_not_by_the_input() {
        // 100, then 20 for series, 500 for the input, 30 for samples.
        assert_eq!(grown(650, 620, 120, 100), 50);
        assert_eq!(grown(610, 620, 120, 100), 20, "what was given back is no growth");
    }

    #[test]
    fn a_scan_that_misses_something_is_noticed_by_number_timestamps_and_values() {
        let workload = Workload::new(Kind::W3, 1, Some(1_000)).unwrap();
        let probe = Probe::new(&workload, 2);
        let mut expected = Answers::default();
        (0..3).for_each(|tick| expected.see(&workload, &probe, 0, tick, 1.5));
        let timestamps = (0..3).map(|tick| workload.timestamp_ns(tick)).sum();
        let seen = Scanned { count: 3, sum: 4.5, timestamps };
        assert!(is_all(seen, &expected));
        assert!(!is_all(Scanned { count: 2, ..seen }, &expected));
        assert!(!is_all(Scanned { sum: 4.4, ..seen }, &expected));
        assert!(!is_all(Scanned { timestamps: timestamps + 1, ..seen }, &expected));
    }

    #[test]
    fn what_is_not_left_in_memory_is_in_segments() {
        assert_eq!([0, 250, 1_000].map(|left| flushed_share(1_000, left)), [1.0, 0.75, 0.0]);
        assert_eq!(flushed_share(1_000, 1_001), 0.0, "written over at one timestamp: more are held than are there");
    }
}
