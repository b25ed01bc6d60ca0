//! How many samples of an import took the place of others.

use std::collections::BTreeSet;

use tidegauge::query::{Cancel, QueryError, QueryLimits, Selection};
use tidegauge::{Engine, METRIC_NAME, Matcher, Snapshot, TimeRange, Timestamp};

/// The engine takes a sample without asking whether there is one of its series and time: so what can be read before
/// and after is compared, of the metrics and times that were brought.
///
/// What was there before is pinned meanwhile: the memory of one memtable, and files that compaction replaces.
pub(super) struct Replaced {
    /// Nothing, if there was nothing.
    before: Option<Snapshot>,
    metrics: BTreeSet<String>,
    times: Option<(Timestamp, Timestamp)>,
}

impl Replaced {
    /// Before the first sample is pushed.
    pub(super) fn new(engine: &Engine) -> Self {
        let snapshot = engine.snapshot();
        let holds_samples = snapshot.sources().iter().any(|source| source.time_range().is_some());
        Self { before: holds_samples.then_some(snapshot), metrics: BTreeSet::new(), times: None }
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

    /// How many of the `accepted` samples, which are visible by now, have replaced one. `None` if that cannot be told:
    /// where a retention hides samples for their age, or what is stored cannot be read.
    pub(super) fn count(self, engine: &Engine, accepted: u64) -> Option<u64> {
        if !engine.keeps_all() {
            return None;
        }
        let Some((first, last)) = self.times else { return Some(0) };
        let range = TimeRange::covering(first, last);
        let before = match &self.before {
            Some(snapshot) => self.samples(snapshot, range).ok()?,
            None => 0,
        };
        let after = self.samples(&engine.snapshot(), range).ok()?;
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
