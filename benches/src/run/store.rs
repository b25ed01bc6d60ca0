//! The engine under measurement, and what goes into it: a grid of samples, or operations.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegauge::{Builder, Durability, Engine, SeriesId};

use super::arrivals::Arrivals;
use super::ingest::{Behind, Ingested, Pushing, Share, ingest};
use super::interleave::{Interleaved, interleave, preload};
use super::questions::{Answers, Probe};
use super::recount::{Pushed, Recount, answers, answers_mixed};
use crate::cli::Run;
use crate::error::Error;
use crate::measure::{Latency, Preempted, TickClock};
use crate::progress::Progress;
use crate::report::Mixed;
use crate::workload::{Input, Kind, Part, Workload};

/// Samples of a lane, unless a batch is longer.
const LANE_SAMPLES: usize = 1 << 16;

pub(super) fn lane_samples(options: &Run) -> usize {
    LANE_SAMPLES.max(options.batch as usize * 2)
}

/// What a sample takes of a lane, and what an engine gives to all lanes.
const SAMPLE_BYTES: usize = 24;
const LANES_BYTES: usize = 1 << 30;
/// Lanes that are no appender's of the options: the common one, and those that are still being let go.
const OTHER_LANES: usize = 3;

/// Whether an engine has room for so many lanes, each for batches so long.
pub(super) fn check_lanes(options: &Run) -> Result<(), Error> {
    let lane = lane_samples(options).next_power_of_two() * SAMPLE_BYTES;
    let most = LANES_BYTES / lane - OTHER_LANES.min(LANES_BYTES / lane);
    if options.appenders as usize <= most {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--appenders {} with --batch {}: an engine has room for {most} appenders of such batches; give fewer, or \
         shorter batches",
        options.appenders, options.batch
    )))
}

pub(super) fn open(dir: &Path, options: &Run) -> Result<Engine, Error> {
    // Nothing becomes cold by itself: what it would weigh is measured apart.
    let builder = Engine::builder(dir).durability(options.durability).cold_after(Duration::MAX);
    let builder = builder.lane_samples(lane_samples(options)).max_appenders(options.appenders as usize + 16);
    let builder = builder.series_idle(Some(options.series_idle.unwrap_or(Builder::SERIES_IDLE)));
    builder.open().map_err(Error::engine("opening the engine"))
}

/// What is made before the clock starts.
pub(super) enum Prepared {
    /// A share for each appender.
    Grid(Vec<Share>),
    /// All series, for workers that read and write.
    Mixed(Vec<SeriesId>),
}

impl Prepared {
    pub(super) fn generate(workload: &Workload, options: &Run) -> Result<Self, Error> {
        let parts = Part::split(workload, options.appenders, options.batch)?;
        if workload.kind() == Kind::Mixed {
            return Ok(Self::Mixed(Vec::new()));
        }
        let share = |part: Part| Share { input: Input::generate(workload, &part), ids: Vec::new(), part };
        Ok(Self::Grid(parts.into_iter().map(share).collect()))
    }

    /// Registers the series that hold the slots in the beginning; answers the seconds it took.
    pub(super) fn register(&mut self, engine: &Engine, workload: &Workload) -> Result<f64, Error> {
        let id = |slot: u32| {
            let labels = workload.labels(workload.series(slot, 0));
            engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))
        };
        let start = Instant::now();
        match self {
            Self::Grid(shares) => {
                for share in shares {
                    share.ids = share.part.slots().map(id).collect::<Result<_, _>>()?;
                }
            }
            Self::Mixed(ids) => *ids = (0..workload.slots()).map(id).collect::<Result<_, _>>()?,
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// What needs the series: samples ready to push, or a first sample for each.
    pub(super) fn make_ready(&mut self, engine: &Engine, workload: &Workload) -> Result<(), Error> {
        match self {
            Self::Mixed(ids) => return preload(engine, workload, ids),
            // W2 is streamed, since it is about memory; and where series come and go, their
            // ids are not known yet.
            Self::Grid(_) if workload.kind() == Kind::W2 || workload.churns() => {}
            Self::Grid(shares) => shares.iter_mut().for_each(|s| s.input.make_ready(workload, &s.part, &s.ids)),
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Grid(shares) => shares.iter().map(|share| share.input.bytes()).sum(),
            Self::Mixed(_) => 0,
        }
    }

    pub(super) fn push(
        &self,
        engine: &Engine,
        workload: &Workload,
        options: &Run,
        clock: &TickClock,
        progress: &Progress,
    ) -> Result<Stored, Error> {
        let pushing = Pushing {
            batch: options.batch as usize,
            wait: options.wait,
            lasting: options.lasting,
            durable: options.durability != Durability::Memory,
            rate: options.rate,
        };
        match self {
            Self::Grid(shares) => ingest(engine, workload, shares, pushing, clock, progress).map(Stored::from),
            Self::Mixed(ids) => {
                let samples = options.samples.unwrap_or(u64::from(workload.slots()));
                interleave(engine, workload, ids, options.appenders, samples, pushing, progress).map(Stored::from)
            }
        }
    }
}

/// What was pushed, and the figures of it.
pub(super) struct Stored {
    what: What,
    /// Samples pushed while the clock ran.
    pub(super) pushed: u64,
    /// Series that came up meanwhile.
    pub(super) registered: u64,
    pub(super) visible_s: f64,
    pub(super) durable_s: Option<f64>,
    pub(super) cpu_s: f64,
    pub(super) cpu_before_s: f64,
    /// Processor time in which appenders waited until samples were due; `None` where they were due at once.
    pub(super) waited_s: Option<f64>,
    /// What was left to do when the clock stopped.
    pub(super) behind: Behind,
    pub(super) loaded: Latency,
    pub(super) preempted: Option<Preempted>,
    pub(super) acks: Latency,
    pub(super) arrivals: Option<Arrivals>,
    pub(super) mixed: Option<Mixed>,
}

enum What {
    Grid(Vec<Pushed>),
    Mixed(Vec<u64>),
}

impl Stored {
    /// Count and checksum of what must be there.
    pub(super) fn recount(&self, workload: &Workload) -> Recount {
        match &self.what {
            What::Grid(pushed) => Recount::of(workload, pushed),
            What::Mixed(written) => Recount::of_mixed(workload, written),
        }
    }

    /// What the questions must be answered with.
    pub(super) fn answers(&self, workload: &Workload, probe: &Probe) -> Answers {
        match &self.what {
            What::Grid(pushed) => answers(workload, pushed, probe),
            What::Mixed(written) => answers_mixed(workload, written, probe),
        }
    }
}

impl From<Ingested> for Stored {
    fn from(ingested: Ingested) -> Self {
        Self {
            pushed: ingested.pushed.iter().map(|one| one.samples).sum(),
            registered: ingested.registered,
            what: What::Grid(ingested.pushed),
            visible_s: ingested.visible_s,
            durable_s: ingested.durable_s,
            cpu_s: ingested.cpu_s,
            cpu_before_s: ingested.cpu_before_s,
            waited_s: ingested.arrivals.is_some().then_some(ingested.waited_s),
            behind: ingested.behind,
            loaded: ingested.loaded,
            preempted: Some(ingested.preempted),
            acks: ingested.acks,
            arrivals: ingested.arrivals,
            mixed: None,
        }
    }
}

impl From<Interleaved> for Stored {
    fn from(done: Interleaved) -> Self {
        Self {
            pushed: done.written.iter().sum(),
            registered: 0,
            what: What::Mixed(done.written),
            visible_s: done.visible_s,
            durable_s: done.durable_s,
            cpu_s: done.cpu_s,
            cpu_before_s: done.cpu_before_s,
            waited_s: None,
            behind: done.behind,
            loaded: Latency::new(),
            preempted: None,
            acks: Latency::new(),
            arrivals: None,
            mixed: Some(done.mixed),
        }
    }
}
