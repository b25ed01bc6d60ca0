//! The cells of one mode: in which order they come, how each begins, and what of all rounds is told.

use serde::Serialize;
use tidegauge::{BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp};

use super::PATIENCE;
use super::cell::CellResult;
use super::mode::Mode;
use super::operations::value_of;
use crate::error::Error;
use crate::measure::Latency;
use crate::report::OperationTimes;
use crate::roofs::median;
use crate::workload::Workload;

/// One cell: so many workers in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What the workers did.
    pub mode: Mode,
    /// Threads.
    pub workers: u32,
    /// Reads and writes a second of all workers: the median of all rounds. A batch is as many writes as it has samples.
    pub ops_per_s: f64,
    /// The same, round by round.
    pub ops_per_s_of_rounds: Vec<f64>,
    /// Times of a read, in microseconds: of each quantile the median of all rounds.
    pub read_us: Option<OperationTimes>,
    /// The same of a write (or of a batch) until it was visible.
    pub write_us: Option<OperationTimes>,
    /// The distribution of the reads of all rounds together, as (share of all, nanoseconds), rising; empty where nothing
    /// was read.
    pub read_curve_ns: Vec<[f64; 2]>,
    /// The same of writes.
    pub write_curve_ns: Vec<[f64; 2]>,
    /// The published figure to beat.
    pub published_ops_per_s: Option<f64>,
    /// Ours over it.
    pub ratio: Option<f64>,
}

impl Figures {
    /// Of what each round came to; there is one at least.
    pub(super) fn of(mode: Mode, workers: u32, rounds: &[CellResult]) -> Self {
        let ops_per_s_of_rounds: Vec<f64> = rounds.iter().map(|round| round.ops_per_s).collect();
        let ops_per_s = median(ops_per_s_of_rounds.clone());
        let published = mode.published_ops_per_s(workers);
        let reads = || rounds.iter().map(|round| &round.reads);
        let writes = || rounds.iter().map(|round| &round.writes);
        Self {
            mode,
            workers,
            ops_per_s,
            ops_per_s_of_rounds,
            read_us: times(reads()),
            write_us: times(writes()),
            read_curve_ns: together(reads()).curve(),
            write_curve_ns: together(writes()).curve(),
            published_ops_per_s: published,
            ratio: published.map(|published| ops_per_s / published),
        }
    }
}

/// Of each quantile the median of all rounds that have times.
fn times<'a>(rounds: impl Iterator<Item = &'a Latency>) -> Option<OperationTimes> {
    let all: Vec<OperationTimes> = rounds.filter(|round| !round.is_empty()).map(OperationTimes::of).collect();
    let of = |quantile: fn(&OperationTimes) -> f64| median(all.iter().map(quantile).collect());
    (!all.is_empty()).then(|| OperationTimes { p50: of(|t| t.p50), p95: of(|t| t.p95), p99: of(|t| t.p99) })
}

fn together<'a>(rounds: impl Iterator<Item = &'a Latency>) -> Latency {
    let mut all = Latency::new();
    rounds.for_each(|round| all.merge(round));
    all
}

/// Places in `0..cells` in the order of a round: the opposite one by turns, so that what a cell leaves to the machine meets
/// no other cell in all rounds.
pub(super) fn order(round: u32, cells: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells).collect();
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// Lets each cell begin alike, whatever the ones before it wrote: all of that in segments, nothing of it to be flushed or
/// compacted, and in memory a sample of each series at `tick`, if there is to be one.
pub(super) fn begin_alike(
    engine: &Engine,
    workload: &Workload,
    ids: &[SeriesId],
    tick: Option<u64>,
) -> Result<(), Error> {
    engine.flush().map_err(Error::engine("flushing"))?;
    // It answers when there is nothing left to compact.
    engine.compact().map_err(Error::engine("compacting"))?;
    tick.map_or(Ok(()), |tick| push_each(engine, workload, ids, tick))
}

/// Gives each series its sample at a tick, and waits until all are visible.
pub(super) fn push_each(engine: &Engine, workload: &Workload, ids: &[SeriesId], tick: u64) -> Result<(), Error> {
    let at = Timestamp::from_nanos(workload.timestamp_ns(tick));
    let sample = |(series, &id)| SeriesSample::new(id, at, value_of(series, tick));
    let samples: Vec<SeriesSample> = (0u32..).zip(ids).map(sample).collect();
    let pressure = BackPressure::Block(PATIENCE);
    let mut appender = engine.appender_with(pressure).map_err(Error::engine("making an appender"))?;
    for batch in samples.chunks(1_000) {
        let ack = appender.push_batch(batch).map_err(Error::engine("pushing"))?;
        engine.wait(ack, Level::Visible, PATIENCE).map_err(Error::engine("waiting for samples"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;

    #[test]
    fn each_cell_comes_once_a_round_and_the_order_turns_round() {
        assert_eq!([0, 1, 2].map(|round| order(round, 4)), [vec![0, 1, 2, 3], vec![3, 2, 1, 0], vec![0, 1, 2, 3]]);
    }

    #[test]
    fn what_is_told_of_rounds_are_medians_and_the_curves_are_of_all() {
        let round = |ops_per_s, ns| {
            let mut reads = Latency::new();
            (0..10).for_each(|_| reads.record_ns(ns));
            CellResult { reads, writes: Latency::new(), ops_per_s, written: vec![Vec::new()] }
        };
        let rounds = [round(3.0, 1_000), round(1.0, 9_000), round(8.0, 2_000)];
        let told = Figures::of(Mode::ReadSnapshot, 1, &rounds);
        assert_eq!((told.ops_per_s, &told.ops_per_s_of_rounds[..]), (3.0, &[3.0, 1.0, 8.0][..]));
        assert_eq!(told.ratio, Some(3.0 / 0.8e6));
        let read = told.read_us.unwrap();
        assert!([read.p50, read.p95, read.p99].iter().all(|us| (us - 2.0).abs() < 0.01), "{read:?}");
        assert_eq!((told.write_us, told.write_curve_ns), (None, Vec::new()));
        let longest = told.read_curve_ns.last().unwrap()[1];
        assert!((longest - 9_000.0).abs() < 10.0, "{longest}");
    }

    #[test]
    fn a_cell_begins_with_all_that_was_written_in_segments_and_one_sample_of_each_series_in_memory() {
        let workload = Workload::new(Kind::W1, 1, Some(4_000)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::builder(dir.path()).cold_after(std::time::Duration::MAX).background_compaction(false);
        let engine = engine.open().unwrap();
        let id = |slot: u32| engine.series(&workload.labels(u64::from(slot)).borrowed()).unwrap();
        let ids: Vec<SeriesId> = (0..workload.slots()).map(id).collect();
        for tick in 0..3 {
            push_each(&engine, &workload, &ids, tick).unwrap();
            engine.flush().unwrap();
        }
        push_each(&engine, &workload, &ids, 3).unwrap();
        begin_alike(&engine, &workload, &ids, None).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.memtable_samples, stats.segment_samples, stats.sealed_memtables), (0, 16_000, 0));
        assert_eq!((stats.segments, stats.compacting), (1, false), "small neighbours are one");
        begin_alike(&engine, &workload, &ids, Some(4)).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.memtable_samples, stats.segment_samples), (4_000, 16_000));
        engine.close().unwrap();
    }
}
