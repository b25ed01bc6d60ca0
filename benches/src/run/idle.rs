//! Push latency into an idle ring, in an engine of its own, apart from the throughput run.

use std::path::Path;

use tidegauge::{Appender, BackPressure, Engine, Level, SeriesId, SeriesSample, Timestamp};

use super::effort::Effort;
use super::ingest::PATIENCE;
use super::readback::read_back;
use super::unasked::{idle_share, nap_share, visible_unasked};
use crate::checksum::Checksum;
use crate::cli::Run;
use crate::error::Error;
use crate::measure::{Latency, TickClock, empty_pair};
use crate::workload::{Kind, START_NS, Workload};

/// Push latencies, and whether what was pushed could be read back.
pub(super) struct Idle {
    /// Means over blocks of [`BLOCK`] pushes of one sample.
    pub(super) blocks: Latency,
    /// Single pushes of one sample.
    pub(super) single: Latency,
    /// Whole batches; empty for batches of one.
    pub(super) batches: Latency,
    /// Two readings of the counter with nothing between.
    pub(super) empty_pair: Latency,
    /// From a push until a snapshot holds the sample, nobody waiting for it.
    pub(super) unasked: Latency,
    /// Of one processor, while nothing is pushed.
    pub(super) core_share: f64,
    /// The same of a bare thread that naps as often.
    pub(super) nap_share: f64,
    pub(super) verified: bool,
}

/// Pushes of a block: together so long that the clock's step and what reading it takes are a small part of each.
const BLOCK: usize = 32;
/// Samples between two waits for an empty ring: a small part of a lane.
const BURST: usize = 1_024;
const BATCHES_A_BURST: usize = 8;

pub(super) fn idle(
    dir: &Path,
    options: &Run,
    lane_samples: usize,
    effort: Effort,
    clock: &TickClock,
) -> Result<Idle, Error> {
    let builder = Engine::builder(dir).durability(options.durability).lane_samples(lane_samples);
    let engine = builder.open().map_err(Error::engine("opening an engine"))?;
    let workload = Workload::new(Kind::W1, 1, Some(1))?;
    let mut ids = Vec::with_capacity(workload.slots() as usize);
    let mut hashes = Vec::with_capacity(workload.slots() as usize);
    for series in 0..u64::from(workload.slots()) {
        let labels = workload.labels(series);
        hashes.push(labels.hash());
        ids.push(engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))?);
    }
    let appender = engine.appender_with(BackPressure::Block(PATIENCE)).map_err(Error::engine("making an appender"))?;
    let mut idle = Idle {
        blocks: Latency::new(),
        single: Latency::new(),
        batches: Latency::new(),
        empty_pair: empty_pair(clock, (BURST * effort.bursts) as u64),
        unasked: Latency::new(),
        core_share: 0.0,
        nap_share: 0.0,
        verified: false,
    };
    let mut pusher = Pusher { engine: &engine, appender, ids: &ids, clock, next: 0, bursts: effort.bursts };
    pusher.blocks(&mut idle.blocks)?;
    pusher.single(&mut idle.single)?;
    if options.batch > 1 {
        pusher.batches(options.batch as usize, &mut idle.batches)?;
    }
    idle.unasked = visible_unasked(&engine, effort.unasked, || pusher.one())?;
    idle.core_share = idle_share(effort.idle);
    let pushed = pusher.next;
    drop(pusher);
    let mut expected = Checksum::default();
    for n in 0..pushed {
        let (slot, at, value) = nth(n, ids.len());
        expected.add(hashes[slot], at, value);
    }
    idle.verified = read_back(&engine)?.0 == expected;
    engine.close().map_err(Error::engine("closing the engine"))?;
    idle.nap_share = nap_share(effort.idle);
    Ok(idle)
}

/// The n-th sample of this phase: slot, timestamp and value.
fn nth(n: u64, series: usize) -> (usize, i64, f64) {
    let (slot, tick) = ((n % series as u64) as usize, n / series as u64);
    (slot, START_NS + tick as i64 * 1_000_000, (n % 10_007) as f64 / 100.0)
}

struct Pusher<'a> {
    engine: &'a Engine,
    appender: Appender,
    ids: &'a [SeriesId],
    clock: &'a TickClock,
    next: u64,
    bursts: usize,
}

impl Pusher<'_> {
    /// The next samples, made before the clock is read.
    fn make(&mut self, samples: &mut Vec<(SeriesId, Timestamp, f64)>, n: usize) {
        samples.clear();
        let of = |n| {
            let (slot, at, value) = nth(n, self.ids.len());
            (self.ids[slot], Timestamp::from_nanos(at), value)
        };
        samples.extend((self.next..self.next + n as u64).map(of));
        self.next += n as u64;
    }

    fn one(&mut self) -> Result<(), Error> {
        let (slot, at, value) = nth(self.next, self.ids.len());
        self.next += 1;
        let pushed = self.appender.push(self.ids[slot], Timestamp::from_nanos(at), value);
        pushed.map(drop).map_err(Error::engine("pushing"))
    }

    fn blocks(&mut self, latency: &mut Latency) -> Result<(), Error> {
        let mut samples = Vec::with_capacity(BURST);
        for _ in 0..self.bursts {
            self.make(&mut samples, BURST);
            let mut last = None;
            for block in samples.chunks(BLOCK) {
                let start = self.clock.ticks();
                for &(id, at, value) in block {
                    last = Some(self.appender.push(id, at, value).map_err(Error::engine("pushing"))?);
                }
                let end = self.clock.ticks();
                latency.record_mean_ns(self.clock.between_ns(start, end), block.len() as u64);
            }
            self.empty_ring(last)?;
        }
        Ok(())
    }

    fn single(&mut self, latency: &mut Latency) -> Result<(), Error> {
        let mut samples = Vec::with_capacity(BURST);
        for _ in 0..self.bursts {
            self.make(&mut samples, BURST);
            let mut last = None;
            for &(id, at, value) in &samples {
                let start = self.clock.ticks();
                let ack = self.appender.push(id, at, value);
                let end = self.clock.ticks();
                last = Some(ack.map_err(Error::engine("pushing"))?);
                latency.record_ns(self.clock.between_ns(start, end));
            }
            self.empty_ring(last)?;
        }
        Ok(())
    }

    fn batches(&mut self, batch: usize, latency: &mut Latency) -> Result<(), Error> {
        let mut parts = Vec::with_capacity(batch);
        let mut bursts: Vec<Vec<SeriesSample>> = (0..BATCHES_A_BURST).map(|_| Vec::with_capacity(batch)).collect();
        for _ in 0..self.bursts / 4 {
            for samples in &mut bursts {
                self.make(&mut parts, batch);
                samples.clear();
                samples.extend(parts.iter().map(|&(id, at, value)| SeriesSample::new(id, at, value)));
            }
            let mut last = None;
            for samples in &bursts {
                let start = self.clock.ticks();
                let ack = self.appender.push_batch(samples);
                let end = self.clock.ticks();
                last = Some(ack.map_err(Error::engine("pushing"))?);
                latency.record_ns(self.clock.between_ns(start, end));
            }
            self.empty_ring(last)?;
        }
        Ok(())
    }

    /// Waits until everything is visible: the ring is idle then.
    fn empty_ring(&self, last: Option<tidegauge::Ack>) -> Result<(), Error> {
        let Some(ack) = last else { return Ok(()) };
        self.engine.wait(ack, Level::Visible, PATIENCE).map(drop).map_err(Error::engine("waiting for samples"))
    }
}
