//! Collects on its own threads: one for this machine, one for each scraped target, each with
//! its own appender, so that a target that hangs holds up nobody else.
//!
//! Every round stamps all its samples with one timestamp, aligned to the interval, and
//! pushes them as one batch. Beside the samples it writes `up`, `scrape_duration_seconds`
//! and `scrape_samples_scraped`. A series that was there in the round before and is not now
//! gets a stale marker; so do all series of a target that goes down.

mod cache;
mod labels;
mod metadata;
mod notices;
mod origin;
mod outcomes;
mod schedule;
mod stop;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tidegauge::{AppenderError, Engine, SeriesError};

use crate::scrape::{Scraper, Target};

use origin::Origin;
use stop::Stop;
use worker::Worker;

#[cfg(test)]
pub(crate) use metadata::commits;
pub(crate) use metadata::{Descriptions, describe};
pub use notices::Report;
pub use outcomes::Outcomes;

/// The bits of the NaN that ends a series, as Prometheus defines it.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Longest time that a scrape may take, even if the interval would leave more.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What is collected, and how often.
#[derive(Clone)]
pub struct Settings {
    /// How often. Timestamps are multiples of it. Default: 1 s.
    pub interval: Duration,
    /// Whether this machine's own metrics are collected. Default: yes.
    pub host: bool,
    /// What is scraped. Default: nothing.
    pub targets: Vec<Target>,
    /// Where failures are told, a line each, at most one a minute for each kind. Default: stderr.
    pub report: Report,
    /// Where the outcome of each round is noted.
    pub outcomes: Outcomes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            host: true,
            targets: Vec::new(),
            report: to_stderr(),
            outcomes: Outcomes::default(),
        }
    }
}

/// A line each on stderr; where nobody reads that any more, nothing.
#[must_use]
pub fn to_stderr() -> Report {
    Arc::new(|line: &str| drop(writeln!(std::io::stderr(), "tidegauge: {line}")))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, host, targets, .. } = self;
        f.debug_struct("Settings")
            .field("interval", interval)
            .field("host", host)
            .field("targets", targets)
            .finish_non_exhaustive()
    }
}

/// Why collecting did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Nothing can be collected that often.
    #[error("an interval of {0:?} is too short: give {INTERVAL_MIN:?} or more")]
    IntervalTooShort(Duration),
    /// Two targets would write the same series.
    #[error(
        "{} and {} would both be job {:?}, instance {:?}: give one another job, as in job=URL",
        .0[0], .0[1], .0[0].job(), .0[0].instance()
    )]
    SameInstance(Box<[Target; 2]>),
    /// The engine gives no appender.
    #[error("nothing can be collected into this engine: {0}")]
    Appender(#[from] AppenderError),
    /// The engine takes none of the series that every target has.
    #[error("the series that tell of a target cannot be made: {0}")]
    Series(#[from] SeriesError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}; allow more threads, free memory, or collect from fewer targets")]
    Thread(std::io::Error),
}

/// The shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The running threads. Dropping it stops them.
#[derive(Debug)]
pub struct Collectors {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Collectors {
    /// Starts collecting into `engine`.
    ///
    /// # Errors
    /// [`CollectError`]; nothing keeps running then.
    pub fn start(engine: &Engine, settings: &Settings) -> Result<Self, CollectError> {
        if settings.interval < INTERVAL_MIN {
            return Err(CollectError::IntervalTooShort(settings.interval));
        }
        check_distinct(&settings.targets)?;
        let timeout = TIMEOUT_MAX.min(settings.interval.mul_f64(0.9));
        let mut origins = Vec::new();
        if settings.host {
            origins.push(Origin::Host(Box::default()));
        }
        let scrapers = settings.targets.iter().map(|target| Scraper::new(target.clone(), timeout));
        origins.extend(scrapers.map(|scraper| Origin::Scrape(Box::new(scraper))));
        let mut running = Self { stop: Arc::default(), threads: Vec::new() };
        for origin in origins {
            let name = origin.thread_name();
            let worker = Worker::new(engine, origin, settings)?;
            let stop = Arc::clone(&running.stop);
            let thread = std::thread::Builder::new().name(name).spawn(move || worker.run(&stop));
            running.threads.push(thread.map_err(CollectError::Thread)?);
        }
        Ok(running)
    }

    /// Ends all threads. Those that wait for their next round end at once, as does one in the middle of a scrape; but one
    /// that waits for a target that tells nothing ends with the scrape's timeout.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.set();
        for thread in self.threads.drain(..) {
            // A panic there has been printed; the others still have to be waited for.
            let _ = thread.join();
        }
    }
}

impl Drop for Collectors {
    fn drop(&mut self) {
        self.end();
    }
}

fn check_distinct(targets: &[Target]) -> Result<(), CollectError> {
    let mut seen = HashSet::new();
    for second in targets {
        if !seen.insert((second.job(), second.instance())) {
            let same = |first: &&Target| (first.job(), first.instance()) == (second.job(), second.instance());
            let first = targets.iter().find(same).unwrap_or(second);
            return Err(CollectError::SameInstance(Box::new([first.clone(), second.clone()])));
        }
    }
    Ok(())
}
