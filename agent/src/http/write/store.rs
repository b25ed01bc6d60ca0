//! From a remote-write message into the engine.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use tidegauge::{
    Ack, Engine, LabelLimits, Labels, METRIC_NAME, Metadata, PushError, SeriesId, SeriesSample, Timestamp,
};

use super::super::wire::WireError;
use super::known::{Known, Learned};
use super::request::{Item, Place, Protocol, Request, Series, kind_name};
use crate::collect::describe;

/// Samples handed to the engine at a time: all of what most senders send.
const BATCH: usize = if cfg!(test) { 4 } else { 16 << 10 };

/// Why a request, or a part of it, was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The body cannot be read. Nothing of it was stored.
    #[error("{0}")]
    Malformed(String),
    /// The same, at a known place.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Some series or samples are not acceptable; what else the request held was stored.
    #[error("{refused} samples or series refused, the first because {first}")]
    Refused { refused: u64, first: String },
    /// The engine takes nothing just now. Send again later.
    #[error("{0}")]
    NotNow(PushError),
}

impl StoreError {
    /// 4xx tells the sender not to try again, 5xx to do so.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Wire(_) | Self::Refused { .. } => StatusCode::BAD_REQUEST,
            Self::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What became of a request.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Samples that the engine took.
    pub(super) samples: u64,
    /// The last of them; absent if none was taken.
    pub(super) ack: Option<Ack>,
    /// What was not taken, and why.
    pub(super) failed: Option<StoreError>,
}

/// A corrupt message leaves nothing behind: all of it is read before anything comes of it. What is of series that are
/// known, at its beginning, and fits into one batch can wait for that, and is read once.
pub(super) fn store(engine: &Engine, known: &Known, protocol: Protocol, message: &[u8]) -> Result<Stored, StoreError> {
    let request = Request::new(protocol, message)?;
    let mut writer = Writer::new(engine, known, &request);
    let place = writer.ahead()?;
    let find = |key: &[u8]| known.lookup().find(key).filter(|&id| engine.knows(id));
    let mut judged = request.walk_from(place);
    while judged.next(&|_| None)?.is_some() {}
    let mut rest = request.walk_from(place);
    loop {
        let place = rest.place();
        match rest.next(&find)? {
            Some(item) => writer.item(place, &item),
            None => break,
        }
    }
    writer.send();
    writer.describe();
    Ok(writer.finish())
}

struct Writer<'r, 'a> {
    engine: &'r Engine,
    known: &'r Known,
    request: &'r Request<'a>,
    batch: Vec<SeriesSample>,
    /// Where in the batch the samples of a series begin, and where it stands in the request.
    runs: Vec<(usize, Place<'a>)>,
    /// Series that were resolved, to be known from then on.
    learned: Learned,
    /// What the request says of each metric: its last word.
    described: BTreeMap<String, Metadata>,
    done: Stored,
    refused: Option<(u64, String)>,
}

impl<'r, 'a> Writer<'r, 'a> {
    fn new(engine: &'r Engine, known: &'r Known, request: &'r Request<'a>) -> Self {
        Self {
            engine,
            known,
            request,
            batch: Vec::new(),
            runs: Vec::new(),
            learned: Learned::default(),
            described: BTreeMap::new(),
            done: Stored::default(),
            refused: None,
        }
    }

    /// Takes what has no effect yet: neither a new series nor a batch that is full. Answers what comes behind it.
    fn ahead(&mut self) -> Result<Place<'a>, StoreError> {
        let lookup = self.known.lookup();
        let find = |key: &[u8]| lookup.find(key).filter(|&id| self.engine.knows(id));
        let mut walk = self.request.walk();
        // Bounded, so that nobody waits long who learns.
        for _ in 0..BATCH {
            let place = walk.place();
            match walk.next(&find)? {
                Some(Item::Series(series)) => {
                    let fits = self.batch.len() + series.samples.len() < BATCH;
                    match series.id {
                        Some(id) if fits => self.samples(id, place, series),
                        _ => return Ok(place),
                    }
                }
                Some(Item::Metadata { metric, kind, help, unit }) => self.metadata(metric, kind, help, unit),
                None => break,
            }
        }
        Ok(walk.place())
    }

    fn item(&mut self, place: Place<'a>, item: &Item<'_, '_>) {
        match *item {
            Item::Series(series) => match self.resolve(series) {
                Ok(id) => self.samples(id, place, series),
                Err(why) => self.refuse(series.samples.len().max(1) as u64, || why),
            },
            Item::Metadata { metric, kind, help, unit } => self.metadata(metric, kind, help, unit),
        }
    }

    fn samples(&mut self, id: SeriesId, place: Place<'a>, series: &Series<'_>) {
        if series.histograms > 0 {
            let why = || "native histograms are not available in this release".to_owned();
            self.refuse(series.histograms as u64, why);
        }
        let mut in_batch = false;
        for &(millis, value) in &series.samples {
            match Timestamp::from_millis(millis) {
                Ok(at) => {
                    if !in_batch {
                        self.runs.push((self.batch.len(), place));
                        in_batch = true;
                    }
                    self.batch.push(SeriesSample::new(id, at, value));
                }
                Err(why) => self.refuse(1, || why.to_string()),
            }
            if self.batch.len() == BATCH {
                self.send();
                in_batch = false;
            }
        }
        if let Some((kind, help, unit)) = series.metadata
            && let Some(&(_, metric)) = series.labels.iter().find(|(name, _)| *name == METRIC_NAME)
        {
            self.metadata(metric, kind, help, unit);
        }
    }

    fn resolve(&mut self, series: &Series<'_>) -> Result<SeriesId, String> {
        if let Some(id) = series.id {
            return Ok(id);
        }
        let labels = Labels::new(series.labels.iter().copied(), &LabelLimits::DEFAULT).map_err(|e| e.to_string())?;
        if labels.metric_name().is_none() {
            return Err(format!("the series {labels} has no __name__"));
        }
        let id = self.engine.series_labels(&labels).map_err(|e| e.to_string())?;
        self.learned.push(&series.key, id);
        if self.learned.is_full() {
            self.known.learn(&mut self.learned);
        }
        Ok(id)
    }

    fn metadata(&mut self, metric: &str, kind: u64, help: &str, unit: &str) {
        if metric.is_empty() || (kind == 0 && help.is_empty() && unit.is_empty()) {
            return;
        }
        let kind = kind_name(kind);
        match self.described.get(metric) {
            // Each series of a metric says the same.
            Some(said) if said.kind == kind && said.help == help && said.unit == unit => (),
            _ => {
                let metadata = Metadata { kind: kind.to_owned(), help: help.to_owned(), unit: unit.to_owned() };
                self.described.insert(metric.to_owned(), metadata);
            }
        }
    }

    /// Descriptions are a service to readers: one that is refused costs no sample.
    fn describe(&mut self) {
        let described = std::mem::take(&mut self.described).into_iter().collect();
        let (count, first) = describe(self.engine, described);
        if let Some(why) = first {
            self.refuse(count, || why.to_string());
        }
    }

    /// Hands the batch over. Where the engine refuses it for one sample's sake, the others
    /// are handed over one by one.
    fn send(&mut self) {
        self.known.learn(&mut self.learned);
        if self.batch.is_empty() || matches!(self.done.failed, Some(StoreError::NotNow(_))) {
            self.batch.clear();
            self.runs.clear();
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let mut pushed = self.engine.push_batch(&batch);
        if pushed.is_err() && !batch.iter().all(|sample| self.engine.knows(sample.series())) {
            // Some series left memory since it was found.
            batch = self.resolve_again(&batch);
            if batch.is_empty() {
                return;
            }
            pushed = self.engine.push_batch(&batch);
        }
        match pushed {
            Ok(ack) => self.took(ack, batch.len() as u64),
            Err(PushError::TooFarAhead { .. } | PushError::StaleSeries) if batch.len() > 1 => {
                batch.iter().for_each(|sample| self.send_one(sample));
            }
            Err(why) => self.not_taken(why, batch.len() as u64),
        }
        self.batch = batch;
        self.batch.clear();
        self.runs.clear();
    }

    /// The samples of a batch with the ids that their series have now, as if none had been known.
    fn resolve_again(&mut self, batch: &[SeriesSample]) -> Vec<SeriesSample> {
        let runs = std::mem::take(&mut self.runs);
        let mut again = Vec::with_capacity(batch.len());
        for (i, &(from, place)) in runs.iter().enumerate() {
            let samples = &batch[from..runs.get(i + 1).map_or(batch.len(), |next| next.0)];
            let mut walk = self.request.walk_from(place);
            let Ok(Some(Item::Series(series))) = walk.next(&|_| None) else { continue };
            match self.resolve(series) {
                Ok(id) => again.extend(samples.iter().map(|s| SeriesSample::new(id, s.timestamp(), s.value()))),
                Err(why) => self.refuse(samples.len() as u64, || why),
            }
        }
        self.known.learn(&mut self.learned);
        again
    }

    fn send_one(&mut self, sample: &SeriesSample) {
        match self.engine.push_batch(std::slice::from_ref(sample)) {
            Ok(ack) => self.took(ack, 1),
            Err(why) => self.not_taken(why, 1),
        }
    }

    fn took(&mut self, ack: Ack, samples: u64) {
        self.done.ack = Some(ack);
        self.done.samples += samples;
    }

    fn not_taken(&mut self, why: PushError, samples: u64) {
        match why {
            PushError::TooFarAhead { .. } => self.refuse(samples, || why.to_string()),
            _ => self.done.failed = Some(StoreError::NotNow(why)),
        }
    }

    fn refuse(&mut self, count: u64, why: impl FnOnce() -> String) {
        let refused = self.refused.get_or_insert_with(|| (0, why()));
        refused.0 += count;
    }

    fn finish(self) -> Stored {
        let mut done = self.done;
        if done.failed.is_none() {
            done.failed = self.refused.map(|(refused, first)| StoreError::Refused { refused, first });
        }
        done
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
