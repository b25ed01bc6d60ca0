//! Where a worker's samples come from.

use tidegauge::Timestamp;

use super::metadata::Descriptions;
use super::notices::Notices;
use super::stop::Stop;
use crate::exposition::{Entry, Parser, SampleLine, SeriesText};
use crate::host::Host;
use crate::scrape::{ScrapeError, Scraper};

/// Samples of the largest answer that is taken.
const SAMPLES_MAX: usize = 1_000_000;

/// Lines of an answer between two looks at the stop.
const ENTRIES_BETWEEN_LOOKS: usize = 1024;

/// The job of this machine's own metrics: the name under which dashboards look for them.
const HOST_JOB: &str = "node";

pub(super) enum Origin {
    Host(Box<Host>),
    Scrape(Box<Scraper>),
}

impl Origin {
    pub(super) fn job(&self) -> &str {
        match self {
            Self::Host(_) => HOST_JOB,
            Self::Scrape(scraper) => scraper.target().job(),
        }
    }

    /// The machine's name for its own metrics: they have no port.
    pub(super) fn instance(&self) -> String {
        match self {
            Self::Host(_) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            Self::Scrape(scraper) => scraper.target().instance().to_owned(),
        }
    }

    pub(super) fn subject(&self) -> String {
        match self {
            Self::Host(_) => "host metrics".to_owned(),
            Self::Scrape(scraper) => scraper.target().url().to_owned(),
        }
    }

    pub(super) fn thread_name(&self) -> String {
        match self {
            Self::Host(_) => "collect-host".to_owned(),
            Self::Scrape(_) => "collect-scrape".to_owned(),
        }
    }

    /// Collects once and hands each sample to `take`. After an error, what was handed over
    /// must not be stored. A scrape ends with one when it is told to stop.
    pub(super) fn collect(
        &mut self,
        at: Timestamp,
        descriptions: &mut Descriptions,
        notices: &mut Notices,
        stop: &Stop,
        mut take: impl FnMut(SampleLine<'_>),
    ) -> Result<(), ScrapeError> {
        match self {
            Self::Host(host) => {
                let readings = host.collect(at);
                for fresh in readings.take_descriptions() {
                    descriptions.kind(&fresh.metric, fresh.kind);
                    descriptions.help(&fresh.metric, &fresh.help);
                }
                for (series, value) in readings.iter() {
                    // Readings write their series as the parser reads them.
                    if let Ok((series, _)) = SeriesText::split(series.as_bytes()) {
                        take(SampleLine { series, value, timestamp: None });
                    }
                }
                for (area, error) in host.failed() {
                    notices.tell(area, format_args!("{area} is not collected: {error}"));
                }
                Ok(())
            }
            Self::Scrape(scraper) => {
                let answer = scraper.fetch_unless(|| stop.is_set())?;
                let mut samples = 0;
                for (nth, entry) in Parser::new(answer.text, answer.dialect).enumerate() {
                    // Each may be a series that is to be made: a million of them take seconds.
                    if nth % ENTRIES_BETWEEN_LOOKS == 0 && stop.is_set() {
                        return Err(ScrapeError::Stopped);
                    }
                    match entry? {
                        Entry::Sample(_) if samples == SAMPLES_MAX => {
                            return Err(ScrapeError::TooManySamples { limit: SAMPLES_MAX });
                        }
                        Entry::Sample(sample) => {
                            samples += 1;
                            take(sample);
                        }
                        Entry::Type { metric, kind } => descriptions.kind(&metric, kind),
                        Entry::Help { metric, text } => descriptions.help(&metric, &text),
                        Entry::Unit { metric, unit } => descriptions.unit(&metric, unit),
                        Entry::Nothing | Entry::End => {}
                    }
                }
                Ok(())
            }
        }
    }
}
