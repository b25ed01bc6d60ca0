//! One thread's work: a round every interval.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tidegauge::{
    Ack, Appender, Engine, Labels, METRIC_NAME, PushError, SeriesError, SeriesId, SeriesSample, Timestamp,
};

use super::cache::SeriesCache;
use super::labels::with_target;
use super::metadata::Descriptions;
use super::notices::{Notices, clipped};
use super::origin::Origin;
use super::outcomes::Outcomes;
use super::schedule::Schedule;
use super::stop::Stop;
use super::{CollectError, STALE_MARKER_BITS, Settings};
use crate::exposition::{LineError, Pair, SampleLine};
use crate::scrape::ScrapeError;

/// Bytes of a series that a line of the log shows.
const SERIES_SHOWN: usize = 200;

pub(super) struct Worker {
    engine: Engine,
    appender: Appender,
    origin: Origin,
    job: String,
    instance: String,
    interval: Duration,
    cache: SeriesCache,
    batch: Vec<SeriesSample>,
    own: OwnSeries,
    descriptions: Descriptions,
    notices: Notices,
    outcomes: Outcomes,
    down: bool,
}

/// The series that a worker writes about its rounds.
#[derive(Clone, Copy)]
struct OwnSeries {
    up: SeriesId,
    duration: SeriesId,
    samples: SeriesId,
}

/// Why one series of a target has no id. The others go on.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("{0}")]
    Series(#[from] SeriesError),
}

impl Worker {
    pub(super) fn new(engine: &Engine, origin: Origin, settings: &Settings) -> Result<Self, CollectError> {
        let (job, instance) = (origin.job().to_owned(), origin.instance());
        let own = OwnSeries::resolve(engine, &job, &instance)?;
        let notices = Notices::new(settings.report.clone(), origin.subject());
        Ok(Self {
            engine: engine.clone(),
            appender: engine.appender()?,
            job,
            instance,
            interval: settings.interval,
            cache: SeriesCache::default(),
            batch: Vec::new(),
            own,
            descriptions: Descriptions::of(engine),
            notices,
            outcomes: settings.outcomes.clone(),
            down: false,
            origin,
        })
    }

    /// Rounds until told to stop, or until the engine is closed.
    pub(super) fn run(mut self, stop: &Stop) {
        let schedule = Schedule::new(self.interval);
        loop {
            let (due, wait) = schedule.next(tidegauge::now());
            if stop.sleep(wait) {
                return;
            }
            let at = schedule.stamp(due, tidegauge::now());
            match self.round(at, stop) {
                Ok(_) => {}
                Err(PushError::Closed) => return,
                Err(error) => self.notices.tell("push", format_args!("samples of this round were not stored: {error}")),
            }
            // A quarter of the time at most: the next round must not wait for it.
            if let Err(error) = self.descriptions.store(&self.engine) {
                self.notices.tell("metadata", format_args!("metadata was not stored: {error}"));
            }
        }
    }

    /// Collects, and pushes everything under the one timestamp `at`. Nothing is pushed if it
    /// was told to stop meanwhile.
    pub(super) fn round(&mut self, at: Timestamp, stop: &Stop) -> Result<Option<Ack>, PushError> {
        self.gather(at, stop);
        if stop.is_set() {
            return Ok(None);
        }
        let (mut anew, mut all_due) = (false, false);
        loop {
            match self.push() {
                // The engine has let go of idle series: all have to be resolved anew.
                Err(PushError::StaleSeries) if !anew => {
                    (anew, all_due) = (true, false);
                    self.resolve_anew(at, stop);
                    if stop.is_set() {
                        return Ok(None);
                    }
                }
                Err(PushError::TooFarAhead { series, max_ahead, .. }) if !all_due => {
                    all_due = true;
                    self.leave_out_ahead(&series, max_ahead);
                }
                pushed => return pushed,
            }
        }
    }

    /// Collects once more, without the ids of before.
    fn resolve_anew(&mut self, at: Timestamp, stop: &Stop) {
        self.cache.clear();
        if let Ok(own) = OwnSeries::resolve(&self.engine, &self.job, &self.instance) {
            self.own = own;
        }
        let stale = |sample: &&SeriesSample| sample.value().to_bits() == STALE_MARKER_BITS && sample.timestamp() == at;
        let gone: Vec<SeriesSample> = self.batch.iter().filter(stale).copied().collect();
        self.gather(at, stop);
        // The cache knows nothing any more of those that ended with this round. One that has left memory needs no mark.
        // First, for they may have come back by now: the last word counts.
        for mark in gone {
            let _ = self.appender.push_batch(&[mark]);
        }
    }

    fn leave_out_ahead(&mut self, series: &Labels, max_ahead: Duration) {
        let ahead = i64::try_from(max_ahead.as_nanos()).unwrap_or(i64::MAX);
        let limit = tidegauge::now().nanos().saturating_add(ahead);
        let before = self.batch.len();
        self.batch.retain(|sample| sample.timestamp().nanos() <= limit);
        let dropped = before - self.batch.len();
        let samples = if dropped == 1 { "sample was" } else { "samples were" };
        let what =
            format_args!("{dropped} {samples} refused, first of {series}: more than {max_ahead:?} ahead of the clock");
        self.notices.tell("ahead", what);
    }

    /// Fills the batch with a round's samples, or with what marks the target as down.
    fn gather(&mut self, at: Timestamp, stop: &Stop) {
        let start = Instant::now();
        self.batch.clear();
        let mut scraped = 0u32;
        let Self { engine, origin, job, instance, cache, batch, descriptions, notices, .. } = self;
        let mut refused: Option<(u64, String)> = None;
        let outcome = origin.collect(at, descriptions, notices, stop, |line| {
            scraped += 1;
            let tracked = line.timestamp.is_none();
            match cache.id(line.series.bytes(), tracked, || resolve(engine, &line, job, instance)) {
                Ok(id) => batch.push(SeriesSample::new(id, line.timestamp.unwrap_or(at), line.value)),
                Err(error) => {
                    let series = || clipped(String::from_utf8_lossy(line.series.bytes()).into_owned(), SERIES_SHOWN);
                    let text = || format!("{}: {error}", series());
                    refused.get_or_insert_with(|| (0, text())).0 += 1;
                }
            }
        });
        if let Err(ScrapeError::Stopped) = outcome {
            // Says nothing about the target.
            self.batch.clear();
            return;
        }
        if let Some((count, first)) = refused {
            self.notices.tell("series", format_args!("{count} series were refused, the first being {first}"));
        }
        let stale = f64::from_bits(STALE_MARKER_BITS);
        match &outcome {
            Ok(()) => self.cache.end_round(|gone| self.batch.push(SeriesSample::new(gone, at, stale))),
            Err(_) => {
                self.batch.clear();
                scraped = 0;
                self.cache.end_all(|gone| self.batch.push(SeriesSample::new(gone, at, stale)));
            }
        }
        self.tell_state(outcome.as_ref().err());
        let up = if outcome.is_ok() { 1.0 } else { 0.0 };
        self.batch.push(SeriesSample::new(self.own.up, at, up));
        self.batch.push(SeriesSample::new(self.own.duration, at, start.elapsed().as_secs_f64()));
        self.batch.push(SeriesSample::new(self.own.samples, at, f64::from(scraped)));
    }

    fn tell_state(&mut self, error: Option<&ScrapeError>) {
        match error {
            Some(error) => self.notices.tell("down", format_args!("down: {error}")),
            None if self.down => self.notices.tell("up", "up again"),
            None => {}
        }
        if error.is_some() || self.down {
            self.outcomes.note(&self.job, &self.instance, error.map(|e| e as &dyn std::fmt::Display));
        }
        self.down = error.is_some();
    }

    /// One batch, unless it is longer than a lane.
    fn push(&mut self) -> Result<Option<Ack>, PushError> {
        let mut last = None;
        for piece in self.batch.chunks(self.appender.capacity()) {
            last = Some(self.appender.push_batch(piece)?);
        }
        Ok(last)
    }

    #[cfg(test)]
    pub(super) fn descriptions(&mut self) -> &mut Descriptions {
        &mut self.descriptions
    }
}

impl OwnSeries {
    fn resolve(engine: &Engine, job: &str, instance: &str) -> Result<Self, SeriesError> {
        let series = |name| engine.series(&[(METRIC_NAME, name), ("job", job), ("instance", instance)]);
        Ok(Self {
            up: series("up")?,
            duration: series("scrape_duration_seconds")?,
            samples: series("scrape_samples_scraped")?,
        })
    }
}

fn resolve(engine: &Engine, line: &SampleLine<'_>, job: &str, instance: &str) -> Result<SeriesId, Refused> {
    let labels: Vec<Pair<'_>> = with_target(line.series, job, instance)?;
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value): &(Cow<'_, str>, _)| (&**name, &**value)).collect();
    Ok(engine.series(&pairs)?)
}
