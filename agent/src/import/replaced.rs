//! How many samples of an import took the place of others.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidegauge::query::{Cancel, QueryError, QueryLimits, Selection};
use tidegauge::{Engine, METRIC_NAME, Matcher, Snapshot, TimeRange, Timestamp};

/// The engine takes a sample without asking whether there is one of its series and time: so what can be read before
/// and after is compared, of the metrics and times that were brought.
///
/// That is done in stages, since what was there before is pinned meanwhile: memtables, and files that compaction replaces.
/// An import may last for hours, and all that is there be replaced.
pub(super) struct Replaced {
    /// As of the begin of the stage. Nothing, if there was nothing, or if nobody can tell what was replaced.
    before: Option<Snapshot>,
    /// Of the whole import.
    metrics: BTreeSet<String>,
    /// Of the stage.
    times: Option<(Timestamp, Timestamp)>,
    /// Samples accepted before the stage.
    accepted: u64,
    /// Of the stages that are done. `None` if that cannot be told.
    count: Option<u64>,
    ends: Instant,
    /// How long a stage is to last, by how long the last count took.
    pace: fn(Duration) -> Duration,
}

/// Ten seconds, and longer where a count takes long, since much lies above each other: a twentieth of the time goes there.
fn default_pace(count_took: Duration) -> Duration {
    Duration::from_secs(10).max(count_took * 20)
}

impl Replaced {
    /// Before the first sample is pushed.
    pub(super) fn new(engine: &Engine) -> Self {
        Self::paced(engine, default_pace)
    }

    pub(super) fn paced(engine: &Engine, pace: fn(Duration) -> Duration) -> Self {
        let count = engine.keeps_all().then_some(0);
        let holds_samples = |all: &Snapshot| all.sources().iter().any(|source| source.time_range().is_some());
        Self {
            before: count.map(|_| engine.snapshot()).filter(holds_samples),
            metrics: BTreeSet::new(),
            times: None,
            accepted: 0,
            count,
            ends: Instant::now() + pace(Duration::ZERO),
            pace,
        }
    }

    /// Samples of a series with these labels are brought.
    pub(super) fn series(&mut self, labels: &[(&str, &str)]) {
        let metric = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, metric)| metric);
        if !self.metrics.contains(metric) {
            self.metrics.insert(metric.to_owned());
        }
    }

    /// A sample of this time is brought.
    pub(super) fn sample(&mut self, at: Timestamp) {
        let (first, last) = self.times.unwrap_or((at, at));
        self.times = Some((first.min(at), last.max(at)));
    }

    /// Whether [`Self::end_stage`] is to be called.
    pub(super) fn is_due(&self) -> bool {
        self.count.is_some() && Instant::now() >= self.ends
    }

    /// Counts, and lets go what was there before the stage. So many samples are `accepted` in all, which are visible by now,
    /// and no others are brought.
    pub(super) fn end_stage(&mut self, engine: &Engine, accepted: u64) {
        let start = Instant::now();
        let after = engine.snapshot();
        let replaced = self.of_stage(engine, &after, accepted - self.accepted);
        self.count = self.count.zip(replaced).map(|(before, replaced)| before + replaced);
        self.before = self.count.map(|_| after);
        self.times = None;
        self.accepted = accepted;
        self.ends = Instant::now() + (self.pace)(start.elapsed());
    }

    /// How many of the `accepted` samples, which are visible by now, have replaced one. `None` if that cannot be told:
    /// where a retention hides samples for their age, or what is stored cannot be read.
    pub(super) fn count(mut self, engine: &Engine, accepted: u64) -> Option<u64> {
        self.end_stage(engine, accepted);
        self.count
    }

    fn of_stage(&self, engine: &Engine, after: &Snapshot, accepted: u64) -> Option<u64> {
        if self.count.is_none() || !engine.keeps_all() {
            return None;
        }
        let Some((first, last)) = self.times else { return Some(0) };
        let range = TimeRange::covering(first, last);
        let before = match &self.before {
            Some(snapshot) => self.samples(snapshot, range).ok()?,
            None => 0,
        };
        let after = self.samples(after, range).ok()?;
        Some(accepted.saturating_sub(after.saturating_sub(before)))
    }

    /// Mostly told by the statistics of chunks.
    fn samples(&self, snapshot: &Snapshot, range: TimeRange) -> Result<u64, QueryError> {
        let limits = QueryLimits { memory_bytes: QueryLimits::DEFAULT.memory_bytes, ..QueryLimits::NONE };
        let budget = snapshot.budget(limits, Cancel::new());
        snapshot.install(|sources| {
            let mut samples = 0;
            for metric in &self.metrics {
                let metric = Matcher::equal(METRIC_NAME, metric.as_str());
                samples += Selection::within(sources, &[metric], range, &budget)?.count()?.iter().sum::<u64>();
            }
            Ok(samples)
        })
    }
}
