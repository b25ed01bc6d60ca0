//! Stores our own metrics at every interval, so that they can be drawn and asked for.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegauge::{Appender, AppenderError, Engine, Metadata, PushError, SeriesId, SeriesSample, Timestamp};

use super::{Counters, Metric, measure};
use crate::blocking::{self, NotDone};
use crate::collect::describe;

/// The value of the label `job`.
const JOB: &str = "tidegauge";

/// Pushes what [`measure`] finds, through an appender of its own.
pub(crate) struct Collector {
    engine: Engine,
    counters: Arc<Counters>,
    appender: Appender,
    instance: String,
    /// By name and values of labels.
    series: HashMap<(String, Vec<Cow<'static, str>>), SeriesId>,
    described: HashSet<&'static str>,
}

impl Collector {
    /// `instance` becomes the label of that name.
    ///
    /// # Errors
    /// [`AppenderError`] if the engine gives no appender.
    pub(crate) fn new(engine: Engine, counters: Arc<Counters>, instance: String) -> Result<Self, AppenderError> {
        let appender = engine.appender()?;
        Ok(Self { engine, counters, appender, instance, series: HashMap::new(), described: HashSet::new() })
    }

    /// Collects at every multiple of `interval`, for as long as it is polled.
    pub(crate) async fn run(self, interval: Duration) {
        let collector = Arc::new(Mutex::new(self));
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            // A full lane may hold the push up for a second: not on a thread that serves.
            let one = Arc::clone(&collector);
            match blocking::run(move || one.lock().map(|mut one| one.collect()).is_ok()).await {
                Ok(true) => {}
                // The next round may get one.
                Err(NotDone::NoThread(_)) => {}
                Ok(false) | Err(NotDone::Panicked(_)) => return,
            }
        }
    }

    /// One round. What the engine refuses is left out: its own error is in its own metrics.
    fn collect(&mut self) {
        let now = tidegauge::now();
        let metrics = measure(&self.engine, &self.counters);
        let mut news = Vec::new();
        for metric in &metrics {
            if self.described.insert(metric.family) {
                // Told once; the engine keeps it.
                // Without its buckets, which are not kept, a histogram is a summary.
                let kind = if metric.kind == "histogram" { "summary" } else { metric.kind };
                let (kind, help) = (kind.to_owned(), metric.help.to_owned());
                news.push((metric.family.to_owned(), Metadata { kind, help, unit: String::new() }));
            }
        }
        describe(&self.engine, news);
        if self.push(now, &metrics) == Err(PushError::StaleSeries) {
            // A metric that was away for long: its series has left memory.
            self.series.clear();
            let _ = self.push(now, &metrics);
        }
    }

    fn push(&mut self, now: Timestamp, metrics: &[Metric]) -> Result<(), PushError> {
        let mut batch = Vec::with_capacity(metrics.len());
        for metric in metrics {
            batch.extend(self.id(metric).map(|id| SeriesSample::new(id, now, metric.value)));
        }
        self.appender.push_batch(&batch).map(drop)
    }

    fn id(&mut self, metric: &Metric) -> Option<SeriesId> {
        let key = (metric.name(), metric.labels.iter().map(|(_, of)| of.clone()).collect());
        if let Some(id) = self.series.get(&key) {
            return Some(*id);
        }
        let mut labels = vec![("__name__", key.0.as_str()), ("job", JOB), ("instance", self.instance.as_str())];
        labels.extend(metric.labels.iter().map(|(name, of)| (*name, of.as_ref())));
        let id = self.engine.series(&labels).ok()?;
        self.series.insert(key, id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::commits;

    #[test]
    fn our_own_metrics_are_stored_with_job_and_description() {
        let engine = Engine::in_memory().unwrap();
        let counters = Arc::new(Counters::new());
        counters.handlers.took("/a", Duration::from_millis(1));
        let mut collector = Collector::new(engine.clone(), counters, "here".to_owned()).unwrap();
        collector.collect();
        let stored = |name: &str| collector.series.keys().filter(|(of, _)| of == name).count();
        assert_eq!(stored("tidegauge_http_request_seconds_count"), 1);
        assert_eq!(stored("tidegauge_http_request_seconds_bucket"), 0, "a dozen series for each handler");
        assert_eq!(engine.metadata()["tidegauge_samples_total"].kind, "counter");
        assert_eq!(engine.metadata()["tidegauge_http_request_seconds"].kind, "summary", "a histogram has buckets");
        let id = engine.series(&[("__name__", "tidegauge_series"), ("job", JOB), ("instance", "here")]).unwrap();
        assert!(collector.series.values().any(|known| *known == id));
        assert!(collector.series.len() > 20);
    }

    #[test]
    fn our_own_metrics_go_on_when_their_series_have_left_memory() {
        let engine = Engine::in_memory().unwrap();
        let mut collector = Collector::new(engine.clone(), Arc::new(Counters::new()), "here".to_owned()).unwrap();
        for round in 1..=3 {
            collector.collect();
            let ack = collector.appender.push_batch(&[]).unwrap();
            engine.wait(ack, tidegauge::Level::Visible, Duration::from_secs(20)).unwrap();
            let series = engine.snapshot().select("tidegauge_series").unwrap();
            assert_eq!((series.len(), series.series(0).read().unwrap().timestamps.len()), (1, round));
            engine.flush().unwrap();
            assert!(tidegauge::internals::evict_idle(&engine) > 20);
        }
    }

    #[test]
    fn what_is_told_of_our_own_metrics_costs_one_commit() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let mut collector = Collector::new(engine.clone(), Arc::new(Counters::new()), "here".to_owned()).unwrap();
        let before = commits(dir.path());
        collector.collect();
        assert!(engine.metadata().len() > 20);
        assert_eq!(commits(dir.path()), before + 1);
        let mut again = Collector::new(engine, Arc::new(Counters::new()), "here".to_owned()).unwrap();
        again.collect();
        assert_eq!(commits(dir.path()), before + 1, "what is known is no news");
    }
}
