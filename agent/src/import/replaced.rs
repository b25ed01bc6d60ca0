//! How many samples of an import took the place of others.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidegauge::query::{Cancel, QueryError, QueryLimits, Selection};
use tidegauge::{Ack, Engine, Level, METRIC_NAME, Matcher, SeriesSample, Snapshot, TimeRange, Timestamp};

use super::sink::PATIENCE;

/// The engine takes a sample without asking whether there is one of its series and time: so what can be read before
/// and after is compared, of the metrics and times that were brought.
///
/// That is done in stages, since what was there before is pinned meanwhile: memtables, and files that compaction replaces.
/// An import may last for hours, and all that is there be replaced. While a pipe gives nothing, nothing is pinned: the stage
/// ends when its time is over, and the next one begins with the next samples.
pub(super) struct Replaced {
    /// As of the begin of the stage. Nothing, if there was nothing, or if nobody can tell what was replaced.
    before: Option<Snapshot>,
    /// Of the whole import.
    metrics: BTreeSet<String>,
    /// Of the stage.
    times: Option<(Timestamp, Timestamp)>,
    /// Samples of the stage that were accepted.
    accepted: u64,
    /// The last ones of all.
    last: Option<Ack>,
    /// No stage has begun since the last one.
    rests: bool,
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
        Self {
            before: count.and_then(|_| what_is_there(engine)),
            metrics: BTreeSet::new(),
            times: None,
            accepted: 0,
            last: None,
            rests: false,
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

    /// Before samples are pushed: the stage begins, if none has.
    pub(super) fn go_on(&mut self, engine: &Engine) {
        if std::mem::take(&mut self.rests) {
            self.before = self.count.and_then(|_| what_is_there(engine));
            self.ends = Instant::now() + (self.pace)(Duration::ZERO);
        }
    }

    /// These were accepted.
    pub(super) fn pushed(&mut self, samples: &[SeriesSample], ack: Ack) {
        for at in samples.iter().map(SeriesSample::timestamp) {
            let (first, last) = self.times.unwrap_or((at, at));
            self.times = Some((first.min(at), last.max(at)));
        }
        self.accepted += samples.len() as u64;
        self.last = Some(ack);
    }

    /// The last samples that were accepted.
    pub(super) fn last(&self) -> Option<Ack> {
        self.last
    }

    /// Whether [`Self::end_stage`] is to be called.
    pub(super) fn is_due(&self) -> bool {
        self.count.is_some() && Instant::now() >= self.ends
    }

    /// Counts, and lets go what was there before the stage. What was accepted is visible by now, and nothing else is
    /// brought.
    pub(super) fn end_stage(&mut self, engine: &Engine) {
        let start = Instant::now();
        let after = engine.snapshot();
        let replaced = self.of_stage(engine, &after);
        self.count = self.count.zip(replaced).map(|(before, replaced)| before + replaced);
        self.before = self.count.map(|_| after);
        self.times = None;
        self.accepted = 0;
        self.ends = Instant::now() + (self.pace)(start.elapsed());
    }

    /// When [`Self::rest`] is to be called if nothing comes; `None` if nothing is pinned.
    pub(super) fn pins_until(&self) -> Option<Instant> {
        self.before.as_ref().map(|_| self.ends)
    }

    /// Nothing comes: ends the stage, and pins nothing before [`Self::go_on`]. Where the engine does not get on either,
    /// that is told at the next push; until then it is tried again.
    pub(super) fn rest(&mut self, engine: &Engine) {
        if self.last.is_some_and(|ack| engine.wait(ack, Level::Visible, PATIENCE).is_err()) {
            self.ends = Instant::now() + PATIENCE;
            return;
        }
        self.end_stage(engine);
        self.before = None;
        self.rests = true;
    }

    /// How many of the accepted samples, which are visible by now, have replaced one. `None` if that cannot be told:
    /// where a retention hides samples for their age, or what is stored cannot be read.
    pub(super) fn count(mut self, engine: &Engine) -> Option<u64> {
        self.end_stage(engine);
        self.count
    }

    fn of_stage(&self, engine: &Engine, after: &Snapshot) -> Option<u64> {
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
        Some(self.accepted.saturating_sub(after.saturating_sub(before)))
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

/// What can be read now; nothing if there is nothing.
fn what_is_there(engine: &Engine) -> Option<Snapshot> {
    let all = engine.snapshot();
    let holds_samples = all.sources().iter().any(|source| source.time_range().is_some());
    holds_samples.then_some(all)
}
